//! Taking and giving up seats by REST.

use protocol::id::{JoinCode, LobbyId};
use serde::Deserialize;
use serde_json::json;

use super::Failure;
use super::http::Client;
use super::player::Player;

/// A seat that was taken.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Seat {
    pub(crate) lobby: Named,
}

/// What is read of a lobby.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Named {
    pub(crate) id: LobbyId,
    pub(crate) join_code: JoinCode,
}

/// Makes a lobby. Whoever loses its lease in it keeps its seat, and nobody is elected: both for longer than any measurement.
pub(crate) async fn create(client: &mut Client, player: &Player) -> Result<Seat, Failure> {
    let settings = json!({
        "election_delay_ms": 600_000, "removal_delay_ms": 86_400_000, "ready_timeout_ms": 5_000,
        "max_members": 100, "visibility": "public",
    });
    let body = json!({
        "lobby_name": "arena", "name": player.name, "peer_key": player.peer_key, "can_host": true, "settings": settings,
    });
    Ok(serde_json::from_slice(client.post(player, "/v1/lobbies", &body.to_string()).await?)?)
}

/// Joins by code.
pub(crate) async fn join(
    client: &mut Client,
    player: &Player,
    code: JoinCode,
    can_host: bool,
) -> Result<Seat, Failure> {
    let body = json!({"join_code": code, "name": player.name, "peer_key": player.peer_key, "can_host": can_host});
    Ok(serde_json::from_slice(client.post(player, "/v1/lobbies/join", &body.to_string()).await?)?)
}

/// Gives up a seat.
pub(crate) async fn leave(client: &mut Client, player: &Player, lobby: LobbyId) -> Result<(), Failure> {
    client.post(player, &format!("/v1/lobbies/{lobby}/leave"), "").await.map(drop)
}
