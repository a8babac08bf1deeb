//! One instance of the service: how it starts, holds its lease, takes over from others, freezes, retires and dies.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use protocol::commit::Head;
use protocol::id::{EventSeq, HostEpoch, InstanceId};
use protocol::limits;
use protocol::lobby::Command;
use protocol::presence::{Presence, SocketId};
use protocol::relay::HostSound;
use protocol::suspicion::Suspicion;

use super::commits::{Flight, Queued, Waiting};
use super::news::News;
use super::service::ServiceItem;
use super::sockets::Socket;
use super::{Item, Sim, TICK};

/// How often an instance renews its lease.
const RENEW: Duration = Duration::from_secs(2);
/// How often it compares the version of its room with the stored one.
pub(super) const COMPARE: Duration = Duration::from_secs(2);
/// Time between two attempts while the database is away.
const RETRY: Duration = Duration::from_millis(250);
/// A process that was stopped for longer has missed what was said to it.
const STALL: Duration = Duration::from_secs(1);

/// Whether its process runs.
pub(super) enum Condition {
    Down,
    Up,
    /// Stopped, with what has arrived since.
    Frozen {
        since: Instant,
        backlog: Vec<ServiceItem>,
    },
}

/// What a process of an instance waits for.
pub(super) enum Timer {
    Tick,
    Renew,
    Compare,
    Commit,
    News(Box<News>),
    Again(Vec<Command>),
}

/// What befalls an instance when it saves next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doom {
    /// It is killed, and nothing was saved.
    BeforeSave,
    /// It is killed once all was saved, and tells nobody.
    AfterSave,
    /// The database does not answer any more.
    Outage,
}

/// An instance, over all its processes.
pub(super) struct Instance {
    pub(super) condition: Condition,
    pub(super) process: u32,
    pub(super) id: InstanceId,
    pub(super) presence: Presence,
    pub(super) suspicion: Suspicion,
    /// The newest lobby that it knows.
    pub(super) head: Option<Head>,
    /// The newest event that its sockets were told.
    pub(super) told: EventSeq,
    pub(super) sockets: BTreeMap<SocketId, Socket>,
    pub(super) queue: Vec<Queued>,
    pub(super) flight: Option<Flight>,
    /// Its worker has something to do.
    pub(super) working: bool,
    /// How often it was away, and after how many of them the lobby has had its time again.
    pub(super) absences: u64,
    pub(super) resumed: u64,
    pub(super) doom: Option<Doom>,
    /// Until when this one instance does not reach the database.
    pub(super) cut_until: Option<Instant>,
    /// A poke was lost since its news were complete.
    pub(super) missed_poke: bool,
    /// What the relay said last.
    pub(super) sound: Option<HostSound>,
    /// It has a lease in the database, as far as it knows; renewed then.
    pub(super) lease: Option<Instant>,
    pub(super) looked_at: Instant,
    pub(super) stopping: bool,
}

impl Instance {
    /// One that was never started.
    pub(super) fn new(now: Instant) -> Self {
        let id = InstanceId::from_bytes([0; 8]);
        Self {
            condition: Condition::Down,
            process: 0,
            id,
            presence: Presence::new(id, limits::LEASE),
            suspicion: Suspicion::new(HostEpoch::NONE),
            head: None,
            told: EventSeq(0),
            sockets: BTreeMap::new(),
            queue: Vec::new(),
            flight: None,
            working: false,
            absences: 0,
            resumed: 0,
            doom: None,
            cut_until: None,
            missed_poke: false,
            sound: None,
            lease: None,
            looked_at: now,
            stopping: false,
        }
    }

    /// Whether it runs and takes what comes.
    pub(super) const fn serves(&self) -> bool {
        matches!(self.condition, Condition::Up) && self.lease.is_some() && !self.stopping
    }

    pub(super) const fn is_running(&self) -> bool {
        matches!(self.condition, Condition::Up)
    }
}

impl Sim {
    pub(super) fn later(&mut self, instance: usize, delay: Duration, timer: Timer) {
        let process = self.service.instances[instance].process;
        self.after(delay, Item::Service { instance, item: ServiceItem::Own { process, timer } });
    }

    /// A new process of an instance.
    pub(super) fn boot(&mut self, instance: usize) {
        let id = self.service.draw_id();
        let (now, process) = (self.now, self.service.instances[instance].process + 1);
        self.trace(|| format!("instance {instance} boots as {id:?}"));
        self.service.steady_since = now;
        let cut_until = self.service.instances[instance].cut_until;
        let presence = Presence::new(id, limits::LEASE);
        let fresh = Instance::new(now);
        self.service.instances[instance] =
            Instance { condition: Condition::Up, process, id, presence, cut_until, ..fresh };
        if process > 1 {
            self.later(instance, Duration::ZERO, Timer::Renew);
        } else {
            self.later(instance, RENEW, Timer::Renew);
        }
        self.later(instance, TICK, Timer::Tick);
        self.later(instance, COMPARE, Timer::Compare);
    }

    pub(super) fn timer(&mut self, instance: usize, timer: Timer) {
        match timer {
            Timer::Tick => self.instance_tick(instance),
            Timer::Renew => {
                let renewed = self.renew(instance);
                self.later(instance, if renewed { RENEW } else { RETRY }, Timer::Renew);
            }
            Timer::Compare => {
                self.compare(instance);
                self.later(instance, COMPARE, Timer::Compare);
            }
            Timer::Commit => self.commit_step(instance),
            Timer::News(news) => self.learn(instance, &news),
            Timer::Again(commands) => {
                commands.into_iter().for_each(|command| self.execute(instance, command, Waiting::Nobody));
            }
        }
    }

    fn instance_tick(&mut self, instance: usize) {
        self.later(instance, TICK, Timer::Tick);
        let at = &mut self.service.instances[instance];
        if at.stopping {
            if !at.working {
                self.retired(instance);
            }
            return;
        }
        if at.lease.is_none() {
            return;
        }
        let now = self.now;
        while let Some(lost) = self.service.instances[instance].presence.poll_lost(now) {
            self.presence_lost(instance, lost);
        }
        if self.service.instances[instance].suspicion.poll_timeout().is_some_and(|at| at <= now) {
            self.assess(instance);
        }
        if self.service.store_fails(instance, now) {
            self.was_away(instance);
        } else if self.service.tables.due(1).first().is_some_and(|&(at, _)| at <= self.timestamp()) {
            self.execute_once(instance, Command::Due);
        }
        self.ping_sockets(instance);
    }

    /// Nothing could be heard for a while: every member gets a full term, and the lobby its time again.
    pub(super) fn was_away(&mut self, instance: usize) {
        let now = self.now;
        let at = &mut self.service.instances[instance];
        at.presence.renew_all(now);
        at.absences += 1;
    }

    /// SIGKILL: the operating system closes its sockets, commits end where they are.
    pub(super) fn kill_instance(&mut self, instance: usize) {
        self.trace(|| format!("instance {instance} dies"));
        self.stats.service_crashes += 1;
        self.service.steady_since = self.now;
        self.drop_all_sockets(instance);
        let at = &mut self.service.instances[instance];
        at.condition = Condition::Down;
        at.queue.clear();
        at.flight = None;
        let back_ms = if self.rng.u8(0..3) == 0 { 6000..25_000 } else { 100..6000 };
        self.soon(back_ms, Item::Service { instance, item: ServiceItem::Boot });
    }

    pub(super) fn freeze_instance(&mut self, instance: usize) {
        self.stats.instance_freezes += 1;
        self.service.steady_since = self.now;
        self.service.instances[instance].condition = Condition::Frozen { since: self.now, backlog: Vec::new() };
    }

    pub(super) fn thaw_instance(&mut self, instance: usize) {
        let at = &mut self.service.instances[instance];
        let Condition::Frozen { since, backlog } = std::mem::replace(&mut at.condition, Condition::Up) else { return };
        self.trace(|| format!("instance {instance} thaws"));
        self.service.steady_since = self.now;
        if self.now - since > STALL {
            self.was_away(instance);
        }
        backlog.into_iter().for_each(|item| self.handle_service(instance, item));
    }

    /// It is to stop: sockets are sent elsewhere, what was begun is finished.
    pub(super) fn retire(&mut self, instance: usize) {
        self.trace(|| format!("instance {instance} retires"));
        self.service.steady_since = self.now;
        self.service.instances[instance].stopping = true;
        self.drop_all_sockets(instance);
    }

    /// It has stopped: its lease ends at once, so that another one takes over.
    fn retired(&mut self, instance: usize) {
        self.stats.instances_retired += 1;
        self.service.steady_since = self.now;
        if !self.service.store_fails(instance, self.now) {
            let id = self.service.instances[instance].id;
            self.service.tables.retire(id);
        }
        self.service.instances[instance].condition = Condition::Down;
        self.soon(100..4000, Item::Service { instance, item: ServiceItem::Boot });
    }
}
