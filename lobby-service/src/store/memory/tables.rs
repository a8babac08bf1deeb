//! The tables themselves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::commit::Version;
use protocol::id::{Checksum, EventSeq, InstanceId, JoinCode, LobbyId, PlayerId};
use protocol::limits;
use protocol::lobby::Lobby;
use protocol::message::Event;
use protocol::planted::{self, Bug};
use protocol::snapshot::{Generation, Header};
use protocol::time::Timestamp;

#[cfg(doc)]
use crate::store::Store;
use crate::store::{
    Admission, Change, DELETED_AT_ONCE, NewSnapshot, Newer, Player, RefreshHash, Renewal, SnapshotRefusal, Written,
    admit, closed_at, is_listed,
};

use super::instances::Instances;

#[derive(Debug)]
struct Row {
    lobby: Arc<Lobby>,
    version: Version,
    closed_at: Option<Timestamp>,
    events: VecDeque<Event>,
    /// Oldest first.
    snapshots: VecDeque<(Header, Bytes)>,
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
    instances: Instances,
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

    /// See [`Store::list`].
    #[must_use]
    pub fn list(&self, after: Option<LobbyId>, limit: u32) -> Vec<Lobby> {
        self.after(after).filter(|lobby| is_listed(lobby)).take(limit as usize).map(Lobby::clone).collect()
    }

    /// See [`Store::connected_lobbies`].
    #[must_use]
    pub fn connected_lobbies(&self, after: Option<LobbyId>, limit: u32) -> Vec<Lobby> {
        let has_connected = |lobby: &&Lobby| lobby.connected().next().is_some();
        self.after(after).filter(has_connected).take(limit as usize).map(Lobby::clone).collect()
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
        let newest = row.snapshots.back().map(|(header, _)| (header.generation, header.checksum));
        if admit(&row.lobby, new.connection, &new.header, newest)? == Admission::Store {
            row.snapshots.push_back((new.header, new.record.clone()));
            while row.snapshots.len() > limits::SNAPSHOT_GENERATIONS as usize {
                row.snapshots.pop_front();
            }
        }
        Ok(())
    }

    /// See [`Store::newest_snapshot`].
    #[must_use]
    pub fn newest_snapshot(&self, lobby: LobbyId) -> Option<(Generation, Checksum)> {
        let (header, _) = self.lobbies.get(&lobby)?.snapshots.back()?;
        Some((header.generation, header.checksum))
    }

    /// See [`Store::latest_snapshot`].
    #[must_use]
    pub fn latest_snapshot(&self, lobby: LobbyId) -> Option<(Header, Bytes)> {
        self.lobbies.get(&lobby)?.snapshots.back().cloned()
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
        self.lobbies.range((after.map_or(Unbounded, Excluded), Unbounded)).map(|(_, row)| &*row.lobby)
    }
}
