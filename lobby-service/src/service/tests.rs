//! What the service does when its store answers late, badly or not at all.

use std::sync::Arc;
use std::time::Duration;

use protocol::commit::Version;
use protocol::id::{ConnectionId, HostEpoch, JoinCode, LobbyId, PeerKey, PlayerId};
use protocol::lobby::{Command, HostState, Lobby, Newcomer, Settings};
use protocol::message::Event;
use protocol::time::Timestamp;

use super::Service;
use crate::auth::{Auth, random};
use crate::store::memory::MemoryStore;
use crate::store::{Store, StoreError};

pub(crate) fn service(store: Arc<dyn Store>) -> Arc<Service> {
    Service::new(store, Auth::ephemeral().unwrap())
}

pub(crate) fn newcomer(number: u8) -> Newcomer {
    Newcomer {
        player: PlayerId::from_bytes([number; 16]),
        name: String::new(),
        peer_key: PeerKey::from_bytes([number; 32]),
        build_id: String::new(),
        can_host: true,
        direct_address: None,
    }
}

/// A lobby of two, its newest events, and how it was loaded.
pub(crate) async fn stored(store: &dyn Store, at: Timestamp) -> Lobby {
    let code = JoinCode::from_entropy(u64::from_be_bytes(random()));
    let id = LobbyId::from_bytes(random());
    let (lobby, events) = Lobby::create(id, code, "x".into(), Settings::default(), newcomer(1), at).unwrap();
    store.create(&lobby, &events).await.unwrap();
    save(store, lobby, Version(1), Command::Join(newcomer(2)), at).await
}

/// As [`stored`], but its host has been gone for a minute.
pub(crate) async fn stored_without_host(store: &dyn Store, service: &Service) -> Lobby {
    let minute_ago = Timestamp(service.clock.now().0 - 60_000);
    let lobby = stored(store, minute_ago).await;
    let gone = Command::Disconnect { connection: ConnectionId(0), peer_key: newcomer(1).peer_key };
    save(store, lobby, Version(2), gone, minute_ago).await
}

async fn save(store: &dyn Store, lobby: Lobby, version: Version, command: Command, at: Timestamp) -> Lobby {
    let (lobby, events): (Lobby, Vec<Event>) = lobby.apply(command, at).unwrap();
    store.save(version, &lobby, &events).await.unwrap();
    lobby
}

#[tokio::test]
async fn what_was_saved_though_the_stores_answer_was_lost_is_told_with_the_next_command() {
    let store = Arc::new(MemoryStore::default());
    let service = service(store.clone());
    let lobby = stored(&*store, service.clock.now()).await;
    let (id, host) = (lobby.id(), newcomer(1));
    let socket = service.open_socket(host.player, id, host.peer_key).await.unwrap();
    let heard = service.rooms.newest(id).unwrap();
    let (lobby, version) = store.load(id).await.unwrap().unwrap();
    let lobby = save(&*store, lobby, version, Command::Join(newcomer(3)), service.clock.now()).await;
    assert_eq!(service.rooms.newest(id), Some(heard), "the answer was lost");
    service.execute(id, Command::Due).await.unwrap();
    assert_eq!(service.rooms.newest(id), Some(lobby.last_event()));
    assert_eq!(service.rooms.visit(id, |room| room.lobby.member_count()), Some(3));
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
    let outage = StoreError::Unavailable("away".into());
    assert!(service.stored::<()>(Err(outage)).is_err());
    assert!(deadline(&service.execute(other, Command::Due).await.unwrap()) > lobby.created_at());

    let due = stored_without_host(&*store, &service).await.id();
    service.has_resumed(service.absences());
    assert_eq!(service.execute(due, Command::Due).await.unwrap().epoch(), HostEpoch(2), "nobody was away");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_no_outage_of_the_store() {
    let service = service(Arc::new(MemoryStore::default()));
    let before = service.absences();
    let unreadable = || StoreError::Corrupt { what: "lobby", source: "bad".into() };
    assert!(service.stored::<()>(Err(unreadable())).is_err());
    assert_eq!(service.absences(), before);
}
