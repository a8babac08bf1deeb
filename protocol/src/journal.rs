//! Reliable messages that survive their link, and the host that they were meant for (P11).
//!
//! Each peer numbers what it says, from 1, and keeps it until whoever needs it again cannot: a guest what it told the host, until a
//! state that contains its effect is durable; a host what it told a guest, until the guest has it. On a new link, to the same host or
//! to the next one, both sides say how far they have got, and the rest is said again. So each message has its effect once, in the
//! order of its sender, in the history that survives; where that cannot be, both games are told which are missing.
//!
//! ```text
//!            cut: durable        applied: in the state       received
//!   guest ───────┴─────────────────────┴─────────────────────────┴──────▶ up: numbered by the guest
//!   host  ──────────────┴─────────────────────┴─────────────────────────▶ down: numbered by whoever hosts
//!            cut: received by the guest     sent
//! ```
//!
//! What a host knows of its guests is its [`Ledger`], a part of every state. A host that goes on from a state goes on from its
//! ledger. Numbers that the old host gave after that state are given again, to other messages: a guest that had heard the old ones is
//! told that they are taken back. Those that must never be are said [`Class::AfterStable`]: they leave the host only once the
//! state that they came from is durable.
//!
//! So a number alone does not say which message it is: both sides keep from which host on their numbers went on after which
//! ([`Stretch`]), and the newest host that both know tells how far their histories are one.
//!
//! A process that starts anew begins a new stream; nobody remembers what its predecessor had still to say.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{ConnectionId, HostEpoch, PeerKey};
use crate::limits;
use crate::planted::{self, Bug};

/// Names the process that numbers messages: of another process the numbers say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamId(pub u64);

impl StreamId {
    /// Of the process with this key.
    #[must_use]
    pub fn of(key: PeerKey) -> Self {
        let head = key.as_bytes().first_chunk().expect("a key is longer than a number");
        Self(u64::from_be_bytes(*head))
    }
}

/// What is said down, from host to guest, in two streams of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Said at once.
    Reliable,
    /// Said once the state that it came from is durable, and never taken back.
    AfterStable,
}

/// The journal holds as much as it may: the sender has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal is full")]
pub struct Full;

/// What becomes of a message that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// It is the next: the game is to have it.
    Next,
    /// It came before.
    Repeated,
    /// One before it is missing: the link does not keep its order.
    Gap,
}

/// A range of numbers. `to` may be unknown: how many a process that is gone had still to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: Option<u64>,
}

impl Missing {
    /// Those after one number and before another, if there are any.
    fn between(after: u64, before: u64) -> Option<Self> {
        (after.saturating_add(1) < before).then(|| Self { from: after + 1, to: Some(before - 1) })
    }
}

/// Numbered messages, kept until they are cut. At most [`limits::JOURNAL_MESSAGES_MAX`] of [`limits::JOURNAL_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// The number of the first that is kept, or of the next.
    first: u64,
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Default for Journal {
    fn default() -> Self {
        Self { first: 1, messages: VecDeque::new(), bytes: 0 }
    }
}

impl Journal {
    fn new(first: u64, messages: impl IntoIterator<Item = Bytes>) -> Self {
        // Half of all numbers are more than anybody says, and leave room to count on from whatever a peer claims.
        let first = first.clamp(1, u64::MAX / 2);
        let messages: VecDeque<_> = messages.into_iter().collect();
        let bytes = messages.iter().map(Bytes::len).sum();
        Self { first, messages, bytes }
    }

    /// The number of the newest; 0 before the first.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.first + self.messages.len() as u64 - 1
    }

    /// The number of the oldest that is kept, or of the next message.
    #[must_use]
    pub const fn oldest(&self) -> u64 {
        self.first
    }

    /// Whether a message of this size may be kept as well.
    #[must_use]
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.messages.len() < limits::JOURNAL_MESSAGES_MAX && self.bytes + bytes <= limits::JOURNAL_BYTES_MAX
    }

    /// Keeps a message. Returns its number.
    ///
    /// # Errors
    /// [`Full`]. Nothing has changed.
    pub fn push(&mut self, payload: Bytes) -> Result<u64, Full> {
        if !self.has_room_for(payload.len()) {
            return Err(Full);
        }
        self.bytes += payload.len();
        self.messages.push_back(payload);
        Ok(self.newest())
    }

    /// Gives those after this number other numbers, from this one on, and forgets the rest.
    fn renumber(&mut self, after: u64, first: u64) {
        self.cut(after);
        *self = Self::new(first, std::mem::take(&mut self.messages));
    }

    /// Forgets those up to this number.
    pub fn cut(&mut self, up_to: u64) {
        while self.first <= up_to
            && let Some(payload) = self.messages.pop_front()
        {
            self.first += 1;
            self.bytes -= payload.len();
        }
    }

    /// Forgets all of them; the numbers go on.
    pub fn clear(&mut self) {
        self.cut(self.newest());
    }

    /// Those after this number, in order.
    pub fn after(&self, number: u64) -> impl Iterator<Item = (u64, &Bytes)> {
        let skip = number.saturating_add(1).saturating_sub(self.first);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        self.messages.iter().enumerate().skip(skip).map(|(index, payload)| (self.first + index as u64, payload))
    }
}

/// Since the host of this epoch a stream of numbers goes on after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// Whose numbers come next.
    pub epoch: HostEpoch,
    /// The newest number of the hosts before it that still counts.
    pub after: u64,
}

/// Notes that the host of this epoch goes on after this number: what is beyond it does not count any more.
fn go_on(stretches: &mut Vec<Stretch>, epoch: HostEpoch, after: u64) {
    stretches.retain(|stretch| stretch.epoch < epoch);
    stretches.iter_mut().for_each(|stretch| stretch.after = stretch.after.min(after));
    stretches.push(Stretch { epoch, after });
    let over = stretches.len().saturating_sub(limits::STRETCHES_MAX);
    stretches.drain(..over);
}

/// The newest number up to which two histories are one, by the newest host that is of both; `None`: they have none in common.
fn common(ours: &[Stretch], ours_newest: u64, theirs: &[Stretch], theirs_newest: u64) -> Option<u64> {
    let end =
        |stretches: &[Stretch], at: usize, newest| stretches.get(at + 1).map_or(newest, |next| next.after.min(newest));
    theirs.iter().enumerate().rev().find_map(|(at, stretch)| {
        let here = ours.iter().position(|ours| ours.epoch == stretch.epoch)?;
        Some(end(theirs, at, theirs_newest).min(end(ours, here, ours_newest)))
    })
}

/// What a guest says of its streams in its hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its process.
    pub stream: StreamId,
    /// The oldest that it can say again.
    pub oldest: u64,
    /// The newest that it has received.
    pub received: u64,
    /// The same, of those after stable.
    pub received_stable: u64,
    /// By which hosts it was told what it received; of at most [`limits::STRETCHES_MAX`] of them.
    pub stretches: Vec<Stretch>,
}

/// What a host says of a guest's streams in its welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Whose numbers come.
    pub epoch: HostEpoch,
    /// The newest that it has, or that is in the state that it goes on from.
    pub received: u64,
    /// The newest of those that the guest has received that are of this history.
    pub common: u64,
    /// The oldest that it says again, or the next.
    pub oldest: u64,
    /// The oldest after stable that it can say.
    pub oldest_stable: u64,
}

/// What a guest finds out from a welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resumed {
    /// Its messages after this one are to be said again.
    pub say_after: u64,
    /// Of its messages, those that are neither in the host's state nor here.
    pub inputs_lost: Option<Missing>,
    /// Of the host's, those that it heard and that are not of the history that goes on.
    pub taken_back: Option<Missing>,
    /// Of the host's, those that it will never hear.
    pub never_heard: Option<Missing>,
}

/// A guest's side: what it says to whoever is host, and how far it has heard. The same over all hosts.
#[derive(Debug)]
pub struct GuestStreams {
    stream: StreamId,
    up: Journal,
    received: u64,
    received_stable: u64,
    stretches: Vec<Stretch>,
}

impl GuestStreams {
    /// Of a process that has said nothing yet.
    #[must_use]
    pub fn new(stream: StreamId) -> Self {
        Self { stream, up: Journal::default(), received: 0, received_stable: 0, stretches: Vec::new() }
    }

    /// What it has said and keeps.
    #[must_use]
    pub const fn journal(&self) -> &Journal {
        &self.up
    }

    /// Keeps a message for the host. Returns its number.
    ///
    /// # Errors
    /// [`Full`].
    pub fn say(&mut self, payload: Bytes) -> Result<u64, Full> {
        self.up.push(payload)
    }

    /// What its hello says.
    #[must_use]
    pub fn offer(&self) -> Offer {
        let Self { stream, received, received_stable, ref stretches, .. } = *self;
        Offer { stream, oldest: self.up.oldest(), received, received_stable, stretches: stretches.clone() }
    }

    /// The newest that it has received of the host of this epoch, or of those before it: reliable, and after stable. Nothing before
    /// its welcome: until then the numbers may mean others.
    #[must_use]
    pub fn received(&self, epoch: HostEpoch) -> (u64, u64) {
        if self.follows(epoch) { (self.received, self.received_stable) } else { (0, 0) }
    }

    /// The host says where it goes on.
    pub fn handle_welcome(&mut self, position: Position) -> Resumed {
        let lost = Missing::between(position.received, self.up.oldest());
        let mut taken_back = None;
        // On another link to the same host its numbers are what they were.
        if !self.follows(position.epoch) {
            let common = position.common.min(self.received);
            taken_back = Missing::between(common, self.received.saturating_add(1));
            self.received = common;
            go_on(&mut self.stretches, position.epoch, common);
        }
        let never_heard = Missing::between(self.received, position.oldest);
        self.received = self.received.max(position.oldest.saturating_sub(1));
        self.received_stable = self.received_stable.max(position.oldest_stable.saturating_sub(1));
        Resumed { say_after: position.received, inputs_lost: lost, taken_back, never_heard }
    }

    fn follows(&self, epoch: HostEpoch) -> bool {
        self.stretches.last().is_some_and(|stretch| stretch.epoch == epoch)
    }

    /// A state that contains those up to this number is durable.
    pub fn handle_durable(&mut self, up_to: u64) {
        self.up.cut(up_to);
    }

    /// A message of the host came.
    pub fn receive(&mut self, class: Class, number: u64) -> Receipt {
        match class {
            Class::Reliable => receive(&mut self.received, number),
            Class::AfterStable => receive(&mut self.received_stable, number),
        }
    }
}

fn receive(received: &mut u64, number: u64) -> Receipt {
    if number <= *received {
        return Receipt::Repeated;
    }
    if number > received.saturating_add(1) {
        return Receipt::Gap;
    }
    *received = number;
    Receipt::Next
}

/// What a state says of one seat's streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The seat.
    pub connection: ConnectionId,
    /// The process that sits there, or sat last.
    pub stream: StreamId,
    /// The newest of its messages whose effect is in the state.
    pub applied: u64,
    /// What it was told and may not have.
    pub down: Said,
    /// What it is to be told once this state is durable, or was told since and may not have.
    pub stable: Said,
    /// By which hosts it was told, as far as it may not know.
    #[serde(default)]
    pub stretches: Vec<Stretch>,
}

/// Messages that may have to be said again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The number of the first, or of the next.
    pub first: u64,
    /// They.
    pub messages: Vec<serde_bytes::ByteBuf>,
}

impl From<&Journal> for Said {
    fn from(journal: &Journal) -> Self {
        let messages = journal.messages.iter().map(|payload| serde_bytes::ByteBuf::from(payload.to_vec()));
        Self { first: journal.first, messages: messages.collect() }
    }
}

impl From<Said> for Journal {
    fn from(said: Said) -> Self {
        Self::new(said.first.max(1), said.messages.into_iter().map(|payload| Bytes::from(payload.into_vec())))
    }
}

impl Said {
    fn newest(&self) -> u64 {
        self.first.max(1).saturating_add(self.messages.len() as u64) - 1
    }
}

/// What a state says of all streams, in the order of the seats.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ledger(pub Vec<LedgerEntry>);

/// What a durable state means for one guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Whom.
    pub connection: ConnectionId,
    /// It may forget its messages up to this one.
    pub applied: u64,
    /// Its messages after stable go out after this one,
    pub release_after: u64,
    /// and up to this one.
    pub release_up_to: u64,
}

#[derive(Debug)]
struct Seat {
    stream: StreamId,
    /// Up to here they came; what came is applied by this process, if it lives.
    received: u64,
    applied: u64,
    down: Journal,
    stable: Journal,
    /// Up to here they may be said.
    released: u64,
    /// Of the stable ones, the newest that was in the state that this host goes on from: others may have had its number.
    restored_stable: u64,
    stretches: Vec<Stretch>,
    /// The state that this host goes on from knew the seat, and its process has not come yet.
    awaited: bool,
}

impl Seat {
    fn new(stream: StreamId, epoch: HostEpoch) -> Self {
        Self {
            stream,
            received: 0,
            applied: 0,
            down: Journal::default(),
            stable: Journal::default(),
            released: 0,
            restored_stable: 0,
            stretches: vec![Stretch { epoch, after: 0 }],
            awaited: false,
        }
    }

    fn restore(entry: LedgerEntry, epoch: HostEpoch) -> Self {
        let LedgerEntry { stream, applied, down, stable, mut stretches, .. } = entry;
        let (down, stable) = (Journal::from(down), Journal::from(stable));
        go_on(&mut stretches, epoch, down.newest());
        let (released, restored_stable) = (stable.oldest() - 1, stable.newest());
        Self { stream, received: applied, applied, down, stable, released, restored_stable, stretches, awaited: true }
    }

    /// How far its guest has heard what this host, and those before it, said.
    fn resume(&mut self, epoch: HostEpoch, offer: &Offer) -> u64 {
        let common = common(&self.stretches, self.down.newest(), &offer.stretches, offer.received);
        // Of no host that is known here: nothing that it heard counts.
        let common = common.unwrap_or(0);
        self.down.cut(common);
        if offer.stretches.last().is_some_and(|stretch| stretch.epoch == epoch) {
            self.stretches.retain(|stretch| stretch.epoch >= epoch);
            self.stable.cut(offer.received_stable);
        } else if offer.received_stable > self.restored_stable {
            // They were durable once, and the generation was set aside: these numbers are used up.
            self.stable.renumber(self.restored_stable, offer.received_stable.saturating_add(1));
            self.restored_stable = offer.received_stable;
            self.released = self.stable.oldest() - 1;
        } else {
            self.stable.cut(offer.received_stable);
        }
        self.released = self.released.max(self.stable.oldest() - 1);
        common
    }
}

/// What a host finds out from a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// For the welcome.
    pub position: Position,
    /// Inputs of this seat that are lost.
    pub inputs_lost: Option<Missing>,
}

/// A host's side: the streams of all seats.
#[derive(Debug)]
pub struct HostStreams {
    epoch: HostEpoch,
    seats: BTreeMap<ConnectionId, Seat>,
}

impl HostStreams {
    /// Of a game that begins at this epoch.
    #[must_use]
    pub const fn new(epoch: HostEpoch) -> Self {
        Self { epoch, seats: BTreeMap::new() }
    }

    /// Goes on from a state, at this epoch.
    #[must_use]
    pub fn restore(ledger: Ledger, epoch: HostEpoch) -> Self {
        let seat = |entry: LedgerEntry| (entry.connection, Seat::restore(entry, epoch));
        Self { epoch, seats: ledger.0.into_iter().map(seat).collect() }
    }

    /// What the state that is given now says of the streams.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let entry = |(&connection, seat): (&ConnectionId, &Seat)| LedgerEntry {
            connection,
            stream: seat.stream,
            applied: seat.applied,
            down: Said::from(&seat.down),
            stable: Said::from(&seat.stable),
            stretches: seat.stretches.clone(),
        };
        Ledger(self.seats.iter().map(entry).collect())
    }

    /// A member gave up its seat.
    pub fn forget(&mut self, connection: ConnectionId) {
        self.seats.remove(&connection);
    }

    /// Whether messages can be kept for this seat.
    #[must_use]
    pub fn knows(&self, connection: ConnectionId) -> bool {
        self.seats.contains_key(&connection)
    }

    /// Whose messages of this seat are counted.
    #[must_use]
    pub fn stream(&self, connection: ConnectionId) -> Option<StreamId> {
        self.seats.get(&connection).map(|seat| seat.stream)
    }

    /// A guest is let in. Another process than the one before begins anew.
    pub fn handle_hello(&mut self, connection: ConnectionId, offer: &Offer) -> Answer {
        let epoch = self.epoch;
        let seat = self.seats.entry(connection).or_insert_with(|| Seat::new(offer.stream, epoch));
        let mut inputs_lost = None;
        if seat.stream != offer.stream {
            inputs_lost = seat.awaited.then_some(Missing { from: seat.applied.saturating_add(1), to: None });
            *seat = Seat::new(offer.stream, epoch);
        }
        seat.awaited = false;
        if planted::is(Bug::ReplayedTwice) {
            seat.received = seat.applied;
        }
        let received = seat.received;
        if let Some(lost) = Missing::between(received, offer.oldest) {
            inputs_lost = Some(lost);
            (seat.received, seat.applied) = (offer.oldest - 1, offer.oldest - 1);
        }
        let common = seat.resume(epoch, offer);
        let (oldest, oldest_stable) = (seat.down.oldest(), seat.stable.oldest());
        Answer { position: Position { epoch, received, common, oldest, oldest_stable }, inputs_lost }
    }

    /// A message of a guest came.
    pub fn receive(&mut self, connection: ConnectionId, number: u64) -> Receipt {
        self.seats.get_mut(&connection).map_or(Receipt::Gap, |seat| receive(&mut seat.received, number))
    }

    /// The game has taken a message of this process: its effect is in the next state that it gives. What a process said that is gone by
    /// now counts for nobody.
    pub fn applied(&mut self, connection: ConnectionId, stream: StreamId, number: u64) {
        if let Some(seat) = self.seats.get_mut(&connection).filter(|seat| seat.stream == stream) {
            seat.applied = seat.applied.max(number);
            // Its own, which came by no link.
            seat.received = seat.received.max(number);
        }
    }

    /// Keeps a message for a guest. Returns its number, if it may be said at once.
    ///
    /// # Errors
    /// [`Full`]: the guest is too far behind; for a seat that is not known as well.
    pub fn say(&mut self, connection: ConnectionId, class: Class, payload: Bytes) -> Result<Option<u64>, Full> {
        let seat = self.seats.get_mut(&connection).ok_or(Full)?;
        match class {
            Class::Reliable => seat.down.push(payload).map(Some),
            Class::AfterStable => seat.stable.push(payload).map(|_| None),
        }
    }

    /// Whether a message of this size may be kept for a guest.
    #[must_use]
    pub fn has_room_for(&self, connection: ConnectionId, class: Class, bytes: usize) -> bool {
        self.seats.get(&connection).is_some_and(|seat| match class {
            Class::Reliable => seat.down.has_room_for(bytes),
            Class::AfterStable => seat.stable.has_room_for(bytes),
        })
    }

    /// Gives up what is kept for a guest that is away and far behind. It will be told that it never hears it.
    pub fn give_up(&mut self, connection: ConnectionId) {
        if let Some(seat) = self.seats.get_mut(&connection) {
            seat.down.clear();
        }
    }

    /// Those that a guest is to be told after its welcome, in order.
    pub fn to_say(&self, connection: ConnectionId) -> impl Iterator<Item = (Class, u64, Bytes)> + '_ {
        self.seats.get(&connection).into_iter().flat_map(|seat| {
            let down = seat.down.after(0).map(|(number, payload)| (Class::Reliable, number, payload.clone()));
            let released = seat.released;
            let stable = seat.stable.after(0).take_while(move |(number, _)| *number <= released);
            down.chain(stable.map(|(number, payload)| (Class::AfterStable, number, payload.clone())))
        })
    }

    /// Messages after stable of a guest, from a [`Settled`].
    pub fn released(&self, settled: &Settled) -> impl Iterator<Item = (u64, Bytes)> + '_ {
        let Settled { connection, release_after, release_up_to, .. } = *settled;
        let stable = self.seats.get(&connection).into_iter().flat_map(move |seat| seat.stable.after(release_after));
        stable
            .take_while(move |(number, _)| *number <= release_up_to)
            .map(|(number, payload)| (number, payload.clone()))
    }

    /// A guest says how far it has heard.
    pub fn heard(&mut self, connection: ConnectionId, received: u64, received_stable: u64) {
        if let Some(seat) = self.seats.get_mut(&connection) {
            seat.down.cut(received);
            seat.stable.cut(received_stable.min(seat.released));
        }
    }

    /// A state with this ledger is durable: what guests may forget, and what may be said from now on.
    pub fn handle_durable(&mut self, ledger: &Ledger) -> Vec<Settled> {
        let settle = |entry: &LedgerEntry| {
            let seat = self.seats.get_mut(&entry.connection).filter(|seat| seat.stream == entry.stream)?;
            let release_after = seat.released;
            let release_up_to = entry.stable.newest().max(release_after).min(seat.stable.newest().max(release_after));
            seat.released = release_up_to;
            let applied = if planted::is(Bug::JournalCutTooEarly) { seat.received } else { entry.applied };
            Some(Settled { connection: entry.connection, applied, release_after, release_up_to })
        };
        ledger.0.iter().filter_map(settle).collect()
    }

    /// The game keeps no state: what it has taken is as durable as it gets.
    #[must_use]
    pub fn settled_by_now(&mut self) -> Vec<Settled> {
        let ledger = self.ledger();
        self.handle_durable(&ledger)
    }

    /// This peer was a guest and hosts now: what it had still to say to itself, and to hear from itself, is the game's to take,
    /// with the numbers by which it tells that it did ([`Self::applied`]).
    pub fn take_own(&mut self, me: ConnectionId, own: &mut GuestStreams) -> Own {
        let answer = self.handle_hello(me, &own.offer());
        let resumed = own.handle_welcome(answer.position);
        let inputs = own.up.after(resumed.say_after).map(|(number, payload)| (number, payload.clone())).collect();
        let told: Vec<_> = self.to_say(me).collect();
        for (class, number, _) in &told {
            own.receive(*class, *number);
        }
        self.heard(me, own.received, own.received_stable);
        Own { inputs, told: told.into_iter().map(|(class, _, payload)| (class, payload)).collect(), resumed }
    }
}

/// What a new host had to say to, and to hear from, whoever hosts.
#[derive(Debug)]
pub struct Own {
    /// Its own messages to the host, with their numbers.
    pub inputs: Vec<(u64, Bytes)>,
    /// What the old host had told it.
    pub told: Vec<(Class, Bytes)>,
    /// What was lost and taken back.
    pub resumed: Resumed,
}

#[cfg(test)]
mod tests;
