//! Leaving in good order: the last state is stored, the others are told, the seat is given up.

use std::time::{Duration, Instant};

use protocol::frame::PeerBody;
use protocol::hand_over::Wish;
use protocol::limits;
use protocol::migration::{GuestLink, Role as Part};
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
    /// Another member is being made host.
    HandingOver { until: Instant },
    /// The game is asked for its state, or this state is being stored.
    Saving { until: Instant, asked: bool },
    /// The others are told.
    Telling,
}

impl Leaving {
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::HandingOver { until } | Self::Saving { until, .. } => Some(*until),
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
        let now = Instant::now();
        let until = now + limits::HAND_OVER_PATIENCE + LAST_SAVE_TIMEOUT;
        // One that is under way already serves as well.
        let under_way = self.hand_over.under_way().is_some();
        let successor = self.migration.lobby().successor;
        if under_way || successor.is_some_and(|to| self.begin_hand_over(to, Wish::Leave, now)) {
            if self.leaving.is_none() {
                self.leaving = Some(Leaving::HandingOver { until });
            }
            return;
        }
        self.leave_with_a_snapshot();
    }

    /// Nobody takes over now: what there is, is stored for whoever does later.
    pub(crate) fn leave_with_a_snapshot(&mut self) {
        if matches!(self.leaving, Some(Leaving::Saving { .. } | Leaving::Telling)) {
            return;
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
        let hands_over = matches!(self.leaving, Some(Leaving::HandingOver { .. }));
        if hands_over && hosts && until > now {
            if self.hand_over.under_way().is_none() {
                self.leave_with_a_snapshot();
            }
            return;
        }
        // Whoever follows the new host already leaves as any guest.
        if hands_over
            && !hosts
            && until > now
            && !matches!(self.migration.role(), Part::Guest { link: GuestLink::InGame { .. }, .. })
        {
            return;
        }
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
