//! What only somebody can test who reaches into the file.

use std::sync::Arc;

use protocol::id::{HostEpoch, JoinCode, LobbyId};
use protocol::lobby::{Command, Lobby, NewLobby, Settings};
use protocol::snapshot::{Body, Generation, Snapshot};
use sqlx::SqliteConnection;
use sqlx::{ConnectOptions as _, Connection as _, query, query_as};

use super::*;
use crate::service::tests::newcomer;

const NOW: Timestamp = Timestamp(1_790_000_000_000);

impl SqliteStore {
    /// Makes a row one that this build cannot read.
    pub(crate) async fn spoil(&self, lobby: LobbyId) {
        let query = query("UPDATE lobbies SET body_format = 99 WHERE id = $1");
        query.bind(lobby.as_bytes().as_slice()).execute(&self.writer).await.expect("the file can be written");
    }
}

/// As the release before the columns of 0003 wrote it.
async fn insert_old(connection: &mut SqliteConnection, lobby: &Lobby, body: &str) {
    query(
        "INSERT INTO lobbies (id, version, join_code, public, name, members, max_members, connected, created_at, closed,
             last_event, body_format, body)
         VALUES ($1, 1, $2, 1, 'x', 1, 9, 1, 0, 0, 1, 1, $3)",
    )
    .bind(lobby.id().as_bytes().as_slice())
    .bind(lobby.join_code().as_str())
    .bind(body)
    .execute(connection)
    .await
    .unwrap();
}

fn lobby(number: u8) -> Lobby {
    let (id, code) = (LobbyId::from_bytes([number; 16]), JoinCode::from_entropy(u64::from(number)));
    Lobby::create(NewLobby::new(id, code, "x".into(), Settings::default()), newcomer(1), NOW).unwrap().0
}

fn record(lobby: LobbyId) -> NewSnapshot {
    let generation = Generation { epoch: HostEpoch(1), seq: 0 };
    let body = Body {
        build_id: String::new(),
        scene: String::new(),
        seats: Vec::new(),
        objects: protocol::objects::ObjectTable::default(),
        state: Vec::new(),
        ledger: Default::default(),
        changes: Vec::new(),
    };
    let record = Snapshot { generation, tick: 0, elapsed_us: 0, body }.encode().unwrap();
    let header = Header::check(&record).unwrap();
    NewSnapshot { lobby, connection: protocol::id::ConnectionId(0), header, record: record.into() }
}

#[tokio::test]
async fn lobbies_of_an_older_release_take_the_snapshots_of_their_hosts() {
    let path = std::env::temp_dir().join(format!("understudy-old-{}.db", std::process::id()));
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    let mut old = sqlx::migrate!("../migrations/sqlite");
    old.migrations = old.migrations[..2].to_vec().into();
    old.run(&mut connection).await.unwrap();
    let (present, unreadable) = (lobby(1), lobby(2));
    let gone = Command::Leave { connection: protocol::id::ConnectionId(0), player: newcomer(1).player };
    let (parked, _) = lobby(3).apply(gone, NOW).unwrap();
    for one in [&present, &parked] {
        insert_old(&mut connection, one, &serde_json::to_string(one).unwrap()).await;
    }
    insert_old(&mut connection, &unreadable, "{").await;
    connection.close().await.unwrap();

    let store = SqliteStore::open(&path).await.unwrap();
    let columns: Vec<(Option<i64>, Option<i64>)> =
        query_as("SELECT epoch, writer FROM lobbies ORDER BY id").fetch_all(&store.readers).await.unwrap();
    assert_eq!(columns, [(Some(1), Some(0)), (None, None), (Some(1), None)]);
    assert_eq!(store.put_snapshots(&[record(present.id())]).await.unwrap(), [Ok(())]);
    assert!(store.put_snapshots(&[record(parked.id())]).await.unwrap()[0].is_err());
    assert!(matches!(store.put_snapshots(&[record(unreadable.id())]).await, Err(StoreError::Corrupt { .. })));

    // Nothing is known: the lobby itself decides.
    query("UPDATE lobbies SET epoch = NULL, writer = NULL").execute(&store.writer).await.unwrap();
    assert_eq!(store.put_snapshots(&[record(present.id())]).await.unwrap(), [Ok(())], "the same again");
    for table in ["DELETE FROM snapshots", "DELETE FROM newest_snapshots"] {
        query(table).execute(&store.writer).await.unwrap();
    }
    assert_eq!(store.put_snapshots(&[record(present.id())]).await.unwrap(), [Ok(())]);
    assert!(store.latest_snapshot(present.id()).await.unwrap().is_some());
    let saved = Change { expected: Some(Version(1)), lobby: Arc::new(present), events: Vec::new() };
    assert_eq!(store.write(&[saved]).await.unwrap(), [Written::Done]);
    store.close().await;
    for end in ["", "-wal", "-shm", ".lock"] {
        drop(std::fs::remove_file(format!("{}{end}", path.display())));
    }
}
