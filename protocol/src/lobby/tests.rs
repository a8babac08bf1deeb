//! What a lobby promises, command by command.

use super::*;

pub(crate) const NOW: Timestamp = Timestamp(1_000_000);

pub(crate) fn newcomer(player: u8) -> Newcomer {
    Newcomer {
        player: PlayerId::from_bytes([player; 16]),
        name: format!("player {player}"),
        peer_key: PeerKey::from_bytes([player; 32]),
        build_id: "1".into(),
        can_host: true,
        direct_address: None,
    }
}

/// A lobby with player 0 alone.
pub(crate) fn lobby() -> Lobby {
    let code = JoinCode::from_entropy(77);
    Lobby::create(LobbyId::from_bytes([7; 16]), code, "duel".into(), Settings::default(), newcomer(0), NOW).unwrap().0
}
