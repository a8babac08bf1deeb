//! The order in which commands become fact: load, decide, save, publish, answer. Each step may be the last.
//!
//! A live machine for some commands of one lobby, which are decided one after the other and saved together, as one row. The shell
//! does what it says and reports how it went; a lobby that was changed by somebody else in the meantime is loaded and decided
//! anew. Nothing is published or answered before it was saved (P8).
//!
//! The lobby may come from a cache. A save proves that it was the newest; where nothing is to be saved, its version is confirmed
//! first, so that a stale cache costs a turn, never a wrong refusal.

use std::sync::Arc;

use crate::error::Rejection;
use crate::id::LobbyId;
use crate::lobby::{Command, Lobby};
use crate::message::Event;
use crate::planted::{self, Bug};
use crate::time::Timestamp;

/// The version of a stored lobby: +1 with every save.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// A lobby as it is, or was, stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// The lobby.
    pub lobby: Arc<Lobby>,
    /// Its version.
    pub version: Version,
}

/// How sure it is that a head is the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It was the newest after the commands had come.
    Current,
    /// It is from a cache; others may have saved a newer one.
    Cached,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Load the lobby and its version, then call [`Commit::loaded`].
    Load(LobbyId),
    /// Look whether this version still is the newest: call [`Commit::confirmed`] if it is, else [`Commit::loaded`] with the newest.
    Confirm(Version),
    /// Save the lobby with its events in one transaction, if its version still is `expected`; then call [`Commit::saved`].
    Save {
        /// The version that was loaded.
        expected: Version,
        /// What to save.
        lobby: Arc<Lobby>,
        /// Its new events.
        events: Vec<Event>,
    },
    /// Tell the subscribers that there is more, then call [`Commit::published`].
    Publish {
        /// The saved lobby.
        head: Head,
        /// Its new events, never none.
        events: Vec<Event>,
    },
    /// It is over: the lobby as it now is stored, if it is there, and how each command ended, in their order.
    Done(Option<Head>, Vec<Outcome>),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is fact; the lobby as it was right after it.
    Applied(Arc<Lobby>),
    /// The lobby refused it. It has changed nothing.
    Rejected(Rejection),
    /// There is no such lobby.
    NotFound,
    /// It was stale too often: others were faster each time. Nothing has changed; try later.
    Contended,
}

/// How a save ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// Durable, under the version after the expected one.
    Done,
    /// Another version is there. Nothing was written.
    Stale,
}

/// Times that a command is decided before the caller is asked to come back later.
pub const ATTEMPTS_MAX: u32 = 64;

/// Some commands of one lobby on their way.
#[derive(Debug)]
pub struct Commit {
    id: LobbyId,
    commands: Vec<Command>,
    attempts: u32,
    outcomes: Vec<Outcome>,
    head: Option<Head>,
    /// Saved under the head's version with the bug of that name planted, else what is to be published once it is saved.
    events: Vec<Event>,
}

impl Commit {
    /// Starts. The first step is a load; where the shell has a head at hand, it calls [`Self::loaded`] with that.
    #[must_use]
    pub const fn new(id: LobbyId, commands: Vec<Command>) -> (Self, Step) {
        let commit = Self { id, commands, attempts: 0, outcomes: Vec::new(), head: None, events: Vec::new() };
        (commit, Step::Load(id))
    }

    /// The lobby was loaded (or is not there). Decides.
    pub fn loaded(&mut self, head: Option<Head>, freshness: Freshness, now: Timestamp) -> Step {
        self.attempts += 1;
        let Some(before) = head else { return self.end_all(Outcome::NotFound) };
        let mut lobby = Arc::clone(&before.lobby);
        self.events.clear();
        self.outcomes.clear();
        for command in &self.commands {
            self.outcomes.push(match Lobby::clone(&lobby).apply(command.clone(), now) {
                Ok((next, events)) => {
                    // What changed nothing is the same value still.
                    if next != *lobby {
                        lobby = Arc::new(next);
                    }
                    self.events.extend(events);
                    Outcome::Applied(Arc::clone(&lobby))
                }
                Err(rejection) => Outcome::Rejected(rejection),
            });
        }
        let expected = before.version;
        let is_changed = *lobby != *before.lobby;
        self.head = Some(before);
        match (is_changed, freshness) {
            (true, _) if planted::is(Bug::PublishBeforeSave) && !self.events.is_empty() => {
                Step::Publish { head: Head { lobby, version: expected }, events: self.events.clone() }
            }
            (true, _) => Step::Save { expected, lobby, events: self.events.clone() },
            (false, Freshness::Cached) if !planted::is(Bug::CacheIsNotConfirmed) => Step::Confirm(expected),
            (false, Freshness::Current | Freshness::Cached) => self.end(),
        }
    }

    /// The version of the cached head is the newest: what was decided on it stands.
    pub fn confirmed(&mut self) -> Step {
        self.end()
    }

    /// The save ended.
    pub fn saved(&mut self, saved: Saved) -> Step {
        match (saved, self.newest()) {
            (Saved::Done, Some(head)) => {
                self.head = Some(head.clone());
                let events = std::mem::take(&mut self.events);
                if events.is_empty() { self.end() } else { Step::Publish { head, events } }
            }
            (Saved::Stale, _) if self.attempts < ATTEMPTS_MAX => Step::Load(self.id),
            (Saved::Stale | Saved::Done, _) => self.end_all(Outcome::Contended),
        }
    }

    /// The subscribers were told.
    pub fn published(&mut self) -> Step {
        if self.events.is_empty() {
            return self.end();
        }
        // Only with the bug planted: published first, saved now.
        let events = std::mem::take(&mut self.events);
        match (self.head.as_ref(), self.newest()) {
            (Some(before), Some(head)) => Step::Save { expected: before.version, lobby: head.lobby, events },
            _ => self.end(),
        }
    }

    /// The head as it is once the save is done.
    fn newest(&self) -> Option<Head> {
        let version = Version(self.head.as_ref()?.version.0 + 1);
        let applied = |outcome: &Outcome| match outcome {
            Outcome::Applied(lobby) => Some(Arc::clone(lobby)),
            Outcome::Rejected(_) | Outcome::NotFound | Outcome::Contended => None,
        };
        Some(Head { lobby: self.outcomes.iter().rev().find_map(applied)?, version })
    }

    fn end(&mut self) -> Step {
        Step::Done(self.head.take(), std::mem::take(&mut self.outcomes))
    }

    fn end_all(&mut self, outcome: Outcome) -> Step {
        Step::Done(None, vec![outcome; self.commands.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lobby::tests::{NOW, lobby, newcomer};

    fn head(version: u64) -> Option<Head> {
        Some(Head { lobby: Arc::new(lobby()), version: Version(version) })
    }

    fn joins(players: &[u8]) -> Commit {
        Commit::new(lobby().id(), players.iter().map(|&player| Command::Join(newcomer(player))).collect()).0
    }

    #[test]
    fn nothing_is_published_before_it_is_saved_and_a_stale_one_is_decided_anew() {
        let (mut commit, first) = Commit::new(lobby().id(), vec![Command::Join(newcomer(2))]);
        assert_eq!(first, Step::Load(lobby().id()));
        let Step::Save { expected, .. } = commit.loaded(head(4), Freshness::Cached, NOW) else { panic!("save first") };
        assert_eq!(expected, Version(4));
        assert_eq!(commit.saved(Saved::Stale), Step::Load(lobby().id()));
        let Step::Save { expected, .. } = commit.loaded(head(5), Freshness::Current, NOW) else { panic!("save again") };
        assert_eq!(expected, Version(5));
        let Step::Publish { head, events } = commit.saved(Saved::Done) else { panic!("publish") };
        assert_eq!((head.version, events.len()), (Version(6), 2));
        let Step::Done(Some(newest), outcomes) = commit.published() else { panic!("done") };
        assert_eq!((newest.version, outcomes), (Version(6), vec![Outcome::Applied(head.lobby)]));
    }

    #[test]
    fn commands_are_saved_as_one_row_each_with_its_own_outcome() {
        let mut commit = joins(&[2, 1, 3]);
        commit.commands[1] = Command::Ready { connection: crate::id::ConnectionId(0), epoch: crate::id::HostEpoch(9) };
        let Step::Save { lobby, events, .. } = commit.loaded(head(1), Freshness::Current, NOW) else { panic!("save") };
        assert_eq!(lobby.member_count(), 3);
        let numbers: Vec<_> = events.iter().map(|event| event.seq.0).collect();
        assert_eq!(numbers, (2..2 + events.len() as u64).collect::<Vec<_>>(), "one after the other");
        commit.saved(Saved::Done);
        let Step::Done(_, outcomes) = commit.published() else { panic!("done") };
        let members = |outcome: &Outcome| match outcome {
            Outcome::Applied(lobby) => lobby.member_count(),
            Outcome::Rejected(_) | Outcome::NotFound | Outcome::Contended => 0,
        };
        assert_eq!(outcomes.iter().map(members).collect::<Vec<_>>(), [2, 0, 3], "as it was right after each");
    }

    #[test]
    fn a_refusal_that_rests_on_a_cache_is_confirmed_and_taken_back_if_the_cache_was_stale() {
        let wrong = Command::Ready { connection: crate::id::ConnectionId(0), epoch: crate::id::HostEpoch(9) };
        let (mut commit, _) = Commit::new(lobby().id(), vec![wrong]);
        assert_eq!(commit.loaded(head(1), Freshness::Cached, NOW), Step::Confirm(Version(1)));
        assert!(
            matches!(commit.confirmed(), Step::Done(Some(_), outcomes) if matches!(outcomes[..], [Outcome::Rejected(_)]))
        );

        let mut commit = joins(&[0]);
        assert_eq!(commit.loaded(head(1), Freshness::Cached, NOW), Step::Confirm(Version(1)), "it has its seat");
        let (without, _) = lobby()
            .apply(Command::Leave { connection: crate::id::ConnectionId(0), player: newcomer(0).player }, NOW)
            .unwrap();
        let newer = Head { lobby: Arc::new(without), version: Version(2) };
        assert!(matches!(commit.loaded(Some(newer), Freshness::Current, NOW), Step::Save { expected: Version(2), .. }));
    }

    #[test]
    fn a_refused_command_saves_nothing() {
        let wrong = Command::Ready { connection: crate::id::ConnectionId(0), epoch: crate::id::HostEpoch(9) };
        let (mut commit, _) = Commit::new(lobby().id(), vec![wrong]);
        assert!(matches!(commit.loaded(head(1), Freshness::Current, NOW), Step::Done(Some(_), outcomes)
            if matches!(outcomes[..], [Outcome::Rejected(_)])));
        let (mut commit, _) = Commit::new(lobby().id(), vec![Command::Due]);
        assert_eq!(commit.loaded(None, Freshness::Current, NOW), Step::Done(None, vec![Outcome::NotFound]));
    }
}
