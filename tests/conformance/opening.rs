//! Opening a store, and what only one kind of store can show.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lobby_service::store::postgres::{Options, PostgresStore};
use lobby_service::store::sqlite::SqliteStore;
use lobby_service::store::{Store, StoreError, Written};
use protocol::commit::Version;
use protocol::id::EventSeq;
use protocol::limits;
use protocol::lobby::listing::Query;
use protocol::lobby::{Lobby, Settings};
use tests::postgres::database;
use xtask::postgres::Postgres;

use super::players::signed_in;
use super::{NOW, apply, created, instance, join, lobby_id, new_lobby, player, put, snapshot};

/// Longer than any call may take: to get a connection, to be answered, and a loaded machine.
const BOUND: Duration = Duration::from_secs(15);

#[tokio::test]
async fn what_was_acknowledged_is_in_the_file_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let lobby = created(&store, 1, Settings::default()).await;
    let lobby = apply(&store, lobby.id(), join(2), NOW).await;
    let new = snapshot(lobby.id(), 0, 1, 3, b"state");
    put(&store, new.clone()).await.unwrap();
    signed_in(&store, 1, NOW.after(limits::REFRESH_TOKEN_LIFE)).await;
    let events = store.events_after(lobby.id(), EventSeq(0), 99).await.unwrap();

    // While the first one still has it open, in a copy: as after a kill, nothing was written back on closing.
    let copy = folder.path().join("copy.db");
    for end in ["", "-wal"] {
        std::fs::copy(folder.path().join(format!("store.db{end}")), folder.path().join(format!("copy.db{end}")))
            .unwrap();
    }
    let again = SqliteStore::open(&copy).await.unwrap();
    assert_eq!(again.load(lobby.id()).await.unwrap(), Some((lobby.clone(), Version(2))));
    assert_eq!(again.events_after(lobby.id(), EventSeq(0), 99).await.unwrap(), events);
    assert_eq!(again.latest_snapshot(lobby.id()).await.unwrap(), Some((new.header, new.record)));
    assert!(again.player(player(1)).await.unwrap().is_some());
    store.close().await;
    assert!(matches!(store.load(lobby.id()).await, Err(StoreError::Unavailable(_))), "closed");
}

#[tokio::test]
async fn one_process_uses_a_file_and_the_next_one_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path).await.unwrap();
    created(&store, 1, Settings::default()).await;
    let refused = SqliteStore::open(&path).await.unwrap_err();
    let StoreError::Unavailable(cause) = refused else { panic!("{refused:?}") };
    assert!(cause.to_string().contains("another lobby-service is using"), "{cause}");
    let next = tokio::spawn(async move { SqliteStore::open(&path).await.unwrap() });
    store.close().await;
    assert!(next.await.unwrap().load(lobby_id(1)).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_that_open_an_empty_database_at_once_all_find_its_tables() {
    let database = database();
    let open = |_| {
        let url = database.url();
        tokio::spawn(async move { PostgresStore::open(&url, Options::default()).await.unwrap() })
    };
    let mut stores = Vec::new();
    for task in (0..4).map(open).collect::<Vec<_>>() {
        stores.push(task.await.unwrap());
    }
    let lobby = created(&stores[0], 1, Settings::default()).await;
    for store in &stores {
        assert_eq!(store.load(lobby.id()).await.unwrap(), Some((lobby.clone(), Version(1))));
        store.close().await;
    }
    let migrations = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/postgres")).unwrap().count();
    let done = database.query("SELECT count(*) FROM _sqlx_migrations WHERE success");
    assert_eq!(done.trim(), migrations.to_string(), "each once");
}

#[tokio::test]
async fn a_database_that_may_lose_what_it_has_acknowledged_is_refused_unless_that_is_allowed() {
    let database = database();
    database.query(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$",
    );
    let refused = PostgresStore::open(&database.url(), Options::default()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unsafe { setting: "synchronous_commit" }), "{refused:?}");
    let store = PostgresStore::open(&database.url(), Options { allow_unsafe: true }).await.unwrap();
    created(&store, 1, Settings::default()).await;
    store.close().await;
}

#[tokio::test]
async fn three_snapshots_are_kept_and_a_lobby_whose_columns_say_nothing_decides_by_itself() {
    let database = database();
    let store = PostgresStore::open(&database.url(), Options::default()).await.unwrap();
    let lobby = created(&store, 1, Settings::default()).await.id();
    for seq in 0..5 {
        put(&store, snapshot(lobby, 0, 1, seq, b"state")).await.unwrap();
    }
    database.query("UPDATE lobbies SET epoch = NULL, writer = NULL");
    put(&store, snapshot(lobby, 0, 1, 7, b"state")).await.unwrap();
    put(&store, snapshot(lobby, 0, 1, 6, b"state")).await.unwrap_err();
    put(&store, snapshot(lobby, 1, 1, 8, b"state")).await.unwrap_err();
    assert_eq!(database.query("SELECT count(*) FROM snapshots").trim(), "3");
    assert_eq!(store.newest_snapshot(lobby).await.unwrap().unwrap().0.seq, 7);
    store.close().await;
}

#[tokio::test]
async fn lobbies_that_cannot_be_read_leave_no_gap_on_a_page() {
    let database = database();
    let store = PostgresStore::open(&database.url(), Options::default()).await.unwrap();
    for number in 1..=9 {
        created(&store, number, Settings::default()).await;
    }
    database.query("UPDATE lobbies SET body = '{' WHERE get_byte(id, 0) IN (1, 3, 4, 5, 9)");
    let query = Query { count: 3, ..Query::new(&[], Vec::new(), None).unwrap() };
    let ids = |lobbies: &[Lobby]| lobbies.iter().map(Lobby::id).collect::<Vec<_>>();
    assert_eq!(ids(&store.query(&query).await.unwrap()), [lobby_id(2), lobby_id(6), lobby_id(7)]);
    let query = Query { skip: 3, ..query };
    assert_eq!(
        ids(&store.query(&query).await.unwrap()),
        [lobby_id(6), lobby_id(7), lobby_id(8)],
        "those are skipped too"
    );
    let all = store.lobbies(Some(lobby_id(2)), 2).await.unwrap();
    assert_eq!(all.iter().map(|(lobby, _)| lobby.id()).collect::<Vec<_>>(), [lobby_id(6), lobby_id(7)]);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_call_to_a_database_that_is_frozen_or_gone_ends_in_time_and_works_again_later() {
    let mut server = Postgres::start().unwrap();
    server.create_database("store").unwrap();
    let store: Arc<dyn Store> = Arc::new(PostgresStore::open(&server.url("store"), Options::default()).await.unwrap());
    let lobby = created(&*store, 1, Settings::default()).await;
    let before = apply(&*store, lobby.id(), join(2), NOW).await;

    server.freeze().unwrap();
    all_fail_in_time(&store).await;
    server.thaw().unwrap();
    works_again(&*store, before.clone()).await;

    server.kill().unwrap();
    all_fail_in_time(&store).await;
    server.start_again().unwrap();
    works_again(&*store, before).await;
    store.close().await;
}

async fn all_fail_in_time(store: &Arc<dyn Store>) {
    let begin = Instant::now();
    let calls = (0..12).map(|number| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            match number % 6 {
                0 => store.load(lobby_id(1)).await.map(drop),
                1 => store.write(&[new_lobby(100 + number, 100 + number, Settings::default())]).await.map(drop),
                2 => store.put_snapshots(&[snapshot(lobby_id(1), 0, 1, 1, b"state")]).await.map(drop),
                3 => store.renew(instance(1), BOUND).await.map(drop),
                4 => store.due(9).await.map(drop),
                _ => store.versions(&[lobby_id(1)]).await.map(drop),
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        let end = call.await.unwrap();
        assert!(matches!(end, Err(StoreError::Unavailable(_))), "{end:?}");
    }
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
}

/// A connection that was lost is noticed at the latest when it is used: some calls may still fail.
async fn works_again(store: &dyn Store, lobby: Lobby) {
    let give_up_at = Instant::now() + BOUND;
    loop {
        match store.load(lobby.id()).await {
            Ok(loaded) => break assert_eq!(loaded, Some((lobby, Version(2)))),
            Err(error) => assert!(Instant::now() < give_up_at, "{error:?}"),
        }
    }
    loop {
        let change = new_lobby(2, 2, super::private());
        match store.write(&[change]).await {
            Ok(ends) => break assert!(ends == [Written::Done] || ends == [Written::Taken]),
            Err(error) => assert!(Instant::now() < give_up_at, "{error:?}"),
        }
    }
}
