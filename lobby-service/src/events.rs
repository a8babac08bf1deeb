//! Lobbies that somebody listens to: their newest events, and what is said about their hosts.
//!
//! A room is there while a socket listens. A commit pokes its sockets; they read what they lack, from here where it is recent,
//! else from the store: one path for live and for catching up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::extract::ws::Utf8Bytes;
use protocol::id::{EventSeq, LobbyId};
use protocol::lobby::Lobby;
use protocol::message::{Event, ServerMessage};
use protocol::suspicion::Suspicion;
use tokio::sync::watch;

/// Events that a room keeps: a socket that is further behind reads from the store.
const RECENT_MAX: usize = 256;

/// An event and the message that carries it, written once for all sockets.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) event: Event,
    pub(crate) text: Utf8Bytes,
}

impl Published {
    pub(crate) fn new(event: Event) -> Self {
        let message = ServerMessage::Event(event);
        let text = write(&message);
        let ServerMessage::Event(event) = message else { unreachable!("made two lines above") };
        Self { event, text }
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
    /// The lobby as it was last saved.
    pub(crate) lobby: Lobby,
    pub(crate) suspicion: Suspicion,
    /// A verdict is on its way to the lobby.
    pub(crate) telling: bool,
    /// The time for which a timer runs.
    pub(crate) armed: Option<Instant>,
}

/// All rooms.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    rooms: Mutex<BTreeMap<LobbyId, Room>>,
}

/// Somebody listens to a lobby, until this is dropped.
#[derive(Debug)]
pub(crate) struct Subscription {
    rooms: Arc<Rooms>,
    lobby: LobbyId,
    newest: watch::Receiver<EventSeq>,
}

impl Rooms {
    /// Listens to a lobby. Call in the lobby's turn, so that the room starts with what is saved.
    ///
    /// Before `back_by` the members who have come back are not all of them.
    pub(crate) fn subscribe(self: &Arc<Self>, lobby: &Lobby, back_by: Option<Instant>) -> Subscription {
        let mut rooms = self.lock();
        let room = rooms.entry(lobby.id()).or_insert_with(|| Room::new(lobby, back_by));
        room.listeners += 1;
        Subscription { rooms: Arc::clone(self), lobby: lobby.id(), newest: room.newest.subscribe() }
    }

    /// Whether anybody listens to anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The newest event that a lobby's listeners know of, if anybody listens.
    pub(crate) fn newest(&self, lobby: LobbyId) -> Option<EventSeq> {
        self.lock().get(&lobby).map(|room| *room.newest.borrow())
    }

    /// A lobby was saved with these events.
    pub(crate) fn publish(&self, lobby: LobbyId, events: &[Event]) {
        let mut rooms = self.lock();
        let Some(room) = rooms.get_mut(&lobby) else { return };
        for event in events {
            room.append(event);
        }
    }

    /// Recent events after a number; `None` if the room does not have them all.
    pub(crate) fn events_after(&self, lobby: LobbyId, after: EventSeq) -> Option<Vec<Arc<Published>>> {
        let rooms = self.lock();
        let room = rooms.get(&lobby)?;
        if after == *room.newest.borrow() {
            return Some(Vec::new());
        }
        let first = room.recent.front()?.event.seq.0;
        let skip = usize::try_from(after.0.checked_add(1)?.checked_sub(first)?).ok()?;
        (skip < room.recent.len()).then(|| room.recent.iter().skip(skip).cloned().collect())
    }

    /// Does something in a room, if anybody listens.
    pub(crate) fn visit<T>(&self, lobby: LobbyId, visit: impl FnOnce(&mut Room) -> T) -> Option<T> {
        self.lock().get_mut(&lobby).map(visit)
    }

    /// Nothing in here panics half way, so that a poisoned lock guards whole rooms.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LobbyId, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn new(lobby: &Lobby, back_by: Option<Instant>) -> Self {
        let epoch = lobby.epoch();
        Self {
            listeners: 0,
            newest: watch::Sender::new(lobby.last_event()),
            recent: VecDeque::new(),
            lobby: lobby.clone(),
            suspicion: back_by.map_or_else(|| Suspicion::new(epoch), |from| Suspicion::resumed(epoch, from)),
            telling: false,
            armed: None,
        }
    }

    fn append(&mut self, event: &Event) {
        if self.recent.back().is_some_and(|last| last.event.seq.0 + 1 != event.seq.0) {
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
        let mut rooms = self.rooms.lock();
        let Some(room) = rooms.get_mut(&self.lobby) else { return };
        room.listeners -= 1;
        if room.listeners == 0 {
            rooms.remove(&self.lobby);
        }
    }
}
