//! One process a file.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::store::StoreError;
use crate::store::sql::unavailable;

/// How long a process that starts waits for its predecessor, which may still be stopping.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Time between two attempts.
const RETRY: Duration = Duration::from_millis(50);

/// The right to use the file, held until it is released or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct FileLock(File);

impl FileLock {
    /// Takes the lock of a database, which is a file of its own beside it: SQLite locks the database itself.
    pub(super) async fn beside(path: &Path) -> Result<Self, StoreError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let file = File::options().create(true).write(true).truncate(false).open(name).map_err(unavailable)?;
        let give_up_at = Instant::now() + WAIT_MAX;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < give_up_at => tokio::time::sleep(RETRY).await,
                Err(TryLockError::WouldBlock) => {
                    return Err(unavailable(format!("another lobby-service is using {}", path.display())));
                }
                Err(TryLockError::Error(error)) => return Err(unavailable(error)),
            }
        }
    }

    /// Lets the next process have the file.
    pub(super) fn release(&self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the database's lock is kept until the process ends");
        }
    }
}
