//! Ballast: bytes that are part of the state and of nothing else, so that a small game can be as heavy as a large one.
//!
//! They are pseudo-random, and pieces here and there change with every tick, as those of a real game do. A sum over all pieces,
//! kept up to date, tells whether they came through.

use serde::{Deserialize, Serialize};

use crate::world::scramble;

/// Bytes that change together.
const PIECE_BYTES: usize = 64;
/// Of the numbers that a piece is made of.
const WORD_BYTES: usize = 8;

/// The bytes and their sum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ballast {
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    sum: u64,
}

impl Ballast {
    /// So many bytes, made from a seed.
    pub(crate) fn new(seed: u64, length: usize) -> Self {
        let mut ballast = Self { bytes: vec![0; length], sum: 0 };
        for index in 0..ballast.pieces() {
            fill(ballast.piece_mut(index), seed ^ index as u64);
        }
        ballast.sum = ballast.sum_of_all();
        ballast
    }

    /// Changes this part of the pieces, in percent, at least one if it is not none at all. Which ones and how follows from the tick.
    pub(crate) fn churn(&mut self, tick: u64, percent: u8) {
        let pieces = self.pieces();
        let changes = (pieces * usize::from(percent)).div_ceil(100);
        for change in 0..changes as u64 {
            let drawn = scramble(tick.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ change);
            let index = usize::try_from(drawn % pieces as u64).expect("a remainder is smaller than a length in memory");
            self.sum = self.sum.wrapping_sub(sum(index, self.piece_mut(index)));
            fill(self.piece_mut(index), drawn);
            self.sum = self.sum.wrapping_add(sum(index, self.piece_mut(index)));
        }
    }

    /// Whether the bytes are what they were when the sum was made.
    pub(crate) fn is_whole(&self) -> bool {
        self.sum == self.sum_of_all()
    }

    const fn pieces(&self) -> usize {
        self.bytes.len().div_ceil(PIECE_BYTES)
    }

    fn piece_mut(&mut self, index: usize) -> &mut [u8] {
        let (from, length) = (index * PIECE_BYTES, self.bytes.len());
        &mut self.bytes[from..length.min(from + PIECE_BYTES)]
    }

    fn sum_of_all(&self) -> u64 {
        let sums = self.bytes.chunks(PIECE_BYTES).enumerate().map(|(index, piece)| sum(index, piece));
        sums.fold(0, u64::wrapping_add)
    }
}

fn fill(piece: &mut [u8], seed: u64) {
    for (word, index) in piece.chunks_mut(WORD_BYTES).zip(1_u64..) {
        let drawn = scramble(scramble(seed).wrapping_add(index)).to_le_bytes();
        word.copy_from_slice(&drawn[..word.len()]);
    }
}

/// Of one piece, at its place.
fn sum(index: usize, piece: &[u8]) -> u64 {
    piece.chunks(WORD_BYTES).fold(index as u64, |sum, word| {
        let mut bytes = [0; WORD_BYTES];
        bytes[..word.len()].copy_from_slice(word);
        scramble(sum ^ u64::from_le_bytes(bytes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballast_changes_as_much_as_it_should_and_its_sum_goes_with_it() {
        let mut ballast = Ballast::new(3, 100_003);
        for tick in 1..=50 {
            let before = ballast.clone();
            ballast.churn(tick, 1);
            let pairs = before.bytes.chunks(PIECE_BYTES).zip(ballast.bytes.chunks(PIECE_BYTES));
            let changed = pairs.filter(|(before, after)| before != after).count();
            assert!((10..=16).contains(&changed), "{changed} of 1563 pieces");
            assert!(ballast.is_whole());
        }
        let same = (1..=50).fold(Ballast::new(3, 100_003), |mut ballast, tick| {
            ballast.churn(tick, 1);
            ballast
        });
        assert_eq!(same, ballast, "it follows from seed and ticks");
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        let ballast = Ballast::new(5, 1000);
        for at in 0..1000 {
            let mut changed = ballast.clone();
            changed.bytes[at] ^= 1;
            assert!(!changed.is_whole());
        }
        let mut shorter = ballast;
        shorter.bytes.pop();
        assert!(!shorter.is_whole());
    }

    #[test]
    fn no_ballast_stays_none() {
        let mut ballast = Ballast::new(1, 0);
        ballast.churn(1, 100);
        assert!(ballast.is_whole() && ballast.bytes.is_empty());
    }
}
