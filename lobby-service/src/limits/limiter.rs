//! What is counted.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::address::{client_address, is_forwarded};
use super::buckets::{BUCKETS_MAX, Buckets};
use super::class::Priority;
use super::failures::Failures;
use super::load::{Load, Slot};
use super::rate::Standing;
use super::{Class, Limits, Subject};

/// As the IETF's draft (draft-ietf-httpapi-ratelimit-headers-07) has them, and many clients know them.
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Holds all buckets of an instance of the service.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: Limits,
    origin: Instant,
    load: Load,
    /// In the order of [`Class::ALL`]; `None`: not limited.
    counted: Vec<Option<Counted>>,
    /// The same of API keys.
    counted_keys: Vec<Option<Counted>>,
    has_warned: AtomicBool,
}

/// A class's buckets.
#[derive(Debug)]
struct Counted {
    buckets: Buckets,
    policy: HeaderValue,
}

/// Over a rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused(Place);

/// Where a caller stands, in whose rate.
#[derive(Debug, Clone, Copy)]
struct Place {
    class: Class,
    is_key: bool,
    standing: Standing,
}

/// Of all that a request was counted in, where the least is left.
#[derive(Debug, Default)]
pub(crate) struct Tightest(Option<Place>);

impl Limiter {
    pub(crate) fn new(limits: Limits) -> Self {
        let counted = |class: Class, factor| {
            let rate = limits.rates.of(class)?.times(factor);
            let policy = HeaderValue::from_str(&rate.policy(class.name())).ok()?;
            Some(Counted { buckets: Buckets::new(rate, BUCKETS_MAX), policy })
        };
        Self {
            origin: Instant::now(),
            load: Load::new(limits.requests_max),
            counted: Class::ALL.iter().map(|&class| counted(class, 1)).collect(),
            counted_keys: Class::ALL.iter().map(|&class| counted(class, limits.api_key_factor)).collect(),
            has_warned: AtomicBool::new(false),
            limits,
        }
    }

    /// What the operator has chosen.
    pub(crate) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Room for a request of this class, unless there are too many.
    pub(crate) fn enter(&self, class: Option<Class>) -> Option<Slot> {
        self.load.enter(class.map_or(Priority::Member, Class::priority))
    }

    /// The address that a request comes from.
    pub(crate) fn client_address(&self, parts: &Parts) -> IpAddr {
        let address = client_address(parts, &self.limits.trusted_proxies, self.limits.forwarded_header);
        let is_suspect = self.limits.trusted_proxies.is_empty() && is_forwarded(parts);
        if is_suspect && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a proxy that --trusted-proxies does not name forwards requests: its clients share one rate"
            );
        }
        address
    }

    /// Counts a request in a class.
    pub(crate) fn take(&self, class: Class, subject: Subject, tightest: &mut Tightest) -> Result<(), Refused> {
        self.admit(class, subject, tightest, |buckets| buckets.take(subject, self.now()))
    }

    /// Whether there is one left; it will be charged if it is used.
    pub(crate) fn check(&self, class: Class, subject: Subject, tightest: &mut Tightest) -> Result<(), Refused> {
        self.admit(class, subject, tightest, |buckets| buckets.look(subject, self.now()))
    }

    /// Counts what was only checked.
    pub(crate) fn charge(&self, class: Class, subject: Subject) {
        if let Some(Counted { buckets, .. }) = self.counted(class, subject.is_key()) {
            buckets.charge(subject, self.now());
        }
    }

    /// As [`Self::charge`]; the last one bars the subject for the time of a whole burst.
    pub(super) fn charge_or_bar(&self, class: Class, subject: Subject) {
        if let Some(Counted { buckets, .. }) = self.counted(class, subject.is_key()) {
            buckets.charge_or_bar(subject, self.now());
        }
    }

    fn admit(
        &self,
        class: Class,
        subject: Subject,
        tightest: &mut Tightest,
        ask: impl FnOnce(&Buckets) -> Standing,
    ) -> Result<(), Refused> {
        let is_key = subject.is_key();
        let Some(Counted { buckets, .. }) = self.counted(class, is_key) else { return Ok(()) };
        let place = Place { class, is_key, standing: ask(buckets) };
        tightest.note(place);
        if place.standing.wait.is_zero() { Ok(()) } else { Err(Refused(place)) }
    }

    /// Says where a caller stands.
    pub(crate) fn write(&self, tightest: &Tightest, headers: &mut HeaderMap) {
        let Tightest(Some(Place { class, is_key, standing })) = tightest else { return };
        let Some(counted) = self.counted(*class, *is_key) else { return };
        headers.insert(LIMIT, standing.limit.into());
        headers.insert(REMAINING, standing.remaining.into());
        headers.insert(RESET, seconds(standing.full_in).into());
        headers.insert(POLICY, counted.policy.clone());
    }

    /// Wrong guesses.
    pub(crate) const fn failures(&self) -> Failures<'_> {
        Failures(self)
    }

    fn counted(&self, class: Class, is_key: bool) -> Option<&Counted> {
        let table = if is_key { &self.counted_keys } else { &self.counted };
        table[class as usize].as_ref()
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

impl Refused {
    /// The class whose rate is spent.
    pub(crate) const fn class(self) -> Class {
        self.0.class
    }

    /// Seconds to wait.
    pub(crate) fn retry_after_s(self) -> NonZeroU32 {
        NonZeroU32::new(seconds(self.0.standing.wait)).unwrap_or(NonZeroU32::MIN)
    }
}

impl Tightest {
    fn note(&mut self, place: Place) {
        let is_tighter = self.0.is_none_or(|known| place.standing.remaining < known.standing.remaining);
        if is_tighter || !place.standing.wait.is_zero() {
            self.0 = Some(place);
        }
    }

    /// A refusal is what the caller is told of, whatever else there is.
    pub(crate) fn note_refused(&mut self, Refused(place): Refused) {
        self.note(place);
    }
}

/// Rounded up: who comes back then does not come too early.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use protocol::id::PlayerId;

    use super::*;
    use crate::auth::api_key::ApiKeyId;

    fn key(number: u8) -> ApiKeyId {
        ApiKeyId::from_bytes([number; 8])
    }

    fn granted(limiter: &Limiter, class: Class, subject: Subject) -> usize {
        std::iter::repeat_with(|| limiter.take(class, subject, &mut Tightest::default()))
            .take(1000)
            .take_while(Result::is_ok)
            .count()
    }

    #[test]
    fn an_api_key_has_a_hundred_times_what_a_player_has() {
        let limiter = Limiter::new(Limits::default());
        assert_eq!(granted(&limiter, Class::Create, Subject::Player(PlayerId::from_bytes([1; 16]))), 2);
        assert!(
            (200..250).contains(&granted(&limiter, Class::Create, Subject::ApiKey(key(1)))),
            "and what is filled in"
        );
        let mut headers = HeaderMap::new();
        let mut tightest = Tightest::default();
        limiter.check(Class::Create, Subject::ApiKey(key(2)), &mut tightest).unwrap();
        limiter.write(&tightest, &mut headers);
        assert_eq!(
            (&headers[LIMIT], &headers[POLICY]),
            (&"200".parse().unwrap(), &"200;w=6;burst=200;name=\"create\"".parse().unwrap())
        );
    }

    #[test]
    fn the_headers_tell_of_where_the_least_is_left_and_of_a_refusal_before_all() {
        let limiter = Limiter::new(Limits::default());
        let (player, mut tightest) = (Subject::Player(PlayerId::from_bytes([1; 16])), Tightest::default());
        let name = |tightest: &Tightest| tightest.0.map(|place| place.class);
        limiter.take(Class::Address, Subject::Everybody, &mut tightest).unwrap();
        assert_eq!(name(&tightest), Some(Class::Address));
        limiter.take(Class::Create, player, &mut tightest).unwrap();
        assert_eq!(name(&tightest), Some(Class::Create));
        limiter.take(Class::Get, player, &mut tightest).unwrap();
        assert_eq!(name(&tightest), Some(Class::Create));
        limiter.take(Class::Create, player, &mut tightest).unwrap();
        while let Ok(()) = limiter.take(Class::Join, player, &mut tightest) {}
        assert_eq!(name(&tightest), Some(Class::Join));
    }

    #[test]
    fn what_is_off_is_neither_counted_nor_told() {
        let limiter = Limiter::new(Limits::off());
        let mut tightest = Tightest::default();
        assert!((0..1000).all(|_| limiter.take(Class::Create, Subject::Everybody, &mut tightest).is_ok()));
        let mut headers = HeaderMap::new();
        limiter.write(&tightest, &mut headers);
        assert!(headers.is_empty());
    }
}
