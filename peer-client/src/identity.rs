//! Who the player is over restarts: kept by the game, in a file by default.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use protocol::id::PlayerId;
use serde::{Deserialize, Serialize};

/// A player's identity: what it takes to be the same player after a restart.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The player.
    pub player: PlayerId,
    /// Opens the account once; the service gives the next one in exchange. A secret.
    pub refresh_token: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("player", &self.player).finish_non_exhaustive()
    }
}

/// Where an identity is kept. A new refresh token is saved before it is used, so a crash at any moment keeps the account.
pub trait IdentityStore: Send + Sync {
    /// Reads the identity; `None` if none was ever saved.
    ///
    /// # Errors
    /// Whatever keeps the store from being read.
    fn load(&self) -> io::Result<Option<Identity>>;

    /// Replaces the identity.
    ///
    /// # Errors
    /// Whatever keeps the store from being written. The sign-in fails with it.
    fn save(&self, identity: &Identity) -> io::Result<()>;
}

/// An identity in a file that only its user can read. Replaced as a whole, so that a crash leaves the old one or the new one.
#[derive(Debug, Clone)]
pub struct IdentityFile {
    path: PathBuf,
}

impl IdentityFile {
    /// Keeps the identity at this path. Its folder must exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl IdentityStore for IdentityFile {
    fn load(&self) -> io::Result<Option<Identity>> {
        match std::fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn save(&self, identity: &Identity) -> io::Result<()> {
        let mut name = self.path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(".new");
        let temporary = self.path.with_file_name(name);
        // A leftover of a crash may have other rights.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = create_private(&temporary)?;
        file.write_all(&serde_json::to_vec(identity)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)?;
        sync_folder_of(&self.path)
    }
}

fn create_private(path: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes the rename survive a power cut.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder)?.sync_all()
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        Ok(())
    }
}

/// Forgets at the end of the process: for tests and for players who are new each time.
#[derive(Debug, Default)]
pub(crate) struct Forgetful;

impl IdentityStore for Forgetful {
    fn load(&self) -> io::Result<Option<Identity>> {
        Ok(None)
    }

    fn save(&self, _: &Identity) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_file_is_private_is_replaced_as_a_whole_and_survives_a_leftover() {
        let folder = std::env::temp_dir().join(format!("understudy-identity-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("player.json");
        let store = IdentityFile::new(&path);
        assert_eq!(store.load().unwrap(), None);
        std::fs::write(folder.join("player.json.new"), b"half").unwrap();
        for token in ["first", "second"] {
            let identity = Identity { player: PlayerId::from_bytes([7; 16]), refresh_token: token.to_owned() };
            store.save(&identity).unwrap();
            assert_eq!(store.load().unwrap(), Some(identity));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn an_identity_does_not_show_its_secret() {
        let identity = Identity { player: PlayerId::from_bytes([7; 16]), refresh_token: "secret".to_owned() };
        assert!(!format!("{identity:?}").contains("secret"));
    }
}
