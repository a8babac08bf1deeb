//! A service that is killed again and again, with its database, while clients use it; then all that they saw is checked.
//!
//! The clients are tasks of this process, so that one clock tells what came before what. The service's instances and Postgres are
//! processes of their own, killed and started again at the same ports by a nemesis that draws from a seed.

#![expect(clippy::print_stdout, reason = "whoever waits for minutes wants to see that something happens")]

mod audit;
mod churn;
mod members;
mod nemesis;
mod requests;
mod socket;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use protocol::message::EventBody;
use tokio::task::JoinSet;

use crate::history::{self, Answer, History, Outcome, Violation};
use members::Kind;
use nemesis::{Counts, Nemesis};
use world::World;

/// Tasks that take seats and give them up.
const CHURNERS: usize = 8;
/// Lobbies of each kind at a time.
const GROUPS: [(Kind, usize); 3] = [(Kind::Steady, 5), (Kind::Contested, 3), (Kind::Open, 8)];
/// Time for clients and checks after the last thing that was broken.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// Which database, and how many instances there can be on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// A file and one instance.
    Sqlite,
    /// A server and two instances.
    Postgres,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Options {
    /// On which database.
    pub database: Database,
    /// Kills (`kill -9` of an instance or of the database) after which it is enough.
    pub kills: u32,
    /// Fewer show too little: on a slow machine the time may be over before there were enough.
    pub least_kills: u32,
    /// Seconds that are at most used for them.
    pub seconds: u64,
    /// What the nemesis and the clients draw from. What the operating system makes of it differs each time.
    pub seed: u64,
    /// Whether it tells on standard output how it goes.
    pub is_told: bool,
}

/// What was done, and what was found.
#[derive(Debug)]
pub struct Report {
    counts: Counts,
    seconds: f64,
    lobbies: usize,
    events: usize,
    heard: usize,
    reopened: usize,
    done: BTreeMap<&'static str, usize>,
    refused: usize,
    unknown: usize,
    steady: Steady,
    /// What must not be, in words.
    pub failures: Vec<String>,
    /// Broken promises.
    pub violations: Vec<Violation>,
}

/// What happened where members always came back.
#[derive(Debug, Default)]
struct Steady {
    disconnected: usize,
    hosts_lost: usize,
    elected: usize,
}

impl Steady {
    fn of(history: &History) -> Self {
        let logs = history.steady.iter().filter_map(|lobby| history.logs.get(lobby));
        let bodies: Vec<&EventBody> = logs.flatten().map(|event| &event.body).collect();
        let count = |fits: fn(&EventBody) -> bool| bodies.iter().filter(|body| fits(body)).count();
        Self {
            disconnected: count(|body| matches!(body, EventBody::MemberDisconnected { .. })),
            hosts_lost: count(|body| matches!(body, EventBody::HostLost { .. })),
            elected: count(|body| matches!(body, EventBody::HostElected { .. })),
        }
    }
}

/// Kills a service while clients use it, and checks what they saw. `binaries` is cargo's output folder.
///
/// # Errors
/// Why it could not be done: something did not start or did not come back.
pub async fn run(binaries: &Path, options: &Options) -> Result<Report, String> {
    let binaries = binaries.to_owned();
    let chosen = options.clone();
    let nemesis = tokio::task::spawn_blocking(move || Nemesis::start(&binaries, &chosen)).await;
    let nemesis = nemesis.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let instances = nemesis.ports().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).collect();
    let world = Arc::new(World::new(instances)?);
    let mut tasks = JoinSet::new();
    for (kind, count) in GROUPS {
        for number in 0..count as u64 {
            let seed = options.seed.wrapping_mul(1_000).wrapping_add(number * 10 + kind as u64);
            tasks.spawn(members::group(Arc::clone(&world), kind, seed));
        }
    }
    for number in 0..CHURNERS as u64 {
        tasks.spawn(churn::churn(Arc::clone(&world), options.seed.wrapping_mul(1_000).wrapping_add(500 + number)));
    }
    let began = Instant::now();
    let (watched, chosen) = (Arc::clone(&world), options.clone());
    let nemesis = tokio::task::spawn_blocking(move || rage(nemesis, &watched, &chosen)).await;
    let nemesis = nemesis.map_err(|error| error.to_string())??;
    let seconds = began.elapsed().as_secs_f64();
    // The processes live until all is checked.
    let audited = tokio::time::timeout(END_TIMEOUT, end(&world, tasks)).await;
    let ended = tokio::task::spawn_blocking(move || nemesis.end()).await.map_err(|error| error.to_string())?;
    let (counts, mut failures) = ended;
    match audited {
        Ok(Ok(found)) => failures.extend(found),
        Ok(Err(why)) => failures.push(why),
        Err(_) => failures.push(format!("what was healed was not in order again after {END_TIMEOUT:?}")),
    }
    Ok(Report::new(&world.take_history(), counts, seconds, failures, options))
}

/// Breaks things until it is enough.
fn rage(mut nemesis: Nemesis, world: &World, options: &Options) -> Result<Nemesis, String> {
    let began = Instant::now();
    let mut told = Instant::now();
    while nemesis.counts().kills() < options.kills && began.elapsed() < Duration::from_secs(options.seconds) {
        nemesis.act().map_err(|error| error.to_string())?;
        if options.is_told && told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            println!("{:>5} s  {}; {}", began.elapsed().as_secs(), nemesis.counts(), world.progress());
        }
    }
    nemesis.heal().map_err(|error| error.to_string())?;
    Ok(nemesis)
}

/// Reads everything, waits until everybody has heard everything, and reads it again. Returns what failed although nothing was
/// broken.
async fn end(world: &Arc<World>, mut tasks: JoinSet<()>) -> Result<Vec<String>, String> {
    world.wait_healthy().await;
    world.stop();
    let mut rng = Rng::new();
    let first = audit::read_all(world, &mut rng).await?;
    // While the clients are there: lobbies in which nobody is connected are not shown.
    let listed = audit::list_all(world, &mut rng).await?;
    world.expect_heard(first.logs.iter().map(|(&lobby, log)| (lobby, log.len() as u64)).collect());
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| format!("a client failed: {error}"))?;
    }
    let last = audit::read_all(world, &mut rng).await?;
    world.write(|history| (history.logs, history.listed) = (last.logs, listed));
    Ok([first.failures, last.failures].concat())
}

impl Report {
    fn new(history: &History, counts: Counts, seconds: f64, failures: Vec<String>, options: &Options) -> Self {
        let mut done: BTreeMap<&'static str, usize> = BTreeMap::new();
        let (mut refused, mut unknown) = (0, 0);
        for operation in &history.operations {
            match &operation.outcome {
                Outcome::Done(answer) => *done.entry(name(&operation.action, answer)).or_default() += 1,
                Outcome::Refused(_) => refused += 1,
                Outcome::Unknown | Outcome::Failed => unknown += 1,
            }
        }
        let openings = history.streams.iter().map(|stream| stream.openings.len());
        let heard = history.streams.iter().flat_map(|stream| &stream.openings).map(|opening| opening.heard.len()).sum();
        let mut report = Self {
            counts,
            seconds,
            lobbies: history.born.len(),
            events: history.logs.values().map(Vec::len).sum(),
            heard,
            reopened: openings.map(|openings| openings.saturating_sub(1)).sum(),
            done,
            refused,
            unknown,
            steady: Steady::of(history),
            failures,
            // Without all logs everything would seem to be lost.
            violations: if history.logs.is_empty() { Vec::new() } else { history::check(history) },
        };
        report.check_enough(options);
        report
    }

    /// A run in which little happened shows little.
    fn check_enough(&mut self, options: &Options) {
        let kills = self.counts.kills();
        let acknowledged: usize = self.done.values().sum();
        let least = [
            ("kills", kills as usize, options.least_kills as usize),
            ("acknowledged requests", acknowledged, 20 * kills as usize),
            ("requests with an unknown outcome", self.unknown, kills as usize / 5),
            ("sockets that were opened again", self.reopened, kills as usize),
        ];
        for (what, count, least) in least {
            if count < least {
                self.failures.push(format!("too little happened: {count} {what}, at least {least} are needed"));
            }
        }
        for what in ["create", "join", "leave", "put", "read", "fetch"] {
            if self.done.get(what).is_none_or(|&count| count < 5) {
                self.failures.push(format!("too little happened: fewer than five of: {what}"));
            }
        }
    }

    /// Whether every promise was kept.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && self.violations.is_empty()
    }
}

fn name(action: &history::Action, answer: &Answer) -> &'static str {
    use history::Action;
    match (action, answer) {
        (Action::Create(_), _) => "create",
        (Action::Join, _) => "join",
        (Action::Leave, _) => "leave",
        (Action::Put(..), _) => "put",
        (Action::Read, _) => "read",
        (Action::Fetch, Answer::Snapshot(None)) => "fetch of none",
        (Action::Fetch, _) => "fetch",
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "in {:.1} s: {}", self.seconds, self.counts)?;
        let done: Vec<_> = self.done.iter().map(|(name, count)| format!("{count} {name}")).collect();
        writeln!(f, "acknowledged: {}; refused: {}; unknown: {}", done.join(", "), self.refused, self.unknown)?;
        let Self { lobbies, events, heard, reopened, .. } = self;
        writeln!(
            f,
            "{lobbies} lobbies with {events} events; sockets heard {heard} and were opened again {reopened} times"
        )?;
        let Steady { disconnected, hosts_lost, elected } = self.steady;
        writeln!(f, "where all came back: {disconnected} disconnected, {hosts_lost} hosts lost, {elected} elected")?;
        for failure in &self.failures {
            writeln!(f, "FAILED: {failure}")?;
        }
        for violation in &self.violations {
            writeln!(f, "VIOLATION: {violation}")?;
        }
        write!(f, "violations={} failures={}", self.violations.len(), self.failures.len())
    }
}
