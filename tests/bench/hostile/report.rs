//! What was measured, and how it is written.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::attack::{Cut, Kind};
use super::clients::percentile;
use super::mix::Times;
use super::scale::Scale;
use super::service::Held;

/// Times under attack are to be no more than so many times the quiet ones.
const AIM: f64 = 2.0;

/// What clients saw, and the CPU seconds that the service used in each second.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) times: Times,
    pub(crate) cpu: Vec<f64>,
}

/// An attack.
#[derive(Debug)]
pub(crate) struct Attacked {
    pub(crate) observed: Observed,
    /// Before it, the most during it, and when its connections were gone.
    pub(crate) held: [Held; 3],
    pub(crate) cut: Cut,
}

/// All rounds of one kind.
#[derive(Debug, Default)]
struct Section {
    quiet: Observed,
    attacked: Observed,
    held: Vec<[Held; 3]>,
    cut: Cut,
}

/// All.
#[derive(Debug, Default)]
pub(crate) struct Report {
    sections: BTreeMap<Kind, Section>,
}

impl Observed {
    fn add(&mut self, other: Self) {
        self.times.requests.extend(other.times.requests);
        self.times.events.extend(other.times.events);
        self.cpu.extend(other.cpu);
    }

    fn cpu(&self) -> f64 {
        100.0 * self.cpu.iter().sum::<f64>() / self.cpu.len().max(1) as f64
    }
}

impl Report {
    pub(crate) fn quiet(&mut self, kind: Kind, observed: Observed) {
        self.sections.entry(kind).or_default().quiet.add(observed);
    }

    pub(crate) fn attacked(&mut self, kind: Kind, attacked: Attacked) {
        let section = self.sections.entry(kind).or_default();
        section.attacked.add(attacked.observed);
        section.held.push(attacked.held);
        section.cut.after.extend(attacked.cut.after);
        section.cut.left.extend(attacked.cut.left);
    }

    pub(crate) fn shown(mut self, scale: &Scale) -> String {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let Scale { rounds, lasting, requests_a_second, half_open, deaf, senders, body, .. } = scale;
        let bodies = *senders as f64 / body.as_secs_f64();
        let mut text = format!(
            "\nWhat well-behaved clients notice: {requests_a_second} requests a second (create, join, heartbeat, get, leave) and their events,\n\
             {rounds} round(s) of {} s quiet and under each attack, on {processors} processors that service, clients and attackers share.\n\
             {half_open} half-open requests and {deaf} sockets that never read at any time, each followed by another; up to {bodies:.0} bodies a second.\n",
            lasting.as_secs()
        );
        for (kind, section) in &mut self.sections {
            section.write(*kind, &mut text);
        }
        text
    }
}

impl Section {
    fn write(&mut self, kind: Kind, text: &mut String) {
        // Writing to a text cannot fail, here and below.
        let _ = writeln!(text, "\n{}", kind.name());
        let mut line = |words: String| {
            let _ = writeln!(text, "  {words}");
        };

        line(times("requests", &mut self.quiet.times.requests, &mut self.attacked.times.requests));
        line(times("events", &mut self.quiet.times.events, &mut self.attacked.times.events));
        line(format!(
            "CPU of the service   quiet {:.0} %   attacked {:.0} % of one",
            self.quiet.cpu(),
            self.attacked.cpu()
        ));
        for [before, peak, after] in &self.held {
            let [a, b, c] = [before, peak, after].map(|held| held.bytes as f64 / (1024.0 * 1024.0));
            line(format!("memory               before {a:.1} MiB   peak {b:.1} MiB   after {c:.1} MiB"));
            let [a, b, c] = [before, peak, after].map(|held| held.files);
            line(format!("open descriptors     before {a}   peak {b}   after {c}"));
        }
        let count = self.cut.after.len();
        let [median, last] = [50, 100].map(|share| percentile(&mut self.cut.after, share).as_secs_f64());
        line(format!("attackers            {count} cut off, after {median:.2} s (p50), {last:.2} s (longest)"));
        let count = self.cut.left.len();
        let last = percentile(&mut self.cut.left, 100).as_secs_f64();
        line(format!("                     {count} still there at the end of a round, for {last:.2} s (longest)"));
    }
}

fn times(name: &str, quiet: &mut [Duration], attacked: &mut [Duration]) -> String {
    let ms = |durations: &mut [Duration], share| percentile(durations, share).as_secs_f64() * 1000.0;
    let (quiet_late, attacked_late) = (ms(quiet, 99), ms(attacked, 99));
    let ratio = attacked_late / quiet_late;
    let verdict = if ratio <= AIM { "met" } else { "MISSED" };
    format!(
        "{name:<20} quiet p50 {:.2} ms, p99 {quiet_late:.2} ms   attacked p50 {:.2} ms, p99 {attacked_late:.2} ms   \
         {ratio:.2}x (aim ≤ {AIM}x: {verdict})",
        ms(quiet, 50),
        ms(attacked, 50),
    )
}
