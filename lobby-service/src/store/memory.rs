//! The store in memory: the definition of what a store does. Nothing survives the process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::commit::{Saved, Version};
use protocol::id::{ConnectionId, EventSeq, JoinCode, LobbyId, PlayerId};
use protocol::limits;
use protocol::lobby::Lobby;
use protocol::message::Event;
use protocol::planted::{self, Bug};
use protocol::snapshot::Header;
use protocol::time::Timestamp;

use super::{
    Admission, CodeTaken, CreateError, Player, PutSnapshotError, RefreshHash, SnapshotRefusal, Store, StoreError,
    admit, closed_at, is_listed,
};

#[derive(Debug)]
struct Row {
    lobby: Lobby,
    version: Version,
    closed_at: Option<Timestamp>,
    events: VecDeque<Event>,
    /// Oldest first.
    snapshots: VecDeque<(Header, Bytes)>,
}

impl Row {
    fn append(&mut self, events: Vec<Event>) {
        self.events.extend(events);
        while self.events.len() as u64 > limits::EVENTS_KEPT {
            self.events.pop_front();
        }
    }
}

#[derive(Debug)]
struct Family {
    player: PlayerId,
    current: [u8; 32],
    previous: Option<[u8; 32]>,
    expires_at: Timestamp,
}

/// The tables, without a lock or a future: a simulation drives them directly.
#[derive(Debug, Default)]
pub struct Tables {
    lobbies: BTreeMap<LobbyId, Row>,
    codes: BTreeMap<JoinCode, LobbyId>,
    players: BTreeMap<PlayerId, Player>,
    families: BTreeMap<[u8; 16], Family>,
}

impl Tables {
    /// See [`Store::create`].
    ///
    /// # Errors
    /// [`CodeTaken`].
    pub fn create(&mut self, lobby: Lobby, events: Vec<Event>) -> Result<(), CodeTaken> {
        if self.codes.contains_key(&lobby.join_code()) {
            return Err(CodeTaken);
        }
        self.codes.insert(lobby.join_code(), lobby.id());
        let id = lobby.id();
        let mut row =
            Row { lobby, version: Version(1), closed_at: None, events: VecDeque::new(), snapshots: VecDeque::new() };
        row.append(events);
        self.lobbies.insert(id, row);
        Ok(())
    }

    /// See [`Store::load`].
    #[must_use]
    pub fn load(&self, id: LobbyId) -> Option<(Lobby, Version)> {
        self.lobbies.get(&id).map(|row| (row.lobby.clone(), row.version))
    }

    /// See [`Store::id_by_code`].
    #[must_use]
    pub fn id_by_code(&self, code: JoinCode) -> Option<LobbyId> {
        self.codes.get(&code).copied()
    }

    /// See [`Store::list`].
    #[must_use]
    pub fn list(&self, after: Option<LobbyId>, limit: u32) -> Vec<Lobby> {
        self.after(after).filter(|lobby| is_listed(lobby)).take(limit as usize).cloned().collect()
    }

    /// See [`Store::connected_lobbies`].
    #[must_use]
    pub fn connected_lobbies(&self, after: Option<LobbyId>, limit: u32) -> Vec<Lobby> {
        let has_connected = |lobby: &&Lobby| lobby.connected().next().is_some();
        self.after(after).filter(has_connected).take(limit as usize).cloned().collect()
    }

    /// See [`Store::due`].
    #[must_use]
    pub fn due(&self, limit: u32) -> Vec<(Timestamp, LobbyId)> {
        let mut due: Vec<_> = self.lobbies.iter().filter_map(|(&id, row)| Some((row.lobby.due_at()?, id))).collect();
        due.sort_unstable();
        due.truncate(limit as usize);
        due
    }

    /// See [`Store::save`].
    pub fn save(&mut self, expected: Version, lobby: Lobby, events: Vec<Event>) -> Saved {
        let Some(row) = self.lobbies.get_mut(&lobby.id()) else { return Saved::Stale };
        if row.version != expected && !planted::is(Bug::SaveWithoutVersionCheck) {
            return Saved::Stale;
        }
        if lobby.is_closed() {
            row.snapshots.clear();
            row.closed_at = closed_at(&events);
        }
        row.lobby = lobby;
        row.version = Version(row.version.0 + 1);
        row.append(events);
        Saved::Done
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

    /// See [`Store::put_snapshot`].
    ///
    /// # Errors
    /// [`SnapshotRefusal`].
    pub fn put_snapshot(
        &mut self,
        lobby: LobbyId,
        connection: ConnectionId,
        record: Bytes,
    ) -> Result<Header, SnapshotRefusal> {
        let header = Header::check(&record)?;
        let row = self.lobbies.get_mut(&lobby).ok_or(SnapshotRefusal::NoLobby)?;
        let newest = row.snapshots.back().map(|(header, _)| header);
        if admit(&row.lobby, connection, &header, newest)? == Admission::Store {
            row.snapshots.push_back((header, record));
            while row.snapshots.len() > limits::SNAPSHOT_GENERATIONS as usize {
                row.snapshots.pop_front();
            }
        }
        Ok(header)
    }

    /// See [`Store::latest_snapshot`].
    #[must_use]
    pub fn latest_snapshot(&self, lobby: LobbyId) -> Option<(Header, Bytes)> {
        self.lobbies.get(&lobby)?.snapshots.back().cloned()
    }

    /// See [`Store::delete_closed`].
    pub fn delete_closed(&mut self, until: Timestamp) -> u64 {
        let before = self.lobbies.len();
        self.lobbies.retain(|_, row| row.closed_at.is_none_or(|at| at > until));
        let lobbies = &self.lobbies;
        self.codes.retain(|_, lobby| lobbies.contains_key(lobby));
        (before - self.lobbies.len()) as u64
    }

    /// See [`Store::create_player`].
    pub fn create_player(&mut self, player: &Player, token: &RefreshHash, expires_at: Timestamp) {
        let players = &mut self.players;
        self.families.retain(|_, family| {
            let lives = family.expires_at > player.created_at;
            if !lives {
                players.remove(&family.player);
            }
            lives
        });
        let family = Family { player: player.id, current: token.hash, previous: None, expires_at };
        self.players.insert(player.id, player.clone());
        self.families.insert(token.family, family);
    }

    /// See [`Store::player`].
    #[must_use]
    pub fn player(&self, id: PlayerId) -> Option<Player> {
        self.players.get(&id).cloned()
    }

    /// See [`Store::rotate_refresh`].
    pub fn rotate_refresh(
        &mut self,
        presented: &RefreshHash,
        next: [u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Option<PlayerId> {
        let family = self.families.get_mut(&presented.family).filter(|family| family.expires_at > now)?;
        if presented.hash != family.current && Some(presented.hash) != family.previous {
            return None;
        }
        *family = Family { player: family.player, current: next, previous: Some(presented.hash), expires_at };
        Some(family.player)
    }

    fn after(&self, after: Option<LobbyId>) -> impl Iterator<Item = &Lobby> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.lobbies.range((after.map_or(Unbounded, Excluded), Unbounded)).map(|(_, row)| &row.lobby)
    }
}

/// The tables behind a lock.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

impl MemoryStore {
    /// No method of the tables panics half way, so that a poisoned lock guards whole tables.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create(&self, lobby: &Lobby, events: &[Event]) -> Result<(), CreateError> {
        Ok(self.tables().create(lobby.clone(), events.to_vec())?)
    }

    async fn load(&self, id: LobbyId) -> Result<Option<(Lobby, Version)>, StoreError> {
        Ok(self.tables().load(id))
    }

    async fn id_by_code(&self, code: JoinCode) -> Result<Option<LobbyId>, StoreError> {
        Ok(self.tables().id_by_code(code))
    }

    async fn list(&self, after: Option<LobbyId>, limit: u32) -> Result<Vec<Lobby>, StoreError> {
        Ok(self.tables().list(after, limit))
    }

    async fn connected_lobbies(&self, after: Option<LobbyId>, limit: u32) -> Result<Vec<Lobby>, StoreError> {
        Ok(self.tables().connected_lobbies(after, limit))
    }

    async fn due(&self, limit: u32) -> Result<Vec<(Timestamp, LobbyId)>, StoreError> {
        Ok(self.tables().due(limit))
    }

    async fn save(&self, expected: Version, lobby: &Lobby, events: &[Event]) -> Result<Saved, StoreError> {
        Ok(self.tables().save(expected, lobby.clone(), events.to_vec()))
    }

    async fn events_after(
        &self,
        lobby: LobbyId,
        after: EventSeq,
        limit: u32,
    ) -> Result<Option<Vec<Event>>, StoreError> {
        Ok(self.tables().events_after(lobby, after, limit))
    }

    async fn put_snapshot(
        &self,
        lobby: LobbyId,
        connection: ConnectionId,
        record: Bytes,
    ) -> Result<Header, PutSnapshotError> {
        Ok(self.tables().put_snapshot(lobby, connection, record)?)
    }

    async fn latest_snapshot(&self, lobby: LobbyId) -> Result<Option<(Header, Bytes)>, StoreError> {
        Ok(self.tables().latest_snapshot(lobby))
    }

    async fn create_player(
        &self,
        player: &Player,
        token: &RefreshHash,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.tables().create_player(player, token, expires_at);
        Ok(())
    }

    async fn delete_closed(&self, until: Timestamp) -> Result<u64, StoreError> {
        Ok(self.tables().delete_closed(until))
    }

    async fn player(&self, id: PlayerId) -> Result<Option<Player>, StoreError> {
        Ok(self.tables().player(id))
    }

    async fn rotate_refresh(
        &self,
        presented: &RefreshHash,
        next: [u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Option<PlayerId>, StoreError> {
        Ok(self.tables().rotate_refresh(presented, next, now, expires_at))
    }

    async fn close(&self) {}
}
