//! Attacks: each in a thread of its own, which notes how long the service bore each connection.

mod bodies;
mod deaf;
mod half_open;

use std::cell::RefCell;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::LocalSet;

use super::Failure;
use super::mix::ALL_PLAYERS;
use super::player::players;
use super::scale::Scale;
use super::service::Service;

/// Longest wait for an attack to stand.
const STAND: Duration = Duration::from_secs(20);

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    HalfOpen,
    Deaf,
    Bodies,
}

/// What became of the attackers' connections.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    /// After which time each was cut off, or refused and closed.
    pub(crate) after: Vec<Duration>,
    /// How long those that were not have been there, when the attack ended.
    pub(crate) left: Vec<Duration>,
}

/// Notes of all attackers of one thread.
type Notes = Rc<RefCell<Cut>>;

/// An attack that goes on.
pub(crate) struct Attack {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<Cut, Failure>>,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::HalfOpen, Self::Deaf, Self::Bodies];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::HalfOpen => "half-open requests",
            Self::Deaf => "sockets that never read",
            Self::Bodies => "bodies over the limit",
        }
    }
}

impl Attack {
    /// Returns when it stands.
    pub(crate) fn begin(kind: Kind, service: &Service, scale: &Scale) -> Result<Self, Failure> {
        let (stop, stopped) = oneshot::channel();
        let (stands, standing) = std::sync::mpsc::channel();
        let (server, scale) = (service.address, *scale);
        // The first ones are the well-behaved ones'.
        let attackers = players(&service.auth, ALL_PLAYERS + scale.attackers())?.split_off(ALL_PLAYERS);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let notes = Notes::default();
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, async {
                match kind {
                    Kind::HalfOpen => half_open::begin(server, &scale, &notes),
                    Kind::Deaf => deaf::begin(server, &scale, &attackers, &notes).await?,
                    Kind::Bodies => bodies::begin(server, &scale, &notes),
                }
                // Nobody waits for it if it took too long.
                let _ = stands.send(());
                // An error means that the benchmark has failed.
                let _ = stopped.await;
                Ok::<_, Failure>(())
            })?;
            // Those that are still there say so.
            drop(tasks);
            Ok(notes.take())
        });
        let attack = Self { stop, thread };
        if standing.recv_timeout(STAND).is_ok() {
            return Ok(attack);
        }
        attack.end()?;
        Err("the attack does not stand".into())
    }

    /// Ends it.
    pub(crate) fn end(self) -> Result<Cut, Failure> {
        // An error means that it has failed, which is told below.
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| "the attack panicked")?
    }
}

/// One connection, from its start.
struct Held {
    began: Instant,
    notes: Notes,
    is_cut: bool,
}

impl Held {
    fn new(notes: &Notes) -> Self {
        Self { began: Instant::now(), notes: Rc::clone(notes), is_cut: false }
    }

    /// The service has closed it.
    fn cut(mut self) {
        self.is_cut = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut notes = self.notes.borrow_mut();
        let list = if self.is_cut { &mut notes.after } else { &mut notes.left };
        list.push(self.began.elapsed());
    }
}
