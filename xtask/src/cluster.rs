//! A lobby service with its relay and arena players, each a process of its own, on this machine.
//!
//! Whatever happens to the process that started them, they end with it: on every way out by `Drop`, and if it is killed by a
//! guardian that reads from it until it is gone.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::process::{ClusterError, Guardian, Process, io_error};
use crate::trace::{Missing, now_us};

/// Time that a server has to say where it listens.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// Whoever measures or torments a service asks for more than players do.
pub const NO_LIMITS: &str = "--no-limits";
/// On this machine, at a port that the system chooses.
const ANY_PORT: &str = "127.0.0.1:0";

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
        Self::of(binaries, &["lobby-service", "relay", "examples/arena"])
    }

    /// As [`Self::new`], for these programs alone.
    ///
    /// # Errors
    /// As those of [`Self::new`].
    pub fn of(binaries: &Path, programs: &[&str]) -> Result<Self, ClusterError> {
        for program in programs {
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

    /// As [`Self::service`], without limits.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn service_without_limits(&self) -> Result<Server, ClusterError> {
        let command = self.command("lobby-service", &["--listen", ANY_PORT, "--relay-listen", ANY_PORT, NO_LIMITS]);
        Server::start("lobby-service", command, &self.guardian)
    }

    /// Starts a lobby service without a relay and without limits at this port of this machine, on this database. All that are started so share the
    /// key in the cluster's folder; the first one makes it.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn service_at(&self, name: &str, port: u16, database: &str) -> Result<Server, ClusterError> {
        let listen = format!("127.0.0.1:{port}");
        let mut command = self.command("lobby-service", &["--listen", &listen, "--no-relay", NO_LIMITS]);
        command.args(["--database", database, "--key-file", "./understudy-key.der"]);
        Server::start(name, command, &self.guardian)
    }

    /// Starts a lobby service without a relay and without limits on SQLite. A write past the limit of the size of its files fails, as on a full disk;
    /// else the system would end it.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn service_that_outlives_file_limits(&self) -> Result<Server, ClusterError> {
        self.service_after(r#"trap "" XFSZ"#)
    }

    /// As [`Self::service_that_outlives_file_limits`], but what it may not have is more than so many open files.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn service_with_open_files(&self, files: u32) -> Result<Server, ClusterError> {
        self.service_after(&format!("ulimit -n {files}"))
    }

    /// Starts a lobby service from a shell that has done something before.
    fn service_after(&self, done: &str) -> Result<Server, ClusterError> {
        let program = self.binaries.join("lobby-service");
        let mut command = Command::new("sh");
        command.args(["-c", &format!(r#"{done}; exec "$@""#), "sh"]).arg(program).current_dir(&self.folder);
        command.args(["--listen", ANY_PORT, "--no-relay", NO_LIMITS, "--connections-per-address-max", "0"]);
        command.env("UNDERSTUDY_ADMIN_LISTEN", ANY_PORT);
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

    /// As [`Self::service`], in a network namespace of this machine and with these arguments.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn service_in<S: AsRef<OsStr>>(&self, namespace: &str, arguments: &[S]) -> Result<Server, ClusterError> {
        Server::start("lobby-service", within(namespace, &self.command("lobby-service", arguments)), &self.guardian)
    }

    /// As [`Self::arena`], in a network namespace of this machine.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn arena_in<S: AsRef<OsStr>>(
        &self,
        namespace: &str,
        name: &str,
        service: &str,
        arguments: &[S],
    ) -> Result<Process, ClusterError> {
        let mut command = within(namespace, &self.arena_command(name, service, arguments));
        command.stdout(Stdio::null()).process_group(0);
        Process::start(name, command, &self.guardian)
    }

    /// Starts a program of the system's in a network namespace of this machine, with the cluster's folder as its own.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn program_in<S: AsRef<OsStr>>(
        &self,
        namespace: &str,
        program: &str,
        arguments: &[S],
    ) -> Result<Process, ClusterError> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.folder);
        let mut command = within(namespace, &command);
        command.stdout(Stdio::null()).process_group(0);
        Process::start(program, command, &self.guardian)
    }

    /// Starts any program that says where it listens, as the service does.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn server<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> Result<Server, ClusterError> {
        Server::start(program, self.command(program, arguments), &self.guardian)
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
        let mut command = self.arena_command(name, service, arguments);
        if draws {
            command.stdout(Stdio::inherit());
        } else {
            // A terminal's interrupt must end the one who started them, who then ends them.
            command.stdout(Stdio::null()).process_group(0);
        }
        Process::start(name, command, &self.guardian)
    }

    fn arena_command<S: AsRef<OsStr>>(&self, name: &str, service: &str, arguments: &[S]) -> Command {
        let mut command = self.command("examples/arena", arguments);
        command.args(["--service", &format!("http://{service}"), "--name", name, "--bot", "--until-stdin-ends"]);
        command
    }

    fn command<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.args(arguments).current_dir(&self.folder);
        // Whoever works on the project may have a database of another use there.
        command.env_remove("DATABASE_URL");
        // All players of this machine have one address, and a test may open all its sockets at once.
        command.envs([("UNDERSTUDY_CONNECTIONS_PER_ADDRESS_MAX", "0"), ("UNDERSTUDY_SOCKETS_PER_S_MAX", "0")]);
        // Several services run at the same time.
        command.env("UNDERSTUDY_ADMIN_LISTEN", ANY_PORT);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A leftover in the folder for temporary files is no reason to fail.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// The same command, in a network namespace: `ip` becomes the program, so that its process id is the program's.
fn within(namespace: &str, command: &Command) -> Command {
    let mut entered = Command::new("ip");
    entered.args(["netns", "exec", namespace]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => entered.env(name, value),
            None => entered.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        entered.current_dir(folder);
    }
    entered
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
        let stdout = process.take_stdout();
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
