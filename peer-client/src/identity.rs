//! Who the player is over restarts: kept by the game, in a file by default.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use protocol::id::{JoinCode, LobbyId, PlayerId};
use serde::{Deserialize, Serialize};

/// A player's identity: what it takes to be the same player after a restart.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The player.
    pub player: PlayerId,
    /// Opens the account once; the service gives the next one in exchange. A secret.
    pub refresh_token: String,
    /// What takes the player's seats again after a restart: the newest [`SEATS_MAX`], the oldest first.
    #[serde(default)]
    pub seats: Vec<SavedSeat>,
    /// The secret of a seat that was asked for, while it is not known whether that was given, and where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_with: Option<String>,
}

/// Seats that are remembered.
pub const SEATS_MAX: usize = 16;

/// What takes a seat again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSeat {
    /// Where.
    pub lobby: LobbyId,
    /// The code that the lobby had then.
    pub join_code: JoinCode,
    /// Takes the seat once, and gives way to the next one then. A secret.
    pub reconnect_secret: String,
    /// What takes it after that, while the request that makes it so may have been carried out or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_secret: Option<String>,
}

impl std::fmt::Debug for SavedSeat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SavedSeat").field("lobby", &self.lobby).finish_non_exhaustive()
    }
}

impl Identity {
    /// Remembers a seat in the place of what was known of that lobby.
    pub(crate) fn keep(&mut self, seat: SavedSeat) {
        self.forget(seat.lobby);
        if self.seats.len() >= SEATS_MAX {
            self.seats.remove(0);
        }
        self.seats.push(seat);
    }

    /// Forgets the seat in a lobby.
    pub(crate) fn forget(&mut self, lobby: LobbyId) {
        self.seats.retain(|seat| seat.lobby != lobby);
    }
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
            let identity = identity(token);
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
        assert!(!format!("{:?}", identity("hush")).contains("hush"));
    }

    #[test]
    fn the_newest_seats_are_kept_one_a_lobby() {
        let mut identity = identity("token");
        for number in 0..=SEATS_MAX as u8 {
            identity.keep(seat(number));
        }
        identity.keep(seat(5));
        let numbers: Vec<_> = identity.seats.iter().map(|seat| seat.lobby.as_bytes()[0]).collect();
        assert_eq!((numbers.len(), numbers[0], numbers.last()), (SEATS_MAX, 1, Some(&5)));
        let of_old: Identity =
            serde_json::from_str(r#"{"player":"07070707070707070707070707070707","refresh_token":"token"}"#).unwrap();
        assert_eq!(of_old.seats, []);
    }

    fn seat(number: u8) -> SavedSeat {
        let (lobby, join_code) = (LobbyId::from_bytes([number; 16]), JoinCode::from_entropy(number.into()));
        SavedSeat { lobby, join_code, reconnect_secret: "hush".into(), next_secret: None }
    }

    fn identity(token: &str) -> Identity {
        let (player, refresh_token) = (PlayerId::from_bytes([7; 16]), token.to_owned());
        Identity { player, refresh_token, seats: vec![seat(0)], asked_with: Some("hush".into()) }
    }
}
