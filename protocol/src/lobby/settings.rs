//! What a game sets for its lobby.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
use crate::limits;

/// Who finds a lobby in the list and can join it by its id. The join code opens both kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Everybody.
    #[default]
    Public,
    /// Those who have its join code.
    Private,
}

/// What a game sets for its lobby. All times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Settings {
    /// From losing the host to choosing another: 0 to 600,000.
    #[cfg_attr(feature = "schema", schema(minimum = 0, maximum = 600_000))]
    pub election_delay_ms: u64,
    /// Time that a disconnected member keeps its seat: 1,000 to 86,400,000, longer than the election delay.
    #[cfg_attr(feature = "schema", schema(minimum = 1000, maximum = 86_400_000))]
    pub removal_delay_ms: u64,
    /// Time that an elected host has to restore and confirm: 500 to 60,000.
    #[cfg_attr(feature = "schema", schema(minimum = 500, maximum = 60_000))]
    pub ready_timeout_ms: u64,
    /// Seats: 1 to 1,000.
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 1000))]
    pub max_members: u32,
    /// Who finds it.
    pub visibility: Visibility,
    /// Nobody can join, except those who have a seat.
    pub locked: bool,
    /// No player is to learn another's address: all that they say to each other goes through relays.
    pub relay_only: bool,
}

/// What becomes of settings. What is absent stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SettingsPatch {
    /// From losing the host to choosing another: 0 to 600,000.
    #[cfg_attr(feature = "schema", schema(minimum = 0, maximum = 600_000))]
    pub election_delay_ms: Option<u64>,
    /// Time that a disconnected member keeps its seat: 1,000 to 86,400,000, longer than the election delay.
    #[cfg_attr(feature = "schema", schema(minimum = 1000, maximum = 86_400_000))]
    pub removal_delay_ms: Option<u64>,
    /// Time that an elected host has to restore and confirm: 500 to 60,000.
    #[cfg_attr(feature = "schema", schema(minimum = 500, maximum = 60_000))]
    pub ready_timeout_ms: Option<u64>,
    /// Seats: 1 to 1,000, and at least as many as are taken.
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 1000))]
    pub max_members: Option<u32>,
    /// Who finds it.
    pub visibility: Option<Visibility>,
    /// Nobody can join, except those who have a seat.
    pub locked: Option<bool>,
    /// No player is to learn another's address. What they have learnt before they know.
    pub relay_only: Option<bool>,
}

/// A password, hashed with argon2 in the PHC string format. It is made and compared outside of here.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(pub String);

impl std::fmt::Debug for PasswordHash {
    /// Without the hash (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash")
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            election_delay_ms: millis(limits::ELECTION_DELAY),
            removal_delay_ms: millis(limits::REMOVAL_DELAY),
            ready_timeout_ms: millis(limits::READY_TIMEOUT),
            max_members: limits::MEMBERS,
            visibility: Visibility::Public,
            locked: false,
            relay_only: false,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Settings {
    /// Checks every bound.
    ///
    /// # Errors
    /// [`Rejection::Invalid`] with the first field that is out of its bounds.
    pub fn check(&self) -> Result<(), Rejection> {
        let invalid = |field, rule| Err(Rejection::Invalid { field, rule });
        if self.election_delay_ms > millis(limits::ELECTION_DELAY_MAX) {
            return invalid("settings.election_delay_ms", "0 to 600000");
        }
        if !(millis(limits::REMOVAL_DELAY_MIN)..=millis(limits::REMOVAL_DELAY_MAX)).contains(&self.removal_delay_ms) {
            return invalid("settings.removal_delay_ms", "1000 to 86400000");
        }
        if self.removal_delay_ms <= self.election_delay_ms {
            return invalid(
                "settings.removal_delay_ms",
                "longer than election_delay_ms, or the host is removed before anybody is elected",
            );
        }
        if !(millis(limits::READY_TIMEOUT_MIN)..=millis(limits::READY_TIMEOUT_MAX)).contains(&self.ready_timeout_ms) {
            return invalid("settings.ready_timeout_ms", "500 to 60000");
        }
        if !(1..=limits::MEMBERS_MAX).contains(&self.max_members) {
            return invalid("settings.max_members", "1 to 1000");
        }
        Ok(())
    }

    /// The settings after a patch.
    ///
    /// # Errors
    /// [`Rejection::Invalid`] with the first field that is out of its bounds.
    pub fn patched(&self, patch: SettingsPatch) -> Result<Self, Rejection> {
        let next = Self {
            election_delay_ms: patch.election_delay_ms.unwrap_or(self.election_delay_ms),
            removal_delay_ms: patch.removal_delay_ms.unwrap_or(self.removal_delay_ms),
            ready_timeout_ms: patch.ready_timeout_ms.unwrap_or(self.ready_timeout_ms),
            max_members: patch.max_members.unwrap_or(self.max_members),
            visibility: patch.visibility.unwrap_or(self.visibility),
            locked: patch.locked.unwrap_or(self.locked),
            relay_only: patch.relay_only.unwrap_or(self.relay_only),
        };
        next.check()?;
        Ok(next)
    }

    pub(super) fn election_delay(&self) -> Duration {
        Duration::from_millis(self.election_delay_ms)
    }

    pub(super) fn removal_delay(&self) -> Duration {
        Duration::from_millis(self.removal_delay_ms)
    }

    pub(super) fn ready_timeout(&self) -> Duration {
        Duration::from_millis(self.ready_timeout_ms)
    }
}
