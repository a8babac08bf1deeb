//! What was measured, and how many of how many it is.

use std::time::Duration;

/// One migration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    /// From the last tick of the old host to the first of the new one, in the process that saw the longest.
    pub(crate) pause: Duration,
    /// Since the last sign of the old host, in the last process to get there; the second and third only in the new host's.
    pub(crate) phases: [Option<Duration>; 5],
    /// Between the newest tick that anybody saw of the old host and the one that was restored.
    pub(crate) ticks_lost: u64,
    /// That the old host sent to its successor, in how long.
    pub(crate) sent: Option<(u64, Duration)>,
    /// Hand-overs before it that came to nothing.
    pub(crate) failed: usize,
}

/// What a phase ends with.
pub(crate) const PHASES: [&str; 5] = ["noticed", "elected", "found", "restored", "resumed"];

/// Reliable messages of all players and all hosts of a row: operations to the host, and receipts from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Messages {
    /// That had their effect.
    pub(crate) banked: u64,
    pub(crate) lost: u64,
    pub(crate) twice: u64,
}

/// All of a row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) runs: Vec<Run>,
    pub(crate) messages: Messages,
}

impl Figures {
    /// The pause that this part of the runs, in percent, did not exceed.
    pub(crate) fn pause(&self, percent: usize) -> Duration {
        percentile(self.runs.iter().map(|run| run.pause), percent).unwrap_or_default()
    }

    /// The median of a phase.
    pub(crate) fn phase(&self, index: usize) -> Option<Duration> {
        percentile(self.runs.iter().filter_map(|run| run.phases[index]), 50)
    }

    /// The median of the ticks that were lost, and the most.
    pub(crate) fn ticks_lost(&self) -> (u64, u64) {
        let ticks = |percent| percentile(self.runs.iter().map(|run| run.ticks_lost), percent).unwrap_or_default();
        (ticks(50), ticks(100))
    }

    /// Bytes to the successor in a second.
    pub(crate) fn bytes_per_second(&self) -> Option<f64> {
        let sent = self.runs.iter().filter_map(|run| run.sent);
        let (bytes, time) =
            sent.fold((0, Duration::ZERO), |(bytes, time), (more, longer)| (bytes + more, time + longer));
        (!time.is_zero()).then(|| bytes as f64 / time.as_secs_f64())
    }

    pub(crate) fn failed(&self) -> usize {
        self.runs.iter().map(|run| run.failed).sum()
    }
}

/// The least value that so many percent of all do not exceed.
fn percentile<T: Ord + Copy>(values: impl Iterator<Item = T>, percent: usize) -> Option<T> {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let of = |percent| percentile([40, 10, 30, 20].into_iter(), percent);
        assert_eq!([of(50), of(95), of(99), of(100)], [Some(20), Some(40), Some(40), Some(40)]);
        assert_eq!(percentile(std::iter::empty::<u64>(), 50), None);
    }
}
