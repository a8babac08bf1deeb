//! A host's states: when the game is asked for one, and what becomes of each that it gives.
//!
//! Each state becomes an [`Image`], off the driver's thread. Images go to the successor ([`crate::feeding`]), and at the interval of
//! snapshots to the lobby, as the difference to the one before where that is smaller. Once one is durable, guests forget what it covers,
//! and what waited for it goes out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::frame::PeerBody;
use protocol::id::HostEpoch;
use protocol::journal::{Class, Ledger, Receipt, Settled};
use protocol::limits;
use protocol::migration::Role as Part;
use protocol::snapshot::{Body, Generation, Image, Seal, Seat, Snapshot};
use tokio::sync::oneshot;

use crate::driver::{Driver, Input};
use crate::error::Error;
use crate::event::{Delivery, Event, Message};
use crate::request::{Request, SCENE_BYTES_MAX, SaveState, Saved};
use crate::state::State;
use crate::strategy::Strategy;

/// The first snapshot of an epoch is tried again after this long.
const FIRST_SNAPSHOT_RETRY: Duration = Duration::from_millis(250);
/// A game that has given a state unasked within this time is not asked: its next one serves.
const UNASKED: Duration = Duration::from_millis(250);
/// Deltas on one snapshot: with as many bytes as the snapshot, a new one begins sooner.
const DELTAS_MAX: usize = 64;
const _: () = assert!(DELTAS_MAX <= limits::DELTAS_MAX as usize, "the lobby takes as many");
/// Ledgers of states that are not durable yet.
const LEDGERS_MAX: usize = 2 * limits::FEED_IN_FLIGHT_MAX;

/// A state, as it goes to others.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) image: Image,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) given_at: Instant,
}

/// What of the game's states is where.
#[derive(Debug)]
pub(crate) struct Snapshots {
    epoch: HostEpoch,
    next_seq: u64,
    /// When one is to be stored next; `None`: this peer does not host.
    due_at: Option<Instant>,
    /// The next state is to be stored.
    wanted: bool,
    /// The game has been asked and has not answered yet.
    asked: bool,
    /// When the game last gave one unasked.
    unasked_at: Option<Instant>,
    /// One becomes an image; the newest that the game gave since.
    imaging: bool,
    given: Option<Saved>,
    pub(crate) newest: Option<Kept>,
    uploading: bool,
    /// The newest that waits for the upload under way.
    waiting: Option<Kept>,
    /// What the lobby has, to make differences to.
    durable: Option<Durable>,
    /// The newest durable state was given then.
    pub(crate) durable_given_at: Option<Instant>,
    ledgers: VecDeque<(Generation, Arc<Ledger>)>,
    /// The state that this host went on from, so that numbers go on.
    went_on_from: Option<Generation>,
}

/// What the lobby has.
#[derive(Debug, Clone)]
pub(crate) struct Durable {
    pub(crate) image: Image,
    /// Deltas since the last snapshot, and their bytes.
    pub(crate) deltas: usize,
    pub(crate) delta_bytes: usize,
}

/// A state that was stored, or not.
#[derive(Debug)]
pub(crate) struct Stored {
    kept: Kept,
    result: Result<Uploaded, NotStored>,
}

#[derive(Debug)]
struct Uploaded {
    bytes: usize,
    is_delta: bool,
}

/// Why a state was not stored.
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
            wanted: false,
            asked: false,
            unasked_at: None,
            imaging: false,
            given: None,
            newest: None,
            uploading: false,
            waiting: None,
            durable: None,
            durable_given_at: None,
            ledgers: VecDeque::new(),
            went_on_from: None,
        }
    }

    /// This peer runs the game from now on.
    pub(crate) fn start(&mut self, epoch: HostEpoch) {
        let next_seq = self.went_on_from.filter(|from| from.epoch == epoch).map_or(0, |from| from.seq + 1);
        let (durable, went_on_from) = (self.durable.take(), self.went_on_from);
        *self = Self { epoch, next_seq, durable, went_on_from, ..Self::new() };
    }

    /// The lobby takes snapshots of this host: the first is due.
    pub(crate) const fn store_from(&mut self, now: Instant) {
        self.due_at = Some(now);
    }

    /// This peer hosts no more, or is about to leave.
    pub(crate) const fn stop(&mut self) {
        self.due_at = None;
        self.wanted = false;
    }

    /// This host goes on from this state, and the lobby has this one.
    pub(crate) fn go_on_from(&mut self, from: Option<Generation>, durable: Option<Durable>) {
        (self.went_on_from, self.durable) = (from, durable);
    }

    /// The game owes its state.
    pub(crate) const fn is_asked(&self) -> bool {
        self.asked
    }

    /// Nothing is asked for, nor under way.
    pub(crate) const fn is_idle(&self) -> bool {
        !self.asked && !self.uploading && !self.imaging && !self.wanted
    }

    pub(crate) fn save_soon(&mut self) {
        if self.due_at.is_some() {
            self.due_at = Some(Instant::now());
        }
    }

    /// When one is due. A game that has not answered is not asked again.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.due_at.filter(|_| !self.asked)
    }

    const fn next(&mut self) -> Generation {
        let seq = self.next_seq;
        self.next_seq += 1;
        Generation { epoch: self.epoch, seq }
    }

    pub(crate) fn gives_unasked(&self, now: Instant) -> bool {
        self.unasked_at.is_some_and(|at| now.saturating_duration_since(at) < UNASKED)
    }

    /// What the next upload's difference is made to, if one is worth it.
    fn base(&self) -> Option<&Durable> {
        self.durable
            .as_ref()
            .filter(|durable| durable.deltas < DELTAS_MAX && durable.delta_bytes < durable.image.bytes().len())
    }
}

// From the game to an image.
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
        let interval = match self.chooser.strategy() {
            Strategy::BaseAndDeltas if self.snapshots.gives_unasked(now) => limits::SNAPSHOT_INTERVAL_MIN,
            Strategy::BaseAndDeltas | Strategy::Automatic | Strategy::Replica | Strategy::Snapshot => {
                self.settings.snapshot_interval
            }
        };
        self.snapshots.due_at = Some(now + interval);
        let is_overdue = std::mem::replace(&mut self.snapshots.wanted, true);
        if is_overdue || !self.snapshots.gives_unasked(now) {
            self.ask_for_state();
        }
    }

    /// Asks the game for its state, unless it owes one.
    pub(crate) fn ask_for_state(&mut self) {
        if std::mem::replace(&mut self.snapshots.asked, true) {
            return;
        }
        let epoch = self.snapshots.epoch;
        let (reply, answer) = oneshot::channel();
        self.request(Request::SaveState(SaveState { shared: self.shared.clone(), reply }));
        self.spawn(async move { Input::Saved { epoch, state: answer.await.ok().map(Box::new) } });
    }

    /// The game has answered, or skipped.
    pub(crate) fn saved(&mut self, epoch: HostEpoch, state: Option<Saved>) {
        if epoch != self.snapshots.epoch || !self.is_host_or_elected(epoch) {
            return;
        }
        self.snapshots.asked = false;
        match state {
            Some(saved) if saved.state.scene.len() > SCENE_BYTES_MAX => {
                let reason = format!("the scene's name is longer than {SCENE_BYTES_MAX} bytes");
                let generation = self.snapshots.next();
                self.event(Event::SnapshotFailed { generation, reason });
                self.has_no_state();
            }
            Some(saved) => self.given(saved),
            None => self.has_no_state(),
        }
    }

    /// The game has none. If it never had any, what it has taken is as durable as it gets.
    fn has_no_state(&mut self) {
        tracing::debug!("the game skipped a snapshot");
        self.snapshots.wanted = false;
        if self.snapshots.newest.is_none() && self.snapshots.went_on_from.is_none() {
            let settled = self.shared.lock().streams.settled_by_now();
            self.settle(&settled);
        }
        self.hand_over.handle_not_frozen();
        self.last_save_is_done();
    }

    /// The game has given a state unasked.
    pub(crate) fn state_given(&mut self, now: Instant) {
        let given = self.shared.lock().given.take();
        if let Some(saved) = given {
            self.snapshots.unasked_at = Some(now);
            self.given(saved);
        }
    }

    fn given(&mut self, saved: Saved) {
        if self.snapshots.imaging {
            // The last one has none after it.
            self.snapshots.given = Some(saved);
            return;
        }
        self.snapshots.imaging = true;
        let generation = self.snapshots.next();
        let (is_last, given_at) = (saved.is_last, Instant::now());
        let ledger = Arc::new(saved.ledger.clone());
        let snapshot = self.snapshot(generation, saved);
        self.spawn(async move {
            let image = tokio::task::spawn_blocking(move || snapshot.to_image()).await;
            let image = image.map_err(|error| error.to_string()).and_then(|image| image.map_err(|e| e.to_string()));
            Input::Imaged { generation, is_last, kept: image.map(|image| Kept { image, ledger, given_at }) }
        });
    }

    fn snapshot(&self, generation: Generation, saved: Saved) -> Snapshot {
        let Saved { state, changes, seats, objects, ledger, .. } = saved;
        let seats =
            seats.into_iter().map(|seat| Seat { played: self.migration.has_played(seat.connection), ..seat }).collect();
        let body = Body {
            build_id: self.settings.build_id.clone(),
            scene: state.scene,
            seats,
            objects,
            ledger,
            state: state.state,
            changes,
        };
        Snapshot { generation, tick: state.tick, elapsed_us: micros(state.elapsed), body }
    }

    pub(crate) fn imaged(&mut self, generation: Generation, is_last: bool, kept: Result<Kept, String>, now: Instant) {
        if generation.epoch != self.snapshots.epoch || !self.is_host_or_elected(generation.epoch) {
            return;
        }
        self.snapshots.imaging = false;
        match kept {
            Ok(kept) => self.keep(kept, is_last, now),
            Err(reason) => {
                self.event(Event::SnapshotFailed { generation, reason });
                self.has_no_state();
            }
        }
        if let Some(saved) = self.snapshots.given.take() {
            self.given(saved);
        }
    }

    fn keep(&mut self, kept: Kept, is_last: bool, now: Instant) {
        let generation = kept.image.generation();
        self.snapshots.newest = Some(kept.clone());
        if self.snapshots.ledgers.len() == LEDGERS_MAX {
            self.snapshots.ledgers.pop_front();
        }
        self.snapshots.ledgers.push_back((generation, kept.ledger.clone()));
        // Of a hand-over that came to nothing meanwhile it is one like any other.
        if is_last && self.shared.lock().frozen {
            self.hand_over.handle_frozen(generation);
        }
        self.offer(kept.image.clone(), now);
        if std::mem::take(&mut self.snapshots.wanted) {
            if self.snapshots.uploading {
                self.snapshots.waiting = Some(kept);
            } else {
                self.upload(kept);
            }
        }
        if !self.lobby_reachable && self.feed.successor().is_none() {
            // Nobody can take over: there is nothing to wait for.
            self.settle_state(generation);
        }
    }
}

// To the lobby, and what follows.
impl Driver {
    fn upload(&mut self, kept: Kept) {
        self.snapshots.uploading = true;
        let (service, lobby) = (self.service.clone(), self.lobby);
        let base = match self.chooser.strategy() {
            Strategy::Snapshot => None,
            Strategy::Automatic | Strategy::Replica | Strategy::BaseAndDeltas => {
                self.snapshots.base().map(|durable| durable.image.clone())
            }
        };
        let sealer = self.sealer.clone();
        self.spawn(async move {
            let delta = match base {
                Some(base) => encode_delta(kept.image.clone(), base, sealer.clone()).await,
                None => None,
            };
            if let Some(delta) = delta {
                let bytes = delta.len();
                match service.patch_snapshot(lobby, delta).await {
                    Ok(()) => {
                        return Input::Stored(Stored { kept, result: Ok(Uploaded { bytes, is_delta: true }) });
                    }
                    Err(Error::Refused { code, .. }) if code == "delta_base_missing" => {}
                    Err(error) => return Input::Stored(Stored { kept, result: Err(error.into()) }),
                }
            }
            let result = match encode(kept.image.clone(), sealer).await {
                Ok(record) => {
                    let uploaded = Uploaded { bytes: record.len(), is_delta: false };
                    service.put_snapshot(lobby, record).await.map(|()| uploaded).map_err(NotStored::from)
                }
                Err(reason) => Err(NotStored { reason, is_refused: false }),
            };
            Input::Stored(Stored { kept, result })
        });
    }

    pub(crate) fn stored(&mut self, stored: Stored, now: Instant) {
        let Stored { kept, result } = stored;
        let (generation, tick) = (kept.image.generation(), kept.image.tick());
        if generation.epoch != self.snapshots.epoch || !self.is_host_or_elected(generation.epoch) {
            return;
        }
        self.snapshots.uploading = false;
        match result {
            Ok(uploaded) => {
                let bytes = uploaded.bytes;
                self.is_durable(kept, &uploaded);
                self.event(Event::SnapshotStored { generation, tick, bytes });
            }
            Err(NotStored { reason, is_refused }) => {
                tracing::debug!(reason, epoch = %generation.epoch, seq = generation.seq, "a snapshot was not stored");
                self.event(Event::SnapshotFailed { generation, reason });
                // What the lobby has is not known any more.
                self.snapshots.durable = None;
                if is_refused {
                    self.resync();
                } else if generation.seq == 0 {
                    self.snapshots.due_at = Some(now + FIRST_SNAPSHOT_RETRY);
                }
            }
        }
        match self.snapshots.waiting.take() {
            Some(newest) => self.upload(newest),
            None => self.last_save_is_done(),
        }
    }

    fn is_durable(&mut self, kept: Kept, uploaded: &Uploaded) {
        let (deltas, delta_bytes) = match &self.snapshots.durable {
            Some(before) if uploaded.is_delta => (before.deltas + 1, before.delta_bytes + uploaded.bytes),
            Some(_) | None => (0, 0),
        };
        self.snapshots.durable_given_at = Some(kept.given_at);
        let generation = kept.image.generation();
        self.snapshots.durable = Some(Durable { image: kept.image, deltas, delta_bytes });
        self.settle_state(generation);
    }

    /// This state is durable, or as durable as it gets for now.
    pub(crate) fn settle_state(&mut self, generation: Generation) {
        let ledgers = &mut self.snapshots.ledgers;
        let mut settled_ledger = None;
        while ledgers.front().is_some_and(|(older, _)| *older <= generation) {
            settled_ledger = ledgers.pop_front();
        }
        if let Some((_, ledger)) = settled_ledger {
            let settled = self.shared.lock().streams.handle_durable(&ledger);
            self.settle(&settled);
        }
    }

    /// What this host, or the one before it, had to say to this very seat once it is durable.
    fn hear_own(&self, state: &mut State, settled: &Settled) {
        let me = settled.connection;
        let told: Vec<_> = state.streams.released(settled).collect();
        for (number, payload) in told {
            if state.own.receive(Class::AfterStable, number) == Receipt::Next {
                self.outbox.push_own(Message { from: me, delivery: Delivery::AfterStable, payload }, None);
            }
        }
        let (received, received_stable) = state.own.received(state.epoch);
        state.streams.heard(me, received, received_stable);
    }

    /// Guests forget what is durable, and hear what waited for that.
    pub(crate) fn settle(&self, settled: &[Settled]) {
        let mut state = self.shared.lock();
        let state = &mut *state;
        for settled in settled {
            let guest = settled.connection;
            if guest == self.shared.me() {
                state.own.handle_durable(settled.applied);
                self.hear_own(state, settled);
                continue;
            }
            let Some(link) = state.links.get(&guest).filter(|link| link.in_game && link.epoch == state.epoch) else {
                continue;
            };
            if settled.applied > 0 {
                link.tell(PeerBody::Durable { number: settled.applied });
            }
            for (number, payload) in state.streams.released(settled) {
                link.say(Class::AfterStable, number, payload);
            }
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

/// What seals the records of a lobby, if the game has a key.
pub(crate) type SharedSeal = Option<Arc<dyn Seal + Send + Sync>>;

pub(crate) fn borrowed(seal: &SharedSeal) -> Option<&dyn Seal> {
    seal.as_deref().map(|seal| seal as &dyn Seal)
}

/// Off the driver's thread: it may be large.
pub(crate) async fn encode(image: Image, seal: SharedSeal) -> Result<Bytes, String> {
    let encoded = tokio::task::spawn_blocking(move || image.to_record(borrowed(&seal))).await;
    encoded.map_err(|error| error.to_string())?.map(Bytes::from).map_err(|error| error.to_string())
}

/// `None`: it would not be worth it.
async fn encode_delta(image: Image, base: Image, seal: SharedSeal) -> Option<Bytes> {
    let worth = image.bytes().len() / 2;
    let encoded = tokio::task::spawn_blocking(move || image.delta_from(&base, borrowed(&seal))).await;
    encoded.ok()?.ok().filter(|delta| delta.len() <= worth).map(Bytes::from)
}
