//! The order in which one command becomes fact: load, decide, save, publish, answer. Each step may be the last.
//!
//! A live machine for a single command. The shell does what it says and reports how it went; a lobby that was changed by
//! somebody else in the meantime is loaded and decided anew. Nothing is published or answered before it was saved (P8).

use crate::error::Rejection;
use crate::id::LobbyId;
use crate::lobby::{Command, Lobby};
use crate::message::Event;
use crate::planted::{self, Bug};
use crate::time::Timestamp;

/// The version of a stored lobby: +1 with every save.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Load the lobby and its version, then call [`Commit::loaded`].
    Load(LobbyId),
    /// Save the lobby with its events in one transaction, if its version still is `expected`; then call [`Commit::saved`].
    Save {
        /// The version that was loaded.
        expected: Version,
        /// What to save.
        lobby: Box<Lobby>,
        /// Its new events.
        events: Vec<Event>,
    },
    /// Tell the subscribers that there is more, then call [`Commit::published`].
    Publish {
        /// The saved lobby.
        lobby: Box<Lobby>,
        /// Its new events, never none.
        events: Vec<Event>,
    },
    /// It is over.
    Done(Outcome),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is fact; the lobby as it is now. `changed` is false where the command had nothing to change.
    Applied {
        /// The lobby.
        lobby: Box<Lobby>,
        /// Its version.
        version: Version,
        /// Whether anything was saved.
        changed: bool,
    },
    /// The lobby refused it. Nothing has changed.
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

/// One command on its way.
#[derive(Debug)]
pub struct Commit {
    id: LobbyId,
    command: Command,
    attempts: u32,
    pending: Option<(Box<Lobby>, Version, Vec<Event>)>,
}

impl Commit {
    /// Starts. The first step is a load.
    #[must_use]
    pub const fn new(id: LobbyId, command: Command) -> (Self, Step) {
        (Self { id, command, attempts: 0, pending: None }, Step::Load(id))
    }

    /// The lobby was loaded (or is not there). Decides.
    pub fn loaded(&mut self, row: Option<(Lobby, Version)>, now: Timestamp) -> Step {
        self.attempts += 1;
        let Some((lobby, version)) = row else { return Step::Done(Outcome::NotFound) };
        let before = lobby.clone();
        let (lobby, events) = match lobby.apply(self.command.clone(), now) {
            Ok(decided) => decided,
            Err(rejection) => return Step::Done(Outcome::Rejected(rejection)),
        };
        let lobby = Box::new(lobby);
        if *lobby == before {
            return Step::Done(Outcome::Applied { lobby, version, changed: false });
        }
        if planted::is(Bug::PublishBeforeSave) && self.pending.is_none() && !events.is_empty() {
            self.pending = Some((lobby.clone(), version, events.clone()));
            return Step::Publish { lobby, events };
        }
        self.pending = Some((lobby.clone(), version, events.clone()));
        Step::Save { expected: version, lobby, events }
    }

    /// The save ended.
    pub fn saved(&mut self, saved: Saved) -> Step {
        match (saved, self.pending.take()) {
            (Saved::Done, Some((lobby, version, events))) => {
                let version = Version(version.0 + 1);
                self.pending = Some((lobby.clone(), version, Vec::new()));
                if events.is_empty() { self.published() } else { Step::Publish { lobby, events } }
            }
            (Saved::Stale, _) if self.attempts < ATTEMPTS_MAX => Step::Load(self.id),
            (Saved::Stale | Saved::Done, _) => Step::Done(Outcome::Contended),
        }
    }

    /// The subscribers were told.
    pub fn published(&mut self) -> Step {
        match self.pending.take() {
            Some((lobby, version, events)) if events.is_empty() => {
                Step::Done(Outcome::Applied { lobby, version, changed: true })
            }
            // Only with the bug planted: published first, saved now.
            Some((lobby, version, events)) => {
                self.pending = Some((lobby.clone(), version, Vec::new()));
                Step::Save { expected: version, lobby, events }
            }
            None => Step::Done(Outcome::Contended),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lobby::tests::{NOW, lobby, newcomer};

    #[test]
    fn nothing_is_published_before_it_is_saved_and_a_stale_one_is_decided_anew() {
        let (mut commit, first) = Commit::new(lobby().id(), Command::Join(newcomer(2)));
        assert_eq!(first, Step::Load(lobby().id()));
        let Step::Save { expected, .. } = commit.loaded(Some((lobby(), Version(4))), NOW) else { panic!("save first") };
        assert_eq!(expected, Version(4));
        assert_eq!(commit.saved(Saved::Stale), Step::Load(lobby().id()));
        let Step::Save { expected, .. } = commit.loaded(Some((lobby(), Version(5))), NOW) else { panic!("save again") };
        assert_eq!(expected, Version(5));
        assert!(matches!(commit.saved(Saved::Done), Step::Publish { .. }));
        let Step::Done(Outcome::Applied { version, changed, .. }) = commit.published() else { panic!("done") };
        assert_eq!((version, changed), (Version(6), true));
    }

    #[test]
    fn a_refused_command_saves_nothing() {
        let wrong = Command::Ready { connection: crate::id::ConnectionId(0), epoch: crate::id::HostEpoch(9) };
        let (mut commit, _) = Commit::new(lobby().id(), wrong);
        assert!(matches!(commit.loaded(Some((lobby(), Version(1))), NOW), Step::Done(Outcome::Rejected(_))));
    }
}
