//! What can be used once.

use std::sync::Arc;

use lobby_service::store::Store;
use protocol::time::Timestamp;

use super::NOW;

fn later(ms: u64) -> Timestamp {
    Timestamp(NOW.0 + ms)
}

pub(super) async fn once(store: Arc<dyn Store>) {
    assert!(store.use_up([1; 16], NOW, later(10)).await.unwrap());
    assert!(!store.use_up([1; 16], NOW, later(10)).await.unwrap());
    assert!(!store.use_up([1; 16], later(9), later(99)).await.unwrap(), "a refused use lengthens nothing");
    assert!(store.use_up([2; 16], later(9), later(10)).await.unwrap(), "another one");
    assert!(store.use_up([1; 16], later(10), later(20)).await.unwrap(), "its time is over");
    assert!(!store.use_up([1; 16], later(10), later(20)).await.unwrap());
}

pub(super) async fn at_once(store: Arc<dyn Store>) {
    // New, and then expired.
    for now in [NOW, later(10)] {
        let tasks: Vec<_> = (0..24)
            .map(|number| {
                let store = Arc::clone(&store);
                // Three of them, each wanted by eight.
                tokio::spawn(async move { store.use_up([number % 3; 16], now, Timestamp(now.0 + 10)).await.unwrap() })
            })
            .collect();
        let mut used = 0;
        for task in tasks {
            used += usize::from(task.await.unwrap());
        }
        assert_eq!(used, 3);
    }
}

pub(super) async fn many(store: Arc<dyn Store>) {
    let what = |number: u64| (u128::from(number) << 64).to_be_bytes();
    for number in 0..250 {
        assert!(store.use_up(what(number), NOW, later(number % 2)).await.unwrap());
    }
    for number in (0..250).rev() {
        assert!(store.use_up(what(number), later(1), later(9)).await.unwrap(), "{number}");
    }
    for number in 0..250 {
        assert!(!store.use_up(what(number), later(2), later(9)).await.unwrap(), "{number}");
    }
}
