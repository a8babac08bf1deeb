//! Keys of game servers.

use std::collections::BTreeSet;
use std::sync::Arc;

use lobby_service::auth::api_key::{ApiKey, ApiKeyId, Scope, SecretHash, StoredApiKey};
use lobby_service::store::{API_KEYS_MAX, Store};
use protocol::time::Timestamp;

use super::NOW;

fn key(number: u64, expires_at: Option<Timestamp>) -> StoredApiKey {
    let key = ApiKey {
        id: ApiKeyId::from_bytes(number.to_be_bytes()),
        name: format!("é {number}"),
        scopes: BTreeSet::from([Scope::MembersWrite, Scope::LobbiesRead]),
        created_at: Timestamp(NOW.0 - number),
        expires_at,
        last_used_day: None,
    };
    StoredApiKey { key, hash: SecretHash([7; 32]) }
}

pub(super) async fn kept(store: Arc<dyn Store>) {
    let (one, two) = (key(1, None), key(2, Some(NOW)));
    assert!(store.add_api_key(&one).await.unwrap() && store.add_api_key(&two).await.unwrap());
    assert_eq!(store.api_keys().await.unwrap(), [two.clone(), one.clone()], "the oldest first");
    let day = |number: u64| Timestamp(number * 86_400_000);
    for today in [day(3), day(2)] {
        store.note_api_key_used(one.key.id, today).await.unwrap();
    }
    let used = StoredApiKey { key: ApiKey { last_used_day: Some(day(3)), ..one.key.clone() }, ..one.clone() };
    assert_eq!(store.api_keys().await.unwrap(), [two, used]);
    assert!(store.remove_api_key(key(2, None).key.id).await.unwrap());
    assert!(!store.remove_api_key(key(2, None).key.id).await.unwrap(), "it is gone");
    store.note_api_key_used(key(2, None).key.id, day(4)).await.unwrap();
    assert_eq!(store.api_keys().await.unwrap().len(), 1);
}

pub(super) async fn bounded(store: Arc<dyn Store>) {
    for number in 0..API_KEYS_MAX as u64 {
        assert!(store.add_api_key(&key(number, None)).await.unwrap());
    }
    assert!(!store.add_api_key(&key(5_000, None)).await.unwrap());
    assert_eq!(store.api_keys().await.unwrap().len(), API_KEYS_MAX);
}
