//! How often something is done for strangers: from each network, and for all of them together.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use protocol::limits;

/// Networks that are told apart. Past it those that have not asked for long enough are forgotten, and new ones wait.
const SOURCES_MAX: usize = 4_096;

/// What may be done in a second, and at once after a pause.
#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: u32,
    burst: u32,
}

/// What may be asked for, and by whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    all: Rate,
    source: Rate,
    /// Bits of an address that name its network.
    ipv4_bits: u32,
    ipv6_bits: u32,
}

/// Signatures: each takes far longer to verify than forwarding a datagram, and one task does both.
pub(crate) const PROOFS: Allowance = Allowance {
    // At 100 µs each a fifth of a core; at once the largest lobby, whose members all come back, twice.
    all: Rate { per_second: 2_000, burst: 2_000 },
    // The largest lobby, played behind one address.
    source: Rate { per_second: 200, burst: 1_000 },
    ipv4_bits: 32,
    // One customer has at least 2^64 addresses.
    ipv6_bits: 64,
};

/// Answers to STUN questions: anybody can ask in the name of another, in whose network the answer arrives.
pub(crate) const STUN: Allowance = Allowance {
    all: Rate { per_second: limits::STUN_ANSWERS_PER_SECOND, burst: limits::STUN_ANSWERS_BURST },
    source: Rate { per_second: limits::STUN_SOURCE_ANSWERS_PER_SECOND, burst: limits::STUN_SOURCE_ANSWERS_BURST },
    ipv4_bits: 24,
    ipv6_bits: 48,
};

/// What may still be done.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    filled_at: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { left: rate.burst.into(), filled_at: now }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let gained = now.saturating_duration_since(self.filled_at).as_secs_f64() * f64::from(rate.per_second);
        *self = Self { left: (self.left + gained).min(rate.burst.into()), filled_at: now };
    }
}

/// The buckets of all networks, and one for all together.
#[derive(Debug)]
pub(crate) struct Rates {
    allowance: Allowance,
    all: Bucket,
    sources: BTreeMap<IpAddr, Bucket>,
}

impl Rates {
    pub(crate) fn new(allowance: Allowance, now: Instant) -> Self {
        Self { allowance, all: Bucket::full(allowance.all, now), sources: BTreeMap::new() }
    }

    /// Whether what is asked from this address is to be done now.
    pub(crate) fn admit(&mut self, source: IpAddr, now: Instant) -> bool {
        let Allowance { all, source: each, .. } = self.allowance;
        // First, so that a flood from made-up networks costs no search among them.
        self.all.fill(all, now);
        if self.all.left < 1.0 {
            return false;
        }
        let source = self.allowance.network(source);
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.forget_idle(now);
            if self.sources.len() >= SOURCES_MAX {
                return false;
            }
        }
        let bucket = self.sources.entry(source).or_insert_with(|| Bucket::full(each, now));
        bucket.fill(each, now);
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        self.all.left -= 1.0;
        true
    }

    /// A network whose bucket is full is as one that was never here.
    fn forget_idle(&mut self, now: Instant) {
        let each = self.allowance.source;
        self.sources.retain(|_, bucket| {
            bucket.fill(each, now);
            bucket.left < each.burst.into()
        });
    }
}

impl Allowance {
    fn network(&self, address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - self.ipv4_bits).unwrap_or_default();
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - self.ipv6_bits).unwrap_or_default();
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn admitted(rates: &mut Rates, source: IpAddr, times: usize, now: Instant) -> u32 {
        (0..times).map(|_| u32::from(rates.admit(source, now))).sum()
    }

    #[test]
    fn one_network_cannot_take_the_time_of_the_others() {
        let now = Instant::now();
        let mut proofs = Rates::new(PROOFS, now);
        assert_eq!(admitted(&mut proofs, address(1), 5_000, now), PROOFS.source.burst);
        assert_eq!(admitted(&mut proofs, address(2), 5, now), 5);
        let second_later = now + Duration::from_secs(1);
        assert_eq!(admitted(&mut proofs, address(1), 5_000, second_later), PROOFS.source.per_second);
    }

    #[test]
    fn many_networks_together_take_no_more_than_the_relay_can_spare() {
        let now = Instant::now();
        let mut proofs = Rates::new(PROOFS, now);
        let all: u32 = (0..10).map(|source| admitted(&mut proofs, address(source), 1_000, now)).sum();
        assert_eq!(all, PROOFS.all.burst);
        let mut later = now;
        for source in 0..2 * SOURCES_MAX as u32 {
            later += Duration::from_micros(500);
            proofs.admit(address(source), later);
        }
        assert!(proofs.sources.len() <= SOURCES_MAX);
        let later = later + Duration::from_secs(60);
        assert!(proofs.admit(address(u32::MAX), later), "those who were idle are forgotten");
    }

    #[test]
    fn a_network_is_what_one_customer_has_or_what_one_victim_is_reached_by() {
        let same = |allowance: Allowance, one: &str, other: &str| {
            allowance.network(one.parse().unwrap()) == allowance.network(other.parse().unwrap())
        };
        assert!(same(PROOFS, "2001:db8::1", "2001:db8::ffff:1"));
        assert!(!same(PROOFS, "192.0.2.1", "192.0.2.2"));
        assert!(same(STUN, "192.0.2.1", "::ffff:192.0.2.255") && !same(STUN, "192.0.2.1", "192.0.3.1"));
        assert!(same(STUN, "2001:db8::1", "2001:db8:0:ffff::1") && !same(STUN, "2001:db8::1", "2001:db8:1::1"));
    }
}
