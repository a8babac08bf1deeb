//! What all clients share: where the instances are, what is written down, and when it is over.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use protocol::id::{JoinCode, LobbyId, PeerKey, PlayerId};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::history::{Action, Answer, History, Moment, Operation, Outcome};

/// Longer than a database takes to recover, shorter than a run.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(6);
/// Before a client tries again after it got no answer.
const RETRY: Duration = Duration::from_millis(50);

/// Shared by all clients.
#[derive(Debug)]
pub(super) struct World {
    pub(super) instances: Vec<SocketAddr>,
    client: reqwest::Client,
    history: Mutex<History>,
    /// Lobbies that anybody may join.
    open: Mutex<Vec<(LobbyId, JoinCode)>>,
    began: Instant,
    stopped: watch::Sender<bool>,
    /// The events that everybody has to hear before the end.
    expected: watch::Sender<Option<BTreeMap<LobbyId, u64>>>,
}

/// A player who has signed in.
#[derive(Debug, Clone)]
pub(super) struct Player {
    pub(super) id: PlayerId,
    pub(super) token: String,
    pub(super) peer_key: PeerKey,
}

/// What came of a request, before anybody has read it.
#[derive(Debug)]
pub(super) enum Reply {
    Done(Vec<u8>),
    Refused(u16),
    Unknown,
    Failed,
    /// Nobody listened: it was never sent.
    NotSent,
}

impl World {
    pub(super) fn new(instances: Vec<SocketAddr>) -> Result<Self, String> {
        let client = reqwest::Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).build();
        Ok(Self {
            instances,
            client: client.map_err(|error| error.to_string())?,
            history: Mutex::default(),
            open: Mutex::default(),
            began: Instant::now(),
            stopped: watch::Sender::new(false),
            expected: watch::Sender::new(None),
        })
    }

    pub(super) fn now(&self) -> Moment {
        Moment(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX - 1))
    }

    pub(super) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    pub(super) fn expect_heard(&self, expected: BTreeMap<LobbyId, u64>) {
        self.expected.send_replace(Some(expected));
    }

    pub(super) fn expected(&self) -> watch::Receiver<Option<BTreeMap<LobbyId, u64>>> {
        self.expected.subscribe()
    }

    pub(super) fn write<T>(&self, write: impl FnOnce(&mut History) -> T) -> T {
        write(&mut lock(&self.history))
    }

    pub(super) fn take_history(&self) -> History {
        std::mem::take(&mut lock(&self.history))
    }

    pub(super) fn progress(&self) -> String {
        let history = lock(&self.history);
        let unknown = history.operations.iter().filter(|operation| operation.outcome == Outcome::Unknown).count();
        format!("{} requests, {unknown} with an unknown outcome", history.operations.len())
    }

    pub(super) fn open_lobbies(&self) -> MutexGuard<'_, Vec<(LobbyId, JoinCode)>> {
        lock(&self.open)
    }

    /// Waits, but not longer than until the end.
    pub(super) async fn pause(&self, duration: Duration) {
        let mut stopped = self.stopped.subscribe();
        // The end of time is no failure.
        let _ = tokio::time::timeout(duration, stopped.wait_for(|&stopped| stopped)).await;
    }

    pub(super) fn any_instance(&self, rng: &mut Rng) -> SocketAddr {
        self.instances[rng.usize(..self.instances.len())]
    }

    /// Signs in, however long it takes; `None` if it is over before.
    pub(super) async fn sign_in(&self, rng: &mut Rng) -> Option<Player> {
        while !self.is_stopped() {
            if let Some(player) = self.try_sign_in(rng).await {
                return Some(player);
            }
            self.pause(RETRY).await;
        }
        None
    }

    pub(super) async fn try_sign_in(&self, rng: &mut Rng) -> Option<Player> {
        let url = format!("http://{}/v1/players", self.any_instance(rng));
        let Reply::Done(bytes) = reply(self.client.post(url).json(&json!({"name": "chaos"}))).await else {
            return None;
        };
        let session: Value = serde_json::from_slice(&bytes).ok()?;
        let id = session["player"].as_str()?.parse().ok()?;
        let token = session["access_token"].as_str()?.to_owned();
        let peer_key = PeerKey::from_bytes(std::array::from_fn(|_| rng.u8(..)));
        Some(Player { id, token, peer_key })
    }

    pub(super) fn request(&self, at: SocketAddr, player: &Player, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{at}{path}")).bearer_auth(&player.token)
    }

    /// Sends a request at some instance and writes down what came of it. `read` makes sense of the answer, or of the status with
    /// which it was refused. One that nobody took is sent to another instance.
    pub(super) async fn perform(
        &self,
        rng: &mut Rng,
        player: &Player,
        lobby: Option<LobbyId>,
        action: Action,
        request: impl Fn(SocketAddr) -> RequestBuilder,
        read: impl Fn(Result<&[u8], u16>) -> Option<(LobbyId, Answer)>,
    ) -> Outcome {
        loop {
            let invoked = self.now();
            let reply = reply(request(self.any_instance(rng))).await;
            let (found, outcome) = match reply {
                Reply::Done(bytes) => match read(Ok(&bytes)) {
                    Some((lobby, answer)) => (Some(lobby), Outcome::Done(answer)),
                    None => (lobby, Outcome::Failed),
                },
                Reply::Refused(status) => match read(Err(status)) {
                    Some((lobby, answer)) => (Some(lobby), Outcome::Done(answer)),
                    None => (lobby, Outcome::Refused(status)),
                },
                Reply::Unknown => (lobby, Outcome::Unknown),
                Reply::Failed => (lobby, Outcome::Failed),
                Reply::NotSent if self.is_stopped() => return Outcome::Unknown,
                Reply::NotSent => {
                    self.pause(RETRY).await;
                    continue;
                }
            };
            let returned = if outcome == Outcome::Unknown { Moment::NEVER } else { self.now() };
            let operation =
                Operation { player: player.id, lobby: found, invoked, returned, action, outcome: outcome.clone() };
            self.write(|history| history.operations.push(operation));
            if outcome == Outcome::Unknown {
                self.pause(RETRY).await;
            }
            return outcome;
        }
    }

    /// Waits until every instance answers and reaches its database.
    pub(super) async fn wait_healthy(&self) {
        for instance in &self.instances {
            let url = format!("http://{instance}/readyz");
            while !matches!(reply(self.client.get(&url)).await, Reply::Done(_)) {
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

pub(super) async fn reply(request: RequestBuilder) -> Reply {
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() => return Reply::NotSent,
        Err(_) => return Reply::Unknown,
    };
    match response.status() {
        status if status.is_success() => {
            response.bytes().await.map_or(Reply::Unknown, |bytes| Reply::Done(bytes.to_vec()))
        }
        StatusCode::INTERNAL_SERVER_ERROR => Reply::Failed,
        status if status.is_client_error() => Reply::Refused(status.as_u16()),
        _ => Reply::Unknown,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
