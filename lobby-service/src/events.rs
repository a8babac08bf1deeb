//! Lobbies that somebody listens to: their newest events, and what is said about their hosts.
//!
//! A room is there while a socket listens. A save, here or at another instance, pokes its sockets; they read what they lack, from
//! here where it is recent, else from the store: one path for live and for catching up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::extract::ws::Utf8Bytes;
use protocol::commit::{Head, Version};
use protocol::id::{ConnectionId, EventSeq, InstanceId, LobbyId};
use protocol::lobby::{HostState, LeaveReason};
use protocol::message::{Audience, CloseReason, Event, EventBody, ServerMessage};
use protocol::suspicion::Suspicion;
use tokio::sync::watch;

use crate::news::Said;

/// Events that a room keeps: a socket that is further behind reads from the store. Most come back within a few.
const RECENT_MAX: usize = 32;
/// Maps that share the rooms, each under a lock of its own.
const SHARDS: usize = 16;

/// What an event ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Nothing.
    Nothing,
    /// The seat of one who left, and why its socket is closed.
    Seat(ConnectionId, CloseReason),
    /// The lobby.
    Lobby,
}

/// An event as the message that carries it, written once for all sockets.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) seq: EventSeq,
    pub(crate) ends: Ends,
    audience: Audience,
    text: Utf8Bytes,
    /// What those get who do not see all of it.
    less: Option<Utf8Bytes>,
}

/// What decides how much of an event is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Who looks is the host.
    pub(crate) is_host: bool,
    /// Members are not to learn each other's addresses, whatever they might when the event happened.
    pub(crate) relay_only: bool,
}

impl Published {
    pub(crate) fn new(event: Event) -> Self {
        let (seq, ends, audience) = (event.seq, ends(&event.body), event.body.audience());
        let less = if audience == Audience::All { without_address(&event.body) } else { Some(EventBody::Hidden) };
        let less = less.map(|body| write(&ServerMessage::Event(Event { body, ..event.clone() })));
        Self { seq, ends, audience, text: write(&ServerMessage::Event(event)), less }
    }

    /// The message for a member. What it may see is asked for only where that matters; without an answer it sees less.
    pub(crate) fn text_for(&self, member: ConnectionId, sight: impl FnOnce() -> Option<Sight>) -> &Utf8Bytes {
        let Some(less) = &self.less else { return &self.text };
        let sees = match self.audience {
            Audience::All => sight().is_some_and(|sight| !sight.relay_only),
            Audience::Host => sight().is_some_and(|sight| sight.is_host),
            Audience::Member(connection) => connection == member,
        };
        if sees { &self.text } else { less }
    }
}

/// What is left of an event that tells an address.
fn without_address(body: &EventBody) -> Option<EventBody> {
    let mut body = body.clone();
    let (EventBody::MemberJoined { member } | EventBody::MemberChanged { member }) = &mut body else { return None };
    member.direct_address.take().map(|_| body)
}

/// Why the socket of one who left is closed.
pub(crate) const fn farewell(reason: LeaveReason) -> CloseReason {
    match reason {
        LeaveReason::Left | LeaveReason::Removed => CloseReason::NotMember,
        LeaveReason::Kicked => CloseReason::Kicked,
        LeaveReason::Banned => CloseReason::Banned,
    }
}

const fn ends(body: &EventBody) -> Ends {
    match body {
        EventBody::MemberLeft { connection, reason, .. } => Ends::Seat(*connection, farewell(*reason)),
        EventBody::LobbyClosed => Ends::Lobby,
        EventBody::MemberJoined { .. }
        | EventBody::MemberChanged { .. }
        | EventBody::MemberConnected { .. }
        | EventBody::MemberDisconnected { .. }
        | EventBody::HostLost { .. }
        | EventBody::HostReturned { .. }
        | EventBody::HostVouched { .. }
        | EventBody::HostElected { .. }
        | EventBody::HostReady { .. }
        | EventBody::ElectionFailed { .. }
        | EventBody::HostParked { .. }
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
        | EventBody::Hidden => Ends::Nothing,
    }
}

/// A message as it goes out.
pub(crate) fn write(message: &ServerMessage) -> Utf8Bytes {
    serde_json::to_string(message).expect("a message holds only what JSON can").into()
}

/// What is known of a lobby while somebody listens to it.
#[derive(Debug)]
pub(crate) struct Room {
    listeners: usize,
    newest: watch::Sender<EventSeq>,
    /// Without gaps; the last one is `newest`, if there is any.
    recent: VecDeque<Arc<Published>>,
    /// The lobby as it was last saved, as far as this process knows.
    pub(crate) head: Head,
    pub(crate) suspicion: Suspicion,
    /// What those who are connected here have said last of the host of this epoch, and when.
    pub(crate) words: BTreeMap<ConnectionId, (Said, Instant)>,
    /// A verdict is on its way to the lobby.
    pub(crate) telling: bool,
    /// The time for which a timer runs.
    pub(crate) armed: Option<Instant>,
}

type Shard = BTreeMap<LobbyId, Room>;

/// All rooms.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    shards: [Mutex<Shard>; SHARDS],
}

/// Somebody listens to a lobby, until this is dropped.
#[derive(Debug)]
pub(crate) struct Subscription {
    rooms: Arc<Rooms>,
    lobby: LobbyId,
    newest: watch::Receiver<EventSeq>,
}

impl Rooms {
    /// Listens to a lobby. Called by who decides its commands, so that the room starts with what is saved and misses nothing.
    ///
    /// Before `back_by` the members who have come back are not all of them.
    pub(crate) fn subscribe(self: &Arc<Self>, head: &Head, back_by: Option<Instant>) -> Subscription {
        let lobby = head.lobby.id();
        let mut rooms = self.lock(lobby);
        let room = rooms.entry(lobby).or_insert_with(|| Room::new(head.clone(), back_by));
        room.listeners += 1;
        Subscription { rooms: Arc::clone(self), lobby, newest: room.newest.subscribe() }
    }

    /// Whether anybody listens to anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| lock(shard).is_empty())
    }

    /// Lobbies that somebody listens to.
    pub(crate) fn count(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// The lobbies that somebody listens to, with the versions that are known here.
    pub(crate) fn versions(&self) -> Vec<(LobbyId, Version)> {
        let mut versions = Vec::new();
        for shard in &self.shards {
            versions.extend(lock(shard).iter().map(|(&lobby, room)| (lobby, room.head.version)));
        }
        versions
    }

    /// What members that are heard by this instance have said of hosts that somebody doubts: the others may have missed it.
    pub(crate) fn words(&self, here: InstanceId) -> Vec<(Said, Instant)> {
        let mut words = Vec::new();
        for shard in &self.shards {
            for room in lock(shard).values() {
                let lobby = &room.head.lobby;
                if room.suspicion.is_stirred() || !matches!(lobby.host(), HostState::Present { .. }) {
                    let of_ours = room.words.iter().filter(|(from, _)| lobby.holder_of(**from) == Some(here));
                    words.extend(of_ours.map(|(_, word)| word.clone()));
                }
            }
        }
        words
    }

    /// The version and the newest event that a lobby's listeners know of, if anybody listens.
    pub(crate) fn known(&self, lobby: LobbyId) -> Option<(Version, EventSeq)> {
        self.lock(lobby).get(&lobby).map(|room| (room.head.version, *room.newest.borrow()))
    }

    /// A lobby was saved with these events, here or elsewhere. Returns whether that is news to those who listen.
    pub(crate) fn publish(&self, head: &Head, events: &[Event]) -> bool {
        let lobby = head.lobby.id();
        let mut rooms = self.lock(lobby);
        let Some(room) = rooms.get_mut(&lobby) else { return false };
        if head.version <= room.head.version {
            return false;
        }
        if room.head.lobby.epoch() != head.lobby.epoch() {
            room.words.clear();
        }
        room.words.retain(|&from, _| head.lobby.is_connected(from));
        room.head = head.clone();
        room.suspicion.handle_lobby(&head.lobby, Instant::now());
        let newest = *room.newest.borrow();
        for event in events.iter().filter(|event| event.seq > newest) {
            room.append(event);
        }
        // They may have been too many to be handed over: whoever listens reads them from the store.
        if *room.newest.borrow() < head.lobby.last_event() {
            room.recent.clear();
            room.newest.send_replace(head.lobby.last_event());
        }
        true
    }

    /// Recent events after a number; `None` if the room does not have them all.
    pub(crate) fn events_after(&self, lobby: LobbyId, after: EventSeq) -> Option<Vec<Arc<Published>>> {
        let rooms = self.lock(lobby);
        let room = rooms.get(&lobby)?;
        if after == *room.newest.borrow() {
            return Some(Vec::new());
        }
        let first = room.recent.front()?.seq.0;
        let skip = usize::try_from(after.0.checked_add(1)?.checked_sub(first)?).ok()?;
        (skip < room.recent.len()).then(|| room.recent.iter().skip(skip).cloned().collect())
    }

    /// Does something in a room, if anybody listens.
    pub(crate) fn visit<T>(&self, lobby: LobbyId, visit: impl FnOnce(&mut Room) -> T) -> Option<T> {
        self.lock(lobby).get_mut(&lobby).map(visit)
    }

    fn lock(&self, lobby: LobbyId) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::from(lobby.as_bytes()[0]) % SHARDS])
    }
}

/// Nothing in here panics half way, so that a poisoned lock guards whole rooms.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Room {
    fn new(head: Head, back_by: Option<Instant>) -> Self {
        let epoch = head.lobby.epoch();
        Self {
            listeners: 0,
            newest: watch::Sender::new(head.lobby.last_event()),
            recent: VecDeque::new(),
            head,
            suspicion: back_by.map_or_else(|| Suspicion::new(epoch), |from| Suspicion::resumed(epoch, from)),
            words: BTreeMap::new(),
            telling: false,
            armed: None,
        }
    }

    fn append(&mut self, event: &Event) {
        if self.newest.borrow().0 + 1 != event.seq.0 {
            self.recent.clear();
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Arc::new(Published::new(event.clone())));
        self.newest.send_replace(event.seq);
    }
}

impl Subscription {
    /// Waits until there is something newer than at the last call.
    pub(crate) async fn changed(&mut self) {
        // The sender is in the room, which is there for as long as this subscription.
        let _ = self.newest.changed().await;
    }
}

impl Drop for Subscription {
    /// The last one closes the room.
    fn drop(&mut self) {
        let mut rooms = self.rooms.lock(self.lobby);
        let Some(room) = rooms.get_mut(&self.lobby) else { return };
        room.listeners -= 1;
        if room.listeners == 0 {
            rooms.remove(&self.lobby);
        }
    }
}
