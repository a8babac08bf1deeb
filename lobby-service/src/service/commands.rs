//! Commands of lobbies: those of one lobby wait in its inbox, are decided one after the other and saved together; those of
//! different lobbies meet in the writer.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::commit::{Commit, Freshness, Head, Outcome, Saved, Step, Version};
use protocol::error::Rejection;
use protocol::id::LobbyId;
use protocol::lobby::{Command, Lobby};
use protocol::message::Event;
use tokio::sync::oneshot;

use super::{Error, Service};
use crate::events::Subscription;
use crate::store::{Change, Newer, StoreError, Written};
use crate::writer::Unsaved;

/// Commands of one lobby that wait. One more is refused.
const INBOX_MAX: usize = 1024;
/// Commands that are decided and saved together.
const BATCH_MAX: usize = 128;

/// A command that was carried out.
#[derive(Debug)]
pub(super) struct Applied {
    /// The lobby as it was right after it.
    pub(super) lobby: Arc<Lobby>,
    /// Where the lobby's news come from then on, if that was asked for.
    pub(super) news: Option<Subscription>,
}

/// A command and who waits for it.
#[derive(Debug)]
struct Request {
    command: Command,
    /// Whoever asks listens from then on.
    listens: bool,
    answer: oneshot::Sender<Result<Applied, Error>>,
}

/// The inboxes of lobbies that have commands on their way.
#[derive(Debug, Default)]
pub(super) struct Commands {
    inboxes: Mutex<BTreeMap<LobbyId, Vec<Request>>>,
}

impl Commands {
    /// Returns whether somebody has to begin working on this lobby.
    ///
    /// # Errors
    /// [`Error::Busy`] if its inbox is full.
    fn put(&self, lobby: LobbyId, request: Request) -> Result<bool, Error> {
        let mut inboxes = self.lock();
        let Some(inbox) = inboxes.get_mut(&lobby) else {
            inboxes.insert(lobby, vec![request]);
            return Ok(true);
        };
        if inbox.len() >= INBOX_MAX {
            return Err(Error::Busy);
        }
        inbox.push(request);
        Ok(false)
    }

    /// Takes the next commands; if there are none, nobody works on this lobby any more.
    fn take(&self, lobby: LobbyId) -> Option<Vec<Request>> {
        let mut inboxes = self.lock();
        let inbox = inboxes.get_mut(&lobby)?;
        if inbox.is_empty() {
            inboxes.remove(&lobby);
            return None;
        }
        let count = inbox.len().min(BATCH_MAX);
        Some(inbox.drain(..count).collect())
    }

    /// Nothing in here panics half way, so that a poisoned lock guards whole inboxes.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LobbyId, Vec<Request>>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever works on a lobby: if it panics, the next command begins anew.
struct Worker<'a> {
    commands: &'a Commands,
    lobby: LobbyId,
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.commands.lock().remove(&self.lobby);
        }
    }
}

impl Service {
    /// Has a lobby decide a command, and makes it fact. Returns the lobby as it then is.
    ///
    /// # Errors
    /// The lobby's rejection, [`Error::NotFound`], [`Error::Busy`] or the store's.
    pub async fn execute(self: &Arc<Self>, lobby: LobbyId, command: Command) -> Result<Arc<Lobby>, Error> {
        Ok(self.ask(lobby, command, false).await?.lobby)
    }

    /// As [`Self::execute`]; if `listens`, the caller misses nothing that happens after it.
    pub(super) async fn ask(
        self: &Arc<Self>,
        lobby: LobbyId,
        command: Command,
        listens: bool,
    ) -> Result<Applied, Error> {
        let (answer, answered) = oneshot::channel();
        if self.commands.put(lobby, Request { command, listens, answer })? {
            tokio::spawn(Arc::clone(self).work(lobby));
        }
        answered.await.unwrap_or(Err(Error::Panicked))
    }

    /// Decides what waits in a lobby's inbox, until it is empty.
    async fn work(self: Arc<Self>, lobby: LobbyId) {
        let worker = Worker { commands: &self.commands, lobby };
        while let Some(mut requests) = worker.commands.take(lobby) {
            for moot in requests.extract_if(.., |request| self.is_moot(lobby, &request.command)) {
                drop(moot.answer.send(Err(Error::NotFound)));
            }
            if !requests.is_empty() {
                self.decide(lobby, requests).await;
            }
        }
    }

    /// A member whose loss was noticed may be back since: then there is nothing to tell its lobby.
    fn is_moot(&self, lobby: LobbyId, command: &Command) -> bool {
        matches!(*command, Command::Disconnect { connection, peer_key, .. }
            if self.leases.is_held_by((lobby, connection), peer_key))
    }

    async fn decide(self: &Arc<Self>, lobby: LobbyId, requests: Vec<Request>) {
        let mut commands: Vec<_> = requests.iter().map(|request| request.command.clone()).collect();
        self.notice_stall();
        // After an absence the lobby gets its time again first: nobody is judged by time in which it could not be heard.
        let resumes = self.resumes();
        if resumes {
            commands.insert(0, Command::Resume);
        }
        match self.commit(lobby, commands).await {
            Ok((head, mut outcomes)) => {
                if resumes {
                    outcomes.remove(0);
                }
                for (request, outcome) in requests.into_iter().zip(outcomes) {
                    self.answer(request, outcome, head.as_ref());
                }
            }
            // Whoever does not wait any more does not need to know, here and below.
            Err(failure) => requests.into_iter().for_each(|request| {
                self.metrics.decided("failed");
                drop(request.answer.send(Err(failure.again())));
            }),
        }
    }

    fn answer(self: &Arc<Self>, request: Request, outcome: Outcome, head: Option<&Head>) {
        let answer = match (outcome, head) {
            (Outcome::Applied(lobby), Some(head)) => {
                self.hear(&request.command, head);
                let news = request.listens.then(|| self.listen(head));
                Ok(Applied { lobby, news })
            }
            (
                Outcome::Rejected(Rejection::NotMember | Rejection::Unknown) | Outcome::NotFound | Outcome::Applied(_),
                _,
            ) => Err(Error::NotFound),
            (Outcome::Rejected(rejection), _) => Err(rejection.into()),
            (Outcome::Contended, _) => Err(Error::Busy),
        };
        self.metrics.decided(outcome_of(&answer));
        drop(request.answer.send(answer));
    }

    fn listen(self: &Arc<Self>, head: &Head) -> Subscription {
        let (id, back_by) = (head.lobby.id(), self.clock.back_by(head.lobby.created_at()));
        let news = self.rooms.subscribe(head, back_by);
        // What another instance told while nobody listened here.
        if self.heads.newest_elsewhere(id).is_some_and(|newest| newest > head.version) {
            let service = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = service.look_again(id).await {
                    tracing::debug!(%error, "a lobby could not be read again yet");
                }
            });
        }
        news
    }

    /// A join is the first sign of life, unless the member is heard elsewhere already. From this version on the stored lobby says who
    /// is heard here.
    fn hear(&self, command: &Command, head: &Head) {
        let (id, here) = (head.lobby.id(), self.leases.instance());
        let joined = match command {
            Command::Join(newcomer) => head.lobby.seat_of(newcomer.player).map(|seat| (seat, Some(newcomer.peer_key))),
            Command::Reconnect(returning) => {
                head.lobby.seat_of(returning.player).map(|seat| (seat, Some(returning.peer_key)))
            }
            Command::Connect { connection, .. } => Some((*connection, None)),
            Command::Disconnect { .. }
            | Command::Leave { .. }
            | Command::Ready { .. }
            | Command::HostSilent { .. }
            | Command::HostHeard { .. }
            | Command::Meet { .. }
            | Command::Update { .. }
            | Command::UpdateMember { .. }
            | Command::Kick { .. }
            | Command::Ban { .. }
            | Command::Unban { .. }
            | Command::Replace { .. }
            | Command::AskHandOver { .. }
            | Command::RotateCode { .. }
            | Command::Close { .. }
            | Command::Bulk(_)
            | Command::If { .. }
            | Command::Due
            | Command::Resume => None,
        };
        let Some((connection, sign)) = joined.filter(|&(seat, _)| head.lobby.holder_of(seat) == Some(here)) else {
            return;
        };
        if let Some(peer_key) = sign {
            self.leases.give((id, connection), peer_key);
        }
        self.leases.settled((id, connection), head.version);
    }

    /// Carries out what a commit says, to its end.
    async fn commit(
        self: &Arc<Self>,
        id: LobbyId,
        commands: Vec<Command>,
    ) -> Result<(Option<Head>, Vec<Outcome>), Failure> {
        let (mut commit, mut step) = Commit::new(id, commands);
        let mut is_untold = false;
        if let Some(head) = self.heads.find(id) {
            let freshness = if self.store.is_shared() { Freshness::Cached } else { Freshness::Current };
            step = commit.loaded(Some(head), freshness, self.clock.now());
        }
        loop {
            step = match step {
                Step::Load(id) => {
                    let row = self.stored(self.store.load(id).await)?;
                    self.loaded(&mut commit, row).await?
                }
                Step::Confirm(known) => match self.stored(self.store.load_newer(id, known).await)? {
                    Newer::Same => commit.confirmed(),
                    Newer::Gone => self.loaded(&mut commit, None).await?,
                    Newer::Newest(lobby, version) => self.loaded(&mut commit, Some((lobby, version))).await?,
                },
                Step::Save { expected, lobby, events } => {
                    let written = self.save(Change { expected: Some(expected), lobby, events }).await?;
                    is_untold = written == Written::Done;
                    commit.saved(if is_untold { Saved::Done } else { Saved::Stale })
                }
                Step::Publish { head, events } => {
                    self.saved(&head, &events);
                    is_untold = false;
                    commit.published()
                }
                Step::Done(Some(head), outcomes) => {
                    if is_untold {
                        self.saved(&head, &[]);
                    } else {
                        self.heads.put(head.clone());
                    }
                    return Ok((Some(head), outcomes));
                }
                Step::Done(None, outcomes) => {
                    self.heads.forget(id);
                    return Ok((None, outcomes));
                }
            };
        }
    }

    async fn loaded(self: &Arc<Self>, commit: &mut Commit, row: Option<(Lobby, Version)>) -> Result<Step, Failure> {
        let head = row.map(|(lobby, version)| Head { lobby: Arc::new(lobby), version });
        if let Some(head) = &head {
            self.catch_up(head).await?;
        }
        Ok(commit.loaded(head, Freshness::Current, self.clock.now()))
    }

    async fn save(self: &Arc<Self>, change: Change) -> Result<Written, Failure> {
        let id = change.lobby.id();
        match self.changes.save(change).await {
            Ok(written) => Ok(written),
            Err(Unsaved::Full) => Err(Failure::Busy),
            Err(Unsaved::Store(error)) => {
                // What became of it is known when it is read again.
                self.heads.forget(id);
                self.instances.seek_strays();
                self.look_again_soon(id);
                Err(self.stored::<()>(Err(error)).map_or_else(Failure::from, |()| Failure::Busy))
            }
        }
    }

    /// This instance has saved a lobby.
    fn saved(self: &Arc<Self>, head: &Head, events: &[Event]) {
        self.heads.put(head.clone());
        self.publish(head, events);
        self.look_at_migrations(head.lobby.id(), events);
        self.news.saved(head.lobby.id(), head.version);
    }

    /// Makes a lobby. Who finds and joins it at once waits until it is published here.
    ///
    /// # Errors
    /// [`Error::Busy`], or the store's.
    pub(super) async fn create(self: &Arc<Self>, lobby: Lobby, events: Vec<Event>) -> Result<Written, Error> {
        let (id, lobby) = (lobby.id(), Arc::new(lobby));
        // Somebody is at work on a lobby with this id, which a game or a repeated request may have chosen.
        match self.commands.lock().entry(id) {
            Entry::Occupied(_) => return Ok(Written::Taken),
            Entry::Vacant(entry) => entry.insert(Vec::new()),
        };
        let worker = Worker { commands: &self.commands, lobby: id };
        let change = Change { expected: None, lobby: Arc::clone(&lobby), events: events.clone() };
        let written = self.save(change).await;
        if matches!(written, Ok(Written::Done)) {
            self.saved(&Head { lobby, version: Version(1) }, &events);
        }
        drop(worker);
        Arc::clone(self).work(id).await;
        written.map_err(|failure| failure.again())
    }
}

fn outcome_of(answer: &Result<Applied, Error>) -> &'static str {
    match answer {
        Ok(_) => "applied",
        Err(Error::Rejected(_)) => "rejected",
        Err(Error::NotFound) => "not_found",
        Err(Error::Busy) => "contended",
        Err(_) => "failed",
    }
}

/// Why nobody in a batch has an outcome.
#[derive(Debug)]
enum Failure {
    Busy,
    Store(Arc<StoreError>),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl Failure {
    /// For one of those who wait.
    fn again(&self) -> Error {
        match self {
            Self::Busy => Error::Busy,
            Self::Store(error) => error.again().into(),
        }
    }
}
