//! One decision in the making, and what time alone decides.

mod host;
mod manage;
mod seats;

use std::time::Duration;

use crate::error::Rejection;
use crate::id::{EventSeq, HostEpoch};
use crate::limits;
use crate::message::{Event, EventBody};
use crate::time::Timestamp;

use super::{Command, HostState, LeaveReason, Lobby, LossCause, ParkReason, Presence};

/// One decision in the making: the lobby, and what has happened so far.
pub(super) struct Step {
    lobby: Lobby,
    events: Vec<Event>,
    now: Timestamp,
}

impl Step {
    pub(super) const fn new(lobby: Lobby, now: Timestamp) -> Self {
        Self { lobby, events: Vec::new(), now }
    }

    /// Does what a command says. Its epoch and its actor have been checked.
    pub(super) fn take(&mut self, command: Command) -> Result<(), Rejection> {
        match command {
            Command::Join(newcomer) => self.join(newcomer)?,
            Command::Reconnect(returning) => self.reconnect(returning)?,
            Command::Connect { connection, player, peer_key, holder } => {
                self.connect(connection, player, peer_key, holder)?;
            }
            Command::Disconnect { connection, peer_key, holder } => self.disconnect(connection, peer_key, holder),
            Command::Leave { connection, player } => self.leave(connection, player)?,
            Command::Ready { connection, .. } => self.ready(connection)?,
            Command::HostSilent { .. } => self.host_silent(),
            Command::HostHeard { .. } => self.host_heard(),
            Command::Meet { relay, instead_of } if self.lobby.relay == instead_of => self.lobby.relay = Some(relay),
            Command::Meet { .. } | Command::Due => {}
            Command::Update { patch, .. } => self.update(patch)?,
            Command::UpdateMember { connection, patch } => self.update_member(connection, patch)?,
            Command::Kick { connection, .. } => self.kick(connection)?,
            Command::Ban { player, ban, .. } => self.ban(player, ban)?,
            Command::Unban { player, .. } => self.unban(player)?,
            Command::Replace { to, .. } => self.replace_host(to)?,
            Command::AskHandOver { to, .. } => self.ask_hand_over(to)?,
            Command::RotateCode { code, .. } => self.rotate_code(code),
            Command::Close { .. } => self.close(),
            Command::Bulk(bulk) => self.bulk(bulk)?,
            Command::If { seq, .. } if seq != self.lobby.last_event => {
                return Err(Rejection::Changed { current: self.lobby.last_event });
            }
            Command::If { command, .. } => self.take(*command)?,
            Command::Resume => self.resume(),
        }
        Ok(())
    }

    fn close(&mut self) {
        self.lobby.closed = true;
        self.lobby.hand_over = None;
        self.emit(EventBody::LobbyClosed);
    }

    fn emit(&mut self, body: EventBody) {
        self.lobby.updated_at = self.now;
        self.lobby.last_event = EventSeq(self.lobby.last_event.0 + 1);
        self.events.push(Event { seq: self.lobby.last_event, at: self.now, epoch: self.lobby.epoch, body });
    }

    /// Announces the successor if it has changed. Last, so that it is right for all that happened.
    pub(super) fn finish(mut self) -> (Lobby, Vec<Event>) {
        let successor = self.lobby.ranking().first();
        if successor != self.lobby.successor && !self.lobby.closed {
            self.lobby.successor = successor;
            self.emit(EventBody::SuccessorChanged { successor });
        }
        (self.lobby, self.events)
    }

    /// Gives every deadline that has passed its time again; and every one that lies further ahead than it can: the clock was set
    /// back meanwhile.
    fn resume(&mut self) {
        let now = self.now;
        let settings = self.lobby.settings.clone();
        let is_off = |at: Timestamp, term: Duration| at <= now || at > now.after(term);
        match &mut self.lobby.host {
            HostState::Lost { host, cause, deadline, .. } if is_off(*deadline, settings.election_delay()) => {
                *deadline = now.after(settings.election_delay());
                let (host, cause, deadline) = (*host, *cause, *deadline);
                self.emit(EventBody::HostLost { host, cause, deadline });
            }
            HostState::Elected { ready_by, .. } if is_off(*ready_by, settings.ready_timeout()) => {
                *ready_by = now.after(settings.ready_timeout());
            }
            HostState::Vouched { until, .. } if is_off(*until, limits::VOUCH) => *until = now.after(limits::VOUCH),
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => {}
        }
        if let Some(asked) = &mut self.lobby.hand_over
            && is_off(asked.until, limits::HAND_OVER_TIMEOUT)
        {
            asked.until = now.after(limits::HAND_OVER_TIMEOUT);
        }
        let seats = self.lobby.members.keys().copied();
        let removal = settings.removal_delay();
        let overdue: Vec<_> =
            seats.filter(|&seat| self.lobby.removal_at(seat).is_some_and(|at| is_off(at, removal))).collect();
        for connection in overdue {
            if let Some(member) = self.lobby.members.get_mut(&connection) {
                member.presence = Presence::Disconnected { since: now };
                self.emit(EventBody::MemberDisconnected { connection });
            }
        }
    }

    /// Does everything that is due. Each turn of the loop ends a deadline, a member or the lobby, so it ends.
    pub(super) fn settle(&mut self) {
        while !self.lobby.closed && self.settle_once() {}
    }

    fn settle_once(&mut self) -> bool {
        let due = |at: Timestamp| at <= self.now;
        if self.lobby.hand_over.is_some_and(|asked| due(asked.until) || !self.lobby.is_eligible(asked.to)) {
            self.end_hand_over();
            return true;
        }
        match self.lobby.host {
            HostState::Lost { since, cause, lost_at, deadline, .. } if due(deadline) => {
                // Dead soon after it was elected: what it restored may be what killed it.
                let was_elected = self.lobby.epoch > HostEpoch::FIRST;
                if was_elected && cause != LossCause::Left && lost_at.since(since) < limits::HOST_PROBATION {
                    self.lobby.failed_elections.push(self.now);
                }
                self.elect(Vec::new());
                return true;
            }
            HostState::Elected { ready_by, .. } if due(ready_by) => {
                self.election_failed();
                return true;
            }
            HostState::Vouched { host, until, .. } if due(until) => {
                // The guests' word has kept its seat: the removal delay begins now.
                if let Some(member) = self.lobby.members.get_mut(&host) {
                    member.presence = Presence::Disconnected { since: self.now };
                    self.emit(EventBody::MemberDisconnected { connection: host });
                }
                self.lose_host(LossCause::Disconnected);
                return true;
            }
            HostState::Parked { reason: ParkReason::NobodyEligible, .. } if self.lobby.ranking().first().is_some() => {
                self.elect(Vec::new());
                return true;
            }
            HostState::Parked { until: Some(until), .. } if due(until) => {
                self.lobby.failed_elections.clear();
                self.elect(Vec::new());
                return true;
            }
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => {}
        }
        let overdue =
            self.lobby.members.keys().copied().find(|&connection| self.lobby.removal_at(connection).is_some_and(due));
        if let Some(connection) = overdue {
            self.give_up_seat(connection, LeaveReason::Removed);
            return true;
        }
        if self.lobby.empty_since.is_some_and(|since| due(since.after(limits::EMPTY_LOBBY_KEPT))) {
            self.close();
        }
        false
    }
}
