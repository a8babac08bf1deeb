//! Players and their refresh tokens.

use std::sync::Arc;

use lobby_service::store::{Player, RefreshHash, Store};
use protocol::limits;
use protocol::time::Timestamp;

use super::{NOW, player};

fn token(family: u8, secret: u8) -> RefreshHash {
    RefreshHash { family: [family; 16], hash: [secret; 32] }
}

pub(super) async fn signed_in(store: &dyn Store, number: u8, expires_at: Timestamp) -> Player {
    let player = Player { id: player(number), name: "é".into(), created_at: NOW };
    store.create_player(&player, &token(number, 1), expires_at).await.unwrap();
    player
}

pub(super) async fn rotation(store: Arc<dyn Store>) {
    let end = NOW.after(limits::REFRESH_TOKEN_LIFE);
    let one = signed_in(&*store, 1, end).await;
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

pub(super) async fn expiry(store: Arc<dyn Store>) {
    let later = Timestamp(NOW.0 + 1000);
    signed_in(&*store, 1, later).await;
    assert_eq!(store.rotate_refresh(&token(1, 1), [2; 32], later, later).await.unwrap(), None);
    assert!(store.rotate_refresh(&token(1, 1), [2; 32], NOW, later).await.unwrap().is_some());
}

pub(super) async fn forgotten(store: Arc<dyn Store>) {
    let gone = signed_in(&*store, 1, NOW).await;
    let here = signed_in(&*store, 2, NOW.after(limits::REFRESH_TOKEN_LIFE)).await;
    assert_eq!(store.player(gone.id).await.unwrap(), None);
    assert!(store.player(here.id).await.unwrap().is_some());
}

pub(super) async fn both(store: Arc<dyn Store>) {
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
