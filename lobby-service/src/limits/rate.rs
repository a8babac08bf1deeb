//! A rate, as an operator writes it, and the decision whether one more is within it.
//!
//! The decision is the generic cell rate algorithm: a bucket holds `burst` and fills by `count` in each `period`. All that is kept
//! of a bucket is when it will be full again, so that one that nobody used for a while is the same as one that was never used.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A bucket that takes longer than this to fill limits nothing that anybody would wait for.
const FILL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
const COUNT_MAX: u32 = 1_000_000;

/// So many in so long; after a pause, so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    period_s: u32,
    burst: u32,
}

/// Why a text is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// It reads like none.
    #[error("a rate is COUNT/SECONDS, COUNT/SECONDS,burst=N or off: 2/6s is two in six seconds")]
    Malformed,
    /// A number is zero, or too large.
    #[error("a rate counts from 1 to 1000000, and its burst takes at most a week to fill again")]
    OutOfRange,
}

/// A bucket: when it will be full again, in nanoseconds since the limits began to count. Before that time something is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bucket(u64);

/// How full a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// What a full one holds.
    pub(crate) limit: u32,
    /// What it holds.
    pub(crate) remaining: u32,
    /// Until it is full again.
    pub(crate) full_in: Duration,
    /// Until it holds one; zero if it does. After a refusal this is the time to wait.
    pub(crate) wait: Duration,
}

impl Rate {
    /// So many in so many seconds, and so many at once.
    ///
    /// # Errors
    /// [`RateError::OutOfRange`].
    pub const fn new(count: u32, period_s: u32, burst: u32) -> Result<Self, RateError> {
        if count == 0 || count > COUNT_MAX || period_s == 0 || burst == 0 {
            return Err(RateError::OutOfRange);
        }
        if burst as u64 * period_s as u64 > FILL_MAX.as_secs() * count as u64 {
            return Err(RateError::OutOfRange);
        }
        Ok(Self { count, period_s, burst })
    }

    /// The same so many times over.
    #[must_use]
    pub const fn times(self, factor: u32) -> Self {
        Self { count: self.count.saturating_mul(factor), burst: self.burst.saturating_mul(factor), ..self }
    }

    /// What a full bucket holds.
    #[must_use]
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// In a second, in the long run.
    #[must_use]
    pub fn per_second(self) -> f64 {
        f64::from(self.count) / f64::from(self.period_s)
    }

    /// As `RateLimit-Policy` writes it.
    pub(super) fn policy(self, name: &str) -> String {
        format!("{};w={};burst={};name=\"{name}\"", self.count, self.period_s, self.burst)
    }

    /// Time in which one is filled in.
    const fn interval_ns(self) -> u64 {
        // At least one, so that nothing is divided by zero however large the factor was.
        let interval = self.period_s as u64 * 1_000_000_000 / self.count as u64;
        if interval == 0 { 1 } else { interval }
    }

    /// How full a bucket of this rate is.
    pub(crate) const fn look(self, bucket: Bucket, now: Duration) -> Standing {
        let (interval, missing) = (self.interval_ns(), bucket.0.saturating_sub(nanoseconds(now)));
        let depth = interval * self.burst as u64;
        Standing {
            limit: self.burst,
            remaining: (depth.saturating_sub(missing) / interval) as u32,
            full_in: Duration::from_nanos(missing),
            wait: Duration::from_nanos((missing + interval).saturating_sub(depth)),
        }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(self, bucket: &mut Bucket, now: Duration) -> Standing {
        let before = self.look(*bucket, now);
        if !before.wait.is_zero() {
            return before;
        }
        self.charge(bucket, 1, now);
        Standing { wait: Duration::ZERO, ..self.look(*bucket, now) }
    }

    /// Takes so many, whether they are there or not: what is taken too much is paid back by waiting.
    pub(crate) fn charge(self, bucket: &mut Bucket, count: u32, now: Duration) {
        let base = bucket.0.max(nanoseconds(now));
        bucket.0 = base.saturating_add(self.interval_ns().saturating_mul(count.into()));
    }
}

impl Bucket {
    /// Whether it is as good as one that was never used.
    pub(crate) const fn is_full(self, now: Duration) -> bool {
        self.0 <= nanoseconds(now)
    }
}

const fn nanoseconds(now: Duration) -> u64 {
    // For 584 years.
    now.as_nanos() as u64
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let number = |text: &str| text.parse::<u32>().map_err(|_| RateError::Malformed);
        let (rate, burst) = match text.split_once(",burst=") {
            Some((rate, burst)) => (rate, Some(number(burst)?)),
            None => (text, None),
        };
        let (count, period) = rate.split_once('/').ok_or(RateError::Malformed)?;
        let (count, period_s) = (number(count)?, number(period.strip_suffix('s').unwrap_or(period))?);
        Self::new(count, period_s, burst.unwrap_or(count))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}s", self.count, self.period_s)?;
        if self.burst == self.count { Ok(()) } else { write!(f, ",burst={}", self.burst) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_rate_is_read_as_it_is_written() {
        for text in ["2/6s", "50/1s,burst=100", "1/3600s", "1000000/1s"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("2/6".parse::<Rate>(), "2/6s,burst=2".parse());
        for text in ["", "2", "2/", "/6", "a/6", "2/6m", "2/6s,burst", "2/6s,burst=", "-1/6", "2/6s,burst=1,burst=2"] {
            assert_eq!(text.parse::<Rate>(), Err(RateError::Malformed), "{text}");
        }
        for text in ["0/6", "2/0", "2/6,burst=0", "1000001/1", "1/1s,burst=604801", "1/604801"] {
            assert_eq!(text.parse::<Rate>(), Err(RateError::OutOfRange), "{text}");
        }
    }

    #[test]
    fn a_burst_is_free_and_then_one_is_filled_in_after_the_other() {
        let rate: Rate = "2/6s".parse().unwrap();
        let mut bucket = Bucket::default();
        assert_eq!(rate.take(&mut bucket, at(0)).remaining, 1);
        let empty = rate.take(&mut bucket, at(0));
        assert_eq!((empty.remaining, empty.full_in, empty.wait), (0, at(6000), Duration::ZERO));
        assert_eq!(rate.take(&mut bucket, at(1000)).wait, at(2000));
        assert_eq!(rate.take(&mut bucket, at(2999)).wait, at(1), "a refusal costs nothing");
        assert_eq!(rate.take(&mut bucket, at(3000)).wait, Duration::ZERO);
        assert_eq!(rate.take(&mut bucket, at(3000)).wait, at(3000));
        assert!(!bucket.is_full(at(8999)) && bucket.is_full(at(9000)));
        assert_eq!(rate.look(bucket, at(100_000)).remaining, 2, "and no more than the burst gathers");
    }

    #[test]
    fn what_is_charged_too_much_is_paid_back() {
        let rate: Rate = "10/1s".parse().unwrap();
        let mut bucket = Bucket::default();
        rate.charge(&mut bucket, 30, at(0));
        assert_eq!(rate.look(bucket, at(0)).remaining, 0);
        assert_eq!(rate.look(bucket, at(0)).wait, at(2100));
        assert_eq!(rate.take(&mut bucket, at(2100)).wait, Duration::ZERO);
    }

    /// Whatever comes when: within any time at most the burst and what is filled in meanwhile.
    #[test]
    fn no_pattern_of_requests_gets_more_than_the_rate() {
        for seed in 0..200_u64 {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut random = |bound: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % bound
            };
            let rate = Rate::new(random(20) as u32 + 1, random(5) as u32 + 1, random(30) as u32 + 1).unwrap();
            let (mut bucket, mut now, mut granted) = (Bucket::default(), at(0), Vec::new());
            for _ in 0..500 {
                now += Duration::from_micros(random(400_000));
                let standing = rate.take(&mut bucket, now);
                if standing.wait.is_zero() {
                    granted.push(now);
                } else {
                    assert_eq!(rate.take(&mut bucket.clone(), now + standing.wait).wait, Duration::ZERO, "as told");
                }
            }
            for (first, from) in granted.iter().enumerate().step_by(7) {
                for (last, to) in granted.iter().enumerate().skip(first) {
                    let allowed = f64::from(rate.burst) + (*to - *from).as_secs_f64() * rate.per_second() + 1e-6;
                    assert!((last - first + 1) as f64 <= allowed + 1.0 - 1e-9, "seed {seed}: {rate}");
                }
            }
        }
    }

    #[test]
    fn the_largest_rate_overflows_nothing() {
        let rate = Rate::new(COUNT_MAX, 1, u32::MAX).unwrap().times(100);
        let mut bucket = Bucket::default();
        assert!(rate.take(&mut bucket, Duration::from_secs(1 << 32)).wait.is_zero());
        let slow = Rate::new(1, 604_800, 1).unwrap();
        slow.charge(&mut bucket, u32::MAX, Duration::from_secs(1 << 32));
        assert!(!slow.look(bucket, Duration::from_secs(1 << 33)).wait.is_zero());
    }
}
