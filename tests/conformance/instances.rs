//! Leases of instances. A term of nothing has run out when it begins, a long one does not run out while a test runs.

use std::sync::Arc;
use std::time::Duration;

use lobby_service::store::{Renewal, Store};
use protocol::id::InstanceId;

use super::instance;

const LONG: Duration = Duration::from_secs(600);

/// Who lives, and whom the one who renewed inherits, if it still holds its lease.
fn told(renewal: &Renewal) -> (bool, Vec<u8>, Vec<u8>) {
    let numbers = |ids: &[InstanceId]| ids.iter().map(|id| id.as_bytes()[0]).collect::<Vec<_>>();
    (renewal.is_held, numbers(&renewal.live), numbers(&renewal.inherited))
}

async fn register(store: &dyn Store, number: u8, term: Duration) -> (bool, Vec<u8>, Vec<u8>) {
    told(&store.register(instance(number), term).await.unwrap())
}

async fn renew(store: &dyn Store, number: u8, term: Duration) -> (bool, Vec<u8>, Vec<u8>) {
    told(&store.renew(instance(number), term).await.unwrap())
}

/// Several renew at once.
async fn renew_all(store: &Arc<dyn Store>, numbers: impl Iterator<Item = u8>) -> Vec<(u8, Renewal)> {
    let renew = |number: u8| {
        let store = Arc::clone(store);
        (number, tokio::spawn(async move { store.renew(instance(number), LONG).await.unwrap() }))
    };
    let mut renewals = Vec::new();
    for (number, task) in numbers.map(renew).collect::<Vec<_>>() {
        renewals.push((number, task.await.unwrap()));
    }
    renewals
}

/// Those who say that they take over an instance.
fn heirs(renewals: &[(u8, Renewal)], dead: u8) -> Vec<u8> {
    let inherits = |renewal: &Renewal| renewal.inherited.contains(&instance(dead));
    renewals.iter().filter(|(_, renewal)| inherits(renewal)).map(|(number, _)| *number).collect()
}

pub(super) async fn one(store: Arc<dyn Store>) {
    assert!(!renew(&*store, 1, LONG).await.0, "never registered");
    assert_eq!(register(&*store, 1, LONG).await, (true, vec![1], vec![]));
    assert_eq!(register(&*store, 1, LONG).await, (true, vec![1], vec![]), "the answer was lost");
    let first = store.renew(instance(1), LONG).await.unwrap();
    let second = store.renew(instance(1), LONG).await.unwrap();
    assert!(first.is_held && first.now <= second.now);
    let behind = lobby_service::clock::wall().since(first.now);
    assert!(behind < Duration::from_secs(60), "the same machine, or nearly");
    store.retire(instance(1)).await.unwrap();
    store.retire(instance(9)).await.unwrap();
    store.bury(instance(1)).await.unwrap();
    assert!(!renew(&*store, 1, LONG).await.0, "buried");
}

pub(super) async fn last(store: Arc<dyn Store>) {
    assert!(!store.is_shared());
    register(&*store, 1, LONG).await;
    assert_eq!(register(&*store, 2, LONG).await, (true, vec![2], vec![]));
    assert_eq!(renew(&*store, 1, LONG).await, (false, vec![2], vec![]));
    assert_eq!(renew(&*store, 2, LONG).await, (true, vec![2], vec![]));
}

pub(super) async fn live(store: Arc<dyn Store>) {
    assert!(store.is_shared());
    register(&*store, 1, LONG).await;
    assert_eq!(register(&*store, 2, LONG).await, (true, vec![1, 2], vec![]));
    assert_eq!(renew(&*store, 2, LONG).await, (true, vec![1, 2], vec![]));
    assert_eq!(renew(&*store, 1, LONG).await, (true, vec![1, 2], vec![]));
}

pub(super) async fn expired(store: Arc<dyn Store>) {
    register(&*store, 1, Duration::ZERO).await;
    assert_eq!(register(&*store, 2, LONG).await, (true, vec![2], vec![1]));
    assert_eq!(renew(&*store, 1, LONG).await, (false, vec![2], vec![]), "it is not its own any more");
    assert_eq!(register(&*store, 1, LONG).await, (false, vec![2], vec![]), "and does not become so");
    assert_eq!(register(&*store, 3, LONG).await, (true, vec![2, 3], vec![]), "somebody takes over already");
    assert_eq!(renew(&*store, 2, LONG).await, (true, vec![2, 3], vec![1]), "still");
    store.bury(instance(1)).await.unwrap();
    assert_eq!(renew(&*store, 2, LONG).await, (true, vec![2, 3], vec![]));
}

pub(super) async fn late(store: Arc<dyn Store>) {
    register(&*store, 1, Duration::ZERO).await;
    assert_eq!(renew(&*store, 1, LONG).await, (true, vec![1], vec![]));
    assert_eq!(register(&*store, 2, LONG).await, (true, vec![1, 2], vec![]));
}

pub(super) async fn retired(store: Arc<dyn Store>) {
    register(&*store, 1, LONG).await;
    register(&*store, 2, LONG).await;
    store.retire(instance(1)).await.unwrap();
    assert_eq!(renew(&*store, 2, LONG).await, (true, vec![2], vec![1]));
}

pub(super) async fn inheritance(store: Arc<dyn Store>) {
    register(&*store, 1, Duration::ZERO).await;
    assert_eq!(register(&*store, 2, Duration::ZERO).await, (true, vec![2], vec![1]));
    assert_eq!(register(&*store, 3, LONG).await, (true, vec![3], vec![1, 2]));
    assert_eq!(renew(&*store, 2, LONG).await, (false, vec![3], vec![]), "its inheritance is another's too");
    store.bury(instance(3)).await.unwrap();
    assert_eq!(register(&*store, 4, LONG).await, (true, vec![4], vec![1, 2]), "whoever's heir is forgotten has none");
}

pub(super) async fn one_heir(store: Arc<dyn Store>) {
    for number in 1..=8 {
        register(&*store, number, LONG).await;
    }
    for dead in 100..140 {
        register(&*store, dead, LONG).await;
        store.retire(instance(dead)).await.unwrap();
        let renewals = renew_all(&store, 1..=8).await;
        assert!(renewals.iter().all(|(_, renewal)| renewal.is_held));
        let heirs = heirs(&renewals, dead);
        assert_eq!(heirs.len(), 1, "{heirs:?}");
        store.bury(instance(dead)).await.unwrap();
    }
}

/// Half of the leases have run out, and all are renewed at once: some in time, some not.
pub(super) async fn storm(store: Arc<dyn Store>) {
    for round in 0..10 {
        let all = (1..=8).map(|number| number + 10 * round);
        for number in all.clone() {
            register(&*store, number, LONG).await;
        }
        for number in all.clone().step_by(2) {
            store.retire(instance(number)).await.unwrap();
        }
        renew_all(&store, all.clone()).await;
        let renewals = renew_all(&store, all.clone()).await;
        let live: Vec<_> = renewals.iter().filter(|(_, renewal)| renewal.is_held).map(|(number, _)| *number).collect();
        assert!(live.len() >= 4);
        for number in all.clone() {
            let heirs = heirs(&renewals, number);
            assert_eq!(heirs.len(), usize::from(!live.contains(&number)), "{number}: {heirs:?} of {live:?}");
        }
        for number in all {
            store.bury(instance(number)).await.unwrap();
        }
    }
}

pub(super) async fn come_and_go(store: Arc<dyn Store>) {
    register(&*store, 1, LONG).await;
    let crowd: Vec<_> = (10..18)
        .map(|first| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for turn in 0..20 {
                    let number = first + 8 * turn;
                    assert!(register(&*store, number, LONG).await.0);
                    assert!(renew(&*store, number, LONG).await.0, "nobody takes over from one that lives");
                    store.retire(instance(number)).await.unwrap();
                }
            })
        })
        .collect();
    for task in crowd {
        task.await.unwrap();
    }
    let (is_held, live, mut inherited) = renew(&*store, 1, LONG).await;
    assert_eq!((is_held, live), (true, vec![1]));
    inherited.sort_unstable();
    assert_eq!(inherited, (10..170).collect::<Vec<_>>(), "in the end all are the only one's who is left");
}
