//! What can be done with what an operation answers, as links of the API's description: for readers, and for programs that try long
//! sequences of requests.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::openapi::link::Link;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{OpenApi, RefOr};

/// Parts of a request, each with where it comes from.
type Parts = &'static [(&'static str, &'static str)];
/// An operation that can follow, its parameters, and fields of its body.
type Next = (&'static str, Parts, Parts);

const ID: (&str, &str) = ("id", "$response.body#/lobby/id");
const CONNECTION: (&str, &str) = ("connection", "$response.body#/connection");
const EPOCH: (&str, &str) = ("epoch", "$response.body#/lobby/epoch");
const PEER_KEY: (&str, &str) = ("peer_key", "$request.body#/peer_key");
const SECRET: (&str, &str) = ("reconnect_secret", "$response.body#/reconnect_secret");
const PATH_ID: (&str, &str) = ("id", "$request.path.id");

/// What can follow a seat: some of it is for the host alone.
const OF_SEAT: &[Next] = &[
    ("show_lobby", &[ID], &[]),
    ("update_lobby", &[ID], &[EPOCH]),
    ("close_lobby", &[ID, EPOCH], &[]),
    ("join_lobby", &[ID], &[PEER_KEY]),
    ("join_by_code", &[], &[("join_code", "$response.body#/lobby/join_code"), PEER_KEY]),
    ("reconnect", &[ID], &[SECRET]),
    ("rotate_code", &[ID], &[EPOCH]),
    ("update_member", &[ID, CONNECTION], &[]),
    ("kick", &[ID, CONNECTION, EPOCH], &[]),
    ("list_bans", &[ID], &[]),
    ("ban", &[ID], &[EPOCH]),
    ("transfer", &[ID], &[EPOCH]),
    ("hand_over", &[ID], &[EPOCH]),
    ("leave", &[ID], &[]),
    ("heartbeat", &[ID], &[PEER_KEY]),
    ("ready", &[ID], &[EPOCH]),
    ("put_snapshot", &[ID], &[]),
    ("patch_snapshot", &[ID], &[]),
    ("fetch_snapshot", &[ID], &[]),
    ("election", &[ID], &[]),
    ("relay_token", &[ID], &[]),
    ("host_grant", &[ID], &[EPOCH]),
    ("ice_servers", &[ID], &[]),
    ("ticket", &[ID], &[]),
];

/// Operations with the status of their answers, and what can follow those.
const LINKS: &[(&str, &str, &[Next])] = &[
    (
        "sign_in",
        "201",
        &[
            ("refresh", &[], &[("refresh_token", "$response.body#/refresh_token")]),
            ("create_lobby", &[], &[]),
            ("create_or_join", &[], &[]),
            ("quick_join", &[], &[]),
            ("query_lobbies", &[], &[]),
        ],
    ),
    ("refresh", "200", &[("refresh", &[], &[("refresh_token", "$response.body#/refresh_token")])]),
    ("create_lobby", "201", OF_SEAT),
    ("create_or_join", "200", OF_SEAT),
    ("create_or_join", "201", OF_SEAT),
    ("join_by_code", "200", OF_SEAT),
    ("join_lobby", "200", OF_SEAT),
    ("quick_join", "200", OF_SEAT),
    ("reconnect", "200", OF_SEAT),
    ("memberships", "200", &[("show_lobby", &[("id", "$response.body#/joined/0")], &[])]),
    (
        "query_lobbies",
        "200",
        &[
            ("query_lobbies", &[], &[("continuation", "$response.body#/continuation")]),
            ("show_lobby", &[("id", "$response.body#/lobbies/0/id")], &[]),
            ("join_lobby", &[("id", "$response.body#/lobbies/0/id")], &[]),
        ],
    ),
    ("rotate_code", "200", &[("join_by_code", &[], &[("join_code", "$response.body#/join_code")])]),
    ("ban", "201", &[("unban", &[PATH_ID, ("player", "$response.body#/player")], &[])]),
    ("ticket", "201", &[("events", &[PATH_ID, ("ticket", "$response.body#/ticket")], &[])]),
];

/// Gives the answers their links.
pub(super) fn document(description: &mut OpenApi) {
    for item in description.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        operations.into_iter().flatten().for_each(give_links);
    }
}

fn give_links(operation: &mut Operation) {
    let id = operation.operation_id.as_deref().unwrap_or_default();
    for (_, status, following) in LINKS.iter().filter(|(from, ..)| *from == id) {
        if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(*status) {
            response.links = following.iter().map(|next| (next.0.to_owned(), RefOr::T(link(next)))).collect();
        }
    }
}

fn link((to, parameters, body): &Next) -> Link {
    let values = |parts: Parts| -> BTreeMap<String, Value> {
        parts.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect()
    };
    let body = (!body.is_empty()).then(|| Value::Object(values(body).into_iter().collect()));
    let link = values(parameters)
        .into_iter()
        .fold(Link::builder().operation_id(*to), |link, (name, value)| link.parameter(name, value));
    link.request_body(body).build()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    #[test]
    fn every_link_stands_at_an_answer_and_leads_to_an_operation_with_those_parameters() {
        let description = serde_json::to_value(crate::http::description()).unwrap();
        let operations: Vec<&Value> = description["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|item| item.as_object().unwrap().values())
            .collect();
        let named = |id: &str| *operations.iter().find(|operation| operation["operationId"] == id).unwrap();
        for (from, status, following) in super::LINKS {
            for (to, parameters, _) in *following {
                assert!(named(from)["responses"][status]["links"][to].is_object(), "{from} {status} {to}");
                let known = named(to)["parameters"].as_array().cloned().unwrap_or_default();
                for (name, _) in *parameters {
                    assert!(known.iter().any(|parameter| parameter["name"] == *name), "{to} {name}");
                }
            }
        }
    }
}
