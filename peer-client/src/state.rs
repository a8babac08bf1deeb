//! What a session and its driver share: read by the game at any time, written by both under one lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use protocol::frame::PeerBody;
use protocol::id::{ConnectionId, HostEpoch, ObjectId};
use protocol::limits;
use protocol::message::{LobbyView, MemberView};
use protocol::objects::{Change, ObjectTable};
use protocol::snapshot::Seat;

use crate::error::{HostError, SendError};
use crate::event::{Delivery, Recipient, Role};
use crate::link::LinkHandle;
use crate::request::{Saved, SavedState};

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
    pub(crate) last_saved: Option<Arc<Saved>>,
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
        let epoch = self.epoch;
        // A link of an epoch that is over may still be there for a moment.
        let mut in_game = self.links.iter_mut().filter(|(_, link)| link.in_game && link.epoch == epoch);
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

    /// A state of the game, with the tables that belong to it.
    pub(crate) fn with_tables(&self, state: SavedState) -> Saved {
        let seat = |member: &MemberView| Seat {
            connection: member.connection,
            player: member.player,
            // The driver knows.
            played: false,
            host_data: self.seats.get(&member.connection).cloned().unwrap_or_default(),
        };
        Saved { state, seats: self.lobby.members.iter().map(seat).collect(), objects: self.objects.clone() }
    }

    /// Nothing was ever stored: what this peer knows of another host's game does not count.
    pub(crate) fn start_anew(&mut self) {
        self.tick = 0;
        self.last_saved = None;
        self.objects = ObjectTable::default();
        self.seats.clear();
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

#[cfg(test)]
pub(crate) mod tests {
    use protocol::id::{EventSeq, JoinCode, LobbyId, PeerKey, PlayerId};
    use protocol::lobby::{HostState, Presence};
    use protocol::time::Timestamp;

    use super::*;
    use crate::link::LinkId;
    use crate::queue::Queue;

    pub(crate) const HOST: ConnectionId = ConnectionId(0);
    const GUEST: ConnectionId = ConnectionId(1);
    const OLD_EPOCH: HostEpoch = HostEpoch(1);
    const NEW_EPOCH: HostEpoch = HostEpoch(2);

    fn member(connection: ConnectionId) -> MemberView {
        MemberView {
            connection,
            player: PlayerId::from_bytes([7; 16]),
            name: "Ada".to_owned(),
            peer_key: PeerKey::from_bytes([7; 32]),
            can_host: true,
            direct_address: None,
            joined_at: Timestamp(0),
            presence: Presence::Connected { since: Timestamp(0) },
            data: protocol::lobby::data::Data::new(),
        }
    }

    /// A host and one other member.
    pub(crate) fn lobby() -> LobbyView {
        LobbyView {
            id: LobbyId::from_bytes([1; 16]),
            name: "arena".to_owned(),
            join_code: "AAAAABBBBB".parse::<JoinCode>().unwrap(),
            build_id: "1".to_owned(),
            settings: protocol::lobby::Settings::default(),
            created_at: Timestamp(0),
            epoch: OLD_EPOCH,
            host: HostState::Present { host: HOST, since: Timestamp(0) },
            successor: None,
            members: vec![member(HOST), member(GUEST)],
            seq: EventSeq(1),
            closed: false,
            updated_at: Timestamp(0),
            has_password: false,
            data: protocol::lobby::data::Data::new(),
        }
    }

    fn hosting() -> Shared {
        let shared = Shared::new(HOST, Arc::new(lobby()));
        shared.lock().role = Role::Host;
        shared
    }

    #[tokio::test]
    async fn a_message_of_a_host_that_was_just_replaced_does_not_go_out_on_its_old_links() {
        let shared = hosting();
        let task = tokio::spawn(async {}).abort_handle();
        let now = std::time::Instant::now();
        let mut link = LinkHandle::new(LinkId(1), OLD_EPOCH, false, Arc::new(Queue::default()), None, task, now);
        link.in_game = true;
        let mut state = shared.lock();
        state.links.insert(GUEST, link);
        let payload = Bytes::from_static(b"tick");
        assert_eq!(state.send(Recipient::One(GUEST), Delivery::Reliable, &payload), Ok(()));
        (state.role, state.epoch) = (Role::Joining, NEW_EPOCH);
        for to in [Recipient::Host, Recipient::Everyone, Recipient::One(GUEST)] {
            assert_eq!(state.send(to, Delivery::Reliable, &payload), Err(SendError::NotConnected));
        }
    }

    #[test]
    fn a_state_is_saved_with_the_tables_of_its_own_time() {
        let shared = hosting();
        let mut state = shared.lock();
        state.place_object(ObjectId(1), Some(GUEST), Vec::new()).unwrap();
        state.set_seat_data(GUEST, b"secret".to_vec()).unwrap();
        let saved = state.with_tables(SavedState::default());
        state.place_object(ObjectId(2), Some(GUEST), Vec::new()).unwrap();
        state.set_seat_data(GUEST, b"later".to_vec()).unwrap();
        assert_eq!(saved.objects.iter().count(), 1);
        assert_eq!(saved.seats.iter().map(|seat| seat.host_data.as_slice()).collect::<Vec<_>>(), [&b""[..], b"secret"]);
    }

    #[test]
    fn a_host_for_which_nothing_is_stored_keeps_nothing_of_another_game() {
        let shared = hosting();
        let mut state = shared.lock();
        state.place_object(ObjectId(1), None, Vec::new()).unwrap();
        state.set_seat_data(GUEST, b"secret".to_vec()).unwrap();
        state.tick = 9;
        state.last_saved = Some(Arc::new(state.with_tables(SavedState::default())));
        state.start_anew();
        assert_eq!((state.objects.iter().count(), state.seats.len(), state.tick), (0, 0, 0));
        assert!(state.last_saved.is_none());
    }

    #[test]
    fn a_table_that_would_not_fit_into_a_welcome_is_refused() {
        let shared = hosting();
        let mut state = shared.lock();
        let refused = (0..).find_map(|id| {
            let data = vec![0; limits::SEAT_DATA_BYTES_MAX];
            state.place_object(ObjectId(id), None, data).err()
        });
        assert_eq!(refused, Some(HostError::TooLarge { max: limits::OBJECT_TABLE_BYTES_MAX }));
    }
}
