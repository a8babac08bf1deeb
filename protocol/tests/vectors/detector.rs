//! What a detector says of arrivals of all sorts.

use std::time::Duration;

use fastrand::Rng;
use protocol::detector::Detector;
use serde_json::{Value, json};

use crate::shapes::{ms, start};

pub(crate) fn cases() -> Vec<Value> {
    (0..6).map(transcript).collect()
}

/// Each step: something came, or the process paused, or nothing; and what is tolerated then.
fn transcript(seed: u64) -> Value {
    let mut random = Rng::with_seed(seed);
    let (start, mut detector) = (start(), Detector::default());
    let mut now = Duration::ZERO;
    let mut steps = Vec::new();
    for _ in 0..180 {
        // Microseconds: a float of milliseconds holds them well enough to tell each nanosecond.
        now += Duration::from_micros(match (seed % 3, random.u8(..20)) {
            (0, 1..) => 100_000 + random.u64(..2_000),
            (1, 2..) => random.u64(..160_000),
            (2, 1..) => 16_000 + random.u64(..10_000),
            (_, 0) => random.u64(..4_000_000),
            _ => 0,
        });
        let what = match random.u8(..40) {
            0 => "paused",
            1..4 => "nothing",
            4 => "late",
            _ => "heard",
        };
        let at = if what == "late" { now.saturating_sub(Duration::from_millis(90)) } else { now };
        match what {
            "paused" => detector.paused(start + at),
            "heard" | "late" => detector.heard(start + at),
            _ => {}
        }
        steps.push(json!({
            "what": what, "now": ms(at), "threshold": ms(detector.threshold()),
            "silentAt": detector.silent_at().map(|at| ms(at - start)), "isSilent": detector.is_silent(start + now + Duration::from_millis(450)),
            "asked": ms(now + Duration::from_millis(450)),
        }));
    }
    json!({ "seed": seed, "steps": steps })
}
