//! The admin token: what operators show to the admin listener.

use std::path::Path;

use super::private_file::{KeyError, read_private, write_private};
use super::random;

/// Fewer characters than this can be guessed.
const CHARS_MIN: usize = 32;

/// The admin token, known by its hash alone.
pub struct AdminToken(blake3::Hash);

impl std::fmt::Debug for AdminToken {
    /// Without the hash (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken")
    }
}

impl AdminToken {
    /// Reads the token from its file. If that is not there it is made, with 256 random bits in hexadecimal, and logged is where.
    ///
    /// # Errors
    /// [`KeyError`], also for one that is too short to be a secret.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        if !path.try_exists().map_err(super::private_file::in_file(path))? {
            write_private(path, format!("{}\n", super::hex(&random::<32>())).as_bytes())?;
            tracing::info!(file = %path.display(), "an admin token was made");
        }
        let (bytes, _) = read_private(path)?;
        let token = bytes.trim_ascii();
        if token.len() < CHARS_MIN {
            return Err(KeyError::Unreadable { path: path.to_owned(), expected: "token of 32 characters or more" });
        }
        Ok(Self(blake3::hash(token)))
    }

    /// Whether this is the token. Hashes are compared, in a time that tells nothing.
    #[must_use]
    pub fn is(&self, presented: &str) -> bool {
        blake3::hash(presented.as_bytes()) == self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::tests::Folder;

    #[test]
    fn it_is_made_once_and_nothing_else_opens() {
        let folder = Folder::new();
        let path = folder.file("admin-token");
        let token = AdminToken::open(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.trim().len(), 64);
        assert!(token.is(text.trim()) && AdminToken::open(&path).unwrap().is(text.trim()));
        assert!(!token.is("") && !token.is(&text) && !token.is(&text[..63]));
        assert!(!format!("{token:?}").contains(&text[..8]));
    }

    #[test]
    #[cfg(unix)]
    fn a_short_one_is_refused() {
        let folder = Folder::new();
        let path = folder.file("admin-token");
        write_private(&path, b"admin\n").unwrap();
        assert!(matches!(AdminToken::open(&path), Err(KeyError::Unreadable { .. })));
    }
}
