//! Lobbies that a player may have at a time.

/// Open lobbies that one player may host, and be a member of. Zero: any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// As its host.
    pub hosted_max: u32,
    /// As a member, those that it hosts included.
    pub joined_max: u32,
}

/// A player has as many lobbies as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuotaExceeded {
    /// As their host.
    #[error("a player hosts at most {0} open lobbies")]
    Hosted(u32),
    /// As a member.
    #[error("a player is in at most {0} open lobbies")]
    Joined(u32),
}

impl Quota {
    /// Any number.
    pub const NONE: Self = Self { hosted_max: 0, joined_max: 0 };

    /// Whether a player who hosts and is in so many open lobbies may make another.
    ///
    /// # Errors
    /// [`QuotaExceeded`].
    pub const fn check_create(self, hosted: usize, joined: usize) -> Result<(), QuotaExceeded> {
        if self.hosted_max > 0 && hosted >= self.hosted_max as usize {
            return Err(QuotaExceeded::Hosted(self.hosted_max));
        }
        self.check_join(joined)
    }

    /// Whether a player who is in so many open lobbies may join another. Who comes back to its own seat joins none.
    ///
    /// # Errors
    /// [`QuotaExceeded::Joined`].
    pub const fn check_join(self, joined: usize) -> Result<(), QuotaExceeded> {
        if self.joined_max > 0 && joined >= self.joined_max as usize {
            return Err(QuotaExceeded::Joined(self.joined_max));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_player_has_so_many_lobbies_and_zero_is_any_number() {
        let quota = Quota { hosted_max: 3, joined_max: 5 };
        assert_eq!(quota.check_create(2, 4), Ok(()));
        assert_eq!(quota.check_create(3, 4), Err(QuotaExceeded::Hosted(3)));
        assert_eq!(quota.check_create(0, 5), Err(QuotaExceeded::Joined(5)));
        assert_eq!((quota.check_join(4), quota.check_join(5)), (Ok(()), Err(QuotaExceeded::Joined(5))));
        assert_eq!((Quota::NONE.check_create(1000, 1000), Quota::NONE.check_join(1000)), (Ok(()), Ok(())));
    }
}
