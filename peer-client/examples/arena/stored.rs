//! The state that a host gives: the arena, the bank and the ballast, as bytes.

use std::io::Cursor;

use serde::{Deserialize, Serialize};

use crate::ballast::Ballast;
use crate::bank::Bank;
use crate::world::{DecodeError, World};

/// Bytes of a state that are not ballast.
const ROOM_BYTES: usize = 2048;

/// What only the host has beside the arena itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Vault {
    pub(crate) bank: Bank,
    pub(crate) ballast: Ballast,
    /// Bytes of the whole state, at least: what is missing is filled up with zeros.
    pub(crate) state_bytes: usize,
}

/// Why bytes are not a state.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoredError {
    #[error("the state cannot be read")]
    Malformed(#[from] rmp_serde::decode::Error),
    #[error(transparent)]
    World(#[from] DecodeError),
    #[error("the state's ballast is not what was given")]
    Ballast,
}

/// The ballast comes first: it has the same place in every state.
#[derive(Serialize)]
struct Writing<'a> {
    state_bytes: usize,
    ballast: &'a Ballast,
    #[serde(with = "serde_bytes")]
    world: &'a [u8],
    bank: &'a Bank,
}

#[derive(Deserialize)]
struct Reading {
    state_bytes: usize,
    ballast: Ballast,
    #[serde(with = "serde_bytes")]
    world: Vec<u8>,
    bank: Bank,
}

impl Vault {
    /// Of a new arena, whose states have so many bytes.
    pub(crate) fn new(seed: u64, state_bytes: usize) -> Self {
        let ballast = Ballast::new(seed, state_bytes.saturating_sub(ROOM_BYTES));
        Self { bank: Bank::default(), ballast, state_bytes }
    }

    /// The state with this arena, as bytes.
    pub(crate) fn encode(&self, world: &[u8]) -> Vec<u8> {
        let Self { bank, ballast, state_bytes } = self;
        let writing = Writing { state_bytes: *state_bytes, ballast, world, bank };
        let mut bytes = rmp_serde::to_vec(&writing).expect("a state is made of numbers, bytes and maps");
        bytes.resize(bytes.len().max(*state_bytes), 0);
        bytes
    }

    /// Reads what [`Vault::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, World), StoredError> {
        let reading: Reading = rmp_serde::from_read(Cursor::new(bytes))?;
        let Reading { state_bytes, ballast, world, bank } = reading;
        if !ballast.is_whole() {
            return Err(StoredError::Ballast);
        }
        // What a state claims to be is not more than it is.
        let state_bytes = state_bytes.min(bytes.len());
        Ok((Self { bank, ballast, state_bytes }, World::decode(&world)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(state_bytes: usize) -> (Vault, World) {
        let (mut vault, mut world) = (Vault::new(4, state_bytes), World::new(4));
        (0..8).for_each(|connection| world.enter(connection));
        (0..8).for_each(|connection| vault.bank.take(connection, 99, 1));
        vault.ballast.churn(1, 1);
        (vault, world)
    }

    #[test]
    fn a_state_has_the_size_that_was_asked_for_and_reads_back() {
        for state_bytes in [10_000, 100_000, 1 << 20] {
            let (vault, world) = state(state_bytes);
            let bytes = vault.encode(&world.encode());
            assert_eq!(bytes.len(), state_bytes);
            assert_eq!(Vault::decode(&bytes).unwrap(), (vault, world));
        }
        let (vault, world) = state(0);
        assert!(vault.encode(&world.encode()).len() < ROOM_BYTES);
    }

    #[test]
    fn ballast_that_did_not_come_through_is_noticed_and_nothing_panics() {
        let (vault, world) = state(3000);
        let bytes = vault.encode(&world.encode());
        let mut noticed = 0;
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x55;
            noticed += usize::from(matches!(Vault::decode(&changed), Err(StoredError::Ballast)));
        }
        assert!(noticed >= 3000 - ROOM_BYTES, "{noticed}");
    }
}
