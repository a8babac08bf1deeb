//! What clients of a service did and saw while it was killed again and again, and whether that can be true of one that keeps
//! its promises.
//!
//! The check is a pure function and takes `O(n log n)`: each accepted write has a number in its lobby's log of events, so nothing
//! has to be searched for. What it needs from the clients is in [`History`].

mod log;
mod order;
mod seats;
mod snapshots;
mod streams;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use protocol::id::{Checksum, ConnectionId, EventSeq, HostEpoch, LobbyId, PlayerId};
use protocol::message::{Event, LobbyView};
use protocol::snapshot::Generation;

/// Violations of one kind that are reported: one bug breaks much.
const SHOWN_MAX: usize = 10;

/// Microseconds on the clock of the one who wrote the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// When a request returned whose answer never came: it can have its effect at any time.
    pub const NEVER: Self = Self(u64::MAX);
}

/// Everything that was done and seen.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// All requests. A client that does not know the outcome of a join or a leave never uses that seat again.
    pub operations: Vec<Operation>,
    /// All event sockets, by who listened.
    pub streams: Vec<Stream>,
    /// The lobbies whose creation was acknowledged, as they were then.
    pub born: BTreeMap<LobbyId, LobbyView>,
    /// All events of each lobby, read at the end, when nothing was broken any more.
    pub logs: BTreeMap<LobbyId, Vec<Event>>,
    /// Lobbies whose members never leave and always come back: nobody may be elected there.
    pub steady: BTreeSet<LobbyId>,
    /// The names of the lobbies that were there at the end. Each creation gives its own.
    pub listed: Vec<String>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Who.
    pub player: PlayerId,
    /// Where, if that was known.
    pub lobby: Option<LobbyId>,
    /// Just before it was sent.
    pub invoked: Moment,
    /// Just after its answer came; [`Moment::NEVER`] if none did.
    pub returned: Moment,
    /// What.
    pub action: Action,
    /// What came of it.
    pub outcome: Outcome,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A lobby of this name.
    Create(String),
    /// A seat.
    Join,
    /// To give it up.
    Leave,
    /// To keep a snapshot.
    Put(Generation, Checksum),
    /// The lobby.
    Read,
    /// The newest snapshot.
    Fetch,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was acknowledged.
    Done(Answer),
    /// It was refused with this status: it had no effect.
    Refused(u16),
    /// It may have had its effect.
    Unknown,
    /// The service says that it failed by a fault of its own (500).
    Failed,
}

/// What an acknowledgement said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A seat in a lobby.
    Seat(ConnectionId, Seen),
    /// Nothing more.
    Nothing,
    /// The lobby.
    View(Seen),
    /// A snapshot, or that there is none.
    Snapshot(Option<(Generation, Checksum)>),
    /// Bytes that are no snapshot.
    Damaged,
}

/// A lobby as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The newest event in it.
    pub seq: EventSeq,
    /// Its epoch.
    pub epoch: HostEpoch,
    /// Of its members, host and successor.
    pub digest: u64,
}

impl Seen {
    /// What is kept of a view.
    #[must_use]
    pub fn of(view: &LobbyView) -> Self {
        let mut hasher = DefaultHasher::new();
        (view.epoch, view.host.host(), view.successor, view.closed).hash(&mut hasher);
        for member in &view.members {
            let is_connected = matches!(member.presence, protocol::lobby::Presence::Connected { .. });
            (member.connection, member.player, member.peer_key, is_connected, &member.name).hash(&mut hasher);
        }
        Self { seq: view.seq, epoch: view.epoch, digest: hasher.finish() }
    }
}

/// What one listener heard in one lobby.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Who.
    pub player: PlayerId,
    /// Where.
    pub lobby: LobbyId,
    /// Each socket in turn.
    pub openings: Vec<Opening>,
    /// The event that it had to hear: it listened until the end, when all up to this had been read elsewhere.
    pub expected: Option<EventSeq>,
    /// The longest time in which it neither heard nor tried anything.
    pub idle_max_us: u64,
}

/// One socket that was open.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Just before it said hello.
    pub hello: Moment,
    /// At which instance.
    pub instance: usize,
    /// The newest event that it said it had.
    pub after: Option<EventSeq>,
    /// When it last showed any sign of life, a ping at least.
    pub alive: Moment,
    /// What it heard, and when.
    pub heard: Vec<(Moment, Heard)>,
}

/// Something that came on a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The whole lobby.
    Resync(Seen),
    /// An event, and a digest of all that is in it.
    Event(EventSeq, u64),
}

/// A digest of all that is in an event.
#[must_use]
pub fn digest(event: &Event) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(event).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

/// How a promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A lobby that was acknowledged is not there.
    LostLobby,
    /// The events of a lobby are not numbered from 1 without gaps.
    LogGap,
    /// Something that was seen is not in the log.
    LostEvent,
    /// A listener missed an event.
    StreamGap,
    /// A listener heard an event again, or an old one late.
    StreamRepeat,
    /// Two listeners heard different events under one number.
    StreamDiffers,
    /// A listener did not hear the newest events although nothing was broken any more.
    StreamStuck,
    /// A listener got the whole lobby although what it lacked was kept.
    UnexpectedResync,
    /// A write that began after another was acknowledged has the lower number.
    OutOfOrder,
    /// A read does not show what was known before it began.
    StaleRead,
    /// A read shows what was asked for only after it returned.
    FutureRead,
    /// A read shows another lobby than its events make.
    WrongState,
    /// An acknowledged write had no effect.
    LostWrite,
    /// A write had an effect that was refused, or had more than one.
    PhantomWrite,
    /// Two players had one connection id, or one player two.
    SharedConnection,
    /// The acknowledged connection id is not the one in the event.
    WrongConnection,
    /// A snapshot is older than one that was known before.
    OlderSnapshot,
    /// A snapshot is not the one that was acknowledged under its number, or is damaged.
    ChangedSnapshot,
    /// A snapshot was there that nobody sent, or that was refused.
    PhantomSnapshot,
    /// A write of an older epoch was accepted after a newer one was known.
    StaleEpochAccepted,
    /// The epoch went back, or moved without an election.
    EpochMoved,
    /// Somebody was elected although the host always came back.
    NeedlessElection,
    /// A member lost its seat although it always came back.
    SeatLost,
    /// A valid token was not accepted.
    TokenRefused,
    /// The service failed by its own fault.
    InternalError,
    /// The history is none that the clients should have written.
    BadHistory,
}

/// A broken promise, with the evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub kind: Kind,
    /// In which lobby.
    pub lobby: Option<LobbyId>,
    /// What was seen.
    pub evidence: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)?;
        if let Some(lobby) = self.lobby {
            write!(f, " in lobby {lobby}")?;
        }
        write!(f, ": {}", self.evidence)
    }
}

/// Finds all broken promises; at most ten of each kind are told.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = Found::default();
    let mut lobbies: BTreeMap<LobbyId, Lobby<'_>> = BTreeMap::new();
    for (&id, born) in &history.born {
        let log = history.logs.get(&id).map(Vec::as_slice);
        if log.is_none() {
            found.add(Kind::LostLobby, id, "its creation was acknowledged, and at the end it is not there".to_owned());
        }
        let is_steady = history.steady.contains(&id);
        let (operations, streams) = (Vec::new(), Vec::new());
        lobbies.insert(id, Lobby { id, born, log: log.unwrap_or_default(), is_steady, operations, streams });
    }
    let mut nowhere = Vec::new();
    for operation in &history.operations {
        found.check_outcome(operation);
        match operation.lobby {
            None => nowhere.push(operation),
            Some(id) => match lobbies.get_mut(&id) {
                Some(lobby) => lobby.operations.push(operation),
                None => {
                    found.add(Kind::BadHistory, id, format!("{operation:?} in a lobby that was never acknowledged"))
                }
            },
        }
    }
    for stream in &history.streams {
        if let Some(lobby) = lobbies.get_mut(&stream.lobby) {
            lobby.streams.push(stream);
        }
    }
    seats::check_creations(&nowhere, history, &mut found);
    for lobby in lobbies.values().filter(|lobby| !lobby.log.is_empty()) {
        log::check(lobby, &mut found);
        streams::check(lobby, &mut found);
        let writes = seats::check(lobby, &mut found);
        order::check(lobby, &writes, &mut found);
        snapshots::check(lobby, &mut found);
    }
    found.violations
}

/// One lobby's part of the history.
struct Lobby<'a> {
    id: LobbyId,
    born: &'a LobbyView,
    log: &'a [Event],
    is_steady: bool,
    operations: Vec<&'a Operation>,
    streams: Vec<&'a Stream>,
}

impl Lobby<'_> {
    /// Views that were seen, each with when it was asked for and when it came.
    fn views(&self) -> impl Iterator<Item = (Moment, Moment, Seen)> + '_ {
        let answers = self.operations.iter().filter_map(|operation| match &operation.outcome {
            Outcome::Done(Answer::Seat(_, seen) | Answer::View(seen)) => {
                Some((operation.invoked, operation.returned, *seen))
            }
            Outcome::Done(Answer::Nothing | Answer::Snapshot(_) | Answer::Damaged)
            | Outcome::Refused(_)
            | Outcome::Unknown
            | Outcome::Failed => None,
        });
        let openings = self.streams.iter().flat_map(|stream| &stream.openings);
        let resyncs = openings.flat_map(|opening| {
            opening.heard.iter().filter_map(|&(at, heard)| match heard {
                Heard::Resync(seen) => Some((opening.hello, at, seen)),
                Heard::Event(..) => None,
            })
        });
        answers.chain(resyncs)
    }

    /// Events that were heard, and when.
    fn heard(&self) -> impl Iterator<Item = (Moment, EventSeq, u64)> + '_ {
        let openings = self.streams.iter().flat_map(|stream| &stream.openings);
        openings.flat_map(|opening| &opening.heard).filter_map(|&(at, heard)| match heard {
            Heard::Event(seq, digest) => Some((at, seq, digest)),
            Heard::Resync(_) => None,
        })
    }

    /// The epoch after an event.
    fn epoch_at(&self, seq: EventSeq) -> Option<HostEpoch> {
        let index = usize::try_from(seq.0.checked_sub(1)?).ok()?;
        self.log.get(index).map(|event| event.epoch)
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found {
    violations: Vec<Violation>,
    counts: BTreeMap<Kind, usize>,
}

impl Found {
    fn add(&mut self, kind: Kind, lobby: LobbyId, evidence: String) {
        self.push(Violation { kind, lobby: Some(lobby), evidence });
    }

    fn push(&mut self, violation: Violation) {
        let count = self.counts.entry(violation.kind).or_default();
        *count += 1;
        if *count <= SHOWN_MAX {
            self.violations.push(violation);
        }
    }

    fn check_outcome(&mut self, operation: &Operation) {
        let kind = match operation.outcome {
            Outcome::Refused(401) => Kind::TokenRefused,
            Outcome::Failed => Kind::InternalError,
            Outcome::Done(_) | Outcome::Refused(_) | Outcome::Unknown => return,
        };
        self.push(Violation { kind, lobby: operation.lobby, evidence: format!("{operation:?}") });
    }
}
