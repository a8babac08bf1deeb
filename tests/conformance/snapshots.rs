//! Snapshots, one after the other.

use std::sync::Arc;

use lobby_service::store::{SnapshotRefusal, Store};
use protocol::error::Rejection;
use protocol::id::{ConnectionId, HostEpoch};
use protocol::limits;
use protocol::lobby::{Command, HostState, Settings};
use protocol::snapshot::Generation;

use super::{HOST, NOW, apply, created, disconnect, join, leave, lobby_id, put, snapshot};

fn at(epoch: u64, seq: u64) -> Generation {
    Generation { epoch: HostEpoch(epoch), seq }
}

fn is_stale_epoch(end: &Result<(), SnapshotRefusal>) -> bool {
    matches!(end, Err(SnapshotRefusal::Rejected(Rejection::StaleEpoch { .. })))
}

/// P4, P5.
pub(super) async fn order(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await.id();
    let put = async |connection: u32, epoch: u64, seq: u64, state: &[u8]| {
        put(&*store, snapshot(lobby, connection, epoch, seq, state)).await
    };
    assert_eq!(store.latest_snapshot(lobby).await.unwrap(), None);
    assert_eq!(store.newest_snapshot(lobby).await.unwrap(), None);
    assert_eq!(put(0, 1, 5, b"five").await, Ok(()));
    assert_eq!(put(0, 1, 5, b"five").await, Ok(()), "the same again");
    assert_eq!(put(0, 1, 5, b"other").await, Err(SnapshotRefusal::Conflict));
    assert_eq!(put(0, 1, 4, b"four").await, Err(SnapshotRefusal::Stale { newest: at(1, 5) }));
    assert_eq!(put(0, 1, u64::MAX, b"last").await, Ok(()));
    assert!(is_stale_epoch(&put(0, 2, 6, b"six").await));
    assert_eq!(put(1, 1, 6, b"six").await, Err(SnapshotRefusal::Rejected(Rejection::NotHost(ConnectionId(1)))));

    apply(&*store, lobby, join(2), NOW).await;
    apply(&*store, lobby, leave(1, HOST), NOW).await;
    assert!(is_stale_epoch(&put(0, 1, 9, b"old host").await));
    assert_eq!(put(1, 2, 0, b"new host").await, Ok(()), "a newer epoch is newer whatever its number");
    let new = snapshot(lobby, 1, 2, 0, b"new host");
    assert_eq!(store.newest_snapshot(lobby).await.unwrap(), Some((at(2, 0), new.header.checksum)));
    assert_eq!(store.latest_snapshot(lobby).await.unwrap(), Some((new.header, new.record)));
}

pub(super) async fn batch(store: Arc<dyn Store>) {
    for number in 1..=4 {
        created(&*store, number, Settings::default()).await;
    }
    put(&*store, snapshot(lobby_id(2), 0, 1, 7, b"seven")).await.unwrap();
    let batch = [
        snapshot(lobby_id(4), 0, 1, 0, b"four"),
        snapshot(lobby_id(9), 0, 1, 0, b"nine"),
        snapshot(lobby_id(2), 0, 1, 6, b"six"),
        snapshot(lobby_id(1), 0, 1, 0, b"one"),
        snapshot(lobby_id(3), 0, 2, 0, b"three"),
    ];
    let ends = store.put_snapshots(&batch).await.unwrap();
    assert_eq!(ends[..2], [Ok(()), Err(SnapshotRefusal::NoLobby)]);
    assert_eq!(ends[2..4], [Err(SnapshotRefusal::Stale { newest: at(1, 7) }), Ok(())]);
    assert!(is_stale_epoch(&ends[4]));
    for (number, seq) in [(1, Some(0)), (2, Some(7)), (3, None), (4, Some(0)), (9, None)] {
        let newest = store.newest_snapshot(lobby_id(number)).await.unwrap();
        assert_eq!(newest.map(|(generation, _)| generation.seq), seq, "lobby {number}");
    }
}

pub(super) async fn parked(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await.id();
    apply(&*store, lobby, disconnect(1, HOST), NOW).await;
    assert_eq!(put(&*store, snapshot(lobby, 0, 1, 1, b"lost")).await, Ok(()), "it may come back");
    let parked = apply(&*store, lobby, Command::Due, NOW.after(limits::ELECTION_DELAY)).await;
    assert!(matches!(parked.host(), HostState::Parked { former: Some(HOST), .. }));
    assert_eq!(put(&*store, snapshot(lobby, 0, 1, 2, b"parked")).await, Ok(()));
    apply(&*store, lobby, leave(1, HOST), NOW.after(limits::ELECTION_DELAY)).await;
    let refused = put(&*store, snapshot(lobby, 0, 1, 3, b"gone")).await;
    assert_eq!(refused, Err(SnapshotRefusal::Rejected(Rejection::NotHost(HOST))));
}

pub(super) async fn closed(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await.id();
    put(&*store, snapshot(lobby, 0, 1, 0, b"state")).await.unwrap();
    apply(&*store, lobby, leave(1, HOST), NOW).await;
    assert!(store.latest_snapshot(lobby).await.unwrap().is_some(), "somebody may come back");
    let closed = apply(&*store, lobby, Command::Due, NOW.after(limits::EMPTY_LOBBY_KEPT)).await;
    assert!(closed.is_closed());
    assert_eq!(store.latest_snapshot(lobby).await.unwrap(), None);
    assert_eq!(store.newest_snapshot(lobby).await.unwrap(), None);
    assert_eq!(store.due(9).await.unwrap(), []);
}

pub(super) async fn large(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await.id();
    let empty = snapshot(lobby, 0, 1, 0, b"").record.len();
    // Some bytes more say how long the state is.
    let state = vec![7; limits::SNAPSHOT_BYTES_MAX - empty - 8];
    let new = snapshot(lobby, 0, 1, 0, &state);
    assert!(new.record.len() + 8 >= limits::SNAPSHOT_BYTES_MAX);
    assert_eq!(put(&*store, new.clone()).await, Ok(()));
    assert_eq!(store.latest_snapshot(lobby).await.unwrap(), Some((new.header, new.record)));
}
