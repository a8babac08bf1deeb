//! Files that only their owner may read: keys and tokens.

use std::fs::{File, OpenOptions, hard_link, remove_file};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use protocol::time::Timestamp;

use super::random;

/// Bytes of such a file; a PKCS#8 Ed25519 key has 83.
const BYTES_MAX: u64 = 4096;

/// Why there is no key or token.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file cannot be made or read.
    #[error("{} cannot be used", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read it: it may be known to them.
    #[error("{} can be read by others; its mode must be 0600", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
    },
    /// It is not what it should be.
    #[error("{} holds no {expected}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The cryptography refused to make or to use a key.
    #[error("no key can be made")]
    Cryptography,
}

/// Turns an error of the system into one that names the file.
pub(super) fn in_file(path: &Path) -> impl Fn(io::Error) -> KeyError {
    move |source| KeyError::File { path: path.to_owned(), source }
}

/// Makes a file that only its owner can read. It has its name once it is whole: a crash leaves no half of it. If somebody else
/// was faster, theirs stays.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    write_whole(path, bytes).map_err(in_file(path))
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}", u64::from_be_bytes(random())));
    let temporary = Path::new(&name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(temporary)?;
    let linked = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| hard_link(temporary, path));
    remove_file(temporary)?;
    linked.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
}

/// Reads such a file. Returns what is in it, and when that was written.
pub(super) fn read_private(path: &Path) -> Result<(Vec<u8>, Timestamp), KeyError> {
    let file = File::open(path).map_err(in_file(path))?;
    let metadata = file.metadata().map_err(in_file(path))?;
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned() });
    }
    let written = metadata.modified().map_err(in_file(path))?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(in_file(path))?;
    Ok((bytes, Timestamp(0).after(written)))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::auth::tests::Folder;

    #[test]
    fn it_is_private_whole_and_of_whoever_was_first_and_one_that_others_can_read_is_refused() {
        let folder = Folder::new();
        let path = folder.file("secret");
        write_private(&path, b"first").unwrap();
        write_private(&path, b"second").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_private(&path).unwrap().0, b"first");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read_private(&path), Err(KeyError::Exposed { .. })));
    }
}
