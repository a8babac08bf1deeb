//! How well a game would survive the loss of its host, told once a second.

use std::time::Duration;

use protocol::id::ConnectionId;

use crate::strategy::Strategy;

/// How often it is told.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// How well the game would survive the loss of this host, now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migratability {
    /// Who would be elected; `None`: nobody could.
    pub successor: Option<ConnectionId>,
    /// It holds a state, and goes on from it at once.
    pub is_warm: bool,
    /// How far its state is behind, in ticks that the game has given. Meaningful if it is warm.
    pub lag_ticks: u64,
    /// For how long it has lacked the oldest of them.
    pub lag: Duration,
    /// Since when the newest durable state was given; `None`: nothing is durable yet.
    pub durable_age: Option<Duration>,
    /// What would be lost of the game's time: the lag of a warm successor, else the age of the durable state.
    pub predicted_loss: Option<Duration>,
    /// How long the game would stand still if this process died: the lobby's election delay, two round trips to the successor (the
    /// lobby's word, and the guests' arrival), and for a successor that is not warm the way to the lobby and back for the state.
    /// `None`: nobody could take over.
    pub predicted_pause: Option<Duration>,
    /// How the state is kept safe.
    pub strategy: Strategy,
}

/// What a new host needs beside round trips, as measured on one machine: to notice, to elect durably, to restore.
const WORK: Duration = Duration::from_millis(20);

/// What is known, to predict from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) election_delay: Duration,
    pub(crate) round_trip: Duration,
    pub(crate) is_warm: bool,
}

pub(crate) fn predicted_pause(known: Known) -> Duration {
    let trips = if known.is_warm { 2 } else { 4 };
    known.election_delay + trips * known.round_trip + WORK
}
