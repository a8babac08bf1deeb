//! Which refusals each operation documents: a table, from which the API's description gets its error responses. A test provokes
//! each of them, and finds none that is not here.

use protocol::error::ErrorCode;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response};

use ErrorCode as E;

/// The content type of refusals.
const PROBLEM: &str = "application/problem+json";
/// What only a host of this epoch, or a server, may do.
const OF_HOSTS: [E; 5] = [E::NotFound, E::NotHost, E::StaleEpoch, E::LobbyClosed, E::EpochRequired];

/// Beside what each operation refuses: see [`common`].
const REFUSALS: &[(&str, &[&[E]])] = &[
    ("sign_in", &[&[E::Invalid]]),
    ("external", &[&[E::Unauthenticated, E::Invalid]]),
    ("refresh", &[&[E::Unauthenticated, E::RefreshReused]]),
    ("memberships", &[]),
    ("create_lobby", &[&[E::Invalid, E::QuotaExceeded, E::IdempotencyKeyReused]]),
    ("create_or_join", &[&JOIN, &[E::LobbyClosed, E::WrongPassword, E::QuotaExceeded, E::IdempotencyKeyReused]]),
    ("query_lobbies", &[&[E::Invalid, E::Forbidden]]),
    ("quick_join", &[&[E::Invalid, E::NoOpenLobbies, E::SeatTaken, E::QuotaExceeded, E::IdempotencyKeyReused]]),
    ("join_by_code", &[&JOIN, &[E::WrongPassword, E::QuotaExceeded, E::IdempotencyKeyReused]]),
    ("join_lobby", &[&JOIN, &[E::LobbyClosed, E::WrongPassword, E::QuotaExceeded, E::IdempotencyKeyReused]]),
    ("reconnect", &[&[E::WrongSecret, E::LobbyClosed, E::Invalid]]),
    ("show_lobby", &[&[E::NotFound, E::Forbidden]]),
    ("update_lobby", &[&OF_HOSTS, &[E::Forbidden, E::Invalid, E::QuotaExceeded, E::PreconditionFailed]]),
    ("close_lobby", &[&OF_HOSTS, &[E::Forbidden, E::PreconditionFailed]]),
    (
        "update_member",
        &[&[E::NotFound, E::LobbyClosed, E::Forbidden, E::Invalid, E::QuotaExceeded, E::PreconditionFailed]],
    ),
    ("kick", &[&OF_HOSTS, &[E::Forbidden, E::PreconditionFailed]]),
    ("list_bans", &[&[E::NotFound, E::NotHost, E::Forbidden]]),
    ("ban", &[&OF_HOSTS, &[E::Forbidden, E::Invalid, E::QuotaExceeded]]),
    ("unban", &[&OF_HOSTS, &[E::Forbidden]]),
    ("transfer", &[&OF_HOSTS, &[E::Forbidden, E::NotEligible, E::NobodyEligible]]),
    ("hand_over", &[&OF_HOSTS, &[E::Forbidden, E::NotEligible, E::NobodyEligible, E::NoHost]]),
    ("rotate_code", &[&OF_HOSTS, &[E::Forbidden]]),
    (
        "bulk",
        &[&[
            E::Forbidden,
            E::NotFound,
            E::LobbyClosed,
            E::LobbyFull,
            E::Banned,
            E::Invalid,
            E::QuotaExceeded,
            E::PreconditionFailed,
        ]],
    ),
    ("leave", &[&[E::NotFound, E::LobbyClosed]]),
    ("heartbeat", &[&[E::NotFound, E::LobbyClosed, E::SeatTaken, E::Invalid]]),
    ("ready", &[&[E::NotFound, E::NotHost, E::StaleEpoch, E::LobbyClosed]]),
    ("put_snapshot", &[&UPLOAD]),
    ("patch_snapshot", &[&UPLOAD, &[E::DeltaBaseMissing]]),
    ("fetch_snapshot", &[&[E::NotFound]]),
    ("election", &[&[E::NotFound]]),
    ("relay_token", &[&[E::NotFound, E::LobbyClosed]]),
    ("host_grant", &[&[E::NotFound, E::NotHost, E::StaleEpoch, E::LobbyClosed]]),
    ("ice_servers", &[&[E::NotFound, E::LobbyClosed]]),
    ("events", &[&[E::Malformed, E::NotFound, E::Unavailable]]),
    ("ticket", &[&[E::NotFound]]),
    ("keys", &[]),
    ("health", &[]),
    ("readiness", &[]),
];

/// What a host's record can be refused for.
const UPLOAD: [E; 10] = [
    E::Malformed,
    E::NotFound,
    E::NotHost,
    E::StaleEpoch,
    E::StaleSnapshot,
    E::SequenceConflict,
    E::LobbyClosed,
    E::TooLarge,
    E::UnsupportedMediaType,
    E::ChecksumMismatch,
];
/// What a newcomer can be refused for.
const JOIN: [E; 6] = [E::NotFound, E::Invalid, E::LobbyFull, E::LobbyLocked, E::BuildMismatch, E::SeatTaken];

/// Gives every operation its refusals.
pub(super) fn document(description: &mut OpenApi) {
    for item in description.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let mut codes = common(operation);
            let id = operation.operation_id.clone().unwrap_or_default();
            let own = REFUSALS.iter().find(|(operation, _)| *operation == id);
            codes.extend(own.iter().flat_map(|(_, lists)| lists.iter().copied().flatten()));
            codes.sort_unstable();
            codes.dedup();
            for codes in codes.chunk_by(|one, other| one.status() == other.status()) {
                let status = codes[0].status().to_string();
                let body = body_of(operation.responses.responses.get(&status));
                operation.responses.responses.insert(status, RefOr::T(response(codes, body)));
            }
        }
    }
}

/// What follows from how an operation is asked.
fn common(operation: &Operation) -> Vec<E> {
    let mut codes = vec![E::OriginRefused, E::RateLimited, E::Unavailable];
    if operation.security.is_some() {
        // A key of a game server, where only players may, or without the scope.
        codes.extend([E::Unauthenticated, E::Forbidden]);
    }
    if operation.request_body.is_some() {
        codes.push(E::RequestTimeout);
    }
    let takes_json = operation.request_body.as_ref().is_some_and(|body| match body {
        RefOr::T(body) => body.content.contains_key("application/json"),
        RefOr::Ref(_) => false,
    });
    if takes_json {
        codes.extend([E::Malformed, E::TooLarge, E::UnsupportedMediaType]);
    }
    if operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty()) {
        codes.push(E::Malformed);
    }
    codes
}

/// What a refusal is: a problem, unless the operation says more of it.
fn body_of(own: Option<&RefOr<Response>>) -> RefOr<Schema> {
    let content = match own {
        Some(RefOr::T(own)) => own.content.get(PROBLEM),
        Some(RefOr::Ref(_)) | None => None,
    };
    let schema = match content {
        Some(RefOr::T(content)) => content.schema.clone(),
        Some(RefOr::Ref(_)) | None => None,
    };
    schema.unwrap_or_else(|| RefOr::Ref(Ref::from_schema_name("Problem")))
}

fn response(codes: &[E], body: RefOr<Schema>) -> Response {
    let meanings: Vec<_> = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.meaning())).collect();
    let code = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes.iter().map(|code| code.as_str())));
    let narrowed = ObjectBuilder::new().property("code", code).required("code");
    let problem = AllOfBuilder::new().item(body).item(narrowed);
    let problem = Content::new(Some(problem));
    ResponseBuilder::new().description(meanings.join("  \n")).content(PROBLEM, problem).build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_names_every_operation_once_and_no_other() {
        let description = crate::http::description();
        let mut operations = BTreeSet::new();
        for item in description.paths.paths.values() {
            for operation in [&item.get, &item.post, &item.put, &item.patch, &item.delete].into_iter().flatten() {
                assert!(operations.insert(operation.operation_id.clone().unwrap()), "each id once");
            }
        }
        let table: Vec<_> = REFUSALS.iter().map(|(operation, _)| (*operation).to_owned()).collect();
        assert_eq!(table.iter().cloned().collect::<BTreeSet<_>>(), operations);
        assert_eq!(table.len(), operations.len());
    }
}
