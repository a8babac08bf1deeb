//! Players, refresh tokens, and keys of game servers.

use std::collections::BTreeMap;

use protocol::id::PlayerId;
use protocol::time::Timestamp;

use crate::auth::api_key::{ApiKeyId, StoredApiKey};
#[cfg(doc)]
use crate::store::Store;
use crate::store::{API_KEYS_MAX, FAMILIES_MAX, Player, RefreshHash, Rotation};

#[derive(Debug)]
struct Family {
    player: PlayerId,
    current: [u8; 32],
    previous: Option<[u8; 32]>,
    expires_at: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Identities {
    players: BTreeMap<PlayerId, Player>,
    families: BTreeMap<[u8; 16], Family>,
    api_keys: BTreeMap<ApiKeyId, StoredApiKey>,
}

impl Identities {
    /// See [`Store::create_player`].
    pub(super) fn create_player(&mut self, player: &Player, token: &RefreshHash, expires_at: Timestamp) {
        let mut ended: Vec<_> =
            self.families.extract_if(.., |_, family| family.expires_at <= player.created_at).collect();
        let family = Family { player: player.id, current: token.hash, previous: None, expires_at };
        self.families.insert(token.family, family);
        self.players.entry(player.id).or_insert_with(|| player.clone());
        self.end_surplus(player.id);
        while let Some((_, Family { player, .. })) = ended.pop() {
            if !self.families.values().any(|family| family.player == player) {
                self.players.remove(&player);
            }
        }
    }

    /// Ends those of a player's families that are too many.
    fn end_surplus(&mut self, player: PlayerId) {
        let theirs = self.families.iter().filter(|(_, family)| family.player == player);
        let mut theirs: Vec<_> = theirs.map(|(&id, family)| (family.expires_at, id)).collect();
        theirs.sort_unstable();
        for (_, id) in theirs.iter().rev().skip(FAMILIES_MAX) {
            self.families.remove(id);
        }
    }

    /// See [`Store::player`].
    pub(super) fn player(&self, id: PlayerId) -> Option<Player> {
        self.players.get(&id).cloned()
    }

    /// See [`Store::rotate_refresh`].
    pub(super) fn rotate_refresh(
        &mut self,
        presented: &RefreshHash,
        next: [u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Rotation {
        let family = self.families.get_mut(&presented.family).filter(|family| family.expires_at > now);
        let Some(family) = family else { return Rotation::Unknown };
        if presented.hash != family.current && Some(presented.hash) != family.previous {
            family.expires_at = Timestamp(0);
            return Rotation::Reused;
        }
        *family = Family { player: family.player, current: next, previous: Some(presented.hash), expires_at };
        Rotation::Rotated(family.player)
    }

    /// See [`Store::add_api_key`].
    pub(super) fn add_api_key(&mut self, key: &StoredApiKey) -> bool {
        let has_room = self.api_keys.len() < API_KEYS_MAX;
        if has_room {
            self.api_keys.insert(key.key.id, key.clone());
        }
        has_room
    }

    /// See [`Store::api_keys`].
    pub(super) fn api_keys(&self) -> Vec<StoredApiKey> {
        let mut keys: Vec<_> = self.api_keys.values().cloned().collect();
        keys.sort_by_key(|stored| (stored.key.created_at, stored.key.id));
        keys
    }

    /// See [`Store::note_api_key_used`].
    pub(super) fn note_api_key_used(&mut self, id: ApiKeyId, day: Timestamp) {
        if let Some(stored) = self.api_keys.get_mut(&id) {
            stored.key.last_used_day = stored.key.last_used_day.max(Some(day));
        }
    }

    /// See [`Store::remove_api_key`].
    pub(super) fn remove_api_key(&mut self, id: ApiKeyId) -> bool {
        self.api_keys.remove(&id).is_some()
    }
}
