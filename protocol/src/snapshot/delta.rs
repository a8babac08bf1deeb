//! What has become of a state, as a record of its own.
//!
//! ```text
//! difference:   0      1            33         …
//!               +------+------------+----------+---------
//!               | kind | BLAKE3-256 | length # | patch …         # a varint
//!               +------+------------+----------+---------
//! ```
//!
//! The checksum is that of all the plain bytes that come out, and is sealed with the rest: a delta on other bytes than those it was
//! made of is noticed, whoever carried it, and so is a wrong patch. There are two kinds of patch, and the smaller one is sent:
//!
//! - 0, *in place* ([`super::in_place`]): what is where it was, or behind one place that grew or shrank, is left out. For fixed
//!   layouts, in microseconds.
//! - 1, *moved*: a zstd frame of the result with the base as what came before it. Finds again what is anywhere else, for layouts in
//!   which one number's length shifts all that follows. Tried only if the first kind leaves much.

use super::in_place::{self, Changes};
use super::varint::{Reader, push};
use super::{
    COMPRESSED, DELTA_HEADER_BYTES, DELTA_MAGIC, DeltaHeader, FLAGS, Header, Image, Seal, SnapshotError, compression,
    delta_numbers, opened, write_sealed,
};
use crate::id::Checksum;
use crate::limits;
use crate::planted::{self, Bug};

const IN_PLACE: u8 = 0;
const MOVED: u8 = 1;
/// Changes in place above this part of the result may be those of a layout that shifts.
const SUSPECT: usize = 8;

impl Image {
    /// Writes what has become of `base`: a record that is applied to it with [`Image::apply`].
    ///
    /// It can be larger than [`Image::to_record`]'s if nothing is as it was.
    ///
    /// # Errors
    /// [`SnapshotError::Base`] if `base` is not older; [`SnapshotError::TooLarge`] above [`limits::SNAPSHOT_BYTES_MAX`].
    pub fn delta_from(&self, base: &Self, seal: Option<&dyn Seal>) -> Result<Vec<u8>, SnapshotError> {
        if self.generation <= base.generation {
            return Err(SnapshotError::Base);
        }
        let (kind, patch) = patch(base.bytes(), self.bytes());
        let mut difference = Vec::with_capacity(64 + patch.len());
        difference.push(kind);
        difference.extend_from_slice(self.checksum.as_bytes());
        push(&mut difference, self.bytes.len());
        difference.extend_from_slice(&patch);
        let numbers = delta_numbers(base.generation, self.generation, self.tick, self.elapsed_us);
        write_sealed(DELTA_MAGIC, 0, &numbers, self.generation, difference.into(), seal)
    }

    /// Reads a delta's record, checks it, and makes the image that it leads to.
    ///
    /// # Errors
    /// [`SnapshotError`]: [`SnapshotError::Base`] if it leads from another generation, [`SnapshotError::Checksum`] if it was made of
    /// other bytes than these; the others as in [`Image::from_record`].
    pub fn apply(&self, record: &[u8], seal: Option<&dyn Seal>) -> Result<Self, SnapshotError> {
        if record.len() > limits::SNAPSHOT_BYTES_MAX {
            return Err(SnapshotError::TooLarge);
        }
        let DeltaHeader { base, leads_to: Header { generation, tick, elapsed_us, .. } } = DeltaHeader::check(record)?;
        if record[FLAGS] & COMPRESSED != 0 {
            return Err(SnapshotError::Unknown);
        }
        if base != self.generation && !planted::is(Bug::DeltaOnWrongBase) {
            return Err(SnapshotError::Base);
        }
        let difference = opened(record, DELTA_HEADER_BYTES, generation, seal)?;
        let (checksum, plain) = patched(self.bytes(), &difference)?;
        let image = Self::of(generation, tick, elapsed_us, plain)?;
        if image.checksum != checksum && !planted::is(Bug::DeltaOnWrongBase) {
            return Err(SnapshotError::Checksum);
        }
        Ok(image)
    }
}

/// The smaller patch, and its kind.
fn patch(base: &[u8], result: &[u8]) -> (u8, Vec<u8>) {
    let Some(changes) = Changes::between(base, result) else {
        return (MOVED, compression::squeeze_against(base, result));
    };
    if changes.size() <= result.len() / SUSPECT {
        return (IN_PLACE, changes.patch());
    }
    let moved = compression::squeeze_against(base, result);
    // Changes are mostly noise, which zstd does not make half as large.
    if moved.len() < changes.size() / 2 {
        return (MOVED, moved);
    }
    let in_place = changes.patch();
    if moved.len() < in_place.len() { (MOVED, moved) } else { (IN_PLACE, in_place) }
}

/// What a difference makes of the base, and what it says that it is.
fn patched(base: &[u8], difference: &[u8]) -> Result<(Checksum, Vec<u8>), SnapshotError> {
    let mut reader = Reader(difference);
    let kind = reader.take(1)?[0];
    let checksum = *reader.take(32)?.first_chunk().expect("as many bytes as a checksum has were taken");
    let length = reader.number()?;
    if length > limits::SNAPSHOT_BYTES_MAX {
        return Err(SnapshotError::TooLarge);
    }
    let plain = match kind {
        IN_PLACE => in_place::apply(base, length, reader.0)?,
        MOVED => compression::expand_against(base, reader.0, length)?,
        _ => return Err(SnapshotError::Body),
    };
    if plain.len() != length {
        return Err(SnapshotError::Body);
    }
    Ok((Checksum::from_bytes(checksum), plain))
}

#[cfg(test)]
mod tests {
    use super::super::image::tests::{Toy, generation, snapshot};
    use super::super::write_delta;
    use super::*;

    fn image(seq: u64, state: Vec<u8>) -> Image {
        snapshot(seq, state).to_image().unwrap()
    }

    /// Entities of 47 bytes: a number, ten random floats, what is small.
    fn entities(count: u32, random: &mut fastrand::Rng) -> Vec<u8> {
        let mut state = Vec::new();
        for number in 0..count {
            state.extend(number.to_le_bytes());
            for reach in [1000.0, 1000.0, 1000.0, 10.0, 10.0, 10.0, 1.0, 1.0, 1.0, 1.0] {
                state.extend(((random.f32() - 0.5) * reach).to_le_bytes());
            }
            state.extend([random.u8(..100), 0, random.u8(..8)]);
        }
        state
    }

    /// Changes a random part: put in, left out, replaced, cut off, or put behind.
    fn edit(state: &mut Vec<u8>, random: &mut fastrand::Rng) {
        let from = random.usize(..=state.len());
        let to = random.usize(from..=state.len().min(from + 200));
        let mut bytes = vec![0; random.usize(..200)];
        random.fill(&mut bytes);
        match random.u8(..6) {
            0 => drop(state.splice(from..from, bytes)),
            1 => drop(state.drain(from..to)),
            2 => state[from..to].iter_mut().for_each(|byte| *byte ^= 1),
            3 => state.truncate(from),
            4 => state.extend(bytes),
            _ => drop(state.splice(from..to, bytes)),
        }
    }

    #[test]
    fn whatever_becomes_of_a_state_its_delta_leads_there() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut kinds = [0; 2];
        for round in 0..600 {
            let base = image(1, entities(random.u32(..120), &mut random));
            let mut state = base.decode().unwrap().body.state;
            (0..random.u8(..8)).for_each(|_| edit(&mut state, &mut random));
            let result = image(2, state);
            let key = Toy(round);
            let seal = (round % 2 == 0).then_some(&key as &dyn Seal);
            let delta = result.delta_from(&base, seal).unwrap();
            assert!(base.apply(&delta, seal) == Ok(result.clone()), "round {round}");
            assert_eq!(delta, result.delta_from(&base, seal).unwrap());
            if seal.is_none() {
                kinds[usize::from(delta[DELTA_HEADER_BYTES])] += 1;
            }
        }
        assert!(kinds.iter().all(|&count| count > 30), "{kinds:?}");
    }

    #[test]
    fn from_nothing_to_something_and_back_is_a_delta_too() {
        let (empty, full) = (image(1, Vec::new()), image(2, vec![9; 3000]));
        assert!(empty.apply(&full.delta_from(&empty, None).unwrap(), None) == Ok(full.clone()));
        let emptied = image(3, Vec::new());
        assert!(full.apply(&emptied.delta_from(&full, None).unwrap(), None) == Ok(emptied));
    }

    /// A mebibyte of entities, `change`d: how many times smaller the delta is than the record.
    fn gain(change: impl FnOnce(&mut [u8], &mut fastrand::Rng)) -> f64 {
        let mut random = fastrand::Rng::with_seed(8);
        let state = entities((1 << 20) / 47, &mut random);
        let base = image(1, state.clone());
        let mut changed = state.clone();
        change(&mut changed, &mut random);
        let bytes = changed.iter().zip(&state).filter(|(new, old)| new != old).count();
        assert!((0.045..=0.05).contains(&(bytes as f64 / state.len() as f64)), "{bytes} bytes are changed");
        let result = image(2, changed);
        let (record, delta) = (result.to_record(None).unwrap(), result.delta_from(&base, None).unwrap());
        assert!(base.apply(&delta, None) == Ok(result));
        record.len() as f64 / delta.len() as f64
    }

    #[test]
    fn a_mebibyte_of_which_a_twentieth_changed_in_thousands_of_places_is_ten_times_smaller() {
        let gain = gain(|state, random| {
            for _ in 0..state.len() / 20 / 8 {
                let at = random.usize(..state.len() - 8);
                random.fill(&mut state[at..at + 8]);
            }
        });
        assert!(gain > 10.0, "{gain} times smaller");
    }

    #[test]
    fn a_mebibyte_of_which_a_twentieth_changed_in_blocks_is_ten_times_smaller() {
        let gain = gain(|state, random| {
            let (block, apart) = (state.len() / 20 / 16, state.len() / 16);
            (0..16).for_each(|number| random.fill(&mut state[number * apart..][..block]));
        });
        assert!(gain > 10.0, "{gain} times smaller");
    }

    #[test]
    fn entities_that_come_and_go_all_over_a_layout_are_ten_times_smaller_too() {
        let mut random = fastrand::Rng::with_seed(8);
        let mut state = entities(5000, &mut random);
        let base = image(1, state.clone());
        for number in [4000, 3000, 1500, 20] {
            state.drain(47 * number..47 * (number + 1));
            let born = entities(1, &mut random);
            drop(state.splice(47 * 700..47 * 700, born.into_iter().take(40)));
        }
        let result = image(2, state);
        let (record, delta) = (result.to_record(None).unwrap(), result.delta_from(&base, None).unwrap());
        assert_eq!(delta[DELTA_HEADER_BYTES], MOVED);
        assert!(record.len() > 10 * delta.len(), "{} and {}", record.len(), delta.len());
        assert!(base.apply(&delta, None) == Ok(result));
    }

    #[test]
    fn the_largest_states_have_deltas_that_find_everything_wherever_it_went() {
        let mut state = vec![0; limits::SNAPSHOT_BYTES_MAX - 1024];
        fastrand::Rng::with_seed(2).fill(&mut state);
        let base = image(1, state.clone());
        state.rotate_left(7_000_001);
        let result = image(2, state);
        let delta = result.delta_from(&base, None).unwrap();
        assert!(delta.len() < 20_000, "{}", delta.len());
        assert!(base.apply(&delta, None) == Ok(result));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_delta_is_noticed() {
        let (base, result) = (image(1, vec![1; 500]), image(2, [vec![1; 300], vec![2; 30], vec![1; 200]].concat()));
        for seal in [None, Some(&Toy(1) as &dyn Seal)] {
            let delta = result.delta_from(&base, seal).unwrap();
            for at in 0..delta.len() {
                for bit in 0..8 {
                    let mut flipped = delta.clone();
                    flipped[at] ^= 1 << bit;
                    assert!(base.apply(&flipped, seal).is_err(), "bit {bit} of byte {at}");
                }
                assert!(base.apply(&delta[..at], seal).is_err(), "cut at {at}");
            }
        }
    }

    /// Whoever carries a delta that is not sealed can give it a header that fits.
    fn written(difference: &[u8]) -> Vec<u8> {
        write_delta(0, generation(1), generation(2), 302, 10_000_002, difference).unwrap()
    }

    #[test]
    fn no_change_of_a_difference_leads_anywhere_else_whatever_the_header_says() {
        let mut random = fastrand::Rng::with_seed(6);
        let base = image(1, entities(60, &mut random));
        let mut state = base.decode().unwrap().body.state;
        let shifted = image(2, state[47..].iter().chain(&state[..1400]).copied().collect());
        (0..40).for_each(|place| state[place * 60] ^= 3);
        for (result, kind) in [(image(2, state), IN_PLACE), (shifted, MOVED)] {
            let delta = result.delta_from(&base, None).unwrap();
            let difference = &delta[DELTA_HEADER_BYTES..];
            assert_eq!((difference[0], written(difference) == delta), (kind, true));
            for _ in 0..20_000 {
                let mut changed = difference.to_vec();
                (0..random.usize(1..4)).for_each(|_| {
                    let at = random.usize(..changed.len());
                    changed[at] = random.u8(..);
                });
                changed.truncate(if random.bool() { changed.len() } else { random.usize(..=changed.len()) });
                let made = base.apply(&written(&changed), None);
                assert!(made.is_err() || made == Ok(result.clone()), "{changed:?}");
            }
        }
    }

    #[test]
    fn a_delta_is_refused_by_every_other_base() {
        let (base, result) = (image(1, vec![1; 500]), image(3, [vec![2; 20], vec![1; 480]].concat()));
        let delta = result.delta_from(&base, None).unwrap();
        assert_eq!(image(2, vec![1; 500]).apply(&delta, None).err(), Some(SnapshotError::Base));
        assert_eq!(image(1, vec![3; 500]).apply(&delta, None).err(), Some(SnapshotError::Checksum));
        assert_eq!(base.delta_from(&base, None).err(), Some(SnapshotError::Base));
        assert_eq!(base.delta_from(&result, None).err(), Some(SnapshotError::Base));
        assert!(base.apply(&result.to_record(None).unwrap(), None).is_err());
    }

    #[cfg(feature = "planted-bugs")]
    #[test]
    fn the_planted_bug_takes_a_delta_of_another_base_and_makes_something_else_of_it() {
        let result = image(3, [vec![2; 20], vec![1; 480]].concat());
        let delta = result.delta_from(&image(1, vec![1; 500]), None).unwrap();
        planted::plant(Some(Bug::DeltaOnWrongBase));
        let made = image(2, vec![7; 500]).apply(&delta, None);
        planted::plant(None);
        let made = made.unwrap().decode().unwrap().body.state;
        assert_eq!((made[0], made[499]), (8, 7));
    }

    #[test]
    fn a_sealed_delta_opens_with_its_own_key_and_header_only() {
        let (base, result) = (image(1, vec![1; 500]), image(2, vec![2; 500]));
        let delta = result.delta_from(&base, Some(&Toy(1))).unwrap();
        assert_eq!(base.apply(&delta, None).err(), Some(SnapshotError::Sealed));
        assert_eq!(base.apply(&delta, Some(&Toy(2))).err(), Some(SnapshotError::Key));
        let bare = result.delta_from(&base, None).unwrap();
        assert_eq!(base.apply(&bare, Some(&Toy(1))).err(), Some(SnapshotError::Key));
        // With another base in its header, in which the state is the same.
        let sealed = &delta[DELTA_HEADER_BYTES..];
        let forged = write_delta(super::super::SEALED, generation(0), generation(2), 302, 10_000_002, sealed).unwrap();
        assert_eq!(image(0, vec![1; 500]).apply(&forged, Some(&Toy(1))).err(), Some(SnapshotError::Key));
    }

    #[test]
    fn a_difference_that_unpacks_to_more_than_a_snapshot_may_hold_is_too_large() {
        let base = image(1, vec![1; 500]);
        let bomb = zstd::bulk::compress(&vec![0; limits::SNAPSHOT_BYTES_MAX + 1], 1).unwrap();
        let difference = |kind: u8, length: usize, patch: &[u8]| {
            let mut difference = vec![kind; 33];
            push(&mut difference, length);
            difference.extend_from_slice(patch);
            base.apply(&written(&difference), None).err()
        };
        let mut part = vec![0];
        push(&mut part, 2 * bomb.len() + 1);
        part.extend_from_slice(&bomb);
        assert_eq!(difference(IN_PLACE, 500, &part), Some(SnapshotError::TooLarge));
        assert_eq!(difference(MOVED, 500, &bomb), Some(SnapshotError::TooLarge));
        for kind in [IN_PLACE, MOVED] {
            assert_eq!(difference(kind, limits::SNAPSHOT_BYTES_MAX + 1, &bomb), Some(SnapshotError::TooLarge));
        }
        assert_eq!(difference(2, 500, &[]), Some(SnapshotError::Body));
        let compressed = write_delta(COMPRESSED, generation(1), generation(2), 302, 0, b"").unwrap();
        assert_eq!(base.apply(&compressed, None).err(), Some(SnapshotError::Unknown));
    }
}
