//! How many signatures are verified: each takes far longer than forwarding a datagram, and one task does both.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

/// Tokens verified in a second: at 100 µs each a fifth of a core.
const PROOFS_PER_SECOND: f64 = 2_000.0;
/// Tokens verified at once after a pause: the largest lobby, whose members all come back, twice.
const PROOFS_BURST: f64 = 2_000.0;
/// Tokens of one network verified in a second.
const SOURCE_PROOFS_PER_SECOND: f64 = 200.0;
/// Tokens of one network verified at once after a pause: the largest lobby, played behind one address.
const SOURCE_PROOFS_BURST: f64 = 1_000.0;
/// Networks that are told apart. Past it those that have not asked for long enough are forgotten, and new ones wait.
const SOURCES_MAX: usize = 4_096;

/// Tokens to verify that may still be taken.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    filled_at: Instant,
}

impl Bucket {
    fn fill(&mut self, per_second: f64, burst: f64, now: Instant) {
        let gained = now.saturating_duration_since(self.filled_at).as_secs_f64() * per_second;
        *self = Self { left: (self.left + gained).min(burst), filled_at: now };
    }
}

/// The buckets of all networks, and one for all together.
#[derive(Debug)]
pub(crate) struct Proofs {
    all: Bucket,
    sources: BTreeMap<IpAddr, Bucket>,
}

impl Proofs {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { all: Bucket { left: PROOFS_BURST, filled_at: now }, sources: BTreeMap::new() }
    }

    /// Whether a token from this address is to be verified now.
    pub(crate) fn admit(&mut self, source: IpAddr, now: Instant) -> bool {
        let source = network(source);
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.forget_idle(now);
            if self.sources.len() >= SOURCES_MAX {
                return false;
            }
        }
        let fresh = Bucket { left: SOURCE_PROOFS_BURST, filled_at: now };
        let bucket = self.sources.entry(source).or_insert(fresh);
        bucket.fill(SOURCE_PROOFS_PER_SECOND, SOURCE_PROOFS_BURST, now);
        self.all.fill(PROOFS_PER_SECOND, PROOFS_BURST, now);
        if bucket.left < 1.0 || self.all.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        self.all.left -= 1.0;
        true
    }

    /// A network whose bucket is full is as one that was never here.
    fn forget_idle(&mut self, now: Instant) {
        self.sources.retain(|_, bucket| {
            bucket.fill(SOURCE_PROOFS_PER_SECOND, SOURCE_PROOFS_BURST, now);
            bucket.left < SOURCE_PROOFS_BURST
        });
    }
}

/// One IPv6 customer has at least 2^64 addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn admitted(proofs: &mut Proofs, source: IpAddr, times: usize, now: Instant) -> usize {
        (0..times).filter(|_| proofs.admit(source, now)).count()
    }

    #[test]
    fn one_network_cannot_take_the_time_of_the_others() {
        let now = Instant::now();
        let mut proofs = Proofs::new(now);
        assert_eq!(admitted(&mut proofs, address(1), 5_000, now), SOURCE_PROOFS_BURST as usize);
        assert_eq!(admitted(&mut proofs, address(2), 5, now), 5);
        let second_later = now + Duration::from_secs(1);
        assert_eq!(admitted(&mut proofs, address(1), 5_000, second_later), SOURCE_PROOFS_PER_SECOND as usize);
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::ffff:1".parse().unwrap();
        assert_eq!(network(one), network(neighbour));
    }

    #[test]
    fn many_networks_together_take_no_more_than_the_relay_can_spare() {
        let now = Instant::now();
        let mut proofs = Proofs::new(now);
        let all: usize = (0..10).map(|source| admitted(&mut proofs, address(source), 1_000, now)).sum();
        assert_eq!(all, PROOFS_BURST as usize);
        for source in 0..2 * SOURCES_MAX as u32 {
            proofs.admit(address(source), now);
        }
        assert!(proofs.sources.len() <= SOURCES_MAX);
        let later = now + Duration::from_secs(60);
        assert!(proofs.admit(address(u32::MAX), later), "those who were idle are forgotten");
    }
}
