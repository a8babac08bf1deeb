//! Several instances of the service, each a process of its own, on one Postgres.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use protocol::id::{ConnectionId, EventSeq, HostEpoch, LobbyId};
use protocol::lobby::LossCause;
use protocol::message::{ClientMessage, CloseReason, Event, EventBody, LobbyView, NewsForm, ServerMessage};
use protocol::signal::Signal;
use serde_json::json;
use tests::cluster;
use tests::postgres::{self, TestDatabase};
use tests::service::{Heard, TestPlayer, TestService, TestSocket};
use xtask::cluster::{Cluster, Server};

const LOBBIES: u8 = 50;
const CROWD: u8 = 100;
/// Until when a member whose instance died with it is known to be gone: the instance's lease, the next look of another instance, a
/// full term to come back, and a margin for a loaded machine.
const GONE_BY: Duration = Duration::from_secs(6 + 2 + 6 + 6);

/// Two instances on one database.
struct Pair {
    servers: Vec<Server>,
    services: Vec<TestService>,
    cluster: Cluster,
    database: TestDatabase,
}

impl Pair {
    fn start() -> Self {
        let (cluster, database) = (cluster::cluster(), postgres::database());
        let mut pair = Self { servers: Vec::new(), services: Vec::new(), cluster, database };
        for number in 0..2 {
            let server = pair.begin(number, 0);
            pair.services.push(TestService::at(server.address("http").parse().unwrap()));
            pair.servers.push(server);
        }
        pair
    }

    fn begin(&self, number: usize, port: u16) -> Server {
        self.cluster.service_at(&format!("instance-{number}"), port, &self.database.url()).unwrap()
    }

    /// Starts an instance again where it was.
    fn begin_again(&mut self, number: usize) {
        let address: std::net::SocketAddr = self.servers[number].address("http").parse().unwrap();
        self.servers[number] = self.begin(number, address.port());
    }
}

/// A member and what it has heard. It listens to one of the instances, and goes to the other when its socket ends.
struct Listener<'a> {
    services: &'a [TestService],
    at: usize,
    player: TestPlayer,
    lobby: LobbyId,
    socket: TestSocket,
    heard: Vec<Event>,
    moves: usize,
}

impl<'a> Listener<'a> {
    async fn new(services: &'a [TestService], at: usize, player: &TestPlayer, lobby: LobbyId) -> Self {
        let socket = services[at].listen(player, lobby, Some(EventSeq(0))).await;
        Self { services, at, player: player.clone(), lobby, socket, heard: Vec::new(), moves: 0 }
    }

    /// Hears whatever comes until this event; P7 is looked at with each.
    async fn hear_until(&mut self, is_last: impl Fn(&EventBody) -> bool) {
        loop {
            match self.socket.hear().await {
                Heard::Message(message) => {
                    let ServerMessage::Event(event) = *message else { continue };
                    let last = self.last();
                    assert_eq!(event.seq.0, last.0 + 1, "after {last:?}: {event:?}");
                    let is_last = is_last(&event.body);
                    self.heard.push(event);
                    if is_last {
                        return;
                    }
                }
                Heard::Closed(_) => self.move_on().await,
            }
        }
    }

    fn last(&self) -> EventSeq {
        self.heard.last().map_or(EventSeq(0), |event| event.seq)
    }

    /// Opens a socket at the next instance that takes it.
    async fn move_on(&mut self) {
        let began = Instant::now();
        loop {
            self.at = (self.at + 1) % self.services.len();
            if let Ok(mut socket) = self.services[self.at].open(&self.player, self.lobby).await {
                let hello = ClientMessage::Hello {
                    peer_key: self.player.peer_key,
                    after: Some(self.last()),
                    form: NewsForm::Events,
                };
                if socket.try_say(&hello).await {
                    self.socket = socket;
                    self.moves += 1;
                    return;
                }
            }
            assert!(began.elapsed() < GONE_BY, "no instance takes the socket");
            tokio::task::yield_now().await;
        }
    }
}

fn joined(connection: u32) -> impl Fn(&EventBody) -> bool {
    move |body| matches!(body, EventBody::MemberJoined { member } if member.connection == ConnectionId(connection))
}

fn left(connection: u32) -> impl Fn(&EventBody) -> bool {
    move |body| matches!(body, EventBody::MemberLeft { connection: seat, .. } if *seat == ConnectionId(connection))
}

/// P7, P8: fifty lobbies, members of each at both instances, one of which is killed while events go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_subscriber_of_either_instance_sees_the_same_events_though_one_is_killed() {
    let mut pair = Pair::start();
    let services = std::mem::take(&mut pair.services);
    let play = async |number: u8| {
        let at = usize::from(number) % 2;
        let host = services[at].player(1).await;
        let lobby = services[at].create(&host, json!({"election_delay_ms": 20_000})).await;
        let mut listeners = vec![Listener::new(&services, at, &host, lobby.id).await];
        for member in 2..=3 {
            let at = (at + usize::from(member)) % 2;
            let player = services[at].player(member).await;
            services[at].join(&player, &lobby).await;
            listeners.push(Listener::new(&services, at, &player, lobby.id).await);
        }
        (lobby, listeners)
    };
    let mut lobbies = join_all((0..LOBBIES).map(play)).await;
    pair.servers[0].process.kill();
    let finish = async |(lobby, listeners): &mut (LobbyView, Vec<Listener<'_>>)| {
        for number in 4..10 {
            let player = services[1].player(number).await;
            let connection = services[1].join(&player, lobby).await;
            services[1].post(&player, &format!("/v1/lobbies/{}/leave", lobby.id), json!(null)).await.expect_status(204);
            join_all(listeners.iter_mut().map(|listener| listener.hear_until(left(connection.0)))).await;
        }
        let first = &listeners[0];
        for other in &listeners[1..] {
            let same = first.heard.len().min(other.heard.len());
            assert_eq!(first.heard[..same], other.heard[..same], "P7");
        }
        let view = services[1].view(&first.player, lobby.id).await;
        assert_eq!((view.epoch, view.members.len()), (HostEpoch(1), 3), "nobody was elected, no seat was lost");
        listeners.iter().map(|listener| listener.moves).sum::<usize>()
    };
    let moves: usize = join_all(lobbies.iter_mut().map(finish)).await.into_iter().sum();
    assert!(moves >= usize::from(LOBBIES), "those of the killed instance have moved: {moves}");
}

/// P6: all at the same moment, through both instances.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_players_join_one_lobby_at_once_and_each_gets_its_own_connection_id() {
    let pair = Pair::start();
    let host = pair.services[0].player(0).await;
    let lobby = pair.services[0].create(&host, json!({"max_members": 101})).await;
    let players = join_all((1..=CROWD).map(|number| pair.services[0].player(number))).await;
    let joins = players.iter().enumerate().map(|(index, player)| pair.services[index % 2].join(player, &lobby));
    let connections: BTreeSet<_> = join_all(joins).await.into_iter().collect();
    assert_eq!(connections, (1..=u32::from(CROWD)).map(ConnectionId).collect());
    let mut listener = Listener::new(&pair.services, 1, &host, lobby.id).await;
    for connection in 1..=u32::from(CROWD) {
        if !listener.heard.iter().any(|event| joined(connection)(&event.body)) {
            listener.hear_until(joined(connection)).await;
        }
    }
}

/// P10: told to go, everybody finds the other instance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_all_instances_elects_nobody_and_loses_no_seat() {
    let mut pair = Pair::start();
    let services = std::mem::take(&mut pair.services);
    let host = services[0].player(1).await;
    let lobby = services[0].create(&host, json!({"election_delay_ms": 0})).await;
    let mut listeners = vec![Listener::new(&services, 0, &host, lobby.id).await];
    for number in 2..=5 {
        let at = usize::from(number) % 2;
        let player = services[at].player(number).await;
        services[at].join(&player, &lobby).await;
        listeners.push(Listener::new(&services, at, &player, lobby.id).await);
    }
    for (round, number) in [0, 1, 0, 1].into_iter().enumerate() {
        pair.servers[number].process.terminate().unwrap();
        let away: Vec<_> = listeners.iter_mut().filter(|listener| listener.at == number).collect();
        for listener in away {
            loop {
                match listener.socket.hear().await {
                    Heard::Message(message) => {
                        if let ServerMessage::Closing { reason, retry_after_ms } = *message {
                            assert_eq!(reason, CloseReason::GoingAway);
                            assert!(retry_after_ms.unwrap() < 6000, "within a lease");
                        }
                    }
                    Heard::Closed(_) => break listener.move_on().await,
                }
            }
        }
        assert!(pair.servers[number].process.wait_end(GONE_BY).unwrap(), "it ends well");
        pair.begin_again(number);
        // A marker that everybody hears: whatever was said before it has been heard as well.
        let visitor = services[number].player(100 + round as u8).await;
        let seat = services[number].join(&visitor, &lobby).await;
        services[number]
            .post(&visitor, &format!("/v1/lobbies/{}/leave", lobby.id), json!(null))
            .await
            .expect_status(204);
        join_all(listeners.iter_mut().map(|listener| listener.hear_until(left(seat.0)))).await;
    }
    let is_harm = |event: &&Event| {
        matches!(
            event.body,
            EventBody::MemberDisconnected { .. } | EventBody::HostLost { .. } | EventBody::HostElected { .. }
        )
    };
    for listener in &listeners {
        assert_eq!(listener.heard.iter().find(is_harm), None);
    }
    assert!(listeners.iter().all(|listener| listener.moves >= 1));
}

/// P9: nobody stays connected for ever because the instance that would have noticed is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_gone_together_with_its_instance_is_replaced() {
    let mut pair = Pair::start();
    let host = pair.services[0].player(1).await;
    let lobby = pair.services[0].create(&host, json!({"election_delay_ms": 0})).await;
    let host_socket = pair.services[0].listen(&host, lobby.id, None).await;
    let guest = pair.services[1].player(2).await;
    pair.services[1].join(&guest, &lobby).await;
    let mut listener = Listener::new(&pair.services[1..], 0, &guest, lobby.id).await;
    let began = Instant::now();
    pair.servers[0].process.kill();
    drop(host_socket);
    listener.hear_until(|body| matches!(body, EventBody::HostElected { .. })).await;
    assert!(began.elapsed() < GONE_BY, "{:?}", began.elapsed());
    let lost = listener.heard.iter().find(|event| matches!(event.body, EventBody::HostLost { .. })).unwrap();
    assert!(matches!(lost.body, EventBody::HostLost { cause: LossCause::Disconnected, .. }));
    assert!(began.elapsed() > Duration::from_secs(6), "it had a full term to come back");
}

/// P10 is judged by all guests, whichever instance they are connected to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_at_different_instances_are_a_majority_together() {
    let pair = Pair::start();
    let host = pair.services[0].player(1).await;
    let lobby = pair.services[0].create(&host, json!({"election_delay_ms": 0})).await;
    let mut host_socket = pair.services[0].listen(&host, lobby.id, None).await;
    let mut guests = Vec::new();
    for number in 2..=5 {
        let at = usize::from(number) % 2;
        let guest = pair.services[at].player(number).await;
        pair.services[at].join(&guest, &lobby).await;
        guests.push(Listener::new(&pair.services, at, &guest, lobby.id).await);
    }
    // They are all heard before they speak.
    join_all(guests.iter_mut().map(|guest| guest.hear_until(joined(4)))).await;
    let report = ClientMessage::Report { epoch: HostEpoch(1), hears_host: false };
    let (first, others) = guests.split_at_mut(1);
    let speak = async {
        // A note can be lost: guests say it again.
        loop {
            for guest in &mut *others {
                guest.socket.say(&report).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let hear = async {
        while !matches!(host_socket.hear().await, Heard::Message(message) if matches!(*message, ServerMessage::Challenge { .. }))
        {
        }
        first[0].hear_until(|body| matches!(body, EventBody::HostElected { .. })).await;
    };
    tokio::select! {
        () = speak => unreachable!("it goes on and on"),
        () = hear => {}
    }
    let causes: BTreeMap<_, _> = first[0].heard.iter().map(|event| (event.seq, &event.body)).collect();
    assert!(causes.values().any(|body| matches!(body, EventBody::HostLost { cause: LossCause::Silent, .. })));
}

/// The next signal; events before it are skipped.
async fn signal(socket: &mut TestSocket) -> Signal {
    loop {
        if let ServerMessage::Signal { signal, .. } = socket.message().await {
            return signal;
        }
    }
}

#[tokio::test]
async fn signals_cross_instances_in_their_order() {
    const COUNT: u32 = 200;
    let pair = Pair::start();
    let [at_first, at_second] = &pair.services[..] else { unreachable!("there are two") };
    let (host, guest) = (at_first.player(1).await, at_second.player(2).await);
    let lobby = at_first.create(&host, json!({})).await;
    let connection = at_second.join(&guest, &lobby).await;
    let mut of_host = at_first.listen(&host, lobby.id, Some(EventSeq(0))).await;
    let mut of_guest = at_second.listen(&guest, lobby.id, Some(EventSeq(0))).await;
    let candidate = |address: &str, kind: &str| format!("candidate:1 1 udp 1 {address} 4000 typ {kind}");
    let candidates = vec![candidate("192.0.2.7", "host"), candidate("198.51.100.1", "relay")];
    let to_host = |attempt| {
        let signal = Signal::Candidates { attempt, candidates: candidates.clone() };
        ClientMessage::Signal { to: ConnectionId(0), peer_key: host.peer_key, signal }
    };
    // The instances may not know of each other yet.
    let speak = async {
        loop {
            of_guest.say(&to_host(0)).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = speak => unreachable!("it goes on and on"),
        _ = signal(&mut of_host) => {}
    }
    for attempt in 1..=COUNT {
        of_guest.say(&to_host(attempt)).await;
    }
    let mut heard = Vec::new();
    while heard.last() != Some(&COUNT) {
        heard.extend(Some(signal(&mut of_host).await.attempt()).filter(|&attempt| attempt > 0));
    }
    assert_eq!(heard, (1..=COUNT).collect::<Vec<_>>());

    let signal_back = Signal::Close { attempt: 7 };
    of_host.say(&ClientMessage::Signal { to: connection, peer_key: guest.peer_key, signal: signal_back.clone() }).await;
    assert_eq!(signal(&mut of_guest).await, signal_back, "and back");

    let change = json!({"epoch": 1, "change": {"settings": {"relay_only": true}}});
    let path = format!("/v1/lobbies/{}", lobby.id);
    at_second.call(&host, reqwest::Method::PATCH, &path, change).await.expect_status(200);
    while !matches!(of_guest.message().await, ServerMessage::Event(Event { body: EventBody::LobbyChanged { .. }, .. }))
    {
    }
    of_guest.say(&to_host(COUNT + 1)).await;
    let only = vec![candidate("198.51.100.1", "relay")];
    assert_eq!(signal(&mut of_host).await, Signal::Candidates { attempt: COUNT + 1, candidates: only });
}
