//! Players, their refresh tokens, and keys of game servers, as all stores keep them.

use protocol::id::PlayerId;
use protocol::time::Timestamp;

/// Families of refresh tokens of one player; past it the one that would end first is over.
pub const FAMILIES_MAX: usize = 16;
/// Keys of game servers.
pub const API_KEYS_MAX: usize = 1_000;

/// A player as it signed in first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Player {
    /// Who.
    pub id: PlayerId,
    /// The name it gave, maybe empty.
    pub name: String,
    /// When.
    pub created_at: Timestamp,
}

/// A refresh token: its family, and the hash of its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshHash {
    /// Given at sign-in, the same over every rotation.
    pub family: [u8; 16],
    /// BLAKE3-256 of the secret.
    pub hash: [u8; 32],
}

impl std::fmt::Debug for RefreshHash {
    /// Without the hash (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RefreshHash").finish_non_exhaustive()
    }
}

/// What became of a refresh secret that was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The next one is in its place.
    Rotated(PlayerId),
    /// It was used up before, so two have it: its family has ended.
    Reused,
    /// There is no such family, or it has ended.
    Unknown,
}
