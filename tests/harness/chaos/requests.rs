//! The requests that clients make, and what is kept of their answers.

use fastrand::Rng;
use protocol::id::{ConnectionId, JoinCode, LobbyId};
use protocol::lobby::Settings;
use protocol::message::LobbyView;
use protocol::snapshot::{Generation, Header};
use reqwest::Method;
use serde_json::{Value, json};

use super::world::{Player, World};
use crate::history::{Action, Answer, Outcome, Seen};
use crate::service::record;

impl World {
    /// Creates a lobby of this name, which nobody else may give. `None` if the outcome is not that there is one.
    pub(super) async fn create(
        &self,
        rng: &mut Rng,
        player: &Player,
        name: &str,
        settings: &Settings,
        is_steady: bool,
    ) -> Option<LobbyView> {
        let body = json!({"lobby_name": name, "peer_key": player.peer_key, "settings": settings});
        let read = |reply: Result<&[u8], u16>| {
            let bytes = reply.ok()?;
            let (connection, view) = seat(bytes)?;
            let answer = (view.id, Answer::Seat(connection, Seen::of(&view)));
            self.write(|history| {
                if is_steady {
                    history.steady.insert(view.id);
                }
                history.born.insert(view.id, view);
            });
            Some(answer)
        };
        let request = |at| self.request(at, player, Method::POST, "/v1/lobbies").json(&body);
        let outcome = self.perform(rng, player, None, Action::Create(name.to_owned()), request, read).await;
        let Outcome::Done(_) = outcome else { return None };
        self.write(|history| history.born.values().find(|view| view.name == name).cloned())
    }

    /// Takes a seat.
    pub(super) async fn join(&self, rng: &mut Rng, player: &Player, lobby: LobbyId, code: JoinCode) -> Outcome {
        let body = json!({"join_code": code, "peer_key": player.peer_key});
        let read = |reply: Result<&[u8], u16>| {
            let bytes = reply.ok()?;
            let (connection, view) = seat(bytes)?;
            Some((view.id, Answer::Seat(connection, Seen::of(&view))))
        };
        let request = |at| self.request(at, player, Method::POST, "/v1/lobbies/join").json(&body);
        self.perform(rng, player, Some(lobby), Action::Join, request, read).await
    }

    /// Gives a seat up.
    pub(super) async fn leave(&self, rng: &mut Rng, player: &Player, lobby: LobbyId) -> Outcome {
        let path = format!("/v1/lobbies/{lobby}/leave");
        let request = |at| self.request(at, player, Method::POST, &path);
        self.perform(rng, player, Some(lobby), Action::Leave, request, |reply| {
            reply.ok().map(|_| (lobby, Answer::Nothing))
        })
        .await
    }

    /// Reads the lobby. Who has lost its seat is shown less, which says nothing.
    pub(super) async fn read(&self, rng: &mut Rng, player: &Player, lobby: LobbyId) -> Outcome {
        let path = format!("/v1/lobbies/{lobby}");
        let read = |reply: Result<&[u8], u16>| {
            let bytes = reply.ok()?;
            let answer = serde_json::from_slice::<LobbyView>(bytes).map(|view| Answer::View(Seen::of(&view)));
            Some((lobby, answer.unwrap_or(Answer::Nothing)))
        };
        let request = |at| self.request(at, player, Method::GET, &path);
        self.perform(rng, player, Some(lobby), Action::Read, request, read).await
    }

    /// Fetches the newest snapshot. To a player who surely has a seat, "not found" says that there is none.
    pub(super) async fn fetch(&self, rng: &mut Rng, player: &Player, lobby: LobbyId, is_member: bool) -> Outcome {
        let path = format!("/v1/lobbies/{lobby}/snapshot");
        let read = |reply: Result<&[u8], u16>| {
            let answer = match reply.map(Header::check) {
                Ok(Ok(header)) => Answer::Snapshot(Some((header.generation, header.checksum))),
                Ok(Err(_)) => Answer::Damaged,
                Err(404) if is_member => Answer::Snapshot(None),
                Err(_) => return None,
            };
            Some((lobby, answer))
        };
        let request = |at| self.request(at, player, Method::GET, &path);
        self.perform(rng, player, Some(lobby), Action::Fetch, request, read).await
    }

    /// Uploads a snapshot of this number with bytes that nobody else sends.
    pub(super) async fn put(&self, rng: &mut Rng, player: &Player, lobby: LobbyId, generation: Generation) -> Outcome {
        let size = rng.usize(16..4096);
        let state: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(size).collect();
        let record = record(generation.epoch.0, generation.seq, &state);
        let Ok(header) = Header::check(&record) else { return Outcome::Failed };
        let path = format!("/v1/lobbies/{lobby}/snapshot");
        let request = |at| {
            let request = self.request(at, player, Method::PUT, &path);
            request.header("content-type", "application/octet-stream").body(record.clone())
        };
        let action = Action::Put(generation, header.checksum);
        self.perform(rng, player, Some(lobby), action, request, |reply| reply.ok().map(|_| (lobby, Answer::Nothing)))
            .await
    }
}

fn seat(bytes: &[u8]) -> Option<(ConnectionId, LobbyView)> {
    let mut seat: Value = serde_json::from_slice(bytes).ok()?;
    let connection = serde_json::from_value(seat["connection"].take()).ok()?;
    Some((connection, serde_json::from_value(seat["lobby"].take()).ok()?))
}
