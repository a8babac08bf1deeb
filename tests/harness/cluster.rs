//! One game of real processes, for tests: whatever does not come in time fails the test with the last words of its process.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::id::LobbyId;
use xtask::cluster::{Cluster, Server};
use xtask::process::{ClusterError, Process};
use xtask::trace::Trace;

use crate::net::{self, Internet};

/// Longest time for any one thing that is waited for.
pub const TIME_OUT: Duration = Duration::from_secs(20);

/// Held by the game that is played: several at once would starve each other. (Nextest runs each test in a process of its own, and
/// is told the same in its configuration.)
static ONE_GAME: Mutex<()> = Mutex::new(());

/// Processes of one test, and a folder of their own. Waits until no other game is played in this process.
#[derive(Debug)]
pub struct Game {
    service: Server,
    relay: Option<Server>,
    cluster: Cluster,
    _only_game: MutexGuard<'static, ()>,
}

/// A player's process.
#[derive(Debug)]
pub struct Player {
    /// To be killed, frozen, thawed or told something.
    pub process: Process,
    /// The seat that it took.
    pub connection: u64,
    /// What the others join by.
    pub join_code: String,
    /// The lobby, once it is in it.
    pub lobby: Option<LobbyId>,
}

impl Game {
    /// A lobby service with a relay inside.
    #[must_use]
    pub fn start() -> Self {
        let only_game = only_game();
        let cluster = cluster();
        let service = cluster.service().unwrap_or_else(|error| panic!("{error}"));
        Self { service, relay: None, cluster, _only_game: only_game }
    }

    /// A lobby service, and a relay in a process of its own.
    #[must_use]
    pub fn start_with_relay_process() -> Self {
        let only_game = only_game();
        let cluster = cluster();
        let (service, relay) = cluster.service_and_relay().unwrap_or_else(|error| panic!("{error}"));
        Self { service, relay: Some(relay), cluster, _only_game: only_game }
    }

    /// A lobby service with a relay inside, in the middle of an internet.
    #[must_use]
    pub fn start_in(internet: &Internet, arguments: &[&str]) -> Self {
        let only_game = only_game();
        let cluster = cluster();
        let at = |port: u16| format!("{}:{port}", net::SERVICE);
        let (http, relay) = (at(8080), at(3478));
        let all = [&["--listen", &http, "--relay-listen", &relay], arguments].concat();
        let service = cluster.service_in(&internet.core(), &all).unwrap_or_else(|error| panic!("{error}"));
        Self { service, relay: None, cluster, _only_game: only_game }
    }

    /// The processes, and their folder.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Where the lobby service listens.
    #[must_use]
    pub fn service_address(&self) -> std::net::SocketAddr {
        let address = self.service.address("http");
        address.parse().unwrap_or_else(|error| panic!("the lobby service listens at {address}: {error}"))
    }

    /// The file that keeps who the player of this name is.
    #[must_use]
    pub fn identity_file(&self, name: &str) -> PathBuf {
        self.cluster.file(&format!("{name}.identity"))
    }

    /// Where the relay listens.
    #[must_use]
    pub fn relay_address(&self) -> std::net::SocketAddr {
        let address = self.relay.as_ref().map_or_else(|| self.service.address("relay"), |relay| relay.address("udp"));
        address.parse().unwrap_or_else(|error| panic!("the relay listens at {address}: {error}"))
    }

    /// Starts a player and waits until it has a seat. Players of one name are the same player.
    #[must_use]
    pub fn player(&self, name: &str, arguments: &[&str]) -> Player {
        let mut all = arguments.to_vec();
        // Tests that cut the relay off mean it, unless they ask for other paths.
        if !arguments.iter().any(|argument| ["--path", "--direct"].contains(argument)) {
            all.extend(["--path", "relay"]);
        }
        let service = self.service.address("http");
        self.start_player(name, &all, |all| self.cluster.arena(name, service, all, false))
    }

    /// Starts a player in a network namespace, with whatever path it finds.
    #[must_use]
    pub fn player_in(&self, namespace: &str, name: &str, arguments: &[&str]) -> Player {
        let service = self.service.address("http");
        self.start_player(name, arguments, |all| self.cluster.arena_in(namespace, name, service, all))
    }

    fn start_player(
        &self,
        name: &str,
        arguments: &[&str],
        start: impl FnOnce(&[&str]) -> Result<Process, ClusterError>,
    ) -> Player {
        let identity = self.identity_file(name);
        let mut all = vec!["--line", "--identity", identity.to_str().expect("a temporary folder has a plain name")];
        all.extend(arguments);
        let process = start(&all).unwrap_or_else(|error| panic!("{error}"));
        let mut player = Player { process, connection: 0, join_code: String::new(), lobby: None };
        let joined = player.wait(0, "that it joined", |trace| trace.is("joined"));
        player.connection = joined.number("connection").expect("a seat has a number");
        player.lobby = joined.text("lobby").and_then(|id| id.parse().ok());
        player.join_code = joined.text("join_code").expect("a lobby has a join code").to_owned();
        player
    }
}

impl Player {
    /// Waits for a trace that was written at `since_us` or later.
    ///
    /// # Panics
    /// If it does not come in time.
    pub fn wait(&self, since_us: u64, what: &str, matches: impl Fn(&Trace) -> bool) -> Trace {
        self.process.wait(since_us, TIME_OUT, what, matches).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits for an event of this name.
    ///
    /// # Panics
    /// If it does not come in time.
    pub fn wait_event(&self, since_us: u64, name: &str) -> Trace {
        self.wait(since_us, name, |trace| trace.is_event(name))
    }

    /// Waits for the first tick of an epoch.
    ///
    /// # Panics
    /// If it does not come in time.
    pub fn wait_epoch(&self, epoch: u64) -> Trace {
        self.wait(0, "a first tick", |trace| trace.is("first_tick") && trace.number("epoch") == Some(epoch))
    }

    /// Waits for its next status.
    ///
    /// # Panics
    /// If it does not come in time.
    pub fn wait_status(&self, since_us: u64, matches: impl Fn(&Trace) -> bool) -> Trace {
        self.wait(since_us, "a status", |trace| trace.is("status") && matches(trace))
    }

    /// Everything that it has told from `since_us` on.
    #[must_use]
    pub fn told(&self, since_us: u64, matches: impl Fn(&Trace) -> bool) -> Vec<Trace> {
        let fits = |trace: &&Trace| trace.at_us() >= since_us && matches(trace);
        self.process.log().look(|traces| traces.iter().filter(fits).cloned().collect())
    }
}

fn only_game() -> MutexGuard<'static, ()> {
    // A game whose test has failed is over too.
    ONE_GAME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// No process yet.
///
/// # Panics
/// If the binaries are not there.
#[must_use]
pub fn cluster() -> Cluster {
    Cluster::new(&binaries()).unwrap_or_else(|error| panic!("{error}"))
}

/// Cargo's output folder: the binaries lie beside the folder of the test's own.
///
/// # Panics
/// If this is no test.
#[must_use]
pub fn binaries() -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its own program");
    test.ancestors().nth(2).expect("tests are in target/debug/deps").to_owned()
}
