//! Deltas: what follows a snapshot, one after the other.

use std::sync::Arc;

use lobby_service::store::{NewDelta, SnapshotRefusal, Store};
use protocol::error::Rejection;
use protocol::id::{ConnectionId, HostEpoch, LobbyId};
use protocol::limits;
use protocol::lobby::{Command, Settings};
use protocol::snapshot::{DeltaHeader, Generation, Header};

use super::{HOST, NOW, apply, close, created, join, leave, lobby_id, put, snapshot};

type Place = (u64, u64);

fn at((epoch, seq): Place) -> Generation {
    Generation { epoch: HostEpoch(epoch), seq }
}

pub(super) fn delta(lobby: LobbyId, connection: u32, base: Place, to: Place, difference: &[u8]) -> NewDelta {
    let record = tests::service::delta_record(base, to, difference);
    let header = DeltaHeader::check(&record).unwrap();
    NewDelta { lobby, connection: ConnectionId(connection), header, record: record.into() }
}

pub(super) async fn put_delta(store: &dyn Store, new: NewDelta) -> Result<(), SnapshotRefusal> {
    store.put_deltas(&[new]).await.unwrap().pop().unwrap()
}

fn no_base(newest: Option<Place>) -> Result<(), SnapshotRefusal> {
    Err(SnapshotRefusal::NoBase { newest: newest.map(at) })
}

fn is_stale_epoch(end: &Result<(), SnapshotRefusal>) -> bool {
    matches!(end, Err(SnapshotRefusal::Rejected(Rejection::StaleEpoch { .. })))
}

/// The records that a reader gets, one by one: the snapshot's place first.
async fn places(store: &dyn Store, lobby: LobbyId) -> Vec<Generation> {
    let Some((newest, records)) = store.latest_snapshot(lobby).await.unwrap() else { return Vec::new() };
    let (whole, mut rest) = records.split_at(Header::record_bytes(&records).unwrap());
    let mut places = vec![Header::check(whole).unwrap().generation];
    while !rest.is_empty() {
        let (record, after) = rest.split_at(DeltaHeader::record_bytes(rest).unwrap());
        let header = DeltaHeader::check(record).unwrap();
        assert_eq!(Some(&header.base), places.last(), "each leads from the one before");
        places.push(header.leads_to.generation);
        rest = after;
    }
    assert_eq!(Some(&newest.generation), places.last());
    let told = store.newest_snapshot(lobby).await.unwrap();
    assert_eq!(told, Some((newest.generation, newest.checksum)));
    places
}

/// P4, P5.
pub(super) async fn order(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await.id();
    let follow = async |connection, base, to, difference: &[u8]| {
        put_delta(&*store, delta(lobby, connection, base, to, difference)).await
    };
    assert_eq!(follow(0, (1, 0), (1, 1), b"one").await, no_base(None), "there is nothing to lead from");
    put(&*store, snapshot(lobby, 0, 1, 3, b"three")).await.unwrap();
    assert_eq!(follow(0, (1, 2), (1, 4), b"four").await, no_base(Some((1, 3))), "it leads from something else");
    assert_eq!(follow(0, (1, 3), (1, 4), b"four").await, Ok(()));
    assert_eq!(follow(0, (1, 4), (1, 9), b"nine").await, Ok(()), "numbers may be left out");
    let before = store.latest_snapshot(lobby).await.unwrap();
    assert_eq!(follow(0, (1, 4), (1, 9), b"nine").await, Ok(()), "the same again");
    assert_eq!(follow(0, (1, 4), (1, 9), b"other").await, Err(SnapshotRefusal::Conflict));
    assert_eq!(follow(0, (1, 3), (1, 4), b"four").await, Err(SnapshotRefusal::Stale { newest: at((1, 9)) }));
    assert_eq!(follow(0, (1, 3), (1, 10), b"ten").await, no_base(Some((1, 9))));
    assert_eq!(follow(0, (1, 12), (1, 13), b"later").await, no_base(Some((1, 9))));
    assert_eq!(
        follow(1, (1, 9), (1, 10), b"").await,
        Err(SnapshotRefusal::Rejected(Rejection::NotHost(ConnectionId(1))))
    );
    assert!(is_stale_epoch(&follow(0, (1, 9), (2, 10), b"").await));
    assert_eq!(store.latest_snapshot(lobby).await.unwrap(), before, "a refused one has changed nothing");
    assert_eq!(places(&*store, lobby).await, [(1, 3), (1, 4), (1, 9)].map(at));
    assert_eq!(
        put(&*store, snapshot(lobby, 0, 1, 8, b"eight")).await,
        Err(SnapshotRefusal::Stale { newest: at((1, 9)) })
    );
    assert_eq!(put(&*store, snapshot(lobby, 0, 1, 9, b"nine")).await, Err(SnapshotRefusal::Conflict));
}

pub(super) async fn older_epoch(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await.id();
    apply(&*store, lobby, join(2), NOW).await;
    put(&*store, snapshot(lobby, 0, 1, 7, b"seven")).await.unwrap();
    put_delta(&*store, delta(lobby, 0, (1, 7), (1, 8), b"eight")).await.unwrap();
    apply(&*store, lobby, leave(1, HOST), NOW).await;
    assert!(is_stale_epoch(&put_delta(&*store, delta(lobby, 0, (1, 8), (1, 9), b"old host")).await));
    assert_eq!(put_delta(&*store, delta(lobby, 1, (1, 8), (2, 0), b"new host")).await, Ok(()));
    assert_eq!(put_delta(&*store, delta(lobby, 1, (2, 0), (2, 1), b"and on")).await, Ok(()));
    assert_eq!(places(&*store, lobby).await, [(1, 7), (1, 8), (2, 0), (2, 1)].map(at));
}

/// P15.
pub(super) async fn bounded(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await.id();
    put(&*store, snapshot(lobby, 0, 1, 0, b"state")).await.unwrap();
    let last = u64::from(limits::DELTAS_MAX);
    for seq in 1..=last {
        assert_eq!(put_delta(&*store, delta(lobby, 0, (1, seq - 1), (1, seq), &[1; 300])).await, Ok(()));
    }
    let more = delta(lobby, 0, (1, last), (1, last + 1), b"");
    assert_eq!(put_delta(&*store, more.clone()).await, no_base(Some((1, last))));
    assert_eq!(places(&*store, lobby).await.len() as u64, 1 + last);
    put(&*store, snapshot(lobby, 0, 1, last, &[1])).await.unwrap_err();
    put(&*store, snapshot(lobby, 0, 1, last + 1, b"whole")).await.unwrap();
    assert_eq!(put_delta(&*store, delta(lobby, 0, (1, last + 1), (1, last + 2), b"")).await, Ok(()));
    assert_eq!(places(&*store, lobby).await, [(1, last + 1), (1, last + 2)].map(at));
}

/// P15.
pub(super) async fn bytes(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await.id();
    put(&*store, snapshot(lobby, 0, 1, 0, b"state")).await.unwrap();
    let header = delta(lobby, 0, (1, 0), (1, 1), b"").record.len();
    let half = vec![7; limits::SNAPSHOT_BYTES_MAX / 2 - header];
    assert_eq!(put_delta(&*store, delta(lobby, 0, (1, 0), (1, 1), &half)).await, Ok(()));
    assert_eq!(
        put_delta(&*store, delta(lobby, 0, (1, 1), (1, 2), &[&half[..], b"."].concat())).await,
        no_base(Some((1, 1)))
    );
    assert_eq!(put_delta(&*store, delta(lobby, 0, (1, 1), (1, 2), &half)).await, Ok(()));
    assert_eq!(put_delta(&*store, delta(lobby, 0, (1, 2), (1, 3), b"")).await, no_base(Some((1, 2))));
    assert_eq!(places(&*store, lobby).await, [(1, 0), (1, 1), (1, 2)].map(at));
}

pub(super) async fn batch(store: Arc<dyn Store>) {
    for number in 1..=5 {
        created(&*store, number, Settings::default()).await;
        put(&*store, snapshot(lobby_id(number), 0, 1, 0, &[number])).await.unwrap();
    }
    put_delta(&*store, delta(lobby_id(2), 0, (1, 0), (1, 7), b"seven")).await.unwrap();
    let repeated = delta(lobby_id(5), 0, (1, 0), (1, 1), b"again");
    put_delta(&*store, repeated.clone()).await.unwrap();
    let batch = [
        delta(lobby_id(4), 0, (1, 0), (1, 1), b"four"),
        delta(lobby_id(9), 0, (1, 0), (1, 1), b"nine"),
        delta(lobby_id(2), 0, (1, 0), (1, 8), b"two"),
        repeated,
        delta(lobby_id(1), 0, (1, 0), (1, 1), b"one"),
        delta(lobby_id(3), 0, (1, 0), (2, 1), b"three"),
    ];
    let ends = store.put_deltas(&batch).await.unwrap();
    assert_eq!(ends[..3], [Ok(()), Err(SnapshotRefusal::NoLobby), no_base(Some((1, 7)))]);
    assert_eq!(ends[3..5], [Ok(()), Ok(())]);
    assert!(is_stale_epoch(&ends[5]));
    for (number, seqs) in [(1, vec![0, 1]), (2, vec![0, 7]), (3, vec![0]), (4, vec![0, 1]), (5, vec![0, 1])] {
        let expected: Vec<_> = seqs.into_iter().map(|seq| at((1, seq))).collect();
        assert_eq!(places(&*store, lobby_id(number)).await, expected, "lobby {number}");
    }
    assert_eq!(store.put_deltas(&[]).await.unwrap(), []);
}

/// Snapshots and deltas in turn: as many snapshots as are kept keep their deltas.
pub(super) async fn kept(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await.id();
    for snapshot_seq in [0, 10, 20, 30, 40] {
        put(&*store, snapshot(lobby, 0, 1, snapshot_seq, b"whole")).await.unwrap();
        assert_eq!(places(&*store, lobby).await, [at((1, snapshot_seq))]);
        for seq in snapshot_seq + 1..=snapshot_seq + 3 {
            put_delta(&*store, delta(lobby, 0, (1, seq - 1), (1, seq), &[3; 100])).await.unwrap();
        }
        assert_eq!(places(&*store, lobby).await.len(), 4);
    }
    let stored = store.snapshots(lobby).await.unwrap();
    let told: Vec<_> = stored.iter().map(|one| (one.generation.seq, one.deltas, one.delta_bytes)).collect();
    let bytes = 3 * delta(lobby, 0, (1, 0), (1, 1), &[3; 100]).record.len() as u64;
    assert_eq!(told, [(40, 3, bytes), (30, 3, bytes), (20, 3, bytes)]);
}

/// P16.
pub(super) async fn closed(store: Arc<dyn Store>) {
    for number in 1..=3 {
        let lobby = created(&*store, number, Settings::default()).await.id();
        put(&*store, snapshot(lobby, 0, 1, 0, b"state")).await.unwrap();
        put_delta(&*store, delta(lobby, 0, (1, 0), (1, 1), b"more")).await.unwrap();
        let closed_at = if number == 1 {
            let by = protocol::lobby::Actor::Host { connection: HOST, epoch: HostEpoch(1) };
            apply(&*store, lobby, Command::Close { by }, NOW).await;
            let refused = Err(SnapshotRefusal::Rejected(Rejection::Closed));
            assert_eq!(put_delta(&*store, delta(lobby, 0, (1, 1), (1, 2), b"late")).await, refused);
            assert_eq!(put(&*store, snapshot(lobby, 0, 1, 2, b"late")).await, refused);
            NOW
        } else {
            close(&*store, lobby).await
        };
        assert_eq!(store.latest_snapshot(lobby).await.unwrap(), None);
        assert_eq!(store.newest_snapshot(lobby).await.unwrap(), None);
        assert_eq!(store.delete_closed(closed_at).await.unwrap(), 1);
        // Nothing of it is in the way of another lobby.
        let lobby = created(&*store, number, Settings::default()).await.id();
        put(&*store, snapshot(lobby, 0, 1, 0, b"state")).await.unwrap();
        assert_eq!(put_delta(&*store, delta(lobby, 0, (1, 0), (1, 1), b"more")).await, Ok(()));
        assert_eq!(places(&*store, lobby).await.len(), 2);
        close(&*store, lobby).await;
        store.delete_closed(NOW.after(limits::EMPTY_LOBBY_KEPT)).await.unwrap();
    }
}

/// Whichever comes first, no delta of the old epoch is acknowledged after the election.
pub(super) async fn election(store: Arc<dyn Store>) {
    for number in 1..=20 {
        let lobby = created(&*store, number, Settings::default()).await.id();
        apply(&*store, lobby, join(2), NOW).await;
        put(&*store, snapshot(lobby, 0, 1, 0, b"state")).await.unwrap();
        let upload = {
            let (store, new) = (Arc::clone(&store), delta(lobby, 0, (1, 0), (1, 1), b"late"));
            tokio::spawn(async move { put_delta(&*store, new).await })
        };
        apply(&*store, lobby, leave(1, HOST), NOW).await;
        // What is there now stays: nothing of the old epoch comes after the election.
        let at_election = store.newest_snapshot(lobby).await.unwrap().unwrap().0;
        let accepted = upload.await.unwrap().is_ok();
        assert_eq!(at_election.seq == 1, accepted, "it was stored before the election, or refused");
        let next = delta(lobby, 1, (1, at_election.seq), (2, 0), b"new");
        assert_eq!(put_delta(&*store, next).await, Ok(()));
        assert_eq!(places(&*store, lobby).await.len(), if accepted { 3 } else { 2 });
    }
}

/// Several hosts of one seat, as it were, each with another idea of what comes next: one chain without a gap.
pub(super) async fn one_chain(store: Arc<dyn Store>) {
    let lobbies: Vec<_> = (1..=3).map(lobby_id).collect();
    for number in 1..=3 {
        created(&*store, number, Settings::default()).await;
        put(&*store, snapshot(lobby_id(number), 0, 1, 0, b"state")).await.unwrap();
    }
    let follow = |task: u8| {
        let (store, lobbies) = (Arc::clone(&store), lobbies.clone());
        tokio::spawn(async move {
            let mut acknowledged = 0;
            for turn in 0..20 {
                let mut batch = Vec::new();
                for &lobby in &lobbies {
                    let (newest, _) = store.newest_snapshot(lobby).await.unwrap().unwrap();
                    batch.push(delta(lobby, 0, (1, newest.seq), (1, newest.seq + 1), &[task, turn]));
                }
                batch.rotate_left(usize::from(task % 3));
                for (new, end) in batch.iter().zip(store.put_deltas(&batch).await.unwrap()) {
                    let (newest, _) = store.newest_snapshot(new.lobby).await.unwrap().unwrap();
                    match end {
                        Ok(()) => {
                            acknowledged += 1;
                            assert!(newest >= new.header.leads_to.generation);
                        }
                        Err(SnapshotRefusal::Conflict | SnapshotRefusal::Stale { .. }) => {}
                        Err(refusal) => panic!("{refusal}"),
                    }
                }
            }
            acknowledged
        })
    };
    let tasks: Vec<_> = (0..5).map(follow).collect();
    let mut acknowledged = 0;
    for task in tasks {
        acknowledged += task.await.unwrap();
    }
    let mut stored = 0;
    for &lobby in &lobbies {
        stored += places(&*store, lobby).await.len() - 1;
    }
    assert_eq!(stored, acknowledged, "each that was acknowledged is there, and no other");
}
