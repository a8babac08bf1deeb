//! Refusals: stable codes for the wire, and why a lobby refused a command.

use serde::{Deserialize, Serialize};

use crate::id::{ConnectionId, HostEpoch};

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal;)*) => {
        /// What went wrong, as a code that never changes its meaning. Its HTTP status is part of it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl ErrorCode {
            /// All codes, in the order of their status.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as it stands on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

error_codes! {
    /// The request is not what the API describes: syntax, type, length.
    Malformed = "malformed", 400;
    /// No token, or one that is not valid.
    Unauthenticated = "unauthenticated", 401;
    /// A valid token that does not allow this.
    Forbidden = "forbidden", 403;
    /// Nothing here, or nothing that the caller may know of.
    NotFound = "not_found", 404;
    /// The path is known, the method is not.
    MethodNotAllowed = "method_not_allowed", 405;
    /// The caller is not the host.
    NotHost = "not_host", 409;
    /// The caller's epoch is older than the lobby's: another host was elected.
    StaleEpoch = "stale_epoch", 409;
    /// A newer snapshot is stored already.
    StaleSnapshot = "stale_snapshot", 409;
    /// Another snapshot is stored under the same number.
    SequenceConflict = "sequence_conflict", 409;
    /// No seat is free.
    LobbyFull = "lobby_full", 409;
    /// The lobby is closed.
    LobbyClosed = "lobby_closed", 409;
    /// The caller's build differs from the lobby's.
    BuildMismatch = "build_mismatch", 409;
    /// The request is larger than is allowed.
    TooLarge = "too_large", 413;
    /// The body is not of the type that the operation takes.
    UnsupportedMediaType = "unsupported_media_type", 415;
    /// Well-formed, but a value breaks a rule; the fields are named.
    Invalid = "invalid", 422;
    /// The snapshot's checksum does not match its bytes.
    ChecksumMismatch = "checksum_mismatch", 422;
    /// Our fault.
    Internal = "internal", 500;
    /// Busy, or the database is away: come back after `Retry-After`.
    Unavailable = "unavailable", 503;
}

/// Why a lobby refused a command. Nothing has changed (P16).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The command rests on another epoch than the lobby's.
    #[error("the host epoch is {current} now")]
    StaleEpoch {
        /// The lobby's.
        current: HostEpoch,
        /// Its host, if it has one.
        host: Option<ConnectionId>,
    },
    /// The sender is not the host, nor elected.
    #[error("connection {0} is not the host")]
    NotHost(ConnectionId),
    /// No such member, or not that player's seat.
    #[error("not a member of this lobby")]
    NotMember,
    /// No seat is free.
    #[error("all {0} seats are taken")]
    Full(u32),
    /// The lobby is closed.
    #[error("the lobby is closed")]
    Closed,
    /// The game's build differs.
    #[error("the lobby plays build {expected:?}")]
    BuildMismatch {
        /// The lobby's.
        expected: String,
    },
    /// A value breaks a rule.
    #[error("{field}: {rule}")]
    Invalid {
        /// Which, as it is named in the API.
        field: &'static str,
        /// The rule.
        rule: &'static str,
    },
}

impl Rejection {
    /// Its code on the wire.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::StaleEpoch { .. } => ErrorCode::StaleEpoch,
            Self::NotHost(_) => ErrorCode::NotHost,
            Self::NotMember => ErrorCode::NotFound,
            Self::Full(_) => ErrorCode::LobbyFull,
            Self::Closed => ErrorCode::LobbyClosed,
            Self::BuildMismatch { .. } => ErrorCode::BuildMismatch,
            Self::Invalid { .. } => ErrorCode::Invalid,
        }
    }
}
