//! `GET /v1/lobbies/{id}/snapshot`

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::id::Checksum;

use super::extract::{Caller, LobbyPath};
use crate::error::Problem;
use crate::service::{Fetched, Service};

/// Fetch the newest snapshot.
///
/// The record as the host stored it. Its checksum is the `ETag`: with `If-None-Match` it is sent only if there is another one.
#[utoipa::path(
    get, path = "/v1/lobbies/{id}/snapshot", tag = "hosting", security(("access_token" = [])),
    params(
        ("id" = String, Path, description = "The lobby."),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag`s of records that the caller has."),
    ),
    responses(
        (status = 200, description = "The record.", body = Vec<u8>, content_type = "application/octet-stream",
            headers(("ETag" = String, description = "The checksum, in quotes."))),
        (status = 304, description = "The caller has it.",
            headers(("ETag" = String, description = "The checksum, in quotes."))),
        (status = 404, description = "There is none yet, or no seat here.", body = Problem,
            content_type = "application/problem+json"),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn fetch_snapshot(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let etag = |checksum: &Checksum| [(header::ETAG, format!("\"{checksum}\""))];
    match service.snapshot(player, id, |checksum| is_known(&headers, checksum)).await? {
        Fetched::Known(checksum) => Ok((StatusCode::NOT_MODIFIED, etag(&checksum)).into_response()),
        Fetched::Record(snapshot, record) => {
            let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
            Ok((kind, etag(&snapshot.checksum), record).into_response())
        }
    }
}

/// RFC 9110, section 13.1.2: any of the tags in a list, weak or not; or `*`.
fn is_known(headers: &HeaderMap, checksum: &Checksum) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(&checksum.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_tags_weak_ones_and_a_star_are_understood() {
        let checksum = Checksum::from_bytes([7; 32]);
        let tag = format!("\"{checksum}\"");
        let known = |value: &str| {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, value.parse().unwrap())]);
            is_known(&headers, &checksum)
        };
        assert!(known(&tag) && known(&format!("\"x\", W/{tag}")) && known("*"));
        assert!(!known("\"x\"") && !known(&checksum.to_string()) && !known(""));
        assert!(!is_known(&HeaderMap::new(), &checksum));
    }
}
