//! Breaks one thing at a time, and heals it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use xtask::cluster::{Cluster, Server};
use xtask::port::free_port;
use xtask::postgres::Postgres;
use xtask::process::ClusterError;

use super::{Database, Options};

/// Time that an instance has to end once it is asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two things that break.
const PAUSE_MS: std::ops::Range<u64> = 400..1_600;
/// From a kill to the next start.
const DOWN_MS: std::ops::Range<u64> = 0..800;
/// How long something hangs. Less than a lease and more than a ping.
const HANG_MS: std::ops::Range<u64> = 500..4_500;

/// Something that breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    KillService,
    RestartService,
    FreezeService,
    KillPostgres,
    StopPostgres,
    RestartPostgres,
    FreezePostgres,
    TerminateBackends,
}

/// What can happen with Postgres, and how often.
const ON_POSTGRES: [(Act, u32); 8] = [
    (Act::KillService, 45),
    (Act::KillPostgres, 22),
    (Act::RestartService, 10),
    (Act::FreezeService, 7),
    (Act::StopPostgres, 5),
    (Act::RestartPostgres, 4),
    (Act::FreezePostgres, 3),
    (Act::TerminateBackends, 4),
];
/// And with a file.
const ON_SQLITE: [(Act, u32); 2] = [(Act::KillService, 80), (Act::RestartService, 20)];

/// How often each thing was done.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts(BTreeMap<Act, u32>);

impl Counts {
    /// `kill -9`, of whatever.
    pub(super) fn kills(&self) -> u32 {
        [Act::KillService, Act::KillPostgres].iter().filter_map(|act| self.0.get(act)).sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |act: Act| match act {
            Act::KillService => "kill -9 of an instance",
            Act::RestartService => "restarts of an instance",
            Act::FreezeService => "instances hung",
            Act::KillPostgres => "kill -9 of Postgres",
            Act::StopPostgres => "immediate stops of Postgres",
            Act::RestartPostgres => "restarts of Postgres",
            Act::FreezePostgres => "Postgres hung",
            Act::TerminateBackends => "all connections cut",
        };
        let counts: Vec<_> = self.0.iter().map(|(&act, count)| format!("{count} {}", name(act))).collect();
        write!(f, "{}", counts.join(", "))
    }
}

/// The processes, and what is done to them.
#[derive(Debug)]
pub(super) struct Nemesis {
    // In the order in which they end.
    services: Vec<(u16, Server)>,
    cluster: Cluster,
    postgres: Option<Postgres>,
    database: String,
    acts: &'static [(Act, u32)],
    rng: Rng,
    counts: Counts,
    failures: Vec<String>,
}

impl Nemesis {
    /// Starts everything.
    pub(super) fn start(binaries: &Path, options: &Options) -> Result<Self, ClusterError> {
        let cluster = Cluster::new(binaries)?;
        let (postgres, acts, instances): (_, &[_], _) = match options.database {
            Database::Sqlite => (None, &ON_SQLITE, 1),
            Database::Postgres => (Some(Postgres::start()?), &ON_POSTGRES, 2),
        };
        let database = match &postgres {
            None => "sqlite://./understudy.db".to_owned(),
            Some(server) => {
                server.create_database("chaos")?;
                server.url("chaos")
            }
        };
        let rng = Rng::with_seed(options.seed);
        let (services, counts, failures) = (Vec::new(), Counts::default(), Vec::new());
        let mut nemesis = Self { services, cluster, postgres, database, acts, rng, counts, failures };
        for _ in 0..instances {
            let port = free_port().map_err(|error| ClusterError::Io { what: "find a free port".to_owned(), error })?;
            let server = nemesis.service(port)?;
            nemesis.services.push((port, server));
        }
        Ok(nemesis)
    }

    fn service(&self, port: u16) -> Result<Server, ClusterError> {
        self.cluster.service_at(&format!("lobby-service at {port}"), port, &self.database)
    }

    pub(super) fn ports(&self) -> impl Iterator<Item = u16> + '_ {
        self.services.iter().map(|(port, _)| *port)
    }

    pub(super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Waits a while, breaks one thing, and heals it.
    pub(super) fn act(&mut self) -> Result<(), ClusterError> {
        self.pause(PAUSE_MS);
        self.look_after_services()?;
        let act = self.draw();
        *self.counts.0.entry(act).or_default() += 1;
        let index = self.rng.usize(..self.services.len());
        match act {
            Act::KillService => {
                self.services[index].1.process.kill();
                self.start_service(index)
            }
            Act::RestartService => self.restart_service(index),
            Act::FreezeService => {
                self.services[index].1.process.freeze()?;
                self.pause(HANG_MS);
                self.services[index].1.process.thaw()
            }
            Act::KillPostgres | Act::StopPostgres | Act::RestartPostgres | Act::FreezePostgres => {
                self.hurt_postgres(act)
            }
            Act::TerminateBackends => self.postgres.as_ref().map_or(Ok(()), Postgres::terminate_backends),
        }
    }

    /// Everything runs when it returns.
    pub(super) fn heal(&mut self) -> Result<(), ClusterError> {
        self.look_after_services()
    }

    /// Clients and checks are done.
    pub(super) fn end(mut self) -> (Counts, Vec<String>) {
        (0..self.services.len()).for_each(|index| self.note_panics(index));
        (self.counts, self.failures)
    }

    fn note_panics(&mut self, index: usize) {
        let (port, server) = &self.services[index];
        let panics = server.process.log().panics();
        self.failures.extend(panics.iter().map(|panic| format!("the instance at {port} panicked: {panic}")));
    }

    fn hurt_postgres(&mut self, act: Act) -> Result<(), ClusterError> {
        let Some(mut postgres) = self.postgres.take() else { return Ok(()) };
        let done = self.hurt(&mut postgres, act);
        self.postgres = Some(postgres);
        done
    }

    fn hurt(&mut self, postgres: &mut Postgres, act: Act) -> Result<(), ClusterError> {
        match act {
            Act::KillPostgres => postgres.kill()?,
            Act::StopPostgres => postgres.stop_immediate()?,
            Act::FreezePostgres => {
                postgres.freeze()?;
                self.pause(HANG_MS);
                return postgres.thaw();
            }
            Act::RestartPostgres => return postgres.restart(),
            Act::KillService | Act::RestartService | Act::FreezeService | Act::TerminateBackends => return Ok(()),
        }
        self.pause(DOWN_MS);
        postgres.start_again()
    }

    fn restart_service(&mut self, index: usize) -> Result<(), ClusterError> {
        let (port, server) = &mut self.services[index];
        server.process.terminate()?;
        if !server.process.wait_end(STOP_TIMEOUT)? {
            let words = server.process.log().last_words();
            self.failures.push(format!("the instance at {port} ended badly when it was asked to end:\n  {words}"));
        }
        self.start_service(index)
    }

    fn start_service(&mut self, index: usize) -> Result<(), ClusterError> {
        self.pause(DOWN_MS);
        self.note_panics(index);
        let port = self.services[index].0;
        self.services[index].1 = self.service(port)?;
        Ok(())
    }

    /// None may end by itself.
    fn look_after_services(&mut self) -> Result<(), ClusterError> {
        for index in 0..self.services.len() {
            let (port, server) = &mut self.services[index];
            if server.process.has_ended()? {
                let words = server.process.log().last_words();
                self.failures.push(format!("the instance at {port} ended by itself:\n  {words}"));
                self.start_service(index)?;
            }
        }
        Ok(())
    }

    fn draw(&mut self) -> Act {
        let mut left = self.rng.u32(..self.acts.iter().map(|(_, weight)| *weight).sum::<u32>());
        for &(act, weight) in self.acts {
            match left.checked_sub(weight) {
                Some(rest) => left = rest,
                None => return act,
            }
        }
        Act::KillService
    }

    /// What breaks is outside and cannot be waited for: it has to last.
    fn pause(&mut self, range_ms: std::ops::Range<u64>) {
        std::thread::sleep(Duration::from_millis(self.rng.u64(range_ms)));
    }
}
