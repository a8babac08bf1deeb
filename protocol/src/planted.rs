//! Deliberate bugs, so that the simulation can show that it would notice them.
//!
//! Without the feature `planted-bugs` every question is a constant `false` and the compiler removes the branch.

/// A bug that can be planted for the current thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Writes of a host are taken whatever their epoch is.
    NoEpochCheck,
    /// Writes are taken from whoever is host now, whatever the epoch (the ABA case: host, guest, host again).
    HostButNotEpoch,
    /// A lobby is saved over whatever version is there.
    SaveWithoutVersionCheck,
    /// Events go out before their transaction has committed.
    PublishBeforeSave,
    /// The seat of one who left is given to the next who joins.
    ReuseConnectionId,
    /// A host that came back in time is replaced all the same.
    ElectWhileHostIsThere,
    /// A guest accepts frames of an older epoch.
    GuestIgnoresEpoch,
    /// A relay takes a host grant of an older epoch.
    RelayTakesOlderGrant,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NoEpochCheck,
        Self::HostButNotEpoch,
        Self::SaveWithoutVersionCheck,
        Self::PublishBeforeSave,
        Self::ReuseConnectionId,
        Self::ElectWhileHostIsThere,
        Self::GuestIgnoresEpoch,
        Self::RelayTakesOlderGrant,
    ];
}

#[cfg(feature = "planted-bugs")]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug (or none) for the current thread.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether a bug is planted.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether a bug is planted: never, in this build.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}
