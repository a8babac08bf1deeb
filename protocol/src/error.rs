//! Refusals: stable codes for the wire, and why a lobby refused a command.

use serde::{Deserialize, Serialize};

use crate::id::{ConnectionId, EventSeq, HostEpoch, PlayerId};

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $status:literal;)*) => {
        /// What went wrong, as a code that never changes its meaning. Its HTTP status is part of it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[doc = $doc])* #[serde(rename = $text)] $name,)*
        }

        impl ErrorCode {
            /// All codes, in the order of their status.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as it stands on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim(),)* }
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
    /// A refresh token that was used before: somebody else has it too, and all that came from the same sign-in have ended.
    RefreshReused = "refresh_reused", 401;
    /// The secret is not the one that takes this seat again, or there is no seat.
    WrongSecret = "wrong_secret", 401;
    /// A valid token that does not allow this.
    Forbidden = "forbidden", 403;
    /// A web page of an origin that is not allowed to use this service.
    OriginRefused = "origin_refused", 403;
    /// The password is not the lobby's.
    WrongPassword = "wrong_password", 403;
    /// Nothing here, or nothing that the caller may know of.
    NotFound = "not_found", 404;
    /// No lobby that is looked for can be joined.
    NoOpenLobbies = "no_open_lobbies", 404;
    /// The path is known, the method is not.
    MethodNotAllowed = "method_not_allowed", 405;
    /// The body came too slowly; the connection is closed.
    RequestTimeout = "request_timeout", 408;
    /// The caller is not the host.
    NotHost = "not_host", 409;
    /// The caller's epoch is older than the lobby's: another host was elected.
    StaleEpoch = "stale_epoch", 409;
    /// A newer snapshot is stored already.
    StaleSnapshot = "stale_snapshot", 409;
    /// Another snapshot is stored under the same number.
    SequenceConflict = "sequence_conflict", 409;
    /// The delta does not lead from what is stored, or there are too many: send a whole snapshot.
    DeltaBaseMissing = "delta_base_missing", 409;
    /// No seat is free.
    LobbyFull = "lobby_full", 409;
    /// Nobody can join for now.
    LobbyLocked = "lobby_locked", 409;
    /// Another process of this player has its seat: show the seat's secret, or leave first.
    SeatTaken = "seat_taken", 409;
    /// That member cannot host: it is not connected, does not consent, or is host already.
    NotEligible = "not_eligible", 409;
    /// No member can host.
    NobodyEligible = "nobody_eligible", 409;
    /// The lobby has no host that could do that: it is lost, or being elected.
    NoHost = "no_host", 409;
    /// The player is banned.
    Banned = "banned", 409;
    /// More than may be kept: data, bans, lobbies.
    QuotaExceeded = "quota_exceeded", 409;
    /// The lobby is closed.
    LobbyClosed = "lobby_closed", 409;
    /// The caller's build differs from the lobby's.
    BuildMismatch = "build_mismatch", 409;
    /// The lobby has changed since the version that `If-Match` names.
    PreconditionFailed = "precondition_failed", 412;
    /// The request is larger than is allowed.
    TooLarge = "too_large", 413;
    /// The body is not of the type that the operation takes.
    UnsupportedMediaType = "unsupported_media_type", 415;
    /// Well-formed, but a value breaks a rule; the fields are named.
    Invalid = "invalid", 422;
    /// The `Idempotency-Key` was used for another request.
    IdempotencyKeyReused = "idempotency_key_reused", 422;
    /// The snapshot's checksum does not match its bytes.
    ChecksumMismatch = "checksum_mismatch", 422;
    /// A host's request has to say on which epoch it rests.
    EpochRequired = "epoch_required", 428;
    /// Too much in too short a time: come back after `Retry-After`.
    RateLimited = "rate_limited", 429;
    /// Our fault.
    Internal = "internal", 500;
    /// Busy, or the database is away: come back after `Retry-After`.
    Unavailable = "unavailable", 503;
}

// A derived schema does not see the codes, which a macro writes.
#[cfg(feature = "schema")]
impl utoipa::PartialSchema for ErrorCode {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, Type};
        let codes = Self::ALL.iter().map(|code| code.as_str());
        let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes));
        schema.description(Some("What went wrong, as a code that never changes its meaning.")).into()
    }
}

#[cfg(feature = "schema")]
impl utoipa::ToSchema for ErrorCode {}

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
    /// There is no such thing, or nothing that the caller may know of.
    #[error("there is nothing here")]
    Unknown,
    /// No seat is free.
    #[error("all {0} seats are taken")]
    Full(u32),
    /// Nobody can join.
    #[error("the lobby is locked")]
    Locked,
    /// The password is missing or another one.
    #[error("the password is not the lobby's")]
    WrongPassword,
    /// Another process has the seat.
    #[error("another process of this player has its seat: reconnect with its secret, or leave first")]
    SeatTaken,
    /// The secret is not this seat's, or there is no seat.
    #[error("the secret does not take a seat here")]
    WrongSecret,
    /// The member cannot be elected.
    #[error("connection {0} cannot be host: it is not connected, does not consent, or is host already")]
    NotEligible(ConnectionId),
    /// No member can be elected.
    #[error("no member can be host")]
    NobodyEligible,
    /// No host is there to do what is asked.
    #[error("the lobby has no host at the moment")]
    NoHost,
    /// The player may not take a seat.
    #[error("player {0} is banned")]
    Banned(PlayerId),
    /// More than may be kept.
    #[error("too much: {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
    },
    /// The lobby is not as the caller knows it.
    #[error("the lobby is at version {current} now")]
    Changed {
        /// Its version: the number of its newest event.
        current: EventSeq,
    },
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
            Self::NotMember | Self::Unknown => ErrorCode::NotFound,
            Self::Full(_) => ErrorCode::LobbyFull,
            Self::Locked => ErrorCode::LobbyLocked,
            Self::WrongPassword => ErrorCode::WrongPassword,
            Self::SeatTaken => ErrorCode::SeatTaken,
            Self::WrongSecret => ErrorCode::WrongSecret,
            Self::NotEligible(_) => ErrorCode::NotEligible,
            Self::NobodyEligible => ErrorCode::NobodyEligible,
            Self::NoHost => ErrorCode::NoHost,
            Self::Banned(_) => ErrorCode::Banned,
            Self::TooMuch { .. } => ErrorCode::QuotaExceeded,
            Self::Changed { .. } => ErrorCode::PreconditionFailed,
            Self::Closed => ErrorCode::LobbyClosed,
            Self::BuildMismatch { .. } => ErrorCode::BuildMismatch,
            Self::Invalid { .. } => ErrorCode::Invalid,
        }
    }
}
