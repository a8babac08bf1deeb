//! Leaving in good order: the last state is stored, the others are told, the seat is given up.

use std::time::{Duration, Instant};

use protocol::frame::PeerBody;
use protocol::migration::Role as Part;
use tokio::time::timeout;

use crate::driver::{Driver, Input};
use crate::link::LinkHandle;

/// A host that leaves waits this long for its game's state to be stored.
const LAST_SAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that leaves waits this long for its goodbyes to arrive.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(250);

/// How far a session is that leaves.
#[derive(Debug)]
pub(crate) enum Leaving {
    /// The game is asked for its state, or this state is being stored.
    Saving { until: Instant, asked: bool },
    /// The others are told.
    Telling,
}

impl Leaving {
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Saving { until, .. } => Some(*until),
            Self::Telling => None,
        }
    }
}

impl Driver {
    pub(crate) fn start_leaving(&mut self) {
        if self.leaving.is_some() {
            return;
        }
        if !matches!(self.migration.role(), Part::Host { .. }) {
            return self.tell_leaving();
        }
        // A state that was asked for before is older than the wish to leave: another is asked for after it.
        let asked = !self.snapshots.is_asked();
        self.leaving = Some(Leaving::Saving { until: Instant::now() + LAST_SAVE_TIMEOUT, asked });
        self.snapshots.save_soon();
    }

    /// A snapshot is done with. If it was the last one, the others are told.
    pub(crate) fn last_save_is_done(&mut self) {
        let Some(Leaving::Saving { asked, .. }) = &mut self.leaving else { return };
        if !std::mem::replace(asked, true) {
            self.snapshots.save_soon();
        } else if self.snapshots.is_idle() {
            self.tell_leaving();
        }
    }

    pub(crate) fn leave_when_due(&mut self, now: Instant) {
        let Some(until) = self.leaving.as_ref().and_then(Leaving::deadline) else { return };
        let hosts = matches!(self.migration.role(), Part::Host { .. });
        if until <= now && hosts {
            tracing::warn!("leaving without having stored the last state");
        }
        if until <= now || !hosts {
            self.tell_leaving();
        }
    }

    /// The others are being told: nobody is let in any more.
    pub(crate) const fn tells_of_leaving(&self) -> bool {
        matches!(self.leaving, Some(Leaving::Telling))
    }

    pub(crate) fn tell_leaving(&mut self) {
        if self.tells_of_leaving() {
            return;
        }
        self.leaving = Some(Leaving::Telling);
        self.snapshots.stop();
        let queues: Vec<_> = {
            let state = self.shared.lock();
            for link in state.links.values() {
                link.tell(PeerBody::Goodbye);
                link.finish();
            }
            state.links.values().map(LinkHandle::closed).collect()
        };
        let (service, lobby) = (self.service.clone(), self.lobby);
        self.spawn(async move {
            let goodbyes = async {
                for closed in queues {
                    closed.await;
                }
            };
            // In this order, so that guests know that it is no crash before the lobby elects another. Who is away does not hear it.
            let _ = timeout(GOODBYE_TIMEOUT, goodbyes).await;
            if let Err(error) = service.leave(lobby).await {
                tracing::warn!(%error, "the lobby was not told: the seat is kept for the removal delay");
            }
            Input::SeatGiven
        });
    }
}
