//! The CPU time of a piece of work.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::Failure;

/// How long everything is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// How often each work has its turn.
    pub(crate) rounds: usize,
    /// CPU time of a turn, about; once, if it is none.
    pub(crate) batch: Duration,
}

/// What one turn showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    /// Microseconds of CPU time that the work takes once.
    pub(crate) us: f64,
    /// Bytes of what came out.
    pub(crate) bytes: usize,
}

/// Does the work again and again, for the time of a batch.
pub(crate) fn batch(mut work: impl FnMut() -> Result<usize, Failure>, scale: &Scale) -> Result<Batch, Failure> {
    // The first time tells how often, and fills the caches.
    let before = cpu();
    let bytes = work()?;
    let once = (cpu() - before).max(Duration::from_nanos(1));
    let times = (scale.batch.as_nanos() / once.as_nanos()).clamp(1, 1_000_000);
    let before = cpu();
    for _ in 0..times {
        black_box(work()?);
    }
    let us = (cpu() - before).as_secs_f64() * 1e6 / times as f64;
    Ok(Batch { us, bytes })
}

/// What this thread has used so far.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_work_takes_more_time() {
        let mut number = 1_u64;
        let mut work = |steps: u32| {
            for _ in 0..steps {
                number = black_box(number.wrapping_mul(31) + 7);
            }
            Ok(3)
        };
        let scale = Scale { rounds: 1, batch: Duration::from_millis(5) };
        let (few, many) = (batch(|| work(1000), &scale).unwrap(), batch(|| work(100_000), &scale).unwrap());
        assert!(few.us > 0.0 && many.us > 20.0 * few.us && few.bytes == 3, "{few:?}, {many:?}");
    }
}
