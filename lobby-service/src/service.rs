//! What the service does: the only caller of `Lobby::apply`, and the only writer of the store.
//!
//! Commands of one lobby are decided one after the other in this process (`commands`); between processes the version of the
//! stored lobby decides. A command that has begun is finished even if its caller is gone, so that nothing is saved and then not
//! published.

mod api_keys;
mod commands;
mod find;
mod host;
mod lobbies;
mod manage;
mod overview;
mod passwords;
mod players;
mod seat;
mod snapshots;
mod suspicion;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use protocol::commit::Head;
use protocol::error::Rejection;
use protocol::id::{ConnectionId, EventSeq, InstanceId, LobbyId, PlayerId};
use protocol::limits;
use protocol::lobby::{Command, Lobby};
use protocol::message::{CloseReason, Event, EventBody};
use protocol::presence::Lost;

use crate::auth::{Auth, random};
use crate::clock::Clock;
use crate::events::{Published, Rooms};
use crate::heads::{Heads, Names};
use crate::instances::Instances;
use crate::limits::{Limiter, Limits, QuotaExceeded};
use crate::metrics::Metrics;
use crate::migrations::Migrations;
use crate::news::News;
use crate::presence::Leases;
use crate::relays::{Order, Relays};
use crate::store::{Change, NewDelta, NewSnapshot, Newer, SnapshotRefusal, Store, StoreError, Written};
use crate::sweeper::Deadlines;
use crate::writer::{AsyncSave, Bounds, Unsaved, Writer};

use api_keys::ApiKeys;
use commands::Commands;
pub use host::{Ice, RelayPass};
pub use lobbies::{Foundation, Joined, Profile, ReconnectSecret, Request, Returning};
pub use manage::{Asker, Patch};
pub use overview::LobbyState;
use passwords::Passwords;
pub use players::SignedIn;
pub(crate) use seat::SeatSocket;
pub use snapshots::Fetched;
use snapshots::Snapshots;
pub(crate) use snapshots::Upload;

/// Changes of lobbies that wait to be saved, and that are saved together.
const CHANGES: Bounds = Bounds { queue: 1024, batch: 256, batch_bytes: 1 << 20 };
/// The same of snapshots. Those that wait are counted among the bytes that are received, too.
const NEW_SNAPSHOTS: Bounds = Bounds { queue: 256, batch: 64, batch_bytes: 1 << 20 };
/// The same of deltas, which are small, in each lane.
const NEW_DELTAS: Bounds = Bounds { queue: 2048, batch: 512, batch_bytes: 1 << 20 };
/// Transactions that store deltas at the same time where the store can do more than one: while the one waits for the disk, or for this
/// process, the other works. A lobby has always the same lane, so that none waits for another's locks.
const DELTA_LANES: usize = 2;
/// Time between two attempts at what the store did not do, or what was too much at once.
const RETRY: Duration = Duration::from_millis(250);
/// A store that has done nothing for so long is away. A call that fails in between says nothing about the members.
const AWAY_AFTER: Duration = Duration::from_secs(1);

/// Why an operation was refused, or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// By the lobby.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// A snapshot, and why.
    #[error(transparent)]
    Snapshot(#[from] SnapshotRefusal),
    /// There is nothing, or nothing that the caller may know of.
    #[error("there is nothing here")]
    NotFound,
    /// The token is not valid.
    #[error("the token is not valid")]
    Unauthenticated,
    /// A host does not say on which epoch its request rests.
    #[error("a host says at which epoch it believes to be: `epoch` is missing")]
    EpochRequired,
    /// No lobby that is looked for can be joined.
    #[error("no lobby that you look for can be joined")]
    NoOpenLobbies,
    /// The key of an idempotent request was used for another one.
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
    /// A refresh token that was used up: its whole family has ended.
    #[error("this refresh token was used before: all that came from the same sign-in have ended")]
    RefreshReused,
    /// The keys of the issuer that a token names cannot be had.
    #[error("the keys of the token's issuer cannot be had now; try again")]
    IssuerAway,
    /// The player has as many lobbies as it may have.
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// Too much at once.
    #[error("too busy; try again")]
    Busy,
    /// The store failed. What was asked may have been done, or not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A token could not be signed.
    #[error("the service failed")]
    Sign(#[source] jsonwebtoken::errors::Error),
    /// A bug of ours. It has been logged.
    #[error("the service failed")]
    Panicked,
}

impl From<Unsaved> for Error {
    fn from(unsaved: Unsaved) -> Self {
        match unsaved {
            Unsaved::Full => Self::Busy,
            Unsaved::Store(error) => Self::Store(error),
        }
    }
}

/// The service.
#[derive(Debug)]
pub struct Service {
    /// The clock of all its decisions.
    pub clock: Clock,
    /// Its tokens.
    pub auth: Auth,
    /// What it counts.
    pub metrics: Metrics,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) leases: Leases,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) deadlines: Deadlines,
    pub(crate) relays: Relays,
    pub(crate) heads: Heads,
    pub(crate) news: News,
    pub(crate) instances: Instances,
    pub(crate) limiter: Limiter,
    pub(crate) migrations: Migrations,
    names: Names,
    passwords: Passwords,
    api_keys: ApiKeys,
    commands: Commands,
    changes: Writer<Change, Written>,
    new_snapshots: Writer<NewSnapshot, Result<(), SnapshotRefusal>>,
    new_deltas: Vec<Writer<NewDelta, Result<(), SnapshotRefusal>>>,
    snapshots: Snapshots,
    /// How often the service or its store was away; the start is the first time.
    absences: AtomicU64,
    /// After how many of them every lobby has had its time again.
    resumed: AtomicU64,
    stopping: AtomicBool,
    draining: overview::Draining,
    /// When the store did what it was asked the last time, since the start.
    stored_at_ms: AtomicU64,
}

struct SaveChanges(Arc<dyn Store>);

impl AsyncSave<Change, Written> for SaveChanges {
    async fn save(&self, batch: Vec<Change>) -> Result<Vec<Written>, StoreError> {
        self.0.write(&batch).await
    }
}

struct SaveSnapshots(Arc<dyn Store>);

impl AsyncSave<NewSnapshot, Result<(), SnapshotRefusal>> for SaveSnapshots {
    async fn save(&self, batch: Vec<NewSnapshot>) -> Result<Vec<Result<(), SnapshotRefusal>>, StoreError> {
        self.0.put_snapshots(&batch).await
    }
}

struct SaveDeltas(Arc<dyn Store>);

impl AsyncSave<NewDelta, Result<(), SnapshotRefusal>> for SaveDeltas {
    async fn save(&self, batch: Vec<NewDelta>) -> Result<Vec<Result<(), SnapshotRefusal>>, StoreError> {
        self.0.put_deltas(&batch).await
    }
}

impl Service {
    /// Makes a service over a store, on the runtime that it is called in, where its writers run for as long as it is there.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, auth: Auth, limits: Limits) -> Arc<Self> {
        let metrics = Metrics::default();
        let (changes, saving_changes) = Writer::new(CHANGES, metrics.saves("lobbies"), SaveChanges(Arc::clone(&store)));
        let (new_snapshots, saving_snapshots) =
            Writer::new(NEW_SNAPSHOTS, metrics.saves("snapshots"), SaveSnapshots(Arc::clone(&store)));
        tokio::spawn(saving_changes);
        tokio::spawn(saving_snapshots);
        let lanes = if store.is_shared() { DELTA_LANES } else { 1 };
        let lane = |_| {
            let saves = metrics.saves("deltas");
            let (new_deltas, saving_deltas) = Writer::new(NEW_DELTAS, saves, SaveDeltas(Arc::clone(&store)));
            tokio::spawn(saving_deltas);
            new_deltas
        };
        let new_deltas = (0..lanes).map(lane).collect();
        Arc::new(Self {
            clock: Clock::start(),
            auth,
            metrics,
            leases: Leases::new(InstanceId::from_bytes(random())),
            rooms: Arc::default(),
            deadlines: Deadlines::default(),
            relays: Relays::default(),
            heads: Heads::default(),
            news: News::new(store.is_shared()),
            instances: Instances::default(),
            limiter: Limiter::new(limits),
            migrations: Migrations::default(),
            names: Names::default(),
            passwords: Passwords::default(),
            api_keys: ApiKeys::default(),
            commands: Commands::default(),
            changes,
            new_snapshots,
            new_deltas,
            snapshots: Snapshots::default(),
            absences: AtomicU64::new(1),
            resumed: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            draining: overview::Draining::default(),
            stored_at_ms: AtomicU64::new(0),
            store,
        })
    }

    /// Tells whoever listens here what was saved, here or elsewhere.
    fn publish(self: &Arc<Self>, head: &Head, events: &[Event]) {
        let id = head.lobby.id();
        if self.rooms.known(id).is_some_and(|(known, _)| known >= head.version) {
            return;
        }
        events.iter().for_each(|event| self.tell_relays(id, &event.body));
        if events.iter().any(|event| matches!(event.body, EventBody::MemberLeft { .. })) {
            self.leases.let_go(head, events);
        }
        if let Some(at) = head.lobby.due_at() {
            self.deadlines.add(at);
        }
        if self.rooms.publish(head, events) {
            self.consider(id);
        }
    }

    /// What relays have to know of an event.
    fn tell_relays(&self, lobby: LobbyId, body: &EventBody) {
        match body {
            EventBody::MemberJoined { member } => {
                self.relays.order(Order::Reinstate { lobby, connection: member.connection });
            }
            EventBody::MemberLeft { connection, .. } => {
                self.relays.order(Order::Revoke { lobby, connection: *connection });
            }
            EventBody::LobbyClosed => self.relays.order(Order::Close { lobby }),
            EventBody::MemberChanged { .. }
            | EventBody::MemberConnected { .. }
            | EventBody::MemberDisconnected { .. }
            | EventBody::HostLost { .. }
            | EventBody::HostReturned { .. }
            | EventBody::HostVouched { .. }
            | EventBody::HostElected { .. }
            | EventBody::HostReady { .. }
            | EventBody::ElectionFailed { .. }
            | EventBody::HostParked { .. }
            | EventBody::HandOverAsked { .. }
            | EventBody::HandOverEnded
            | EventBody::SuccessorChanged { .. }
            | EventBody::LobbyChanged { .. }
            | EventBody::DataChanged { .. }
            | EventBody::PrivateDataChanged { .. }
            | EventBody::MemberDataChanged { .. }
            | EventBody::MemberPrivateDataChanged { .. }
            | EventBody::JoinCodeChanged { .. }
            | EventBody::PlayerBanned { .. }
            | EventBody::PlayerUnbanned { .. }
            | EventBody::Hidden => {}
        }
    }

    /// Another instance may have saved a lobby since: reads what it has done, and tells whoever listens here.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn look_again(self: &Arc<Self>, id: LobbyId) -> Result<(), StoreError> {
        let Some((known, _)) = self.rooms.known(id) else { return Ok(()) };
        if let Newer::Newest(lobby, version) = self.stored(self.store.load_newer(id, known).await)? {
            self.heads.saved_elsewhere(id, version);
            self.catch_up(&Head { lobby: Arc::new(lobby), version }).await?;
        }
        Ok(())
    }

    /// A lobby was read that somebody else may have saved: another instance, or this one, whose store's answer was lost.
    async fn catch_up(self: &Arc<Self>, head: &Head) -> Result<(), StoreError> {
        let id = head.lobby.id();
        self.leases.let_go(head, &[]);
        let Some((_, newest)) = self.rooms.known(id).filter(|&(known, _)| known < head.version) else { return Ok(()) };
        let events = if newest < head.lobby.last_event() {
            self.stored(self.store.events_after(id, newest, limits::EVENTS_PAGE).await)?.unwrap_or_default()
        } else {
            Vec::new()
        };
        self.publish(head, &events);
        Ok(())
    }

    /// What to do with a failure of the store: once nothing has succeeded for a while, members whose signs of life could not be
    /// handled are not to suffer from it.
    fn stored<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let now_ms = self.clock.runs_for().as_millis() as u64;
        match result {
            Ok(_) => self.stored_at_ms.store(now_ms, Ordering::Relaxed),
            Err(StoreError::Unavailable(_)) => {
                self.metrics.store_failed("unavailable");
                if now_ms.saturating_sub(self.stored_at_ms.load(Ordering::Relaxed)) > AWAY_AFTER.as_millis() as u64 {
                    self.was_away();
                }
            }
            Err(StoreError::Unsafe { .. }) => self.metrics.store_failed("unsafe"),
            Err(StoreError::Corrupt { .. }) => self.metrics.store_failed("corrupt"),
        }
        result
    }

    /// Nothing could be heard for a while: every member gets a full term, and every lobby its time again.
    pub(crate) fn was_away(&self) {
        self.leases.renew_all();
        self.absences.fetch_add(1, Ordering::SeqCst);
    }

    /// If the process was stopped for a while, nobody is judged by what queued up meanwhile.
    pub(crate) fn notice_stall(&self) {
        if self.leases.has_stalled() {
            tracing::warn!("the process was stopped for a while; every member gets a full term");
            self.was_away();
        }
    }

    /// How often that was so.
    pub(crate) fn absences(&self) -> u64 {
        self.absences.load(Ordering::SeqCst)
    }

    /// Whether the lobbies have to get their time again first.
    fn resumes(&self) -> bool {
        self.resumed.load(Ordering::SeqCst) < self.absences()
    }

    /// After so many absences no lobby has a deadline that has passed.
    pub(crate) fn has_resumed(&self, absences: u64) {
        self.resumed.fetch_max(absences, Ordering::SeqCst);
    }

    /// Stored events after a number, with their messages; `None` if they are not kept any more.
    pub(crate) async fn stored_events_after(
        &self,
        lobby: LobbyId,
        after: EventSeq,
    ) -> Result<Option<Vec<Arc<Published>>>, Error> {
        let events = self.stored(self.store.events_after(lobby, after, limits::EVENTS_PAGE).await)?;
        Ok(events.map(|events| events.into_iter().map(|event| Arc::new(Published::new(event))).collect()))
    }

    /// A member is not connected any more. Its lobby is told, as soon as the store allows it, unless the member is back by then.
    pub(crate) fn lose(self: &Arc<Self>, lost: Lost) {
        let service = Arc::clone(self);
        tokio::spawn(async move {
            let Lost { seat: (lobby, connection), peer_key, holder, .. } = lost;
            let command = Command::Disconnect { connection, peer_key, holder };
            while !service.is_stopping() {
                match service.execute(lobby, command.clone()).await {
                    Err(Error::Store(error @ StoreError::Unavailable(_))) => {
                        tracing::warn!(%error, "a lost member could not be recorded; it has a term to come back");
                        return service.leases.take_over([(lost.seat, peer_key, holder)].into_iter());
                    }
                    Err(Error::Store(error)) => {
                        return tracing::error!(%lobby, %error, "a lost member cannot be recorded");
                    }
                    Err(Error::Busy) => tokio::time::sleep(RETRY).await,
                    Err(Error::Panicked) => return service.instances.seek_strays(),
                    Ok(_) | Err(_) => return,
                }
            }
        });
    }

    /// A command of a member has failed after its lease was changed: if its lobby says that it is heard here, it is looked after.
    async fn look_after(self: &Arc<Self>, id: LobbyId, failure: &Error) {
        // It may be saved or not, and that may not be known yet.
        if matches!(failure, Error::Busy | Error::Store(_) | Error::Panicked) {
            return self.instances.seek_strays();
        }
        match self.lobby(id).await {
            Ok(lobby) => {
                let here = self.leases.instance();
                let ours = lobby.connected().filter(|&(_, _, holder)| holder == here);
                self.leases.take_over(ours.map(|(connection, key, holder)| ((id, connection), key, holder)));
            }
            Err(Error::NotFound) => {}
            Err(_) => self.instances.seek_strays(),
        }
    }

    /// A save has no answer: whoever listens is told what became of it, once that can be read.
    fn look_again_soon(self: &Arc<Self>, id: LobbyId) {
        if self.rooms.known(id).is_none() {
            return;
        }
        let service = Arc::clone(self);
        tokio::spawn(async move {
            while !service.is_stopping() && service.look_again(id).await.is_err() {
                tokio::time::sleep(RETRY).await;
            }
        });
    }

    /// Whether the service is about to end: then the end of a socket loses nobody.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Closes all sockets. Their members stay connected in their lobbies: the next start gives them a term to come back.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.leases.close_all(CloseReason::GoingAway);
    }

    /// A lobby as it is stored now.
    pub(crate) async fn lobby(&self, id: LobbyId) -> Result<Arc<Lobby>, Error> {
        let newest = match self.heads.find(id) {
            Some(head) if !self.store.is_shared() => return Ok(head.lobby),
            Some(head) => match self.stored(self.store.load_newer(id, head.version).await)? {
                Newer::Same => return Ok(head.lobby),
                Newer::Newest(lobby, version) => {
                    self.heads.saved_elsewhere(id, version);
                    Some(lobby)
                }
                Newer::Gone => None,
            },
            None => self.stored(self.store.load(id).await)?.map(|(lobby, _)| lobby),
        };
        newest.map(Arc::new).ok_or(Error::NotFound)
    }

    /// A lobby as it is now, for one of its members.
    async fn lobby_of(&self, id: LobbyId, player: PlayerId) -> Result<(Arc<Lobby>, ConnectionId), Error> {
        let lobby = self.lobby(id).await?;
        let connection = lobby.seat_of(player).ok_or(Error::NotFound)?;
        Ok((lobby, connection))
    }

    /// A player's seat, for a command that will be decided on the lobby as it then is: a seat stays a player's own, so that a
    /// remembered lobby will do.
    async fn seat_of(&self, id: LobbyId, player: PlayerId) -> Result<ConnectionId, Error> {
        match self.heads.find(id).and_then(|head| head.lobby.seat_of(player)) {
            Some(connection) => Ok(connection),
            None => Ok(self.lobby_of(id, player).await?.1),
        }
    }
}

/// Runs a future to its end, even if the caller is dropped.
async fn to_the_end<T: Send + 'static>(
    future: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(future).await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!(%error, "a command did not end");
            Err(Error::Panicked)
        }
    }
}
