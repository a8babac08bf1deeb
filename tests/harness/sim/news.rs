//! How the sockets of an instance learn what was saved, here or elsewhere; and what the instances say to each other.

use lobby_service::store::Newer;
use protocol::commit::{Head, Version};
use protocol::id::{ConnectionId, HostEpoch};
use protocol::lobby::{Command, Viewer};
use protocol::message::{Event, EventBody};
use protocol::planted::{self, Bug};
use protocol::presence::SocketId;
use protocol::relay::HostSound;
use protocol::suspicion::Verdict;
use std::time::{Duration, Instant};

use super::instance::Timer;
use super::peer::FromService;
use super::service::ServiceItem;
use super::sockets::Socket;
use super::{Item, Sim};

/// From one instance to another. It may be late, or lost.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bus {
    /// There is more in the database.
    Poke,
    /// What a guest said, and when.
    Report {
        guest: ConnectionId,
        epoch: HostEpoch,
        hears: bool,
        at: Instant,
    },
    Sound(HostSound),
}

/// A lobby as it was stored, and the events that led to it.
pub(super) struct News {
    pub(super) head: Head,
    pub(super) events: Vec<Event>,
}

impl Sim {
    /// Says something to the other instances.
    pub(super) fn forward(&mut self, from: usize, message: Bus) {
        for instance in (0..self.service.instances.len()).filter(|&instance| instance != from) {
            if !self.healed() && self.rng.f64() < self.faults.bus_loss {
                self.service.instances[instance].missed_poke |= matches!(message, Bus::Poke);
                self.stats.bus_messages_lost += 1;
                continue;
            }
            let late = if self.healed() { 0..20 } else { 0..self.faults.bus_late_ms };
            self.soon(late, Item::Service { instance, item: ServiceItem::Bus(message) });
        }
    }

    pub(super) fn poke(&mut self, from: usize) {
        self.forward(from, Bus::Poke);
    }

    pub(super) fn bus_says(&mut self, instance: usize, message: Bus) {
        let suspicion = &mut self.service.instances[instance].suspicion;
        match message {
            Bus::Poke => return self.refresh(instance),
            Bus::Report { guest, epoch, hears, at } => suspicion.handle_report(guest, epoch, hears, at),
            Bus::Sound(sound) => suspicion.handle_relay(sound.epoch, sound.heard),
        }
        self.assess(instance);
    }

    pub(super) fn relay_says(&mut self, instance: usize, sound: HostSound) {
        self.service.instances[instance].sound = Some(sound);
        self.forward(instance, Bus::Sound(sound));
        self.bus_says(instance, Bus::Sound(sound));
    }

    /// Every now and then an instance looks whether a poke was lost.
    pub(super) fn compare(&mut self, instance: usize) {
        if !self.service.instances[instance].serves() {
            return;
        }
        let missed = std::mem::take(&mut self.service.instances[instance].missed_poke);
        let behind = self.is_behind(instance);
        self.stats.lost_pokes_repaired += u64::from(missed && behind);
        self.refresh(instance);
        self.repeat(instance);
        self.look_for_strangers(instance);
    }

    /// Whom the lobby holds for connected here, and nobody here knows: an answer was lost, and nobody came for it.
    fn look_for_strangers(&mut self, instance: usize) {
        let (lobby, now) = (self.lobby, self.now);
        let at = &mut self.service.instances[instance];
        let Some(head) = &at.head else { return };
        let before = at.presence.len();
        for (connection, key, holder) in head.lobby.connected().filter(|&(_, _, holder)| holder == at.id) {
            at.presence.take_over((lobby, connection), key, holder, now);
        }
        self.stats.strangers_found += (at.presence.len() - before) as u64;
    }

    /// Says again what members and relay said here, with the time when they did: the other instance may have missed it.
    fn repeat(&mut self, instance: usize) {
        let at = &self.service.instances[instance];
        let report = |socket: &Socket| {
            let (epoch, hears, at) = socket.report?;
            Some(Bus::Report { guest: socket.connection, epoch, hears, at })
        };
        let said: Vec<_> = at.sockets.values().filter_map(report).chain(at.sound.map(Bus::Sound)).collect();
        said.into_iter().for_each(|message| self.forward(instance, message));
    }

    fn is_behind(&self, instance: usize) -> bool {
        let at = &self.service.instances[instance];
        let known = at.head.as_ref().map(|head| head.version);
        let untold = at.head.as_ref().is_none_or(|head| at.told < head.lobby.last_event());
        let stored = self.service.tables.versions(&[self.lobby]).first().map(|&(_, version)| version);
        untold || known != stored
    }

    /// Reads what is new; it arrives a moment later.
    pub(super) fn refresh(&mut self, instance: usize) {
        if self.service.store_fails(instance, self.now) {
            return self.was_away(instance);
        }
        if !self.is_behind(instance) {
            return;
        }
        let at = &self.service.instances[instance];
        let told = at.told;
        let Newer::Newest(lobby, version) = self.service.tables.load_newer(self.lobby, Version(0)) else { return };
        let events = self.service.tables.events_after(self.lobby, told, u32::MAX).unwrap_or_default();
        let news = News { head: Head { lobby: lobby.into(), version }, events };
        let delay = Duration::from_millis(self.rng.u64(0..6));
        self.later(instance, delay, Timer::News(Box::new(news)));
    }

    /// An instance hears of a lobby as it was stored at some time; it may know a newer one.
    pub(super) fn learn(&mut self, instance: usize, news: &News) {
        let now = self.now;
        let at = &mut self.service.instances[instance];
        if at.head.as_ref().is_none_or(|head| head.version < news.head.version) {
            at.head = Some(news.head.clone());
            at.suspicion.handle_lobby(&news.head.lobby, now);
        }
        self.tell(instance, &news.events);
        self.close_moved(instance);
        self.assess(instance);
    }

    /// Tells the sockets what they were not told yet.
    fn tell(&mut self, instance: usize, events: &[Event]) {
        let told = self.service.instances[instance].told;
        let fresh: Vec<_> = events.iter().filter(|event| event.seq > told).cloned().collect();
        let Some(first) = fresh.first() else { return };
        if first.seq.0 == told.0 + 1 || planted::is(Bug::GapAfterLostPoke) {
            return self.tell_next(instance, &fresh);
        }
        // Others have saved in between. Without the database they are told at the next comparison.
        if !self.service.store_fails(instance, self.now) {
            let events = self.service.tables.events_after(self.lobby, told, u32::MAX).unwrap_or_default();
            self.tell_next(instance, &events);
        }
    }

    fn tell_next(&mut self, instance: usize, events: &[Event]) {
        let Some(last) = events.last() else { return };
        let at = &mut self.service.instances[instance];
        at.told = last.seq;
        let sockets: Vec<_> = at.sockets.iter().filter_map(|(&id, socket)| Some((id, socket.sent?))).collect();
        for (id, sent) in sockets {
            let from = events.iter().position(|event| event.seq > sent).unwrap_or(events.len());
            self.send_events(instance, id, &events[from..]);
        }
        for event in events {
            if let EventBody::MemberLeft { connection, .. } = event.body {
                self.seat_given_up(instance, connection);
            }
        }
    }

    /// A seat was given up: unless it is taken again, its socket here is closed.
    fn seat_given_up(&mut self, instance: usize, connection: ConnectionId) {
        let at = &mut self.service.instances[instance];
        if at.head.as_ref().is_some_and(|head| head.lobby.view(Viewer::Members).member(connection).is_some()) {
            return;
        }
        if let Some(socket) = at.presence.forget((self.lobby, connection)) {
            self.close_socket(instance, socket);
        }
    }

    /// Another instance hears a member that has a socket here too: this one is the old one. The lobby is not told.
    fn close_moved(&mut self, instance: usize) {
        let at = &self.service.instances[instance];
        let Some(head) = &at.head else { return };
        let elsewhere = |seat: ConnectionId| {
            head.lobby.connected().any(|(connection, _, holder)| connection == seat && holder != at.id)
        };
        let old: Vec<_> = at
            .sockets
            .iter()
            .filter(|(_, socket)| socket.sent.is_some() && socket.since < head.version && elsewhere(socket.connection))
            .map(|(&id, socket)| (id, socket.connection))
            .collect();
        for (id, connection) in old {
            self.stats.sockets_moved += 1;
            self.trace(|| format!("instance {instance}: seat {connection} is heard elsewhere"));
            self.close_socket(instance, id);
            self.service.instances[instance].presence.forget((self.lobby, connection));
        }
    }

    pub(super) fn assess(&mut self, instance: usize) {
        let now = self.now;
        let at = &mut self.service.instances[instance];
        let Some(head) = &at.head else { return };
        match at.suspicion.assess(&head.lobby, now) {
            Some(Verdict::Challenge { host, epoch }) => {
                if let Some(socket) = self.socket_of(instance, host) {
                    self.send_to_peer(instance, socket, FromService::Challenge(epoch));
                }
            }
            Some(Verdict::Tell(command)) => {
                // That a host does not answer is known where it was asked, and nowhere else.
                let host = head.lobby.host().host();
                let asked = host.is_some_and(|host| self.socket_of(instance, host).is_some());
                if asked || !matches!(command, Command::HostSilent { .. }) {
                    self.execute_once(instance, command);
                }
            }
            None => {}
        }
    }

    fn socket_of(&self, instance: usize, seat: ConnectionId) -> Option<SocketId> {
        let mut sockets = self.service.instances[instance].sockets.iter();
        sockets.find(|(_, socket)| socket.connection == seat && socket.sent.is_some()).map(|(&id, _)| id)
    }
}
