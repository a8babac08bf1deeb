//! Lone reliable messages of which some are lost on the way: nothing follows them that would show it.

use std::time::Duration;

use peer_client::{Delivery, SimulatedNetwork};
use tests::service::TestService;
use tokio::task::JoinSet;
use tokio::time::interval;

use super::rival::{Loss, Rival};
use super::scale::Scale;
use super::seat::{Guest, Host, Job, Pace, SMALL_BYTES};
use super::table::{Table, Unit, percentile};
use super::way::Way;
use super::{Failure, payload};

/// Of the datagrams of either side so many are lost.
const LOSS: f64 = 0.05;
/// A message each so often.
const INTERVAL: Duration = Duration::from_millis(200);
/// One way.
const DELAY: Duration = Duration::from_millis(25);
const COLUMNS: [&str; 3] = ["relay", "WebRTC", "crate's default, link alone"];
const DEFAULT: usize = 2;
/// The lines of each delay.
const LINES: [(Duration, [&str; 3]); 2] = [
    (Duration::ZERO, ["0 ms: p50", "0 ms: p99", "0 ms: worst"]),
    (DELAY, ["25 ms: p50", "25 ms: p99", "25 ms: worst"]),
];

/// What is measured of one pair: the column, the lines, and how long each message took.
type Times = (usize, [&'static str; 3], Vec<f64>);

/// Measures it.
pub(crate) async fn measure(service: &TestService, scale: &Scale) -> Result<Vec<Table>, Failure> {
    let mut table = Table::new("A lone reliable message at 5 % loss both ways, each 200 ms, one way", &COLUMNS);
    let mut pairs = JoinSet::new();
    let messages = scale.lone;
    for seed in 0..scale.lossy_pairs {
        for (way, column) in [(Way::Relay, 0), (Way::WebRtc, 1)] {
            for (delay, lines) in LINES {
                let (host, guest) = lossy(service, way, delay, 2 * seed).await?;
                let times = lone(host, guest, messages);
                pairs.spawn(async move { Ok((column, lines, in_case(times, lines).await?)) });
            }
        }
        let loss = Loss::new(seed);
        let (rival, _) = Rival::open(Some(&loss)).await?;
        loss.set(LOSS);
        let times = lone_of_rival(rival, messages);
        pairs.spawn(async move { Ok((DEFAULT, LINES[0].1, in_case(times, ["the crate's default"]).await?)) });
    }
    let mut all: Vec<Times> = Vec::new();
    while let Some(times) = pairs.join_next().await {
        let (column, lines, times): Times = times.map_err(Failure::from).flatten()?;
        match all.iter_mut().find(|(other, of, _)| (*other, *of) == (column, lines)) {
            Some((_, _, known)) => known.extend(times),
            None => all.push((column, lines, times)),
        }
    }
    all.sort_by_key(|(column, lines, _)| (*lines, *column));
    for (column, lines, times) in all {
        for (line, percent) in lines.into_iter().zip([50.0, 99.0, 100.0]) {
            let value = percentile(&times, percent).ok_or("no message arrived")?;
            table.add(line, Unit::Milliseconds, column, value);
        }
    }
    table.note(format!(
        "All {} messages of a cell together. The crate's: its reliable channel with its defaults, without delay alone.",
        scale.lossy_pairs * messages
    ));
    Ok(vec![table])
}

/// Says of which pair a failure is.
async fn in_case<const N: usize>(
    times: impl Future<Output = Result<Vec<f64>, Failure>>,
    names: [&'static str; N],
) -> Result<Vec<f64>, Failure> {
    times.await.map_err(|failure| format!("{}: {failure}", names[0]).into())
}

/// A pair that was in game before anything was lost.
async fn lossy(service: &TestService, way: Way, delay: Duration, seed: u64) -> Result<(Host, Guest), Failure> {
    let networks = [seed, seed + 1].map(|seed| SimulatedNetwork::new(seed).delay(delay));
    let (host, guest) = Guest::with_host(service, way.path(), networks.map(Some)).await?;
    for network in host.network.iter().chain(guest.session.network()) {
        network.set(network.network().loss(LOSS));
    }
    Ok((host, guest))
}

async fn lone(host: Host, mut guest: Guest, messages: u64) -> Result<Vec<f64>, Failure> {
    let delivery = Delivery::Reliable;
    host.send(Job { to: guest.me(), delivery, bytes: SMALL_BYTES, messages, pace: Pace::Each(INTERVAL) });
    let mut times = Vec::new();
    for _ in 0..messages {
        let message = guest.message(delivery).await?;
        times.push(payload::age(&message.payload).ok_or("a message without a stamp")?.as_secs_f64());
    }
    Ok(times)
}

async fn lone_of_rival(rival: Rival, messages: u64) -> Result<Vec<f64>, Failure> {
    let (mut times, mut ticks) = (Vec::new(), interval(INTERVAL));
    let mut sent = 0;
    while (times.len() as u64) < messages {
        tokio::select! {
            _ = ticks.tick(), if sent < messages => {
                rival.say().await?;
                sent += 1;
            }
            message = rival.message() => {
                times.push(payload::age(&message?).ok_or("a message without a stamp")?.as_secs_f64());
            }
        }
    }
    rival.close().await;
    Ok(times)
}
