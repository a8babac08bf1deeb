//! What operators see of a store.

use std::sync::Arc;
use std::time::Duration;

use lobby_service::store::Store;
use lobby_service::store::overview::StoredSnapshot;
use protocol::lobby::Settings;

use super::{created, instance, put, snapshot};

pub(super) async fn snapshots(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await.id();
    assert_eq!(store.snapshots(lobby).await.unwrap(), []);
    let mut expected = Vec::new();
    for (seq, state) in [(1, &b"one"[..]), (2, b"second"), (3, b"third"), (4, b"the fourth")] {
        let new = snapshot(lobby, 0, 1, seq, state);
        let (generation, checksum) = (new.header.generation, new.header.checksum);
        expected.insert(
            0,
            StoredSnapshot { generation, checksum, bytes: new.record.len() as u64, deltas: 0, delta_bytes: 0 },
        );
        put(&*store, new).await.unwrap();
    }
    expected.truncate(3);
    assert_eq!(store.snapshots(lobby).await.unwrap(), expected, "newest first, as many as are kept");
}

pub(super) async fn instances(store: Arc<dyn Store>) {
    assert!(store.instances().await.unwrap().is_empty());
    let registered = store.register(instance(1), Duration::from_secs(600)).await.unwrap();
    let all = store.instances().await.unwrap();
    assert_eq!(all.iter().map(|one| (one.id, one.heir)).collect::<Vec<_>>(), [(instance(1), None)]);
    let term = all[0].expires_at.since(registered.now);
    assert!(term > Duration::from_secs(590) && term < Duration::from_secs(610), "{term:?}");
}
