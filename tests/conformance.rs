//! One suite over all stores: what holds for the one in memory holds for the others.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use lobby_service::store::memory::MemoryStore;
use lobby_service::store::sqlite::SqliteStore;
use lobby_service::store::{CreateError, Player, PutSnapshotError, RefreshHash, SnapshotRefusal, Store, StoreError};
use protocol::commit::{Saved, Version};
use protocol::error::Rejection;
use protocol::id::{ConnectionId, EventSeq, HostEpoch, JoinCode, LobbyId, PeerKey, PlayerId};
use protocol::limits;
use protocol::lobby::{Command, Lobby, Newcomer, Settings, Visibility};
use protocol::message::Event;
use protocol::snapshot::{Generation, Header, SnapshotError};
use protocol::time::Timestamp;
use tests::service::record;

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const HOST: ConnectionId = ConnectionId(0);

fn player(number: u8) -> PlayerId {
    PlayerId::from_bytes([number; 16])
}

fn key(number: u8) -> PeerKey {
    PeerKey::from_bytes([number; 32])
}

fn newcomer(number: u8) -> Newcomer {
    Newcomer {
        player: player(number),
        name: "é \" 玩家".into(),
        peer_key: key(number),
        build_id: "1".into(),
        can_host: true,
        direct_address: Some("192.0.2.1:4000".into()),
    }
}

fn new_lobby(number: u8, settings: Settings) -> (Lobby, Vec<Event>) {
    let code = JoinCode::from_entropy(u64::from(number));
    Lobby::create(LobbyId::from_bytes([number; 16]), code, "arena".into(), settings, newcomer(1), NOW).unwrap()
}

fn private() -> Settings {
    Settings { visibility: Visibility::Private, ..Settings::default() }
}

async fn created(store: &dyn Store, number: u8, settings: Settings) -> Lobby {
    let (lobby, events) = new_lobby(number, settings);
    store.create(&lobby, &events).await.unwrap();
    lobby
}

/// Loads, decides and saves, as the service does.
async fn apply(store: &dyn Store, id: LobbyId, command: Command, now: Timestamp) -> Lobby {
    let (lobby, version) = store.load(id).await.unwrap().unwrap();
    let (lobby, events) = lobby.apply(command, now).unwrap();
    assert_eq!(store.save(version, &lobby, &events).await.unwrap(), Saved::Done);
    lobby
}

fn disconnect(number: u8, connection: ConnectionId) -> Command {
    Command::Disconnect { connection, peer_key: key(number) }
}

fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.seq.0).collect()
}

async fn a_lobby_is_read_back_as_it_was_saved(store: &dyn Store) {
    let lobby = created(store, 1, Settings::default()).await;
    assert_eq!(store.load(lobby.id()).await.unwrap(), Some((lobby.clone(), Version(1))));
    assert_eq!(store.id_by_code(lobby.join_code()).await.unwrap(), Some(lobby.id()));
    let changed = apply(store, lobby.id(), Command::Join(newcomer(2)), NOW).await;
    let changed = apply(store, changed.id(), disconnect(1, HOST), NOW).await;
    assert_eq!(store.load(lobby.id()).await.unwrap(), Some((changed, Version(3))));
    assert_eq!(store.load(LobbyId::from_bytes([9; 16])).await.unwrap(), None);
    assert_eq!(store.id_by_code(JoinCode::from_entropy(99)).await.unwrap(), None);
}

async fn a_join_code_belongs_to_one_lobby(store: &dyn Store) {
    created(store, 1, Settings::default()).await;
    let code = JoinCode::from_entropy(1);
    let id = LobbyId::from_bytes([2; 16]);
    let (twin, events) = Lobby::create(id, code, "twin".into(), Settings::default(), newcomer(2), NOW).unwrap();
    assert!(matches!(store.create(&twin, &events).await, Err(CreateError::CodeTaken(_))));
    assert_eq!(store.load(id).await.unwrap(), None);
    assert_eq!(store.events_after(id, EventSeq(0), 9).await.unwrap(), None);
}

async fn of_many_saves_of_one_version_exactly_one_is_done(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await;
    let save = |number: u8| {
        let (store, (lobby, events)) =
            (Arc::clone(&store), lobby.clone().apply(Command::Join(newcomer(number)), NOW).unwrap());
        tokio::spawn(async move { store.save(Version(1), &lobby, &events).await.unwrap() })
    };
    let mut done = 0;
    for task in (2..18).map(save).collect::<Vec<_>>() {
        done += usize::from(task.await.unwrap() == Saved::Done);
    }
    assert_eq!(done, 1);
    let (saved, version) = store.load(lobby.id()).await.unwrap().unwrap();
    assert_eq!((saved.member_count(), version), (2, Version(2)));
    let events = store.events_after(lobby.id(), EventSeq(0), 99).await.unwrap().unwrap();
    assert_eq!(events.len() as u64, saved.last_event().0, "the losers left no events");
}

async fn a_stale_save_writes_nothing(store: &dyn Store) {
    let lobby = created(store, 1, Settings::default()).await;
    let (changed, events) = lobby.clone().apply(Command::Join(newcomer(2)), NOW).unwrap();
    for wrong in [0, 2] {
        assert_eq!(store.save(Version(wrong), &changed, &events).await.unwrap(), Saved::Stale);
    }
    assert_eq!(store.load(lobby.id()).await.unwrap(), Some((lobby.clone(), Version(1))));
    let kept = store.events_after(lobby.id(), lobby.last_event(), 9).await.unwrap();
    assert_eq!(kept, Some(Vec::new()));
    let (unknown, events) = new_lobby(2, Settings::default());
    assert_eq!(store.save(Version(1), &unknown, &events).await.unwrap(), Saved::Stale, "no such lobby");
}

async fn the_list_shows_public_open_lobbies_with_free_seats_page_by_page(store: &dyn Store) {
    for number in [5, 3, 1, 4] {
        created(store, number, Settings::default()).await;
    }
    created(store, 2, private()).await;
    created(store, 6, Settings { max_members: 1, ..Settings::default() }).await;
    let ids = |lobbies: &[Lobby]| lobbies.iter().map(|lobby| lobby.id().as_bytes()[0]).collect::<Vec<_>>();
    let first = store.list(None, 2).await.unwrap();
    assert_eq!(ids(&first), [1, 3]);
    let second = store.list(first.last().map(Lobby::id), 9).await.unwrap();
    assert_eq!(ids(&second), [4, 5]);
    assert!(store.list(second.last().map(Lobby::id), 9).await.unwrap().is_empty());
}

async fn events_are_read_from_any_number_and_only_the_newest_are_kept(store: &dyn Store) {
    let mut lobby = created(store, 1, Settings::default()).await;
    while lobby.last_event().0 < limits::EVENTS_KEPT + 10 {
        lobby = apply(store, lobby.id(), Command::Join(newcomer(2)), NOW).await;
        let connection = lobby.seat_of(player(2)).unwrap();
        lobby = apply(store, lobby.id(), Command::Leave { connection, player: player(2) }, NOW).await;
    }
    let last = lobby.last_event().0;
    let oldest = last - limits::EVENTS_KEPT;
    let after = |seq: u64| store.events_after(lobby.id(), EventSeq(seq), 3);
    assert_eq!(numbers(&after(oldest).await.unwrap().unwrap()), [oldest + 1, oldest + 2, oldest + 3]);
    assert_eq!(numbers(&after(last - 1).await.unwrap().unwrap()), [last]);
    assert_eq!(after(last).await.unwrap(), Some(Vec::new()));
    assert_eq!(after(oldest - 1).await.unwrap(), None, "no longer kept");
    assert_eq!(after(last + 1).await.unwrap(), None, "never was");
    assert_eq!(after(u64::MAX).await.unwrap(), None);
    let all = store.events_after(lobby.id(), EventSeq(oldest), u32::MAX).await.unwrap().unwrap();
    assert_eq!(numbers(&all), (oldest + 1..=last).collect::<Vec<_>>());
}

async fn deadlines_come_earliest_first(store: &dyn Store) {
    let (early, late) = (created(store, 2, Settings::default()).await, created(store, 1, Settings::default()).await);
    assert_eq!(store.due(9).await.unwrap(), []);
    let late = apply(store, late.id(), disconnect(1, HOST), NOW.after(limits::ELECTION_DELAY)).await;
    let early = apply(store, early.id(), disconnect(1, HOST), NOW).await;
    let due = [(early.due_at().unwrap(), early.id()), (late.due_at().unwrap(), late.id())];
    assert_eq!(store.due(9).await.unwrap(), due);
    assert_eq!(store.due(1).await.unwrap(), due[..1]);
}

async fn lobbies_with_connected_members_are_found(store: &dyn Store) {
    for number in 1..=3 {
        created(store, number, private()).await;
    }
    let away = apply(store, LobbyId::from_bytes([2; 16]), disconnect(1, HOST), NOW).await;
    let found = store.connected_lobbies(None, 9).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|lobby| lobby.id() != away.id()));
    let rest = store.connected_lobbies(Some(found[0].id()), 9).await.unwrap();
    assert_eq!(rest.iter().map(Lobby::id).collect::<Vec<_>>(), [found[1].id()]);
}

/// P4, P5.
async fn a_snapshot_is_never_replaced_by_an_older_one_nor_taken_from_an_older_host(store: &dyn Store) {
    let lobby = created(store, 1, Settings::default()).await.id();
    let put = async |connection: u32, epoch: u64, seq: u64, state: &[u8]| match store
        .put_snapshot(lobby, ConnectionId(connection), record(epoch, seq, state).into())
        .await
    {
        Ok(header) => Ok(header.generation),
        Err(PutSnapshotError::Refused(refusal)) => Err(refusal),
        Err(PutSnapshotError::Store(error)) => panic!("{error}"),
    };
    let at = |epoch, seq| Generation { epoch: HostEpoch(epoch), seq };
    assert_eq!(store.latest_snapshot(lobby).await.unwrap(), None);
    assert_eq!(put(0, 1, 5, b"five").await, Ok(at(1, 5)));
    assert_eq!(put(0, 1, 5, b"five").await, Ok(at(1, 5)), "the same again");
    assert_eq!(put(0, 1, 5, b"other").await, Err(SnapshotRefusal::Conflict));
    assert_eq!(put(0, 1, 4, b"four").await, Err(SnapshotRefusal::Stale { newest: at(1, 5) }));
    assert_eq!(put(0, 1, u64::MAX, b"last").await, Ok(at(1, u64::MAX)));
    assert!(matches!(put(0, 2, 6, b"six").await, Err(SnapshotRefusal::Rejected(Rejection::StaleEpoch { .. }))));
    assert_eq!(put(1, 1, 6, b"six").await, Err(SnapshotRefusal::Rejected(Rejection::NotHost(ConnectionId(1)))));

    apply(store, lobby, Command::Join(newcomer(2)), NOW).await;
    apply(store, lobby, Command::Leave { connection: HOST, player: player(1) }, NOW).await;
    assert!(matches!(put(0, 1, 9, b"old host").await, Err(SnapshotRefusal::Rejected(Rejection::StaleEpoch { .. }))));
    assert_eq!(put(1, 2, 0, b"new host").await, Ok(at(2, 0)), "a newer epoch is newer whatever its number");
    let (header, bytes) = store.latest_snapshot(lobby).await.unwrap().unwrap();
    assert_eq!((header.generation, &bytes[..]), (at(2, 0), &record(2, 0, b"new host")[..]));
}

async fn a_closed_lobby_keeps_no_snapshot(store: &dyn Store) {
    let lobby = created(store, 1, Settings::default()).await.id();
    store.put_snapshot(lobby, HOST, record(1, 0, b"state").into()).await.unwrap();
    apply(store, lobby, Command::Leave { connection: HOST, player: player(1) }, NOW).await;
    assert!(store.latest_snapshot(lobby).await.unwrap().is_some(), "somebody may come back");
    let closed = apply(store, lobby, Command::Due, NOW.after(limits::EMPTY_LOBBY_KEPT)).await;
    assert!(closed.is_closed());
    assert_eq!(store.latest_snapshot(lobby).await.unwrap(), None);
    assert_eq!(store.due(9).await.unwrap(), []);
}

async fn a_closed_lobby_is_deleted_with_its_events_and_frees_its_code(store: &dyn Store) {
    let lobby = created(store, 1, Settings::default()).await;
    let open = created(store, 2, Settings::default()).await;
    apply(store, lobby.id(), Command::Leave { connection: HOST, player: player(1) }, NOW).await;
    let closed_at = NOW.after(limits::EMPTY_LOBBY_KEPT);
    apply(store, lobby.id(), Command::Due, closed_at).await;
    assert_eq!(store.delete_closed(Timestamp(closed_at.0 - 1)).await.unwrap(), 0, "not yet");
    assert_eq!(store.delete_closed(closed_at).await.unwrap(), 1);
    assert_eq!(store.delete_closed(closed_at).await.unwrap(), 0);
    assert_eq!(store.load(lobby.id()).await.unwrap(), None);
    assert_eq!(store.id_by_code(lobby.join_code()).await.unwrap(), None);
    assert_eq!(store.events_after(lobby.id(), EventSeq(0), 9).await.unwrap(), None);
    assert!(store.load(open.id()).await.unwrap().is_some());
    created(store, 1, Settings::default()).await;
}

async fn a_player_whose_refresh_secret_has_expired_is_forgotten(store: &dyn Store) {
    let gone = signed_in(store, 1, NOW).await;
    let here = signed_in(store, 2, NOW.after(limits::REFRESH_TOKEN_LIFE)).await;
    assert_eq!(store.player(gone.id).await.unwrap(), None);
    assert!(store.player(here.id).await.unwrap().is_some());
}

async fn a_damaged_snapshot_and_one_of_no_lobby_are_refused(store: &dyn Store) {
    let lobby = created(store, 1, Settings::default()).await.id();
    let refused = async |lobby, bytes: Vec<u8>| match store.put_snapshot(lobby, HOST, bytes.into()).await {
        Err(PutSnapshotError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    let mut damaged = record(1, 0, b"state");
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(refused(lobby, damaged).await, SnapshotRefusal::Malformed(SnapshotError::Checksum));
    assert_eq!(refused(lobby, Vec::new()).await, SnapshotRefusal::Malformed(SnapshotError::Truncated));
    assert_eq!(refused(LobbyId::from_bytes([9; 16]), record(1, 0, b"state")).await, SnapshotRefusal::NoLobby);
    assert_eq!(store.latest_snapshot(lobby).await.unwrap(), None);
}

/// Whichever comes first, no snapshot of the old epoch is acknowledged after the election.
async fn a_snapshot_and_an_election_at_once_leave_a_snapshot_that_was_allowed(store: Arc<dyn Store>) {
    for number in 1..=20 {
        let lobby = created(&*store, number, Settings::default()).await.id();
        apply(&*store, lobby, Command::Join(newcomer(2)), NOW).await;
        let upload = {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.put_snapshot(lobby, HOST, record(1, 7, b"late").into()).await.is_ok() })
        };
        apply(&*store, lobby, Command::Leave { connection: HOST, player: player(1) }, NOW).await;
        let stored = store.put_snapshot(lobby, ConnectionId(1), record(2, 0, b"new").into()).await;
        assert!(stored.is_ok());
        let accepted = upload.await.unwrap();
        let (newest, _) = store.latest_snapshot(lobby).await.unwrap().unwrap();
        assert_eq!(newest.generation.epoch, HostEpoch(2), "accepted: {accepted}");
    }
}

async fn of_two_snapshots_with_one_number_one_is_stored(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await.id();
    let put = |state: u8| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.put_snapshot(lobby, HOST, record(1, 3, &[state]).into()).await })
    };
    let mut stored: Vec<Header> = Vec::new();
    for task in (0..8).map(put).collect::<Vec<_>>() {
        match task.await.unwrap() {
            Ok(header) => stored.push(header),
            Err(PutSnapshotError::Refused(refusal)) => assert_eq!(refusal, SnapshotRefusal::Conflict),
            Err(PutSnapshotError::Store(error)) => panic!("{error}"),
        }
    }
    assert_eq!(stored.len(), 1);
    assert_eq!(store.latest_snapshot(lobby).await.unwrap().map(|(header, _)| header), stored.pop());
}

fn token(family: u8, secret: u8) -> RefreshHash {
    RefreshHash { family: [family; 16], hash: [secret; 32] }
}

async fn signed_in(store: &dyn Store, number: u8, expires_at: Timestamp) -> Player {
    let player = Player { id: player(number), name: "é".into(), created_at: NOW };
    store.create_player(&player, &token(number, 1), expires_at).await.unwrap();
    player
}

async fn a_refresh_secret_works_until_the_next_one_was_used(store: &dyn Store) {
    let end = NOW.after(limits::REFRESH_TOKEN_LIFE);
    let one = signed_in(store, 1, end).await;
    assert_eq!(store.player(one.id).await.unwrap(), Some(one.clone()));
    assert_eq!(store.player(player(9)).await.unwrap(), None);
    let rotate =
        async |presented, next| store.rotate_refresh(&token(1, presented), [next; 32], NOW, end).await.unwrap();
    assert_eq!(rotate(1, 2).await, Some(one.id));
    assert_eq!(rotate(1, 3).await, Some(one.id), "the answer was lost");
    assert_eq!(rotate(2, 4).await, None, "the lost one is not valid");
    assert_eq!(rotate(3, 5).await, Some(one.id));
    assert_eq!(rotate(1, 6).await, None, "used twice");
    assert_eq!(rotate(5, 7).await, Some(one.id));
    assert_eq!(store.rotate_refresh(&token(9, 1), [2; 32], NOW, end).await.unwrap(), None, "no such family");
}

async fn an_expired_refresh_secret_is_refused(store: &dyn Store) {
    let later = Timestamp(NOW.0 + 1000);
    signed_in(store, 1, later).await;
    assert_eq!(store.rotate_refresh(&token(1, 1), [2; 32], later, later).await.unwrap(), None);
    assert!(store.rotate_refresh(&token(1, 1), [2; 32], NOW, later).await.unwrap().is_some());
}

async fn of_two_uses_of_one_secret_at_once_both_are_answered_and_one_goes_on(store: Arc<dyn Store>) {
    let end = NOW.after(limits::REFRESH_TOKEN_LIFE);
    signed_in(&*store, 1, end).await;
    let rotate = |next: u8| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.rotate_refresh(&token(1, 1), [next; 32], NOW, end).await.unwrap() })
    };
    let (two, three) = (rotate(2), rotate(3));
    assert!(two.await.unwrap().is_some() && three.await.unwrap().is_some());
    let mut valid = 0;
    for secret in [2, 3] {
        valid += usize::from(store.rotate_refresh(&token(1, secret), [9; 32], NOW, end).await.unwrap().is_some());
    }
    assert_eq!(valid, 1);
}

async fn sqlite() -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("store.db")).await.unwrap();
    (folder, store)
}

/// Runs the functions above on both stores: first those that need one user, then those that need many.
macro_rules! suite {
    ($($alone:ident),* ; $($shared:ident),*) => {
        mod memory {
            use super::*;
            $(#[tokio::test] async fn $alone() { super::$alone(&MemoryStore::default()).await; })*
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $shared() { super::$shared(Arc::new(MemoryStore::default())).await; })*
        }
        mod sqlite {
            use super::*;
            $(#[tokio::test] async fn $alone() { let (_folder, store) = super::sqlite().await; super::$alone(&store).await; })*
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $shared() { let (_folder, store) = super::sqlite().await; super::$shared(Arc::new(store)).await; })*
        }
    };
}

suite!(
    a_lobby_is_read_back_as_it_was_saved,
    a_join_code_belongs_to_one_lobby,
    a_stale_save_writes_nothing,
    the_list_shows_public_open_lobbies_with_free_seats_page_by_page,
    events_are_read_from_any_number_and_only_the_newest_are_kept,
    deadlines_come_earliest_first,
    lobbies_with_connected_members_are_found,
    a_snapshot_is_never_replaced_by_an_older_one_nor_taken_from_an_older_host,
    a_closed_lobby_keeps_no_snapshot,
    a_closed_lobby_is_deleted_with_its_events_and_frees_its_code,
    a_player_whose_refresh_secret_has_expired_is_forgotten,
    a_damaged_snapshot_and_one_of_no_lobby_are_refused,
    a_refresh_secret_works_until_the_next_one_was_used,
    an_expired_refresh_secret_is_refused;
    of_many_saves_of_one_version_exactly_one_is_done,
    a_snapshot_and_an_election_at_once_leave_a_snapshot_that_was_allowed,
    of_two_snapshots_with_one_number_one_is_stored,
    of_two_uses_of_one_secret_at_once_both_are_answered_and_one_goes_on
);

#[tokio::test]
async fn what_was_acknowledged_is_in_the_file_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let lobby = created(&store, 1, Settings::default()).await;
    let lobby = apply(&store, lobby.id(), Command::Join(newcomer(2)), NOW).await;
    store.put_snapshot(lobby.id(), HOST, record(1, 3, b"state").into()).await.unwrap();
    signed_in(&store, 1, NOW.after(limits::REFRESH_TOKEN_LIFE)).await;
    let events = store.events_after(lobby.id(), EventSeq(0), 99).await.unwrap();

    // While the first one still has it open: as after a kill, nothing was written back on closing.
    let again = SqliteStore::open(&path).await.unwrap();
    assert_eq!(again.load(lobby.id()).await.unwrap(), Some((lobby.clone(), Version(2))));
    assert_eq!(again.events_after(lobby.id(), EventSeq(0), 99).await.unwrap(), events);
    let (header, bytes) = again.latest_snapshot(lobby.id()).await.unwrap().unwrap();
    assert_eq!((header.generation.seq, &bytes[..]), (3, &record(1, 3, b"state")[..]));
    assert!(again.player(player(1)).await.unwrap().is_some());
    store.close().await;
    assert!(matches!(store.load(lobby.id()).await, Err(StoreError::Unavailable(_))), "closed");
}
