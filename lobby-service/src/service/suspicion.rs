//! What guests, hosts and relays say of a host: brought to [`protocol::suspicion::Suspicion`], and its verdicts carried out.

use std::sync::Arc;
use std::time::Instant;

use protocol::id::{ConnectionId, LobbyId};
use protocol::lobby::{Command, HostState, Lobby};
use protocol::message::ClientMessage;
use protocol::presence::Seat;
use protocol::relay::HostSound;
use protocol::suspicion::Verdict;

use super::Service;
use crate::events::Room;
use crate::news::Said;

impl Service {
    /// A member says something on its socket. Returns false for what has no place there.
    pub(crate) fn told_by_member(self: &Arc<Self>, (lobby, from): Seat, message: ClientMessage) -> bool {
        let said = match message {
            ClientMessage::Hello { .. } | ClientMessage::Signal { .. } => return false,
            ClientMessage::Report { epoch, hears_host } => Said::Report { lobby, from, epoch, hears_host },
            ClientMessage::Hears { epoch, guests } => Said::Hears { lobby, from, epoch, guests },
        };
        self.said(said);
        true
    }

    /// A relay says something.
    pub(crate) fn told_by_relay(self: &Arc<Self>, sound: HostSound) {
        let said = Said::Sound { lobby: sound.lobby, epoch: sound.epoch, heard: sound.heard };
        self.said(said);
    }

    /// Something was said here: the other instances are to hear it as well.
    fn said(self: &Arc<Self>, said: Said) {
        let now = Instant::now();
        if let Some(from) = said.is_repeated_for() {
            self.rooms.visit(said.lobby(), |room| room.words.insert(from, (said.clone(), now)));
        }
        self.news.said(said.clone(), now);
        self.told(said, now);
    }

    /// Something was said, here or at another instance: whoever listens to the lobby weighs it.
    pub(crate) fn told(self: &Arc<Self>, said: Said, now: Instant) {
        let lobby = said.lobby();
        self.rooms.visit(lobby, |room| {
            let host = running_host(&room.head.lobby);
            match said {
                // A host has no say in whether it is heard.
                Said::Report { from, epoch, hears_host, .. } if host != Some(from) => {
                    room.suspicion.handle_report(from, epoch, hears_host, now);
                }
                // Only the host was asked.
                Said::Hears { from, epoch, guests, .. } if host == Some(from) => {
                    room.suspicion.handle_answer(epoch, guests, now);
                }
                Said::Sound { epoch, heard, .. } => room.suspicion.handle_relay(epoch, heard),
                Said::Report { .. } | Said::Hears { .. } => {}
            }
        });
        self.consider(lobby);
    }

    /// Weighs what was said of a lobby's host, and carries out what follows.
    pub(super) fn consider(self: &Arc<Self>, lobby: LobbyId) {
        let now = Instant::now();
        let considered = self.rooms.visit(lobby, |room| (verdict(room, now), arm(room, now)));
        let Some((verdict, timer)) = considered else { return };
        if let Some(at) = timer {
            self.consider_at(lobby, at);
        }
        match verdict {
            Some(Verdict::Challenge { host, epoch }) => self.leases.challenge((lobby, host), epoch),
            // Whether the host was asked and did not answer is known where it is connected.
            Some(Verdict::Tell(Command::HostSilent { .. })) if !self.hears_host(lobby) => {
                self.rooms.visit(lobby, |room| room.telling = false);
            }
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

    fn hears_host(&self, lobby: LobbyId) -> bool {
        let host = self.rooms.visit(lobby, |room| running_host(&room.head.lobby)).flatten();
        host.is_some_and(|host| self.leases.is_known((lobby, host)))
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
    let verdict = room.suspicion.assess(&room.head.lobby, now);
    room.telling = matches!(verdict, Some(Verdict::Tell(_)));
    verdict
}

/// The time for which a timer is to be started, unless one that ends sooner is running.
fn arm(room: &mut Room, now: Instant) -> Option<Instant> {
    let is_sooner = |at: &Instant| *at > now && room.armed.is_none_or(|armed| *at < armed);
    let at = room.suspicion.poll_timeout().filter(is_sooner)?;
    room.armed = Some(at);
    Some(at)
}
