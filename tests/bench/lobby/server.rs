//! The servers that are measured, each a process of its own with a fresh database.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lobby_service::auth::Auth;
use xtask::cluster::{Cluster, NO_LIMITS};
use xtask::postgres::Postgres;

use super::Failure;
use super::usage::{Cpu, family, resident_bytes};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// The limit: `bench/bare.rs`.
    Bare,
    /// The service without a database.
    Memory,
    /// The service with its database in a file, inside its process.
    Sqlite,
    /// The service with a database of a server of its own.
    Postgres,
}

impl Target {
    /// At the head of its column.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare axum",
            Self::Memory => "memory",
            Self::Sqlite => "SQLite",
            Self::Postgres => "Postgres",
        }
    }
}

/// The programs, the key that all servers share, and a folder for what they keep.
#[derive(Debug)]
pub(crate) struct Servers {
    cluster: Cluster,
    key_file: PathBuf,
    pub(crate) auth: Auth,
    postgres: Option<Postgres>,
    started: u32,
}

impl Servers {
    /// The programs lie beside this one.
    pub(crate) fn new() -> Result<Self, Failure> {
        let program = std::env::current_exe()?;
        let binaries = program.parent().ok_or("a program lies in a folder")?;
        let cluster = Cluster::of(binaries, &["lobby-service", "bench-bare"])?;
        let key_file = cluster.file("key.der");
        lobby_service::auth::install_provider();
        let auth = Auth::open(&key_file)?;
        Ok(Self { cluster, key_file, auth, postgres: None, started: 0 })
    }

    /// Starts one; it is killed when dropped.
    pub(crate) fn start(&mut self, target: Target) -> Result<Server, Failure> {
        let database = self.database(target)?;
        let key = self.key_file.to_string_lossy();
        let process = match &database.url {
            None => self.cluster.server("bench-bare", &[&*key])?,
            Some(url) => {
                let choices =
                    ["--listen", "127.0.0.1:0", "--no-relay", NO_LIMITS, "--key-file", &key, "--database", url];
                self.cluster.server("lobby-service", &choices)?
            }
        };
        let address = process.address("http").parse()?;
        Ok(Server { process, address, database: database.process })
    }

    /// A new database, of the kind that this server needs.
    pub(crate) fn database(&mut self, target: Target) -> Result<Database, Failure> {
        self.started += 1;
        let url = match target {
            Target::Bare => None,
            Target::Memory => Some("memory:".to_owned()),
            Target::Sqlite => {
                let file = self.cluster.file(&format!("{}.db", self.started));
                Some(format!("sqlite://{}", file.display()))
            }
            Target::Postgres => return self.postgres_database(),
        };
        Ok(Database { url, process: None })
    }

    fn postgres_database(&mut self) -> Result<Database, Failure> {
        let server = match self.postgres.take() {
            Some(server) => server,
            None => Postgres::start()?,
        };
        let server = self.postgres.insert(server);
        let name = format!("bench_{}", self.started);
        server.create_database(&name)?;
        let lock = server.query(&name, "SELECT pg_read_file('postmaster.pid')")?;
        let process = lock.lines().next().ok_or("a server has a process")?.trim().parse()?;
        Ok(Database { url: Some(server.url(&name)), process: Some(process) })
    }
}

/// What a server is told of its database, and the process that the database's processes come from, if it has any.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) url: Option<String>,
    pub(crate) process: Option<u32>,
}

/// What was used up to one moment.
#[derive(Debug)]
pub(crate) struct Meter {
    at: Instant,
    cpu: Cpu,
    database: Option<Duration>,
}

/// What was used since then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) took: Duration,
    pub(crate) cpu: Duration,
    /// Of the database's processes, if it has any.
    pub(crate) database: Option<Duration>,
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    process: xtask::cluster::Server,
    pub(crate) address: SocketAddr,
    database: Option<u32>,
}

impl Server {
    /// Begins to measure.
    pub(crate) fn meter(&self) -> Result<Meter, Failure> {
        let (cpu, database) = (Cpu::of(self.id())?, self.database.map(family).transpose()?);
        Ok(Meter { at: Instant::now(), cpu, database })
    }

    /// What was used since then.
    pub(crate) fn used(&self, since: &Meter) -> Result<Used, Failure> {
        let took = since.at.elapsed();
        let Meter { cpu, database, .. } = self.meter()?;
        let database = database.zip(since.database).map(|(now, before)| now.saturating_sub(before));
        Ok(Used { took, cpu: cpu.since(&since.cpu), database })
    }

    pub(crate) fn resident_bytes(&self) -> Result<u64, Failure> {
        resident_bytes(self.id())
    }

    fn id(&self) -> u32 {
        self.process.process.id()
    }
}
