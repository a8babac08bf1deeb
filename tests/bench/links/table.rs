//! A table: medians of all rounds, how far they lie apart, and what was aimed at.

use std::fmt;

/// Letters of a line's name.
const LABEL: usize = 58;
/// Letters of a column.
const COLUMN: usize = 28;

/// What a figure counts. Times are kept in seconds, memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    Microseconds,
    PerSecond,
    MegabytesPerSecond,
    Kibibytes,
    Percent,
}

/// One line.
#[derive(Debug, Clone)]
struct Line {
    label: &'static str,
    unit: Unit,
    /// The values of each column.
    values: Vec<Vec<f64>>,
}

/// The figures of one part.
#[derive(Debug)]
pub(crate) struct Table {
    title: &'static str,
    columns: &'static [&'static str],
    lines: Vec<Line>,
    judgements: Vec<String>,
}

impl Table {
    pub(crate) const fn new(title: &'static str, columns: &'static [&'static str]) -> Self {
        Self { title, columns, lines: Vec::new(), judgements: Vec::new() }
    }

    /// One more value of a line, which is there from its first one on.
    pub(crate) fn add(&mut self, label: &'static str, unit: Unit, column: usize, value: f64) {
        let place = self.lines.iter().position(|line| line.label == label).unwrap_or_else(|| {
            self.lines.push(Line { label, unit, values: vec![Vec::new(); self.columns.len()] });
            self.lines.len() - 1
        });
        self.lines[place].values[column].push(value);
    }

    /// The median of a line in a column; of an even number of values the upper one.
    pub(crate) fn median(&self, label: &str, column: usize) -> Option<f64> {
        let line = self.lines.iter().find(|line| line.label == label)?;
        median(&line.values[column])
    }

    /// Says below the table whether an aim is reached: at most so much.
    pub(crate) fn judge(&mut self, what: &str, value: Option<f64>, most: f64, write: impl Fn(f64) -> String) {
        let verdict = match value {
            Some(value) if value <= most => format!("{}, aim ≤ {}: met", write(value), write(most)),
            Some(value) => format!("{}, aim ≤ {}: MISSED", write(value), write(most)),
            None => "not measured: MISSED".to_owned(),
        };
        self.judgements.push(format!("{what}: {verdict}"));
    }

    /// Says something else below it.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.judgements.push(note.into());
    }
}

/// The value that so many percent of these do not exceed.
pub(crate) fn percentile(values: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

impl Line {
    /// The median, and in brackets the least and the greatest.
    fn cell(&self, column: usize) -> Option<String> {
        let values = &self.values[column];
        let middle = median(values)?;
        let (least, most) = (values.iter().copied().reduce(f64::min)?, values.iter().copied().reduce(f64::max)?);
        let spread = if values.len() > 1 {
            format!(" ({}–{})", self.unit.number(least), self.unit.number(most))
        } else {
            String::new()
        };
        Some(format!("{} {}{spread}", self.unit.number(middle), self.unit.name()))
    }
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::PerSecond => "/s",
            Self::MegabytesPerSecond => "MB/s",
            Self::Kibibytes => "KiB",
            Self::Percent => "%",
        }
    }

    fn number(self, value: f64) -> String {
        match self {
            Self::Milliseconds => format!("{:.1}", value * 1e3),
            Self::Microseconds => format!("{:.1}", value * 1e6),
            Self::PerSecond => format!("{value:.0}"),
            Self::MegabytesPerSecond => format!("{:.1}", value / 1e6),
            Self::Kibibytes => format!("{:.0}", value / 1024.0),
            Self::Percent => format!("{:.1}", value * 100.0),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let head: String = self.columns.iter().map(|column| format!("{column:>COLUMN$}")).collect();
        writeln!(f, "  {:<LABEL$}{head}", "")?;
        for line in &self.lines {
            let cell = |column| format!("{:>COLUMN$}", line.cell(column).unwrap_or_default());
            let cells: String = (0..self.columns.len()).map(cell).collect();
            writeln!(f, "{}", format!("  {:<LABEL$}{cells}", line.label).trim_end())?;
        }
        self.judgements.iter().try_for_each(|judgement| writeln!(f, "  {judgement}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_medians_spreads_and_whether_aims_are_met() {
        let mut table = Table::new("links", &["relay", "WebRTC"]);
        for value in [0.03, 0.01, 0.02] {
            table.add("first message", Unit::Milliseconds, 1, value);
        }
        let found = table.median("first message", 1);
        assert_eq!((found, table.median("first message", 0)), (Some(0.02), None));
        let write = |value: f64| format!("{value}x");
        table.judge("of the crate's", found, 0.35, write);
        table.judge("of nothing", found, 0.01, write);
        table.judge("of the unknown", None, 1.0, write);
        let text = table.to_string();
        for part in ["20.0 ms (10.0–30.0)", "0.02x, aim ≤ 0.35x: met", "aim ≤ 0.01x: MISSED", "not measured: MISSED"]
        {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(
            [50.0, 99.0, 100.0].map(|percent| percentile(&values, percent)),
            [Some(100.0), Some(198.0), Some(200.0)]
        );
        assert_eq!(percentile(&[], 50.0), None);
    }
}
