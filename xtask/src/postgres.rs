//! A private Postgres server for tests: its own data, its own port, gone with whoever started it.
//!
//! What is tested is what survives, so it saves as a server of production does (`fsync` and `synchronous_commit` on), and it can be
//! killed and started again on the same data at the same port.

mod install;
mod processes;

use std::fs::File;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::port::free_port;
use crate::process::{ClusterError, Guardian, file_limit, io_error, succeed};
use crate::trace::{Missing, now_us};

pub use install::{can_install, ensure_installed, install_package};
use processes::{children, send, wait_until_gone};

/// The environment variable that names a running server to the tests: `postgres://USER@HOST:PORT/`.
pub const TEST_SERVER: &str = "UNDERSTUDY_TEST_POSTGRES";
/// Time to get ready, which includes to recover from a crash.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to end in good order; then it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at a process outside.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// A port can be taken by somebody else between the look and the start.
const START_TRIES: u32 = 5;
/// Lines of the server's log in a message about a failure.
const LAST_WORDS: usize = 20;
/// Its only user, who may do everything. Nobody is asked for a password.
const USER: &str = "postgres";

/// A server. Ended and removed when dropped, or when the process that started it is gone.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    owner: Option<Owner>,
    child: Option<Child>,
    frozen: Vec<u32>,
    guardian: Arc<Guardian>,
}

/// The user of the system that it runs as, because it refuses to run as root.
#[derive(Debug, Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

impl Postgres {
    /// Starts a server with no data. Its programs are installed if they are missing and can be, see [`ensure_installed`].
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn start() -> Result<Self, ClusterError> {
        let programs = ensure_installed()?;
        let folder = std::env::temp_dir().join(format!("understudy-postgres-{}-{}", std::process::id(), now_us()));
        std::fs::create_dir(&folder).map_err(io_error("make a temporary folder"))?;
        let guardian = Guardian::start(&folder).map_err(io_error("start sh, which every Unix has"))?;
        let guardian = Arc::new(guardian);
        let mut server = Self { programs, folder, port: 0, owner: None, child: None, frozen: Vec::new(), guardian };
        server.owner = Owner::of(&server.folder)?;
        server.make_data()?;
        for _ in 1..START_TRIES {
            server.port = free_port().map_err(io_error("find a free port"))?;
            if server.start_again().is_ok() {
                return Ok(server);
            }
        }
        server.port = free_port().map_err(io_error("find a free port"))?;
        server.start_again().map(|()| server)
    }

    /// What a client connects to.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Where it listens on this machine. The same after each start.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn create_database(&self, name: &str) -> Result<(), ClusterError> {
        create_database(&self.url(USER), name)
    }

    /// Says one SQL statement in a database and returns the rows, a line each.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn query(&self, database: &str, sql: &str) -> Result<String, ClusterError> {
        query(&self.url(database), sql)
    }

    /// Closes every connection that others have. They may connect again at once.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn terminate_backends(&self) -> Result<(), ClusterError> {
        let others = "pid <> pg_backend_pid() AND backend_type = 'client backend'";
        self.query(USER, &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")).map(drop)
    }

    /// Ends it in good order: clients are sent away, everything is written.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn stop(&mut self) -> Result<(), ClusterError> {
        self.end("-INT")
    }

    /// Ends it at once, and leaves the recovery to the next start.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn stop_immediate(&mut self) -> Result<(), ClusterError> {
        self.end("-QUIT")
    }

    /// Kills all of its processes in the midst of whatever they do, and waits until they are gone.
    ///
    /// # Errors
    /// [`ClusterError`], among it a process that does not end although it was killed.
    pub fn kill(&mut self) -> Result<(), ClusterError> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        // While it is stopped it starts no other process behind our back.
        let all = send("-STOP", &[child.id()]).and_then(|()| children(child.id()));
        // Whatever else failed, it is killed.
        drop(child.kill());
        drop(child.wait());
        self.guardian.tell('-', child.id());
        self.frozen.clear();
        let all = all?;
        // Some have ended with it.
        drop(send("-KILL", &all));
        wait_until_gone(&all, STOP_TIMEOUT).map_err(|why| self.missing("the end of its processes", why))?;
        // Nobody is left, but by now somebody else's process could have the number that these files name.
        let lock = self.folder.join(format!(".s.PGSQL.{}.lock", self.port));
        drop(std::fs::remove_file(lock));
        drop(std::fs::remove_file(self.data().join("postmaster.pid")));
        Ok(())
    }

    /// Starts it on the data and the port that it had, and waits until it takes connections. Nothing if it runs.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn start_again(&mut self) -> Result<(), ClusterError> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.map_err(io_error("write Postgres' log"))?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(&self.folder).args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "fsync=on",
            "synchronous_commit=on",
            "full_page_writes=on",
            "max_connections=200",
            "shared_buffers=64MB",
            "logging_collector=off",
        ] {
            command.args(["-c", setting]);
        }
        // A terminal's interrupt must end the one who started it, who then ends it.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        let child = command.spawn().map_err(io_error("start postgres"))?;
        self.guardian.tell('+', child.id());
        self.child = Some(child);
        let ready = self.wait_ready();
        if ready.is_err() {
            self.kill()?;
        }
        ready
    }

    /// Ends it in good order and starts it again.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn restart(&mut self) -> Result<(), ClusterError> {
        self.stop()?;
        self.start_again()
    }

    /// Limits the size of the files that it writes, or lifts that limit. Linux only.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn limit_files(&self, bytes: Option<u64>) -> Result<(), ClusterError> {
        let Some(child) = &self.child else { return Ok(()) };
        let limit = |id: u32| {
            let mut command = self.as_owner(Command::new("prlimit"));
            command.args(["--pid", &id.to_string(), &file_limit(bytes)]);
            succeed(&mut command, "limit the size of files")
        };
        // First the one that starts the others; of those, some may end meanwhile.
        limit(child.id())?;
        children(child.id())?.into_iter().for_each(|id| drop(limit(id)));
        Ok(())
    }

    /// Stops all of its processes in the midst of whatever they do, as a machine does that hangs.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn freeze(&mut self) -> Result<(), ClusterError> {
        let Some(child) = &self.child else { return Ok(()) };
        self.frozen = vec![child.id()];
        send("-STOP", &self.frozen)?;
        let others = children(child.id())?;
        send("-STOP", &others)?;
        self.frozen.extend(others);
        Ok(())
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn thaw(&mut self) -> Result<(), ClusterError> {
        let frozen = std::mem::take(&mut self.frozen);
        if frozen.is_empty() { Ok(()) } else { send("-CONT", &frozen) }
    }

    fn end(&mut self, signal: &str) -> Result<(), ClusterError> {
        self.thaw()?;
        let Some(child) = &mut self.child else { return Ok(()) };
        send(signal, &[child.id()])?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while child.try_wait().map_err(io_error("wait for postgres"))?.is_none() {
            if Instant::now() > deadline {
                self.kill()?;
                return Err(self.missing("its end", Missing::TimedOut));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        self.guardian.tell('-', child.id());
        self.child = None;
        Ok(())
    }

    fn wait_ready(&mut self) -> Result<(), ClusterError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let port = self.port.to_string();
        loop {
            if let Some(child) = &mut self.child
                && child.try_wait().map_err(io_error("wait for postgres"))?.is_some()
            {
                return Err(self.missing("that it is ready", Missing::Ended));
            }
            let mut look = Command::new(self.programs.join("pg_isready"));
            look.args(["-q", "-h", "127.0.0.1", "-p", &port, "-U", USER]);
            // At the port there could be somebody else's server: ours is the one with our folder.
            let socket = self.folder.join(format!(".s.PGSQL.{port}"));
            if socket.exists() && look.status().map_err(io_error("start pg_isready"))?.success() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.missing("that it is ready", Missing::TimedOut));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    fn make_data(&self) -> Result<(), ClusterError> {
        let mut command = self.command("initdb");
        command.arg("-D").arg(self.data());
        command.args(["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]);
        let what = "make Postgres' data";
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(io_error(what))?;
        let id = child.id();
        self.guardian.tell('+', id);
        let output = child.wait_with_output().map_err(io_error(what));
        self.guardian.tell('-', id);
        said(output?, what).map(drop)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.as_owner(Command::new(self.programs.join(program)));
        command.current_dir(&self.folder);
        command
    }

    fn as_owner(&self, mut command: Command) -> Command {
        if let Some(owner) = self.owner {
            command.uid(owner.user).gid(owner.group);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn missing(&self, what: &str, why: Missing) -> ClusterError {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let last_words = lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n  ");
        ClusterError::Missing { process: "postgres".to_owned(), what: what.to_owned(), why, last_words }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Not by killing it: then it would leave a piece of shared memory behind. What fails here fails quietly: the guardian
        // and the folder for temporary files are there for the rest.
        drop(self.stop_immediate());
        drop(self.kill());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl Owner {
    /// Who the server runs as: whoever made the folder, unless that is root, who gives the folder away.
    fn of(folder: &Path) -> Result<Option<Self>, ClusterError> {
        let metadata = folder.metadata().map_err(io_error("look at a temporary folder"))?;
        if metadata.uid() != 0 {
            return Ok(None);
        }
        let number = |option: &str| {
            let told = run(Command::new("id").args([option, USER]), "find the system's user postgres")?;
            let error = |error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
            told.trim().parse().map_err(error).map_err(io_error("find the system's user postgres"))
        };
        let owner = Self { user: number("-u")?, group: number("-g")? };
        chown(folder, Some(owner.user), Some(owner.group)).map_err(io_error("give a folder to postgres"))?;
        Ok(Some(owner))
    }
}

/// Makes an empty database on the server of another database.
///
/// # Errors
/// [`ClusterError::Io`].
pub fn create_database(url: &str, name: &str) -> Result<(), ClusterError> {
    query(url, &format!("CREATE DATABASE {}", quoted(name))).map(drop)
}

/// Removes a database and closes the connections to it; `url` is another one's.
///
/// # Errors
/// [`ClusterError::Io`].
pub fn drop_database(url: &str, name: &str) -> Result<(), ClusterError> {
    query(url, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name))).map(drop)
}

/// Says one SQL statement in the database at `url` and returns the rows, a line each.
///
/// # Errors
/// [`ClusterError::Io`].
pub fn query(url: &str, sql: &str) -> Result<String, ClusterError> {
    let mut command = Command::new(ensure_installed()?.join("psql"));
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql, url]);
    // A server that hangs must not hang the one who asks.
    command.env("PGCONNECT_TIMEOUT", "10").stdin(Stdio::null());
    run(&mut command, "ask Postgres")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Runs a program to its end and returns what it said.
fn run(command: &mut Command, what: &str) -> Result<String, ClusterError> {
    said(command.output().map_err(io_error(what))?, what)
}

fn said(Output { status, stdout, stderr }: Output, what: &str) -> Result<String, ClusterError> {
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&stderr).trim().to_owned();
    Err(io_error(what)(std::io::Error::other(said)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_is_there_after_every_kind_of_end() {
        let mut server = Postgres::start().unwrap();
        server.create_database("game").unwrap();
        let count = |server: &Postgres| server.query("game", "SELECT count(*) FROM kept").unwrap().trim().to_owned();
        let add = |server: &Postgres| server.query("game", "INSERT INTO kept VALUES (1)").unwrap();
        server.query("game", "CREATE TABLE kept (number int)").unwrap();
        let url = server.url("game");
        add(&server);
        server.kill().unwrap();
        assert!(server.query("game", "SELECT 1").is_err(), "nobody is there");
        server.start_again().unwrap();
        assert_eq!(count(&server), "1", "after a kill");
        add(&server);
        server.stop_immediate().unwrap();
        server.start_again().unwrap();
        assert_eq!(count(&server), "2", "after an immediate stop");
        add(&server);
        server.restart().unwrap();
        assert_eq!(count(&server), "3", "after a restart");
        server.freeze().unwrap();
        server.thaw().unwrap();
        server.terminate_backends().unwrap();
        assert_eq!(count(&server), "3");
        assert_eq!(server.url("game"), url, "it is where it was");
        let saves = "SELECT current_setting('fsync') || current_setting('synchronous_commit')";
        assert_eq!(server.query("game", saves).unwrap().trim(), "onon");
        let folder = server.folder.clone();
        drop(server);
        assert!(!folder.exists());
    }
}
