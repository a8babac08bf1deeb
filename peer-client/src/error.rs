//! What can go wrong, one enum an operation.

use std::io;

use protocol::id::ParseIdError;
use protocol::limits;
use protocol::objects::PlaceError;

/// Why a call of [`crate::Client`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The service understood and refused.
    #[error("the service refused: {detail} ({code}, {status})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable code, one of [`protocol::error::ErrorCode`]'s.
        code: String,
        /// A sentence for people.
        detail: String,
    },
    /// The service could not be reached, or answered too late.
    #[error("the service cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The service answered something that this version does not understand.
    #[error("the service's answer cannot be read: {0}")]
    Answer(String),
    /// The service's URL is not one of http or https.
    #[error("the service's URL must begin with http:// or https://")]
    Url,
    /// The text is not a join code.
    #[error(transparent)]
    JoinCode(#[from] ParseIdError),
    /// The identity could not be loaded or saved.
    #[error("the identity store failed")]
    Identity(#[source] io::Error),
    /// The UDP socket could not be opened.
    #[error("the socket failed")]
    Socket(#[source] io::Error),
    /// The certificate of this process could not be made.
    #[error("no certificate could be made: {0}")]
    Certificate(String),
    /// The session ended before the call was done.
    #[error("the session has ended")]
    Ended,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no link to the recipient, or it is not in the game yet.
    #[error("the recipient is not connected")]
    NotConnected,
    /// The message is larger than its delivery allows.
    #[error("the message is larger than {max} bytes")]
    TooLarge {
        /// Bytes that are allowed.
        max: usize,
    },
    /// The journal is full, at [`limits::JOURNAL_MESSAGES_MAX`] messages or [`limits::JOURNAL_BYTES_MAX`] bytes: from a host, the
    /// recipient, or the path to it, is slower than the game; from a guest, the host's states are not durable yet. Nothing was taken:
    /// try again later. A message to everyone reached those whose journal was not full.
    #[error("the journal is full")]
    Full,
    /// Only a host can send so.
    #[error("only a host can send after stable")]
    HostOnly,
}

/// Why something that only a host can do was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// This peer is not the host, nor restoring the game.
    #[error("only the host can do this")]
    NotHost,
    /// The lobby has no such member.
    #[error("the lobby has no such member")]
    UnknownSeat,
    /// The data, or the ownership table with it, is larger than is allowed.
    #[error("that would be more than {max} bytes")]
    TooLarge {
        /// Bytes that are allowed.
        max: usize,
    },
    /// There is no state that a change could be made to, or too many changes were: give the whole state.
    #[error("a whole state is needed first")]
    NoBase,
    /// The session is busy with what was asked before, or has ended.
    #[error("the session is busy, or has ended")]
    Busy,
    /// Nobody could take over.
    #[error("no other member can be host")]
    NobodyEligible,
    /// The ownership table holds [`limits::OBJECTS_MAX`] objects.
    #[error("the table holds {} objects already", limits::OBJECTS_MAX)]
    TooManyObjects,
}

impl From<protocol::journal::Full> for SendError {
    fn from(_: protocol::journal::Full) -> Self {
        Self::Full
    }
}

impl From<PlaceError> for HostError {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::TooMany => Self::TooManyObjects,
            PlaceError::TooLarge => Self::TooLarge { max: limits::OBJECT_TABLE_BYTES_MAX },
        }
    }
}
