//! The table: medians of all rounds, how far they lie apart, and their ratio to the limit's.

use std::collections::BTreeMap;
use std::fmt;

use super::figures::{Aim, Figures, Row};
use super::server::Target;

/// Letters of a line's name.
const LABEL: usize = 48;
/// Letters of a column.
const COLUMN: usize = 29;

/// All figures of all rounds.
#[derive(Debug)]
pub(crate) struct Table {
    targets: Vec<Target>,
    figures: BTreeMap<(Row, Target), Vec<f64>>,
}

impl Table {
    pub(crate) const fn new(targets: Vec<Target>) -> Self {
        Self { targets, figures: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, target: Target, figures: Figures) {
        for (row, value) in figures.0 {
            self.figures.entry((row, target)).or_default().push(value);
        }
    }

    /// The median; of an even number the upper one.
    fn median(&self, row: Row, target: Target) -> Option<f64> {
        let values = self.figures.get(&(row, target))?;
        let mut sorted = values.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }

    /// The median, and in brackets the least and the greatest.
    fn cell(&self, row: Row, target: Target) -> Option<String> {
        let median = self.median(row, target)?;
        let values = self.figures.get(&(row, target))?;
        let (least, most) = (values.iter().copied().reduce(f64::min)?, values.iter().copied().reduce(f64::max)?);
        let number = |value| row.unit().write(value).split(' ').next().unwrap_or_default().to_owned();
        let spread = if values.len() > 1 { format!(" ({}–{})", number(least), number(most)) } else { String::new() };
        Some(format!("{}{spread}", row.unit().write(median)))
    }

    /// The ratio to the limit, and whether the aim is reached.
    fn judgement(&self, row: Row, target: Target) -> Option<String> {
        let value = self.median(row, target)?;
        let ratio = self.median(row, Target::Bare).filter(|&bare| bare > 0.0).map(|bare| value / bare);
        let verdict = |aim: Aim| if aim.is_met(value, ratio) { "met" } else { "MISSED" };
        let words = ratio.map(|ratio| format!("{ratio:.2}x")).into_iter();
        Some(words.chain(row.aim().map(|aim| verdict(aim).to_owned())).collect::<Vec<_>>().join(" "))
    }

    fn write_row(&self, f: &mut fmt::Formatter<'_>, row: Row) -> fmt::Result {
        let mut line = format!("  {:<LABEL$}", row.label());
        for &target in &self.targets {
            line += &format!("{:>COLUMN$}", self.cell(row, target).unwrap_or_default());
            if target != Target::Bare {
                line += &format!(" {:<13}", self.judgement(row, target).unwrap_or_default());
            }
        }
        let aim = row.aim().map(|aim| aim.write(row)).unwrap_or_default();
        writeln!(f, "{}", format!("{line} {aim}").trim_end())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut head = format!("{:<width$}", "", width = LABEL + 2);
        for &target in &self.targets {
            head += &format!("{:>COLUMN$}", target.name());
            if target != Target::Bare {
                head += &format!(" {:<13}", "of bare");
            }
        }
        writeln!(f, "{head} aim")?;
        let measured = |row: &&Row| self.targets.iter().any(|&target| self.figures.contains_key(&(**row, target)));
        for (heading, rows) in Row::SECTIONS {
            if rows.iter().any(|row| measured(&row)) {
                writeln!(f, "\n{heading}")?;
                rows.iter().filter(measured).try_for_each(|&row| self.write_row(f, row))?;
            }
        }
        Ok(())
    }
}

impl Aim {
    /// One of the two is enough.
    fn is_met(self, value: f64, ratio: Option<f64>) -> bool {
        self.most.is_some_and(|most| value <= most)
            || self.times_bare.zip(ratio).is_some_and(|(most, ratio)| ratio <= most)
            || self.least.is_some_and(|least| value >= least)
    }

    fn write(self, row: Row) -> String {
        if let Some(least) = self.least {
            return format!("≥ {}", row.unit().write(least));
        }
        let most = self.most.map(|most| row.unit().write(most));
        let ratio = self.times_bare.map(|ratio| format!("{ratio}x"));
        let both: Vec<_> = most.into_iter().chain(ratio).collect();
        format!("≤ {}", both.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_medians_spreads_ratios_and_what_was_aimed_at() {
        let mut table = Table::new(vec![Target::Bare, Target::Sqlite]);
        for (bare, service) in [(50e-6, 300e-6), (40e-6, 100e-6), (60e-6, 500e-6)] {
            for (target, value) in [(Target::Bare, bare), (Target::Sqlite, service)] {
                let mut figures = Figures::default();
                figures.add(Row::SeatCpu, value);
                table.add(target, figures);
            }
        }
        let text = table.to_string();
        let line = text.lines().find(|line| line.contains(Row::SeatCpu.label())).unwrap();
        for part in ["50.0 µs (40.0–60.0)", "300.0 µs (100.0–500.0) 6.00x MISSED", "≤ 110.0 µs or 2.2x"] {
            assert!(line.contains(part), "{line}");
        }
        let aim = Row::SeatCpu.aim().unwrap();
        assert!(aim.is_met(100e-6, Some(3.0)) && aim.is_met(120e-6, Some(2.0)) && !aim.is_met(120e-6, Some(3.0)));
        let least = Row::DurableRatio.aim().unwrap();
        assert!(least.is_met(10.0, None) && !least.is_met(9.9, None));
    }
}
