//! How long one peer may be silent before it is worth a word: as long as its link has shown that silence is nothing new.
//!
//! The threshold is the mean interval of what comes, four times its mean deviation, and a margin
//! ([`limits::SUSPICION_MARGIN`]), within [`limits::SUSPICION_MIN`] and [`limits::SUSPICION_MAX`]; the gains are those of RFC 6298
//! (an eighth for the mean, a quarter for the deviation), with two differences that heartbeats ask for:
//!
//! - The deviation falls much more slowly than it rises. A link that loses one heartbeat in twenty is regular for two seconds and
//!   more between two losses; with a quarter both ways it would have forgotten each loss when the next two come in a row.
//! - What comes sooner than half a heartbeat after what counted last is heard, but no interval: a game that sends sixty times a
//!   second says nothing about how late a heartbeat may be, and datagrams that arrive in one clump are not a dozen quick ones.

use std::time::{Duration, Instant};

use crate::limits;

/// Less than this after what counted last, an arrival does not end an interval.
const INTERVAL_MIN: Duration = limits::HEARTBEAT.checked_div(2).expect("two is not zero");
/// Of what is new in an interval, the mean takes one part in this many.
const MEAN_GAIN: u32 = 8;
/// The same for the deviation, where it grows.
const RISE_GAIN: u32 = 4;
/// The same where it shrinks: 256 heartbeats are 26 seconds.
const FALL_GAIN: u32 = 256;
/// Deviations above the mean that are no silence yet.
const DEVIATIONS: u32 = 4;
/// The deviation of a link that nothing is known of: its threshold is 400 ms, so that two heartbeats in a row may be lost.
const DEVIATION_AT_FIRST: Duration = Duration::from_millis(25);

/// Tells when one link has been silent for too long. It knows nothing of the others, and has no clock.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use protocol::detector::Detector;
/// use protocol::limits;
///
/// let (start, mut detector) = (Instant::now(), Detector::default());
/// assert_eq!(detector.silent_at(), None, "nothing was ever heard");
/// let heard_at = (0..600).map(|beat| start + beat * limits::HEARTBEAT).inspect(|now| detector.heard(*now)).last();
/// let silence = detector.silent_at().unwrap() - heard_at.unwrap();
/// assert!(silence >= limits::SUSPICION_MIN && silence < Duration::from_millis(320));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detector {
    heard: Option<Heard>,
    mean: Duration,
    deviation: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heard {
    at: Instant,
    /// When an interval ended last.
    counted_at: Instant,
}

impl Default for Detector {
    fn default() -> Self {
        Self { heard: None, mean: limits::HEARTBEAT, deviation: DEVIATION_AT_FIRST }
    }
}

impl Detector {
    /// Something came on the link, whatever it was. A time before the last one changes nothing.
    pub fn heard(&mut self, now: Instant) {
        let Some(Heard { at, counted_at }) = self.heard else {
            self.heard = Some(Heard { at: now, counted_at: now });
            return;
        };
        let interval = now.saturating_duration_since(counted_at);
        let counts = interval >= INTERVAL_MIN;
        if counts {
            // An outage is not the link's habit: much more than is tolerated teaches no more.
            self.learn(interval.min(2 * self.threshold()));
        }
        self.heard = Some(Heard { at: at.max(now), counted_at: if counts { now } else { counted_at } });
    }

    /// This process has not run for a while, and so has heard nobody: the peer gets its time anew, and the pause is no interval.
    ///
    /// To be called by whoever notices it (a timer that fires far too late), before [`Self::is_silent`] is asked, for each link; the
    /// pause is forgiven to a peer that is gone as well, which is then noticed one threshold later.
    pub fn paused(&mut self, now: Instant) {
        if let Some(heard) = &mut self.heard {
            *heard = Heard { at: heard.at.max(now), counted_at: heard.counted_at.max(now) };
        }
    }

    /// When the peer is silent if nothing comes until then; `None`: nothing ever came.
    #[must_use]
    pub fn silent_at(&self) -> Option<Instant> {
        Some(self.heard?.at + self.threshold())
    }

    /// Whether nothing came for longer than this link is ever silent. False if nothing ever came.
    #[must_use]
    pub fn is_silent(&self, now: Instant) -> bool {
        self.silent_at().is_some_and(|at| at <= now)
    }

    /// The silence that is tolerated now: [`limits::SUSPICION_MIN`] to [`limits::SUSPICION_MAX`].
    #[must_use]
    pub fn threshold(&self) -> Duration {
        let expected = self.mean + DEVIATIONS * self.deviation + limits::SUSPICION_MARGIN;
        expected.clamp(limits::SUSPICION_MIN, limits::SUSPICION_MAX)
    }

    fn learn(&mut self, interval: Duration) {
        let error = interval.abs_diff(self.mean);
        self.deviation = if error > self.deviation {
            self.deviation + (error - self.deviation) / RISE_GAIN
        } else {
            self.deviation - (self.deviation - error) / FALL_GAIN
        };
        self.mean = self.mean - self.mean / MEAN_GAIN + interval / MEAN_GAIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::start;

    const MS: Duration = Duration::from_millis(1);
    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);

    /// What a link does to what is sent every `every`.
    #[derive(Clone, Copy)]
    struct Path {
        every: Duration,
        loss: f64,
        jitter: Duration,
    }

    const REGULAR: Path = Path { every: limits::HEARTBEAT, loss: 0.0, jitter: Duration::ZERO };

    impl Path {
        /// When datagrams of that time arrive, since the start, in order.
        fn arrivals(self, time: Duration, random: &mut fastrand::Rng) -> Vec<Duration> {
            let count = u32::try_from(time.as_nanos() / self.every.as_nanos()).unwrap();
            let mut arrivals: Vec<_> = (0..count)
                .filter_map(|number| {
                    let (lost, late) = (random.f64() < self.loss, self.jitter.mul_f64(random.f64()));
                    (!lost).then_some(number * self.every + late)
                })
                .collect();
            arrivals.sort_unstable();
            arrivals
        }
    }

    /// How often the peer was silent although it sent.
    fn false_suspicions(detector: &mut Detector, arrivals: &[Duration]) -> usize {
        let start = start();
        let suspected = |detector: &mut Detector, at: Duration| {
            let silent = detector.is_silent(start + at);
            detector.heard(start + at);
            silent
        };
        arrivals.iter().filter(|at| suspected(detector, **at)).count()
    }

    fn settled(path: Path, seed: u64) -> Detector {
        let mut detector = Detector::default();
        false_suspicions(&mut detector, &path.arrivals(MINUTE, &mut fastrand::Rng::with_seed(seed)));
        detector
    }

    /// The silences that are noticed, each 100 ms from the first arrival on.
    fn thresholds(path: Path, time: Duration) -> Vec<Duration> {
        let (start, mut detector) = (start(), Detector::default());
        let thresholds = path.arrivals(time, &mut fastrand::Rng::with_seed(1)).into_iter().map(|at| {
            detector.heard(start + at);
            detector.silent_at().unwrap() - (start + at)
        });
        thresholds.collect()
    }

    #[test]
    fn a_peer_on_a_regular_link_is_silent_after_300_to_400_ms_from_its_first_heartbeat_on() {
        let thresholds = thresholds(REGULAR, MINUTE);
        assert!(thresholds.iter().all(|silence| (300 * MS..=400 * MS).contains(silence)), "{thresholds:?}");
        assert!(*thresholds.last().unwrap() < 310 * MS);
    }

    #[test]
    fn who_was_never_heard_is_not_silent() {
        let detector = Detector::default();
        assert_eq!((detector.silent_at(), detector.is_silent(start() + HOUR)), (None, false));
    }

    #[test]
    fn silence_begins_at_the_threshold_and_ends_with_the_next_arrival() {
        let mut detector = settled(REGULAR, 1);
        let silent_at = detector.silent_at().unwrap();
        assert!(!detector.is_silent(silent_at - MS));
        assert!(detector.is_silent(silent_at));
        detector.heard(silent_at + MS);
        assert!(!detector.is_silent(silent_at + 2 * MS));
        detector.heard(silent_at - 100 * MS);
        assert_eq!(detector.silent_at().unwrap(), silent_at + MS + detector.threshold(), "the newest arrival counts");
    }

    #[test]
    fn an_hour_of_5_percent_loss_and_50_ms_jitter_suspects_nobody() {
        let path = Path { loss: 0.05, jitter: 50 * MS, ..REGULAR };
        for seed in 0..24 {
            let arrivals = path.arrivals(HOUR, &mut fastrand::Rng::with_seed(seed));
            let mut detector = Detector::default();
            assert_eq!(false_suspicions(&mut detector, &arrivals), 0, "seed {seed}");
            assert!(detector.threshold() < Duration::from_secs(1), "and would notice one within a second");
        }
    }

    #[test]
    fn jitter_and_a_little_loss_alone_suspect_nobody_and_cost_little() {
        for (loss, jitter, most) in [(0.0, 50 * MS, 500 * MS), (0.01, 50 * MS, 900 * MS), (0.0, 100 * MS, 700 * MS)] {
            let path = Path { loss, jitter, ..REGULAR };
            let mut detector = Detector::default();
            let arrivals = path.arrivals(HOUR, &mut fastrand::Rng::with_seed(7));
            assert_eq!(false_suspicions(&mut detector, &arrivals), 0, "loss {loss}, jitter {jitter:?}");
            assert!(detector.threshold() < most, "{:?}", detector.threshold());
        }
    }

    #[test]
    fn a_link_that_delivers_in_clumps_is_suspected_once_and_then_known() {
        let clumps: Vec<_> = (1..600).flat_map(|clump| [clump * 500 * MS; 5]).collect();
        let mut detector = Detector::default();
        assert_eq!(false_suspicions(&mut detector, &clumps), 1);
        assert!(detector.threshold() < Duration::from_secs(1), "{:?}", detector.threshold());
    }

    #[test]
    fn dense_traffic_neither_hides_a_silence_nor_makes_the_heartbeats_after_it_look_late() {
        let dense = Path { every: 16 * MS, loss: 0.05, jitter: 10 * MS };
        let mut detector = settled(dense, 3);
        assert!(detector.threshold() <= 320 * MS, "{:?}", detector.threshold());
        let resumed = start() + MINUTE;
        let beats = (0..600).map(|beat| resumed + beat * limits::HEARTBEAT);
        for at in beats {
            assert!(!detector.is_silent(at));
            detector.heard(at);
        }
    }

    #[test]
    fn heartbeats_that_come_a_little_early_are_intervals_too() {
        let path = Path { jitter: MS, ..REGULAR };
        assert!(settled(path, 5).threshold() < 320 * MS);
    }

    #[test]
    fn a_pause_of_this_process_makes_nobody_silent_and_teaches_nothing() {
        let mut detector = settled(REGULAR, 1);
        let before = detector.threshold();
        let woken = start() + 2 * MINUTE;
        assert!(detector.is_silent(woken));
        detector.paused(woken);
        assert!(!detector.is_silent(woken));
        assert!(detector.is_silent(woken + before), "who stays silent is noticed");
        // What came meanwhile is read now.
        (0..50).for_each(|_| detector.heard(woken));
        detector.heard(woken + limits::HEARTBEAT);
        assert!(detector.threshold() <= before, "{:?}", detector.threshold());
    }

    #[test]
    fn after_an_outage_the_threshold_is_bounded_and_comes_back() {
        let mut detector = settled(REGULAR, 1);
        let back = start() + HOUR;
        let beats: Vec<_> = (0..600).map(|beat| back + beat * limits::HEARTBEAT).collect();
        detector.heard(beats[0]);
        assert!(detector.threshold() <= limits::SUSPICION_MAX && detector.threshold() > 400 * MS);
        beats[1..].iter().for_each(|at| detector.heard(*at));
        assert!(detector.threshold() < 400 * MS, "{:?}", detector.threshold());
    }
}
