//! A snapshot as bytes: what is sent, kept, and told apart.
//!
//! ```text
//!                decode                  from_record (checks, opens, unpacks)
//!   Snapshot <──────────  Image  <───────────────────────────  USNP record
//!            ──────────>  plain  ───────────────────────────>
//!              to_image          to_record (zstd, seal)
//! ```
//!
//! The plain bytes are the body as MessagePack, and the same state always gives the same ones: they are what differences are made
//! of, and their BLAKE3 names the state itself, however it travelled. In a record they are compressed if that makes them smaller,
//! and after that sealed if the game has a key:
//!
//! ```text
//! body of a record:   plain                              no flag
//!                     zstd(plain)                        COMPRESSED
//!                     seal(plain … or zstd(plain), head) SEALED, with or without COMPRESSED
//! ```
//!
//! The *head* is the record's first bytes, up to its length. It is sealed behind the body, so that nobody without the key can give
//! a state another tick or another base, or make a difference out of a state.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::compression::Squeezer;
use super::{Body, COMPRESSED, Generation, Header, MAGIC, Snapshot, SnapshotError, checksum, read, write_sealed};
use crate::id::Checksum;
use crate::limits;

/// Hides state from whoever carries or keeps it, and proves that a member of the lobby wrote it.
///
/// A snapshot and a delta of one generation may both be sealed, and one of them twice: a nonce must not follow from the generation
/// alone.
pub trait Seal {
    /// Seals bytes for a generation. The same bytes may give other sealed ones each time.
    fn seal(&self, generation: Generation, plain: &[u8]) -> Vec<u8>;

    /// Opens what [`Seal::seal`] made. `None` if it was made with another key, for another lobby or generation, or was changed.
    fn open(&self, generation: Generation, sealed: &[u8]) -> Option<Vec<u8>>;
}

/// A whole game at a tick, its body as plain MessagePack. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    pub(super) generation: Generation,
    pub(super) tick: u64,
    pub(super) elapsed_us: u64,
    pub(super) checksum: Checksum,
    pub(super) bytes: Arc<Vec<u8>>,
}

impl fmt::Debug for Image {
    /// Without the bytes: they are the game's, and stay out of logs (P18).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, tick, checksum, .. } = self;
        write!(f, "Image({generation:?}, tick {tick}, {} bytes, {checksum:?})", self.bytes.len())
    }
}

impl Image {
    /// Names the state: at most [`limits::SNAPSHOT_BYTES_MAX`] bytes of it.
    pub(super) fn of(
        generation: Generation,
        tick: u64,
        elapsed_us: u64,
        bytes: Vec<u8>,
    ) -> Result<Self, SnapshotError> {
        if bytes.len() > limits::SNAPSHOT_BYTES_MAX {
            return Err(SnapshotError::TooLarge);
        }
        Ok(Self { generation, tick, elapsed_us, checksum: checksum(&[], &bytes), bytes: Arc::new(bytes) })
    }

    /// Where it stands.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The game's tick.
    #[must_use]
    pub const fn tick(&self) -> u64 {
        self.tick
    }

    /// The game's time in microseconds.
    #[must_use]
    pub const fn elapsed_us(&self) -> u64 {
        self.elapsed_us
    }

    /// The BLAKE3-256 of [`Image::bytes`].
    #[must_use]
    pub const fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// The body as plain MessagePack, at most [`limits::SNAPSHOT_BYTES_MAX`] bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads the body.
    ///
    /// # Errors
    /// [`SnapshotError::Body`].
    pub fn decode(&self) -> Result<Snapshot, SnapshotError> {
        let Self { generation, tick, elapsed_us, .. } = *self;
        Ok(Snapshot { generation, tick, elapsed_us, body: Body::of(&self.bytes)? })
    }

    /// Writes the record, compressed if that makes it smaller, and sealed if there is a seal.
    ///
    /// # Errors
    /// [`SnapshotError::TooLarge`] if the record would be above [`limits::SNAPSHOT_BYTES_MAX`].
    pub fn to_record(&self, seal: Option<&dyn Seal>) -> Result<Vec<u8>, SnapshotError> {
        let numbers = [self.generation.epoch.0, self.generation.seq, self.tick, self.elapsed_us];
        let (flags, body) = match Squeezer::default().squeeze(&self.bytes) {
            Some(frame) => (COMPRESSED, Cow::Owned(frame)),
            None => (0, Cow::Borrowed(self.bytes())),
        };
        write_sealed(MAGIC, flags, &numbers, self.generation, body, seal)
    }

    /// Reads a record of [`Image::to_record`] or [`Snapshot::encode`] and checks it; the body itself is not looked into.
    ///
    /// # Errors
    /// [`SnapshotError`]: [`SnapshotError::Sealed`] without the seal that it needs, [`SnapshotError::Key`] with the wrong one, or if
    /// it is not sealed and should be; [`SnapshotError::TooLarge`] if it holds more than [`limits::SNAPSHOT_BYTES_MAX`].
    pub fn from_record(record: &[u8], seal: Option<&dyn Seal>) -> Result<Self, SnapshotError> {
        let (Header { generation, tick, elapsed_us, .. }, plain) = read(record, seal)?;
        Self::of(generation, tick, elapsed_us, plain.into_owned())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{COMPRESSED, FLAGS, HEADER_BYTES, SEALED, head, write};
    use super::*;
    use crate::id::HostEpoch;
    use crate::journal::Ledger;
    use crate::objects::ObjectTable;

    /// A seal that shows what is done with seals, and hides nothing from anybody who tries.
    pub(crate) struct Toy(pub(crate) u64);

    impl Toy {
        fn stream(&self, generation: Generation, bytes: &[u8]) -> Vec<u8> {
            let key = self.0 ^ generation.seq << 8 ^ generation.epoch.0 << 40;
            let mut random = fastrand::Rng::with_seed(key);
            bytes.iter().map(|byte| byte ^ random.u8(..)).collect()
        }

        fn tag(&self, generation: Generation, plain: &[u8]) -> [u8; 32] {
            let numbers = [self.0, generation.epoch.0, generation.seq].map(u64::to_be_bytes).concat();
            *checksum(&numbers, plain).as_bytes()
        }
    }

    impl Seal for Toy {
        fn seal(&self, generation: Generation, plain: &[u8]) -> Vec<u8> {
            [&self.tag(generation, plain)[..], &self.stream(generation, plain)].concat()
        }

        fn open(&self, generation: Generation, sealed: &[u8]) -> Option<Vec<u8>> {
            let (tag, hidden) = sealed.split_first_chunk::<32>()?;
            let plain = self.stream(generation, hidden);
            (self.tag(generation, &plain) == *tag).then_some(plain)
        }
    }

    pub(crate) fn generation(seq: u64) -> Generation {
        Generation { epoch: HostEpoch(2), seq }
    }

    pub(crate) fn snapshot(seq: u64, state: Vec<u8>) -> Snapshot {
        let body = Body {
            build_id: "1.0".into(),
            scene: "arena".into(),
            seats: Vec::new(),
            objects: ObjectTable::default(),
            ledger: Ledger::default(),
            state,
            changes: Vec::new(),
        };
        Snapshot { generation: generation(seq), tick: 300 + seq, elapsed_us: 10_000_000 + seq, body }
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        fastrand::Rng::with_seed(bytes as u64).fill(&mut noise);
        noise
    }

    #[test]
    fn an_image_travels_compressed_or_not_and_sealed_or_not() {
        for (state, is_compressed) in [(vec![7; 5000], true), (noise(5000), false), (Vec::new(), false)] {
            for seal in [None, Some(&Toy(1) as &dyn Seal)] {
                let snapshot = snapshot(7, state.clone());
                let image = snapshot.to_image().unwrap();
                let record = image.to_record(seal).unwrap();
                let flags = [(is_compressed, COMPRESSED), (seal.is_some(), SEALED)];
                let flags: u8 = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum();
                assert_eq!(record[FLAGS], flags);
                let read = Image::from_record(&record, seal).unwrap();
                assert!(read == image && read.decode() == Ok(snapshot));
                assert_eq!(read.checksum(), checksum(&[], read.bytes()));
            }
        }
    }

    #[test]
    fn records_that_are_neither_compressed_nor_sealed_stay_readable_and_compressed_ones_are_read_by_everybody() {
        let snapshot = snapshot(7, vec![7; 5000]);
        let (old, image) = (snapshot.encode().unwrap(), snapshot.to_image().unwrap());
        assert!(Image::from_record(&old, None) == Ok(image.clone()));
        let record = image.to_record(None).unwrap();
        assert!(record.len() < 300 && old.len() > 5000);
        assert_eq!(Snapshot::decode(&record), Ok(snapshot));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_compressed_and_a_sealed_record_is_noticed() {
        let image = snapshot(7, b"some state ".repeat(40)).to_image().unwrap();
        for seal in [None, Some(&Toy(1) as &dyn Seal)] {
            let record = image.to_record(seal).unwrap();
            for at in 0..record.len() {
                for bit in 0..8 {
                    let mut flipped = record.clone();
                    flipped[at] ^= 1 << bit;
                    assert!(Image::from_record(&flipped, seal).is_err(), "bit {bit} of byte {at}");
                }
                assert!(Image::from_record(&record[..at], seal).is_err(), "cut at {at}");
            }
        }
    }

    #[test]
    fn a_sealed_record_opens_with_its_own_key_generation_and_header_only() {
        let image = snapshot(7, vec![7; 5000]).to_image().unwrap();
        let record = image.to_record(Some(&Toy(1))).unwrap();
        assert_eq!(Image::from_record(&record, None).err(), Some(SnapshotError::Sealed));
        assert_eq!(Snapshot::decode(&record), Err(SnapshotError::Sealed));
        assert_eq!(Image::from_record(&record, Some(&Toy(2))).err(), Some(SnapshotError::Key));
        // Whoever carries it can write headers and checksums, but not seals.
        let sealed = &record[HEADER_BYTES..];
        for (flags, numbers) in [
            (COMPRESSED | SEALED, [2, 8, 307, 10_000_007]),
            (COMPRESSED | SEALED, [2, 7, 308, 10_000_007]),
            (SEALED, [2, 7, 307, 10_000_007]),
        ] {
            let forged = write(&head(MAGIC, flags, &numbers), sealed).unwrap();
            assert_eq!(Image::from_record(&forged, Some(&Toy(1))).err(), Some(SnapshotError::Key));
        }
        let untouched = write(&head(MAGIC, COMPRESSED | SEALED, &[2, 7, 307, 10_000_007]), sealed).unwrap();
        assert!(Image::from_record(&untouched, Some(&Toy(1))) == Ok(image.clone()));
        let bare = image.to_record(None).unwrap();
        assert_eq!(Image::from_record(&bare, Some(&Toy(1))).err(), Some(SnapshotError::Key));
    }

    #[test]
    fn a_record_that_unpacks_to_more_than_a_snapshot_may_hold_is_too_large() {
        let bomb = zstd::bulk::compress(&vec![0; limits::SNAPSHOT_BYTES_MAX + 1], 1).unwrap();
        let record = write(&head(MAGIC, COMPRESSED, &[2, 7, 307, 0]), &bomb).unwrap();
        assert!(record.len() < 10_000);
        assert_eq!(Image::from_record(&record, None).err(), Some(SnapshotError::TooLarge));
        assert_eq!(Snapshot::decode(&record), Err(SnapshotError::TooLarge));
        let garbage = write(&head(MAGIC, COMPRESSED, &[2, 7, 307, 0]), b"no frame").unwrap();
        assert_eq!(Image::from_record(&garbage, None).err(), Some(SnapshotError::Body));
        let too_large = snapshot(7, vec![0; limits::SNAPSHOT_BYTES_MAX]).to_image();
        assert_eq!(too_large.err(), Some(SnapshotError::TooLarge));
    }

    #[test]
    fn the_same_state_is_the_same_record_byte_for_byte() {
        let record = || snapshot(7, b"some state ".repeat(4000)).to_image().unwrap().to_record(Some(&Toy(1))).unwrap();
        assert_eq!(record(), record());
    }
}
