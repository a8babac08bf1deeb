//! Players who join and leave at a steady pace, whatever the server does: a slow answer delays nobody but its own lobby and those
//! that share its connection.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use futures_util::stream::FuturesUnordered;
use protocol::id::{JoinCode, LobbyId};
use tokio::sync::mpsc;

use super::Failure;
use super::http::Client;
use super::player::Player;
use super::seat;

/// Connections that the requests are spread over.
const CONNECTIONS: usize = 64;

/// A player who joins a lobby and leaves it again. It is never host, so that each time one event tells of it.
#[derive(Debug)]
pub(crate) struct Visitor<'a> {
    player: &'a Player,
    code: JoinCode,
    inside: Option<LobbyId>,
}

/// A request for one event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) sent: Instant,
    pub(crate) answered: Instant,
}

impl<'a> Visitor<'a> {
    pub(crate) const fn new(player: &'a Player, code: JoinCode) -> Self {
        Self { player, code, inside: None }
    }

    async fn join_or_leave(&mut self, client: &mut Client) -> Result<Change, Failure> {
        let sent = Instant::now();
        self.inside = match self.inside {
            None => Some(seat::join(client, self.player, self.code, false).await?.lobby.id),
            Some(lobby) => {
                seat::leave(client, self.player, lobby).await?;
                None
            }
        };
        Ok(Change { sent, answered: Instant::now() })
    }
}

/// Has each visitor join or leave so many times, all together so often in a second. Returns the changes of each in their order.
pub(crate) async fn keep_pace(
    server: SocketAddr,
    visitors: Vec<&mut Visitor<'_>>,
    visits: usize,
    changes_a_second: usize,
) -> Result<Vec<Vec<Change>>, Failure> {
    let count = visitors.len();
    let connections = CONNECTIONS.min(count);
    let mut shares: Vec<Vec<_>> = (0..connections).map(|_| Vec::new()).collect();
    for (number, visitor) in visitors.into_iter().enumerate() {
        shares[number % connections].push((visitor, Vec::with_capacity(visits)));
    }
    let mut workers = Vec::new();
    let mut turns = Vec::new();
    for share in shares {
        let (sender, receiver) = mpsc::channel(visits * share.len());
        turns.push(sender);
        workers.push((Client::connect(server).await?, share, receiver));
    }
    let metronome = beat(turns, visits * count, changes_a_second, count);
    let work = workers.into_iter().map(async |(mut client, mut share, mut turns)| {
        let length = share.len();
        let mut turn = 0;
        while let Some(()) = turns.recv().await {
            let (visitor, changes) = &mut share[turn % length];
            changes.push(visitor.join_or_leave(&mut client).await?);
            turn += 1;
        }
        Ok::<_, Failure>(share.into_iter().map(|(_, changes)| changes).collect::<Vec<_>>())
    });
    let shares: Vec<_> = work
        .enumerate()
        .map(async |(number, work)| Ok::<_, Failure>((number, work.await?)))
        .collect::<FuturesUnordered<_>>()
        .try_collect()
        .await?;
    metronome.join().map_err(|_| "the metronome panicked")?;
    let mut changes = vec![Vec::new(); count];
    for (worker, share) in shares {
        for (index, of_one) in share.into_iter().enumerate() {
            changes[index * connections + worker] = of_one;
        }
    }
    Ok(changes)
}

/// Gives the turns in a thread of its own: the runtime's timers are a millisecond apart, and would send in bursts.
fn beat(turns: Vec<mpsc::Sender<()>>, count: usize, a_second: usize, lobbies: usize) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let began = Instant::now();
        for number in 0..count {
            let at = began + Duration::from_secs_f64(number as f64 / a_second as f64);
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            // Each channel holds all its turns; a worker that has failed needs none.
            let _ = turns[number % lobbies % turns.len()].try_send(());
        }
    })
}
