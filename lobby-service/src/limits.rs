//! How much anybody may ask for: rates by player, address and class of request; wrong join codes; lobbies a player may have; how
//! many requests are handled at a time.
//!
//! Decisions are functions of the time that they are given (`rate`, `buckets`). `limiter` holds what is counted; the middleware in
//! `http/limited.rs` asks it in an order in which what is cheap comes first: requests in flight, the address, the signature of the
//! token, the player. Every answer says where the caller stands (`RateLimit-*`). Each instance of the service counts for itself.

mod address;
mod buckets;
mod class;
mod failures;
mod flags;
mod limiter;
mod load;
mod quota;
mod rate;

use std::time::Duration;

pub use address::{ForwardedHeader, Network};
pub(crate) use buckets::Subject;
pub use class::Class;
pub use flags::Flags;
pub(crate) use limiter::{Limiter, Refused, Tightest};
pub use quota::{Quota, QuotaExceeded};
pub use rate::{Rate, RateError};

/// A rate for each class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rates([Option<Rate>; Class::ALL.len()]);

impl Default for Rates {
    fn default() -> Self {
        Self(std::array::from_fn(|index| Class::ALL.get(index).map(|class| class.default_rate())))
    }
}

impl Rates {
    /// No class is limited.
    pub const OFF: Self = Self([None; Class::ALL.len()]);

    /// The rate of a class; `None`: not limited.
    #[must_use]
    pub const fn of(&self, class: Class) -> Option<Rate> {
        self.0[class as usize]
    }

    /// Changes the rate of a class; `None`: not limited.
    pub const fn set(&mut self, class: Class, rate: Option<Rate>) {
        self.0[class as usize] = rate;
    }
}

/// What an operator limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How often what may be asked for.
    pub rates: Rates,
    /// How many times the rates of players a server's API key has.
    pub api_key_factor: u32,
    /// Proxies whose word about the client's address is taken.
    pub trusted_proxies: Vec<Network>,
    /// The header in which they say it.
    pub forwarded_header: ForwardedHeader,
    /// Requests that are handled at a time. Zero: any number.
    pub requests_max: usize,
    /// That nothing is there is answered at a multiple of this after the request came. Zero: at once.
    pub not_found_grid: Duration,
    /// Lobbies that a player may have.
    pub quota: Quota,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rates: Rates::default(),
            api_key_factor: 100,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            requests_max: 4096,
            not_found_grid: Duration::from_millis(20),
            quota: Quota { hosted_max: 3, joined_max: 5 },
        }
    }
}

impl Limits {
    /// No limit at all.
    #[must_use]
    pub fn off() -> Self {
        Self {
            rates: Rates::OFF,
            requests_max: 0,
            not_found_grid: Duration::ZERO,
            quota: Quota::NONE,
            ..Self::default()
        }
    }
}
