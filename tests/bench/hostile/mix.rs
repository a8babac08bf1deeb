//! Well-behaved clients: each in turn has a player join, beat, look and leave, and makes lobbies; three members of each lobby listen.
//! Turns come at a steady pace, whatever the service does, and a request's time begins with its turn.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use futures_util::stream::FuturesOrdered;
use protocol::id::LobbyId;
use serde_json::json;
use tokio::sync::mpsc;

use super::Failure;
use super::http::Client;
use super::player::{Player, players};
use super::scale::Scale;
use super::seat::{self, Named};
use super::service::Service;
use super::socket::{self, Ear};

/// Clients, each with a connection and a lobby.
const CLIENTS: usize = 16;
/// Members of each lobby who listen.
const LISTENERS: usize = 3;
/// Players of each client: those who listen, one who comes and goes, and one who makes lobbies.
const PLAYERS: usize = LISTENERS + 2;
/// Players of all clients.
pub(crate) const ALL_PLAYERS: usize = CLIENTS * PLAYERS;
/// Longest wait for events that were answered for.
const LATE: Duration = Duration::from_secs(10);

/// All clients.
pub(crate) struct Mix {
    clients: Vec<Regular>,
}

/// One client.
struct Regular {
    client: Client,
    players: Vec<Player>,
    lobby: Named,
    ears: Vec<Ear>,
    turn: usize,
    /// Lobby that it has made and not left.
    made: Option<LobbyId>,
    /// When the requests were due that others hear of.
    changes: Vec<Instant>,
}

/// How long requests and events took, since they were due.
#[derive(Debug, Default)]
pub(crate) struct Times {
    pub(crate) requests: Vec<Duration>,
    pub(crate) events: Vec<Duration>,
}

impl Mix {
    /// Fills the lobbies.
    pub(crate) async fn begin(service: &Service) -> Result<Self, Failure> {
        let mut all = players(&service.auth, ALL_PLAYERS)?;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(Regular::begin(service, all.drain(..PLAYERS).collect()).await?);
        }
        Ok(Self { clients })
    }

    /// Plays for a while. Each event must have been heard by all who listen.
    pub(crate) async fn play(&mut self, scale: &Scale) -> Result<Times, Failure> {
        let (mut turns, mut work) = (Vec::new(), FuturesOrdered::new());
        for client in &mut self.clients {
            let (sender, receiver) = mpsc::unbounded_channel();
            turns.push(sender);
            work.push_back(client.play(receiver));
        }
        let metronome = beat(turns, scale);
        let requests: Vec<Vec<Duration>> = work.try_collect().await?;
        metronome.join().map_err(|_| "the metronome panicked")?;
        let mut times = Times { requests: requests.into_iter().flatten().collect(), events: Vec::new() };
        for client in &mut self.clients {
            client.hear(&mut times.events).await?;
        }
        Ok(times)
    }
}

/// Gives the turns in a thread of its own: the runtime's timers are a millisecond apart.
fn beat(turns: Vec<mpsc::UnboundedSender<Instant>>, scale: &Scale) -> JoinHandle<()> {
    let interval = Duration::from_secs(1) / scale.requests_a_second as u32;
    let (began, lasting) = (Instant::now(), scale.lasting);
    std::thread::spawn(move || {
        for number in 0_u32.. {
            let due = began + interval * number;
            if due > began + lasting {
                return;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // One that has failed needs no turns.
            let _ = turns[number as usize % turns.len()].send(due);
        }
    })
}

impl Regular {
    async fn begin(service: &Service, players: Vec<Player>) -> Result<Self, Failure> {
        let mut client = Client::connect(service.address).await?;
        let lobby = seat::create(&mut client, &players[0]).await?.lobby;
        for player in &players[1..LISTENERS] {
            seat::join(&mut client, player, lobby.join_code, true).await?;
        }
        let mut ears = Vec::new();
        for player in &players[..LISTENERS] {
            ears.push(Ear::of(socket::open(service.address, player, lobby.id).await?));
        }
        Ok(Self { client, players, lobby, ears, turn: 0, made: None, changes: Vec::new() })
    }

    async fn play(&mut self, mut turns: mpsc::UnboundedReceiver<Instant>) -> Result<Vec<Duration>, Failure> {
        let mut took = Vec::new();
        while let Some(due) = turns.recv().await {
            self.take_turn(due).await?;
            took.push(due.elapsed());
        }
        Ok(took)
    }

    async fn take_turn(&mut self, due: Instant) -> Result<(), Failure> {
        let Self { client, players, lobby, .. } = self;
        let [host, .., visitor, maker] = players.as_slice() else { return Err("a client has players".into()) };
        match self.turn % 6 {
            0 => {
                self.changes.push(due);
                seat::join(client, visitor, lobby.join_code, false).await?;
            }
            1 => {
                let body = json!({"peer_key": host.peer_key}).to_string();
                client.post(host, &format!("/v1/lobbies/{}/heartbeat", lobby.id), &body).await?;
            }
            2 => self.made = Some(seat::create(client, maker).await?.lobby.id),
            3 => {
                client.send("GET", host, &format!("/v1/lobbies/{}", lobby.id), "", &[]).await?;
            }
            4 => {
                self.changes.push(due);
                seat::leave(client, visitor, lobby.id).await?;
            }
            _ => {
                if let Some(made) = self.made.take() {
                    seat::leave(client, maker, made).await?;
                }
            }
        }
        self.turn += 1;
        Ok(())
    }

    /// Waits for all events, and compares each one's time with that of its request.
    async fn hear(&mut self, times: &mut Vec<Duration>) -> Result<(), Failure> {
        let changes = std::mem::take(&mut self.changes);
        let began = Instant::now();
        for ear in &self.ears {
            while ear.count() < changes.len() && began.elapsed() < LATE {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let heard = ear.take();
            if heard.len() != changes.len() {
                return Err(format!("{} of {} events came on a socket", heard.len(), changes.len()).into());
            }
            times.extend(heard.iter().zip(&changes).map(|(heard, due)| heard.saturating_duration_since(*due)));
        }
        Ok(())
    }
}
