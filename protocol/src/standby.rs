//! The newest state, held by the successor: what a host sends it, and what it takes (DESIGN section 9).
//!
//! Each state that the game gives goes to the successor as the difference to the one before it, which is on its way on the same
//! ordered stream; whole where there is none, or where the successor says that a difference did not fit. The successor checks the
//! whole state, not only what was sent, and acknowledges it. While a successor follows another, the old one is fed until the new one
//! is warm.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::id::ConnectionId;
use crate::limits;
use crate::planted::{self, Bug};
use crate::snapshot::{Generation, Image};

/// What can be fed.
pub trait State: Clone {
    /// Where it stands.
    fn generation(&self) -> Generation;
    /// The game's tick.
    fn tick(&self) -> u64;
}

impl State for Image {
    fn generation(&self) -> Generation {
        Self::generation(self)
    }

    fn tick(&self) -> u64 {
        Self::tick(self)
    }
}

/// What is to be encoded and sent.
#[derive(Debug, Clone)]
pub struct Job<S> {
    /// To whom.
    pub to: ConnectionId,
    /// What the difference is made to; `None`: the whole state goes.
    pub base: Option<S>,
    /// The state.
    pub state: S,
}

/// How far behind a successor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// Ticks that the game has given and the successor has not acknowledged.
    pub ticks: u64,
    /// Bytes under way.
    pub bytes: usize,
    /// For how long the successor has lacked the oldest of them.
    pub time: Duration,
}

#[derive(Debug)]
struct InFlight {
    generation: Generation,
    tick: u64,
    bytes: usize,
    given_at: Instant,
}

#[derive(Debug)]
struct Target<S> {
    to: ConnectionId,
    /// The newest that was sent.
    sent: Option<S>,
    in_flight: VecDeque<InFlight>,
    acknowledged: Option<(Generation, u64)>,
    acknowledged_at: Option<Instant>,
}

impl<S: State> Target<S> {
    const fn new(to: ConnectionId) -> Self {
        Self { to, sent: None, in_flight: VecDeque::new(), acknowledged: None, acknowledged_at: None }
    }

    fn bytes_in_flight(&self) -> usize {
        self.in_flight.iter().map(|state| state.bytes).sum()
    }

    fn may_send(&self) -> bool {
        self.in_flight.len() < limits::FEED_IN_FLIGHT_MAX
            && (self.in_flight.is_empty() || self.bytes_in_flight() < limits::FEED_IN_FLIGHT_BYTES_MAX)
    }

    /// Whether a job was made for what the target has: meanwhile its link may be another one, or it may want a whole state.
    fn goes_on_from(&self, job: &Job<S>) -> bool {
        job.base
            .as_ref()
            .is_none_or(|base| self.sent.as_ref().is_some_and(|sent| sent.generation() == base.generation()))
    }

    fn start_again(&mut self) {
        *self = Self { acknowledged: self.acknowledged, acknowledged_at: self.acknowledged_at, ..Self::new(self.to) };
    }
}

/// What a host sends to its successor.
#[derive(Debug)]
pub struct Feed<S> {
    successor: Option<Target<S>>,
    /// The successor before, until the new one is warm.
    former: Option<Target<S>>,
    newest: Option<(S, Instant)>,
    /// A job is with the shell: when its state was given.
    encoding: Option<Instant>,
    bytes_per_second: u64,
    /// What was sent is paid off by then. A heartbeat's worth may be owed.
    paid_at: Option<Instant>,
    sent_bytes: u64,
}

impl<S: State> Feed<S> {
    /// Nobody is fed yet.
    #[must_use]
    pub const fn new(bytes_per_second: u64) -> Self {
        Self {
            successor: None,
            former: None,
            newest: None,
            encoding: None,
            bytes_per_second,
            paid_at: None,
            sent_bytes: 0,
        }
    }

    /// Whom the lobby would elect now, if a link to it is up. The one before is fed until this one is warm.
    pub fn set_successor(&mut self, successor: Option<ConnectionId>) {
        let Some(to) = successor else { return };
        if self.successor.as_ref().is_some_and(|target| target.to == to) {
            return;
        }
        let before = self.successor.take();
        if self.former.as_ref().is_some_and(|target| target.to == to) {
            self.successor = self.former.take();
        } else {
            self.successor = Some(Target::new(to));
        }
        self.former = before.filter(|target| target.acknowledged.is_some()).or(self.former.take());
        self.let_former_go();
    }

    /// The link to a member is down: what was under way is lost, and what it held with its process.
    pub fn handle_link_down(&mut self, peer: ConnectionId) {
        for target in [&mut self.successor, &mut self.former] {
            if planted::is(Bug::DeltaOnWrongBase) {
                target.iter_mut().filter(|target| target.to == peer).for_each(|target| target.in_flight.clear());
            } else {
                target.take_if(|target| target.to == peer);
            }
        }
    }

    /// The game has given a state.
    pub fn offer(&mut self, state: S, now: Instant) {
        self.newest = Some((state, now));
    }

    /// What is to be sent now. Its encoding ends with [`Self::handle_sent`]; one at a time.
    pub fn poll_job(&mut self, now: Instant) -> Option<Job<S>> {
        if self.encoding.is_some() || self.open_at().is_some_and(|at| at > now) {
            return None;
        }
        let (state, given_at) = self.newest.as_ref()?;
        let target = self.next()?;
        let job = Job { to: target.to, base: target.sent.clone(), state: state.clone() };
        self.encoding = Some(*given_at);
        Some(job)
    }

    /// When [`Self::poll_job`] has something although nothing happened.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.open_at().filter(|_| self.encoding.is_none() && self.next().is_some())
    }

    /// A job is done and goes on its way, with so many bytes; `None`: it could not be encoded.
    pub fn handle_sent(&mut self, job: &Job<S>, bytes: Option<usize>, now: Instant) {
        let given_at = self.encoding.take().unwrap_or(now);
        let Some(bytes) = bytes else { return };
        self.sent_bytes += bytes as u64;
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.max(1) as f64);
        self.paid_at = Some(self.paid_at.map_or(now, |at| at.max(now)) + cost);
        if let Some(target) = self.target(job.to).filter(|target| target.goes_on_from(job)) {
            let (generation, tick) = (job.state.generation(), job.state.tick());
            target.in_flight.push_back(InFlight { generation, tick, bytes, given_at });
            target.sent = Some(job.state.clone());
        }
    }

    /// Nothing can be sent until then.
    pub fn hold_off(&mut self, until: Instant) {
        self.paid_at = self.paid_at.max(Some(until));
    }

    /// A member holds this state.
    pub fn handle_taken(&mut self, from: ConnectionId, generation: Generation, now: Instant) {
        let Some(target) = self.target(from) else { return };
        while let Some(state) = target.in_flight.front().filter(|state| state.generation <= generation) {
            target.acknowledged = Some((state.generation, state.tick));
            target.acknowledged_at = Some(now);
            target.in_flight.pop_front();
        }
        self.let_former_go();
    }

    /// A member wants a whole state.
    pub fn handle_wanted(&mut self, from: ConnectionId) {
        if let Some(target) = self.target(from) {
            target.start_again();
        }
    }

    /// The newest state that the successor holds.
    #[must_use]
    pub fn acknowledged(&self, successor: ConnectionId) -> Option<Generation> {
        let target = self.successor.iter().chain(&self.former).find(|target| target.to == successor)?;
        target.acknowledged.map(|(generation, _)| generation)
    }

    /// Who is fed as successor.
    #[must_use]
    pub fn successor(&self) -> Option<ConnectionId> {
        self.successor.as_ref().map(|target| target.to)
    }

    /// How far behind the successor is; `None`: there is none, or it holds nothing yet.
    #[must_use]
    pub fn lag(&self, now: Instant) -> Option<Lag> {
        let target = self.successor.as_ref()?;
        let (generation, tick) = target.acknowledged?;
        let (state, given_at) = self.newest.as_ref()?;
        let oldest = target.in_flight.front().map_or(*given_at, |state| state.given_at);
        let behind = state.generation() > generation;
        Some(Lag {
            ticks: state.tick().saturating_sub(tick),
            bytes: target.bytes_in_flight(),
            time: if behind { now.saturating_duration_since(oldest) } else { Duration::ZERO },
        })
    }

    /// Bytes of states sent so far.
    #[must_use]
    pub const fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Who is to be sent the newest state now.
    fn next(&self) -> Option<&Target<S>> {
        let (state, _) = self.newest.as_ref()?;
        let lacks = |target: &&Target<S>| {
            target.may_send() && target.sent.as_ref().is_none_or(|sent| sent.generation() < state.generation())
        };
        self.successor.as_ref().filter(lacks).or(self.former.as_ref().filter(lacks))
    }

    /// From when on the rate allows to send.
    fn open_at(&self) -> Option<Instant> {
        self.paid_at.and_then(|at| at.checked_sub(limits::HEARTBEAT))
    }

    fn target(&mut self, to: ConnectionId) -> Option<&mut Target<S>> {
        self.successor.iter_mut().chain(&mut self.former).find(|target| target.to == to)
    }

    fn let_former_go(&mut self) {
        if self.successor.as_ref().is_some_and(|target| target.acknowledged.is_some()) {
            self.former = None;
        }
    }
}

#[cfg(test)]
mod tests;
