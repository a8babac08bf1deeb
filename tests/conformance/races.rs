//! What many do at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use lobby_service::store::{Change, SnapshotRefusal, Store, Written};
use protocol::commit::Version;
use protocol::id::{EventSeq, HostEpoch, JoinCode, LobbyId};
use protocol::limits;
use protocol::lobby::{Actor, Command, Lobby, Settings};
use tokio::task::JoinHandle;

use super::{
    HOST, NOW, apply, changed, close, created, join, join_code, leave, lobby_id, new_lobby, numbers, player, put,
    snapshot,
};

async fn all<T>(tasks: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    // Every one is started before the first is waited for.
    let tasks: Vec<_> = tasks.into_iter().collect();
    let mut ends = Vec::new();
    for task in tasks {
        ends.push(task.await.unwrap());
    }
    ends
}

fn spawn_write(store: &Arc<dyn Store>, batch: Vec<Change>) -> JoinHandle<Vec<Written>> {
    let store = Arc::clone(store);
    tokio::spawn(async move { store.write(&batch).await.unwrap() })
}

pub(super) async fn one_winner(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await;
    let save = |number: u8| spawn_write(&store, vec![changed(&lobby, Version(1), join(number), NOW)]);
    let ends = all((2..18).map(save)).await.concat();
    assert_eq!(ends.iter().filter(|&&end| end == Written::Done).count(), 1);
    assert_eq!(ends.iter().filter(|&&end| end == Written::Stale).count(), 15);
    let (saved, version) = store.load(lobby.id()).await.unwrap().unwrap();
    assert_eq!((saved.member_count(), version), (2, Version(2)));
    let events = store.events_after(lobby.id(), EventSeq(0), 99).await.unwrap().unwrap();
    assert_eq!(events.len() as u64, saved.last_event().0, "the losers left no events");
}

/// Comes and goes in some lobbies, in a batch, and counts what it has saved.
async fn come_and_go(store: Arc<dyn Store>, me: u8) -> BTreeMap<LobbyId, u64> {
    let mut done = BTreeMap::new();
    for turn in 0..25_u8 {
        // Another choice of the lobbies each time, in another order.
        let mut chosen: Vec<u8> = (1..=8).filter(|number| !(number * 7 + turn * 3 + me).is_multiple_of(3)).collect();
        let length = chosen.len();
        chosen.rotate_left(usize::from(me + turn) % length);
        if turn % 2 == 0 {
            chosen.reverse();
        }
        let mut batch = Vec::new();
        for number in chosen {
            let (lobby, version) = store.load(lobby_id(number)).await.unwrap().unwrap();
            let command = match lobby.seat_of(player(me)) {
                Some(connection) => leave(me, connection),
                None => join(me),
            };
            batch.push(changed(&lobby, version, command, NOW));
        }
        let ends = store.write(&batch).await.unwrap();
        for (change, end) in batch.iter().zip(ends) {
            assert_ne!(end, Written::Taken);
            *done.entry(change.lobby.id()).or_default() += u64::from(end == Written::Done);
        }
    }
    done
}

pub(super) async fn overlapping(store: Arc<dyn Store>) {
    for number in 1..=8 {
        created(&*store, number, Settings::default()).await;
    }
    let tasks = (10..22).map(|me| tokio::spawn(come_and_go(Arc::clone(&store), me)));
    let counts = all(tasks).await;
    for number in 1..=8 {
        let (lobby, version) = store.load(lobby_id(number)).await.unwrap().unwrap();
        let saved: u64 = counts.iter().filter_map(|count| count.get(&lobby.id())).sum();
        assert_eq!(version, Version(1 + saved), "each save made one version");
        let oldest = lobby.last_event().0.saturating_sub(limits::EVENTS_KEPT);
        let events = store.events_after(lobby.id(), EventSeq(oldest), u32::MAX).await.unwrap().unwrap();
        assert_eq!(numbers(&events), (oldest + 1..=lobby.last_event().0).collect::<Vec<_>>());
    }
}

pub(super) async fn one_new_code(store: Arc<dyn Store>) {
    let mut rotations = Vec::new();
    for number in 1..=12 {
        let lobby = created(&*store, number, Settings::default()).await;
        let rotate = Command::RotateCode { by: Actor::Server, code: join_code(99) };
        rotations.push(changed(&lobby, Version(1), rotate, NOW));
    }
    // Half of them beside another lobby that changes, and one lobby is just created with that code.
    let mut batches: Vec<_> = rotations.into_iter().map(|rotation| vec![rotation]).collect();
    for (number, batch) in (101..).zip(&mut batches[..6]) {
        batch.push(new_lobby(number, number, Settings::default()));
    }
    batches.push(vec![new_lobby(98, 99, Settings::default())]);
    let ends = all(batches.into_iter().map(|batch| spawn_write(&store, batch))).await;
    assert_eq!(ends.iter().filter(|ends| ends[0] == Written::Done).count(), 1);
    assert_eq!(ends.iter().filter(|ends| ends[0] == Written::Taken).count(), 12);
    assert!(ends[..6].iter().all(|ends| ends[1] == Written::Done), "nobody is in the way of its neighbour");
    let winner = store.id_by_code(join_code(99)).await.unwrap().unwrap();
    assert_eq!(store.load(winner).await.unwrap().unwrap().0.join_code(), join_code(99));
}

pub(super) async fn one_code(store: Arc<dyn Store>) {
    let make = |number: u8| spawn_write(&store, vec![new_lobby(number, 1, Settings::default())]);
    let ends = all((1..=12).map(make)).await.concat();
    assert_eq!(ends.iter().filter(|&&end| end == Written::Done).count(), 1);
    assert_eq!(ends.iter().filter(|&&end| end == Written::Taken).count(), 11);
    let winner = store.id_by_code(JoinCode::from_entropy(1)).await.unwrap().unwrap();
    assert_eq!(store.versions(&(1..=12).map(lobby_id).collect::<Vec<_>>()).await.unwrap(), [(winner, Version(1))]);
}

pub(super) async fn same_creations(store: Arc<dyn Store>) {
    let make = |turn: u8| {
        let mut batch: Vec<_> = (1..=10).map(|number| new_lobby(number, number, Settings::default())).collect();
        batch.rotate_left(usize::from(turn));
        spawn_write(&store, batch)
    };
    let ends = all((0..8).map(make)).await.concat();
    assert_eq!(ends.iter().filter(|&&end| end == Written::Done).count(), 10);
    for number in 1..=10 {
        let (lobby, version) = store.load(lobby_id(number)).await.unwrap().unwrap();
        assert_eq!(version, Version(1));
        let events = store.events_after(lobby.id(), EventSeq(0), 99).await.unwrap().unwrap();
        assert_eq!(events.len() as u64, lobby.last_event().0);
    }
}

/// Whichever comes first, no snapshot of the old epoch is acknowledged after the election.
pub(super) async fn election(store: Arc<dyn Store>) {
    for number in 1..=20 {
        let lobby = created(&*store, number, Settings::default()).await.id();
        apply(&*store, lobby, join(2), NOW).await;
        let upload = {
            let (store, new) = (Arc::clone(&store), snapshot(lobby, 0, 1, 7, b"late"));
            tokio::spawn(async move { put(&*store, new).await })
        };
        apply(&*store, lobby, leave(1, HOST), NOW).await;
        // What is there now stays: nothing of the old epoch comes after the election.
        let at_election = store.newest_snapshot(lobby).await.unwrap();
        let accepted = upload.await.unwrap().is_ok();
        assert_eq!(at_election.is_some(), accepted, "it was stored before the election, or refused");
        assert_eq!(put(&*store, snapshot(lobby, 1, 2, 0, b"new")).await, Ok(()));
        let (newest, _) = store.latest_snapshot(lobby).await.unwrap().unwrap();
        assert_eq!(newest.generation.epoch, HostEpoch(2), "accepted: {accepted}");
    }
}

pub(super) async fn one_number(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await.id();
    let upload = |state: u8| {
        let (store, new) = (Arc::clone(&store), snapshot(lobby, 0, 1, 3, &[state]));
        tokio::spawn(async move { (new.header, put(&*store, new).await) })
    };
    let mut stored = Vec::new();
    for (header, end) in all((0..8).map(upload)).await {
        match end {
            Ok(()) => stored.push(header),
            Err(refusal) => assert_eq!(refusal, SnapshotRefusal::Conflict),
        }
    }
    assert_eq!(stored.len(), 1);
    assert_eq!(store.latest_snapshot(lobby).await.unwrap().map(|(header, _)| header), stored.pop());
}

pub(super) async fn snapshots_in_order(store: Arc<dyn Store>) {
    for number in 1..=3 {
        created(&*store, number, Settings::default()).await;
    }
    // Each in batches of several lobbies, whose orders differ.
    let upload = |task: u64| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut stored = 0;
            for turn in 0..15 {
                let seq = turn * 6 + task;
                let new = |number: u8| snapshot(lobby_id(number), 0, 1, seq, &[number]);
                let mut batch: Vec<_> = (1..=3).map(new).collect();
                batch.rotate_left((task % 3) as usize);
                for (new, end) in batch.iter().zip(store.put_snapshots(&batch).await.unwrap()) {
                    let (newest, _) = store.newest_snapshot(new.lobby).await.unwrap().unwrap();
                    match end {
                        Ok(()) => {
                            stored = stored.max(seq);
                            assert!(newest.seq >= seq, "what was acknowledged is not replaced by an older one");
                        }
                        Err(SnapshotRefusal::Stale { newest: told }) => assert!(told.seq > seq && newest >= told),
                        Err(refusal) => panic!("{refusal}"),
                    }
                }
            }
            stored
        })
    };
    let newest = all((0..6).map(upload)).await.into_iter().max();
    for number in 1..=3 {
        let (header, _) = store.latest_snapshot(lobby_id(number)).await.unwrap().unwrap();
        assert_eq!(Some(header.generation.seq), newest);
    }
}

pub(super) async fn closing(store: Arc<dyn Store>) {
    for number in 1..=20 {
        let lobby = created(&*store, number, Settings::default()).await;
        // No lobby closes while somebody may write as its host; the store does not rest on that.
        let upload = {
            let (store, new) = (Arc::clone(&store), snapshot(lobby.id(), 0, 1, 1, &[number; 50_000]));
            tokio::spawn(async move { put(&*store, new).await })
        };
        close_at_once(&*store, lobby).await;
        let end = upload.await.unwrap();
        let kept = store.newest_snapshot(lobby_id(number)).await.unwrap();
        assert_eq!(kept, None, "{end:?}");
        assert_eq!(store.latest_snapshot(lobby_id(number)).await.unwrap(), None);
    }
}

/// Leaves and closes in one change.
async fn close_at_once(store: &dyn Store, lobby: Lobby) {
    let (empty, mut events) = lobby.apply(leave(1, HOST), NOW).unwrap();
    let (closed, more) = empty.apply(Command::Due, NOW.after(limits::EMPTY_LOBBY_KEPT)).unwrap();
    assert!(closed.is_closed());
    events.extend(more);
    let change = Change { expected: Some(Version(1)), lobby: Arc::new(closed), events };
    assert_eq!(super::write(store, change).await, Written::Done);
}

pub(super) async fn deleting(store: Arc<dyn Store>) {
    let mut closed_at = NOW;
    for number in 1..=60 {
        created(&*store, number, Settings::default()).await;
        closed_at = close(&*store, lobby_id(number)).await;
    }
    let delete = |_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.delete_closed(closed_at).await.unwrap() })
    };
    let deleted: u64 = all((0..6).map(delete)).await.iter().sum();
    let left = store.versions(&(1..=60).map(lobby_id).collect::<Vec<_>>()).await.unwrap().len() as u64;
    assert_eq!(deleted + left, 60);
    assert!(deleted >= 20);
}
