//! Is the host silent? What the guests and the relay say, weighed so that one liar moves nothing.
//!
//! A live machine, one for each lobby that somebody reported about; soft state, never part of the lobby row.
//!
//! - The host's socket lives, but a majority of the guests in game reports silence: the host is challenged, and answers which
//!   guests it hears. A guest that it claims to hear is *disputed* and does not count, unless the relay finds the host silent.
//! - With fewer than [`limits::GUESTS_THAT_DECIDE`] guests the relay must find the host silent too. Where the relay knows
//!   nothing (a direct link), a host that does not answer, or admits it, is silent.
//! - If all guests in game report silence, enough to decide, and the relay finds the host silent too, nothing that the host
//!   answers would count: it is not asked.
//! - The lobby has lost the host (and replaced it by nobody), but a majority of the guests in game says, after the loss, that it
//!   hears it: it stays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::id::{ConnectionId, HostEpoch};
use crate::limits;
use crate::lobby::{Command, HostState, Lobby};

/// What the relay knows of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RelayOpinion {
    /// It never saw data from it.
    #[default]
    Unknown,
    /// Data came lately.
    Heard,
    /// Data came, and stopped.
    Silent,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub enum Verdict {
    /// Ask the host whom it hears.
    Challenge {
        /// The host.
        host: ConnectionId,
        /// Its epoch.
        epoch: HostEpoch,
    },
    /// Tell the lobby.
    Tell(Command),
}

#[derive(Debug, Clone, Copy)]
struct Report {
    hears: bool,
    at: Instant,
}

#[derive(Debug)]
enum Challenge {
    None,
    Asked {
        at: Instant,
    },
    Answered {
        hears: BTreeSet<ConnectionId>,
        at: Instant,
    },
    /// The lobby was told. If it did not hear that, the host is asked again after a while.
    Told {
        at: Instant,
    },
}

/// What is said about one lobby's host.
#[derive(Debug)]
pub struct Suspicion {
    epoch: HostEpoch,
    reports: BTreeMap<ConnectionId, Report>,
    relay: RelayOpinion,
    challenge: Challenge,
    /// When the lobby lost its host, as far as this machine saw.
    lost_at: Option<Instant>,
    told_at: Option<Instant>,
    /// Until when silence is not believed: see [`Suspicion::resumed`].
    listens_from: Option<Instant>,
}

impl Suspicion {
    /// Nothing is said yet about the host of this epoch.
    #[must_use]
    pub const fn new(epoch: HostEpoch) -> Self {
        Self {
            epoch,
            reports: BTreeMap::new(),
            relay: RelayOpinion::Unknown,
            challenge: Challenge::None,
            lost_at: None,
            told_at: None,
            listens_from: None,
        }
    }

    /// As [`Self::new`], for a service that was away: until everybody has had the time to come back and say what it hears, the
    /// few who are first are not the majority.
    #[must_use]
    pub fn resumed(epoch: HostEpoch, listens_from: Instant) -> Self {
        Self { listens_from: Some(listens_from), ..Self::new(epoch) }
    }

    /// A guest says, or said at that time, whether it hears the host. Of another epoch, or older than what is known, it changes
    /// nothing.
    pub fn handle_report(&mut self, guest: ConnectionId, epoch: HostEpoch, hears: bool, now: Instant) {
        let is_newer = self.reports.get(&guest).is_none_or(|known| known.at <= now);
        if epoch == self.epoch && is_newer {
            self.reports.insert(guest, Report { hears, at: now });
        }
    }

    /// The relay says what it knows of the host of an epoch.
    pub fn handle_relay(&mut self, epoch: HostEpoch, heard: bool) {
        if epoch == self.epoch {
            self.relay = if heard { RelayOpinion::Heard } else { RelayOpinion::Silent };
        }
    }

    /// The host answers a challenge.
    pub fn handle_answer(&mut self, epoch: HostEpoch, hears: impl IntoIterator<Item = ConnectionId>, now: Instant) {
        if epoch == self.epoch && matches!(self.challenge, Challenge::Asked { .. }) {
            self.challenge = Challenge::Answered { hears: hears.into_iter().collect(), at: now };
        }
    }

    /// The lobby has changed: a new epoch forgets what was said of the old one.
    pub fn handle_lobby(&mut self, lobby: &Lobby, now: Instant) {
        if lobby.epoch() != self.epoch {
            *self = Self { listens_from: self.listens_from, ..Self::new(lobby.epoch()) };
        }
        match lobby.host() {
            HostState::Lost { .. } | HostState::Parked { .. } => {
                self.lost_at.get_or_insert(now);
            }
            HostState::Present { .. } | HostState::Vouched { .. } | HostState::Elected { .. } => self.lost_at = None,
        }
        if !matches!(lobby.host(), HostState::Present { .. }) {
            self.challenge = Challenge::None;
        }
        self.reports.retain(|&guest, _| lobby.is_connected(guest));
    }

    /// Weighs what was said. Call after each input and at [`Self::poll_timeout`].
    pub fn assess(&mut self, lobby: &Lobby, now: Instant) -> Option<Verdict> {
        self.listens_from.take_if(|from| *from <= now);
        // A host is not its own guest.
        if let Some(host) = lobby.host().host() {
            self.reports.remove(&host);
        }
        match *lobby.host() {
            HostState::Present { host, .. } if lobby.is_connected(host) => self.assess_present(host, lobby, now),
            HostState::Lost { .. } | HostState::Parked { .. } => {
                let lost_at = self.lost_at?;
                let vouched = self.majority(|report| report.hears && report.at >= lost_at);
                (vouched && lobby.host_may_be_heard())
                    .then_some(Verdict::Tell(Command::HostHeard { epoch: self.epoch }))
            }
            HostState::Vouched { .. } => {
                let renewed = self.majority(|report| report.hears && now - report.at < limits::VOUCH / 2);
                let due = self.told_at.is_none_or(|at| now - at >= limits::VOUCH / 3);
                (renewed && due).then(|| {
                    self.told_at = Some(now);
                    Verdict::Tell(Command::HostHeard { epoch: self.epoch })
                })
            }
            HostState::Present { .. } | HostState::Elected { .. } => None,
        }
    }

    /// Whether anybody, here or elsewhere, has reason to doubt the host: then everything that is known counts.
    #[must_use]
    pub fn is_stirred(&self) -> bool {
        self.relay == RelayOpinion::Silent
            || self.lost_at.is_some()
            || self.reports.values().any(|report| !report.hears)
    }

    /// When [`Self::assess`] is to be called although nothing was said.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.challenge {
            Challenge::Asked { at } | Challenge::Answered { at, .. } | Challenge::Told { at } => {
                Some(at + limits::CHALLENGE_TIMEOUT)
            }
            Challenge::None => self.listens_from,
        }
    }

    fn assess_present(&mut self, host: ConnectionId, lobby: &Lobby, now: Instant) -> Option<Verdict> {
        if self.listens_from.is_some() {
            return None;
        }
        if !self.majority(|report| !report.hears) {
            self.challenge = Challenge::None;
            return None;
        }
        match &self.challenge {
            Challenge::None | Challenge::Asked { .. } if self.is_beyond_doubt(lobby) => Some(self.tell(now)),
            Challenge::None => {
                self.challenge = Challenge::Asked { at: now };
                Some(Verdict::Challenge { host, epoch: self.epoch })
            }
            Challenge::Asked { at } if now - *at < limits::CHALLENGE_TIMEOUT => None,
            Challenge::Asked { .. } | Challenge::Answered { .. } if self.is_silent() => Some(self.tell(now)),
            // Not convinced: asked again after a while, for as long as the majority says so.
            Challenge::Answered { at, .. } | Challenge::Told { at } if now - *at < limits::CHALLENGE_TIMEOUT => None,
            Challenge::Asked { .. } | Challenge::Answered { .. } | Challenge::Told { .. } => {
                self.challenge = Challenge::Asked { at: now };
                Some(Verdict::Challenge { host, epoch: self.epoch })
            }
        }
    }

    fn tell(&mut self, now: Instant) -> Verdict {
        self.challenge = Challenge::Told { at: now };
        Verdict::Tell(Command::HostSilent { epoch: self.epoch })
    }

    /// Everybody who says anything says that it is silent: the relay, and so many guests that they are most of those who are
    /// connected, too.
    fn is_beyond_doubt(&self, lobby: &Lobby) -> bool {
        let guests = lobby.connected().count().saturating_sub(1);
        let enough = self.reports.len() >= limits::GUESTS_THAT_DECIDE && 2 * self.reports.len() > guests;
        self.relay == RelayOpinion::Silent && enough && self.reports.values().all(|report| !report.hears)
    }

    fn is_silent(&self) -> bool {
        let undisputed = match &self.challenge {
            Challenge::Answered { hears, .. } => {
                let silent =
                    self.reports.iter().filter(|(guest, report)| !report.hears && !hears.contains(guest)).count();
                2 * silent > self.reports.len()
            }
            Challenge::Asked { .. } | Challenge::Told { .. } | Challenge::None => true,
        };
        match self.relay {
            RelayOpinion::Silent => true,
            RelayOpinion::Heard => undisputed && self.reports.len() >= limits::GUESTS_THAT_DECIDE,
            RelayOpinion::Unknown => undisputed,
        }
    }

    fn majority(&self, says: impl Fn(&Report) -> bool) -> bool {
        2 * self.reports.values().filter(|report| says(report)).count() > self.reports.len()
    }
}

#[cfg(test)]
mod tests;
