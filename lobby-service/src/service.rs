//! What the service does: the only caller of `Lobby::apply`, and the only writer of the store.
//!
//! Commands of one lobby take turns in this process; between processes the version of the stored lobby decides. A command that
//! has begun is finished even if its caller is gone, so that nothing is saved and then not published.

mod host;
mod lobbies;
mod players;
mod seat;
mod snapshots;
mod suspicion;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use protocol::commit::{Commit, Outcome, Step};
use protocol::error::Rejection;
use protocol::id::{EventSeq, LobbyId, PlayerId};
use protocol::limits;
use protocol::lobby::{Command, Lobby};
use protocol::message::{CloseReason, Event, EventBody};
use protocol::presence::Lost;
use tokio::sync::{Mutex, MutexGuard};

use crate::auth::Auth;
use crate::clock::Clock;
use crate::events::{Published, Rooms};
use crate::presence::Leases;
use crate::relays::{Order, Relays};
use crate::store::{SnapshotRefusal, Store, StoreError};
use crate::sweeper::Deadlines;

pub use host::RelayPass;
pub use lobbies::{Joined, NewLobby, Profile};
pub use players::SignedIn;
pub(crate) use seat::SeatSocket;
use snapshots::Snapshots;
pub(crate) use snapshots::Upload;

/// Locks that the lobbies share: more than there are commands at once.
const TURNS: usize = 64;
/// Time between two attempts to tell a lobby whom it has lost, while the store is away.
const RETRY: Duration = Duration::from_millis(250);

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
    /// Too much at once.
    #[error("too busy; try again")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A token could not be signed.
    #[error("the service failed")]
    Sign(#[source] jsonwebtoken::errors::Error),
    /// A bug of ours. It has been logged.
    #[error("the service failed")]
    Panicked,
}

/// The service.
#[derive(Debug)]
pub struct Service {
    /// The clock of all its decisions.
    pub clock: Clock,
    /// Its tokens.
    pub auth: Auth,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) leases: Leases,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) deadlines: Deadlines,
    pub(crate) relays: Relays,
    snapshots: Snapshots,
    turns: [Mutex<()>; TURNS],
    /// How often the service or its store was away; the start is the first time.
    absences: AtomicU64,
    /// After how many of them every lobby has had its time again.
    resumed: AtomicU64,
    stopping: AtomicBool,
}

impl Service {
    /// Makes a service over a store. Nothing runs yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, auth: Auth) -> Arc<Self> {
        Arc::new(Self {
            clock: Clock::start(),
            auth,
            store,
            leases: Leases::default(),
            rooms: Arc::default(),
            deadlines: Deadlines::default(),
            relays: Relays::default(),
            snapshots: Snapshots::default(),
            turns: std::array::from_fn(|_| Mutex::new(())),
            absences: AtomicU64::new(1),
            resumed: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        })
    }

    /// Whether the store can be reached.
    ///
    /// # Errors
    /// The store's.
    pub async fn check_health(&self) -> Result<(), Error> {
        self.store.due(1).await?;
        Ok(())
    }

    /// Gives every connected member of every stored lobby a full term, so that a restart elects nobody.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn give_leases(&self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.store.connected_lobbies(after, limits::LIST_PAGE_MAX).await?;
            for lobby in &page {
                lobby.connected().for_each(|(connection, key)| self.leases.give((lobby.id(), connection), key));
            }
            match page.last() {
                Some(last) => after = Some(last.id()),
                None => return Ok(()),
            }
        }
    }

    /// Has a lobby decide a command, and makes it fact. Returns the lobby as it then is.
    ///
    /// # Errors
    /// The lobby's rejection, [`Error::NotFound`], [`Error::Busy`] or the store's.
    pub async fn execute(self: &Arc<Self>, lobby: LobbyId, command: Command) -> Result<Box<Lobby>, Error> {
        let service = Arc::clone(self);
        to_the_end(async move {
            let _turn = service.turn(lobby).await;
            service.decide(lobby, command).await
        })
        .await
    }

    /// Waits until it is this lobby's turn.
    async fn turn(&self, lobby: LobbyId) -> MutexGuard<'_, ()> {
        self.turns[usize::from(lobby.as_bytes()[0]) % TURNS].lock().await
    }

    /// As [`Self::execute`], for who has the turn. After an absence the lobby gets its time again first: nobody is judged by
    /// time in which it could not be heard.
    async fn decide(self: &Arc<Self>, lobby: LobbyId, command: Command) -> Result<Box<Lobby>, Error> {
        if self.resumed.load(Ordering::SeqCst) < self.absences() {
            self.commit(lobby, Command::Resume).await?;
        }
        self.commit(lobby, command).await
    }

    async fn commit(self: &Arc<Self>, lobby: LobbyId, command: Command) -> Result<Box<Lobby>, Error> {
        let (mut commit, mut step) = Commit::new(lobby, command);
        loop {
            step = match step {
                Step::Load(id) => {
                    let row = self.stored(self.store.load(id).await)?;
                    if let Some((lobby, _)) = &row {
                        self.catch_up(lobby).await?;
                    }
                    commit.loaded(row, self.clock.now())
                }
                Step::Save { expected, lobby, events } => {
                    let saved = self.stored(self.store.save(expected, &lobby, &events).await)?;
                    commit.saved(saved)
                }
                Step::Publish { lobby, events } => {
                    self.publish(&lobby, &events);
                    commit.published()
                }
                Step::Done(outcome) => return self.finish(outcome),
            };
        }
    }

    /// A save may have been made although the store's answer was lost: then those who listen are told now.
    async fn catch_up(self: &Arc<Self>, lobby: &Lobby) -> Result<(), Error> {
        let Some(known) = self.rooms.newest(lobby.id()).filter(|&known| known < lobby.last_event()) else {
            return Ok(());
        };
        let events = self.stored(self.store.events_after(lobby.id(), known, limits::EVENTS_PAGE).await)?;
        self.publish(lobby, &events.unwrap_or_default());
        self.settled(lobby);
        Ok(())
    }

    fn finish(self: &Arc<Self>, outcome: Outcome) -> Result<Box<Lobby>, Error> {
        match outcome {
            Outcome::Applied { lobby, changed, .. } => {
                if changed {
                    self.settled(&lobby);
                }
                Ok(lobby)
            }
            Outcome::Rejected(Rejection::NotMember) | Outcome::NotFound => Err(Error::NotFound),
            Outcome::Rejected(rejection) => Err(rejection.into()),
            Outcome::Contended => Err(Error::Busy),
        }
    }

    /// Tells whoever listens what was saved.
    fn publish(&self, lobby: &Lobby, events: &[Event]) {
        let id = lobby.id();
        self.rooms.publish(id, events);
        for event in events {
            match &event.body {
                EventBody::MemberJoined { member } => {
                    self.relays.order(Order::Reinstate { lobby: id, connection: member.connection });
                }
                EventBody::MemberLeft { connection, .. } => {
                    self.relays.order(Order::Revoke { lobby: id, connection: *connection });
                    self.leases.forget((id, *connection));
                }
                EventBody::LobbyClosed => self.relays.order(Order::Close { lobby: id }),
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
                | EventBody::SuccessorChanged { .. } => {}
            }
        }
    }

    /// A lobby has changed: its next deadline and what is said of its host rest on it.
    fn settled(self: &Arc<Self>, lobby: &Lobby) {
        if let Some(at) = lobby.due_at() {
            self.deadlines.add(at);
        }
        self.lobby_changed(lobby);
    }

    /// What to do with a failure of the store: members whose signs of life could not be handled are not to suffer from it.
    fn stored<T>(&self, result: Result<T, StoreError>) -> Result<T, Error> {
        if let Err(StoreError::Unavailable(_)) = result {
            self.was_away();
        }
        Ok(result?)
    }

    /// Nothing could be heard for a while: every member gets a full term, and every lobby its time again.
    pub(crate) fn was_away(&self) {
        self.leases.renew_all();
        self.absences.fetch_add(1, Ordering::SeqCst);
    }

    /// How often that was so.
    pub(crate) fn absences(&self) -> u64 {
        self.absences.load(Ordering::SeqCst)
    }

    /// After so many absences no lobby has a deadline that has passed.
    pub(crate) fn has_resumed(&self, absences: u64) {
        self.resumed.fetch_max(absences, Ordering::SeqCst);
    }

    /// Events after a number, with their messages; `None` if they are not kept any more.
    pub(crate) async fn events_after(
        &self,
        lobby: LobbyId,
        after: EventSeq,
    ) -> Result<Option<Vec<Arc<Published>>>, Error> {
        if let Some(recent) = self.rooms.events_after(lobby, after) {
            return Ok(Some(recent));
        }
        let events = self.stored(self.store.events_after(lobby, after, limits::EVENTS_PAGE).await)?;
        Ok(events.map(|events| events.into_iter().map(|event| Arc::new(Published::new(event))).collect()))
    }

    /// A member is not connected any more. Its lobby is told, as soon as the store allows it, unless the member is back.
    pub(crate) fn lose(self: &Arc<Self>, lost: Lost) {
        let service = Arc::clone(self);
        tokio::spawn(async move {
            let (lobby, connection) = lost.seat;
            let command = Command::Disconnect { connection, peer_key: lost.peer_key };
            while !service.is_stopping() {
                {
                    let _turn = service.turn(lobby).await;
                    if service.leases.is_held_by(lost.seat, lost.peer_key) {
                        return;
                    }
                    match service.decide(lobby, command.clone()).await {
                        Err(Error::Store(error @ StoreError::Unavailable(_))) => {
                            tracing::warn!(%error, "a lost member could not be recorded yet");
                        }
                        Err(Error::Store(error @ StoreError::Corrupt { .. })) => {
                            tracing::error!(%lobby, %error, "a lost member cannot be recorded");
                            return;
                        }
                        Ok(_) | Err(_) => return,
                    }
                }
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

    /// A lobby, for one of its members.
    async fn lobby_of(&self, lobby: LobbyId, player: PlayerId) -> Result<(Lobby, protocol::id::ConnectionId), Error> {
        let (lobby, _) = self.store.load(lobby).await?.ok_or(Error::NotFound)?;
        let connection = lobby.seat_of(player).ok_or(Error::NotFound)?;
        Ok((lobby, connection))
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
