//! The leases of the instances of the service: which of them live, and who takes over from those that do not.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::id::InstanceId;
use protocol::time::Timestamp;

use crate::store::Renewal;
use crate::store::overview::StoredInstance;

#[derive(Debug)]
struct Row {
    expires_at: Timestamp,
    /// Who takes over its members. From then on the lease is nobody's.
    heir: Option<InstanceId>,
}

/// All instances that somebody may still have to take over from.
#[derive(Debug, Default)]
pub(super) struct Instances {
    rows: BTreeMap<InstanceId, Row>,
}

impl Instances {
    /// See [`crate::store::Store::register`]. Said again, it is a renewal.
    pub(super) fn register(&mut self, instance: InstanceId, term: Duration, now: Timestamp) -> Renewal {
        self.rows.entry(instance).or_insert(Row { expires_at: now, heir: None });
        self.renew(instance, term, now)
    }

    /// See [`crate::store::Store::renew`].
    pub(super) fn renew(&mut self, instance: InstanceId, term: Duration, now: Timestamp) -> Renewal {
        let is_held = match self.rows.get_mut(&instance) {
            Some(row) if row.heir.is_none() => {
                row.expires_at = now.after(term);
                true
            }
            Some(_) | None => false,
        };
        let lives = |id: InstanceId, row: &Row| row.heir.is_none() && (id == instance || row.expires_at > now);
        let live: Vec<_> = self.rows.iter().filter(|&(&id, row)| lives(id, row)).map(|(&id, _)| id).collect();
        let mut inherited = Vec::new();
        for (&id, row) in self.rows.iter_mut().filter(|_| is_held) {
            if !live.contains(&id) && row.heir.is_none_or(|heir| !live.contains(&heir)) {
                row.heir = Some(instance);
            }
            if row.heir == Some(instance) {
                inherited.push(id);
            }
        }
        Renewal { now, is_held, live, inherited }
    }

    /// See [`crate::store::Store::retire`].
    pub(super) fn retire(&mut self, instance: InstanceId) {
        if let Some(row) = self.rows.get_mut(&instance) {
            row.expires_at = Timestamp(0);
        }
    }

    /// See [`crate::store::Store::bury`].
    pub(super) fn bury(&mut self, instance: InstanceId) {
        self.rows.remove(&instance);
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<StoredInstance> {
        let all = self.rows.iter();
        all.map(|(&id, row)| StoredInstance { id, expires_at: row.expires_at, heir: row.heir }).collect()
    }

    /// Ends all leases but one.
    pub(super) fn keep_only(&mut self, instance: InstanceId) {
        self.rows.retain(|&id, _| id == instance);
    }
}
