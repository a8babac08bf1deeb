//! Durable snapshots of a game of 10 KB, one tick on: our way, a delta in a group commit, beside the plainest: an upsert of the whole
//! game, a transaction each. Both save through the same kind of database on the same machine, in turns; and our way through HTTP.

mod ours;
mod rival;

use std::time::{Duration, Instant};

use protocol::limits;
use tests::service::{delta_record, record};

use super::Failure;
use super::clients::{CLIENTS, by_clients};
use super::figures::{Figures, Row};
use super::http::Client;
use super::player::Player;
use super::scale::Scale;
use super::seat::{self, Seat};
use super::server::{Database, Server};
use super::socket::{self, Ear};
use super::usage::{Cpu, family};

/// Bytes of a game.
pub(super) const STATE_BYTES: usize = 10_000;
/// Bytes by which it differs a tick later.
const DIFFERENCE_BYTES: usize = 300;

/// What was saved in which time, and what it took.
#[derive(Debug)]
struct Saved {
    count: usize,
    took: Duration,
    /// Of this process: clients, and the database where that is inside.
    cpu: Duration,
    /// Of the database's own processes.
    database: Option<Duration>,
}

impl Saved {
    fn per_second(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }

    fn note(&self, figures: &mut Figures, [per_second, cpu, database]: [Row; 3]) {
        figures.add(per_second, self.per_second());
        figures.add_cpu(cpu, Some(self.cpu), self.count);
        figures.add_cpu(database, self.database, self.count);
    }
}

/// What this process and the database have used, from now on.
struct Meter {
    at: Instant,
    cpu: Cpu,
    database: Option<(u32, Duration)>,
}

impl Meter {
    fn start(database: Option<u32>) -> Result<Self, Failure> {
        let database = database.map(|process| Ok::<_, Failure>((process, family(process)?))).transpose()?;
        Ok(Self { at: Instant::now(), cpu: Cpu::of(std::process::id())?, database })
    }

    fn saved(&self, count: usize) -> Result<Saved, Failure> {
        let took = self.at.elapsed();
        let cpu = Cpu::of(std::process::id())?.since(&self.cpu);
        let used = |(process, before)| Ok::<_, Failure>(family(process)?.saturating_sub(before));
        Ok(Saved { count, took, cpu, database: self.database.map(used).transpose()? })
    }
}

/// Measures a fresh server with its database, and another one without a server before it. Nothing, if it has no database.
pub(crate) async fn measure(
    server: &Server,
    database: &Database,
    players: &[Player],
    scale: &Scale,
) -> Result<Figures, Failure> {
    let mut figures = Figures::default();
    let Some(url) = &database.url else { return Ok(figures) };
    let rival = rival::measure(url, database.process, scale).await?;
    let ours = ours::measure(url, database.process, scale).await?;
    if let Some(rival) = rival {
        figures.add(Row::DurableRatio, ours.per_second() / rival.per_second());
        rival.note(&mut figures, [Row::UpsertsPerSecond, Row::UpsertCpu, Row::UpsertDatabase]);
    }
    ours.note(&mut figures, [Row::DeltasPerSecond, Row::DeltaCpu, Row::DeltaDatabase]);
    through_http(server, players, scale, &mut figures).await?;
    Ok(figures)
}

/// Sixteen hosts, each as fast as it is answered.
async fn through_http(
    server: &Server,
    players: &[Player],
    scale: &Scale,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let hosts = by_clients(server.address, CLIENTS, async |client, number| {
        let player = &players[number];
        let seat = seat::create(client, player).await?;
        Ok((player, Ear::of(socket::open(server.address, player, seat.lobby.id).await?), seat))
    });
    let hosts = hosts.await?;
    let (began, meter) = (Instant::now(), server.meter()?);
    let uploads = by_clients(server.address, CLIENTS, async |client, number| {
        let (player, _, seat) = &hosts[number];
        upload(client, player, seat, began + scale.uploading).await
    });
    let count: usize = uploads.await?.into_iter().sum();
    let used = server.used(&meter)?;
    figures.add(Row::PatchesPerSecond, count as f64 / used.took.as_secs_f64());
    figures.add_cpu(Row::PatchCpu, Some(used.cpu), count);
    figures.add_cpu(Row::PatchDatabase, used.database, count);
    Ok(())
}

/// Uploads a snapshot and deltas on it, and another one where no more are taken. Returns how many of both.
async fn upload(client: &mut Client, player: &Player, seat: &Seat, until: Instant) -> Result<usize, Failure> {
    let path = format!("/v1/lobbies/{}/snapshot", seat.lobby.id);
    let mut game = Game::default();
    let mut count = 0;
    while count == 0 || Instant::now() < until {
        match game.next() {
            Next::Whole(record) => client.put(player, &path, &record).await?,
            Next::Delta(record) => client.patch(player, &path, &record).await?,
        };
        count += 1;
    }
    Ok(count)
}

/// A game that is saved at each tick.
#[derive(Debug)]
struct Game {
    random: fastrand::Rng,
    bytes: Vec<u8>,
    tick: u64,
    /// Deltas that may follow until a whole snapshot is due.
    deltas_left: u32,
}

/// What is to be saved of it.
enum Next {
    Whole(Vec<u8>),
    Delta(Vec<u8>),
}

impl Default for Game {
    fn default() -> Self {
        Self { random: fastrand::Rng::with_seed(1), bytes: vec![0; STATE_BYTES], tick: 0, deltas_left: 0 }
    }
}

impl Game {
    /// A game that has so many deltas less behind it than others: not all need a whole snapshot at the same time.
    fn later(number: usize) -> (Self, Next) {
        let mut game = Self::default();
        let whole = game.next();
        game.deltas_left = limits::DELTAS_MAX - number as u32 % limits::DELTAS_MAX;
        (game, whole)
    }

    fn next(&mut self) -> Next {
        self.tick += 1;
        if self.deltas_left == 0 {
            self.deltas_left = limits::DELTAS_MAX;
            self.random.fill(&mut self.bytes);
            return Next::Whole(record(1, self.tick, &self.bytes));
        }
        self.deltas_left -= 1;
        let difference = &mut self.bytes[..DIFFERENCE_BYTES];
        self.random.fill(difference);
        Next::Delta(delta_record((1, self.tick - 1), (1, self.tick), difference))
    }
}
