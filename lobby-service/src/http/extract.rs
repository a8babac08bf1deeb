//! What handlers take from requests. Whatever cannot be taken is a problem+json.

use axum::body::HttpBody;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Query, Request};
use axum::http::{HeaderMap, header, request::Parts};
use protocol::error::ErrorCode;
use protocol::id::{ConnectionId, LobbyId, PlayerId};
use protocol::limits;
use serde::de::DeserializeOwned;

pub(crate) use super::actor::{Actor, Caller, bearer};
use super::exact::Exact;
use super::json;
pub(crate) use crate::auth::api_key::Scope;
use crate::error::Problem;

/// Bytes of a body, at most as many as a JSON body may have.
pub(super) async fn bytes(body: axum::body::Body) -> Result<axum::body::Bytes, Problem> {
    let collected = http_body_util::Limited::new(body, limits::BODY_BYTES_MAX);
    match http_body_util::BodyExt::collect(collected).await {
        Ok(bytes) => Ok(bytes.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Problem::new(ErrorCode::TooLarge, "the body is larger than is allowed"))
        }
        Err(error) => Err(Problem::new(ErrorCode::Malformed, error.to_string())),
    }
}

/// A member that the path names: its lobby and its seat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemberPath(pub(crate) LobbyId, pub(crate) ConnectionId);

impl<S: Send + Sync> FromRequestParts<S> for MemberPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((lobby, connection)) = path(parts, state).await?;
        Ok(Self(lobby, connection))
    }
}

/// A ban that the path names: its lobby and its player.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BanPath(pub(crate) LobbyId, pub(crate) PlayerId);

impl<S: Send + Sync> FromRequestParts<S> for BanPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((lobby, player)) = path(parts, state).await?;
        Ok(Self(lobby, player))
    }
}

async fn path<T: DeserializeOwned + Send, S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Path<T>, Problem> {
    let malformed = |error: PathRejection| Problem::new(ErrorCode::Malformed, error.body_text());
    Path::from_request_parts(parts, state).await.map_err(malformed)
}

/// The lobby that the path names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LobbyPath(pub(crate) LobbyId);

impl<S: Send + Sync> FromRequestParts<S> for LobbyPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(id) = path(parts, state).await?;
        Ok(Self(id))
    }
}

/// The query, without unknown fields if `T` says so.
#[derive(Debug)]
pub(crate) struct Parameters<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(value) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|error: QueryRejection| Problem::new(ErrorCode::Malformed, error.body_text()))?;
        Ok(Self(value))
    }
}

/// A JSON object as the body; where it is optional, nothing at all will do too, and so will `null`.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(ErrorCode::UnsupportedMediaType, "a body is application/json"));
        }
        let bytes = bytes(request.into_body()).await?;
        json::check(&bytes).map_err(|error| Problem::new(ErrorCode::Malformed, error.to_string()))?;
        let axum::Json(Exact(value)) = axum::Json::from_bytes(&bytes).map_err(|error| json_problem(&error))?;
        Ok(Self(value))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        let absent = HttpBody::is_end_stream(request.body()) && !request.headers().contains_key(header::CONTENT_TYPE);
        if absent {
            return Ok(None);
        }
        let Body(value) = <Body<Option<T>> as FromRequest<S>>::from_request(request, state).await?;
        Ok(value.map(Self))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")
}

fn json_problem(error: &JsonRejection) -> Problem {
    Problem::new(ErrorCode::Malformed, error.body_text())
}
