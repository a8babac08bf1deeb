//! The game that is played: seats give each other tokens. It is a fold of the operations that it was told, so that each history can be
//! played again; and its messages carry what came before them, so that whoever hears one knows whether any is missing or other.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::id::ConnectionId;
use protocol::journal::{Class, StreamId};
use serde::{Deserialize, Serialize};

/// So many messages of a kind, and a number that tells which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Chain {
    pub(super) count: u64,
    pub(super) hash: u64,
}

impl Chain {
    fn next(self, what: u64) -> Self {
        Self { count: self.count + 1, hash: mix(mix(self.hash, self.count), what) }
    }
}

/// What the game knows of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Player {
    /// The newest of its operations that was applied.
    pub(super) taken: u64,
    pub(super) told: Chain,
    pub(super) told_stable: Chain,
}

/// An operation of a seat: give one token to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) stream: StreamId,
    pub(super) from: ConnectionId,
    pub(super) to: ConnectionId,
    /// The n-th of its process.
    pub(super) nth: u64,
}

/// Its state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Game {
    pub(super) tick: u64,
    /// Of each seat; together none.
    pub(super) tokens: BTreeMap<u32, i64>,
    /// All operations that were applied.
    pub(super) log: Chain,
    pub(super) players: BTreeMap<u64, Player>,
}

impl Game {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() { Some(Self::default()) } else { rmp_serde::from_slice(bytes).ok() }
    }

    pub(super) fn write(&self) -> Vec<u8> {
        rmp_serde::to_vec(self).expect("numbers can be written")
    }

    /// Applies an operation. P11: the next one of its process.
    pub(super) fn apply(&mut self, operation: Operation) -> Result<(), String> {
        let player = self.players.entry(operation.stream.0).or_default();
        if operation.nth != player.taken + 1 {
            return Err(format!("{operation:?} came after {}", player.taken));
        }
        player.taken = operation.nth;
        self.fold(operation);
        Ok(())
    }

    /// What an operation does to tokens and log.
    pub(super) fn fold(&mut self, Operation { stream, from, to, nth }: Operation) {
        *self.tokens.entry(from.0).or_default() -= 1;
        *self.tokens.entry(to.0).or_default() += 1;
        self.log = self.log.next(mix(mix(stream.0, nth), u64::from(from.0) << 32 | u64::from(to.0)));
    }

    /// Operations up to this one are lost, and the game was told.
    pub(super) fn lose(&mut self, stream: StreamId, to: u64) {
        let player = self.players.entry(stream.0).or_default();
        player.taken = player.taken.max(to);
    }

    /// What a process is told next, and its number.
    pub(super) fn tell(&mut self, stream: StreamId, class: Class, what: u64) -> (u64, Bytes) {
        let player = self.players.entry(stream.0).or_default();
        let chain = match class {
            Class::Reliable => &mut player.told,
            Class::AfterStable => &mut player.told_stable,
        };
        let before = std::mem::replace(chain, chain.next(what));
        (chain.count, [before.count, before.hash, what].map(u64::to_be_bytes).concat().into())
    }

    pub(super) fn player(&self, stream: StreamId) -> Player {
        self.players.get(&stream.0).copied().unwrap_or_default()
    }
}

/// What a process says: to whom it gives a token.
pub(super) fn operation(nth: u64, to: ConnectionId) -> Bytes {
    [&nth.to_be_bytes()[..], &to.0.to_be_bytes()].concat().into()
}

/// Reads it.
pub(super) fn read_operation(stream: StreamId, from: ConnectionId, payload: &[u8]) -> Option<Operation> {
    let (nth, to) = payload.split_first_chunk()?;
    let to = ConnectionId(u32::from_be_bytes(*to.first_chunk()?));
    Some(Operation { stream, from, to, nth: u64::from_be_bytes(*nth) })
}

/// What a process was told that counts. P11: nothing twice, nothing missing that it was not told of, nothing of another history.
#[derive(Debug, Default)]
pub(super) struct View {
    /// What tells the history up to each message; of those that were never heard it is not known.
    told: Vec<Option<u64>>,
    stable: Chain,
}

impl View {
    pub(super) fn heard(&self) -> u64 {
        self.told.len() as u64
    }

    pub(super) const fn stable(&self) -> Chain {
        self.stable
    }

    /// Which history it has heard, if it has heard the last of it.
    pub(super) fn hash(&self) -> Option<u64> {
        self.told.last().map_or(Some(0), |hash| *hash)
    }

    pub(super) fn hear(&mut self, class: Class, number: u64, payload: &[u8]) -> Result<(), String> {
        let words: Vec<_> = payload.as_chunks().0.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect();
        let &[count, hash, what] = words.as_slice() else { return Err(format!("{payload:?} is no message")) };
        let before = Chain { count, hash };
        let known = match class {
            Class::Reliable => Chain { count: self.heard(), hash: self.hash().unwrap_or(hash) },
            Class::AfterStable => self.stable,
        };
        if before != known || (class == Class::Reliable && number != count + 1) {
            return Err(format!("{class:?} {number} is after {before:?}, but {known:?} was heard"));
        }
        let after = before.next(what);
        match class {
            Class::Reliable => self.told.push(Some(after.hash)),
            Class::AfterStable => self.stable = after,
        }
        Ok(())
    }

    pub(super) fn take_back(&mut self, from: u64) {
        self.told.truncate(from as usize - 1);
    }

    pub(super) fn never_hears(&mut self, to: u64) {
        self.told.resize(self.told.len().max(to as usize), None);
    }
}

fn mix(a: u64, b: u64) -> u64 {
    let mut mixed = (a ^ b.rotate_left(32)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
