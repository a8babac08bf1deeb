//! The end: somebody joins every lobby and reads all there is.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use fastrand::Rng;
use futures_util::{StreamExt, stream};
use protocol::id::{EventSeq, JoinCode, LobbyId};
use protocol::message::{Event, ServerMessage};
use reqwest::Method;
use serde_json::{Value, json};

use super::socket::{Came, Socket};
use super::world::{Player, Reply, World, reply};
use crate::history::{Answer, Outcome};

/// Lobbies that are read at once.
const AT_ONCE: usize = 6;
/// Lobbies on a page of the list.
const PAGE: usize = 100;

/// All events of each lobby that could be read, and what failed although nothing was broken.
#[derive(Debug, Default)]
pub(super) struct Audit {
    pub(super) logs: BTreeMap<LobbyId, Vec<Event>>,
    pub(super) failures: Vec<String>,
}

/// Joins every lobby that was acknowledged, reads it and its snapshot, and all its events. A lobby that is not there has none.
pub(super) async fn read_all(world: &World, rng: &mut Rng) -> Result<Audit, String> {
    let auditor = world.try_sign_in(rng).await.ok_or("nobody can sign in although nothing is broken")?;
    let lobbies: Vec<_> = world.write(|history| history.born.values().map(|view| (view.id, view.join_code)).collect());
    let read = |(lobby, code)| {
        let (auditor, mut rng) = (auditor.clone(), rng.fork());
        async move { read_one(world, &auditor, lobby, code, &mut rng).await }
    };
    let audits: Vec<_> = stream::iter(lobbies).map(read).buffer_unordered(AT_ONCE).collect().await;
    let mut all = Audit::default();
    for audit in audits {
        all.logs.extend(audit.logs);
        all.failures.extend(audit.failures);
    }
    Ok(all)
}

async fn read_one(world: &World, auditor: &Player, lobby: LobbyId, code: JoinCode, rng: &mut Rng) -> Audit {
    let mut audit = Audit::default();
    let fails = |what: &str, outcome: &Outcome| format!("{what} {lobby}, although nothing is broken: {outcome:?}");
    let outcome = world.join(rng, auditor, lobby, code).await;
    let Outcome::Done(Answer::Seat(_, joined)) = outcome else {
        if outcome != Outcome::Refused(404) {
            audit.failures.push(fails("nobody can join", &outcome));
        }
        return audit;
    };
    let mut newest = joined.seq;
    let outcome = world.read(rng, auditor, lobby).await;
    match outcome {
        Outcome::Done(Answer::View(seen)) => newest = newest.max(seen.seq),
        Outcome::Done(_) | Outcome::Refused(_) | Outcome::Unknown | Outcome::Failed => {
            audit.failures.push(fails("who has joined cannot read", &outcome));
        }
    }
    let outcome = world.fetch(rng, auditor, lobby, true).await;
    if !matches!(outcome, Outcome::Done(_)) {
        audit.failures.push(fails("nobody can fetch the snapshot of", &outcome));
    }
    match read_log(auditor, lobby, world.any_instance(rng), newest).await {
        Ok(log) => drop(audit.logs.insert(lobby, log)),
        Err(why) => audit.failures.push(format!("the events of {lobby}, although nothing is broken: {why}")),
    }
    audit
}

/// All events up to this one, at least.
async fn read_log(auditor: &Player, lobby: LobbyId, at: SocketAddr, newest: EventSeq) -> Result<Vec<Event>, String> {
    let socket = Socket::open(at, auditor, lobby, Some(EventSeq(0))).await;
    let mut socket = socket.map_err(|why| format!("no socket at {at}: {why:?}"))?;
    let mut log: Vec<Event> = Vec::new();
    while log.last().is_none_or(|event| event.seq < newest) {
        match socket.hear().await {
            Came::Message(message) => match *message {
                ServerMessage::Event(event) => log.push(event),
                ServerMessage::Resync { .. } => return Err("there are more than are kept".to_owned()),
                ServerMessage::Challenge { .. } | ServerMessage::Signal { .. } | ServerMessage::Closing { .. } => {}
            },
            Came::Ping => {}
            Came::End(code) => {
                let last = log.last().map(|event| event.seq);
                return Err(format!("the socket at {at} ended with {code:?} after {last:?}, {newest} was known"));
            }
        }
    }
    Ok(log)
}

/// The names of all lobbies that are shown to everybody: those in which somebody is connected.
pub(super) async fn list_all(world: &World, rng: &mut Rng) -> Result<Vec<String>, String> {
    let reader = world.try_sign_in(rng).await.ok_or("nobody can sign in although nothing is broken")?;
    let mut names = Vec::new();
    let mut continuation = Value::Null;
    loop {
        let at = world.any_instance(rng);
        let body = json!({"count": PAGE, "continuation": continuation});
        let reply = reply(world.request(at, &reader, Method::POST, "/v1/lobbies/query").json(&body)).await;
        let Reply::Done(bytes) = reply else { return Err(format!("the list cannot be read: {reply:?}")) };
        let page: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let lobbies = page["lobbies"].as_array().ok_or("the list has no lobbies")?;
        names.extend(lobbies.iter().filter_map(|lobby| Some(lobby["name"].as_str()?.to_owned())));
        continuation = page["continuation"].clone();
        if continuation.is_null() {
            return Ok(names);
        }
    }
}
