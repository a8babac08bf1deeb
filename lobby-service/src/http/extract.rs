//! What handlers take from requests. Whatever cannot be taken is a problem+json.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Query, Request};
use axum::http::{StatusCode, header, request::Parts};
use protocol::error::ErrorCode;
use protocol::id::{LobbyId, PlayerId};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::clock::wall;
use crate::error::Problem;
use crate::service::Service;

/// The player whose access token the request carries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller(pub(crate) PlayerId);

impl FromRequestParts<Arc<Service>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Problem> {
        let refused = |refused: crate::auth::Refused| Problem::new(ErrorCode::Unauthenticated, refused.to_string());
        let token = bearer(parts).ok_or_else(|| refused(crate::auth::Refused))?;
        service.auth.verify_access(token, wall()).map(Self).map_err(refused)
    }
}

/// The token of the `Authorization` header.
pub(crate) fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// The lobby that the path names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LobbyPath(pub(crate) LobbyId);

impl<S: Send + Sync> FromRequestParts<S> for LobbyPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(id) = Path::<LobbyId>::from_request_parts(parts, state)
            .await
            .map_err(|error: PathRejection| Problem::new(ErrorCode::Malformed, error.body_text()))?;
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

/// A JSON object as the body; where it is optional, nothing at all will do too.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let axum::Json(Object(value)) = <axum::Json<Object<T>> as FromRequest<S>>::from_request(request, state)
            .await
            .map_err(|error| json_problem(&error))?;
        Ok(Self(value))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        let absent = HttpBody::is_end_stream(request.body()) && !request.headers().contains_key(header::CONTENT_TYPE);
        if absent { Ok(None) } else { <Self as FromRequest<S>>::from_request(request, state).await.map(Some) }
    }
}

/// Read from a JSON object only: serde would take a list of its fields too.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

fn json_problem(error: &JsonRejection) -> Problem {
    let code = match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::TooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ErrorCode::UnsupportedMediaType,
        _ => ErrorCode::Malformed,
    };
    Problem::new(code, error.body_text())
}
