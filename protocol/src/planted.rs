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
    /// A loss is believed whoever tells it, also if another instance hears the member by now.
    DisconnectIgnoresHolder,
    /// What rests on a cached lobby is not confirmed.
    CacheIsNotConfirmed,
    /// The members of a dead instance get no time to come to another one.
    HeirGivesNoTerm,
    /// The members of a dead instance are not taken over.
    NobodyInherits,
    /// Events of a poke that was lost are left out.
    GapAfterLostPoke,
    /// Sockets that ended while the service was away are losses at once.
    NoTermAfterAbsence,
    /// A join that was saved, and whose answer was lost, is nobody's business.
    LostAnswerIsForgotten,
    /// An instance that cannot renew its lease keeps its sockets.
    SocketsOutliveLease,
    /// A message that is said again has its effect again.
    ReplayedTwice,
    /// A guest forgets what the host has received, before a state that contains it is durable.
    JournalCutTooEarly,
    /// A hand-over is committed although the successor has not acknowledged the last state.
    CommitWithoutAcknowledgement,
    /// A host whose hand-over failed stays frozen.
    HandOverAbandoned,
    /// A delta is applied to whatever state is at hand.
    DeltaOnWrongBase,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::NoEpochCheck,
        Self::HostButNotEpoch,
        Self::SaveWithoutVersionCheck,
        Self::PublishBeforeSave,
        Self::ReuseConnectionId,
        Self::ElectWhileHostIsThere,
        Self::GuestIgnoresEpoch,
        Self::RelayTakesOlderGrant,
        Self::DisconnectIgnoresHolder,
        Self::CacheIsNotConfirmed,
        Self::HeirGivesNoTerm,
        Self::NobodyInherits,
        Self::GapAfterLostPoke,
        Self::NoTermAfterAbsence,
        Self::LostAnswerIsForgotten,
        Self::SocketsOutliveLease,
        Self::ReplayedTwice,
        Self::JournalCutTooEarly,
        Self::CommitWithoutAcknowledgement,
        Self::HandOverAbandoned,
        Self::DeltaOnWrongBase,
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
