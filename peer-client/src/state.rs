//! What a session and its driver share: read by the game at any time, written by both under one lock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use protocol::frame::PeerBody;
use protocol::id::{ConnectionId, HostEpoch, ObjectId};
use protocol::journal::{Class, GuestStreams, HostStreams, StreamId};
use protocol::limits;
use protocol::message::{LobbyView, MemberView};
use protocol::objects::{Change, ObjectTable};
use protocol::snapshot::Seat;
use serde_bytes::ByteBuf;
use tokio::sync::Notify;

use crate::error::{HostError, SendError};
use crate::event::{Delivery, Recipient, Role};
use crate::link::LinkHandle;
use crate::outbox::Up;
use crate::request::{CHANGES_MAX, SCENE_BYTES_MAX, Saved, SavedState, StateChange};

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
    /// The game has left something in the state for the driver.
    pub(crate) wake: Notify,
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
    // Written by both.
    /// What this peer says to hosts, and hears of them.
    pub(crate) own: GuestStreams,
    /// What it says to guests, and hears of them, while it hosts.
    pub(crate) streams: HostStreams,
    /// Guests that were in this host's game, are there for the lobby, and have no link at the moment.
    pub(crate) away: BTreeSet<ConnectionId>,
    /// It was in a game: what it says is kept for the next host, if there is none.
    pub(crate) has_played: bool,
    /// The state that the game gave last, until the driver takes it.
    pub(crate) given: Option<Saved>,
    /// The game wishes to leave.
    pub(crate) leave_wanted: bool,
    /// The next state that the game gives is the last.
    pub(crate) freeze_wanted: bool,
    /// The game has given its last state.
    pub(crate) frozen: bool,
    /// Bytes of states sent to successors by this host.
    pub(crate) state_bytes_sent: u64,
    // Written by the game, and by the driver on migrations.
    pub(crate) tick: u64,
    pub(crate) objects: ObjectTable,
    pub(crate) seats: BTreeMap<ConnectionId, Vec<u8>>,
}

impl Shared {
    pub(crate) fn new(me: ConnectionId, lobby: Arc<LobbyView>, stream: StreamId) -> Self {
        let epoch = lobby.epoch;
        let state = State {
            role: Role::Waiting,
            epoch: lobby.epoch,
            lobby,
            links: BTreeMap::new(),
            last_saved: None,
            entry: None,
            stale_frames: 0,
            own: GuestStreams::new(stream),
            streams: HostStreams::new(epoch),
            away: BTreeSet::new(),
            has_played: false,
            given: None,
            leave_wanted: false,
            freeze_wanted: false,
            frozen: false,
            state_bytes_sent: 0,
            tick: 0,
            objects: ObjectTable::default(),
            seats: BTreeMap::new(),
        };
        Self { me, state: Mutex::new(state), wake: Notify::new() }
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
        if !matches!(self.role, Role::Host | Role::HandingOver) {
            return Vec::new();
        }
        self.links.iter().filter(|(_, link)| link.in_game).map(|(&guest, _)| guest).collect()
    }

    pub(crate) fn send(&mut self, to: Recipient, delivery: Delivery, payload: &Bytes) -> Result<(), SendError> {
        match self.role {
            Role::Host => self.send_down(to, delivery, payload),
            Role::HandingOver => Err(SendError::NotConnected),
            Role::Waiting | Role::Joining | Role::Guest | Role::Becoming => self.send_up(to, delivery, payload),
        }
    }

    /// From a guest to its host, or to the next one.
    fn send_up(&mut self, to: Recipient, delivery: Delivery, payload: &Bytes) -> Result<(), SendError> {
        let epoch = self.epoch;
        // A link of an epoch that is over may still be there for a moment.
        let mut in_game = self.links.iter().filter(|(_, link)| link.in_game && link.epoch == epoch);
        let link = match to {
            Recipient::Host | Recipient::Everyone => in_game.next(),
            Recipient::One(peer) => Some(in_game.find(|(other, _)| **other == peer).ok_or(SendError::NotConnected)?),
        };
        let link = link.map(|(_, link)| link);
        match delivery {
            Delivery::Unreliable => link.ok_or(SendError::NotConnected)?.send_unreliable(payload),
            Delivery::Reliable if self.has_played => {
                let number = self.own.say(payload.clone())?;
                // Without a link it is said to whoever welcomes this guest next.
                if let Some(link) = link {
                    link.say(Class::Reliable, number, payload.clone());
                }
                Ok(())
            }
            Delivery::Reliable => Err(SendError::NotConnected),
            Delivery::AfterStable => Err(SendError::HostOnly),
        }
    }

    fn send_down(&mut self, to: Recipient, delivery: Delivery, payload: &Bytes) -> Result<(), SendError> {
        let in_game = self.in_game();
        let (class, guests): (_, Vec<_>) = match (to, delivery) {
            (Recipient::Host, _) => return Err(SendError::NotConnected),
            (Recipient::Everyone, Delivery::Unreliable) => {
                return in_game.iter().try_for_each(|guest| self.links[guest].send_unreliable(payload));
            }
            (Recipient::One(guest), Delivery::Unreliable) => {
                let link = in_game.iter().find(|other| **other == guest).map(|guest| &self.links[guest]);
                return link.ok_or(SendError::NotConnected)?.send_unreliable(payload);
            }
            (to, Delivery::Reliable) => (Class::Reliable, self.reached_by(to, in_game)?),
            (to, Delivery::AfterStable) => (Class::AfterStable, self.reached_by(to, in_game)?),
        };
        // All of them, though one may be full.
        guests.into_iter().map(|guest| self.say(guest, class, payload)).fold(Ok(()), Result::and)
    }

    fn reached_by(&self, to: Recipient, in_game: Vec<ConnectionId>) -> Result<Vec<ConnectionId>, SendError> {
        let all = in_game.into_iter().chain(self.away.iter().copied());
        match to {
            Recipient::One(guest) => {
                let guests: Vec<_> = all.filter(|other| *other == guest).take(1).collect();
                if guests.is_empty() { Err(SendError::NotConnected) } else { Ok(guests) }
            }
            Recipient::Everyone | Recipient::Host => Ok(all.collect()),
        }
    }

    fn say(&mut self, guest: ConnectionId, class: Class, payload: &Bytes) -> Result<(), SendError> {
        let number = match self.streams.say(guest, class, payload.clone()) {
            Ok(number) => number,
            // It will be told what it missed, and gets what comes from here on.
            Err(_) if class == Class::Reliable && self.away.contains(&guest) => {
                self.streams.give_up(guest);
                self.streams.say(guest, class, payload.clone())?
            }
            Err(full) => return Err(full.into()),
        };
        if let (Some(number), Some(link)) = (number, self.links.get(&guest))
            && link.in_game
        {
            link.say(class, number, payload.clone());
        }
        Ok(())
    }

    /// Guests with a link of this epoch, in the game.
    fn in_game(&self) -> Vec<ConnectionId> {
        let epoch = self.epoch;
        let in_game = self.links.iter().filter(|(_, link)| link.in_game && link.epoch == epoch);
        in_game.map(|(&guest, _)| guest).collect()
    }

    /// The game takes an output. False: it is of an epoch that is over, and will be said again.
    pub(crate) fn takes(&mut self, up: Up) -> bool {
        let hosts = matches!(self.role, Role::Host | Role::HandingOver) && self.epoch == up.epoch;
        if hosts {
            self.streams.applied(up.from, up.stream, up.number);
        }
        hosts
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

    /// The game gives its state: it is kept with the tables as they are now, and is the last if that is wanted.
    pub(crate) fn save(&mut self, state: SavedState) -> Saved {
        self.save_with(state, Vec::new())
    }

    /// The last state once more, with the tables as they are now.
    pub(crate) fn save_again(&mut self) -> Option<Saved> {
        let last = self.last_saved.clone()?;
        Some(self.save_with(last.state.clone(), last.changes.clone()))
    }

    fn save_with(&mut self, state: SavedState, changes: Vec<ByteBuf>) -> Saved {
        if std::mem::take(&mut self.freeze_wanted) && self.role == Role::Host {
            self.frozen = true;
            self.role = Role::HandingOver;
        }
        let saved = Saved { changes, is_last: self.frozen, ..self.with_tables(state) };
        self.last_saved = Some(Arc::new(saved.clone()));
        saved
    }

    /// The game gives its state unasked.
    pub(crate) fn give(&mut self, state: SavedState) -> Result<(), HostError> {
        check_scene(&state.scene)?;
        self.check_runs_the_game()?;
        let saved = self.save(state);
        self.given = Some(saved);
        Ok(())
    }

    /// The game tells what has become of its state.
    pub(crate) fn give_change(&mut self, change: StateChange) -> Result<(), HostError> {
        self.check_runs_the_game()?;
        let last = self.last_saved.clone().ok_or(HostError::NoBase)?;
        let bytes: usize = last.changes.iter().map(|change| change.len()).sum();
        // Beyond its own size, the state itself is the shorter way.
        if last.changes.len() >= CHANGES_MAX || bytes + change.change.len() > last.state.state.len().max(64 * 1024) {
            return Err(HostError::NoBase);
        }
        let StateChange { tick, elapsed, change } = change;
        let state = SavedState { tick, elapsed, ..last.state.clone() };
        let changes = last.changes.iter().cloned().chain([ByteBuf::from(change)]).collect();
        let saved = self.save_with(state, changes);
        self.given = Some(saved);
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
        Saved {
            state,
            changes: Vec::new(),
            seats: self.lobby.members.iter().map(seat).collect(),
            objects: self.objects.clone(),
            ledger: self.streams.ledger(),
            is_last: false,
        }
    }

    /// Nothing was ever stored: what this peer knows of another host's game does not count.
    pub(crate) fn start_anew(&mut self, epoch: HostEpoch) {
        self.tick = 0;
        self.last_saved = None;
        self.objects = ObjectTable::default();
        self.streams = HostStreams::new(epoch);
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
            Role::Waiting | Role::Joining | Role::Guest | Role::HandingOver => Err(HostError::NotHost),
        }
    }

    fn check_runs_the_game(&self) -> Result<(), HostError> {
        if self.role == Role::Host { Ok(()) } else { Err(HostError::NotHost) }
    }
}

fn check_scene(scene: &str) -> Result<(), HostError> {
    if scene.len() > SCENE_BYTES_MAX { Err(HostError::TooLarge { max: SCENE_BYTES_MAX }) } else { Ok(()) }
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
    use crate::link::{LinkId, Opening, queues};

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
            browser: false,
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
            hand_over: None,
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
        let shared = Shared::new(HOST, Arc::new(lobby()), StreamId(1));
        shared.lock().role = Role::Host;
        shared
    }

    #[tokio::test]
    async fn a_message_of_a_host_that_was_just_replaced_does_not_go_out_on_its_old_links() {
        let shared = hosting();
        let task = tokio::spawn(async {}).abort_handle();
        let now = std::time::Instant::now();
        let (ends, _task_ends) = queues();
        let peer_key = PeerKey::from_bytes([7; 32]);
        let opening = Opening { id: LinkId(1), epoch: OLD_EPOCH, relayed: false, standby: false, peer_key, ends };
        let mut link = LinkHandle::new(opening, None, task, now);
        link.in_game = true;
        let mut state = shared.lock();
        state.links.insert(GUEST, link);
        let offer = GuestStreams::new(StreamId(2)).offer();
        state.streams.handle_hello(GUEST, &offer);
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
        state.start_anew(NEW_EPOCH);
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
