//! Problems: what a caller is told when something is refused or fails (RFC 9457).

use std::num::NonZeroU32;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::error::{ErrorCode, Rejection};
use protocol::id::{ConnectionId, EventSeq, HostEpoch};
use protocol::snapshot::Generation;
use serde::Serialize;
use utoipa::ToSchema;

use crate::limits::Refused;
use crate::service::Error;
use crate::store::{SnapshotRefusal, StoreError};

/// Seconds after which a caller may come back: an outage of the database is rarely shorter.
const RETRY_AFTER_S: NonZeroU32 = NonZeroU32::MIN;

/// Why a request was refused, or failed. `code` never changes its meaning; `detail` is for people.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// `about:blank`: `title` says what the status means.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: AboutBlank,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What went wrong, for programs.
    code: ErrorCode,
    /// What went wrong, for people.
    detail: Box<str>,
    /// With `invalid`: which field.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    /// With `stale_epoch`: the lobby's epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    current_epoch: Option<HostEpoch>,
    /// With `stale_snapshot` and `delta_base_missing`: the newest generation that is stored, if there is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Generation>)]
    newest_generation: Option<Box<Generation>>,
    /// With `precondition_failed`: the lobby's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    current_version: Option<EventSeq>,
    /// With `stale_epoch`: the lobby's host, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<ConnectionId>,
    /// With `unavailable` and `rate_limited`: seconds to wait, as the header says too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    retry_after_s: Option<NonZeroU32>,
    /// With `rate_limited`: by which rate, for the headers that say where the caller stands.
    #[serde(skip)]
    refused: Option<Box<Refused>>,
}

/// The type of a problem that has none of its own.
#[derive(Debug, Clone, Copy)]
struct AboutBlank;

impl Serialize for AboutBlank {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("about:blank")
    }
}

impl Problem {
    /// A problem with nothing but its code and a sentence.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        let title = StatusCode::from_u16(code.status()).ok().and_then(|status| status.canonical_reason());
        Self {
            kind: AboutBlank,
            title: title.unwrap_or("Error"),
            status: code.status(),
            code,
            detail: detail.into().into(),
            field: None,
            current_epoch: None,
            newest_generation: None,
            current_version: None,
            host: None,
            retry_after_s: (code == ErrorCode::Unavailable).then_some(RETRY_AFTER_S),
            refused: None,
        }
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let problem = Self::new(rejection.code(), rejection.to_string());
        match rejection {
            Rejection::StaleEpoch { current, host } => Self { current_epoch: Some(current), host, ..problem },
            Rejection::Invalid { field, .. } | Rejection::TooMuch { what: field } => {
                Self { field: Some(field), ..problem }
            }
            Rejection::Changed { current } => Self { current_version: Some(current), ..problem },
            Rejection::NotHost(_)
            | Rejection::NotMember
            | Rejection::Unknown
            | Rejection::Full(_)
            | Rejection::Locked
            | Rejection::WrongPassword
            | Rejection::SeatTaken
            | Rejection::WrongSecret
            | Rejection::NotEligible(_)
            | Rejection::NobodyEligible
            | Rejection::NoHost
            | Rejection::Banned(_)
            | Rejection::Closed
            | Rejection::BuildMismatch { .. } => problem,
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let retry_after_s = refused.retry_after_s();
        let problem = Self::new(ErrorCode::RateLimited, "too much in too short a time; come back later");
        Self { retry_after_s: Some(retry_after_s), refused: Some(refused.into()), ..problem }
    }
}

impl From<SnapshotRefusal> for Problem {
    fn from(refusal: SnapshotRefusal) -> Self {
        use protocol::snapshot::SnapshotError;
        let code = match &refusal {
            SnapshotRefusal::Rejected(rejection) => return rejection.clone().into(),
            SnapshotRefusal::NoLobby => ErrorCode::NotFound,
            SnapshotRefusal::Malformed(SnapshotError::Checksum) => ErrorCode::ChecksumMismatch,
            SnapshotRefusal::Malformed(
                SnapshotError::Truncated
                | SnapshotError::TooLarge
                | SnapshotError::Unknown
                | SnapshotError::Body
                | SnapshotError::Sealed
                | SnapshotError::Key
                | SnapshotError::Base,
            ) => ErrorCode::Malformed,
            SnapshotRefusal::Stale { .. } => ErrorCode::StaleSnapshot,
            SnapshotRefusal::Conflict => ErrorCode::SequenceConflict,
            SnapshotRefusal::NoBase { .. } => ErrorCode::DeltaBaseMissing,
        };
        Self { newest_generation: refusal.newest().map(Box::new), ..Self::new(code, refusal.to_string()) }
    }
}

impl From<Error> for Problem {
    /// What is our fault is logged here, once, and kept from the caller.
    fn from(error: Error) -> Self {
        let code = match error {
            Error::Rejected(rejection) => return rejection.into(),
            Error::Snapshot(refusal) => return refusal.into(),
            Error::NotFound => ErrorCode::NotFound,
            Error::Unauthenticated => ErrorCode::Unauthenticated,
            Error::EpochRequired => ErrorCode::EpochRequired,
            Error::NoOpenLobbies => ErrorCode::NoOpenLobbies,
            Error::KeyReused => ErrorCode::IdempotencyKeyReused,
            Error::RefreshReused => ErrorCode::RefreshReused,
            Error::Quota(_) => ErrorCode::QuotaExceeded,
            Error::Busy | Error::IssuerAway => ErrorCode::Unavailable,
            Error::Store(ref error) => {
                tracing::error!(error = error as &dyn std::error::Error, "the store has failed");
                match error {
                    StoreError::Unavailable(_) | StoreError::Unsafe { .. } => ErrorCode::Unavailable,
                    StoreError::Corrupt { .. } => {
                        return Self::new(ErrorCode::Internal, "the service holds data that it cannot read");
                    }
                }
            }
            Error::Sign(ref cause) => {
                tracing::error!(%cause, "a token could not be signed");
                ErrorCode::Internal
            }
            Error::Panicked => ErrorCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after_s.map(|seconds| HeaderValue::from(seconds.get()));
        let is_unauthenticated = status == StatusCode::UNAUTHORIZED;
        let mut response = (status, axum::Json(&self)).into_response();
        if let Some(refused) = self.refused {
            response.extensions_mut().insert(*refused);
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds);
        }
        if is_unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
