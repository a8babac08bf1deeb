//! The tables themselves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::commit::Version;
use protocol::id::{Checksum, EventSeq, InstanceId, JoinCode, LobbyId, PlayerId};
use protocol::limits;
use protocol::lobby::Lobby;
use protocol::lobby::listing::{Position, Query};
use protocol::message::Event;
use protocol::planted::{self, Bug};
use protocol::snapshot::{Generation, Header};
use protocol::time::Timestamp;

use crate::auth::api_key::{ApiKeyId, StoredApiKey};
#[cfg(doc)]
use crate::store::Store;
use crate::store::{
    Admission, Chain, Change, DELETED_AT_ONCE, MEMBERSHIPS_MAX, Membership, NewDelta, NewSnapshot, Newer, Player,
    RefreshHash, Renewal, Rotation, SnapshotRefusal, Written, admit, admit_delta, closed_at,
};

use super::identity::Identities;
use super::instances::Instances;
use crate::store::overview::{StoredInstance, StoredSnapshot};

#[derive(Debug)]
struct Row {
    lobby: Arc<Lobby>,
    version: Version,
    closed_at: Option<Timestamp>,
    events: VecDeque<Event>,
    /// Oldest first.
    snapshots: VecDeque<StoredChain>,
}

/// A snapshot and its deltas in order.
#[derive(Debug)]
struct StoredChain {
    header: Header,
    record: Bytes,
    deltas: Vec<(Header, Bytes)>,
}

impl StoredChain {
    fn newest(&self) -> &Header {
        self.deltas.last().map_or(&self.header, |(header, _)| header)
    }

    fn delta_bytes(&self) -> u64 {
        self.deltas.iter().map(|(_, record)| record.len() as u64).sum()
    }

    fn chain(&self) -> Chain {
        let Header { generation, checksum, .. } = *self.newest();
        let deltas = u32::try_from(self.deltas.len()).unwrap_or(u32::MAX);
        Chain { newest: generation, checksum, deltas, delta_bytes: self.delta_bytes() }
    }

    /// All records, one after the other.
    fn records(&self) -> Bytes {
        if self.deltas.is_empty() {
            return self.record.clone();
        }
        let records: Vec<&[u8]> = [&self.record]
            .into_iter()
            .chain(self.deltas.iter().map(|(_, record)| record))
            .map(|record| &record[..])
            .collect();
        records.concat().into()
    }
}

impl Row {
    fn new(lobby: Arc<Lobby>) -> Self {
        Self { lobby, version: Version(0), closed_at: None, events: VecDeque::new(), snapshots: VecDeque::new() }
    }

    /// Puts the next version in place.
    fn save(&mut self, lobby: Arc<Lobby>, events: Vec<Event>) {
        if lobby.is_closed() {
            self.snapshots.clear();
            self.closed_at = closed_at(&events);
        }
        self.lobby = lobby;
        self.version = Version(self.version.0 + 1);
        self.append(events);
    }

    fn append(&mut self, events: Vec<Event>) {
        self.events.extend(events);
        while self.events.len() as u64 > limits::EVENTS_KEPT {
            self.events.pop_front();
        }
    }
}

/// The tables, without a lock or a future: a simulation drives them directly.
#[derive(Debug, Default)]
pub struct Tables {
    lobbies: BTreeMap<LobbyId, Row>,
    codes: BTreeMap<JoinCode, LobbyId>,
    identities: Identities,
    instances: Instances,
    used_up: BTreeMap<[u8; 16], Timestamp>,
}

impl Tables {
    /// See [`Store::write`]. Changes of different lobbies do not disturb each other, so that one is the same as many.
    pub fn write(&mut self, change: Change) -> Written {
        let Change { expected, lobby, events } = change;
        match expected {
            Some(expected) => self.update(expected, lobby, events),
            None => self.insert(lobby, events),
        }
    }

    fn update(&mut self, expected: Version, lobby: Arc<Lobby>, events: Vec<Event>) -> Written {
        match self.lobbies.get_mut(&lobby.id()) {
            Some(row) if row.version == expected || planted::is(Bug::SaveWithoutVersionCheck) => {
                let (before, after) = (row.lobby.join_code(), lobby.join_code());
                if before != after {
                    if self.codes.contains_key(&after) {
                        return Written::Taken;
                    }
                    self.codes.remove(&before);
                    self.codes.insert(after, lobby.id());
                }
                row.save(lobby, events);
                Written::Done
            }
            Some(_) | None => Written::Stale,
        }
    }

    fn insert(&mut self, lobby: Arc<Lobby>, events: Vec<Event>) -> Written {
        let id = lobby.id();
        if self.lobbies.contains_key(&id) || self.codes.contains_key(&lobby.join_code()) {
            return Written::Taken;
        }
        self.codes.insert(lobby.join_code(), id);
        self.lobbies.entry(id).or_insert(Row::new(Arc::clone(&lobby))).save(lobby, events);
        Written::Done
    }

    /// See [`Store::load`].
    #[must_use]
    pub fn load(&self, id: LobbyId) -> Option<(Lobby, Version)> {
        self.lobbies.get(&id).map(|row| (Lobby::clone(&row.lobby), row.version))
    }

    /// See [`Store::load_newer`].
    #[must_use]
    pub fn load_newer(&self, id: LobbyId, known: Version) -> Newer {
        match self.lobbies.get(&id) {
            Some(row) if row.version == known => Newer::Same,
            Some(row) => Newer::Newest(Lobby::clone(&row.lobby), row.version),
            None => Newer::Gone,
        }
    }

    /// See [`Store::versions`].
    #[must_use]
    pub fn versions(&self, ids: &[LobbyId]) -> Vec<(LobbyId, Version)> {
        ids.iter().filter_map(|&id| Some((id, self.lobbies.get(&id)?.version))).collect()
    }

    /// See [`Store::id_by_code`].
    #[must_use]
    pub fn id_by_code(&self, code: JoinCode) -> Option<LobbyId> {
        self.codes.get(&code).copied()
    }

    /// See [`Store::query`].
    #[must_use]
    pub fn query(&self, query: &Query) -> Vec<Lobby> {
        let lobbies = self.lobbies.values().map(|row| (&row.lobby, row.lobby.listing()));
        let found = lobbies.filter(|(_, listing)| listing.is_listed && query.matches(listing));
        let mut found: Vec<_> =
            found.map(|(lobby, listing)| (query.position(lobby.id(), &listing), Arc::clone(lobby))).collect();
        found.sort_by(|(one, _), (other, _)| query.compare(one, other));
        let is_after =
            |position: &Position| query.after.as_ref().is_none_or(|after| query.compare(position, after).is_gt());
        let page = found.into_iter().filter(|(position, _)| is_after(position));
        page.skip(query.skip as usize).take(query.count as usize).map(|(_, lobby)| Lobby::clone(&lobby)).collect()
    }

    /// See [`Store::lobbies`].
    #[must_use]
    pub fn lobbies(&self, after: Option<LobbyId>, limit: u32) -> Vec<(Lobby, Version)> {
        let page = self.after(after).take(limit as usize);
        page.filter_map(|lobby| self.load(lobby.id())).collect()
    }

    /// See [`Store::memberships`].
    #[must_use]
    pub fn memberships(&self, player: PlayerId) -> Vec<Membership> {
        let open = self.lobbies.values().map(|row| &row.lobby).filter(|lobby| !lobby.is_closed());
        let seats = open.filter_map(|lobby| {
            let connection = lobby.seat_of(player)?;
            Some(Membership {
                lobby: lobby.id(),
                connection,
                is_host: lobby.host_writer() == Some(connection),
                request: lobby.request_of(connection),
            })
        });
        seats.take(MEMBERSHIPS_MAX).collect()
    }

    /// See [`Store::use_up`].
    pub fn use_up(&mut self, what: [u8; 16], now: Timestamp, until: Timestamp) -> bool {
        self.used_up.retain(|_, until| *until > now);
        let is_new = !self.used_up.contains_key(&what);
        if is_new {
            self.used_up.insert(what, until);
        }
        is_new
    }

    /// See [`Store::connected_lobbies`].
    #[must_use]
    pub fn connected_lobbies(&self, after: Option<LobbyId>, limit: u32) -> Vec<Lobby> {
        let has_connected = |lobby: &&Lobby| lobby.connected().next().is_some();
        self.after(after).filter(has_connected).take(limit as usize).map(Lobby::clone).collect()
    }

    /// See [`super::super::overview::Overview::snapshots`].
    #[must_use]
    pub fn snapshots(&self, lobby: LobbyId) -> Vec<StoredSnapshot> {
        let kept = self.lobbies.get(&lobby).into_iter().flat_map(|row| row.snapshots.iter().rev());
        kept.map(|kept| StoredSnapshot {
            generation: kept.header.generation,
            checksum: kept.header.checksum,
            bytes: kept.record.len() as u64,
            deltas: kept.deltas.len() as u64,
            delta_bytes: kept.delta_bytes(),
        })
        .collect()
    }

    /// See [`super::super::overview::Overview::instances`].
    #[must_use]
    pub fn instances(&self) -> Vec<StoredInstance> {
        self.instances.all()
    }

    /// See [`Store::due`].
    #[must_use]
    pub fn due(&self, limit: u32) -> Vec<(Timestamp, LobbyId)> {
        let mut due: Vec<_> = self.lobbies.iter().filter_map(|(&id, row)| Some((row.lobby.due_at()?, id))).collect();
        due.sort_unstable();
        due.truncate(limit as usize);
        due
    }

    /// See [`Store::events_after`].
    #[must_use]
    pub fn events_after(&self, lobby: LobbyId, after: EventSeq, limit: u32) -> Option<Vec<Event>> {
        let row = self.lobbies.get(&lobby)?;
        let kept = row.events.front().map_or(row.lobby.last_event().0 + 1, |event| event.seq.0);
        if after > row.lobby.last_event() || after.0 + 1 < kept {
            return None;
        }
        Some(row.events.iter().filter(|event| event.seq > after).take(limit as usize).cloned().collect())
    }

    /// See [`Store::put_snapshots`].
    ///
    /// # Errors
    /// [`SnapshotRefusal`].
    pub fn put_snapshot(&mut self, new: &NewSnapshot) -> Result<(), SnapshotRefusal> {
        let row = self.lobbies.get_mut(&new.lobby).ok_or(SnapshotRefusal::NoLobby)?;
        let chain = row.snapshots.back().map(StoredChain::chain);
        if admit(&row.lobby, new, chain.as_ref())? == Admission::Store {
            row.snapshots.push_back(StoredChain { header: new.header, record: new.record.clone(), deltas: Vec::new() });
            while row.snapshots.len() > limits::SNAPSHOT_GENERATIONS as usize {
                row.snapshots.pop_front();
            }
        }
        Ok(())
    }

    /// See [`Store::put_deltas`].
    ///
    /// # Errors
    /// [`SnapshotRefusal`].
    pub fn put_delta(&mut self, new: &NewDelta) -> Result<(), SnapshotRefusal> {
        let row = self.lobbies.get_mut(&new.lobby).ok_or(SnapshotRefusal::NoLobby)?;
        let chain = row.snapshots.back().map(StoredChain::chain);
        if admit_delta(&row.lobby, new, chain.as_ref())? == Admission::Store
            && let Some(newest) = row.snapshots.back_mut()
        {
            newest.deltas.push((new.header.leads_to, new.record.clone()));
        }
        Ok(())
    }

    /// See [`Store::newest_snapshot`].
    #[must_use]
    pub fn newest_snapshot(&self, lobby: LobbyId) -> Option<(Generation, Checksum)> {
        let header = self.lobbies.get(&lobby)?.snapshots.back()?.newest();
        Some((header.generation, header.checksum))
    }

    /// See [`Store::latest_snapshot`].
    #[must_use]
    pub fn latest_snapshot(&self, lobby: LobbyId) -> Option<(Header, Bytes)> {
        let newest = self.lobbies.get(&lobby)?.snapshots.back()?;
        Some((*newest.newest(), newest.records()))
    }

    /// See [`Store::register`]; other leases stay.
    pub fn register(&mut self, instance: InstanceId, term: Duration, now: Timestamp) -> Renewal {
        self.instances.register(instance, term, now)
    }

    /// Ends all leases but one.
    pub(super) fn keep_only(&mut self, instance: InstanceId) {
        self.instances.keep_only(instance);
    }

    /// See [`Store::renew`].
    pub fn renew(&mut self, instance: InstanceId, term: Duration, now: Timestamp) -> Renewal {
        self.instances.renew(instance, term, now)
    }

    /// See [`Store::retire`].
    pub fn retire(&mut self, instance: InstanceId) {
        self.instances.retire(instance);
    }

    /// See [`Store::bury`].
    pub fn bury(&mut self, instance: InstanceId) {
        self.instances.bury(instance);
    }

    /// See [`Store::delete_closed`].
    pub fn delete_closed(&mut self, until: Timestamp) -> u64 {
        let old = self.lobbies.iter().filter(|(_, row)| row.closed_at.is_some_and(|at| at <= until));
        let old: Vec<_> = old.map(|(&id, _)| id).take(DELETED_AT_ONCE).collect();
        let rows = old.iter().filter_map(|id| self.lobbies.remove(id));
        for row in rows.collect::<Vec<_>>() {
            self.codes.remove(&row.lobby.join_code());
        }
        old.len() as u64
    }

    /// See [`Store::create_player`].
    pub fn create_player(&mut self, player: &Player, token: &RefreshHash, expires_at: Timestamp) {
        self.identities.create_player(player, token, expires_at);
    }

    /// See [`Store::player`].
    #[must_use]
    pub fn player(&self, id: PlayerId) -> Option<Player> {
        self.identities.player(id)
    }

    /// See [`Store::rotate_refresh`].
    pub fn rotate_refresh(
        &mut self,
        presented: &RefreshHash,
        next: [u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Rotation {
        self.identities.rotate_refresh(presented, next, now, expires_at)
    }

    /// See [`Store::add_api_key`].
    pub fn add_api_key(&mut self, key: &StoredApiKey) -> bool {
        self.identities.add_api_key(key)
    }

    /// See [`Store::api_keys`].
    #[must_use]
    pub fn api_keys(&self) -> Vec<StoredApiKey> {
        self.identities.api_keys()
    }

    /// See [`Store::note_api_key_used`].
    pub fn note_api_key_used(&mut self, id: ApiKeyId, day: Timestamp) {
        self.identities.note_api_key_used(id, day);
    }

    /// See [`Store::remove_api_key`].
    pub fn remove_api_key(&mut self, id: ApiKeyId) -> bool {
        self.identities.remove_api_key(id)
    }

    fn after(&self, after: Option<LobbyId>) -> impl Iterator<Item = &Lobby> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.lobbies.range((after.map_or(Unbounded, Excluded), Unbounded)).map(|(_, row)| &*row.lobby)
    }
}
