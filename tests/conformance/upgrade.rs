//! A database of a release before there was a query.

use std::sync::Arc;

use lobby_service::store::postgres::{Options, PostgresStore};
use lobby_service::store::sqlite::SqliteStore;
use lobby_service::store::{Membership, Store, StoreError};
use protocol::id::ConnectionId;
use protocol::lobby::listing::{Field, Filter, Operator, Order, Query};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tests::postgres::database;

use super::{NOW, apply, leave, lobby_id, player};

/// What such a release wrote of an open lobby, whose id begins with the number, with players 1 and 2.
const BODY: &str = r#"{"id":"ID","name":"Arena 'É'","join_code":"CODE","build_id":"7","settings":{"election_delay_ms":10000,
"removal_delay_ms":120000,"ready_timeout_ms":5000,"max_members":8,"visibility":"public"},"created_at":1790000000000,"epoch":1,
"host":{"state":"present","host":0,"since":1790000000000},"members":{"0":{"player":"01010101010101010101010101010101","name":"a",
"peer_key":"0101010101010101010101010101010101010101010101010101010101010101","can_host":true,"direct_address":null,
"joined_at":1790000000000,"presence":{"state":"connected","since":1790000000000},"holder":"0101010101010101"},
"2":{"player":"02020202020202020202020202020202","name":"b",
"peer_key":"0202020202020202020202020202020202020202020202020202020202020202","can_host":true,"direct_address":null,
"joined_at":1790000000000,"presence":{"state":"connected","since":1790000000000},"holder":"0101010101010101"}},"former":[],
"next_connection":3,"successor":2,"failed_elections":[],"last_event":4,"empty_since":null,"closed":CLOSED,"relay":null}"#;

/// A snapshot of lobby 1.
fn snapshot_row(bytes: impl Fn(&str) -> String, seq: u64) -> String {
    let new = super::snapshot(lobby_id(1), 0, 1, seq, b"old");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (generation, record) = (format!("{:016x}{seq:016x}", 1), hex(&new.record));
    let columns = [lobby_id(1).to_string(), generation, new.header.checksum.to_string(), record];
    format!("({})", columns.map(|column| bytes(&column)).join(", "))
}

/// The rows of lobbies 1 (open), 2 (closed), 3 (private) and 4 (cannot be read). `bytes` writes hexadecimal bytes in the database's way.
fn rows(bytes: impl Fn(&str) -> String) -> String {
    let id = |number| bytes(&lobby_id(number).to_string());
    let row = |number: u8, public: bool, closed: bool| {
        let code = super::join_code(number).to_string();
        let body = match number {
            4 => "{".to_owned(),
            _ => BODY.replace("ID", &lobby_id(number).to_string()).replace("CODE", &code),
        };
        let body = body.replace("CLOSED", &closed.to_string()).replace('\'', "''");
        let (id, connected) = (id(number), if closed { 0 } else { 2 });
        format!("({id}, 4, '{code}', {public}, 'Arena ''É''', 2, 8, {connected}, {}, {closed}, 4, 1, '{body}')", NOW.0)
    };
    format!(
        "INSERT INTO lobbies (id, version, join_code, public, name, members, max_members, connected, created_at, closed,
             last_event, body_format, body)
         VALUES {}, {}, {}, {};
         INSERT INTO snapshots (lobby_id, generation, checksum, record) VALUES {}, {}",
        row(1, true, false),
        row(2, true, true),
        row(3, false, false),
        row(4, true, false),
        snapshot_row(&bytes, 4),
        snapshot_row(&bytes, 5)
    )
}

/// The first migrations of a folder.
fn up_to_0003(mut migrations: Migrator) -> Migrator {
    migrations.migrations = migrations.migrations[..3].to_vec().into();
    migrations
}

#[tokio::test]
async fn lobbies_of_a_file_before_the_query_are_found_and_so_are_their_members() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    up_to_0003(sqlx::migrate!("../migrations/sqlite")).run(&mut connection).await.unwrap();
    let rows = rows(|hex| format!("x'{hex}'"));
    connection.execute(AssertSqlSafe(rows)).await.unwrap();
    connection
        .execute("UPDATE lobbies SET epoch = 1, writer = 0 WHERE id <> x'04040404040404040404040404040404'")
        .await
        .unwrap();
    connection.close().await.unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    all_is_there(Arc::new(store)).await;
}

#[tokio::test]
async fn lobbies_of_a_database_before_the_query_are_found_and_so_are_their_members() {
    let database = database();
    let mut connection = sqlx::PgConnection::connect(&database.url()).await.unwrap();
    up_to_0003(sqlx::migrate!("../migrations/postgres")).run(&mut connection).await.unwrap();
    let rows = rows(|hex| format!("'\\x{hex}'"));
    connection.execute(AssertSqlSafe(rows)).await.unwrap();
    let newest = "INSERT INTO newest_snapshots
        SELECT DISTINCT ON (lobby_id) lobby_id, generation FROM snapshots ORDER BY lobby_id, generation DESC";
    connection.execute(newest).await.unwrap();
    let of_closed = "INSERT INTO newest_snapshots SELECT id, '\\x00' FROM lobbies WHERE closed";
    connection.execute(of_closed).await.unwrap();
    connection
        .execute("UPDATE lobbies SET epoch = 1, writer = 0 WHERE id <> '\\x04040404040404040404040404040404'")
        .await
        .unwrap();
    connection.close().await.unwrap();
    let store = PostgresStore::open(&database.url(), Options::default()).await.unwrap();
    all_is_there(Arc::new(store)).await;
}

async fn all_is_there(store: Arc<dyn Store>) {
    let seat = |number, connection, is_host| Membership {
        lobby: lobby_id(number),
        connection: ConnectionId(connection),
        is_host,
        request: None,
    };
    assert_eq!(store.memberships(player(1)).await.unwrap(), [seat(1, 0, true), seat(3, 0, true)]);
    assert_eq!(store.memberships(player(2)).await.unwrap(), [seat(1, 2, false), seat(3, 2, false)]);
    assert!(matches!(store.load(lobby_id(4)).await, Err(StoreError::Corrupt { .. })));

    let filter = |field, value: &str| Filter { field, op: Operator::Eq, value: value.to_owned() };
    let filters = [
        filter(Field::BuildId, "7"),
        filter(Field::AvailableSeats, "6"),
        filter(Field::MaxMembers, "8"),
        filter(Field::Locked, "false"),
        filter(Field::HasPassword, "false"),
        Filter { field: Field::Name, op: Operator::Contains, value: "aREna".to_owned() },
    ];
    let order = vec![Order { field: Field::CreatedAt, ascending: false }];
    let query = Query::new(&filters, order, None).unwrap();
    let found = async || store.query(&query).await.unwrap().iter().map(|lobby| lobby.id()).collect::<Vec<_>>();
    assert_eq!(found().await, [lobby_id(1)]);
    let connected = store.connected_lobbies(None, 9).await.unwrap();
    assert_eq!(connected.iter().map(|lobby| lobby.id()).collect::<Vec<_>>(), [lobby_id(1), lobby_id(3)]);

    let kept = super::snapshot(lobby_id(1), 0, 1, 5, b"old");
    assert_eq!(store.latest_snapshot(lobby_id(1)).await.unwrap(), Some((kept.header, kept.record)));
    let next = super::deltas::delta(lobby_id(1), 0, (1, 5), (1, 6), b"new");
    assert_eq!(super::deltas::put_delta(&*store, next).await, Ok(()));

    apply(&*store, lobby_id(1), leave(2, ConnectionId(2)), NOW).await;
    apply(&*store, lobby_id(3), leave(1, ConnectionId(0)), NOW).await;
    assert_eq!(store.memberships(player(1)).await.unwrap(), [seat(1, 0, true)]);
    assert_eq!(store.memberships(player(2)).await.unwrap(), [seat(3, 2, true)], "elected");
    assert_eq!(found().await, [], "another seat is free");
    let joining = protocol::lobby::Newcomer { build_id: "7".into(), ..super::newcomer(5) };
    apply(&*store, lobby_id(1), protocol::lobby::Command::Join(joining), NOW).await;
    assert_eq!(found().await, [lobby_id(1)]);
    assert_eq!(store.memberships(player(5)).await.unwrap(), [seat(1, 3, false)]);
    store.close().await;
}
