//! What messages say: when they were sent, as far as this process is concerned.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// Bytes of a message that says when it was sent.
const STAMP_BYTES: usize = 8;

static BEGAN: OnceLock<Instant> = OnceLock::new();

/// A message of so many bytes that is sent now.
pub(crate) fn stamped(bytes: usize) -> Bytes {
    let mut payload = nanoseconds(Instant::now()).to_be_bytes().to_vec();
    payload.resize(bytes.max(STAMP_BYTES), 0);
    payload.into()
}

/// How long such a message was under way.
pub(crate) fn age(payload: &[u8]) -> Option<Duration> {
    let stamp = payload.first_chunk::<STAMP_BYTES>()?;
    Some(Duration::from_nanos(nanoseconds(Instant::now()).saturating_sub(u64::from_be_bytes(*stamp))))
}

fn nanoseconds(at: Instant) -> u64 {
    let since = at.saturating_duration_since(*BEGAN.get_or_init(Instant::now));
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_when_it_was_sent() {
        let payload = stamped(100);
        std::hint::black_box(&payload);
        assert_eq!(payload.len(), 100);
        assert!(age(&payload).unwrap() < Duration::from_secs(5));
        assert_eq!(age(b"short"), None);
    }
}
