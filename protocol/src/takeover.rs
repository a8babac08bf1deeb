//! Which state an elected member goes on from: the newest of its own, the lobby's, and what the members that it reaches hold.
//!
//! One that its host kept warm needs only the lobby's word that nothing newer is durable. Another waits a moment for the members to
//! arrive and say what they hold, and asks the one that has the newest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::id::{ConnectionId, HostEpoch};
use crate::limits;
use crate::snapshot::Generation;

/// Where the newest state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Held here.
    Own,
    /// Fetched from the lobby.
    Lobby,
    /// Nothing was ever kept.
    Nothing,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask the lobby whether it has something newer than this.
    AskLobby {
        /// `None`: anything.
        newer_than: Option<Generation>,
    },
    /// Ask a member for what it holds.
    AskMember {
        /// Whom.
        member: ConnectionId,
        /// What it said that it holds.
        generation: Generation,
    },
    /// Go on from this.
    Use(Source),
}

/// The lobby's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LobbyHas {
    /// This one.
    Newer(Generation),
    /// Nothing newer than what was asked about.
    NothingNewer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lobby {
    ToAsk,
    Asked,
    Has(Option<Generation>),
}

/// One election's search.
#[derive(Debug)]
pub struct Takeover {
    epoch: HostEpoch,
    own: Option<Generation>,
    /// The last host kept this member warm.
    warm: bool,
    lobby: Lobby,
    /// Members that are expected and have not said what they hold.
    silent: BTreeSet<ConnectionId>,
    holders: BTreeMap<ConnectionId, Generation>,
    asked: Option<(ConnectionId, Instant)>,
    wait_until: Instant,
    done: bool,
}

impl Takeover {
    /// An election was won. `own` is the newest state that is held here; `members` are those who may hold another.
    #[must_use]
    pub fn new(
        epoch: HostEpoch,
        own: Option<Generation>,
        warm: bool,
        members: impl IntoIterator<Item = ConnectionId>,
        now: Instant,
    ) -> Self {
        Self {
            epoch,
            own,
            warm: warm && own.is_some(),
            lobby: Lobby::ToAsk,
            silent: members.into_iter().collect(),
            holders: BTreeMap::new(),
            asked: None,
            wait_until: now + limits::NEWEST_STATE_WAIT,
            done: false,
        }
    }

    /// Which election.
    #[must_use]
    pub const fn epoch(&self) -> HostEpoch {
        self.epoch
    }

    /// A member has arrived, and holds this. If it was asked, then on a link that is gone.
    pub fn handle_hello(&mut self, member: ConnectionId, holds: Option<Generation>) {
        self.handle_gone(member);
        // No state is of an epoch that is still to come.
        if let Some(generation) = holds.filter(|generation| generation.epoch <= self.epoch) {
            self.holders.insert(member, generation);
        }
    }

    /// A member is gone.
    pub fn handle_gone(&mut self, member: ConnectionId) {
        self.silent.remove(&member);
        self.holders.remove(&member);
        self.asked.take_if(|(asked, _)| *asked == member);
    }

    /// A member has sent what it holds, and it is held here now.
    pub fn handle_state(&mut self, from: ConnectionId, generation: Generation) {
        self.own = self.own.max(Some(generation));
        self.holders.remove(&from);
        self.asked.take_if(|(asked, _)| *asked == from);
    }

    /// The lobby has answered.
    pub fn handle_lobby(&mut self, answer: LobbyHas) {
        self.lobby = Lobby::Has(match answer {
            LobbyHas::Newer(generation) => Some(generation),
            LobbyHas::NothingNewer => None,
        });
    }

    /// The lobby could not be asked: it is asked again.
    pub fn handle_lobby_failed(&mut self) {
        self.lobby = Lobby::ToAsk;
    }

    /// What is to be done now.
    pub fn poll(&mut self, now: Instant) -> Option<Step> {
        if self.done {
            return None;
        }
        if let Some((member, until)) = self.asked
            && until <= now
        {
            self.handle_gone(member);
        }
        let lobbys = match self.lobby {
            Lobby::ToAsk => {
                self.lobby = Lobby::Asked;
                return Some(Step::AskLobby { newer_than: self.own });
            }
            Lobby::Asked => return None,
            Lobby::Has(generation) => generation,
        };
        let best = self.own.max(lobbys);
        if self.warm && self.own == best {
            return self.finish(lobbys);
        }
        if self.asked.is_some() || (!self.silent.is_empty() && now < self.wait_until) {
            return None;
        }
        let newest = self.holders.iter().max_by_key(|(_, generation)| **generation);
        if let Some((&member, &generation)) = newest.filter(|(_, generation)| Some(**generation) > best) {
            self.asked = Some((member, now + limits::STATE_FROM_MEMBER_TIMEOUT));
            return Some(Step::AskMember { member, generation });
        }
        self.finish(lobbys)
    }

    /// When [`Self::poll`] may have something although nothing happened.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.done || !matches!(self.lobby, Lobby::Has(_)) {
            return None;
        }
        self.asked.map(|(_, until)| until).or((!self.silent.is_empty()).then_some(self.wait_until))
    }

    fn finish(&mut self, lobbys: Option<Generation>) -> Option<Step> {
        self.done = true;
        Some(Step::Use(match (self.own, lobbys) {
            (None, None) => Source::Nothing,
            (own, lobbys) if own >= lobbys => Source::Own,
            (_, _) => Source::Lobby,
        }))
    }
}

#[cfg(test)]
mod tests;
