//! Places for connections: so many in total, so many for one address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::limits::ListenerLimits;

/// All places, and who has them.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    /// 0: any number.
    per_address_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    /// Bounded by `total`.
    by_address: BTreeMap<IpAddr, usize>,
}

/// One connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    /// All are free. No more than `available` can be used, whatever the limits say.
    pub(super) fn new(limits: &ListenerLimits, available: usize) -> Arc<Self> {
        let max = limits.connections_max.min(available);
        Arc::new(Self { max, per_address_max: limits.connections_per_address_max, taken: Mutex::default() })
    }

    /// A place for a connection from there, if one is free.
    pub(super) fn take(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let address = counted_as(from);
        let mut taken = self.lock();
        if taken.total >= self.max {
            return None;
        }
        let of_address = taken.by_address.get(&address).copied().unwrap_or_default();
        if self.per_address_max > 0 && of_address >= self.per_address_max {
            return None;
        }
        taken.by_address.insert(address, of_address + 1);
        taken.total += 1;
        Some(Place { places: Arc::clone(self), address })
    }

    /// Nothing in here panics half way, so that a poisoned lock guards a whole state.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.total -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// Whoever has an IPv6 address has the 2^64 of its network.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            [a, b, c, d, 0, 0, 0, 0].into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections_max: usize, connections_per_address_max: usize) -> Arc<Places> {
        let limits = ListenerLimits { connections_max, connections_per_address_max, ..ListenerLimits::default() };
        Places::new(&limits, 100)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let places = places(10, 2);
        let first = places.take(address("10.0.0.1")).unwrap();
        let _second = places.take(address("::ffff:10.0.0.1")).unwrap();
        assert!(places.take(address("10.0.0.1")).is_none());
        assert!(places.take(address("10.0.0.2")).is_some());
        drop(first);
        assert!(places.take(address("10.0.0.1")).is_some());
    }

    #[test]
    fn addresses_of_one_ipv6_network_share() {
        let places = places(10, 1);
        let _first = places.take(address("2001:db8:0:1::1")).unwrap();
        assert!(places.take(address("2001:db8:0:1:ffff::2")).is_none());
        assert!(places.take(address("2001:db8:0:2::1")).is_some());
    }

    #[test]
    fn the_total_is_kept_and_nothing_is_remembered_of_those_who_are_gone() {
        let places = places(1000, 0);
        let all: Vec<_> = (0..=255).map_while(|last| places.take([10, 0, 0, last].into())).collect();
        assert_eq!(all.len(), 100, "what is available");
        drop(all);
        assert!(places.lock().by_address.is_empty());
    }
}
