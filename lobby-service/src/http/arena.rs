//! The arena's page, at `/arena/`: a game to try in a browser, as `peer-client/web` bundles it. It is part of the program, so that a
//! service runs without Node and without files beside it.

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use super::nothing_here;

/// The page can do nothing but what it is for: its own script and style, this service, and a worker that only has timers.
const POLICY: &str = "default-src 'none'; script-src 'self'; worker-src blob:; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// A browser asks each time whether what it has is still right: the files keep their names when they change.
const CACHING: &str = "no-cache";

/// One file of the page.
struct File {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

/// The bundle. The first is the page itself.
const FILES: [File; 4] = [
    File {
        name: "",
        content_type: "text/html; charset=utf-8",
        bytes: include_bytes!("../../../peer-client/web/dist/arena/index.html"),
    },
    File {
        name: "main.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../../peer-client/web/dist/arena/main.js"),
    },
    File {
        name: "style.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("../../../peer-client/web/dist/arena/style.css"),
    },
    File {
        name: "icon.svg",
        content_type: "image/svg+xml",
        bytes: include_bytes!("../../../peer-client/web/dist/arena/icon.svg"),
    },
];

/// The page. It is no part of the API, nor of its description.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/arena", get(|| async { Redirect::permanent("/arena/") }))
        .route("/arena/", get(file))
        .route("/arena/{file}", get(file))
}

async fn file(uri: Uri, headers: HeaderMap) -> Response {
    let named = FILES.iter().find(|file| uri.path().strip_prefix("/arena/") == Some(file.name));
    let Some(file) = named else { return nothing_here().await.into_response() };
    let tag = format!("\"{}\"", &blake3::hash(file.bytes).to_hex()[..32]);
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { file.bytes.into_response() };
    let fixed: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_TYPE, file.content_type),
        (header::CACHE_CONTROL, CACHING),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
