//! Players and their refresh tokens.

use std::sync::Arc;
use std::time::Duration;

use lobby_service::store::{FAMILIES_MAX, Player, RefreshHash, Rotation, Store};
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
    let two = signed_in(&*store, 2, end).await;
    assert_eq!(store.player(one.id).await.unwrap(), Some(one.clone()));
    assert_eq!(store.player(player(9)).await.unwrap(), None);
    let rotate = async |presented, next| rotate(&*store, &token(1, presented), next, NOW).await;
    assert_eq!(rotate(1, 2).await, Rotation::Rotated(one.id));
    assert_eq!(rotate(1, 3).await, Rotation::Rotated(one.id), "the answer was lost");
    assert_eq!(rotate(3, 4).await, Rotation::Rotated(one.id));
    assert_eq!(rotate(3, 5).await, Rotation::Rotated(one.id));
    assert_eq!(rotate(5, 6).await, Rotation::Rotated(one.id));
    assert_eq!(rotate(3, 7).await, Rotation::Reused, "the one before, after the current one was used");
    for secret in [3, 5, 6, 7] {
        assert_eq!(rotate(secret, 8).await, Rotation::Unknown, "the whole family has ended");
    }
    assert_eq!(store.player(one.id).await.unwrap(), Some(one), "the player is still there");
    let other = store.rotate_refresh(&token(2, 1), [2; 32], NOW, end).await.unwrap();
    assert_eq!(other, Rotation::Rotated(two.id), "others go on");
    assert_eq!(store.rotate_refresh(&token(9, 1), [2; 32], NOW, end).await.unwrap(), Rotation::Unknown);
}

async fn rotate(store: &dyn Store, presented: &RefreshHash, next: u8, now: Timestamp) -> Rotation {
    store.rotate_refresh(presented, [next; 32], now, NOW.after(limits::REFRESH_TOKEN_LIFE)).await.unwrap()
}

pub(super) async fn lost(store: Arc<dyn Store>) {
    let one = signed_in(&*store, 1, NOW.after(limits::REFRESH_TOKEN_LIFE)).await;
    let rotate = async |presented, next| rotate(&*store, &token(1, presented), next, NOW).await;
    assert_eq!(rotate(1, 2).await, Rotation::Rotated(one.id));
    assert_eq!(rotate(1, 3).await, Rotation::Rotated(one.id));
    assert_eq!(rotate(2, 4).await, Rotation::Reused, "somebody had the answer that was thought lost");
    assert_eq!(rotate(3, 4).await, Rotation::Unknown);
}

pub(super) async fn expiry(store: Arc<dyn Store>) {
    let later = Timestamp(NOW.0 + 1000);
    let one = signed_in(&*store, 1, later).await;
    assert_eq!(store.rotate_refresh(&token(1, 1), [2; 32], later, later).await.unwrap(), Rotation::Unknown);
    assert_eq!(store.rotate_refresh(&token(1, 9), [2; 32], later, later).await.unwrap(), Rotation::Unknown);
    assert_eq!(rotate(&*store, &token(1, 1), 2, NOW).await, Rotation::Rotated(one.id));
}

pub(super) async fn again(store: Arc<dyn Store>) {
    let (end, later) = (NOW.after(limits::REFRESH_TOKEN_LIFE), NOW.after(2 * limits::REFRESH_TOKEN_LIFE));
    let one = signed_in(&*store, 1, end).await;
    let sign_in = async |family, at: Timestamp| {
        let renamed = Player { name: "renamed".into(), created_at: at, ..one.clone() };
        store.create_player(&renamed, &token(family, 1), at.after(limits::REFRESH_TOKEN_LIFE)).await.unwrap();
    };
    for family in 2..=FAMILIES_MAX as u8 + 1 {
        sign_in(family, NOW.after(Duration::from_secs(family.into()))).await;
    }
    assert_eq!(store.player(one.id).await.unwrap(), Some(one.clone()), "it keeps its first name");
    assert_eq!(rotate(&*store, &token(1, 1), 2, NOW).await, Rotation::Unknown, "the oldest had to go");
    for family in 2..=FAMILIES_MAX as u8 + 1 {
        assert_eq!(rotate(&*store, &token(family, 1), 2, NOW).await, Rotation::Rotated(one.id));
    }
    let other = Player { id: player(200), name: "other".into(), created_at: later };
    store.create_player(&other, &token(200, 1), later.after(limits::REFRESH_TOKEN_LIFE)).await.unwrap();
    assert_eq!(store.player(one.id).await.unwrap(), None, "all its tokens have expired");
    sign_in(100, later).await;
    assert_eq!(store.player(one.id).await.unwrap().unwrap().name, "renamed");
    assert_eq!(rotate(&*store, &token(100, 1), 2, NOW).await, Rotation::Rotated(one.id));
    sign_in(101, later.after(2 * limits::REFRESH_TOKEN_LIFE)).await;
    assert_eq!(store.player(one.id).await.unwrap().unwrap().created_at, later, "it comes back before it is forgotten");
}

pub(super) async fn at_once(store: Arc<dyn Store>) {
    let later = NOW.after(2 * limits::REFRESH_TOKEN_LIFE);
    for number in 1..=8 {
        signed_in(&*store, number, NOW.after(limits::REFRESH_TOKEN_LIFE)).await;
    }
    let back = |family: u8| {
        let store = Arc::clone(&store);
        let player = Player { id: player(family % 8 + 1), name: String::new(), created_at: later };
        tokio::spawn(async move {
            let end = later.after(limits::REFRESH_TOKEN_LIFE);
            store.create_player(&player, &token(family, 1), end).await.unwrap();
        })
    };
    let all: Vec<_> = (100..140).map(back).collect();
    for one in all {
        one.await.unwrap();
    }
    for family in 100..140 {
        assert_eq!(rotate(&*store, &token(family, 1), 2, later).await, Rotation::Rotated(player(family % 8 + 1)));
        assert!(store.player(player(family % 8 + 1)).await.unwrap().is_some());
    }
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
    let rotated = Rotation::Rotated(player(1));
    assert_eq!((two.await.unwrap(), three.await.unwrap()), (rotated, rotated));
    let mut ends = Vec::new();
    for secret in [2, 3] {
        ends.push(store.rotate_refresh(&token(1, secret), [9; 32], NOW, end).await.unwrap());
    }
    let (first, second) = ([rotated, Rotation::Reused], [Rotation::Reused, Rotation::Unknown]);
    assert!(*ends == first || *ends == second, "one goes on, and the other is a re-use: {ends:?}");
}
