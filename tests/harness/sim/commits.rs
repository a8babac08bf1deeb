//! The worker of an instance: what comes while a commit is on its way is committed together, next.

use std::sync::Arc;
use std::time::Duration;

use lobby_service::store::{Change, Newer, Written};
use protocol::commit::{Commit, Freshness, Head, Outcome, Saved, Step, Version};
use protocol::lobby::{Command, Lobby};
use protocol::message::Event;
use protocol::presence::SocketId;

use super::Sim;
use super::instance::{Doom, Timer};
use super::news::News;
use super::service::Answer;

/// Time between two attempts to tell the lobby whom it has lost.
const RETRY: Duration = Duration::from_millis(250);

/// Who waits for a command.
#[derive(Debug, Clone, Copy)]
pub(super) enum Waiting {
    Nobody,
    Rest { peer: usize, process: u32, request: u64 },
    Hello(SocketId),
}

/// A command, and who waits for it.
pub(super) struct Queued {
    command: Command,
    waiting: Waiting,
}

impl Queued {
    /// The peer that called.
    const fn caller(&self) -> Option<usize> {
        match self.waiting {
            Waiting::Rest { peer, .. } => Some(peer),
            Waiting::Nobody | Waiting::Hello(_) => None,
        }
    }
}

/// Commands on their way.
pub(super) struct Flight {
    commit: Commit,
    step: Step,
    batch: Vec<Queued>,
    /// What they were decided on.
    base: Option<Arc<Lobby>>,
    /// Decided on a cached lobby.
    cached: bool,
    absences: u64,
    /// The newest version when they left.
    newest: Option<Version>,
}

impl Sim {
    pub(super) fn execute(&mut self, instance: usize, command: Command, waiting: Waiting) {
        let at = &mut self.service.instances[instance];
        at.queue.push(Queued { command, waiting });
        if !std::mem::replace(&mut at.working, true) {
            let delay = Duration::from_millis(self.rng.u64(0..4));
            self.later(instance, delay, Timer::Commit);
        }
    }

    /// As [`Self::execute`], unless the same is on its way.
    pub(super) fn execute_once(&mut self, instance: usize, command: Command) {
        let at = &self.service.instances[instance];
        let flying = at.flight.iter().flat_map(|flight| &flight.batch);
        if !flying.chain(&at.queue).any(|queued| queued.command == command) {
            self.execute(instance, command, Waiting::Nobody);
        }
    }

    /// Does one step, and has the next one done a moment later.
    pub(super) fn commit_step(&mut self, instance: usize) {
        let flight = match self.service.instances[instance].flight.take() {
            Some(flight) => self.advance(instance, flight),
            None => self.depart(instance),
        };
        let idle = flight.is_none() && self.service.instances[instance].queue.is_empty();
        let at = &mut self.service.instances[instance];
        at.flight = flight;
        at.working = !idle;
        if !idle && at.is_running() {
            let delay = Duration::from_millis(self.rng.u64(0..6));
            self.later(instance, delay, Timer::Commit);
        }
    }

    /// All that has come since the last commit, without what is not true any more.
    fn depart(&mut self, instance: usize) -> Option<Flight> {
        let lobby = self.lobby;
        let now = self.timestamp();
        let at = &mut self.service.instances[instance];
        let mut batch = std::mem::take(&mut at.queue);
        batch.retain(|queued| match (&queued.command, queued.waiting) {
            (&Command::Disconnect { connection, peer_key, .. }, _) => {
                !at.presence.is_held_by((lobby, connection), peer_key)
            }
            (Command::Connect { .. }, Waiting::Hello(socket)) => at.sockets.contains_key(&socket),
            _ => true,
        });
        if batch.is_empty() {
            return None;
        }
        let resumes = batch[0].command == Command::Resume;
        if at.resumed < at.absences && !resumes {
            batch.insert(0, Queued { command: Command::Resume, waiting: Waiting::Nobody });
        }
        self.stats.commands_batched += (batch.len() > 1) as u64;
        let commands = batch.iter().map(|queued| queued.command.clone()).collect();
        let (mut commit, mut step) = Commit::new(lobby, commands);
        let mut base = None;
        if let Some(head) = at.head.clone() {
            base = Some(Arc::clone(&head.lobby));
            step = commit.loaded(Some(head), Freshness::Cached, now);
        }
        let absences = at.absences;
        let newest = self.service.tables.versions(&[lobby]).first().map(|&(_, version)| version);
        Some(Flight { commit, step, batch, cached: base.is_some(), base, absences, newest })
    }

    fn advance(&mut self, instance: usize, mut flight: Flight) -> Option<Flight> {
        let fails = self.service.store_fails(instance, self.now);
        flight.step = match flight.step.clone() {
            Step::Load(_) if !fails => self.load(instance, &mut flight),
            Step::Confirm(version) if !fails => self.confirm(instance, &mut flight, version),
            Step::Load(_) | Step::Confirm(_) => return self.fail(instance, flight),
            Step::Save { expected, lobby, events } => {
                let doom = self.service.instances[instance].doom.take();
                if fails || doom.is_some() {
                    return self.save_unknown(instance, flight, doom, (expected, &lobby, &events));
                }
                let saved = self.save(&flight, expected, &lobby, &events);
                if saved == Saved::Stale {
                    self.stats.stale_saves += 1;
                    self.stats.stale_caches_retried += u64::from(flight.cached);
                }
                flight.commit.saved(saved)
            }
            Step::Publish { head, events } => {
                self.learn(instance, &News { head, events });
                self.poke(instance);
                flight.commit.published()
            }
            Step::Done(head, outcomes) => {
                self.arrived(instance, flight, head.as_ref(), outcomes);
                return None;
            }
        };
        Some(flight)
    }

    /// A save whose answer never comes: it was made, or not.
    fn save_unknown(
        &mut self,
        instance: usize,
        flight: Flight,
        doom: Option<Doom>,
        (expected, lobby, events): (Version, &Arc<Lobby>, &[Event]),
    ) -> Option<Flight> {
        let reached = match doom {
            Some(Doom::BeforeSave) => false,
            Some(Doom::AfterSave) => true,
            Some(Doom::Outage) | None => self.rng.bool(),
        };
        let saved = reached && self.save(&flight, expected, lobby, events) == Saved::Done;
        self.stats.unknown_commits_saved += u64::from(saved);
        self.stats.unknown_commits_lost += u64::from(!saved);
        match doom {
            Some(Doom::BeforeSave | Doom::AfterSave) => {
                self.kill_instance(instance);
                return None;
            }
            Some(Doom::Outage) => self.outage_with(flight.batch.iter().find_map(|queued| queued.caller())),
            None => {}
        }
        self.fail(instance, flight)
    }

    fn load(&mut self, instance: usize, flight: &mut Flight) -> Step {
        let head = self.service.row().map(|(lobby, version)| Head { lobby: lobby.into(), version });
        self.loaded(instance, flight, head)
    }

    fn confirm(&mut self, instance: usize, flight: &mut Flight, version: Version) -> Step {
        match self.service.tables.load_newer(self.lobby, version) {
            Newer::Same => flight.commit.confirmed(),
            Newer::Newest(lobby, version) => {
                self.stats.confirms_found_newer += 1;
                self.loaded(instance, flight, Some(Head { lobby: lobby.into(), version }))
            }
            Newer::Gone => self.loaded(instance, flight, None),
        }
    }

    fn loaded(&mut self, instance: usize, flight: &mut Flight, head: Option<Head>) -> Step {
        flight.base = head.as_ref().map(|head| Arc::clone(&head.lobby));
        flight.cached = false;
        // Somebody else has saved: those who listen here are told.
        self.refresh(instance);
        let now = self.timestamp();
        flight.commit.loaded(head, Freshness::Current, now)
    }

    /// The database was away: nobody knows what became of the commands. Who was lost is told again.
    fn fail(&mut self, instance: usize, flight: Flight) -> Option<Flight> {
        self.was_away(instance);
        self.service.instances[instance].head = None;
        let mut again = Vec::new();
        for Queued { command, waiting } in flight.batch {
            match waiting {
                Waiting::Rest { peer, process, request } => {
                    self.answer(instance, peer, process, request, Answer::Unknown);
                }
                Waiting::Hello(socket) => self.hello_failed(instance, socket),
                Waiting::Nobody => {
                    if matches!(command, Command::Disconnect { .. } | Command::Connect { .. }) {
                        again.push(command);
                    }
                }
            }
        }
        if !again.is_empty() {
            self.later(instance, RETRY, Timer::Again(again));
        }
        None
    }

    fn save(&mut self, flight: &Flight, expected: Version, lobby: &Arc<Lobby>, events: &[Event]) -> Saved {
        let before = self.service.row().map(|(lobby, _)| lobby);
        // Who is there is to be known from before the save.
        self.checker_sample();
        let change = Change { expected: Some(expected), lobby: Arc::clone(lobby), events: events.to_vec() };
        if self.service.tables.write(change) != Written::Done {
            return Saved::Stale;
        }
        self.trace(|| {
            let commands: Vec<_> = flight.batch.iter().map(|queued| &queued.command).collect();
            format!("saved {commands:?}: {:?}", events.iter().map(|event| &event.body).collect::<Vec<_>>())
        });
        self.count_events(events);
        if let Some(before) = &before {
            self.count_moves(before, lobby);
            self.check_elections(before, events);
            self.check_attendance_of(events);
        }
        self.checker.saved(before.as_ref(), lobby, events);
        Saved::Done
    }

    /// It is over: everybody is answered.
    fn arrived(&mut self, instance: usize, flight: Flight, head: Option<&Head>, outcomes: Vec<Outcome>) {
        let at = &mut self.service.instances[instance];
        let stale = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Contended));
        if !stale {
            at.resumed = at.resumed.max(flight.absences);
        }
        if let Some(head) = head {
            self.check_newest(head.version, flight.newest);
            self.learn(instance, &News { head: head.clone(), events: Vec::new() });
        }
        let mut before = flight.base;
        for (Queued { command, waiting }, outcome) in flight.batch.into_iter().zip(outcomes) {
            self.check_ready(before.as_deref(), &command, &outcome);
            if let Outcome::Applied(lobby) = &outcome {
                before = Some(Arc::clone(lobby));
                self.connect_again(instance, &command, head);
            }
            match waiting {
                Waiting::Nobody => {}
                Waiting::Hello(socket) => self.hello_answered(instance, socket, &outcome, head),
                Waiting::Rest { peer, process, request } => {
                    let answer = self.answer_to(instance, &command, outcome);
                    self.answer(instance, peer, process, request, answer);
                }
            }
        }
        self.assess(instance);
    }
}
