//! Snapshots: a whole game at a tick, as one checked record.
//!
//! ```text
//! 0      4     5       6       8        16      24      32           40         44           76
//! +------+-----+-------+-------+--------+-------+-------+------------+----------+------------+---------
//! | USNP | ver | flags | 0 0   | epoch  | seq   | tick  | elapsed µs | length   | BLAKE3-256 | body …
//! +------+-----+-------+-------+--------+-------+-------+------------+----------+------------+---------
//! ```
//!
//! Integers are big-endian. The checksum covers everything before it and the body, so it names the whole record. The body is
//! MessagePack with named fields ([`Snapshot`]'s, but for those in the header), readable from any language; compressed with zstd if
//! bit 0 of the flags is set, and after that sealed if bit 1 is. The service looks at the header alone; an [`Image`] is what its
//! peers make records of and read them into (`image.rs` says what is in a body, compressed and sealed).
//!
//! A *delta* is a record too: what has become of a snapshot, or of the delta before it.
//!
//! ```text
//! 0      4     5       6     8       16    24           32         40     48           56       60           92
//! +------+-----+-------+-----+-------+-----+------------+----------+------+------------+--------+------------+-----------
//! | USND | ver | flags | 0 0 | epoch | seq | base epoch | base seq | tick | elapsed µs | length | BLAKE3-256 | difference …
//! +------+-----+-------+-----+-------+-----+------------+----------+------+------------+--------+------------+-----------
//! ```
//!
//! Its checksum names the record, as that of a snapshot does; that of the state which it leads to is in the difference, and so is
//! sealed with it (`delta.rs`). A delta is never *compressed*: the difference says of its own parts what they are.

mod compression;
mod delta;
mod image;
mod in_place;
mod varint;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::id::{Checksum, ConnectionId, HostEpoch, PlayerId};
use crate::journal::Ledger;
use crate::limits;
use crate::objects::ObjectTable;
use compression::Expander;

pub use image::{Image, Seal};

/// Bytes of a snapshot's header.
pub const HEADER_BYTES: usize = 76;
/// Bytes of a delta's header.
pub const DELTA_HEADER_BYTES: usize = 92;
const CHECKSUM_BYTES: usize = 32;
const LENGTH_BYTES: usize = 4;
/// Where the flags are.
const FLAGS: usize = 5;
const MAGIC: [u8; 4] = *b"USNP";
const DELTA_MAGIC: [u8; 4] = *b"USND";
const VERSION: u8 = 1;
/// The body is compressed with zstd.
pub const COMPRESSED: u8 = 1;
/// The body is sealed with a key of the game.
pub const SEALED: u8 = 2;

/// Where a snapshot stands among those of its lobby: by epoch, then by number. A newer one replaces an older one, never the
/// other way round (P5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Generation {
    /// The epoch of the host that saved it.
    pub epoch: HostEpoch,
    /// Its number in that epoch, from 0.
    pub seq: u64,
}

/// What a record says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Header {
    /// Where it stands.
    pub generation: Generation,
    /// The game's tick.
    pub tick: u64,
    /// The game's time in microseconds.
    pub elapsed_us: u64,
    /// Over header and body.
    pub checksum: Checksum,
}

/// A seat as it stands in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The connection id.
    pub connection: ConnectionId,
    /// Whose it is.
    pub player: PlayerId,
    /// It was in the game, and so is in its state.
    pub played: bool,
    /// What only the host keeps of it. At most [`limits::SEAT_DATA_BYTES_MAX`] bytes.
    #[serde(with = "serde_bytes")]
    pub host_data: Vec<u8>,
}

/// A complete game at a tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Where it stands.
    pub generation: Generation,
    /// The game's tick.
    pub tick: u64,
    /// The game's time in microseconds. The pause of a migration is not counted.
    pub elapsed_us: u64,
    /// The rest.
    pub body: Body,
}

/// What the service does not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// The build that can read `state`.
    pub build_id: String,
    /// The scene that is loaded.
    pub scene: String,
    /// All seats, in the order of their connection ids.
    pub seats: Vec<Seat>,
    /// Who owns what.
    pub objects: ObjectTable,
    /// Where the reliable messages are.
    #[serde(default)]
    pub ledger: Ledger,
    /// The game's own bytes.
    #[serde(with = "serde_bytes")]
    pub state: Vec<u8>,
    /// What has become of `state` since, in the game's own form: to be applied to it one after the other.
    #[serde(default)]
    pub changes: Vec<serde_bytes::ByteBuf>,
}

/// Why bytes are not a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Shorter than its header, or than its header says.
    #[error("the snapshot is cut short")]
    Truncated,
    /// Larger than allowed, or than its header says.
    #[error("the snapshot is larger than allowed")]
    TooLarge,
    /// Not a snapshot, or of a version that this build does not read.
    #[error("these bytes are not a snapshot of a known version")]
    Unknown,
    /// The bytes changed on the way.
    #[error("the snapshot's checksum does not match its bytes")]
    Checksum,
    /// The body cannot be read.
    #[error("the snapshot's body cannot be read")]
    Body,
    /// Sealed, and there is no key.
    #[error("the snapshot is sealed with a key that is not here")]
    Sealed,
    /// Sealed with another key, for another lobby or generation, with another header; or not sealed where there is a key.
    #[error("the snapshot is not sealed with the lobby's key")]
    Key,
    /// A delta that leads from another snapshot than the one at hand.
    #[error("the delta leads from another snapshot")]
    Base,
}

/// What a delta says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DeltaHeader {
    /// What it leads from: a snapshot, or a delta.
    pub base: Generation,
    /// What it leads to.
    #[serde(flatten)]
    pub leads_to: Header,
}

impl Header {
    /// Reads a snapshot's header and checks the whole record against it: length and checksum.
    ///
    /// # Errors
    /// [`SnapshotError`]; [`SnapshotError::Body`] excepted, since the body is not looked into.
    pub fn check(record: &[u8]) -> Result<Self, SnapshotError> {
        let mut fields = Fields::check(record, MAGIC, HEADER_BYTES)?;
        let generation = fields.generation();
        Ok(fields.finish(generation))
    }

    /// How many bytes a snapshot's record has, if it begins here: records follow each other in a chain.
    ///
    /// # Errors
    /// [`SnapshotError::Truncated`], [`SnapshotError::Unknown`].
    pub fn record_bytes(record: &[u8]) -> Result<usize, SnapshotError> {
        record_bytes(record, MAGIC, HEADER_BYTES)
    }
}

impl DeltaHeader {
    /// Reads a delta's header and checks the whole record against it: length, checksum, and that it leads to something newer.
    ///
    /// # Errors
    /// [`SnapshotError`]; [`SnapshotError::Body`] excepted, since the difference is not looked into.
    pub fn check(record: &[u8]) -> Result<Self, SnapshotError> {
        let mut fields = Fields::check(record, DELTA_MAGIC, DELTA_HEADER_BYTES)?;
        let (generation, base) = (fields.generation(), fields.generation());
        if generation <= base {
            return Err(SnapshotError::Unknown);
        }
        Ok(Self { base, leads_to: fields.finish(generation) })
    }

    /// How many bytes a delta's record has, if it begins here.
    ///
    /// # Errors
    /// [`SnapshotError::Truncated`], [`SnapshotError::Unknown`].
    pub fn record_bytes(record: &[u8]) -> Result<usize, SnapshotError> {
        record_bytes(record, DELTA_MAGIC, DELTA_HEADER_BYTES)
    }
}

/// The numbers of a header whose record has been checked, from the front.
struct Fields<'a> {
    numbers: &'a [u8],
    checksum: Checksum,
}

impl<'a> Fields<'a> {
    fn check(record: &'a [u8], magic: [u8; 4], header_bytes: usize) -> Result<Self, SnapshotError> {
        match record.len().cmp(&record_bytes(record, magic, header_bytes)?) {
            std::cmp::Ordering::Less => return Err(SnapshotError::Truncated),
            std::cmp::Ordering::Greater => return Err(SnapshotError::TooLarge),
            std::cmp::Ordering::Equal => {}
        }
        let (header, body) = record.split_at(header_bytes);
        let (checked, claimed) = header.split_at(header_bytes - CHECKSUM_BYTES);
        let checksum = checksum(checked, body);
        if claimed != checksum.as_bytes() {
            return Err(SnapshotError::Checksum);
        }
        Ok(Self { numbers: &checked[8..], checksum })
    }

    fn number(&mut self) -> u64 {
        let (number, rest) = self.numbers.split_first_chunk().expect("a header has as many numbers as are read");
        self.numbers = rest;
        u64::from_be_bytes(*number)
    }

    fn generation(&mut self) -> Generation {
        Generation { epoch: HostEpoch(self.number()), seq: self.number() }
    }

    fn finish(mut self, generation: Generation) -> Header {
        Header { generation, tick: self.number(), elapsed_us: self.number(), checksum: self.checksum }
    }
}

/// The length of a record, by its header.
fn record_bytes(record: &[u8], magic: [u8; 4], header_bytes: usize) -> Result<usize, SnapshotError> {
    let header = record.get(..header_bytes).ok_or(SnapshotError::Truncated)?;
    if header[..4] != magic
        || header[4] != VERSION
        || header[FLAGS] & !(COMPRESSED | SEALED) != 0
        || header[6..8] != [0; 2]
    {
        return Err(SnapshotError::Unknown);
    }
    let length = header[..header_bytes - CHECKSUM_BYTES].last_chunk().expect("a header is longer than a length");
    Ok(header_bytes + u32::from_be_bytes(*length) as usize)
}

/// The first bytes of a record: what it is, and its numbers.
fn head(magic: [u8; 4], flags: u8, numbers: &[u64]) -> Vec<u8> {
    let mut head = Vec::with_capacity(DELTA_HEADER_BYTES);
    head.extend_from_slice(&magic);
    head.extend_from_slice(&[VERSION, flags, 0, 0]);
    numbers.iter().for_each(|number| head.extend_from_slice(&number.to_be_bytes()));
    head
}

/// Writes a record: its head, and what it holds.
fn write(head: &[u8], body: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    let bytes = head.len() + LENGTH_BYTES + CHECKSUM_BYTES + body.len();
    if bytes > limits::SNAPSHOT_BYTES_MAX {
        return Err(SnapshotError::TooLarge);
    }
    let length = u32::try_from(body.len()).map_err(|_| SnapshotError::TooLarge)?;
    let mut record = Vec::with_capacity(bytes);
    record.extend_from_slice(head);
    record.extend_from_slice(&length.to_be_bytes());
    let checksum = checksum(&record, body);
    record.extend_from_slice(checksum.as_bytes());
    record.extend_from_slice(body);
    Ok(record)
}

/// Writes a record whose body is sealed, if there is a seal, and its head with it.
fn write_sealed(
    magic: [u8; 4],
    flags: u8,
    numbers: &[u64],
    generation: Generation,
    body: Cow<[u8]>,
    seal: Option<&dyn Seal>,
) -> Result<Vec<u8>, SnapshotError> {
    let Some(seal) = seal else { return write(&head(magic, flags, numbers), &body) };
    let head = head(magic, flags | SEALED, numbers);
    let mut plain = body.into_owned();
    plain.extend_from_slice(&head);
    write(&head, &seal.seal(generation, &plain))
}

/// What a record holds that has been checked, its seal opened.
fn opened<'a>(
    record: &'a [u8],
    header_bytes: usize,
    generation: Generation,
    seal: Option<&dyn Seal>,
) -> Result<Cow<'a, [u8]>, SnapshotError> {
    let (header, body) = record.split_at(header_bytes);
    match (seal, header[FLAGS] & SEALED != 0) {
        (None, false) => Ok(Cow::Borrowed(body)),
        (None, true) => Err(SnapshotError::Sealed),
        // Whoever could take the seal away could write anything in its place.
        (Some(_), false) => Err(SnapshotError::Key),
        (Some(seal), true) => {
            let head = &header[..header_bytes - CHECKSUM_BYTES - LENGTH_BYTES];
            let mut plain = seal.open(generation, body).ok_or(SnapshotError::Key)?;
            let body_bytes = plain.strip_suffix(head).ok_or(SnapshotError::Key)?.len();
            plain.truncate(body_bytes);
            Ok(Cow::Owned(plain))
        }
    }
}

/// Writes a delta's record around a difference.
///
/// # Errors
/// [`SnapshotError::TooLarge`] above [`limits::SNAPSHOT_BYTES_MAX`].
pub fn write_delta(
    flags: u8,
    base: Generation,
    generation: Generation,
    tick: u64,
    elapsed_us: u64,
    difference: &[u8],
) -> Result<Vec<u8>, SnapshotError> {
    write(&head(DELTA_MAGIC, flags, &delta_numbers(base, generation, tick, elapsed_us)), difference)
}

/// The numbers of a delta's header.
const fn delta_numbers(base: Generation, generation: Generation, tick: u64, elapsed_us: u64) -> [u64; 6] {
    [generation.epoch.0, generation.seq, base.epoch.0, base.seq, tick, elapsed_us]
}

fn checksum(head: &[u8], body: &[u8]) -> Checksum {
    let mut hasher = blake3::Hasher::new();
    hasher.update(head).update(body);
    Checksum::from_bytes(*hasher.finalize().as_bytes())
}

/// Checks a record: its header, and its body, open and unpacked.
fn read<'a>(record: &'a [u8], seal: Option<&dyn Seal>) -> Result<(Header, Cow<'a, [u8]>), SnapshotError> {
    if record.len() > limits::SNAPSHOT_BYTES_MAX {
        return Err(SnapshotError::TooLarge);
    }
    let header = Header::check(record)?;
    let body = opened(record, HEADER_BYTES, header.generation, seal)?;
    if record[FLAGS] & COMPRESSED == 0 {
        return Ok((header, body));
    }
    Ok((header, Cow::Owned(Expander::default().expand(&body, limits::SNAPSHOT_BYTES_MAX)?)))
}

impl Snapshot {
    /// Writes the record, neither compressed nor sealed: [`Image::to_record`] can do both.
    ///
    /// # Errors
    /// [`SnapshotError::TooLarge`] above [`limits::SNAPSHOT_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        let numbers = [self.generation.epoch.0, self.generation.seq, self.tick, self.elapsed_us];
        write(&head(MAGIC, 0, &numbers), &self.body.plain()?)
    }

    /// Reads a record, compressed or not, and checks it.
    ///
    /// # Errors
    /// [`SnapshotError`]; [`SnapshotError::Sealed`] if it is, since there is no key here.
    pub fn decode(record: &[u8]) -> Result<Self, SnapshotError> {
        let (Header { generation, tick, elapsed_us, .. }, plain) = read(record, None)?;
        Ok(Self { generation, tick, elapsed_us, body: Body::of(&plain)? })
    }

    /// The snapshot as bytes, to be sent, kept and compared.
    ///
    /// # Errors
    /// [`SnapshotError::TooLarge`] above [`limits::SNAPSHOT_BYTES_MAX`].
    pub fn to_image(&self) -> Result<Image, SnapshotError> {
        Image::of(self.generation, self.tick, self.elapsed_us, self.body.plain()?)
    }
}

impl Body {
    fn plain(&self) -> Result<Vec<u8>, SnapshotError> {
        let mut plain = Vec::with_capacity(self.state.len() + 1024);
        rmp_serde::encode::write_named(&mut plain, self).map_err(|_| SnapshotError::Body)?;
        Ok(plain)
    }

    fn of(plain: &[u8]) -> Result<Self, SnapshotError> {
        rmp_serde::from_slice(plain).map_err(|_| SnapshotError::Body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ObjectId;

    fn snapshot() -> Snapshot {
        let mut objects = ObjectTable::default();
        objects.place(ObjectId(5), Some(ConnectionId(1)), b"crate".to_vec()).unwrap();
        let seat = Seat {
            connection: ConnectionId(1),
            player: PlayerId::from_bytes([3; 16]),
            played: true,
            host_data: vec![9],
        };
        Snapshot {
            generation: Generation { epoch: HostEpoch(2), seq: 7 },
            tick: 300,
            elapsed_us: 10_000_000,
            body: Body {
                build_id: "1.0".into(),
                scene: "arena".into(),
                seats: vec![seat],
                objects,
                ledger: Ledger::default(),
                state: vec![1, 2, 3],
                changes: Vec::new(),
            },
        }
    }

    #[test]
    fn a_snapshot_reads_back_as_it_was_written() {
        let record = snapshot().encode().unwrap();
        assert_eq!(Snapshot::decode(&record), Ok(snapshot()));
        assert_eq!(Header::check(&record).unwrap().generation, snapshot().generation);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let record = snapshot().encode().unwrap();
        for at in 0..record.len() {
            let mut flipped = record.clone();
            flipped[at] ^= 0x10;
            assert!(Snapshot::decode(&flipped).is_err(), "byte {at}");
            assert!(Snapshot::decode(&record[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_delta_is_noticed_and_one_that_leads_backwards_is_none() {
        let generation = |seq| Generation { epoch: HostEpoch(2), seq };
        let record = write_delta(0, generation(7), generation(8), 301, 10_033_333, b"difference").unwrap();
        let header = DeltaHeader::check(&record).unwrap();
        assert_eq!(
            (header.base, header.leads_to.generation, header.leads_to.tick),
            (generation(7), generation(8), 301)
        );
        assert_eq!(DeltaHeader::record_bytes(&record), Ok(record.len()));
        for at in 0..record.len() {
            let mut flipped = record.clone();
            flipped[at] ^= 0x10;
            assert!(DeltaHeader::check(&flipped).is_err(), "byte {at}");
            assert!(DeltaHeader::check(&record[..at]).is_err(), "cut at {at}");
        }
        let backwards = write_delta(0, generation(8), generation(8), 301, 0, b"").unwrap();
        assert_eq!(DeltaHeader::check(&backwards), Err(SnapshotError::Unknown));
        assert!(Header::check(&record).is_err());
    }

    #[test]
    fn a_generation_of_a_newer_epoch_is_newer_whatever_its_number() {
        let old = Generation { epoch: HostEpoch(1), seq: 900 };
        assert!(old < Generation { epoch: HostEpoch(2), seq: 0 });
    }
}
