//! A lobby service with its relay and arena players, each a process of its own, on this machine.
//!
//! Whatever happens to the process that started them, they end with it: on every way out by `Drop`, and if it is killed by a
//! guardian that reads from it until it is gone.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::trace::{Log, Missing, Trace, now_us};

/// Time that a process has to say that it listens or has joined.
pub const START_TIMEOUT: Duration = Duration::from_secs(15);

/// On this machine, at a port that the system chooses.
const ANY_PORT: &str = "127.0.0.1:0";

/// Remembers process ids. Those that are left when its input ends get a second to end by themselves, and are killed; then their
/// folder is removed. It ignores the terminal's interrupt, which ends everybody else.
const GUARDIAN: &str = r#"trap "" INT TERM HUP
while read -r sign id; do
  if [ "$sign" = + ]; then ids="$ids $id"; continue; fi
  kept=; for other in $ids; do [ "$other" = "$id" ] || kept="$kept $other"; done; ids=$kept
done
[ -z "$ids" ] || { sleep 1; kill -9 $ids 2>/dev/null; rm -rf -- "$0"; }"#;

/// Why something about a process failed.
#[derive(Debug)]
pub enum ClusterError {
    /// The operating system refused.
    Io {
        /// To do what.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// A process did not tell what was waited for.
    Missing {
        /// Which process.
        process: String,
        /// What was waited for.
        what: String,
        /// Why it is missing.
        why: Missing,
        /// What the process told last.
        last_words: String,
    },
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, error } => write!(f, "cannot {what}: {error}"),
            Self::Missing { process, what, why, last_words } => {
                let why = match why {
                    Missing::TimedOut => "in time",
                    Missing::Ended => "and has ended",
                };
                write!(f, "{process} did not tell {what} {why}; its last words:\n  {last_words}")
            }
        }
    }
}

impl std::error::Error for ClusterError {}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> ClusterError {
    let what = what.into();
    move |error| ClusterError::Io { what, error }
}

/// The processes of one game, and the folder in which they keep what they keep.
#[derive(Debug)]
pub struct Cluster {
    binaries: PathBuf,
    folder: PathBuf,
    guardian: Arc<Guardian>,
}

impl Cluster {
    /// No process yet. `binaries` is cargo's output folder.
    ///
    /// # Errors
    /// [`ClusterError::Io`] if the binaries are not there, or no folder or guardian can be made.
    pub fn new(binaries: &Path) -> Result<Self, ClusterError> {
        for program in ["lobby-service", "relay", "examples/arena"] {
            let what = format!("find {program} (`cargo build --workspace --bins --examples` makes it)");
            binaries.join(program).metadata().map_err(io_error(what))?;
        }
        let folder = std::env::temp_dir().join(format!("understudy-{}-{}", std::process::id(), now_us()));
        std::fs::create_dir(&folder).map_err(io_error("make a temporary folder"))?;
        let guardian = Guardian::start(&folder).map_err(io_error("start sh, which every Unix has"))?;
        Ok(Self { binaries: binaries.to_owned(), folder, guardian: Arc::new(guardian) })
    }

    /// A file in the cluster's own folder, which is removed with it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts the lobby service with a relay in it. It keeps its database and its key in the cluster's folder.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn service(&self) -> Result<Server, ClusterError> {
        let command = self.command("lobby-service", &["--listen", ANY_PORT, "--relay-listen", ANY_PORT]);
        Server::start("lobby-service", command, &self.guardian)
    }

    /// Starts the lobby service without a relay, and a relay of its own.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn service_and_relay(&self) -> Result<(Server, Server), ClusterError> {
        let secret = format!("{:x}", now_us());
        let mut command = self.command("lobby-service", &["--listen", ANY_PORT, "--no-relay"]);
        command.env("UNDERSTUDY_RELAY_SECRET", &secret);
        let service = Server::start("lobby-service", command, &self.guardian)?;
        let url = format!("http://{}", service.address("http"));
        let arguments = ["--listen", ANY_PORT, "--service", &url, "--secret-env", "UNDERSTUDY_RELAY_SECRET"];
        let mut command = self.command("relay", &arguments);
        command.env("UNDERSTUDY_RELAY_SECRET", &secret);
        let relay = Server::start("relay", command, &self.guardian)?;
        Ok((service, relay))
    }

    /// Starts a player, a bot, at the service that listens at this address. With `draws` it has the terminal; else its output is
    /// dropped.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn arena<S: AsRef<OsStr>>(
        &self,
        name: &str,
        service: &str,
        arguments: &[S],
        draws: bool,
    ) -> Result<Process, ClusterError> {
        let mut command = self.command("examples/arena", arguments);
        command.args(["--service", &format!("http://{service}"), "--name", name, "--bot", "--until-stdin-ends"]);
        if draws {
            command.stdout(Stdio::inherit());
        } else {
            // A terminal's interrupt must end the one who started them, who then ends them.
            command.stdout(Stdio::null()).process_group(0);
        }
        Process::start(name, command, &self.guardian)
    }

    fn command<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.args(arguments).current_dir(&self.folder);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A leftover in the folder for temporary files is no reason to fail.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// The first line that comes, read in a thread so that waiting for it can end.
fn first_line(source: impl io::Read + Send + 'static) -> Result<String, Missing> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(source).lines().map_while(Result::ok);
        let told = sender.send(lines.next());
        // Reads on, so that the process never waits for a reader.
        told.map(|()| lines.for_each(drop))
    });
    receiver.recv_timeout(START_TIMEOUT).map_err(|_| Missing::TimedOut)?.ok_or(Missing::Ended)
}

/// A server and where it listens.
#[derive(Debug)]
pub struct Server {
    /// Its process.
    pub process: Process,
    listening: String,
}

impl Server {
    /// Starts it and waits for its line `NAME: listening KEY=ADDRESS …`.
    fn start(name: &str, mut command: Command, guardian: &Arc<Guardian>) -> Result<Self, ClusterError> {
        command.stdout(Stdio::piped()).process_group(0);
        let mut process = Process::start(name, command, guardian)?;
        let stdout = process.child.stdout.take().expect("standard output was asked for as a pipe");
        let listening = first_line(stdout).map_err(|why| process.missing("where it listens", why))?;
        Ok(Self { process, listening })
    }

    /// An address that it named; empty if it did not.
    #[must_use]
    pub fn address(&self, key: &str) -> &str {
        let mut words = self.listening.split_whitespace().filter_map(|word| word.split_once('='));
        words.find(|(name, _)| *name == key).map_or("", |(_, address)| address)
    }
}

/// A process with what it tells. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    is_alive: bool,
    stdin: Option<ChildStdin>,
    log: Log,
    guardian: Arc<Guardian>,
}

impl Process {
    fn start(name: &str, mut command: Command, guardian: &Arc<Guardian>) -> Result<Self, ClusterError> {
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(io_error(format!("start {name}")))?;
        guardian.tell('+', child.id());
        let stderr = child.stderr.take().expect("standard error was asked for as a pipe");
        let stdin = child.stdin.take();
        Ok(Self {
            name: name.to_owned(),
            child,
            is_alive: true,
            stdin,
            log: Log::of(stderr),
            guardian: Arc::clone(guardian),
        })
    }

    /// What it is called here.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// It was neither killed nor waited for.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        self.is_alive
    }

    /// What it has told.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Waits for a trace that was written at `since_us` or later.
    ///
    /// # Errors
    /// [`ClusterError::Missing`].
    pub fn wait(
        &self,
        since_us: u64,
        time_out: Duration,
        what: &str,
        matches: impl Fn(&Trace) -> bool,
    ) -> Result<Trace, ClusterError> {
        let fits = |trace: &&Trace| trace.at_us() >= since_us && matches(trace);
        let found = self.log.wait(time_out, |traces| traces.iter().find(fits).cloned());
        found.map_err(|why| self.missing(what, why))
    }

    /// Writes a line to its standard input.
    pub fn say(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            // A process that has ended cannot be told anything.
            drop(writeln!(stdin, "{line}").and_then(|()| stdin.flush()));
        }
    }

    /// Kills it at once and waits for its end. Returns when it was killed.
    pub fn kill(&mut self) -> u64 {
        let at_us = now_us();
        self.is_alive = false;
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        self.guardian.tell('-', self.child.id());
        at_us
    }

    /// Waits for its own end. Returns whether it ended well.
    ///
    /// # Errors
    /// [`ClusterError::Missing`] if it goes on; it is killed when dropped.
    pub fn wait_end(&mut self, time_out: Duration) -> Result<bool, ClusterError> {
        match self.log.wait(time_out, |_| None::<()>) {
            Err(Missing::Ended) | Ok(()) => {}
            Err(why @ Missing::TimedOut) => return Err(self.missing("its end", why)),
        }
        let status = self.child.wait().map_err(io_error("wait for a process"))?;
        self.is_alive = false;
        self.guardian.tell('-', self.child.id());
        Ok(status.success())
    }

    /// Stops it in the middle of whatever it does, as a suspended laptop would.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn freeze(&self) -> Result<(), ClusterError> {
        self.signal("-STOP")
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn thaw(&self) -> Result<(), ClusterError> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> Result<(), ClusterError> {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        status
            .and_then(|status| status.success().then_some(()).ok_or(io::ErrorKind::NotFound.into()))
            .map_err(io_error(format!("send {signal} to {}", self.name)))
    }

    fn missing(&self, what: &str, why: Missing) -> ClusterError {
        let last_words = self.log.last_words();
        ClusterError::Missing { process: self.name.clone(), what: what.to_owned(), why, last_words }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Debug)]
struct Guardian {
    child: Mutex<Child>,
}

impl Guardian {
    fn start(folder: &Path) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", GUARDIAN]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child: Mutex::new(command.process_group(0).spawn()?) })
    }

    fn tell(&self, sign: char, id: u32) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stdin) = &mut child.stdin {
            // Without a guardian there is still `Drop`.
            drop(writeln!(stdin, "{sign} {id}"));
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(child.stdin.take());
        drop(child.wait());
    }
}
