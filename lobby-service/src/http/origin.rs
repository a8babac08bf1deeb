//! Which web pages may use the API (the Fetch standard, "CORS protocol"; RFC 6455, section 10.2): those of the service itself, and those
//! that the operator names. There are no cookies, so that a page can do nothing without a token; this keeps tokens that a page got
//! hold of from being used by it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use protocol::error::ErrorCode;

use crate::error::Problem;

/// Seconds for which a browser remembers what a page may do.
const MAX_AGE_S: &str = "600";
/// What pages may send and read.
const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
const SENT: &str = "authorization, content-type, idempotency-key, if-match, if-none-match";
const READ: &str = "etag, retry-after, ratelimit-limit, ratelimit-remaining, ratelimit-reset, ratelimit-policy";

/// The origins that an operator names.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins(Arc<[String]>);

impl Origins {
    pub(super) fn new(origins: Vec<String>) -> Self {
        Self(origins.into())
    }

    /// Whether a page of this origin may use the API that was asked for under this host.
    fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        let is_own = |host| origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
        host.is_some_and(is_own) || self.0.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
    }
}

/// Refuses pages that may not, and tells browsers what the others may.
pub(super) async fn check(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else { return next.run(request).await };
    let host = request.headers().get(header::HOST).cloned();
    let host = host.as_ref().and_then(|value| value.to_str().ok());
    if !origin.to_str().is_ok_and(|origin| origins.allow(origin, host)) {
        let detail = "pages of this origin may not use this service; its operator allows origins by --allow-origin";
        return Problem::new(ErrorCode::OriginRefused, detail).into_response();
    }
    let is_question =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response =
        if is_question { axum::http::StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    tell(response.headers_mut(), origin, is_question);
    response
}

fn tell(headers: &mut HeaderMap, origin: HeaderValue, is_question: bool) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if is_question {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(SENT));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_S));
    } else {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(READ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_pages_and_those_that_are_named_may() {
        let origins = Origins::new(vec!["https://game.example".into()]);
        let host = Some("lobby.example:8080");
        assert!(origins.allow("https://game.example", host) && origins.allow("http://LOBBY.example:8080", host));
        for origin in
            ["https://game.example.evil", "http://game.example", "null", "", "https://evil", "lobby.example:8080"]
        {
            assert!(!origins.allow(origin, host), "{origin}");
        }
        assert!(!origins.allow("http://lobby.example:8080", None));
        assert!(Origins::new(vec!["*".into()]).allow("https://anybody", None));
    }
}
