//! A migration as a developer tries it at a desk: players in one process, each with a bad network of its own, and the host's plug pulled.

#![expect(clippy::unwrap_used, reason = "the functions that the tests share are tests too")]

use std::time::Duration;

use peer_client::{
    Client, Event, LobbyOptions, NetworkControl, Output, Recipient, Request, Role, SavedState, Session,
    SimulatedNetwork,
};
use tests::service::TestService;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Longest wait for anything: far more than anything takes, so that a loaded machine fails no test.
const PATIENCE: Duration = Duration::from_secs(40);
const STATE: &[u8] = b"three players and a treasure";

/// What a player's game has seen.
#[derive(Debug, Clone, Default)]
struct Seen {
    role: Option<Role>,
    epoch: u64,
    in_game: usize,
    stored_epoch: u64,
    restored: Option<Vec<u8>>,
    lobby_unreachable: bool,
    /// Reliable messages that came.
    messages: Vec<Vec<u8>>,
}

struct Player {
    seen: watch::Receiver<Seen>,
    network: NetworkControl,
    join_code: String,
    game: AbortHandle,
}

impl Drop for Player {
    fn drop(&mut self) {
        self.game.abort();
    }
}

impl Player {
    async fn start(service: &TestService, name: &str, network: SimulatedNetwork, join_code: Option<&str>) -> Self {
        let url = format!("http://{}", service.address());
        let client = Client::builder(url).player_name(name).simulated_network(network).sign_in().await.unwrap();
        let session = match join_code {
            None => client.host(LobbyOptions { name: "desk".into(), ..LobbyOptions::default() }).await.unwrap(),
            Some(code) => client.join_code(code).await.unwrap(),
        };
        let network = session.network().unwrap().clone();
        let join_code = session.join_code().to_string();
        let (sender, seen) = watch::channel(Seen::default());
        let game = tokio::spawn(play(session, sender)).abort_handle();
        Self { seen, network, join_code, game }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        let found = timeout(PATIENCE, seen.wait_for(|seen| is_so(seen))).await.map(|found| found.unwrap().clone());
        found.unwrap_or_else(|_| panic!("{what} did not happen: {:?}", self.seen.borrow()))
    }
}

/// A game that says something reliable each time that somebody comes in.
async fn play(mut session: Session, seen: watch::Sender<Seen>) {
    while let Some(output) = session.next().await {
        let mut now = seen.borrow().clone();
        match output {
            Output::Request(Request::SaveState(request)) => {
                request.answer(SavedState { state: STATE.to_vec(), ..SavedState::default() });
            }
            Output::Request(Request::RestoreState(request)) => {
                now.restored = request.snapshot().map(|snapshot| snapshot.state.clone());
                request.done();
            }
            Output::Request(Request::AcceptPlayer(request)) => request.accept(),
            Output::Event(Event::SnapshotStored { generation, .. }) => now.stored_epoch = generation.epoch.0,
            Output::Event(Event::LobbyUnreachable) => now.lobby_unreachable = true,
            Output::Event(Event::LobbyReachable) => now.lobby_unreachable = false,
            Output::Event(Event::JoinedGame { .. } | Event::HostMigrated { .. }) => {
                let greeting = format!("here I am at {}", session.epoch());
                session.send(Recipient::Host, peer_client::Delivery::Reliable, greeting).unwrap();
            }
            Output::Event(_) => {}
            Output::Message(message) => now.messages.push(message.payload.to_vec()),
        }
        (now.role, now.epoch, now.in_game) = (Some(session.role()), session.epoch().0, session.in_game().len());
        seen.send_replace(now);
    }
}

fn desk(seed: u64) -> SimulatedNetwork {
    let ms = Duration::from_millis;
    SimulatedNetwork::new(seed).delay(ms(25)).jitter(ms(10)).loss(0.02).duplication(0.05)
}

#[tokio::test]
async fn a_host_whose_plug_is_pulled_is_replaced_and_returns_as_a_guest() {
    let service = TestService::in_memory().await;
    let host = Player::start(&service, "Ada", desk(1), None).await;
    let guests = [
        Player::start(&service, "Ben", desk(2), Some(&host.join_code)).await,
        Player::start(&service, "Eve", desk(3), Some(&host.join_code)).await,
    ];
    host.until("both greetings", |seen| seen.in_game == 2 && seen.messages.len() == 2 && seen.stored_epoch > 0).await;

    host.network.partition(true);
    for guest in &guests {
        guest
            .until("another epoch", |seen| seen.epoch > 1 && matches!(seen.role, Some(Role::Host | Role::Guest)))
            .await;
    }
    let is_host = |guest: &&Player| guest.seen.borrow().role == Some(Role::Host);
    let heir = guests.iter().find(is_host).unwrap();
    let restored = heir.until("the other guest", |seen| seen.in_game == 1 && !seen.messages.is_empty()).await;
    assert_eq!(restored.restored.as_deref(), Some(STATE));
    let alone = host.until("the loss of the lobby", |seen| seen.lobby_unreachable).await;
    assert_eq!((alone.role, alone.epoch), (Some(Role::Host), 1), "nobody could tell it");

    host.network.partition(false);
    host.until("its place as a guest", |seen| seen.role == Some(Role::Guest) && seen.epoch > 1).await;
    heir.until("everybody", |seen| seen.in_game == 2).await;
    let counts = host.network.counts();
    assert!(counts.lost > 0 && counts.doubled > 0 && counts.overflowed == 0, "{counts:?}");
    drop((host, guests));
    service.stop().await;
}

#[tokio::test]
async fn a_guest_whose_plug_is_pulled_comes_back_to_the_same_host() {
    let service = TestService::in_memory().await;
    let host = Player::start(&service, "Ada", desk(1), None).await;
    let guest = Player::start(&service, "Ben", desk(2), Some(&host.join_code)).await;
    host.until("the greeting", |seen| seen.messages.len() == 1).await;
    guest.network.partition(true);
    host.until("that it is gone", |seen| seen.in_game == 0).await;
    guest.network.partition(false);
    let back = host.until("that it is back", |seen| seen.in_game == 1).await;
    assert_eq!((back.role, back.epoch), (Some(Role::Host), 1));
    host.until("another greeting", |seen| seen.messages.len() == 2).await;
    drop((host, guest));
    service.stop().await;
}
