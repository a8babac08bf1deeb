//! The service's signing keys, and which of them signs when: keys follow each other without a restart.
//!
//! `PATH` is the first key, `PATH.1` the one that follows it, and so on. A new one is published at once, signs once every instance and
//! every relay has had time to learn of it, and the one before is retired once no token of it can be valid any more.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::limits;
use protocol::time::Timestamp;
use serde_json::{Value, json};

use super::key::SigningKey;
use super::private_file::{KeyError, in_file, read_private, write_private};

/// Keys that are used; of more files only the newest count. As many as a relay takes.
const KEYS_MAX: usize = 16;
/// For how long a key verifies after the next one has begun to sign.
const RETIRED_AFTER: Duration = Duration::from_secs(3600);
const _: () = assert!(RETIRED_AFTER.as_secs() > limits::ACCESS_TOKEN_LIFE.as_secs(), "no token outlives its key");
const _: () = assert!(RETIRED_AFTER.as_secs() > limits::RELAY_TOKEN_LIFE.as_secs(), "no token outlives its key");

#[derive(Debug)]
struct Held {
    key: SigningKey,
    /// From when on it may sign.
    active_at: Timestamp,
    /// From when on it verifies nothing any more.
    retires_at: Option<Timestamp>,
}

/// The keys, oldest first. There is at least one.
#[derive(Debug)]
pub(super) struct Ring(Vec<Held>);

impl Ring {
    /// One key, which is in no file.
    pub(super) fn ephemeral() -> Result<Self, KeyError> {
        let key = SigningKey::read(&SigningKey::generate()?, Path::new("memory"))?;
        Ok(Self(vec![Held { key, active_at: Timestamp(0), retires_at: None }]))
    }

    /// Reads the key files; makes the first one if there is none.
    pub(super) fn open(path: &Path, activation: Duration) -> Result<Self, KeyError> {
        if key_files(path)?.is_empty() {
            write_private(path, &SigningKey::generate()?)?;
        }
        Self::read(path, activation)
    }

    /// Reads the key files. The oldest signs at once: there is nobody else.
    pub(super) fn read(path: &Path, activation: Duration) -> Result<Self, KeyError> {
        let mut files = key_files(path)?;
        files.drain(..files.len().saturating_sub(KEYS_MAX));
        let mut held: Vec<Held> = Vec::new();
        for (_, file) in files {
            let (pkcs8, written_at) = read_private(&file)?;
            let key = SigningKey::read(&pkcs8, &file)?;
            let mut active_at = Timestamp(0);
            if let Some(before) = held.last_mut() {
                active_at = written_at.after(activation);
                before.retires_at = Some(active_at.after(RETIRED_AFTER));
            }
            held.push(Held { key, active_at, retires_at: None });
        }
        if held.is_empty() {
            return Err(in_file(path)(std::io::ErrorKind::NotFound.into()));
        }
        Ok(Self(held))
    }

    /// The key that signs now: the newest of those that may.
    pub(super) fn signing(&self, now: Timestamp) -> &SigningKey {
        let active = self.0.iter().rfind(|held| held.active_at <= now).or(self.0.first());
        &active.expect("a ring has a key").key
    }

    /// The key of this name, if its tokens are valid now.
    pub(super) fn verifying(&self, kid: &str, now: Timestamp) -> Option<&SigningKey> {
        self.current(now).find(|key| key.kid == kid)
    }

    /// The public keys (RFC 7517).
    pub(super) fn jwks(&self, now: Timestamp) -> Value {
        json!({"keys": self.current(now).map(SigningKey::public).collect::<Vec<_>>()})
    }

    fn current(&self, now: Timestamp) -> impl Iterator<Item = &SigningKey> {
        self.0.iter().filter(move |held| held.retires_at.is_none_or(|at| now < at)).map(|held| &held.key)
    }
}

/// Makes the key that follows the ones at this path, or the first. Returns its file.
///
/// # Errors
/// [`KeyError`].
pub fn add_key(path: &Path) -> Result<PathBuf, KeyError> {
    let next = key_files(path)?.last().map_or(0, |(number, _)| number + 1);
    let mut name = path.as_os_str().to_owned();
    if next > 0 {
        name.push(format!(".{next}"));
    }
    let file = PathBuf::from(name);
    write_private(&file, &SigningKey::generate()?)?;
    Ok(file)
}

/// The key files by their numbers.
fn key_files(path: &Path) -> Result<Vec<(u64, PathBuf)>, KeyError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let first = path.file_name().unwrap_or_default();
    let mut files = Vec::new();
    for entry in folder.read_dir().map_err(in_file(path))? {
        let name = entry.map_err(in_file(path))?.file_name();
        if let Some(number) = number(first, &name) {
            files.push((number, folder.join(name)));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Which key a file holds: 0 for the first, N for the one whose name ends in `.N`.
fn number(first: &OsStr, name: &OsStr) -> Option<u64> {
    if name == first {
        return Some(0);
    }
    let digits = name.to_str()?.strip_prefix(first.to_str()?)?.strip_prefix('.')?;
    // Six digits, so that the names of files that are being written are none of them.
    let number: u64 = digits.parse().ok().filter(|number| (1..1_000_000).contains(number))?;
    (number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::tests::Folder;
    use crate::clock::wall;

    const DELAY: Duration = Duration::from_secs(60);

    fn kids(ring: &Ring, now: Timestamp) -> Vec<&str> {
        ring.current(now).map(|key| &*key.kid).collect()
    }

    #[test]
    fn a_new_key_is_published_at_once_signs_after_the_delay_and_retires_the_one_before_an_hour_later() {
        let folder = Folder::new();
        let path = folder.file("key.der");
        let first = Ring::open(&path, DELAY).unwrap().signing(wall()).kid.clone();
        let second_file = add_key(&path).unwrap();
        assert_eq!(second_file, folder.file("key.der.1"));
        let now = wall();
        let ring = Ring::open(&path, DELAY).unwrap();
        let second = ring.0[1].key.kid.clone();
        assert_eq!(ring.jwks(now)["keys"].as_array().unwrap().len(), 2);
        let soon = now.after(DELAY / 2);
        let active = now.after(DELAY);
        let retired = active.after(RETIRED_AFTER);
        assert_eq!((&ring.signing(soon).kid, kids(&ring, soon)), (&first, vec![&*first, &*second]));
        assert_eq!((&ring.signing(active).kid, kids(&ring, active)), (&second, vec![&*first, &*second]));
        assert!(ring.verifying(&first, active).is_some());
        assert_eq!((&ring.signing(retired).kid, kids(&ring, retired)), (&second, vec![&*second]));
        assert!(ring.verifying(&first, retired).is_none());
        std::fs::remove_file(&path).unwrap();
        let ring = Ring::open(&path, DELAY).unwrap();
        assert_eq!(ring.signing(now).kid, second, "the only one signs at once");
        assert_eq!(
            add_key(&path).unwrap(),
            folder.file("key.der.2"),
            "no number is used again while a later one is there"
        );
    }

    #[test]
    fn only_files_with_plain_numbers_are_keys_and_the_newest_count() {
        let folder = Folder::new();
        let path = folder.file("key.der");
        for name in ["key.der.0", "key.der.01", "key.der.x", "key.der.1234567890123456", "key.der.1.bak", "other.1"] {
            std::fs::write(folder.file(name), "no key").unwrap();
        }
        let first = Ring::open(&path, DELAY).unwrap().signing(wall()).kid.clone();
        for _ in 0..KEYS_MAX {
            add_key(&path).unwrap();
        }
        let ring = Ring::open(&path, DELAY).unwrap();
        assert_eq!(ring.0.len(), KEYS_MAX);
        assert!(ring.verifying(&first, wall()).is_none());
        std::fs::write(folder.file("key.der.99"), "no key").unwrap();
        assert!(matches!(Ring::read(&path, DELAY), Err(KeyError::Exposed { .. } | KeyError::Unreadable { .. })));
    }
}
