//! Reading lobbies and events, and deleting closed lobbies.

use std::sync::Arc;

use lobby_service::store::{Newer, Store};
use protocol::commit::Version;
use protocol::id::{EventSeq, JoinCode};
use protocol::limits;
use protocol::lobby::{Lobby, Settings};
use protocol::time::Timestamp;

use super::{HOST, NOW, apply, close, created, disconnect, join, leave, lobby_id, numbers, player, private};

pub(super) async fn read_back(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await;
    assert_eq!(store.load(lobby.id()).await.unwrap(), Some((lobby.clone(), Version(1))));
    assert_eq!(store.id_by_code(lobby.join_code()).await.unwrap(), Some(lobby.id()));
    apply(&*store, lobby.id(), join(2), NOW).await;
    let changed = apply(&*store, lobby.id(), disconnect(1, HOST), NOW).await;
    assert_eq!(store.load(lobby.id()).await.unwrap(), Some((changed, Version(3))));
    assert_eq!(store.load(lobby_id(9)).await.unwrap(), None);
    assert_eq!(store.id_by_code(JoinCode::from_entropy(99)).await.unwrap(), None);
}

pub(super) async fn newer(store: Arc<dyn Store>) {
    let first = created(&*store, 1, Settings::default()).await;
    let second = created(&*store, 2, Settings::default()).await;
    assert_eq!(store.load_newer(first.id(), Version(1)).await.unwrap(), Newer::Same);
    let changed = apply(&*store, first.id(), join(2), NOW).await;
    assert_eq!(store.load_newer(first.id(), Version(1)).await.unwrap(), Newer::Newest(changed, Version(2)));
    assert_eq!(store.load_newer(first.id(), Version(2)).await.unwrap(), Newer::Same);
    assert_eq!(store.load_newer(lobby_id(9), Version(1)).await.unwrap(), Newer::Gone);
    let mut versions = store.versions(&[second.id(), lobby_id(9), first.id()]).await.unwrap();
    versions.sort_unstable();
    assert_eq!(versions, [(first.id(), Version(2)), (second.id(), Version(1))]);
    assert_eq!(store.versions(&[]).await.unwrap(), []);
}

pub(super) async fn all(store: Arc<dyn Store>) {
    for number in [5, 3, 1, 4] {
        created(&*store, number, Settings::default()).await;
    }
    created(&*store, 2, private()).await;
    close(&*store, lobby_id(3)).await;
    let first = store.lobbies(None, 2).await.unwrap();
    let ids = |page: &[(Lobby, Version)]| page.iter().map(|(lobby, _)| lobby.id().as_bytes()[0]).collect::<Vec<_>>();
    assert_eq!(ids(&first), [1, 2]);
    let second = store.lobbies(Some(lobby_id(2)), 9).await.unwrap();
    assert_eq!(ids(&second), [3, 4, 5]);
    assert_eq!(second[0].1, Version(3));
    assert!(second[0].0.is_closed());
    assert_eq!(store.lobbies(Some(lobby_id(5)), 9).await.unwrap(), []);
}

pub(super) async fn events(store: Arc<dyn Store>) {
    let mut lobby = created(&*store, 1, Settings::default()).await;
    while lobby.last_event().0 < limits::EVENTS_KEPT + 10 {
        lobby = apply(&*store, lobby.id(), join(2), NOW).await;
        let connection = lobby.seat_of(player(2)).unwrap();
        lobby = apply(&*store, lobby.id(), leave(2, connection), NOW).await;
    }
    let last = lobby.last_event().0;
    let oldest = last - limits::EVENTS_KEPT;
    let after = |seq: u64| store.events_after(lobby.id(), EventSeq(seq), 3);
    assert_eq!(numbers(&after(oldest).await.unwrap().unwrap()), [oldest + 1, oldest + 2, oldest + 3]);
    assert_eq!(numbers(&after(last - 1).await.unwrap().unwrap()), [last]);
    assert_eq!(after(last).await.unwrap(), Some(Vec::new()));
    assert_eq!(after(oldest - 1).await.unwrap(), None, "no longer kept");
    assert_eq!(after(0).await.unwrap(), None, "no longer kept");
    assert_eq!(after(last + 1).await.unwrap(), None, "never was");
    assert_eq!(after(u64::MAX).await.unwrap(), None);
    assert_eq!(store.events_after(lobby_id(9), EventSeq(0), 3).await.unwrap(), None, "no such lobby");
    let all = store.events_after(lobby.id(), EventSeq(oldest), u32::MAX).await.unwrap().unwrap();
    assert_eq!(numbers(&all), (oldest + 1..=last).collect::<Vec<_>>());
}

pub(super) async fn due(store: Arc<dyn Store>) {
    let early = created(&*store, 2, Settings::default()).await;
    let late = created(&*store, 1, Settings::default()).await;
    assert_eq!(store.due(9).await.unwrap(), []);
    let late = apply(&*store, late.id(), disconnect(1, HOST), NOW.after(limits::ELECTION_DELAY)).await;
    let early = apply(&*store, early.id(), disconnect(1, HOST), NOW).await;
    let due = [(early.due_at().unwrap(), early.id()), (late.due_at().unwrap(), late.id())];
    assert_eq!(store.due(9).await.unwrap(), due);
    assert_eq!(store.due(1).await.unwrap(), due[..1]);
    close(&*store, early.id()).await;
    assert_eq!(store.due(9).await.unwrap(), due[1..]);
}

pub(super) async fn connected(store: Arc<dyn Store>) {
    for number in 1..=3 {
        created(&*store, number, private()).await;
    }
    let away = apply(&*store, lobby_id(2), disconnect(1, HOST), NOW).await;
    let found = store.connected_lobbies(None, 9).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|lobby| lobby.id() != away.id()));
    let rest = store.connected_lobbies(Some(found[0].id()), 9).await.unwrap();
    assert_eq!(rest.iter().map(Lobby::id).collect::<Vec<_>>(), [found[1].id()]);
}

pub(super) async fn deleted(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await;
    let open = created(&*store, 2, Settings::default()).await;
    let closed_at = close(&*store, lobby.id()).await;
    assert_eq!(store.delete_closed(Timestamp(closed_at.0 - 1)).await.unwrap(), 0, "not yet");
    assert_eq!(store.delete_closed(closed_at).await.unwrap(), 1);
    assert_eq!(store.delete_closed(closed_at).await.unwrap(), 0);
    assert_eq!(store.load(lobby.id()).await.unwrap(), None);
    assert_eq!(store.id_by_code(lobby.join_code()).await.unwrap(), None);
    assert_eq!(store.events_after(lobby.id(), EventSeq(0), 9).await.unwrap(), None);
    assert!(store.load(open.id()).await.unwrap().is_some());
    created(&*store, 1, Settings::default()).await;
}

pub(super) async fn deleted_at_once(store: Arc<dyn Store>) {
    let mut closed_at = NOW;
    for number in 1..=45 {
        created(&*store, number, Settings::default()).await;
        closed_at = close(&*store, lobby_id(number)).await;
    }
    let mut turns = 0;
    let mut deleted = 0;
    while deleted < 45 {
        let some = store.delete_closed(closed_at).await.unwrap();
        assert!(some > 0);
        deleted += some;
        turns += 1;
    }
    assert_eq!((deleted, store.delete_closed(closed_at).await.unwrap()), (45, 0));
    assert!(turns > 1, "nobody waits for all of them");
}
