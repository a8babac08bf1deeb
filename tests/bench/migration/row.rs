//! What is played: by which path, how the host is lost, how large the state is, and on which network.

use std::fmt;
use std::time::Duration;

/// Of the arena's ticks, one may be missed: the next but one is there, at most half a tick late.
const ONE_MISSED: Duration = Duration::from_micros(1_000_000 / 30 * 5 / 2);

/// How peers reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    Relay,
    Direct,
}

/// What becomes of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its process is killed.
    Crash,
    /// Its process is stopped, and its sockets stay open.
    Silent,
    /// It hands over.
    Planned,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) path: Path,
    pub(crate) loss: Loss,
    /// Of the state. One percent of it changes with each tick.
    pub(crate) state_bytes: usize,
    /// What each peer's simulated network adds, one way; with any delay it also loses one datagram in a hundred.
    pub(crate) delay_ms: u64,
}

/// Longest pauses, where there is an aim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Aim {
    pub(crate) median: Option<Duration>,
    pub(crate) late: Option<Duration>,
}

const SIZES: [usize; 3] = [10_000, 100_000, 1 << 20];
const DELAYS_MS: [u64; 3] = [0, 25, 50];

/// The rows that matter.
const USUAL: [Row; 8] = [
    Row::of(Path::Relay, Loss::Crash, SIZES[0], 0),
    Row::of(Path::Relay, Loss::Crash, SIZES[1], 0),
    Row::of(Path::Relay, Loss::Crash, SIZES[2], 0),
    Row::of(Path::Direct, Loss::Crash, SIZES[0], 0),
    Row::of(Path::Relay, Loss::Silent, SIZES[0], 0),
    Row::of(Path::Relay, Loss::Planned, SIZES[0], 0),
    Row::of(Path::Relay, Loss::Crash, SIZES[0], 25),
    Row::of(Path::Relay, Loss::Planned, SIZES[0], 25),
];

impl Row {
    const fn of(path: Path, loss: Loss, state_bytes: usize, delay_ms: u64) -> Self {
        Self { path, loss, state_bytes, delay_ms }
    }

    /// The rows that matter, and then, if they are asked for, the rest.
    pub(crate) fn rows(all: bool) -> Vec<Self> {
        let mut rows = USUAL.to_vec();
        for path in [Path::Relay, Path::Direct].into_iter().filter(|_| all) {
            for loss in [Loss::Crash, Loss::Silent, Loss::Planned] {
                for delay_ms in DELAYS_MS {
                    rows.extend(SIZES.map(|state_bytes| Self::of(path, loss, state_bytes, delay_ms)));
                }
            }
        }
        let mut seen = Vec::new();
        rows.retain(|row| {
            !seen.contains(row) && {
                seen.push(*row);
                true
            }
        });
        rows
    }

    /// How often it is played.
    pub(crate) const fn runs(&self) -> usize {
        match self.loss {
            Loss::Crash => 30,
            Loss::Silent | Loss::Planned => 20,
        }
    }

    /// What is aimed at, on this machine.
    pub(crate) const fn aim(&self) -> Aim {
        let ms = Duration::from_millis;
        match (self.loss, self.delay_ms) {
            (Loss::Crash, 0) => Aim { median: Some(ms(100)), late: Some(ms(250)) },
            (Loss::Crash, 25) => Aim { median: Some(ms(250)), late: None },
            (Loss::Silent, 0) => Aim { median: None, late: Some(ms(800)) },
            (Loss::Planned, 0) => Aim { median: None, late: Some(ONE_MISSED) },
            (Loss::Crash | Loss::Silent | Loss::Planned, _) => Aim { median: None, late: None },
        }
    }

    /// What each of its players is started with.
    pub(crate) fn arguments(&self, seed: u64) -> Vec<String> {
        let mut arguments = vec!["--state-bytes".to_owned(), self.state_bytes.to_string()];
        if self.path == Path::Direct {
            arguments.extend(["--direct", "127.0.0.1:0"].map(str::to_owned));
        } else {
            arguments.extend(["--path", "relay"].map(str::to_owned));
        }
        if self.delay_ms > 0 {
            arguments.push("--network".to_owned());
            arguments.push(format!("delay_ms={},loss=0.01,seed={seed}", self.delay_ms));
        }
        arguments
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match self.path {
            Path::Relay => "relay",
            Path::Direct => "direct",
        };
        let loss = match self.loss {
            Loss::Crash => "crash",
            Loss::Silent => "silent",
            Loss::Planned => "planned",
        };
        let size = match self.state_bytes {
            bytes if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
            bytes => format!("{} KB", bytes / 1000),
        };
        write!(f, "{path:<7}{loss:<8}{size:>7}")?;
        if self.delay_ms > 0 { write!(f, "  {} ms, 1 % loss", self.delay_ms) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_are_the_whole_matrix_and_none_is_there_twice() {
        let rows = Row::rows(true);
        assert_eq!(rows.len(), 2 * 3 * 3 * 3);
        assert_eq!(rows[..8], USUAL);
        assert!(rows.iter().filter(|row| row.loss == Loss::Crash).all(|row| row.runs() >= 30));
    }
}
