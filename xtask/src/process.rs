//! One process: how it is started, listened to, told something, stopped, and ended whatever happens.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::trace::{Log, Missing, Trace, now_us};

/// Remembers process ids. Those that are left when its input ends are asked to end, get a second, and are killed; then their
/// folder is removed, again if one of them was still writing into it. It ignores the terminal's interrupt, which ends everybody else.
const GUARDIAN: &str = r#"trap "" INT TERM HUP
while read -r sign id; do
  if [ "$sign" = + ]; then ids="$ids $id"; continue; fi
  kept=; for other in $ids; do [ "$other" = "$id" ] || kept="$kept $other"; done; ids=$kept
done
[ -z "$ids" ] && exit
kill -INT $ids 2>/dev/null; sleep 1; kill -9 $ids 2>/dev/null
rm -rf -- "$0" 2>/dev/null || { sleep 1; rm -rf -- "$0"; }"#;

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

/// The soft limit, as prlimit takes it: it can be lifted again by whoever has set it.
pub(crate) fn file_limit(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "--fsize=unlimited:".to_owned(), |bytes| format!("--fsize={bytes}:"))
}

/// Runs a program that has to succeed.
pub(crate) fn succeed(command: &mut Command, what: &str) -> Result<(), ClusterError> {
    let status = command.status();
    let checked = status.and_then(|status| status.success().then_some(()).ok_or(io::ErrorKind::Other.into()));
    checked.map_err(io_error(what))
}

pub(crate) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> ClusterError {
    let what = what.into();
    move |error| ClusterError::Io { what, error }
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
    pub(crate) fn start(name: &str, mut command: Command, guardian: &Arc<Guardian>) -> Result<Self, ClusterError> {
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

    pub(crate) fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("standard output was asked for as a pipe, and is taken once")
    }

    /// What it is called here.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Limits the size of the files that it writes, or lifts that limit. Linux only.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn limit_files(&self, bytes: Option<u64>) -> Result<(), ClusterError> {
        let mut command = Command::new("prlimit");
        command.args(["--pid", &self.child.id().to_string(), &file_limit(bytes)]);
        succeed(&mut command, "limit the size of files")
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

    /// Asks it to end.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn terminate(&self) -> Result<(), ClusterError> {
        self.signal("-TERM")
    }

    /// Asks it to look at its files again.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn hang_up(&self) -> Result<(), ClusterError> {
        self.signal("-HUP")
    }

    /// Whether it has ended, by itself or by whoever killed it.
    ///
    /// # Errors
    /// [`ClusterError::Io`].
    pub fn has_ended(&mut self) -> Result<bool, ClusterError> {
        let status = self.child.try_wait().map_err(io_error(format!("look after {}", self.name)))?;
        Ok(status.is_some())
    }

    fn signal(&self, signal: &str) -> Result<(), ClusterError> {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        status
            .and_then(|status| status.success().then_some(()).ok_or(io::ErrorKind::NotFound.into()))
            .map_err(io_error(format!("send {signal} to {}", self.name)))
    }

    pub(crate) fn missing(&self, what: &str, why: Missing) -> ClusterError {
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
pub(crate) struct Guardian {
    child: Mutex<Child>,
}

impl Guardian {
    pub(crate) fn start(folder: &Path) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", GUARDIAN]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child: Mutex::new(command.process_group(0).spawn()?) })
    }

    pub(crate) fn tell(&self, sign: char, id: u32) {
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
