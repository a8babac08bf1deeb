//! The lease of an instance in the database: who holds it takes over from those who do not any more.

use protocol::commit::Head;
use protocol::id::InstanceId;
use protocol::limits;
use protocol::lobby::Command;
use protocol::planted::{self, Bug};
use protocol::presence::Presence;
use protocol::suspicion::Suspicion;

use super::Sim;
use super::commits::Waiting;

impl Sim {
    /// Renews the lease of an instance, or begins it. Returns whether the database answered.
    pub(super) fn renew(&mut self, instance: usize) -> bool {
        if self.service.instances[instance].stopping {
            return true;
        }
        if self.service.store_fails(instance, self.now) {
            self.was_away(instance);
            self.resign(instance);
            return false;
        }
        let (id, now) = (self.service.instances[instance].id, self.timestamp());
        if self.service.instances[instance].lease.is_none() {
            self.register(instance);
            return true;
        }
        let renewal = self.service.tables.renew(id, limits::LEASE, now);
        if !renewal.is_held {
            self.depose(instance);
            self.register(instance);
            return true;
        }
        let now = self.now;
        let at = &mut self.service.instances[instance];
        at.lease = Some(now);
        if !renewal.inherited.is_empty() && now - at.looked_at >= limits::LEASE {
            self.take_over(instance, &renewal.live);
            self.bury(&renewal.inherited);
        }
        true
    }

    /// An instance starts, or starts anew: whoever is held by one that is not live gets a term to be heard.
    fn register(&mut self, instance: usize) {
        let (id, now) = (self.service.instances[instance].id, self.timestamp());
        let renewal = self.service.tables.register(id, limits::LEASE, now);
        let (now, listens_from) = (self.now, self.now + limits::LEASE);
        let row = self.service.row();
        let at = &mut self.service.instances[instance];
        at.lease = Some(now);
        let Some((lobby, version)) = row else { return };
        at.absences += 1;
        at.presence.renew_all(now);
        at.suspicion = Suspicion::resumed(lobby.epoch(), listens_from);
        at.suspicion.handle_lobby(&lobby, now);
        at.told = lobby.last_event();
        at.head = Some(Head { lobby: lobby.into(), version });
        self.take_over(instance, &renewal.live);
        self.execute(instance, Command::Resume, Waiting::Nobody);
    }

    /// It could not renew for as long as its lease is: another one takes over from now on, so that whoever is here is to go there.
    fn resign(&mut self, instance: usize) {
        let lease = self.service.instances[instance].lease;
        if lease.is_some_and(|renewed_at| self.now - renewed_at >= limits::LEASE)
            && !planted::is(Bug::SocketsOutliveLease)
        {
            self.stats.instances_resigned += 1;
            self.start_anew(instance);
        }
    }

    /// Another one has taken over while this one did not renew.
    fn depose(&mut self, instance: usize) {
        self.stats.instances_deposed += 1;
        self.start_anew(instance);
    }

    /// As if it had been killed and started: it is nobody's holder any more, and its sockets end.
    fn start_anew(&mut self, instance: usize) {
        self.trace(|| format!("instance {instance} has lost its lease"));
        self.service.steady_since = self.now;
        self.drop_all_sockets(instance);
        let id = self.service.draw_id();
        let at = &mut self.service.instances[instance];
        at.id = id;
        at.presence = Presence::new(id, limits::LEASE);
        at.lease = None;
    }

    fn take_over(&mut self, instance: usize, live: &[InstanceId]) {
        let (now, id) = (self.now, self.lobby);
        let Some((lobby, _)) = self.service.row() else { return };
        let at = &mut self.service.instances[instance];
        at.looked_at = now;
        let before = at.presence.len();
        for (connection, key, holder) in lobby.connected().filter(|(_, _, holder)| !live.contains(holder)) {
            at.presence.take_over((id, connection), key, holder, now);
        }
        let taken = (at.presence.len() - before) as u64;
        self.stats.members_taken_over += taken;
        if taken > 0 {
            self.trace(|| format!("instance {instance} takes over {taken}"));
        }
    }

    /// Forgets the dead who hold nobody any more.
    fn bury(&mut self, dead: &[InstanceId]) {
        let Some((lobby, _)) = self.service.row() else { return };
        for &id in dead.iter().filter(|&&id| lobby.connected().all(|(_, _, holder)| holder != id)) {
            self.stats.instances_buried += 1;
            self.service.tables.bury(id);
        }
    }
}
