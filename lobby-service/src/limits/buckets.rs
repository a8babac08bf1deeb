//! Buckets of one rate, by whom they are of: bounded in number, without a lock that all requests share.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::id::{LobbyId, PlayerId};

use super::rate::{Bucket, Rate, Standing};
use crate::auth::api_key::ApiKeyId;

/// Buckets that are kept, in all shards: 6 MB, if all are in use.
pub(crate) const BUCKETS_MAX: usize = 65_536;
/// Parts with a lock each.
const SHARDS: usize = 64;

/// Whose bucket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// Everybody's.
    Everybody,
    /// A client's address, see [`Subject::address`].
    Address(IpAddr),
    /// A player.
    Player(PlayerId),
    /// A game server, by the id of its API key.
    ApiKey(ApiKeyId),
    /// A player's seat in a lobby.
    Seat(LobbyId, PlayerId),
}

impl Subject {
    /// Whether it is a game server.
    pub(super) const fn is_key(self) -> bool {
        matches!(self, Self::ApiKey(_))
    }

    /// Who is behind an address: with IPv6 the network of 64 bits, all of which one customer has.
    pub(crate) fn address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// The buckets of a rate.
#[derive(Debug)]
pub(crate) struct Buckets {
    rate: Rate,
    shard_max: usize,
    shards: Vec<Mutex<Shard>>,
    /// Of all who come when there is no room: they share it.
    crowd: Mutex<Bucket>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Shard {
    buckets: HashMap<Subject, Bucket>,
    /// No bucket here is full before.
    first_full: Bucket,
}

impl Buckets {
    /// None yet; at most so many.
    pub(crate) fn new(rate: Rate, buckets_max: usize) -> Self {
        let shards = SHARDS.min(buckets_max);
        Self {
            rate,
            shard_max: buckets_max / shards,
            shards: std::iter::repeat_with(Mutex::default).take(shards).collect(),
            crowd: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    /// Takes one of whoever it is, if there is one.
    pub(crate) fn take(&self, subject: Subject, now: Duration) -> Standing {
        self.with(subject, now, |bucket| self.rate.take(bucket, now))
    }

    /// How full a bucket is.
    pub(crate) fn look(&self, subject: Subject, now: Duration) -> Standing {
        self.with(subject, now, |bucket| self.rate.look(*bucket, now))
    }

    /// Takes one, there or not.
    pub(crate) fn charge(&self, subject: Subject, now: Duration) {
        self.with(subject, now, |bucket| self.rate.charge(bucket, 1, now));
    }

    /// Takes one, there or not. If it was the last, nothing is given for a whole burst's time.
    pub(crate) fn charge_or_bar(&self, subject: Subject, now: Duration) {
        self.with(subject, now, |bucket| {
            self.rate.charge(bucket, 1, now);
            if self.rate.look(*bucket, now).remaining == 0 {
                self.rate.charge(bucket, self.rate.burst() - 1, now);
            }
        });
    }

    fn with<T>(&self, subject: Subject, now: Duration, change: impl FnOnce(&mut Bucket) -> T) -> T {
        let index = self.hasher.hash_one(subject) as usize % self.shards.len();
        let mut shard = lock(&self.shards[index]);
        if let Some(bucket) = shard.buckets.get_mut(&subject) {
            return change(bucket);
        }
        if shard.buckets.len() >= self.shard_max && !shard.forget_full(now) {
            drop(shard);
            return change(&mut lock(&self.crowd));
        }
        let mut bucket = Bucket::default();
        let changed = change(&mut bucket);
        if bucket != Bucket::default() {
            shard.first_full = shard.first_full.min(bucket);
            shard.buckets.insert(subject, bucket);
        }
        changed
    }
}

impl Shard {
    /// Forgets buckets that are as good as new; false if there is none. Does not look where it would find none.
    fn forget_full(&mut self, now: Duration) -> bool {
        if !self.first_full.is_full(now) {
            return false;
        }
        let before = self.buckets.len();
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
        self.first_full = self.buckets.values().min().copied().unwrap_or_default();
        self.buckets.len() < before
    }
}

/// No code panics while it holds one, and a bucket is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn player(number: u32) -> Subject {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        Subject::Player(PlayerId::from_bytes(bytes))
    }

    fn kept(buckets: &Buckets) -> usize {
        buckets.shards.iter().map(|shard| lock(shard).buckets.len()).sum()
    }

    fn allowed(buckets: &Buckets, subject: Subject, now_s: u64) -> bool {
        buckets.take(subject, Duration::from_secs(now_s)).wait.is_zero()
    }

    #[test]
    fn each_has_a_bucket_of_its_own() {
        let buckets = Buckets::new("1/10s".parse().unwrap(), BUCKETS_MAX);
        assert!(allowed(&buckets, player(1), 1) && allowed(&buckets, player(2), 1));
        assert!(!allowed(&buckets, player(1), 1) && !allowed(&buckets, player(2), 10));
        assert!(allowed(&buckets, player(1), 11));
    }

    #[test]
    fn newcomers_share_one_bucket_when_there_is_no_room_and_the_idle_are_forgotten() {
        const MAX: usize = 640;
        let buckets = Buckets::new("1/10s".parse().unwrap(), MAX);
        let first: Vec<_> = (0..100_000).filter(|&number| allowed(&buckets, player(number), 1)).collect();
        assert!(kept(&buckets) <= MAX, "bounded");
        assert_eq!(first.len(), kept(&buckets) + 1, "one of the crowd, and all that have their own");
        let known = player(first[0]);
        assert!(!allowed(&buckets, known, 5) && !allowed(&buckets, player(200_000), 5));
        assert!(allowed(&buckets, known, 11), "who is known keeps its own");
        assert!(
            allowed(&buckets, player(200_001), 12) && allowed(&buckets, player(200_001), 22),
            "there is room again"
        );
        assert!(kept(&buckets) < MAX);
    }

    #[test]
    fn who_only_looks_takes_no_room() {
        let buckets = Buckets::new("1/10s".parse().unwrap(), 64);
        assert!((0..1000).all(|number| buckets.look(player(number), Duration::ZERO).wait.is_zero()));
        assert_eq!(kept(&buckets), 0);
    }

    #[test]
    fn the_last_failure_bars_for_the_whole_time() {
        let buckets = Buckets::new("5/600s".parse().unwrap(), 64);
        let seat = Subject::Seat(LobbyId::from_bytes([1; 16]), PlayerId::from_bytes([1; 16]));
        let wait = |now_s| buckets.look(seat, Duration::from_secs(now_s)).wait;
        for _ in 0..4 {
            buckets.charge_or_bar(seat, Duration::from_secs(1));
            assert!(wait(1).is_zero());
        }
        buckets.charge_or_bar(seat, Duration::from_secs(1));
        assert_eq!(wait(1), Duration::from_secs(600));
        assert!(!wait(600).is_zero() && wait(601).is_zero());
        buckets.charge_or_bar(seat, Duration::from_secs(601));
        assert_eq!(wait(601), Duration::from_secs(600), "and one more bars again");
    }

    #[test]
    fn an_ipv6_customer_is_one_network_and_a_mapped_address_is_the_ipv4_one() {
        let of = |text: &str| Subject::address(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
