//! Differences of bytes that stay where they are, but for one place at which they have grown or shrunk.
//!
//! Games write their state in a fixed layout, most of it unchanged. What is in front of it in a snapshot (a seat's data, an object)
//! grows by a few bytes now and then, and everything behind it shifts. So the base is first laid out as the result is: its front,
//! then zeros for what was put in, then its end; the *seam* is where the two meet.
//!
//! ```text
//!              seam                                            seam
//! base    |front|end          |            base    |front|left out|end     |
//! laid out|front|0 0 0|end          |      laid out|front|end     |
//! ```
//!
//! Where result and laid-out base differ is told in three streams, each a part of its own, since each compresses by its own rule:
//!
//! ```text
//! +--------+------------------+--------------------+----------------+
//! | seam # | part: kept, #…   | part: changed, #…  | part: bytes …  |        # a varint
//! +--------+------------------+--------------------+----------------+
//! part:  | # 2 · bytes + (1 if it is a zstd frame) | bytes … |
//! ```
//!
//! The first number of *kept* says how many bytes stay as they are, the first of *changed* how many after them are replaced, and so
//! on; what is left at the end stays. A replaced byte is told as its difference from what was there: small steps are small numbers.

use std::borrow::Cow;

use super::SnapshotError;
use super::compression::{Expander, Squeezer};
use super::varint::{Reader, push};

/// Bytes that are compared at once: four SSE registers, two of AVX2.
const BLOCK: usize = 64;
/// So many equal bytes end a change. Fewer cost less as a part of it than two more numbers do.
const GAP: usize = 4;
/// A change is told in parts of so many bytes, so that a layout that has shifted is noticed before all of it is looked at.
const CHANGE_BYTES_MAX: usize = 4096;
/// Changes of so many bytes say nothing yet about the rest.
const TRIED_BYTES: usize = 1024;

/// Where a result differs from its base, and how.
#[derive(Default)]
pub(super) struct Changes {
    seam: usize,
    kept: Vec<u8>,
    changed: Vec<u8>,
    bytes: Vec<u8>,
}

impl Changes {
    /// Compares. `None` as soon as the changes take more than half of what has been compared: then the layout has shifted.
    pub(super) fn between(base: &[u8], result: &[u8]) -> Option<Self> {
        let seam = seam(base, result);
        let mut changes = Self { seam, ..Self::default() };
        changes.compare(&laid_out(base, result.len(), seam), result).then_some(changes)
    }

    /// Bytes that they take before they are compressed.
    pub(super) const fn size(&self) -> usize {
        self.kept.len() + self.changed.len() + self.bytes.len()
    }

    /// Writes the patch.
    pub(super) fn patch(&self) -> Vec<u8> {
        let mut patch = Vec::with_capacity(32 + self.size());
        let mut squeezer = Squeezer::default();
        push(&mut patch, self.seam);
        for stream in [&self.kept, &self.changed, &self.bytes] {
            push_part(&mut patch, stream, &mut squeezer);
        }
        patch
    }

    /// False if they are too many.
    fn compare(&mut self, mut from: &[u8], mut to: &[u8]) -> bool {
        let length = to.len();
        while self.size() <= TRIED_BYTES + (length - to.len()) / 2 {
            let kept = equal_bytes(from, to);
            if kept == to.len() {
                return true;
            }
            (from, to) = (&from[kept..], &to[kept..]);
            let changed = changed_bytes(from, to);
            push(&mut self.kept, kept);
            push(&mut self.changed, changed);
            self.bytes.extend(from.iter().zip(&to[..changed]).map(|(from, to)| to.wrapping_sub(*from)));
            (from, to) = (&from[changed..], &to[changed..]);
        }
        false
    }
}

/// Makes the result, `length` bytes of it.
pub(super) fn apply(base: &[u8], length: usize, patch: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    let mut reader = Reader(patch);
    let seam = reader.number()?;
    if seam > length.min(base.len()) {
        return Err(SnapshotError::Body);
    }
    let mut expander = Expander::default();
    // No stream is longer than the result: each pair of numbers stands for at least as many bytes of it.
    let mut part = || part(&mut reader, &mut expander, length);
    let (kept, changed, bytes) = (part()?, part()?, part()?);
    if !reader.is_empty() {
        return Err(SnapshotError::Body);
    }
    let mut result = laid_out(base, length, seam).into_owned();
    change(&mut result, Reader(&kept), Reader(&changed), Reader(&bytes))?;
    Ok(result)
}

/// Replaces what the streams say. All of them must be used up.
fn change(result: &mut [u8], mut kept: Reader, mut changed: Reader, mut bytes: Reader) -> Result<(), SnapshotError> {
    let mut left = result;
    while !kept.is_empty() {
        let rest = left.get_mut(kept.number()?..).ok_or(SnapshotError::Body)?;
        let (replaced, rest) = rest.split_at_mut_checked(changed.number()?).ok_or(SnapshotError::Body)?;
        let steps = bytes.take(replaced.len())?;
        replaced.iter_mut().zip(steps).for_each(|(byte, step)| *byte = byte.wrapping_add(*step));
        left = rest;
    }
    if changed.is_empty() && bytes.is_empty() { Ok(()) } else { Err(SnapshotError::Body) }
}

/// How many bytes are equal from the front.
fn equal_bytes(left: &[u8], right: &[u8]) -> usize {
    let blocks = left.as_chunks::<BLOCK>().0.iter().zip(right.as_chunks::<BLOCK>().0);
    let skipped = BLOCK * blocks.take_while(|(left, right)| left == right).count();
    let bytes = left[skipped..].iter().zip(&right[skipped..]);
    skipped + bytes.take_while(|(left, right)| left == right).count()
}

/// How many bytes there are, from the front, until [`GAP`] equal ones follow. At most [`CHANGE_BYTES_MAX`].
fn changed_bytes(left: &[u8], right: &[u8]) -> usize {
    let (mut changed, mut equal) = (0, 0);
    let bytes = left.len().min(CHANGE_BYTES_MAX);
    for (place, (left, right)) in left[..bytes].iter().zip(&right[..bytes]).enumerate() {
        if left != right {
            (changed, equal) = (place + 1, 0);
        } else {
            equal += 1;
            if equal == GAP {
                break;
            }
        }
    }
    changed
}

/// The base as long as the result: front and end where they are there.
fn laid_out(base: &[u8], length: usize, seam: usize) -> Cow<'_, [u8]> {
    if base.len() == length {
        return Cow::Borrowed(base);
    }
    let end_bytes = length.min(base.len()) - seam;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&base[..seam]);
    bytes.resize(length - end_bytes, 0);
    bytes.extend_from_slice(&base[base.len() - end_bytes..]);
    Cow::Owned(bytes)
}

/// Where the most bytes are equal, counted from the front before it and from the end behind it.
fn seam(base: &[u8], result: &[u8]) -> usize {
    let common = base.len().min(result.len());
    if base.len() == result.len() {
        return common;
    }
    let fronts = (&base[..common], &result[..common]);
    let ends = (&base[base.len() - common..], &result[result.len() - common..]);
    let block = best_cut::<BLOCK>(fronts, ends);
    // It is somewhere in the block before or behind the cut.
    let (from, to) = (block.saturating_sub(BLOCK), (block + BLOCK).min(common));
    from + best_cut::<1>((&fronts.0[from..to], &fronts.1[from..to]), (&ends.0[from..to], &ends.1[from..to]))
}

/// The multiple of `N` before which the fronts, and behind which the ends, have the most equal bytes.
fn best_cut<const N: usize>(fronts: (&[u8], &[u8]), ends: (&[u8], &[u8])) -> usize {
    let fronts = fronts.0.as_chunks::<N>().0.iter().zip(fronts.1.as_chunks::<N>().0);
    let ends = ends.0.as_chunks::<N>().0.iter().zip(ends.1.as_chunks::<N>().0);
    let (mut best, mut most, mut gain) = (0, 0, 0);
    for (place, (front, end)) in fronts.zip(ends).enumerate() {
        gain += equal(front.0, front.1) - equal(end.0, end.1);
        if gain > most {
            (best, most) = (N * (place + 1), gain);
        }
    }
    best
}

/// How many bytes are equal, place by place.
fn equal<const N: usize>(left: &[u8; N], right: &[u8; N]) -> isize {
    let count: u8 = left.iter().zip(right).map(|(left, right)| u8::from(left == right)).sum();
    isize::from(i16::from(count))
}

fn push_part(patch: &mut Vec<u8>, plain: &[u8], squeezer: &mut Squeezer) {
    let frame = squeezer.squeeze(plain);
    let bytes = frame.as_deref().unwrap_or(plain);
    push(patch, 2 * bytes.len() + usize::from(frame.is_some()));
    patch.extend_from_slice(bytes);
}

fn part<'a>(
    reader: &mut Reader<'a>,
    expander: &mut Expander,
    bytes_max: usize,
) -> Result<Cow<'a, [u8]>, SnapshotError> {
    let number = reader.number()?;
    let bytes = reader.take(number / 2)?;
    if number % 2 == 0 {
        return Ok(Cow::Borrowed(bytes));
    }
    expander.expand(bytes, bytes_max).map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(base: &[u8], result: &[u8]) -> Vec<u8> {
        let patch = Changes::between(base, result).unwrap().patch();
        assert_eq!(apply(base, result.len(), &patch).as_deref(), Ok(result));
        patch
    }

    #[test]
    fn bytes_that_shift_once_cost_only_what_was_put_in() {
        let base: Vec<u8> = (0..20_000_u32).flat_map(|number| (number * 7919).to_be_bytes()).collect();
        for at in [0, 1, 63, 64, 65, 40_000, 79_990, 80_000] {
            let mut result = base.clone();
            result.splice(at..at, *b"a new seat");
            result[70_000] ^= 1;
            result[300] ^= 1;
            assert!(made(&base, &result).len() < 40, "put in at {at}");
            assert!(made(&result, &base).len() < 40, "left out at {at}");
        }
        assert!(made(&base, &base).len() < 10);
    }

    #[test]
    fn every_pair_of_short_bytes_is_told() {
        let few: Vec<Vec<u8>> =
            (0..3_u32.pow(5)).map(|word| (0..word % 6).map(|place| (word >> place) as u8 & 1).collect()).collect();
        for base in &few {
            few.iter().for_each(|result| drop(made(base, result)));
        }
    }

    #[test]
    fn what_has_shifted_is_given_up_on_early() {
        let base: Vec<u8> = (0..100_000_u32).flat_map(|number| (number * 7919).to_be_bytes()).collect();
        let shifted = [&base[1..200_000], &base[200_003..], b"what makes it as long"].concat();
        assert!(Changes::between(&base, &shifted).is_none());
        let mut scattered = base.clone();
        (0..base.len()).step_by(16).for_each(|at| scattered[at] ^= 1);
        assert!(Changes::between(&base, &scattered).is_some());
    }

    #[test]
    fn a_patch_that_reaches_outside_or_leaves_something_over_is_refused() {
        let base = [5; 100];
        let parts = |seam: u8, kept: &[u8], changed: &[u8], bytes: &[u8]| {
            let mut patch = vec![seam];
            for part in [kept, changed, bytes] {
                push_part(&mut patch, part, &mut Squeezer::default());
            }
            apply(&base, 100, &patch)
        };
        assert_eq!(parts(100, &[97], &[3], &[1, 2, 3]).map(|result| result[97..].to_vec()), Ok(vec![6, 7, 8]));
        for refused in [
            parts(101, &[], &[], &[]),
            parts(100, &[101], &[0], &[]),
            parts(100, &[98], &[3], &[1, 2, 3]),
            parts(100, &[97], &[3], &[1, 2]),
            parts(100, &[97], &[3], &[1, 2, 3, 4]),
            parts(100, &[97], &[3, 0], &[1, 2, 3]),
            parts(100, &[97, 0], &[3], &[1, 2, 3]),
            apply(&base, 100, &[100, 0, 0, 0, 0]),
            apply(&base, 100, &[100, 0, 0]),
            apply(&base, 100, &[100, 0, 0, 41]),
        ] {
            assert_eq!(refused, Err(SnapshotError::Body));
        }
    }
}
