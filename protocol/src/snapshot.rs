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
//! MessagePack with named fields ([`Snapshot`]'s, but for those in the header), readable from any language. The service looks at
//! the header alone.

use serde::{Deserialize, Serialize};

use crate::id::{Checksum, ConnectionId, HostEpoch, PlayerId};
use crate::limits;
use crate::objects::ObjectTable;

/// Bytes of a snapshot's header.
pub const HEADER_BYTES: usize = 76;
const CHECKED_BYTES: usize = 44;
const MAGIC: [u8; 4] = *b"USNP";
const VERSION: u8 = 1;

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
    /// The game's own bytes.
    #[serde(with = "serde_bytes")]
    pub state: Vec<u8>,
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
}

impl Header {
    /// Reads a record's header and checks the whole record against it: length and checksum.
    ///
    /// # Errors
    /// [`SnapshotError`]; [`SnapshotError::Body`] excepted, since the body is not looked into.
    pub fn check(record: &[u8]) -> Result<Self, SnapshotError> {
        let header = record.first_chunk::<HEADER_BYTES>().ok_or(SnapshotError::Truncated)?;
        if header[..4] != MAGIC || header[4] != VERSION || header[5..8] != [0; 3] {
            return Err(SnapshotError::Unknown);
        }
        let number = |at: usize| -> u64 {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[at..at + 8]);
            u64::from_be_bytes(bytes)
        };
        let length = u32::from_be_bytes([header[40], header[41], header[42], header[43]]) as usize;
        match (record.len() - HEADER_BYTES).cmp(&length) {
            std::cmp::Ordering::Less => return Err(SnapshotError::Truncated),
            std::cmp::Ordering::Greater => return Err(SnapshotError::TooLarge),
            std::cmp::Ordering::Equal => {}
        }
        let checksum = checksum(&record[..CHECKED_BYTES], &record[HEADER_BYTES..]);
        if header[CHECKED_BYTES..] != *checksum.as_bytes() {
            return Err(SnapshotError::Checksum);
        }
        let generation = Generation { epoch: HostEpoch(number(8)), seq: number(16) };
        Ok(Self { generation, tick: number(24), elapsed_us: number(32), checksum })
    }
}

fn checksum(head: &[u8], body: &[u8]) -> Checksum {
    let mut hasher = blake3::Hasher::new();
    hasher.update(head).update(body);
    Checksum::from_bytes(*hasher.finalize().as_bytes())
}

impl Snapshot {
    /// Writes the record.
    ///
    /// # Errors
    /// [`SnapshotError::TooLarge`] above [`limits::SNAPSHOT_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        let body = rmp_serde::to_vec_named(&self.body).map_err(|_| SnapshotError::Body)?;
        if HEADER_BYTES + body.len() > limits::SNAPSHOT_BYTES_MAX {
            return Err(SnapshotError::TooLarge);
        }
        let length = u32::try_from(body.len()).map_err(|_| SnapshotError::TooLarge)?;
        let mut record = Vec::with_capacity(HEADER_BYTES + body.len());
        record.extend_from_slice(&MAGIC);
        record.extend_from_slice(&[VERSION, 0, 0, 0]);
        for number in [self.generation.epoch.0, self.generation.seq, self.tick, self.elapsed_us] {
            record.extend_from_slice(&number.to_be_bytes());
        }
        record.extend_from_slice(&length.to_be_bytes());
        let checksum = checksum(&record, &body);
        record.extend_from_slice(checksum.as_bytes());
        record.extend_from_slice(&body);
        Ok(record)
    }

    /// Reads a record and checks it.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn decode(record: &[u8]) -> Result<Self, SnapshotError> {
        if record.len() > limits::SNAPSHOT_BYTES_MAX {
            return Err(SnapshotError::TooLarge);
        }
        let Header { generation, tick, elapsed_us, .. } = Header::check(record)?;
        let body = rmp_serde::from_slice(&record[HEADER_BYTES..]).map_err(|_| SnapshotError::Body)?;
        Ok(Self { generation, tick, elapsed_us, body })
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
                state: vec![1, 2, 3],
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
    fn a_generation_of_a_newer_epoch_is_newer_whatever_its_number() {
        let old = Generation { epoch: HostEpoch(1), seq: 900 };
        assert!(old < Generation { epoch: HostEpoch(2), seq: 0 });
    }
}
