//! Conditional requests (RFC 9110, section 13): a lobby's version is the number of its newest event, its `ETag` that in quotes.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, HeaderName, header, request::Parts};
use protocol::id::EventSeq;

/// The tag of a version.
pub(super) fn etag(seq: EventSeq) -> String {
    format!("\"{seq}\"")
}

/// Whether one of the tags in a header is this one, weak or not; or `*`.
pub(super) fn is_among(headers: &HeaderMap, name: &HeaderName, tag: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).any(|known| {
        let known = known.strip_prefix("W/").unwrap_or(known);
        known == "*" || known == tag
    })
}

/// The version that a write rests on, if it says so: `None` for whichever. Of several tags the newest counts. What is no tag of a lobby,
/// or a weak one, is the tag of no version: the write is refused as one that rests on another.
#[derive(Debug, Clone, Copy)]
pub(super) struct IfMatch(pub(super) Option<EventSeq>);

/// What no lobby reaches.
const NO_VERSION: EventSeq = EventSeq(u64::MAX);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

impl IfMatch {
    fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::IF_MATCH).into_iter();
        let tags: Vec<_> =
            values.flat_map(|value| value.to_str().unwrap_or_default().split(',')).map(str::trim).collect();
        if tags.is_empty() || tags.contains(&"*") {
            return Self(None);
        }
        Self(tags.into_iter().filter_map(version).max().or(Some(NO_VERSION)))
    }
}

/// The version whose tag it is.
fn version(tag: &str) -> Option<EventSeq> {
    let number = tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()?;
    // Nothing that is only read as that number, as `"+7"`.
    Some(number).filter(|&seq| etag(seq) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_tags_weak_ones_and_a_star_are_understood() {
        let known = |value: &str| {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, value.parse().unwrap())]);
            is_among(&headers, &header::IF_NONE_MATCH, &etag(EventSeq(7)))
        };
        assert!(known("\"7\"") && known("\"x\", W/\"7\"") && known("*"));
        assert!(!known("\"x\"") && !known("7") && !known(""));
        assert!(!is_among(&HeaderMap::new(), &header::IF_NONE_MATCH, "\"7\""));
    }

    #[test]
    fn a_write_rests_on_the_newest_version_or_on_whichever_or_on_none_that_there_is() {
        let of = |values: &[&str]| {
            let IfMatch(version) =
                IfMatch::of(&values.iter().map(|value| (header::IF_MATCH, value.parse().unwrap())).collect());
            version
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["*"]), None);
        assert_eq!(of(&["\"7\""]), Some(EventSeq(7)));
        assert_eq!(of(&["\"7\", \"x\"", "\"12\""]), Some(EventSeq(12)));
        for none in ["", "7", "\"+7\"", "\"07\"", "W/\"7\"", "\"99999999999999999999\"", "\""] {
            assert_eq!(of(&[none]), Some(NO_VERSION), "{none}");
        }
    }
}
