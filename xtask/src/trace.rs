//! What an arena process tells on its standard error: one JSON object a line, with the time and a kind.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// Lines kept of one process: five status lines a second leave room for an hour.
const LINES_MAX: usize = 20_000;
/// Lines that are not traces and are shown when a wait fails: the last words of a process.
const WORDS_MAX: usize = 20;

/// Microseconds since the Unix epoch on this machine's clock, which all processes of a cluster share.
#[must_use]
pub fn now_us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

/// One line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace(Value);

impl Trace {
    /// When it was written, as [`now_us`] counts.
    #[must_use]
    pub fn at_us(&self) -> u64 {
        self.number("at_us").unwrap_or_default()
    }

    /// Whether it is of this kind.
    #[must_use]
    pub fn is(&self, kind: &str) -> bool {
        self.text("kind") == Some(kind)
    }

    /// Whether it is an event of this name.
    #[must_use]
    pub fn is_event(&self, name: &str) -> bool {
        self.is("event") && self.text("name") == Some(name)
    }

    /// A number of it.
    #[must_use]
    pub fn number(&self, field: &str) -> Option<u64> {
        self.0.get(field)?.as_u64()
    }

    /// A text of it.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }

    /// Any value of it; null if it is not there.
    #[must_use]
    pub fn value(&self, field: &str) -> &Value {
        &self.0[field]
    }
}

/// Everything that one process has told so far, filled by a thread.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Debug, Default)]
struct Lines {
    traces: Vec<Trace>,
    words: Vec<String>,
    panics: Vec<String>,
    ended: bool,
}

/// Why a line did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The time is over.
    TimedOut,
    /// The process has ended.
    Ended,
}

impl Log {
    /// Reads lines to their end, in a thread of its own, so that the process never waits for a reader.
    pub fn of(source: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let filled = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines() {
                let Ok(line) = line else { break };
                filled.add(line);
            }
            filled.lines().ended = true;
            filled.0.1.notify_all();
        });
        log
    }

    /// Waits until `find` finds something in what was told so far.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn wait<T>(&self, time_out: Duration, mut find: impl FnMut(&[Trace]) -> Option<T>) -> Result<T, Missing> {
        let deadline = Instant::now() + time_out;
        let mut lines = self.lines();
        loop {
            if let Some(found) = find(&lines.traces) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match (lines.ended, left.is_zero()) {
                (true, _) => return Err(Missing::Ended),
                (false, true) => return Err(Missing::TimedOut),
                (false, false) => {}
            }
            lines = self.0.1.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Looks at what was told so far.
    pub fn look<T>(&self, look: impl FnOnce(&[Trace]) -> T) -> T {
        look(&self.lines().traces)
    }

    /// The last traces and the last other lines, for a message about a failure.
    #[must_use]
    pub fn last_words(&self) -> String {
        let lines = self.lines();
        let recent = lines.traces.iter().rev().filter(|trace| !trace.is("status")).take(WORDS_MAX);
        let traces = recent.collect::<Vec<_>>().into_iter().rev().map(|trace| trace.0.to_string());
        let last = lines.traces.iter().rev().find(|trace| trace.is("status")).map(|trace| trace.0.to_string());
        let all: Vec<_> = traces.chain(last).chain(lines.words.iter().cloned()).collect();
        all.join("\n  ")
    }

    /// Lines that tell of a panic: a bug, whatever came of it.
    #[must_use]
    pub fn panics(&self) -> Vec<String> {
        self.lines().panics.clone()
    }

    fn add(&self, line: String) {
        let mut lines = self.lines();
        match serde_json::from_str(&line) {
            Ok(value @ Value::Object(_)) if lines.traces.len() < LINES_MAX => lines.traces.push(Trace(value)),
            Ok(_) => {}
            Err(_) => {
                if line.contains("panicked at") && lines.panics.len() < WORDS_MAX {
                    lines.panics.push(line.clone());
                }
                if lines.words.len() == WORDS_MAX {
                    lines.words.remove(0);
                }
                lines.words.push(line);
            }
        }
        self.0.1.notify_all();
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_whenever_it_came_and_the_end_is_noticed() {
        let text = b"{\"kind\":\"event\",\"name\":\"host_lost\",\"at_us\":7}\nnot a trace: panicked at x\n".as_slice();
        let log = Log::of(text);
        let find = |name: &'static str| move |traces: &[Trace]| traces.iter().find(|t| t.is_event(name)).cloned();
        assert_eq!(log.wait(Duration::from_secs(5), find("host_lost")).unwrap().at_us(), 7);
        assert_eq!(log.wait(Duration::from_secs(5), find("host_elected")), Err(Missing::Ended));
        assert!(log.last_words().contains("not a trace"));
        assert_eq!(log.panics().len(), 1);
    }
}
