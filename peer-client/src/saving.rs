//! A host stores its game: at once when it begins, then at an interval, one upload at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::id::HostEpoch;
use protocol::migration::Role as Part;
use protocol::snapshot::{Body, Generation, Seat, Snapshot};
use tokio::sync::oneshot;

use crate::driver::{Driver, Input};
use crate::error::Error;
use crate::event::Event;
use crate::request::{Request, SCENE_BYTES_MAX, SaveState, Saved};

/// The first snapshot of an epoch is tried again after this long.
const FIRST_SNAPSHOT_RETRY: Duration = Duration::from_millis(250);

/// When the game is asked for its state, and what becomes of it.
#[derive(Debug)]
pub(crate) struct Snapshots {
    epoch: HostEpoch,
    next_seq: u64,
    /// When the game is asked next; `None`: this peer does not host.
    due_at: Option<Instant>,
    /// The game has been asked and has not answered yet.
    asked: bool,
    uploading: bool,
    /// The newest that waits for the one under way.
    waiting: Option<Snapshot>,
    /// The newest that the lobby has fetched for this peer, so that its numbers go on.
    fetched: Option<Generation>,
}

/// A snapshot that was stored, or not.
#[derive(Debug)]
pub(crate) struct Stored {
    generation: Generation,
    tick: u64,
    result: Result<usize, NotStored>,
}

/// Why a snapshot was not stored.
#[derive(Debug)]
struct NotStored {
    reason: String,
    /// The lobby does not take it: it has another host, or is not there.
    is_refused: bool,
}

impl Snapshots {
    pub(crate) const fn new() -> Self {
        Self {
            epoch: HostEpoch::NONE,
            next_seq: 0,
            due_at: None,
            asked: false,
            uploading: false,
            waiting: None,
            fetched: None,
        }
    }

    /// This peer hosts from now on: the first snapshot is due.
    pub(crate) fn start(&mut self, epoch: HostEpoch, now: Instant) {
        let next_seq = self.fetched.filter(|fetched| fetched.epoch == epoch).map_or(0, |fetched| fetched.seq + 1);
        *self = Self { epoch, next_seq, due_at: Some(now), ..Self::new() };
    }

    /// This peer hosts no more, or is about to leave.
    pub(crate) const fn stop(&mut self) {
        self.due_at = None;
    }

    /// The lobby has fetched this one for this peer.
    pub(crate) const fn go_on_from(&mut self, fetched: Option<Generation>) {
        self.fetched = fetched;
    }

    /// The game owes its state.
    pub(crate) const fn is_asked(&self) -> bool {
        self.asked
    }

    /// Nothing is asked for, nor under way.
    pub(crate) const fn is_idle(&self) -> bool {
        !self.asked && !self.uploading
    }

    pub(crate) fn save_soon(&mut self) {
        if self.due_at.is_some() {
            self.due_at = Some(Instant::now());
        }
    }

    /// When the game is to be asked. A game that has not answered is not asked again.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.due_at.filter(|_| !self.asked)
    }

    const fn next(&mut self) -> Generation {
        let seq = self.next_seq;
        self.next_seq += 1;
        Generation { epoch: self.epoch, seq }
    }
}

impl Driver {
    pub(crate) fn save_when_due(&mut self, now: Instant) {
        let epoch = self.snapshots.epoch;
        if !matches!(*self.migration.role(), Part::Host { epoch: mine } if mine == epoch) {
            self.snapshots.stop();
            return;
        }
        if self.snapshots.due_at().is_none_or(|at| at > now) {
            return;
        }
        self.snapshots.asked = true;
        self.snapshots.due_at = Some(now + self.settings.snapshot_interval);
        let (reply, answer) = oneshot::channel();
        self.request(Request::SaveState(SaveState { shared: self.shared.clone(), reply }));
        self.spawn(async move { Input::Saved { epoch, state: answer.await.ok() } });
    }

    pub(crate) fn saved(&mut self, epoch: HostEpoch, state: Option<Saved>) {
        if epoch != self.snapshots.epoch || !self.is_host_or_elected(epoch) {
            return;
        }
        self.snapshots.asked = false;
        let Some(saved) = state else {
            tracing::debug!("the game skipped a snapshot");
            return self.last_save_is_done();
        };
        let generation = self.snapshots.next();
        if saved.state.scene.len() > SCENE_BYTES_MAX {
            let reason = format!("the scene's name is longer than {SCENE_BYTES_MAX} bytes");
            self.event(Event::SnapshotFailed { generation, reason });
            return self.last_save_is_done();
        }
        let snapshot = self.snapshot(generation, &saved);
        self.shared.lock().last_saved = Some(Arc::new(saved));
        if self.snapshots.uploading {
            self.snapshots.waiting = Some(snapshot);
        } else {
            self.upload(snapshot);
        }
    }

    fn snapshot(&self, generation: Generation, saved: &Saved) -> Snapshot {
        let Saved { state, seats, objects } = saved;
        let seats =
            seats.iter().map(|seat| Seat { played: self.migration.has_played(seat.connection), ..seat.clone() });
        let body = Body {
            build_id: self.settings.build_id.clone(),
            scene: state.scene.clone(),
            seats: seats.collect(),
            objects: objects.clone(),
            state: state.state.clone(),
        };
        Snapshot { generation, tick: state.tick, elapsed_us: micros(state.elapsed), body }
    }

    fn upload(&mut self, snapshot: Snapshot) {
        self.snapshots.uploading = true;
        let (service, lobby) = (self.service.clone(), self.lobby);
        self.spawn(async move {
            let (generation, tick) = (snapshot.generation, snapshot.tick);
            let result = match encode(snapshot).await {
                Ok(record) => {
                    let bytes = record.len();
                    service.put_snapshot(lobby, record).await.map(|()| bytes).map_err(NotStored::from)
                }
                Err(reason) => Err(NotStored { reason, is_refused: false }),
            };
            Input::Stored(Stored { generation, tick, result })
        });
    }

    pub(crate) fn stored(&mut self, stored: Stored, now: Instant) {
        let Stored { generation, tick, result } = stored;
        if generation.epoch != self.snapshots.epoch {
            return;
        }
        self.snapshots.uploading = false;
        let failed = result.is_err();
        match result {
            Ok(bytes) => self.event(Event::SnapshotStored { generation, tick, bytes }),
            Err(NotStored { reason, is_refused }) => {
                tracing::debug!(reason, epoch = %generation.epoch, seq = generation.seq, "a snapshot was not stored");
                self.event(Event::SnapshotFailed { generation, reason });
                if is_refused {
                    self.resync();
                } else if generation.seq == 0 {
                    self.snapshots.due_at = Some(now + FIRST_SNAPSHOT_RETRY);
                }
            }
        }
        match self.snapshots.waiting.take() {
            Some(newest) => self.upload(newest),
            None if failed && self.leaving.is_some() => self.tell_leaving(),
            None => self.last_save_is_done(),
        }
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl From<Error> for NotStored {
    fn from(error: Error) -> Self {
        Self { is_refused: matches!(error, Error::Refused { status: 404 | 409, .. }), reason: error.to_string() }
    }
}

/// Off the driver's thread: it may be large.
async fn encode(snapshot: Snapshot) -> Result<Bytes, String> {
    let encoded = tokio::task::spawn_blocking(move || snapshot.encode()).await;
    encoded.map_err(|error| error.to_string())?.map(Bytes::from).map_err(|error| error.to_string())
}
