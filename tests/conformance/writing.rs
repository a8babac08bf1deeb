//! Saving changes, alone and many at once.

use std::sync::Arc;

use lobby_service::store::{Change, Store, Written};
use protocol::commit::Version;
use protocol::id::EventSeq;
use protocol::limits;
use protocol::lobby::{Actor, Command, Lobby, Settings};

use super::{NOW, apply, changed, created, join, join_code, leave, lobby_id, new_lobby, numbers, player, write};

pub(super) async fn codes(store: Arc<dyn Store>) {
    let first = created(&*store, 1, Settings::default()).await;
    let same_code = new_lobby(2, 1, Settings::default());
    assert_eq!(write(&*store, same_code).await, Written::Taken);
    assert_eq!(store.load(lobby_id(2)).await.unwrap(), None);
    assert_eq!(store.events_after(lobby_id(2), EventSeq(0), 9).await.unwrap(), None);
    let same_id = new_lobby(1, 2, super::private());
    assert_eq!(write(&*store, same_id.clone()).await, Written::Taken);
    assert_eq!(store.load(lobby_id(1)).await.unwrap(), Some((first.clone(), Version(1))));
    assert_eq!(store.id_by_code(same_id.lobby.join_code()).await.unwrap(), None);
    let events = store.events_after(lobby_id(1), EventSeq(0), 9).await.unwrap().unwrap();
    assert_eq!(events.len() as u64, first.last_event().0);
}

fn rotate(lobby: &Lobby, version: u64, code: u8) -> Change {
    changed(lobby, Version(version), Command::RotateCode { by: Actor::Server, code: join_code(code) }, NOW)
}

pub(super) async fn rotation(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await;
    assert_eq!(write(&*store, rotate(&lobby, 1, 7)).await, Written::Done);
    assert_eq!(store.id_by_code(join_code(1)).await.unwrap(), None, "the old one opens nothing");
    assert_eq!(store.id_by_code(join_code(7)).await.unwrap(), Some(lobby.id()));
    assert_eq!(store.load(lobby.id()).await.unwrap().unwrap().0.join_code(), join_code(7));
    assert_eq!(write(&*store, new_lobby(2, 7, Settings::default())).await, Written::Taken);
    assert_eq!(write(&*store, new_lobby(2, 1, Settings::default())).await, Written::Done, "the old one is free");

    let (lobby, _) = store.load(lobby.id()).await.unwrap().unwrap();
    assert_eq!(write(&*store, rotate(&lobby, 1, 8)).await, Written::Stale);
    assert_eq!(write(&*store, rotate(&lobby, 2, 1)).await, Written::Taken);
    assert_eq!(store.load(lobby.id()).await.unwrap(), Some((lobby.clone(), Version(2))), "nothing was written");
    assert_eq!(store.id_by_code(join_code(7)).await.unwrap(), Some(lobby.id()));
    let events = store.events_after(lobby.id(), EventSeq(0), 99).await.unwrap().unwrap();
    assert_eq!(events.len() as u64, lobby.last_event().0);
    let closed_at = super::close(&*store, lobby.id()).await;
    assert_eq!(store.id_by_code(join_code(7)).await.unwrap(), Some(lobby.id()), "also a closed one has its code");
    assert_eq!(store.delete_closed(closed_at).await.unwrap(), 1);
    assert_eq!(store.id_by_code(join_code(7)).await.unwrap(), None);
}

pub(super) async fn rotation_batch(store: Arc<dyn Store>) {
    let mut lobbies = Vec::new();
    for number in 1..=5 {
        lobbies.push(created(&*store, number, Settings::default()).await);
    }
    let batch = [
        rotate(&lobbies[4], 1, 50),
        rotate(&lobbies[0], 1, 2),
        new_lobby(8, 8, Settings::default()),
        changed(&lobbies[1], Version(1), join(2), NOW),
        new_lobby(9, 3, Settings::default()),
        rotate(&lobbies[3], 7, 40),
        changed(&lobbies[2], Version(1), join(2), NOW),
    ];
    let ends = store.write(&batch).await.unwrap();
    use Written::{Done, Stale, Taken};
    assert_eq!(ends, [Done, Taken, Done, Done, Taken, Stale, Done]);
    for (change, end) in batch.iter().zip(ends).filter(|(change, _)| change.lobby.id() != lobby_id(9)) {
        let (stored, version) = store.load(change.lobby.id()).await.unwrap().unwrap();
        let events = store.events_after(stored.id(), EventSeq(0), 99).await.unwrap().unwrap();
        assert_eq!(events.len() as u64, stored.last_event().0);
        assert_eq!(stored == *change.lobby, end == Done);
        assert_eq!(version, Version(if end == Done { change.expected.map_or(0, |version| version.0) + 1 } else { 1 }));
        assert_eq!(store.id_by_code(stored.join_code()).await.unwrap(), Some(stored.id()));
    }
    assert_eq!(store.load(lobby_id(9)).await.unwrap(), None);
    for free in [5, 40] {
        assert_eq!(store.id_by_code(join_code(free)).await.unwrap(), None);
    }
}

pub(super) async fn stale(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await;
    for wrong in [0, 2, u64::MAX] {
        let change = changed(&lobby, Version(wrong), join(2), NOW);
        assert_eq!(write(&*store, change).await, Written::Stale);
    }
    assert_eq!(store.load(lobby.id()).await.unwrap(), Some((lobby.clone(), Version(1))));
    let kept = store.events_after(lobby.id(), lobby.last_event(), 9).await.unwrap();
    assert_eq!(kept, Some(Vec::new()));
    let unknown = Change { expected: Some(Version(1)), ..new_lobby(2, 2, Settings::default()) };
    assert_eq!(write(&*store, unknown).await, Written::Stale, "no such lobby");
    assert_eq!(store.load(lobby_id(2)).await.unwrap(), None);
}

pub(super) async fn batch(store: Arc<dyn Store>) {
    for number in [1, 2, 3, 5] {
        created(&*store, number, Settings::default()).await;
    }
    let newer = apply(&*store, lobby_id(3), join(9), NOW).await;
    let change = async |number: u8, version: u64| {
        let (lobby, _) = store.load(lobby_id(number)).await.unwrap().unwrap();
        changed(&lobby, Version(version), join(2), NOW)
    };
    let batch = [
        new_lobby(8, 8, Settings::default()),
        change(5, 1).await,
        new_lobby(7, 2, Settings::default()),
        change(3, 1).await,
        change(1, 1).await,
        new_lobby(2, 9, Settings::default()),
        Change { expected: Some(Version(4)), ..new_lobby(9, 9, Settings::default()) },
        new_lobby(6, 6, Settings::default()),
    ];
    let ends = store.write(&batch).await.unwrap();
    use Written::{Done, Stale, Taken};
    assert_eq!(ends, [Done, Done, Taken, Stale, Done, Taken, Stale, Done]);
    for (change, end) in batch.iter().zip(ends) {
        let stored = store.load(change.lobby.id()).await.unwrap();
        let events = store.events_after(change.lobby.id(), EventSeq(0), 99).await.unwrap().map(|events| events.len());
        if end == Done {
            let version = Version(change.expected.map_or(0, |version| version.0) + 1);
            assert_eq!(stored, Some(((*change.lobby).clone(), version)));
            assert_eq!(events, Some(change.lobby.last_event().0 as usize));
        } else {
            assert_ne!(stored.map(|(lobby, _)| lobby), Some((*change.lobby).clone()));
        }
    }
    assert_eq!(store.load(lobby_id(3)).await.unwrap(), Some((newer, Version(2))));
    assert_eq!(store.load(lobby_id(7)).await.unwrap(), None);
    assert_eq!(store.load(lobby_id(9)).await.unwrap(), None);
}

pub(super) async fn nothing(store: Arc<dyn Store>) {
    assert_eq!(store.write(&[]).await.unwrap(), []);
    assert_eq!(store.put_snapshots(&[]).await.unwrap(), []);
    // A change without an event, as that of a member whose holder is another one now.
    let lobby = created(&*store, 1, Settings::default()).await;
    let change = Change { expected: Some(Version(1)), lobby: Arc::new(lobby.clone()), events: Vec::new() };
    assert_eq!(write(&*store, change).await, Written::Done);
    assert_eq!(store.load(lobby.id()).await.unwrap(), Some((lobby, Version(2))));
}

pub(super) async fn many_events(store: Arc<dyn Store>) {
    let mut lobby = created(&*store, 1, Settings::default()).await;
    let mut events = Vec::new();
    while (events.len() as u64) < limits::EVENTS_KEPT + 200 {
        let (joined, some) = lobby.clone().apply(join(2), NOW).unwrap();
        events.extend(some);
        let connection = joined.seat_of(player(2)).unwrap();
        let (left, some) = joined.apply(leave(2, connection), NOW).unwrap();
        events.extend(some);
        lobby = left;
    }
    let last = lobby.last_event().0;
    let change = Change { expected: Some(Version(1)), lobby: Arc::new(lobby.clone()), events };
    assert_eq!(write(&*store, change).await, Written::Done);
    let oldest = last - limits::EVENTS_KEPT;
    assert_eq!(store.events_after(lobby.id(), EventSeq(oldest - 1), 9).await.unwrap(), None);
    let kept = store.events_after(lobby.id(), EventSeq(oldest), u32::MAX).await.unwrap().unwrap();
    assert_eq!(numbers(&kept), (oldest + 1..=last).collect::<Vec<_>>());
}
