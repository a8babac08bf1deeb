//! What the service does when its store answers late, badly or not at all.

use std::sync::Arc;
use std::time::Duration;

use protocol::commit::Version;
use protocol::id::{ConnectionId, HostEpoch, InstanceId, JoinCode, LobbyId, PeerKey, PlayerId};
use protocol::lobby::{Command, HostState, Lobby, NewLobby, Newcomer, Settings};
use protocol::message::Event;
use protocol::time::Timestamp;

use protocol::error::Rejection;
use protocol::limits;
use protocol::message::CloseReason;

use super::{Error, Service};
use crate::auth::{Auth, random};
use crate::limits::Limits;
use crate::store::memory::MemoryStore;
use crate::store::{Change, Store, StoreError, Written};

/// An instance that is not there any more.
pub(crate) const HOLDER: InstanceId = InstanceId::from_bytes([1; 8]);

pub(crate) fn service(store: Arc<dyn Store>) -> Arc<Service> {
    Service::new(store, Auth::ephemeral().unwrap(), Limits::off())
}

pub(crate) fn newcomer(number: u8) -> Newcomer {
    Newcomer::new(PlayerId::from_bytes([number; 16]), PeerKey::from_bytes([number; 32]), HOLDER)
}

/// A lobby of two, its newest events, and how it was loaded.
pub(crate) async fn stored(store: &dyn Store, at: Timestamp) -> Lobby {
    let code = JoinCode::from_entropy(u64::from_be_bytes(random()));
    let new = NewLobby::new(LobbyId::from_bytes(random()), code, "x".into(), Settings::default());
    let (lobby, events) = Lobby::create(new, newcomer(1), at).unwrap();
    write(store, None, lobby.clone(), events).await;
    save(store, lobby, Version(1), Command::Join(newcomer(2)), at).await
}

/// As [`stored`], but its host has been gone for a minute.
pub(crate) async fn stored_without_host(store: &dyn Store, service: &Service) -> Lobby {
    let minute_ago = Timestamp(service.clock.now().0 - 60_000);
    let lobby = stored(store, minute_ago).await;
    let gone = Command::Disconnect { connection: ConnectionId(0), peer_key: newcomer(1).peer_key, holder: HOLDER };
    save(store, lobby, Version(2), gone, minute_ago).await
}

pub(crate) async fn save(store: &dyn Store, lobby: Lobby, version: Version, command: Command, at: Timestamp) -> Lobby {
    let (lobby, events): (Lobby, Vec<Event>) = lobby.apply(command, at).unwrap();
    write(store, Some(version), lobby.clone(), events).await;
    lobby
}

async fn write(store: &dyn Store, expected: Option<Version>, lobby: Lobby, events: Vec<Event>) {
    let written = store.write(&[Change { expected, lobby: Arc::new(lobby), events }]).await.unwrap();
    assert_eq!(written, [Written::Done]);
}

#[tokio::test]
async fn what_was_saved_though_the_stores_answer_was_lost_is_told_with_the_next_command() {
    let store = Arc::new(MemoryStore::default());
    let service = service(store.clone());
    let lobby = stored(&*store, service.clock.now()).await;
    let (id, host) = (lobby.id(), newcomer(1));
    let socket = service.open_socket(host.player, id, host.peer_key).await.unwrap();
    let newest = || service.rooms.known(id).map(|(_, newest)| newest);
    let heard = newest().unwrap();
    let (lobby, version) = store.load(id).await.unwrap().unwrap();
    let lobby = save(&*store, lobby, version, Command::Join(newcomer(3)), service.clock.now()).await;
    assert_eq!(newest(), Some(heard), "the answer was lost");
    service.heads.forget(id);
    service.execute(id, Command::Due).await.unwrap();
    assert_eq!(newest(), Some(lobby.last_event()));
    assert_eq!(service.rooms.visit(id, |room| room.head.lobby.member_count()), Some(3));
    drop(socket);
}

#[tokio::test]
async fn deadlines_that_passed_while_the_service_or_its_store_was_away_begin_anew() {
    let store = Arc::new(MemoryStore::default());
    let service = service(store.clone());
    let lost = stored_without_host(&*store, &service).await.id();
    let deadline = |lobby: &Lobby| {
        let HostState::Lost { deadline, .. } = lobby.host() else { panic!("{:?}", lobby.host()) };
        *deadline
    };
    let lobby = service.execute(lost, Command::Due).await.unwrap();
    assert!(deadline(&lobby) > lobby.created_at().after(Duration::from_secs(60)), "from the start");

    let other = stored_without_host(&*store, &service).await.id();
    service.has_resumed(service.absences());
    service.was_away();
    assert!(deadline(&service.execute(other, Command::Due).await.unwrap()) > lobby.created_at());

    let due = stored_without_host(&*store, &service).await.id();
    service.has_resumed(service.absences());
    assert_eq!(service.execute(due, Command::Due).await.unwrap().epoch(), HostEpoch(2), "nobody was away");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_and_a_call_that_fails_among_others_are_no_outage_of_the_store() {
    let service = service(Arc::new(MemoryStore::default()));
    let before = service.absences();
    let unreadable = || StoreError::Corrupt { what: "lobby", source: "bad".into() };
    assert!(service.stored::<()>(Err(unreadable())).is_err());
    service.stored(Ok(())).unwrap();
    assert!(service.stored::<()>(Err(StoreError::Unavailable("away".into()))).is_err());
    assert_eq!(service.absences(), before);
}

/// Two instances on one store, of which neither is told what the other does.
async fn two_instances() -> (Arc<MemoryStore>, Arc<Service>, Arc<Service>) {
    let store = Arc::new(MemoryStore::shared());
    let (first, second) = (service(store.clone()), service(store.clone()));
    for instance in [&first, &second] {
        crate::instances::begin(instance).await.unwrap();
        instance.has_resumed(instance.absences());
    }
    (store, first, second)
}

fn join(service: &Service, number: u8) -> Command {
    Command::Join(Newcomer { holder: service.leases.instance(), ..newcomer(number) })
}

#[tokio::test]
async fn a_stale_cache_costs_a_turn_and_refuses_nobody() {
    let (store, first, second) = two_instances().await;
    let id = stored(&*store, first.clock.now()).await.id();
    let full = |error: Result<Arc<Lobby>, Error>| matches!(error, Err(Error::Rejected(Rejection::Full(_))));
    for number in 3..=100 {
        second.execute(id, join(&second, number)).await.unwrap();
    }
    assert!(full(second.execute(id, join(&second, 101)).await));
    let left = first.execute(id, Command::Leave { connection: ConnectionId(1), player: newcomer(2).player }).await;
    assert_eq!(left.unwrap().member_count(), 99);
    let joined = second.execute(id, join(&second, 101)).await.unwrap();
    assert_eq!((joined.member_count(), joined.seat_of(newcomer(2).player)), (100, None), "what it had cached was full");
    assert!(full(first.execute(id, join(&first, 102)).await), "what it had cached was not");
    assert_eq!(first.lobby(id).await.unwrap(), joined);
}

/// P7, P10.
#[tokio::test]
async fn a_member_that_moves_to_another_instance_is_let_go_by_the_first_and_lost_by_nobody() {
    let (store, first, second) = two_instances().await;
    let id = stored(&*store, first.clock.now()).await.id();
    let host = newcomer(1);
    let mut here = first.open_socket(host.player, id, host.peer_key).await.unwrap();
    let there = second.open_socket(host.player, id, host.peer_key).await.unwrap();
    assert!(!here.notices.has_changed().unwrap());
    first.look_again(id).await.unwrap();
    assert_eq!(here.notices.borrow_and_update().close, Some(CloseReason::Replaced));
    drop(here);
    first.execute(id, Command::Due).await.unwrap();
    assert!(store.load(id).await.unwrap().unwrap().0.is_connected(ConnectionId(0)));
    // And back, although the second one has not looked again.
    let back = first.open_socket(host.player, id, host.peer_key).await.unwrap();
    drop(there);
    assert!(!second.leases.is_held_by((id, ConnectionId(0)), host.peer_key));
    second.execute(id, Command::Due).await.unwrap();
    assert!(store.load(id).await.unwrap().unwrap().0.is_connected(ConnectionId(0)));
    // There and back again, and the first one still has the socket of before and has not heard that the member had gone.
    let there = second.open_socket(host.player, id, host.peer_key).await.unwrap();
    let again = first.open_socket(host.player, id, host.peer_key).await.unwrap();
    assert_eq!(again.notices.borrow().close, None, "what the lobby said was said of an earlier socket");
    assert_eq!(store.load(id).await.unwrap().unwrap().0.holder_of(ConnectionId(0)), Some(first.leases.instance()));
    drop((back, there, again));
}

/// P10.
#[tokio::test]
async fn whom_the_service_sends_away_has_a_term_to_come_back() {
    let store = Arc::new(MemoryStore::default());
    let service = service(store.clone());
    let id = stored(&*store, service.clock.now()).await.id();
    let host = newcomer(1);
    let mut socket = service.open_socket(host.player, id, host.peer_key).await.unwrap();
    socket.is_sent_away = true;
    drop(socket);
    service.execute(id, Command::Due).await.unwrap();
    assert!(store.load(id).await.unwrap().unwrap().0.is_connected(ConnectionId(0)));
    assert_eq!(service.leases.expired_by(std::time::Instant::now() + 2 * limits::LEASE).len(), 1, "if it does not");
}

/// P9: whoever has its seat with one key cannot make its lobby forget to look after it with another.
#[tokio::test]
async fn a_socket_that_is_refused_leaves_nobody_connected_for_ever() {
    let store = Arc::new(MemoryStore::default());
    let service = service(store.clone());
    let id = stored(&*store, service.clock.now()).await.id();
    let socket = service.open_socket(newcomer(1).player, id, newcomer(1).peer_key).await.unwrap();
    // Also in the time after an outage, in which the end of a socket loses nobody.
    service.leases.renew_all();
    let stolen = service.open_socket(newcomer(1).player, id, newcomer(2).peer_key).await;
    assert!(matches!(stolen, Err(Error::Rejected(Rejection::Invalid { field: "peer_key", .. }))));
    drop(socket);
    let lost = service.leases.expired_by(std::time::Instant::now() + 2 * limits::LEASE);
    assert_eq!(
        lost.iter().map(|lost| (lost.seat.1, lost.peer_key)).collect::<Vec<_>>(),
        [(ConnectionId(0), newcomer(1).peer_key)]
    );
}

#[tokio::test]
async fn whoever_is_saved_as_heard_by_an_instance_that_is_gone_is_looked_after_by_another() {
    let (store, first, second) = two_instances().await;
    let id = stored(&*store, first.clock.now()).await.id();
    first.execute(id, join(&first, 3)).await.unwrap();
    let gone = first.leases.instance();
    store.retire(gone).await.unwrap();
    let renewal = store.renew(second.leases.instance(), limits::LEASE).await.unwrap();
    assert_eq!(renewal.inherited, [gone]);
    let held = crate::instances::take_over(&second).await.unwrap();
    assert!(held.contains(&gone) && held.contains(&HOLDER), "{held:?}");
    let lost = second.leases.expired_by(std::time::Instant::now() + 2 * limits::LEASE);
    let of = |holder| lost.iter().filter(|lost| lost.holder == holder).count();
    assert_eq!((of(gone), of(HOLDER)), (1, 2));
    for one in lost {
        let command = Command::Disconnect { connection: one.seat.1, peer_key: one.peer_key, holder: one.holder };
        second.execute(id, command).await.unwrap();
    }
    assert_eq!(store.load(id).await.unwrap().unwrap().0.connected().count(), 0);
}
