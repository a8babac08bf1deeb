//! Events: in each lobby three members sit, and a fourth joins and leaves by REST at a steady pace. In half of the lobbies the
//! three listen; what the same requests cost in the other half is no part of a delivery.

use std::time::{Duration, Instant};

use super::Failure;
use super::clients::{by_clients, percentile};
use super::figures::{Figures, Row};
use super::pace::{Change, Visitor, keep_pace};
use super::player::Player;
use super::scale::{MEMBERS, Scale};
use super::seat;
use super::server::{Server, Used};
use super::socket::{self, Ear};

/// A server uses so much of a processor when its members' leases are dealt with.
const CALM: f64 = 0.2;
/// Time between two looks at that.
const LOOK: Duration = Duration::from_millis(500);
/// Looks before it is taken as it is.
const LOOKS_MAX: usize = 60;
/// Longest wait for events that were answered for.
const LATE: Duration = Duration::from_secs(5);

/// A lobby with the sockets of those who listen.
#[derive(Debug)]
struct Room<'a> {
    visitor: Visitor<'a>,
    ears: Vec<Ear>,
}

/// What the same requests cost.
#[derive(Debug)]
struct Phase {
    changes: Vec<Vec<Change>>,
    used: Used,
}

/// Measures a fresh server.
pub(crate) async fn measure(server: &Server, players: &[Player], scale: &Scale) -> Result<Figures, Failure> {
    let (heard, unheard) = players.split_at(MEMBERS * scale.lively);
    let mut heard = sit_down(server, heard, scale.lively, true).await?;
    let mut unheard = sit_down(server, unheard, scale.lively, false).await?;
    tokio::time::sleep(scale.lapse).await;
    calm_down(server).await?;
    let without = play(server, &mut unheard, scale).await?;
    heard.iter().flat_map(|room| &room.ears).for_each(|ear| drop(ear.take()));
    let with = play(server, &mut heard, scale).await?;
    let deliveries = hear(&heard, &with.changes).await?;
    Ok(figures(&without, &with, deliveries))
}

fn figures(without: &Phase, with: &Phase, deliveries: Vec<Delivery>) -> Figures {
    let count = deliveries.len();
    let (mut sent, mut answered): (Vec<_>, Vec<_>) = deliveries.into_iter().unzip();
    let requests = without.changes.iter().map(Vec::len).sum::<usize>();
    let mut figures = Figures::default();
    figures.add(Row::DeliveriesPerSecond, count as f64 / with.used.took.as_secs_f64());
    figures.add_duration(Row::DeliveryMedian, percentile(&mut sent, 50));
    figures.add_duration(Row::DeliveryLate, percentile(&mut sent, 99));
    figures.add_duration(Row::AnsweredMedian, percentile(&mut answered, 50));
    figures.add_duration(Row::AnsweredLate, percentile(&mut answered, 99));
    figures.add_cpu(Row::DeliveryCpu, Some(with.used.cpu.saturating_sub(without.used.cpu)), count);
    figures.add_cpu(Row::ChangeCpu, Some(without.used.cpu), requests);
    figures.add_cpu(Row::ChangeDatabase, without.used.database, requests);
    figures
}

/// Three of each lobby's members take their seats.
async fn sit_down<'a>(
    server: &Server,
    players: &'a [Player],
    lobbies: usize,
    listens: bool,
) -> Result<Vec<Room<'a>>, Failure> {
    let rooms = by_clients(server.address, lobbies, async |client, number| {
        let members = &players[MEMBERS * number..MEMBERS * (number + 1)];
        let (visitor, seated) = members.split_last().ok_or("a lobby has members")?;
        let (mut lobby, mut ears) = (None, Vec::new());
        for player in seated {
            let seat = match &lobby {
                None => seat::create(client, player).await?,
                Some(lobby) => seat::join(client, player, *lobby, true).await?,
            };
            if listens {
                ears.push(Ear::of(socket::open(server.address, player, seat.lobby.id).await?));
            }
            lobby = Some(seat.lobby.join_code);
        }
        let code = lobby.ok_or("a lobby has members")?;
        Ok(Room { visitor: Visitor::new(visitor, code), ears })
    });
    rooms.await
}

/// Waits until those who do not listen are known to be gone.
async fn calm_down(server: &Server) -> Result<(), Failure> {
    for _ in 0..LOOKS_MAX {
        let meter = server.meter()?;
        tokio::time::sleep(LOOK).await;
        if server.used(&meter)?.cpu < LOOK.mul_f64(CALM) {
            return Ok(());
        }
    }
    Err("the server does not come to rest".into())
}

async fn play(server: &Server, rooms: &mut [Room<'_>], scale: &Scale) -> Result<Phase, Failure> {
    // Each visitor is gone when it is over.
    let rounds = (scale.events_a_second as f64 * scale.lasting.as_secs_f64() / rooms.len() as f64 / 2.0).ceil();
    let visits = 2 * rounds as usize;
    let visitors: Vec<_> = rooms.iter_mut().map(|room| &mut room.visitor).collect();
    let meter = server.meter()?;
    let changes = keep_pace(server.address, visitors, visits, scale.events_a_second).await?;
    Ok(Phase { changes, used: server.used(&meter)? })
}

/// How long an event took to be heard, since its request was sent and since that was answered.
type Delivery = (Duration, Duration);

/// Waits for all events, and compares each one's time with that of its request.
///
/// # Errors
/// If a member has heard another number of events than there were.
async fn hear(rooms: &[Room<'_>], changes: &[Vec<Change>]) -> Result<Vec<Delivery>, Failure> {
    let expected: usize = rooms.iter().zip(changes).map(|(room, changes)| room.ears.len() * changes.len()).sum();
    let began = Instant::now();
    let heard = || rooms.iter().flat_map(|room| &room.ears).map(Ear::count).sum::<usize>();
    while heard() < expected && began.elapsed() < LATE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut deliveries = Vec::with_capacity(expected);
    for (room, changes) in rooms.iter().zip(changes) {
        for ear in &room.ears {
            let heard = ear.take();
            if heard.len() != changes.len() || ear.is_closed() {
                return Err(format!("{} of {} events came on a socket", heard.len(), changes.len()).into());
            }
            deliveries.extend(heard.iter().zip(changes).map(|(heard, change)| {
                (heard.saturating_duration_since(change.sent), heard.saturating_duration_since(change.answered))
            }));
        }
    }
    Ok(deliveries)
}
