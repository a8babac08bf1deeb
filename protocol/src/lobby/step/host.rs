//! Losing hosts and electing others.

use std::time::Duration;

use crate::error::Rejection;
use crate::id::ConnectionId;
use crate::limits;
use crate::message::EventBody;
use crate::time::Timestamp;

use super::super::election::Ranking;
use super::super::{HandOver, HostState, LossCause, ParkReason};
use super::Step;

impl Step {
    pub(super) fn ready(&mut self, connection: ConnectionId) -> Result<(), Rejection> {
        match self.lobby.host {
            HostState::Elected { host, .. } if host == connection => {
                self.lobby.host = HostState::Present { host, since: self.now };
                self.emit(EventBody::HostReady { host });
                Ok(())
            }
            // Said again because the answer was lost.
            HostState::Present { host, .. } | HostState::Vouched { host, .. } | HostState::Lost { host, .. }
                if host == connection =>
            {
                Ok(())
            }
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => Err(Rejection::NotHost(connection)),
        }
    }

    pub(super) fn host_silent(&mut self) {
        // A host that nobody could replace stays: whoever does not hear it has nothing better to follow.
        if matches!(self.lobby.host, HostState::Present { .. }) && self.lobby.ranking().first().is_some() {
            self.lose_host(LossCause::Silent);
        }
    }

    pub(super) fn host_heard(&mut self) {
        let until = self.now.after(limits::VOUCH);
        let (host, since) = match self.lobby.host {
            HostState::Lost { host, since, cause: LossCause::Silent | LossCause::Disconnected, .. } => (host, since),
            HostState::Parked { reason: ParkReason::NobodyEligible, former: Some(host), .. } => (host, self.now),
            HostState::Vouched { host, since, .. } => {
                self.lobby.host = HostState::Vouched { host, since, until };
                return;
            }
            HostState::Present { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => return,
        };
        if self.lobby.is_connected(host) {
            self.lobby.host = HostState::Present { host, since };
            self.emit(EventBody::HostReturned { host });
        } else {
            self.lobby.host = HostState::Vouched { host, since, until };
            self.emit(EventBody::HostVouched { host });
        }
    }

    pub(super) fn lose_host(&mut self, cause: LossCause) {
        let (HostState::Present { host, since } | HostState::Vouched { host, since, .. }) = self.lobby.host else {
            return;
        };
        let delay = match cause {
            LossCause::Disconnected | LossCause::Silent => self.lobby.settings.election_delay(),
            LossCause::Restarted | LossCause::Left | LossCause::Replaced => Duration::ZERO,
        };
        let deadline = self.now.after(delay);
        self.lobby.hand_over = None;
        self.lobby.host = HostState::Lost { host, since, cause, lost_at: self.now, deadline };
        self.emit(EventBody::HostLost { host, cause, deadline });
    }

    /// The one elected is not ready in time, or gone: the next one.
    pub(super) fn election_failed(&mut self) {
        let HostState::Elected { host, tried, .. } = &mut self.lobby.host else { return };
        let host = *host;
        let mut tried = std::mem::take(tried);
        tried.push(host);
        self.lobby.failed_elections.push(self.now);
        self.emit(EventBody::ElectionFailed { host });
        self.elect(tried);
    }

    pub(super) fn elect(&mut self, mut tried: Vec<ConnectionId>) {
        let now = self.now;
        self.lobby.failed_elections.retain(|&at| now.since(at) < limits::FAILED_ELECTION_WINDOW);
        if self.lobby.failed_elections.len() >= limits::FAILED_ELECTIONS_MAX {
            let until = now.after(limits::FAILED_ELECTION_WINDOW);
            return self.park(ParkReason::TooManyFailedElections, Some(until));
        }
        let ranking = self.lobby.rank(&tried, self.lobby.silent_host());
        let Some(host) = ranking.first() else {
            return self.nobody_to_elect();
        };
        // Everybody has failed once: they are tried again, until there were too many failures.
        if tried.contains(&host) {
            tried.clear();
        }
        self.enthrone(host, tried, ranking);
    }

    fn enthrone(&mut self, host: ConnectionId, tried: Vec<ConnectionId>, ranking: Ranking) {
        self.lobby.epoch = self.lobby.epoch.next();
        let ready_by = self.now.after(self.lobby.settings.ready_timeout());
        self.lobby.host = HostState::Elected { host, ready_by, tried };
        self.emit(EventBody::HostElected { host, ready_by, ranking });
    }

    /// Another host, because somebody wishes it. The one before stays a candidate, should the new one fail.
    pub(super) fn replace_host(&mut self, to: Option<ConnectionId>) -> Result<(), Rejection> {
        let (to, ranking) = self.choose(to)?;
        self.lose_host(LossCause::Replaced);
        self.lobby.failed_elections.clear();
        self.enthrone(to, Vec::new(), ranking);
        Ok(())
    }

    /// The member that somebody wishes as host, or the first in the ranking; and the ranking with it in front.
    fn choose(&self, to: Option<ConnectionId>) -> Result<(ConnectionId, Ranking), Rejection> {
        let ranking = self.lobby.ranking();
        let to = to.or(ranking.first()).ok_or(Rejection::NobodyEligible)?;
        if !self.lobby.has_member(to) {
            return Err(Rejection::NotMember);
        }
        Ok((to, ranking.chosen(to).ok_or(Rejection::NotEligible(to))?))
    }

    /// The host is to prepare a successor. It stays host until it names that one, or for good.
    pub(super) fn ask_hand_over(&mut self, to: Option<ConnectionId>) -> Result<(), Rejection> {
        match self.lobby.host {
            HostState::Present { .. } | HostState::Vouched { .. } => {}
            HostState::Lost { .. } | HostState::Elected { .. } | HostState::Parked { .. } => {
                return Err(Rejection::NoHost);
            }
        }
        let asked = self.lobby.hand_over.map(|asked| asked.to);
        let (to, _) = self.choose(to.or(asked))?;
        if asked != Some(to) {
            let until = self.now.after(limits::HAND_OVER_TIMEOUT);
            self.lobby.hand_over = Some(HandOver { to, until });
            self.emit(EventBody::HandOverAsked { to, until });
        }
        Ok(())
    }

    /// The host goes on as if nothing had been asked (P17).
    pub(super) fn end_hand_over(&mut self) {
        if self.lobby.hand_over.take().is_some() {
            self.emit(EventBody::HandOverEnded);
        }
    }

    /// A silent host that is still there goes on; else nobody does, for now.
    fn nobody_to_elect(&mut self) {
        match self.lobby.host {
            HostState::Lost { host, since, cause: LossCause::Silent, .. } if self.lobby.is_connected(host) => {
                self.lobby.host = HostState::Present { host, since };
                self.emit(EventBody::HostReturned { host });
            }
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => self.park(ParkReason::NobodyEligible, None),
        }
    }

    fn park(&mut self, reason: ParkReason, until: Option<Timestamp>) {
        let former = match self.lobby.host {
            HostState::Lost { host, cause: LossCause::Disconnected | LossCause::Silent, .. } => Some(host),
            HostState::Parked { former, .. } => former,
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. } => None,
        };
        self.lobby.host = HostState::Parked { reason, former, until };
        self.emit(EventBody::HostParked { reason, until });
    }
}
