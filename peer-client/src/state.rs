//! What a session and its driver share: read by the game at any time, written by both under one lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use protocol::frame::PeerBody;
use protocol::id::{ConnectionId, HostEpoch, ObjectId};
use protocol::limits;
use protocol::message::LobbyView;
use protocol::objects::{Change, ObjectTable};

use crate::error::{HostError, SendError};
use crate::event::{Delivery, Recipient, Role};
use crate::link::LinkHandle;
use crate::request::SavedState;

/// Where a guest entered the game, as its host said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The host's tick.
    pub tick: u64,
    /// The game's time at the last save; the pause of a migration is not counted.
    pub elapsed: Duration,
    /// The scene that is loaded.
    pub scene: String,
}

/// Shared by a session and its driver.
#[derive(Debug)]
pub(crate) struct Shared {
    me: ConnectionId,
    state: Mutex<State>,
}

/// What they share.
#[derive(Debug)]
pub(crate) struct State {
    // Written by the driver.
    pub(crate) role: Role,
    pub(crate) epoch: HostEpoch,
    pub(crate) lobby: Arc<LobbyView>,
    pub(crate) links: BTreeMap<ConnectionId, LinkHandle>,
    pub(crate) last_saved: Option<Arc<SavedState>>,
    pub(crate) entry: Option<Entry>,
    /// Frames of another epoch that were dropped.
    pub(crate) stale_frames: u64,
    // Written by the game, and by the driver on migrations.
    pub(crate) tick: u64,
    pub(crate) objects: ObjectTable,
    pub(crate) seats: BTreeMap<ConnectionId, Vec<u8>>,
}

impl Shared {
    pub(crate) fn new(me: ConnectionId, lobby: Arc<LobbyView>) -> Self {
        let state = State {
            role: Role::Waiting,
            epoch: lobby.epoch,
            lobby,
            links: BTreeMap::new(),
            last_saved: None,
            entry: None,
            stale_frames: 0,
            tick: 0,
            objects: ObjectTable::default(),
            seats: BTreeMap::new(),
        };
        Self { me, state: Mutex::new(state) }
    }

    pub(crate) const fn me(&self) -> ConnectionId {
        self.me
    }

    /// Never held over an `await`, nor while the game runs.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(crate) fn guests_in_game(&self) -> Vec<ConnectionId> {
        if self.role != Role::Host {
            return Vec::new();
        }
        self.links.iter().filter(|(_, link)| link.in_game).map(|(&guest, _)| guest).collect()
    }

    pub(crate) fn send(&mut self, to: Recipient, delivery: Delivery, payload: &Bytes) -> Result<(), SendError> {
        let hosting = self.role == Role::Host;
        let mut in_game = self.links.iter_mut().filter(|(_, link)| link.in_game);
        match to {
            Recipient::Everyone if hosting => {
                // All of them, though one may be full.
                let mut result = Ok(());
                in_game.for_each(|(_, link)| result = result.and(link.send(delivery, payload)));
                result
            }
            // A guest has one link, to its host.
            Recipient::Host | Recipient::Everyone if !hosting => {
                in_game.next().ok_or(SendError::NotConnected)?.1.send(delivery, payload)
            }
            Recipient::Host | Recipient::Everyone => Err(SendError::NotConnected),
            Recipient::One(peer) => {
                let (_, link) = in_game.find(|(connection, _)| **connection == peer).ok_or(SendError::NotConnected)?;
                link.send(delivery, payload)
            }
        }
    }

    pub(crate) fn place_object(
        &mut self,
        id: ObjectId,
        owner: Option<ConnectionId>,
        data: Vec<u8>,
    ) -> Result<(), HostError> {
        self.check_hosting()?;
        check_size(&data)?;
        if owner.is_some_and(|owner| self.lobby.member(owner).is_none()) {
            return Err(HostError::UnknownSeat);
        }
        let change = self.objects.place(id, owner, data)?;
        self.tell_changes(&[change]);
        Ok(())
    }

    pub(crate) fn remove_object(&mut self, id: ObjectId) -> Result<(), HostError> {
        self.check_hosting()?;
        if let Some(change) = self.objects.remove(id) {
            self.tell_changes(&[change]);
        }
        Ok(())
    }

    pub(crate) fn set_seat_data(&mut self, connection: ConnectionId, data: Vec<u8>) -> Result<(), HostError> {
        self.check_hosting()?;
        check_size(&data)?;
        if self.lobby.member(connection).is_none() {
            return Err(HostError::UnknownSeat);
        }
        self.seats.insert(connection, data);
        Ok(())
    }

    /// Tells the guests in the game. Those who come later get the whole table.
    pub(crate) fn tell_changes(&self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        match rmp_serde::to_vec_named(changes) {
            Ok(encoded) => {
                self.links.values().filter(|link| link.in_game).for_each(|link| link.tell(PeerBody::Objects(&encoded)));
            }
            Err(error) => tracing::error!(%error, "changes of the ownership table cannot be encoded"),
        }
    }

    fn check_hosting(&self) -> Result<(), HostError> {
        match self.role {
            Role::Host | Role::Becoming => Ok(()),
            Role::Waiting | Role::Joining | Role::Guest => Err(HostError::NotHost),
        }
    }
}

fn check_size(data: &[u8]) -> Result<(), HostError> {
    let max = limits::SEAT_DATA_BYTES_MAX;
    if data.len() > max { Err(HostError::TooLarge { max }) } else { Ok(()) }
}
