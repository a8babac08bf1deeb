//! Identifiers: what they are made of, how they are written, how they are read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct ParseIdError {
    what: &'static str,
    rule: &'static str,
}

/// Bytes of the longest id that is written in hexadecimal.
const HEX_BYTES_MAX: usize = 32;

/// Writes at most [`HEX_BYTES_MAX`] bytes as lower-case hexadecimal. Every message and every stored lobby has many.
fn hex<'a>(bytes: &[u8], digits: &'a mut [u8; 2 * HEX_BYTES_MAX]) -> &'a str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut length = 0;
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        length += 2;
    }
    std::str::from_utf8(&digits[..length]).expect("digits are ASCII")
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(hex(bytes, &mut [0; 2 * HEX_BYTES_MAX]))
}

/// Reads exactly `N` bytes of lower- or upper-case hexadecimal.
fn read_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(bytes)
}

/// Serialises through `Display` and `FromStr`, so that JSON, logs and URLs agree.
macro_rules! text_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        text_deserialize!($name);
    };
}

macro_rules! text_deserialize {
    ($name:ident) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal, $rule:literal, $pattern:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(
            feature = "schema",
            derive(utoipa::ToSchema),
            schema(value_type = String, pattern = $pattern, example = $example)
        )]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Makes one from bytes that the caller drew at random or computed.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0[..4], f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                read_hex(text).map(Self).ok_or(ParseIdError { what: $what, rule: $rule })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(hex(&self.0, &mut [0; 2 * HEX_BYTES_MAX]))
            }
        }

        text_deserialize!($name);
    };
}

hex_id!(
    /// A lobby: 128 random bits, never used again.
    LobbyId, 16, "a lobby id", "32 hexadecimal digits", "^[0-9A-Fa-f]{32}$", "5b1f0a7e9c3d42868f0e1d2c3b4a5968"
);
hex_id!(
    /// A player: 128 random bits. The subject of its access tokens.
    PlayerId, 16, "a player id", "32 hexadecimal digits", "^[0-9A-Fa-f]{32}$", "a0b1c2d3e4f5061728394a5b6c7d8e9f"
);
hex_id!(
    /// A peer's key: the SHA-256 fingerprint of the certificate that one *process* made for itself. A restarted process
    /// has another one, and so is told apart from the one that still has the game in memory.
    PeerKey, 32, "a peer key", "64 hexadecimal digits", "^[0-9A-Fa-f]{64}$",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
);
hex_id!(
    /// One running process of the lobby service: 64 random bits, new at each start. Nobody's is all zeros.
    InstanceId, 8, "an instance id", "16 hexadecimal digits", "^[0-9A-Fa-f]{16}$", "0f1e2d3c4b5a6978"
);
hex_id!(
    /// A BLAKE3-256 checksum.
    Checksum, 32, "a checksum", "64 hexadecimal digits", "^[0-9A-Fa-f]{64}$",
    "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
);
hex_id!(
    /// The BLAKE3-256 hash of a seat's reconnect secret: all that is kept of it.
    SecretHash, 32, "the hash of a secret", "64 hexadecimal digits", "^[0-9A-Fa-f]{64}$",
    "2c624232cdd221771294dfbb310aca000a0df6ac8b66b696d90ef06fdefb64a3"
);
hex_id!(
    /// A player's request, by the key that makes it one however often it is sent: a hash of both.
    RequestKey, 16, "a request key", "32 hexadecimal digits", "^[0-9A-Fa-f]{32}$", "00112233445566778899aabbccddeeff"
);

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $maximum:tt, $format:tt) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(
            feature = "schema",
            derive(utoipa::ToSchema),
            schema(value_type = $inner, minimum = 0, maximum = $maximum, format = $format)
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

number_id!(
    /// A member's seat in its lobby. Given once, kept over disconnects, migrations and rejoining; nobody else ever gets it
    /// (P6). 0 is the creator's; no number has a special meaning.
    ConnectionId, u32, 4_294_967_295_u32, "uint32"
);
number_id!(
    /// The fencing number of a lobby's host: +1 with every change of host. Whatever a host writes or sends carries it; a
    /// lower one than the receiver knows is refused everywhere (P4). The creator hosts at 1; 0 means "none yet".
    HostEpoch, u64, 18_446_744_073_709_551_615_u64, "uint64"
);
number_id!(
    /// The number of an event in its lobby, from 1, without gaps (P7).
    EventSeq, u64, 18_446_744_073_709_551_615_u64, "uint64"
);
number_id!(
    /// A relay session, as the relay names it in each frame. Random, given at bind.
    SessionTag, u32, 4_294_967_295_u32, "uint32"
);
number_id!(
    /// An object of the game in the ownership table. Chosen by the game.
    ObjectId, u64, 18_446_744_073_709_551_615_u64, "uint64"
);

impl HostEpoch {
    /// No host yet.
    pub const NONE: Self = Self(0);
    /// The creator's.
    pub const FIRST: Self = Self(1);

    /// The epoch of the next host.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What admits a player to a lobby: ten characters of Crockford's base32 (50 bits: one stranger in ten years at 100,000
/// lobbies and 20 guesses a second). It belongs to the lobby and stays the same over every migration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "schema",
    derive(utoipa::ToSchema),
    schema(value_type = String, pattern = "^[- ]*([0-9A-TV-Za-tv-z][- ]*){10}$", example = "7K3QZ-M0XWB")
)]
pub struct JoinCode([u8; Self::LENGTH]);

impl JoinCode {
    /// Characters, without the dash.
    pub const LENGTH: usize = 10;
    /// Crockford's alphabet: no I, L, O, U.
    const ALPHABET: &'static [u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

    /// Makes one from the low 50 bits of a number that the caller drew at random.
    #[must_use]
    pub fn from_entropy(entropy: u64) -> Self {
        let mut code = [0; Self::LENGTH];
        for (place, letter) in code.iter_mut().enumerate() {
            *letter = Self::ALPHABET[(entropy >> (5 * place) & 31) as usize];
        }
        Self(code)
    }

    /// The ten characters, without the dash: what is stored and compared.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for JoinCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (left, right) = self.as_str().split_at(Self::LENGTH / 2);
        write!(f, "{left}-{right}")
    }
}

impl fmt::Debug for JoinCode {
    /// Admits to a lobby, so it stays out of logs (P18).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinCode(…)")
    }
}

impl FromStr for JoinCode {
    type Err = ParseIdError;

    /// Reads it the way people type it: any case, dashes and spaces ignored, O for 0, I and L for 1.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let error = ParseIdError { what: "a join code", rule: "ten letters or digits, without U" };
        let mut code = [0; Self::LENGTH];
        let mut letters =
            text.bytes().filter(|byte| !matches!(byte, b'-' | b' ')).map(|byte| byte.to_ascii_uppercase());
        for place in &mut code {
            *place = match letters.next().ok_or(error.clone())? {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                letter if Self::ALPHABET.contains(&letter) => letter,
                _ => return Err(error),
            };
        }
        if letters.next().is_some() { Err(error) } else { Ok(Self(code)) }
    }
}

text_serde!(JoinCode);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_code_is_read_the_way_people_type_it() {
        let code = JoinCode::from_entropy(0x2_1234_5678_9abc);
        let typed = code.to_string().to_lowercase().replace('0', "o").replace('1', "l").replace('-', " ");
        assert_eq!(typed.parse(), Ok(code));
        assert!("SHORT".parse::<JoinCode>().is_err());
        assert!("UUUUU-UUUUU".parse::<JoinCode>().is_err());
        assert!(format!("{code}X").parse::<JoinCode>().is_err());
    }

    #[test]
    fn hexadecimal_ids_survive_text_and_refuse_anything_else() {
        let id = LobbyId::from_bytes([0xAB; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "ab", "zz000000000000000000000000000000", "ab0000000000000000000000000000000", "é"] {
            assert!(wrong.parse::<LobbyId>().is_err(), "{wrong:?}");
        }
    }
}
