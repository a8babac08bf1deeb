//! Snapshots of 10 KB: sixteen hosts of sixteen lobbies, each as fast as it is answered.

use std::time::{Duration, Instant};

use tests::service::record;

use super::Failure;
use super::clients::{CLIENTS, by_clients, percentile};
use super::figures::{Figures, Row};
use super::http::Client;
use super::player::Player;
use super::scale::Scale;
use super::seat::{self, Seat};
use super::server::Server;
use super::socket::{self, Ear};

/// Bytes of a game.
const STATE_BYTES: usize = 10_000;

/// Measures a fresh server.
pub(crate) async fn measure(server: &Server, players: &[Player], scale: &Scale) -> Result<Figures, Failure> {
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
    let mut uploads: Vec<Duration> = uploads.await?.into_iter().flatten().collect();
    let used = server.used(&meter)?;
    let mut figures = Figures::default();
    figures.add(Row::UploadsPerSecond, uploads.len() as f64 / used.took.as_secs_f64());
    figures.add_duration(Row::UploadMedian, percentile(&mut uploads, 50));
    figures.add_duration(Row::UploadLate, percentile(&mut uploads, 99));
    figures.add_cpu(Row::UploadCpu, Some(used.cpu), uploads.len());
    figures.add_cpu(Row::UploadDatabase, used.database, uploads.len());
    Ok(figures)
}

/// Uploads one snapshot after the other. Returns how long each took.
async fn upload(client: &mut Client, player: &Player, seat: &Seat, until: Instant) -> Result<Vec<Duration>, Failure> {
    let path = format!("/v1/lobbies/{}/snapshot", seat.lobby.id);
    let mut random = fastrand::Rng::with_seed(1);
    let mut state = vec![0; STATE_BYTES];
    let mut took = Vec::new();
    for number in 1.. {
        random.fill(&mut state);
        let record = record(1, number, &state);
        let began = Instant::now();
        if began >= until && number > 1 {
            break;
        }
        client.put(player, &path, &record).await?;
        took.push(began.elapsed());
    }
    Ok(took)
}
