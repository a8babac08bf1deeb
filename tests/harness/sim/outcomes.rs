//! What became of commands: counted, checked, and told to who waits.

#![expect(clippy::wildcard_enum_match_arm, reason = "a check looks for a few events among many")]

use protocol::commit::{Head, Outcome, Version};
use protocol::error::Rejection;
use protocol::hand_over::CommitAnswer;
use protocol::id::{PeerKey, PlayerId, SecretHash};
use protocol::lobby::{Command, HostState, LeaveReason, Lobby, LossCause, Newcomer, Return, Viewer};
use protocol::message::{Event, EventBody};
use protocol::migration::ReadyAnswer;

use super::Sim;
use super::commits::Waiting;
use super::service::Answer;

impl Sim {
    pub(super) fn count_moves(&mut self, before: &Lobby, after: &Lobby) {
        let was: Vec<_> = before.connected().collect();
        let moved = |&(seat, key, holder): &_| was.iter().any(|&(s, k, h)| (s, k) == (seat, key) && h != holder);
        self.stats.holders_moved += after.connected().filter(moved).count() as u64;
    }

    pub(super) fn count_events(&mut self, events: &[Event]) {
        for event in events {
            let count = match &event.body {
                EventBody::HostElected { .. } => &mut self.stats.elections,
                EventBody::HostReady { .. } => &mut self.stats.migrations,
                EventBody::ElectionFailed { .. } => &mut self.stats.winners_never_ready,
                EventBody::HostReturned { .. } => &mut self.stats.hosts_returned,
                EventBody::HostVouched { .. } => &mut self.stats.hosts_vouched,
                EventBody::HostLost { cause: LossCause::Silent, .. } => &mut self.stats.hosts_silent,
                EventBody::HostParked { until: None, .. } => &mut self.stats.parked,
                EventBody::HostParked { until: Some(_), .. } => &mut self.stats.paused_by_failures,
                EventBody::MemberLeft { reason: LeaveReason::Removed, .. } => &mut self.stats.seats_removed,
                EventBody::MemberLeft { .. } => &mut self.stats.leaves,
                EventBody::MemberJoined { .. }
                | EventBody::MemberChanged { .. }
                | EventBody::MemberConnected { .. }
                | EventBody::MemberDisconnected { .. }
                | EventBody::HostLost { .. }
                | EventBody::HandOverAsked { .. }
                | EventBody::HandOverEnded
                | EventBody::SuccessorChanged { .. }
                | EventBody::LobbyChanged { .. }
                | EventBody::DataChanged { .. }
                | EventBody::PrivateDataChanged { .. }
                | EventBody::MemberDataChanged { .. }
                | EventBody::MemberPrivateDataChanged { .. }
                | EventBody::JoinCodeChanged { .. }
                | EventBody::PlayerBanned { .. }
                | EventBody::PlayerUnbanned { .. }
                | EventBody::Hidden
                | EventBody::LobbyClosed => continue,
            };
            *count += 1;
        }
    }

    /// P16: what is answered rests on the newest lobby, or on one that was it when the commands left.
    pub(super) fn check_newest(&mut self, answered: Version, newest: Option<Version>) {
        if newest.is_some_and(|newest| answered < newest) {
            self.violation("P16", format!("commands were answered from {answered:?}, but {newest:?} was stored"));
        }
    }

    /// P4: ready is taken at its own epoch only.
    pub(super) fn check_ready(&mut self, before: Option<&Lobby>, command: &Command, outcome: &Outcome) {
        let (Command::Ready { epoch, .. }, Some(before)) = (command, before) else { return };
        match outcome {
            Outcome::Applied(_) if before.epoch() != *epoch => {
                self.violation("P4", format!("ready of epoch {epoch} was taken at epoch {}", before.epoch()));
            }
            Outcome::Rejected(Rejection::StaleEpoch { .. }) => self.stats.stale_writes_refused += 1,
            _ => {}
        }
    }

    /// A newer socket opened while the loss of the older one was being saved: the seat is connected after all.
    pub(super) fn connect_again(&mut self, instance: usize, command: &Command, head: Option<&Head>) {
        let (Command::Disconnect { connection, peer_key, .. }, Some(head)) = (command.clone(), head) else { return };
        let at = &self.service.instances[instance];
        let player = head.lobby.view(Viewer::Members).member(connection).map(|member| member.player);
        if let Some(player) = player
            && !head.lobby.is_connected(connection)
            && at.presence.is_held_by((self.lobby, connection), peer_key)
        {
            let command = Command::Connect { connection, player, peer_key, holder: at.id };
            self.execute(instance, command, Waiting::Nobody);
        }
    }

    pub(super) fn answer_to(&mut self, instance: usize, command: &Command, outcome: Outcome) -> Answer {
        match (command, outcome) {
            (Command::Join(Newcomer { player, peer_key, secret: Some(secret), .. }), Outcome::Applied(lobby))
            | (Command::Reconnect(Return { player, peer_key, next: secret, .. }), Outcome::Applied(lobby)) => {
                self.seated(instance, &lobby, *player, *peer_key, *secret)
            }
            (Command::Reconnect(_), Outcome::Rejected(Rejection::WrongSecret)) => Answer::WrongSecret,
            (Command::Ready { epoch, .. }, Outcome::Applied(_)) => {
                Answer::Ready { epoch: *epoch, answer: ReadyAnswer::Confirmed }
            }
            (Command::Ready { epoch, .. }, Outcome::Rejected(_) | Outcome::NotFound) => {
                Answer::Ready { epoch: *epoch, answer: ReadyAnswer::Refused }
            }
            (Command::Leave { .. }, Outcome::Applied(_)) => Answer::Left,
            (Command::Replace { .. }, Outcome::Applied(_) | Outcome::Rejected(Rejection::StaleEpoch { .. })) => {
                Answer::HandedOver(CommitAnswer::Done)
            }
            (Command::Replace { .. }, Outcome::Rejected(_) | Outcome::NotFound) => {
                Answer::HandedOver(CommitAnswer::Refused)
            }
            (_, Outcome::Contended) => Answer::Unknown,
            (_, Outcome::Applied(_) | Outcome::Rejected(_) | Outcome::NotFound) => Answer::Refused,
        }
    }

    fn seated(
        &mut self,
        instance: usize,
        lobby: &Lobby,
        player: PlayerId,
        peer_key: PeerKey,
        secret: SecretHash,
    ) -> Answer {
        let Some(connection) = lobby.seat_of(player) else { return Answer::Refused };
        let (seat, now) = ((self.lobby, connection), self.now);
        let presence = &mut self.service.instances[instance].presence;
        if let Some(replaced) = presence.heartbeat(seat, peer_key, now) {
            self.close_socket(instance, replaced);
        }
        let view = Box::new(lobby.view(Viewer::Member(connection)));
        Answer::Joined { connection, view, secret }
    }

    /// Who is elected, and whether the host wished it.
    fn count_successors(&mut self, before: &Lobby, events: &[Event]) {
        for event in events {
            match event.body {
                EventBody::HostElected { host, .. } => {
                    self.stats.others_elected += u64::from(before.successor() != Some(host));
                }
                EventBody::HostLost { cause: LossCause::Replaced, .. } => {
                    self.stats.hand_overs_committed += 1;
                    self.history.replaced(before.epoch());
                }
                _ => {}
            }
        }
    }

    /// What an election must not do (P10): take the host from a game that a majority plays.
    pub(super) fn check_elections(&mut self, before: &Lobby, events: &[Event]) {
        self.count_successors(before, events);
        let elected = events.iter().any(|event| matches!(event.body, EventBody::HostElected { .. }));
        let (HostState::Present { host, .. } | HostState::Vouched { host, .. } | HostState::Lost { host, .. }) =
            *before.host()
        else {
            return;
        };
        let by_fault = |event: &Event| {
            use LossCause::{Disconnected, Left, Replaced, Restarted, Silent};
            match event.body {
                EventBody::HostLost { cause: Left | Restarted | Replaced, .. } => false,
                EventBody::HostLost { cause: Disconnected | Silent, .. } => true,
                _ => {
                    !matches!(event.body, EventBody::MemberLeft { connection, .. } if connection == host)
                        && !matches!(event.body, EventBody::MemberConnected { connection, restarted: true, .. } if connection == host)
                }
            }
        };
        if elected && events.iter().all(by_fault) {
            self.check_host_was_gone(host, before.epoch());
        }
    }
}
