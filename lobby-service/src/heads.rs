//! What this process remembers of what is stored: lobbies as they were last saved, and what never changes. All of it bounded, and
//! all of it only to save time: what is not here, or not the newest, is read from the store.

use std::sync::Arc;

use protocol::commit::{Head, Version};
use protocol::id::{JoinCode, LobbyId, PlayerId};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// Weight of all lobbies that are remembered, see [`Weight`]: about 50 MB.
const HEADS_WEIGHT_MAX: u64 = 1 << 17;
/// Lobbies of which it is remembered that another instance has saved them lately.
const ELSEWHERE_MAX: usize = 4096;
/// Join codes and players' names that are remembered.
const NAMES_MAX: usize = 1 << 14;

/// What a lobby weighs: about 400 bytes each for itself and for each of its members.
#[derive(Debug, Clone)]
struct Weight;

impl Weighter<LobbyId, Head> for Weight {
    fn weight(&self, _: &LobbyId, head: &Head) -> u64 {
        1 + head.lobby.member_count() as u64
    }
}

/// Lobbies as they were last saved or loaded here.
///
/// Only who decides a lobby's commands puts it in here, one after the other: a head is never replaced by an older one.
#[derive(Debug)]
pub(crate) struct Heads {
    heads: Cache<LobbyId, Head, Weight>,
    elsewhere: Cache<LobbyId, Version>,
}

impl Default for Heads {
    fn default() -> Self {
        let heads = Cache::with_weighter(HEADS_WEIGHT_MAX as usize / 4, HEADS_WEIGHT_MAX, Weight);
        Self { heads, elsewhere: Cache::new(ELSEWHERE_MAX) }
    }
}

impl Heads {
    /// A lobby as this process knows it, unless it is known that another has saved it since.
    pub(crate) fn find(&self, id: LobbyId) -> Option<Head> {
        self.heads.get(&id).filter(|head| self.elsewhere.get(&id).is_none_or(|newest| newest <= head.version))
    }

    /// It was saved or loaded by who decides its commands.
    pub(crate) fn put(&self, head: Head) {
        self.heads.insert(head.lobby.id(), head);
    }

    /// It is gone, or it is not known what became of it.
    pub(crate) fn forget(&self, id: LobbyId) {
        self.heads.remove(&id);
    }

    /// Another instance has saved it.
    pub(crate) fn saved_elsewhere(&self, id: LobbyId, version: Version) {
        if self.elsewhere.get(&id).is_none_or(|known| known < version) {
            self.elsewhere.insert(id, version);
        }
    }

    /// The newest version that another instance is known to have saved lately.
    pub(crate) fn newest_elsewhere(&self, id: LobbyId) -> Option<Version> {
        self.elsewhere.get(&id)
    }
}

/// What never changes while it is there.
#[derive(Debug)]
pub(crate) struct Names {
    codes: Cache<JoinCode, LobbyId>,
    players: Cache<PlayerId, Arc<str>>,
}

impl Default for Names {
    fn default() -> Self {
        Self { codes: Cache::new(NAMES_MAX), players: Cache::new(NAMES_MAX) }
    }
}

impl Names {
    /// Whose a join code is.
    pub(crate) fn lobby(&self, code: JoinCode) -> Option<LobbyId> {
        self.codes.get(&code)
    }

    /// A join code is this lobby's.
    pub(crate) fn put_code(&self, code: JoinCode, lobby: LobbyId) {
        self.codes.insert(code, lobby);
    }

    /// It is nobody's any more.
    pub(crate) fn forget_code(&self, code: JoinCode) {
        self.codes.remove(&code);
    }

    /// What a player called itself when it signed in.
    pub(crate) fn player(&self, id: PlayerId) -> Option<Arc<str>> {
        self.players.get(&id)
    }

    /// A player has signed in, or was looked up.
    pub(crate) fn put_player(&self, id: PlayerId, name: &str) {
        self.players.insert(id, name.into());
    }
}
