//! `GET /v1/lobbies/{id}/snapshot`

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::id::{Checksum, HostEpoch};
use protocol::snapshot::Generation;
use serde::Deserialize;

use super::conditions::is_among;
use super::extract::{Caller, LobbyPath, Parameters};
use super::parameters;
use crate::error::Problem;
use crate::service::{Fetched, Service};

/// Digits of a number in a query: more could be more than 64 bits hold.
const DIGITS_MAX: usize = 19;

/// What the caller has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    newer_than: Option<KnownGeneration>,
}

/// A generation as `EPOCH.SEQ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct KnownGeneration(Generation);

impl TryFrom<String> for KnownGeneration {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let number = |text: &str| {
            let is_number = (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse::<u64>().ok()).flatten()
        };
        let (epoch, seq) = text.split_once('.').ok_or("an epoch and a number with a point between them")?;
        let parsed = number(epoch).zip(number(seq)).ok_or("two numbers of at most 19 digits")?;
        Ok(Self(Generation { epoch: HostEpoch(parsed.0), seq: parsed.1 }))
    }
}

/// Fetch the newest snapshot, with its deltas.
///
/// The record as the host stored it, and behind it the records of its deltas in order: the header of each says how long it is. The
/// checksum of the last of them is the `ETag`: with `If-None-Match` they are sent only if there is another one, with `newer_than`
/// only if there is a newer one.
#[utoipa::path(
    get, path = "/v1/lobbies/{id}/snapshot", tag = "hosting", security(("access_token" = [])),
    params(parameters::OfLobby, parameters::NewerThan, parameters::IfNoneMatch),
    responses(
        (status = 200, description = "The records.", body = Vec<u8>, content_type = "application/octet-stream",
            headers(("ETag" = String, description = "The checksum, in quotes."))),
        (status = 304, description = "The caller has it, or a newer one.",
            headers(("ETag" = String, description = "The checksum, in quotes."))),
    )
)]
pub(super) async fn fetch_snapshot(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
    Parameters(Known { newer_than }): Parameters<Known>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let etag = |checksum: &Checksum| [(header::ETAG, format!("\"{checksum}\""))];
    let is_known = |generation: Generation, checksum: &Checksum| {
        newer_than.is_some_and(|KnownGeneration(known)| generation <= known)
            || is_among(&headers, &header::IF_NONE_MATCH, &format!("\"{checksum}\""))
    };
    match service.snapshot(player, id, is_known).await? {
        Fetched::Known(checksum) => Ok((StatusCode::NOT_MODIFIED, etag(&checksum)).into_response()),
        Fetched::Records(newest, records) => {
            let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
            Ok((kind, etag(&newest.checksum), records).into_response())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_two_numbers_and_nothing_else() {
        let read = |text: &str| KnownGeneration::try_from(text.to_owned()).ok().map(|known| known.0);
        assert_eq!(read("3.17"), Some(Generation { epoch: HostEpoch(3), seq: 17 }));
        assert!(read("9999999999999999999.0").is_some());
        for text in ["", ".", "3", "3.", ".1", "3.1.2", "+3.1", "3.-1", " 3.1", "a.b", "3,1", "10000000000000000000.0"]
        {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
