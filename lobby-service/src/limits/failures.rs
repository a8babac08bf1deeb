//! Wrong guesses: at join codes, passwords and reconnect secrets.
//!
//! What succeeds costs nothing. So whether one may still fail is looked at before, and a failure is charged after: those who guess
//! at once pass the look together, but what they failed too often is paid back by a longer wait, so that in the long run nobody
//! gets more than the rate.
//!
//! The limit over everybody bounds how soon anybody finds any lobby, from however many addresses (`research/reliability`, section
//! 2.4). While it is reached nobody joins by code, with a right one either: otherwise the answer would tell. Whoever has a seat
//! keeps it, and joins by id go on.

use std::net::IpAddr;

use protocol::id::{LobbyId, PlayerId};

use super::limiter::{Limiter, Refused, Tightest};
use super::{Class, Subject};

/// The failures of everybody.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failures<'a>(pub(super) &'a Limiter);

impl Failures<'_> {
    /// Whether a player may guess at a code or a password.
    ///
    /// # Errors
    /// [`Refused`], by the one of the three rates that makes it wait longest.
    pub(crate) fn check(self, address: IpAddr, player: PlayerId) -> Result<(), Refused> {
        let rates = counted(address, player).into_iter();
        let refused = rates.filter_map(|(class, subject)| self.0.check(class, subject, &mut Tightest::default()).err());
        refused.max_by_key(|refused| refused.retry_after_s()).map_or(Ok(()), Err)
    }

    /// A wrong code or password.
    pub(crate) fn record(self, address: IpAddr, player: PlayerId) {
        for (class, subject) in counted(address, player) {
            self.0.charge(class, subject);
        }
    }

    /// Whether a player may try to take its seat in a lobby again.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) fn check_seat(self, lobby: LobbyId, player: PlayerId) -> Result<(), Refused> {
        self.0.check(Class::ReconnectFailures, Subject::Seat(lobby, player), &mut Tightest::default())
    }

    /// A wrong reconnect secret.
    pub(crate) fn record_seat(self, lobby: LobbyId, player: PlayerId) {
        self.0.charge_or_bar(Class::ReconnectFailures, Subject::Seat(lobby, player));
    }
}

fn counted(address: IpAddr, player: PlayerId) -> [(Class, Subject); 3] {
    [
        (Class::JoinFailuresAddress, Subject::address(address)),
        (Class::JoinFailuresPlayer, Subject::Player(player)),
        (Class::JoinFailures, Subject::Everybody),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;

    fn player(number: u8) -> PlayerId {
        PlayerId::from_bytes([number; 16])
    }

    fn address(number: u8) -> IpAddr {
        [198, 51, 100, number].into()
    }

    fn guesses(limiter: &Limiter, number: u8, by: u8) -> usize {
        let failures = limiter.failures();
        let allowed = std::iter::repeat_with(|| failures.check(address(number), player(by)));
        allowed.take_while(Result::is_ok).take(1000).inspect(|_| failures.record(address(number), player(by))).count()
    }

    #[test]
    fn an_address_a_player_and_everybody_have_so_many_failures() {
        let limiter = Limiter::new(Limits::default());
        assert_eq!(guesses(&limiter, 1, 1), 5, "by address");
        assert!(limiter.failures().check(address(1), player(2)).unwrap_err().retry_after_s().get() >= 11);
        assert_eq!(guesses(&limiter, 2, 1), 5, "the player's second five");
        assert_eq!(guesses(&limiter, 3, 1), 0, "by player");
        let everybody: usize = (4..20).map(|number| guesses(&limiter, number, number)).sum();
        assert!((10..=12).contains(&everybody), "the rest of twenty, and what was filled in: {everybody}");
    }

    #[test]
    fn what_succeeds_costs_nothing() {
        let limiter = Limiter::new(Limits::default());
        assert!((0..1000).all(|_| limiter.failures().check(address(1), player(1)).is_ok()));
    }

    #[test]
    fn a_seat_is_barred_after_five_failures_and_others_are_not() {
        let limiter = Limiter::new(Limits::default());
        let (lobby, failures) = (LobbyId::from_bytes([1; 16]), limiter.failures());
        for _ in 0..5 {
            failures.check_seat(lobby, player(1)).unwrap();
            failures.record_seat(lobby, player(1));
        }
        assert!((599..=600).contains(&failures.check_seat(lobby, player(1)).unwrap_err().retry_after_s().get()));
        failures.check_seat(lobby, player(2)).unwrap();
    }
}
