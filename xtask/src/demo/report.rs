//! What became of the game.

use std::fmt;

use super::Options;

/// Milliseconds after the kill at which the last process got so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Phases {
    /// The first sign of the loss.
    pub(crate) noticed_ms: f64,
    /// The lobby's word of who is next.
    pub(crate) elected_ms: f64,
    /// The new host has the state.
    pub(crate) restored_ms: f64,
    /// The guests are in the new host's game.
    pub(crate) reconnected_ms: f64,
    /// The new host's first tick is seen.
    pub(crate) pause_ms: f64,
}

/// One demo.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    /// What it was played with.
    pub(crate) options: Options,
    pub(crate) phases: Phases,
    /// Name of the new host.
    pub(crate) new_host: String,
    pub(crate) snapshot_bytes: u64,
    /// How old the newest stored snapshot was when the host was killed.
    pub(crate) snapshot_age_ms: f64,
    /// The host's last tick, as far as a guest had seen it.
    pub(crate) last_tick: u64,
    pub(crate) restored_tick: u64,
    pub(crate) coins_before: u64,
    pub(crate) coins_after: u64,
    /// Players in their places, at the end.
    pub(crate) players: u64,
    /// The old host's seat before and after.
    pub(crate) old_host_connection: (u64, u64),
    /// Every player owned something, and owns the same.
    pub(crate) ownership_kept: bool,
}

/// Players of the demo.
pub(crate) const PLAYERS: u64 = 5;

impl Report {
    /// What did not come through, if anything.
    pub(crate) fn lost(&self) -> Option<&'static str> {
        let (before, after) = self.old_host_connection;
        let lost = [
            (self.coins_before == 0, "there were no coins to lose"),
            (self.coins_before != self.coins_after, "coins were lost or made"),
            (self.players != PLAYERS, "players are missing"),
            (before != after, "the old host came back with another connection id"),
            (!self.ownership_kept, "somebody does not own what it owned"),
        ];
        lost.into_iter().find_map(|(is_lost, what)| is_lost.then_some(what))
    }

    /// The line for machines.
    pub(crate) fn last_line(&self) -> String {
        let survived = self.lost().is_none();
        format!(
            "demo: survived={survived} pause_ms={:.0} restored_tick={} coins_before={} coins_after={} players={}",
            self.phases.pause_ms, self.restored_tick, self.coins_before, self.coins_after, self.players
        )
    }

    /// The times in one line.
    pub(crate) fn phases(&self) -> String {
        phases(&self.phases)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phases = &self.phases;
        let (before, after) = self.old_host_connection;
        writeln!(f, "settings       {}, {PLAYERS} players and the service on this machine", settings(&self.options))?;
        writeln!(f, "milliseconds after the kill, of the last process to get there:")?;
        writeln!(f, "  noticed      {:>8.1}", phases.noticed_ms)?;
        writeln!(f, "  elected      {:>8.1}   {}", phases.elected_ms, self.new_host)?;
        writeln!(f, "  restored     {:>8.1}   tick {} of {}", phases.restored_ms, self.restored_tick, self.last_tick)?;
        writeln!(f, "  reconnected  {:>8.1}", phases.reconnected_ms)?;
        writeln!(f, "  goes on      {:>8.1}", phases.pause_ms)?;
        writeln!(f, "snapshot       {} bytes, {:.0} ms old at the kill", self.snapshot_bytes, self.snapshot_age_ms)?;
        writeln!(f, "coins          {} before, {} after", self.coins_before, self.coins_after)?;
        writeln!(f, "players        {} of {PLAYERS} in their places", self.players)?;
        writeln!(f, "ownership      {}", if self.ownership_kept { "kept" } else { "not kept" })?;
        write!(f, "old host       connection id {before} before, {after} after")
    }
}

/// The medians of several runs.
pub(crate) fn summary(reports: &[Report], options: &Options) -> String {
    let median = |of: fn(&Phases) -> f64| {
        let mut all: Vec<_> = reports.iter().map(|report| of(&report.phases)).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    let medians = Phases {
        noticed_ms: median(|phases| phases.noticed_ms),
        elected_ms: median(|phases| phases.elected_ms),
        restored_ms: median(|phases| phases.restored_ms),
        reconnected_ms: median(|phases| phases.reconnected_ms),
        pause_ms: median(|phases| phases.pause_ms),
    };
    let worst = reports.iter().map(|report| report.phases.pause_ms).fold(0.0, f64::max);
    let (runs, settings) = (reports.len(), settings(options));
    format!("median of {runs} runs with {settings}: {}; longest pause {worst:.0} ms", phases(&medians))
}

fn settings(options: &Options) -> String {
    format!("election delay {} ms", options.election_delay_ms)
}

fn phases(phases: &Phases) -> String {
    format!(
        "noticed {:.0}, elected {:.0}, restored {:.0}, reconnected {:.0}, pause {:.0} ms",
        phases.noticed_ms, phases.elected_ms, phases.restored_ms, phases.reconnected_ms, phases.pause_ms
    )
}
