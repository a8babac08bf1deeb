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
#[error("the table holds {} objects already", limits::OBJECTS_MAX)]
pub struct TooManyObjects;

/// All objects that the game told the library of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectTable {
    objects: BTreeMap<ObjectId, Object>,
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
    /// [`TooManyObjects`] at [`limits::OBJECTS_MAX`].
    pub fn place(
        &mut self,
        id: ObjectId,
        owner: Option<ConnectionId>,
        data: Vec<u8>,
    ) -> Result<Change, TooManyObjects> {
        if self.objects.len() >= limits::OBJECTS_MAX && !self.objects.contains_key(&id) {
            return Err(TooManyObjects);
        }
        let object = Object { owner, enabled: true, data };
        self.objects.insert(id, object.clone());
        Ok(Change::Placed { id, object })
    }

    /// Removes an object. Returns the change to tell, if it was there.
    pub fn remove(&mut self, id: ObjectId) -> Option<Change> {
        self.objects.remove(&id).map(|_| Change::Removed { id })
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

    /// Applies what the host told.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Placed { id, object } => {
                if self.objects.len() < limits::OBJECTS_MAX || self.objects.contains_key(&id) {
                    self.objects.insert(id, object);
                }
            }
            Change::Removed { id } => {
                self.objects.remove(&id);
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
}
