//! Sealing snapshots with a key that only the game has, so that the lobby service stores what it cannot read.
//!
//! ```text
//! 0          32                     length - 16
//! +----------+----------------------+-----------+
//! | salt     | ciphertext …         | tag       |
//! +----------+----------------------+-----------+
//! ```
//!
//! The key of a record is HKDF-SHA256 of the game's key with the record's salt; the cipher is AES-256-GCM with a nonce of zeros. What
//! HKDF takes as its info, and the tag covers beside the ciphertext, is `understudy snapshot 1`, the lobby's 16 bytes, the epoch and
//! the number, both as eight bytes, big-endian.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use protocol::id::LobbyId;
use protocol::snapshot::{Generation, Seal};

/// Bytes of the salt in front of a sealed record.
const SALT_BYTES: usize = 32;
/// What the derived keys are for. Another layout gets another number.
const PURPOSE: &[u8] = b"understudy snapshot 1";
const INFO_BYTES: usize = PURPOSE.len() + 16 + 8 + 8;

/// Bytes that a record grows by when it is sealed.
pub const SEAL_BYTES: usize = SALT_BYTES + 16;

/// A key of the game, the same for all its players: 32 bytes that are hard to guess. It seals what hosts store, see
/// [`crate::ClientBuilder::state_key`].
///
/// Who has it can read and write the states of all the game's lobbies. It hides them from the service and from whoever reads its
/// database or its backups; not from players, for any of them may become host.
#[derive(Clone)]
pub struct StateKey([u8; 32]);

impl StateKey {
    /// Takes the key. The bytes must be random: drawn once for the game, or derived from a secret by a key derivation.
    #[must_use]
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// What seals the records of one lobby.
    #[must_use]
    pub const fn of_lobby(&self, lobby: LobbyId) -> Sealer {
        Sealer { key: self.0, lobby }
    }
}

impl std::fmt::Debug for StateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateKey").finish_non_exhaustive()
    }
}

/// Seals and opens the records of one lobby.
#[derive(Clone)]
pub struct Sealer {
    key: [u8; 32],
    lobby: LobbyId,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("lobby", &self.lobby).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Seals what stands at this place among the lobby's snapshots. It grows by [`SEAL_BYTES`], and differs each time.
    ///
    /// # Panics
    /// If the system gives no random bytes.
    #[must_use]
    pub fn seal(&self, generation: Generation, plain: &[u8]) -> Vec<u8> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).expect("a system that runs this gives random bytes");
        let mut sealed = Vec::with_capacity(plain.len() + SEAL_BYTES);
        sealed.extend_from_slice(&salt);
        sealed.extend_from_slice(plain);
        let info = self.info(generation);
        let tag = self
            .record_key(&salt, &info)
            .and_then(|key| key.seal_in_place_separate_tag(once(), Aad::from(info), &mut sealed[SALT_BYTES..]))
            .expect("32 bytes are a key, and a record is far smaller than AES-GCM's 64 GiB");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens what was sealed at this place; `None`: with another key, for another lobby or generation, or it was changed.
    #[must_use]
    pub fn open(&self, generation: Generation, sealed: &[u8]) -> Option<Vec<u8>> {
        let (salt, sealed) = sealed.split_first_chunk::<SALT_BYTES>()?;
        let info = self.info(generation);
        let mut plain = sealed.to_vec();
        let key = self.record_key(salt, &info).ok()?;
        let length = key.open_in_place(once(), Aad::from(info), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }

    /// The key of one record alone (HKDF, RFC 5869).
    fn record_key(&self, salt: &[u8; SALT_BYTES], info: &[u8; INFO_BYTES]) -> Result<LessSafeKey, Unspecified> {
        let extracted = Salt::new(HKDF_SHA256, salt).extract(&self.key);
        let key = UnboundKey::from(extracted.expand(&[info], &AES_256_GCM)?);
        Ok(LessSafeKey::new(key))
    }

    /// What a record is bound to, by its key and by what its tag covers: purpose, lobby, epoch, number; integers big-endian.
    fn info(&self, generation: Generation) -> [u8; INFO_BYTES] {
        let mut info = [0; INFO_BYTES];
        let mut rest = &mut info[..];
        for part in [PURPOSE, self.lobby.as_bytes(), &generation.epoch.0.to_be_bytes(), &generation.seq.to_be_bytes()] {
            let (place, behind) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = behind;
        }
        info
    }
}

/// The nonce is always zero. That is safe because no key is used for a second record: each has a salt of 256 random bits.
fn once() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

impl Seal for Sealer {
    fn seal(&self, generation: Generation, plain: &[u8]) -> Vec<u8> {
        Self::seal(self, generation, plain)
    }

    fn open(&self, generation: Generation, sealed: &[u8]) -> Option<Vec<u8>> {
        Self::open(self, generation, sealed)
    }
}

#[cfg(test)]
mod tests {
    use protocol::id::HostEpoch;

    use super::*;

    const AT: Generation = Generation { epoch: HostEpoch(4), seq: 9 };

    fn sealer() -> Sealer {
        StateKey::new([7; 32]).of_lobby(LobbyId::from_bytes([1; 16]))
    }

    #[test]
    fn what_was_sealed_opens_at_its_place_and_can_not_be_read_before() {
        for plain in [&b""[..], b"a", &b"the state of a game ".repeat(1000)] {
            let sealed = sealer().seal(AT, plain);
            assert_eq!(sealed.len(), plain.len() + SEAL_BYTES);
            assert_eq!(sealer().open(AT, &sealed).as_deref(), Some(plain));
            let word = b"state";
            assert!(sealed.windows(word.len()).all(|window| window != word));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let sealed = sealer().seal(AT, b"the state of a game");
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut flipped = sealed.clone();
                flipped[at] ^= 1 << bit;
                assert_eq!(sealer().open(AT, &flipped), None, "bit {bit} of byte {at}");
            }
            assert_eq!(sealer().open(AT, &sealed[..at]), None, "cut at {at}");
        }
        assert_eq!(sealer().open(AT, &[&sealed[..], &[0]].concat()), None);
    }

    #[test]
    fn a_record_does_not_open_in_another_lobby_epoch_or_number_nor_with_another_key() {
        let sealed = sealer().seal(AT, b"state");
        assert_eq!(sealer().open(Generation { epoch: HostEpoch(5), ..AT }, &sealed), None);
        assert_eq!(sealer().open(Generation { seq: 10, ..AT }, &sealed), None);
        assert_eq!(StateKey::new([7; 32]).of_lobby(LobbyId::from_bytes([2; 16])).open(AT, &sealed), None);
        assert_eq!(StateKey::new([8; 32]).of_lobby(LobbyId::from_bytes([1; 16])).open(AT, &sealed), None);
        assert!(sealer().open(AT, &sealed).is_some());
    }

    #[test]
    fn the_same_state_sealed_twice_differs_everywhere() {
        let (one, other) = (sealer().seal(AT, &[0; 64]), sealer().seal(AT, &[0; 64]));
        assert_ne!(one[..SALT_BYTES], other[..SALT_BYTES]);
        assert_ne!(one[SALT_BYTES..SALT_BYTES + 64], other[SALT_BYTES..SALT_BYTES + 64]);
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        let key = StateKey::new([0xab; 32]);
        let shown = format!("{key:?} {:?}", key.of_lobby(LobbyId::from_bytes([1; 16])));
        assert!(!shown.contains("171") && !shown.to_lowercase().contains("abab"), "{shown}");
        assert!(shown.starts_with("StateKey { .. } Sealer {"), "{shown}");
    }

    /// Ciphertext and tag as Python's `cryptography` computes them from the layout above.
    #[test]
    fn a_record_of_another_implementation_opens() {
        let sealed = [
            0x86, 0xcd, 0xe6, 0x5b, 0x6b, 0xa2, 0x85, 0x0d, 0x6b, 0xb9, 0xda, 0x39, 0xc5, 0x77, 0xeb, 0x59, 0x5f, 0x3e,
            0x48, 0xf2, 0x20, 0x17,
        ];
        let salt: Vec<u8> = (0..32).collect();
        assert_eq!(sealer().open(AT, &[&salt[..], &sealed].concat()).as_deref(), Some(&b"a game"[..]));
    }
}
