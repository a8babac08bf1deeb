//! Guessing join codes: all guesses are answered alike, no more than is configured, and none succeeds. And time does not tell what is
//! private from what does not exist.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lobby_service::config::{Config, Database, Key};
use lobby_service::limits::{Class, Limits};
use protocol::id::{JoinCode, LobbyId, PeerKey};
use serde_json::{Value, json};
use tests::service::TestService;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpSocket, TcpStream};

const GUESSES: usize = 100_000;
const ADDRESSES: usize = 250;
const LOBBIES: usize = 50;

/// By default, but that only failures limit who joins.
fn only_failures() -> Limits {
    let mut limits = Limits { quota: Limits::off().quota, ..Limits::default() };
    for class in [Class::Address, Class::Join, Class::Create, Class::CreateAddress] {
        limits.rates.set(class, None);
    }
    limits
}

/// A connection that is kept, from an address of this machine.
struct Connection(BufStream<TcpStream>);

/// An answer, as far as it can tell anything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Raw {
    status: u16,
    /// The names of its headers.
    headers: String,
    body: String,
}

impl Connection {
    async fn from(address: Ipv4Addr, service: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((address, 0))).expect("all of 127.0.0.0/8 is this machine");
        let stream = socket.connect(service).await.expect("the service listens");
        stream.set_nodelay(true).expect("a socket has it");
        Self(BufStream::new(stream))
    }

    async fn send(&mut self, method: &str, path: &str, token: &str, body: &Value) -> Raw {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.write_all(request.as_bytes()).await.expect("it is open");
        self.0.flush().await.expect("it is open");
        tokio::time::timeout(Duration::from_secs(20), self.answer()).await.expect("an answer in time")
    }

    async fn answer(&mut self) -> Raw {
        let mut line = String::new();
        self.line(&mut line).await;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let (mut headers, mut length) = (String::new(), 0);
        loop {
            self.line(&mut line).await;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push_str(name);
            headers.push(' ');
            if name == "content-length" {
                length = value.trim_end().parse().expect("a number");
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.expect("a whole answer");
        Raw { status, headers, body: String::from_utf8(body).expect("text") }
    }

    async fn line(&mut self, line: &mut String) {
        line.clear();
        self.0.read_line(line).await.expect("a whole answer");
    }

    async fn sign_in(&mut self) -> String {
        let session = self.send("POST", "/v1/players", "", &json!({})).await;
        let session: Value = serde_json::from_str(&session.body).expect("JSON");
        session["access_token"].as_str().expect("who signs in has a token").to_owned()
    }

    async fn join(&mut self, token: &str, code: JoinCode) -> Raw {
        let body = json!({"join_code": code, "peer_key": PeerKey::from_bytes([9; 32])});
        self.send("POST", "/v1/lobbies/join", token, &body).await
    }
}

impl Raw {
    /// Without the time to wait.
    fn shape(mut self) -> Self {
        if self.status == 429 {
            self.body.retain(|character| !character.is_ascii_digit());
        }
        self
    }
}

/// Guesses from one address, one after the other, until `done`. Returns how many failed, and what the answers looked like.
async fn guess(
    address: Ipv4Addr,
    service: SocketAddr,
    seed: u64,
    mut done: impl FnMut() -> bool,
) -> (usize, BTreeSet<Raw>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut connection = Connection::from(address, service).await;
    let token = connection.sign_in().await;
    let (mut failed, mut shapes) = (0, BTreeSet::new());
    while !done() {
        let answer = connection.join(&token, JoinCode::from_entropy(random.u64(..))).await;
        failed += usize::from(answer.status == 404);
        shapes.insert(answer.shape());
    }
    (failed, shapes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_guesses_are_answered_alike_limited_as_configured_and_none_succeeds() {
    let service = TestService::start(Config { limits: only_failures(), ..Config::ephemeral() }).await;
    let host = service.player(1).await;
    let mut lobby = service.create(&host, json!({})).await;
    for _ in 1..LOBBIES {
        lobby = service.create(&host, json!({})).await;
    }
    let mut honest = Connection::from(Ipv4Addr::new(127, 2, 0, 1), service.address()).await;
    let token = honest.sign_in().await;

    let began = Instant::now();
    let guessing: Vec<_> = (0..ADDRESSES)
        .map(|number| {
            let mut guesses = 0..GUESSES / ADDRESSES;
            let address = Ipv4Addr::new(127, 1, 0, number as u8 + 1);
            let done = move || guesses.next().is_none();
            tokio::spawn(guess(address, service.address(), number as u64, done))
        })
        .collect();
    // Once everybody's failures are too many, nobody learns that a code is right. An id still opens what is public.
    let refused = loop {
        let answer = honest.join(&token, lobby.join_code).await;
        if answer.status != 200 {
            break answer.shape();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "so many guesses have an end");
    };
    let body = json!({"peer_key": PeerKey::from_bytes([9; 32])});
    let joined = honest.send("POST", &format!("/v1/lobbies/{}/join", lobby.id), &token, &body).await;
    assert_eq!(joined.status, 200, "{joined:?}");

    let (mut failed, mut shapes) = (0, BTreeSet::from([refused]));
    for guesses in guessing {
        let (failed_here, shapes_here) = guesses.await.unwrap();
        assert!(failed_here as f64 <= 5.0 + began.elapsed().as_secs_f64() / 12.0, "{failed_here} from one address");
        failed += failed_here;
        shapes.extend(shapes_here);
    }
    let took = began.elapsed();
    let statuses: Vec<_> = shapes.iter().map(|shape| shape.status).collect();
    assert_eq!(statuses, [404, 429], "none succeeds, and all are answered alike: {shapes:#?}");
    // Those that are under way at once are answered before the first of them is counted, and paid back.
    let allowed = 20.0 + 20.0 * took.as_secs_f64() + ADDRESSES as f64;
    assert!(failed >= 20 && (failed as f64) < allowed, "{failed} of {allowed} failures in {took:?}");
    println!("{GUESSES} guesses in {took:?}: {failed} reached the lobbies, {allowed:.0} were allowed");
    service.stop().await;
}

/// Ten addresses have fifty failures, for which everybody's rate has room after two seconds, and then ten every twelve seconds:
/// from then on they disturb nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_some_guess_others_join_by_the_right_code() {
    let service = TestService::start(Config { limits: only_failures(), ..Config::ephemeral() }).await;
    let host = service.player(1).await;
    let lobby = service.create(&host, json!({})).await;
    let over = Arc::new(AtomicBool::new(false));
    let guessing: Vec<_> = (0..10)
        .map(|number| {
            let over = Arc::clone(&over);
            let address = Ipv4Addr::new(127, 1, 1, number + 1);
            tokio::spawn(guess(address, service.address(), number.into(), move || over.load(Ordering::Relaxed)))
        })
        .collect();
    let mut honest = Connection::from(Ipv4Addr::new(127, 2, 1, 1), service.address()).await;
    let (token, began) = (honest.sign_in().await, Instant::now());
    let mut refused_at = Duration::ZERO;
    while began.elapsed() < Duration::from_secs(6) {
        match honest.join(&token, lobby.join_code).await.status {
            200 => {}
            429 => refused_at = began.elapsed(),
            other => panic!("a right code was answered {other}"),
        }
    }
    over.store(true, Ordering::Relaxed);
    let mut failed = 0;
    for guesses in guessing {
        failed += guesses.await.unwrap().0;
    }
    println!("{failed} failures; a right code was refused until {refused_at:?}");
    assert!((50..=60).contains(&failed), "each address has had its failures: {failed}");
    assert!(refused_at < Duration::from_secs(4), "a right code was refused at {refused_at:?}");
    service.stop().await;
}

/// Seconds that a lobby which is private and one that does not exist take to be denied, asked for in turns.
async fn times(grid: Duration) -> (Vec<f64>, Vec<f64>) {
    const CLIENTS: u8 = 4;
    const ASKED: usize = 100;
    let folder = tempfile::tempdir().expect("a folder");
    let (database, key) = (Database::Sqlite(folder.path().join("understudy.db")), Key::Ephemeral);
    let limits = Limits { not_found_grid: grid, ..Limits::off() };
    let service = TestService::start(Config { limits, database, key, ..Config::ephemeral() }).await;
    let host = service.player(1).await;
    let private = service.create(&host, json!({"visibility": "private"})).await.id;
    let asking: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let address = service.address();
            tokio::spawn(async move {
                let mut connection = Connection::from(Ipv4Addr::LOCALHOST, address).await;
                let token = connection.sign_in().await;
                let mut random = fastrand::Rng::with_seed(number.into());
                let mut times = (Vec::new(), Vec::new());
                for turn in 0..2 * ASKED {
                    let is_there = turn % 2 == 0;
                    let id = if is_there { private } else { LobbyId::from_bytes(random.u128(..).to_be_bytes()) };
                    let (method, path, body) = if turn % 4 < 2 {
                        ("GET", format!("/v1/lobbies/{id}"), Value::Null)
                    } else {
                        let body = json!({"peer_key": PeerKey::from_bytes([9; 32])});
                        ("POST", format!("/v1/lobbies/{id}/join"), body)
                    };
                    let began = Instant::now();
                    assert_eq!(connection.send(method, &path, &token, &body).await.status, 404);
                    if is_there { &mut times.0 } else { &mut times.1 }.push(began.elapsed().as_secs_f64());
                }
                times
            })
        })
        .collect();
    let mut times = (Vec::new(), Vec::new());
    for asked in asking {
        let (private, absent) = asked.await.expect("it asks to its end");
        times.0.extend(private);
        times.1.extend(absent);
    }
    service.stop().await;
    times
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// How many standard deviations the ranks of one sample are away from those of an equal one (Mann and Whitney).
fn z(first: &[f64], second: &[f64]) -> f64 {
    let wins = first.iter().flat_map(|a| second.iter().map(move |b| f64::from(u8::from(a > b)))).sum::<f64>();
    let (n, m) = (first.len() as f64, second.len() as f64);
    (wins - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_does_not_tell_a_private_lobby_from_none() {
    let (private, absent) = times(Duration::ZERO).await;
    let told = z(&private, &absent);
    println!("at once: medians {:.6} s and {:.6} s, z {told:.1}", median(&private), median(&absent));
    assert!(told.abs() > 6.0, "what is concealed could be measured: {told}");

    let (private, absent) = times(Limits::default().not_found_grid).await;
    let (apart, told) = (median(&private) - median(&absent), z(&private, &absent));
    println!("on the grid: medians {:.6} s and {:.6} s, z {told:.1}", median(&private), median(&absent));
    assert!(apart.abs() < 0.001 && told.abs() < 4.0, "medians {apart} s apart, z {told}");
}
