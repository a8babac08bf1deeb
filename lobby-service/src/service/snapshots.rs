//! Snapshots on their way in and out. What is in memory of them is bounded, however many there are and however slow their
//! senders and readers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use protocol::id::{Checksum, LobbyId, PlayerId};
use protocol::limits;
use protocol::presence::Seat;
use protocol::snapshot::{DeltaHeader, Generation, Header, SnapshotError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Error, Service, to_the_end};
use crate::migrations::Fetch;
use crate::store::{NewDelta, NewSnapshot, SnapshotRefusal};
use crate::writer::Unsaved;

/// Bytes of all snapshots that are being received: sixteen of the largest.
const RECEIVED_BYTES_MAX: usize = 16 * limits::SNAPSHOT_BYTES_MAX;
/// Bytes of all snapshots that are being sent, each counted once, whoever reads it.
const SENT_BYTES_MAX: usize = 16 * limits::SNAPSHOT_BYTES_MAX;

/// Bytes of a snapshot and its deltas: as much room is needed to read them.
const CHAIN_BYTES_MAX: usize = 2 * limits::SNAPSHOT_BYTES_MAX;

/// Bytes that are checked without making way for others: about 0.1 ms.
const CHECKED_AT_ONCE: usize = 256 * 1024;

/// All snapshots on their way.
#[derive(Debug)]
pub(super) struct Snapshots {
    /// Seats that are uploading.
    uploading: Mutex<BTreeSet<Seat>>,
    received: Arc<Semaphore>,
    /// The one of each lobby that was read last, while somebody reads it.
    sending: Mutex<BTreeMap<LobbyId, (Header, Weak<Sent>)>>,
    sent: Arc<Semaphore>,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self {
            uploading: Mutex::default(),
            received: Arc::new(Semaphore::new(RECEIVED_BYTES_MAX)),
            sending: Mutex::default(),
            sent: Arc::new(Semaphore::new(SENT_BYTES_MAX)),
        }
    }
}

/// A snapshot that readers share.
#[derive(Debug)]
struct Sent {
    record: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Keeps a shared snapshot for as long as its bytes are read.
struct Reader(Arc<Sent>);

impl AsRef<[u8]> for Reader {
    fn as_ref(&self) -> &[u8] {
        &self.0.record
    }
}

/// The one upload of a seat. It takes room for what has come, not for what was announced: who sends slowly takes little.
#[derive(Debug)]
pub(crate) struct Upload {
    service: Arc<Service>,
    seat: Seat,
    record: BytesMut,
    room: Option<OwnedSemaphorePermit>,
}

impl Service {
    /// Begins an upload, before anything of it is received.
    ///
    /// # Errors
    /// [`Error::NotFound`] without a seat; [`Error::Busy`] while this seat is uploading already; the store's.
    pub(crate) async fn begin_upload(self: &Arc<Self>, player: PlayerId, id: LobbyId) -> Result<Upload, Error> {
        // Whether it is the host's is known by its epoch, which is in it.
        let seat = (id, self.seat_of(id, player).await?);
        if !lock(&self.snapshots.uploading).insert(seat) {
            return Err(Error::Busy);
        }
        Ok(Upload { service: Arc::clone(self), seat, record: BytesMut::new(), room: None })
    }

    /// The newest snapshot with its deltas, for a member, unless the caller knows it already. What it knows is not read.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, and for others; [`Error::Busy`] while too many are read; the store's.
    pub async fn snapshot(
        &self,
        player: PlayerId,
        id: LobbyId,
        known: impl Fn(Generation, &Checksum) -> bool,
    ) -> Result<Fetched, Error> {
        let (lobby, connection) = self.lobby_of(id, player).await?;
        let (epoch, at) = (lobby.epoch(), self.clock.now());
        let fetched = |generation, bytes| {
            self.migrations.fetched(&lobby, connection, Fetch { epoch, at, generation, bytes });
        };
        let newest = self.stored(self.store.newest_snapshot(id).await)?;
        let (generation, checksum) = newest.ok_or(Error::NotFound)?;
        if known(generation, &checksum) {
            return Ok(Fetched::Known(checksum));
        }
        if let Some((header, record)) = self.snapshots.shared(id, generation) {
            fetched(header.generation, record.len());
            return Ok(Fetched::Records(header, record));
        }
        let room = Arc::clone(&self.snapshots.sent).try_acquire_many_owned(CHAIN_BYTES_MAX as u32);
        let room = room.map_err(|_| Error::Busy)?;
        // It may be a newer one by now.
        let (header, record) = self.stored(self.store.latest_snapshot(id).await)?.ok_or(Error::NotFound)?;
        fetched(header.generation, record.len());
        Ok(Fetched::Records(header, self.snapshots.share(id, header, record, room)))
    }
}

impl Service {
    /// Stores a snapshot whose header was checked against its record, together with whatever else is to be stored at that time.
    ///
    /// # Errors
    /// Why it is refused; [`Error::Busy`] while too many wait; the store's.
    pub async fn save_snapshot(&self, snapshot: NewSnapshot) -> Result<(), Error> {
        let (bytes, began) = (snapshot.record.len(), Instant::now());
        self.ended(self.new_snapshots.save(snapshot).await)?;
        self.metrics.snapshot_stored(bytes, began.elapsed());
        Ok(())
    }

    /// The same for a delta.
    ///
    /// # Errors
    /// As [`Self::save_snapshot`].
    pub async fn save_delta(&self, delta: NewDelta) -> Result<(), Error> {
        let (bytes, began) = (delta.record.len(), Instant::now());
        // Ids are drawn at random, or hashes.
        let [.., number] = *delta.lobby.as_bytes();
        let lane = &self.new_deltas[usize::from(number) % self.new_deltas.len()];
        self.ended(lane.save(delta).await)?;
        self.metrics.delta_stored(bytes, began.elapsed());
        Ok(())
    }

    fn ended(&self, end: Result<Result<(), SnapshotRefusal>, Unsaved>) -> Result<(), Error> {
        match end {
            Ok(stored) => Ok(stored?),
            Err(Unsaved::Full) => Err(Error::Busy),
            Err(Unsaved::Store(error)) => Ok(self.stored(Err(error))?),
        }
    }
}

/// The newest snapshot.
#[derive(Debug)]
pub enum Fetched {
    /// The caller has it.
    Known(Checksum),
    /// All records, one after the other, and what the last of them says of itself.
    Records(Header, Bytes),
}

impl Snapshots {
    /// This one, or a newer one, if somebody is reading it.
    fn shared(&self, id: LobbyId, newest: Generation) -> Option<(Header, Bytes)> {
        let sending = lock(&self.sending);
        let (header, sent) = sending.get(&id).filter(|(header, _)| header.generation >= newest)?;
        Some((*header, Bytes::from_owner(Reader(sent.upgrade()?))))
    }

    fn share(&self, id: LobbyId, header: Header, record: Bytes, mut room: OwnedSemaphorePermit) -> Bytes {
        drop(room.split(CHAIN_BYTES_MAX.saturating_sub(record.len())));
        let sent = Arc::new(Sent { record, _room: room });
        let mut sending = lock(&self.sending);
        sending.retain(|_, (_, sent)| sent.strong_count() > 0);
        sending.insert(id, (header, Arc::downgrade(&sent)));
        Bytes::from_owner(Reader(sent))
    }
}

impl Upload {
    /// Takes what has come next.
    ///
    /// # Errors
    /// [`Error::Busy`] while too much is received.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let weight = u32::try_from(bytes.len()).map_err(|_| Error::Busy)?;
        let room = Arc::clone(&self.service.snapshots.received).try_acquire_many_owned(weight);
        let room = room.map_err(|_| Error::Busy)?;
        match &mut self.room {
            Some(taken) => taken.merge(room),
            None => self.room = Some(room),
        }
        self.record.extend_from_slice(bytes);
        Ok(())
    }

    /// Bytes that have come.
    pub(crate) fn len(&self) -> usize {
        self.record.len()
    }

    /// Stores what has come.
    ///
    /// # Errors
    /// Why it is refused; the store's.
    pub(crate) async fn store(mut self) -> Result<Header, Error> {
        to_the_end(async move {
            let ((lobby, connection), record) = (self.seat, self.record.split().freeze());
            let header = checked(record.clone(), Header::check).await?;
            self.service.save_snapshot(NewSnapshot { lobby, connection, header, record }).await?;
            Ok(header)
        })
        .await
    }

    /// Stores what has come as a delta. Returns what it leads to.
    ///
    /// # Errors
    /// Why it is refused; the store's.
    pub(crate) async fn store_delta(mut self) -> Result<Header, Error> {
        to_the_end(async move {
            let ((lobby, connection), record) = (self.seat, self.record.split().freeze());
            let header = checked(record.clone(), DeltaHeader::check).await?;
            self.service.save_delta(NewDelta { lobby, connection, header, record }).await?;
            Ok(header.leads_to)
        })
        .await
    }
}

/// Checks a record against its checksum: a large one takes a while, in which others go on.
async fn checked<H: Send + 'static>(
    record: Bytes,
    check: fn(&[u8]) -> Result<H, SnapshotError>,
) -> Result<H, SnapshotRefusal> {
    if record.len() < CHECKED_AT_ONCE {
        return Ok(check(&record)?);
    }
    let checked = tokio::task::spawn_blocking(move || check(&record)).await;
    Ok(checked.unwrap_or(Err(SnapshotError::Unknown))?)
}

impl Drop for Upload {
    fn drop(&mut self) {
        lock(&self.service.snapshots.uploading).remove(&self.seat);
    }
}

/// Nothing in here panics half way, so that a poisoned lock guards a whole value.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P15.
    #[test]
    fn readers_share_the_bytes_of_a_snapshot_which_count_once_until_the_last_has_read_them() {
        let snapshots = Snapshots::default();
        let id = LobbyId::from_bytes([1; 16]);
        let generation = Generation { epoch: protocol::id::HostEpoch(1), seq: 1 };
        let header = Header { generation, tick: 0, elapsed_us: 0, checksum: Checksum::from_bytes([0; 32]) };
        let room = || Arc::clone(&snapshots.sent).try_acquire_many_owned(CHAIN_BYTES_MAX as u32);
        let first = snapshots.share(id, header, Bytes::from(vec![7; 1000]), room().unwrap());
        let (_, second) = snapshots.shared(id, generation).unwrap();
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_eq!(snapshots.sent.available_permits(), SENT_BYTES_MAX - 1000);
        drop(first);
        let newer = Generation { seq: 2, ..generation };
        assert!(snapshots.shared(id, newer).is_none(), "there is a newer one");
        assert!(snapshots.shared(id, generation).is_some());
        let others: Vec<_> = (0..7).map(|_| room().unwrap()).collect();
        assert!(room().is_err(), "full");
        drop((second, others));
        assert!(snapshots.shared(id, generation).is_none());
        assert_eq!(snapshots.sent.available_permits(), SENT_BYTES_MAX);
    }
}
