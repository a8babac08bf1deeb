//! What guests, hosts and relays say of a host: brought to [`protocol::suspicion::Suspicion`], and its verdicts carried out.

use std::sync::Arc;
use std::time::Instant;

use protocol::id::{ConnectionId, LobbyId};
use protocol::lobby::{HostState, Lobby};
use protocol::message::ClientMessage;
use protocol::presence::Seat;
use protocol::relay::HostSound;
use protocol::suspicion::Verdict;

use super::Service;
use crate::events::Room;

impl Service {
    /// A member says something on its socket. Returns false for what has no place there.
    pub(crate) fn told_by_member(self: &Arc<Self>, (lobby, connection): Seat, message: ClientMessage) -> bool {
        let now = Instant::now();
        match message {
            ClientMessage::Hello { .. } => return false,
            ClientMessage::Report { epoch, hears_host } => {
                self.rooms.visit(lobby, |room| {
                    // A host has no say in whether it is heard.
                    if running_host(&room.lobby) != Some(connection) {
                        room.suspicion.handle_report(connection, epoch, hears_host, now);
                    }
                });
            }
            ClientMessage::Hears { epoch, guests } => {
                self.rooms.visit(lobby, |room| {
                    // Only the host was asked.
                    if running_host(&room.lobby) == Some(connection) {
                        room.suspicion.handle_answer(epoch, guests, now);
                    }
                });
            }
        }
        self.consider(lobby);
        true
    }

    /// A relay says something.
    pub(crate) fn told_by_relay(self: &Arc<Self>, sound: HostSound) {
        self.rooms.visit(sound.lobby, |room| room.suspicion.handle_relay(sound.epoch, sound.heard));
        self.consider(sound.lobby);
    }

    /// A lobby was saved.
    pub(super) fn lobby_changed(self: &Arc<Self>, lobby: &Lobby) {
        self.rooms.visit(lobby.id(), |room| {
            room.lobby = lobby.clone();
            room.suspicion.handle_lobby(lobby, Instant::now());
        });
        self.consider(lobby.id());
    }

    /// Weighs what was said of a lobby's host, and carries out what follows.
    fn consider(self: &Arc<Self>, lobby: LobbyId) {
        let now = Instant::now();
        let considered = self.rooms.visit(lobby, |room| (verdict(room, now), arm(room, now)));
        let Some((verdict, timer)) = considered else { return };
        if let Some(at) = timer {
            self.consider_at(lobby, at);
        }
        match verdict {
            Some(Verdict::Challenge { host, epoch }) => self.leases.challenge((lobby, host), epoch),
            Some(Verdict::Tell(command)) => {
                let service = Arc::clone(self);
                tokio::spawn(async move {
                    if let Err(error) = service.execute(lobby, command).await {
                        tracing::debug!(%error, "a verdict came too late, or could not be saved");
                    }
                    service.rooms.visit(lobby, |room| room.telling = false);
                    service.consider(lobby);
                });
            }
            None => {}
        }
    }

    fn consider_at(self: &Arc<Self>, lobby: LobbyId, at: Instant) {
        let service = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            service.rooms.visit(lobby, |room| room.armed = None);
            service.consider(lobby);
        });
    }
}

/// Who runs the game, also if the lobby has lost it.
const fn running_host(lobby: &Lobby) -> Option<ConnectionId> {
    match lobby.host() {
        HostState::Lost { host, .. } => Some(*host),
        state @ (HostState::Present { .. }
        | HostState::Vouched { .. }
        | HostState::Elected { .. }
        | HostState::Parked { .. }) => state.host(),
    }
}

/// While one verdict is on its way to the lobby, there is no other.
fn verdict(room: &mut Room, now: Instant) -> Option<Verdict> {
    if room.telling {
        return None;
    }
    let verdict = room.suspicion.assess(&room.lobby, now);
    room.telling = matches!(verdict, Some(Verdict::Tell(_)));
    verdict
}

/// The time for which a timer is to be started: one a lobby at a time.
fn arm(room: &mut Room, now: Instant) -> Option<Instant> {
    let at = room.suspicion.poll_timeout().filter(|&at| room.armed.is_none() && at > now)?;
    room.armed = Some(at);
    Some(at)
}
