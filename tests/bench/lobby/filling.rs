//! Lobbies of four with a socket for each member, as fast as sixteen clients go; then many sockets that idle.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Failure;
use super::clients::{by_clients, percentile};
use super::figures::{Figures, Row};
use super::http::Client;
use super::player::Player;
use super::scale::{MEMBERS, Scale};
use super::seat;
use super::server::{Server, Used};
use super::socket::{self, Ear};

/// Measures a fresh server.
pub(crate) async fn measure(server: &Server, players: &[Player], scale: &Scale) -> Result<Figures, Failure> {
    let mut lobbies = players.chunks_exact(MEMBERS);
    let mut ears = fill(server.address, &mut lobbies, scale.warm_up).await?.0;
    let warm = ears.len();
    let (meter, memory) = (server.meter()?, server.resident_bytes()?);
    let (measured, mut taken) = fill(server.address, &mut lobbies, scale.filled).await?;
    let used = server.used(&meter)?;
    ears.extend(measured);
    let more = (scale.idle + warm).saturating_sub(ears.len()).div_ceil(MEMBERS);
    ears.extend(fill(server.address, &mut lobbies, more).await?.0);
    let idling = idle(server, scale).await?;
    let memory = server.resident_bytes()?.saturating_sub(memory);
    if ears.iter().any(Ear::is_closed) {
        return Err("the server has closed a socket".into());
    }
    let idle = (ears.len() - warm) as f64;
    let mut figures = Figures::default();
    figures.add(Row::SeatsPerSecond, taken.len() as f64 / used.took.as_secs_f64());
    figures.add_duration(Row::SeatMedian, percentile(&mut taken, 50));
    figures.add_duration(Row::SeatLate, percentile(&mut taken, 99));
    figures.add_cpu(Row::SeatCpu, Some(used.cpu), taken.len());
    figures.add_cpu(Row::SeatDatabase, used.database, taken.len());
    figures.add(Row::SocketMemory, memory as f64 / idle);
    figures.add(Row::SocketCpu, idling.cpu.as_secs_f64() / idling.took.as_secs_f64() / ears.len() as f64);
    Ok(figures)
}

/// Fills so many lobbies. Returns the sockets, and how long each member took to be in.
async fn fill<'a>(
    server: SocketAddr,
    lobbies: &mut impl Iterator<Item = &'a [Player]>,
    count: usize,
) -> Result<(Vec<Ear>, Vec<Duration>), Failure> {
    let lobbies: Vec<_> = lobbies.take(count).collect();
    let seats =
        by_clients(server, lobbies.len(), async |client, number| fill_one(server, client, lobbies[number]).await);
    Ok(seats.await?.into_iter().flatten().unzip())
}

async fn fill_one(
    server: SocketAddr,
    client: &mut Client,
    members: &[Player],
) -> Result<Vec<(Ear, Duration)>, Failure> {
    let mut lobby = None;
    let mut seats = Vec::new();
    for player in members {
        let began = Instant::now();
        let seat = match &lobby {
            None => seat::create(client, player).await?,
            Some(code) => seat::join(client, player, *code, true).await?,
        };
        let socket = socket::open(server, player, seat.lobby.id).await?;
        lobby = Some(seat.lobby.join_code);
        seats.push((Ear::of(socket), began.elapsed()));
    }
    Ok(seats)
}

/// Waits until new sockets are as old ones, then watches them for a while.
async fn idle(server: &Server, scale: &Scale) -> Result<Used, Failure> {
    tokio::time::sleep(scale.watched / 2).await;
    let meter = server.meter()?;
    tokio::time::sleep(scale.watched).await;
    server.used(&meter)
}
