//! A lobby whose players do what they like.

use std::time::Duration;

use fastrand::Rng;
use protocol::id::{ConnectionId, HostEpoch, InstanceId, JoinCode, LobbyId, PeerKey, PlayerId};
use protocol::lobby::data::{DataValue, DataVisibility};
use protocol::lobby::{
    Actor, Command, HostState, Lobby, LobbyPatch, MemberPatch, NewLobby, Newcomer, Settings, SettingsPatch,
};
use protocol::message::Event;
use protocol::time::Timestamp;

/// Players there are. Player `n` has ids made of `n`.
pub(crate) const PLAYERS: u8 = 5;
const HOLDER: InstanceId = InstanceId::from_bytes([1; 8]);

/// A lobby and its clock.
pub(crate) struct Play {
    pub(crate) lobby: Lobby,
    pub(crate) now: Timestamp,
}

fn newcomer(player: u8) -> Newcomer {
    Newcomer {
        name: format!("player {player}"),
        build_id: "1".into(),
        direct_address: (player == 2).then(|| "192.0.2.1:4000".into()),
        ..Newcomer::new(id(player), PeerKey::from_bytes([player; 32]), HOLDER)
    }
}

pub(crate) fn id(player: u8) -> PlayerId {
    PlayerId::from_bytes([player; 16])
}

impl Play {
    /// With player 0 alone. Its times are short.
    pub(crate) fn new() -> Self {
        let settings = Settings {
            election_delay_ms: 300,
            removal_delay_ms: 5_000,
            ready_timeout_ms: 1_500,
            max_members: u32::from(PLAYERS) + 2,
            ..Settings::default()
        };
        let now = Timestamp(1_000_000);
        let code = JoinCode::from_entropy(77);
        let new = NewLobby::new(LobbyId::from_bytes([7; 16]), code, "duel".into(), settings);
        let (lobby, _) = Lobby::create(new, newcomer(0), now).expect("nothing is wrong with it");
        Self { lobby, now }
    }

    /// A player joins, with the process that it had at first.
    pub(crate) fn joins(&self, player: u8) -> Command {
        Command::Join(newcomer(player))
    }

    /// A player's socket closes.
    pub(crate) fn loses(player: u8) -> Command {
        Command::Disconnect {
            connection: ConnectionId(player.into()),
            peer_key: newcomer(player).peer_key,
            holder: HOLDER,
        }
    }

    /// It opens again, of the same process.
    pub(crate) fn returns(player: u8) -> Command {
        let peer_key = newcomer(player).peer_key;
        Command::Connect { connection: ConnectionId(player.into()), player: id(player), peer_key, holder: HOLDER }
    }

    /// What comes of a command; nothing if it is refused.
    pub(crate) fn does(&mut self, command: Command) -> Vec<Event> {
        let Ok((lobby, events)) = self.lobby.clone().apply(command, self.now) else { return Vec::new() };
        self.lobby = lobby;
        events
    }

    /// Time passes, and the deadlines in it come.
    pub(crate) fn later(&mut self, time: Duration) -> Vec<Event> {
        let end = self.now.after(time);
        let mut events = Vec::new();
        while let Some(due) = self.lobby.due_at().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            events.extend(self.does(Command::Due));
        }
        self.now = end;
        events
    }

    /// A player does something, or somebody does something to it.
    pub(crate) fn random_command(&self, random: &mut Rng) -> Command {
        let player = random.u8(..PLAYERS);
        let own = self.lobby.seat_of(id(player));
        let connection = own.unwrap_or(ConnectionId(random.u32(..6)));
        let peer_key = PeerKey::from_bytes([player + if random.u8(..5) == 0 { 100 } else { 0 }; 32]);
        let epoch = self.lobby.epoch();
        if matches!(self.lobby.host(), HostState::Lost { .. }) && random.u8(..3) == 0 {
            return Command::HostHeard { epoch };
        }
        match random.u8(..39) {
            0..8 => Command::Join(Newcomer { can_host: random.u8(..6) > 0, peer_key, ..newcomer(player) }),
            8..14 => Command::Connect { connection, player: id(player), peer_key, holder: HOLDER },
            14..19 => Command::Disconnect { connection, peer_key, holder: HOLDER },
            19..21 => Command::Leave { connection, player: id(player) },
            21..29 => Command::Ready { connection: self.lobby.host().host().unwrap_or(connection), epoch },
            29 => Command::HostSilent { epoch },
            30 => Command::Replace { by: Actor::Server, to: own },
            31 => Command::AskHandOver { by: Actor::Server, to: own },
            32 => Command::Kick { by: Actor::Server, connection },
            33..35 => Command::UpdateMember { connection, patch: member_patch(random) },
            35 => Command::RotateCode { by: Actor::Server, code: JoinCode::from_entropy(random.u64(..)) },
            _ => Command::Update { by: Actor::Server, patch: lobby_patch(random) },
        }
    }
}

fn value(random: &mut Rng) -> Option<DataValue> {
    let visibility = [DataVisibility::Public, DataVisibility::Member, DataVisibility::Private][random.usize(..3)];
    random.bool().then(|| DataValue { value: random.u8(..).to_string(), visibility, index: None })
}

fn key(random: &mut Rng) -> String {
    ["map", "mode", "__proto__"][random.usize(..3)].to_owned()
}

fn member_patch(random: &mut Rng) -> MemberPatch {
    MemberPatch {
        name: random.bool().then(|| format!("named {}", random.u8(..))),
        can_host: random.bool().then_some(true),
        data: [(key(random), value(random))].into_iter().collect(),
    }
}

fn lobby_patch(random: &mut Rng) -> LobbyPatch {
    let locked = random.bool().then(|| random.bool());
    LobbyPatch {
        name: random.bool().then(|| format!("lobby {}", random.u8(..))),
        settings: SettingsPatch {
            locked,
            relay_only: random.bool().then(|| random.bool()),
            ..SettingsPatch::default()
        },
        password: None,
        data: [(key(random), value(random))].into_iter().collect(),
    }
}

/// The next epoch, this one, or the one before.
pub(crate) fn about(epoch: HostEpoch, random: &mut Rng) -> HostEpoch {
    match random.u8(..12) {
        0 => epoch.next(),
        1 => HostEpoch(epoch.0.saturating_sub(1)),
        _ => epoch,
    }
}
