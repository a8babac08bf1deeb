//! The table: a line a row, with what was aimed at.

use std::fmt::Write;
use std::time::Duration;

use super::figures::{Figures, PHASES};
use super::row::Row;

/// The head of the table.
pub(crate) fn head() -> String {
    let mut line = format!("{:>3}  {:<40}{:>5}  {:>21}  ", "row", "", "runs", "pause p50   p95   p99");
    for phase in PHASES {
        let _ = write!(line, "{phase:>9}");
    }
    line + &format!("  {:>10}  {:>20}  {:>10}  aim", "ticks lost", "messages lost, twice", "KB/s")
}

/// One row's line.
pub(crate) fn line(number: usize, row: &Row, figures: &Figures) -> String {
    let pauses = [50, 95, 99].map(|percent| format!("{:>6.0}", ms(figures.pause(percent)))).concat();
    let mut line = format!("{number:>3}  {:<40}{:>5}  {pauses:>21}  ", row.to_string(), figures.runs.len());
    for index in 0..PHASES.len() {
        let phase = figures.phase(index).map_or_else(|| "-".to_owned(), |phase| format!("{:.1}", ms(phase)));
        let _ = write!(line, "{phase:>9}");
    }
    let (median, most) = figures.ticks_lost();
    let ticks = format!("{median} (≤ {most})");
    let messages = figures.messages;
    let messages = format!("{}, {} of {}", messages.lost, messages.twice, messages.banked);
    let rate = figures.bytes_per_second().map_or_else(|| "-".to_owned(), |rate| format!("{:.1}", rate / 1000.0));
    let _ = write!(line, "  {ticks:>10}  {messages:>20}  {rate:>10}  {}", verdict(row, figures));
    match figures.failed() {
        0 => line,
        failed => line + &format!("; {failed} hand-overs came to nothing"),
    }
}

/// What was aimed at, and whether it was reached.
fn verdict(row: &Row, figures: &Figures) -> String {
    let aim = row.aim();
    let aims = [("p50", 50, aim.median), ("p99", 99, aim.late)];
    let judged = aims.into_iter().filter_map(|(name, percent, aim)| {
        let verdict = if figures.pause(percent) <= aim? { "MET" } else { "MISSED" };
        Some(format!("{name} ≤ {:.0} ms: {verdict}", ms(aim?)))
    });
    let judged: Vec<_> = judged.collect();
    if judged.is_empty() { "none".to_owned() } else { judged.join(", ") }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::figures::{Messages, Run};
    use super::*;

    #[test]
    fn a_line_tells_what_was_measured_and_whether_it_is_what_was_aimed_at() {
        let run = |pause| Run {
            pause: Duration::from_millis(pause),
            phases: [Some(Duration::from_millis(7)), None, None, None, None],
            ticks_lost: 1,
            sent: Some((5000, Duration::from_secs(2))),
            failed: 0,
        };
        let messages = Messages { banked: 70, lost: 0, twice: 0 };
        let mut figures = Figures { runs: vec![run(60), run(80), run(300)], messages };
        let row = Row::rows(false)[0];
        let text = line(1, &row, &figures);
        for part in [
            "    80   300   300",
            "  7.0",
            "1 (≤ 1)",
            "0, 0 of 70",
            " 2.5 ",
            "p50 ≤ 100 ms: MET",
            "p99 ≤ 250 ms: MISSED",
        ] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
        figures.runs[0].failed = 2;
        assert!(line(1, &row, &figures).contains("2 hand-overs came to nothing"));
    }
}
