//! `Idempotency-Key`: a request that is one request however often it is sent.

use axum::extract::{FromRequest, Request as HttpRequest};
use axum::http::HeaderMap;
use protocol::error::ErrorCode;
use serde::de::DeserializeOwned;

use super::extract::Body;
use crate::error::Problem;
use crate::service::Request;

/// Characters of a key.
const KEY_CHARS_MAX: usize = 64;
const HEADER: &str = "idempotency-key";

/// A JSON body, and which request it is if that has a key.
#[derive(Debug)]
pub(super) struct Keyed<T>(pub(super) T, pub(super) Option<Request>);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Keyed<T> {
    type Rejection = Problem;

    async fn from_request(request: HttpRequest, state: &S) -> Result<Self, Problem> {
        let Some(key) = key_of(request.headers())? else {
            let Body(value) = <Body<T> as FromRequest<S>>::from_request(request, state).await?;
            return Ok(Self(value, None));
        };
        let (head, body) = request.into_parts();
        let bytes = super::extract::bytes(body).await?;
        let asked = Request::new(&key, &bytes);
        let request = HttpRequest::from_parts(head, bytes.into());
        let Body(value) = <Body<T> as FromRequest<S>>::from_request(request, state).await?;
        Ok(Self(value, Some(asked)))
    }
}

fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(HEADER).into_iter();
    let (Some(value), next) = (values.next(), values.next()) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| next.is_none() && (1..=KEY_CHARS_MAX).contains(&text.len()));
    let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    let problem =
        || Problem::new(ErrorCode::Malformed, "Idempotency-Key is one value of 1 to 64 visible ASCII characters");
    Ok(Some(text.ok_or_else(problem)?.to_owned()))
}
