//! Who owns what: several objects per connection, objects without an owner, and what becomes of them when a host is lost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{ConnectionId, ObjectId};
use crate::limits;

/// An object of the game.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Who has authority over it; `None`: the host.
    pub owner: Option<ConnectionId>,
    /// False while its owner has not come back after a migration.
    pub enabled: bool,
    /// Of the game: kind, prefab, spawn parameters.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

/// A change of the table, as guests are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// An object is there, or has another owner.
    Placed {
        /// Which.
        id: ObjectId,
        /// As it is now.
        object: Object,
    },
    /// An object is gone.
    Removed {
        /// Which.
        id: ObjectId,
    },
    /// An owner is back, or away.
    Enabled {
        /// Whose objects.
        owner: ConnectionId,
        /// Back or away.
        enabled: bool,
    },
}

/// Why an object cannot be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// At [`limits::OBJECTS_MAX`].
    #[error("the table holds {} objects already", limits::OBJECTS_MAX)]
    TooMany,
    /// Above [`limits::OBJECT_TABLE_BYTES_MAX`].
    #[error("the table would be larger than {} bytes", limits::OBJECT_TABLE_BYTES_MAX)]
    TooLarge,
}

/// All objects that the game told the library of. Small enough for one message: a host tells it whole to each guest that arrives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<ObjectId, Object>", into = "BTreeMap<ObjectId, Object>")]
pub struct ObjectTable {
    objects: BTreeMap<ObjectId, Object>,
    bytes: usize,
}

impl From<BTreeMap<ObjectId, Object>> for ObjectTable {
    fn from(objects: BTreeMap<ObjectId, Object>) -> Self {
        let bytes = objects.values().map(Object::size).sum();
        Self { objects, bytes }
    }
}

impl From<ObjectTable> for BTreeMap<ObjectId, Object> {
    fn from(table: ObjectTable) -> Self {
        table.objects
    }
}

impl Object {
    /// Bytes that it takes in a message, about.
    const fn size(&self) -> usize {
        limits::OBJECT_OVERHEAD_BYTES + self.data.len()
    }
}

impl ObjectTable {
    /// All objects, by id.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectId, &Object)> {
        self.objects.iter().map(|(&id, object)| (id, object))
    }

    /// One object.
    #[must_use]
    pub fn object(&self, id: ObjectId) -> Option<&Object> {
        self.objects.get(&id)
    }

    /// The objects of a connection.
    pub fn owned_by(&self, owner: ConnectionId) -> impl Iterator<Item = ObjectId> + '_ {
        self.objects.iter().filter(move |(_, object)| object.owner == Some(owner)).map(|(&id, _)| id)
    }

    /// Places an object, or gives it another owner and other data. Returns the change to tell.
    ///
    /// # Errors
    /// [`PlaceError`]. Nothing has changed.
    pub fn place(&mut self, id: ObjectId, owner: Option<ConnectionId>, data: Vec<u8>) -> Result<Change, PlaceError> {
        let object = Object { owner, enabled: true, data };
        self.insert(id, object.clone())?;
        Ok(Change::Placed { id, object })
    }

    fn insert(&mut self, id: ObjectId, object: Object) -> Result<(), PlaceError> {
        let before = self.objects.get(&id).map(Object::size);
        if before.is_none() && self.objects.len() >= limits::OBJECTS_MAX {
            return Err(PlaceError::TooMany);
        }
        let bytes = self.bytes - before.unwrap_or(0) + object.size();
        if bytes > limits::OBJECT_TABLE_BYTES_MAX {
            return Err(PlaceError::TooLarge);
        }
        self.bytes = bytes;
        self.objects.insert(id, object);
        Ok(())
    }

    /// Removes an object. Returns the change to tell, if it was there.
    pub fn remove(&mut self, id: ObjectId) -> Option<Change> {
        let removed = self.objects.remove(&id)?;
        self.bytes -= removed.size();
        Some(Change::Removed { id })
    }

    /// Enables or disables what a connection owns. Returns the objects that changed, and the change to tell.
    pub fn enable(&mut self, owner: ConnectionId, enabled: bool) -> (Vec<ObjectId>, Option<Change>) {
        let mut changed = Vec::new();
        for (&id, object) in &mut self.objects {
            if object.owner == Some(owner) && object.enabled != enabled {
                object.enabled = enabled;
                changed.push(id);
            }
        }
        let change = (!changed.is_empty()).then_some(Change::Enabled { owner, enabled });
        (changed, change)
    }

    /// Disables whatever has an owner other than `host`: after a restore, until its owner is back.
    pub fn disable_all_but(&mut self, host: ConnectionId) {
        for object in self.objects.values_mut() {
            object.enabled = object.owner.is_none_or(|owner| owner == host);
        }
    }

    /// Gives the objects of a seat that was given up to the host. Returns them.
    pub fn orphan(&mut self, owner: ConnectionId) -> Vec<ObjectId> {
        let mut orphans = Vec::new();
        for (&id, object) in &mut self.objects {
            if object.owner == Some(owner) {
                object.owner = None;
                object.enabled = true;
                orphans.push(id);
            }
        }
        orphans
    }

    /// Applies what the host told. What does not fit is left out: an honest host's table fits.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Placed { id, object } => {
                let _ = self.insert(id, object);
            }
            Change::Removed { id } => {
                self.remove(id);
            }
            Change::Enabled { owner, enabled } => {
                self.enable(owner, enabled);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_disabled_until_their_owner_is_back_and_only_theirs() {
        let mut table = ObjectTable::default();
        for (id, owner) in [(1, Some(0)), (2, Some(1)), (3, Some(1)), (4, None)] {
            table.place(ObjectId(id), owner.map(ConnectionId), Vec::new()).unwrap();
        }
        table.disable_all_but(ConnectionId(0));
        let enabled =
            |table: &ObjectTable| table.iter().filter(|(_, o)| o.enabled).map(|(id, _)| id.0).collect::<Vec<_>>();
        assert_eq!(enabled(&table), [1, 4]);
        let (back, change) = table.enable(ConnectionId(1), true);
        assert_eq!(back, [ObjectId(2), ObjectId(3)]);
        let mut guest = table.clone();
        guest.apply(change.unwrap());
        assert_eq!(guest, table);
        assert_eq!(table.enable(ConnectionId(1), true), (Vec::new(), None));
        assert_eq!(table.orphan(ConnectionId(1)), [ObjectId(2), ObjectId(3)]);
        assert_eq!(table.owned_by(ConnectionId(1)).count(), 0);
    }

    #[test]
    fn the_table_stays_small_enough_for_one_message() {
        let mut table = ObjectTable::default();
        let half = vec![0; limits::OBJECT_TABLE_BYTES_MAX / 2];
        table.place(ObjectId(1), None, half.clone()).unwrap();
        assert_eq!(table.place(ObjectId(2), None, half.clone()), Err(PlaceError::TooLarge));
        table.place(ObjectId(1), None, Vec::new()).unwrap();
        table.place(ObjectId(2), None, half.clone()).unwrap();
        table.remove(ObjectId(2));
        table.place(ObjectId(3), None, half).unwrap();
        let map: BTreeMap<_, _> = table.clone().into();
        assert_eq!(ObjectTable::from(map), table);
    }
}
