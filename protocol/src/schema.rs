//! What the API's description says of values that no Rust type describes as exactly: types that stand for a schema alone.
//!
//! Rules that a schema cannot say, as bytes where it counts characters, stand in the descriptions only.

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::limits;

/// Declares a schema: its name in the description, and what it says.
macro_rules! schemas {
    ($($(#[doc = $doc:literal])* $name:ident = $schema:expr;)*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Debug)]
            pub struct $name;

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    let mut schema: Value = $schema;
                    schema["description"] = concat!($($doc),*).trim().into();
                    RefOr::T(serde_json::from_value(schema).expect("it is a schema, as a test makes sure"))
                }
            }

            impl ToSchema for $name {
                fn name() -> Cow<'static, str> {
                    stringify!($name).into()
                }

                fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                    schemas.extend(parts());
                }
            }
        )*
    };
}

schemas! {
    /// A name: at most 128 characters, no control characters.
    Name = text(PLAIN, 0, limits::NAME_CHARS_MAX);
    /// A lobby's name: 1 to 128 characters, no control characters.
    LobbyName = text(PLAIN, 1, limits::NAME_CHARS_MAX);
    /// An IP address and a port that others can dial: `192.0.2.1:4000` or `[2001:db8::1]:4000`.
    SocketAddress = json!({ "type": "string", "pattern": SOCKET_ADDRESS, "maxLength": limits::ADDRESS_BYTES_MAX });
    /// What a game keeps with a lobby, by key. At most 64 values and 32,768 bytes together; each index is used once.
    LobbyData = values(limits::LOBBY_DATA_KEYS_MAX, &reference("LobbyValue"));
    /// What becomes of a lobby's values: a key with `null` is removed, one that is not named stays.
    LobbyDataPatch = values(limits::LOBBY_DATA_KEYS_MAX, &or_null("LobbyValue"));
    /// What a game keeps with a member, by key. At most 32 values and 8,192 bytes together.
    MemberData = values(limits::MEMBER_DATA_KEYS_MAX, &reference("MemberValue"));
    /// What becomes of a member's values: a key with `null` is removed, one that is not named stays.
    MemberDataPatch = values(limits::LOBBY_DATA_KEYS_MAX, &or_null("MemberValue"));
    /// A condition. A lobby that has no value there does not fulfil it.
    LobbyFilter = json!({ "oneOf": [
        filter(&["name"], &["contains", "eq", "ne", "lt", "le", "gt", "ge"], &filter_text()),
        filter(&["build_id", "s1", "s2", "s3", "s4", "s5"], &COMPARED, &filter_text()),
        filter(&["locked", "has_password"], &COMPARED, &json!({ "type": "string", "enum": ["true", "false"] })),
        filter(
            &["max_members", "available_seats", "created_at", "updated_at", "n1", "n2", "n3", "n4", "n5"],
            &COMPARED,
            &number()
        ),
    ] });
}

/// No control characters.
const PLAIN: &str = r"^[^\x00-\x1F\x7F-\x9F]*$";
/// No control characters other than tabulators and line ends.
const LINES: &str = r"^[^\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F]*$";
const KEY: &str = "^[A-Za-z0-9_.-]{1,64}$";
const NUMBER: &str = r"^[+-]?([0-9]{1,64}(\.[0-9]{0,64})?|\.[0-9]{1,64})([eE][+-]?[0-9]{1,2})?$";
/// The bytes of an IPv4 address are at most 255; how an IPv6 address is shortened is left to those who read it.
const SOCKET_ADDRESS: &str = concat!(
    r"^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}",
    r"|\[[0-9A-Fa-f:.]{2,45}(%[0-9]{1,10})?\]):[1-9][0-9]{0,4}$"
);
/// Comparisons of any field.
const COMPARED: [&str; 6] = ["eq", "ne", "lt", "le", "gt", "ge"];

fn text(pattern: &str, at_least: usize, at_most: usize) -> Value {
    json!({ "type": "string", "pattern": pattern, "minLength": at_least, "maxLength": at_most })
}

fn number() -> Value {
    let description = "A finite number, as text.";
    json!({ "type": "string", "description": description, "pattern": NUMBER })
}

fn filter_text() -> Value {
    let description = "At most 8,192 bytes, without NUL.";
    json!({ "type": "string", "description": description, "pattern": r"^[^\x00]*$", "maxLength": limits::DATA_VALUE_BYTES_MAX })
}

fn filter(fields: &[&str], operators: &[&str], value: &Value) -> Value {
    let one_of = |texts: &[&str]| json!({ "type": "string", "enum": texts });
    json!({
        "type": "object", "required": ["field", "op", "value"], "additionalProperties": false,
        "properties": { "field": one_of(fields), "op": one_of(operators), "value": value },
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn or_null(name: &str) -> Value {
    json!({ "oneOf": [reference(name), { "type": "null" }] })
}

fn values(keys: usize, of: &Value) -> Value {
    json!({
        "type": "object", "maxProperties": keys, "additionalProperties": of,
        "propertyNames": { "type": "string", "pattern": KEY },
    })
}

/// The schemas that those above refer to.
fn parts() -> Vec<(String, RefOr<Schema>)> {
    let mut text = text(LINES, 0, limits::DATA_VALUE_BYTES_MAX);
    text["description"] = "At most 8,192 bytes; no control characters other than tabulators and line ends.".into();
    let mut short = self::text(LINES, 0, limits::INDEXED_BYTES_MAX - 1);
    short["description"] = "Less than 128 bytes.".into();
    let visibility = json!({ "type": "string", "enum": ["public", "member", "private"], "default": "member",
        "description": "Who sees it: everybody who sees the lobby; its members; or its host (a member's value: that member) alone. \
            Whoever may change it sees it too, and so do the game's servers." });
    let only_public = json!({ "type": "string", "enum": ["public"], "description": "Only public values are indexed." });
    let index = |names: [&str; 5]| json!({ "type": "string", "enum": names, "description": "What lobbies are found and ordered by." });
    let value = |properties: Value, required: &[&str]| json!({ "type": "object", "required": required, "additionalProperties": false, "properties": properties });
    let no_index = json!({ "type": "null", "description": "It is not indexed." });
    let plain = value(json!({ "value": text, "visibility": visibility, "index": no_index }), &["value"]);
    let indexed = ["value", "visibility", "index"];
    let as_text = index(["s1", "s2", "s3", "s4", "s5"]);
    let as_number = index(["n1", "n2", "n3", "n4", "n5"]);
    let found_by_text = value(json!({ "value": short, "visibility": only_public, "index": as_text }), &indexed);
    let found_by_number = value(json!({ "value": number(), "visibility": only_public, "index": as_number }), &indexed);
    let of_lobby = json!({ "description": "A lobby's value.", "oneOf": [plain, found_by_text, found_by_number] });
    let mut of_member = plain;
    of_member["description"] = "A member's value.".into();
    [("LobbyValue", of_lobby), ("MemberValue", of_member)]
        .map(|(name, schema)| {
            let schema = serde_json::from_value(schema).expect("it is a schema, as a test makes sure");
            (name.to_owned(), RefOr::T(schema))
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_are_schemas_and_nothing_of_them_is_lost() {
        let mut schemas = Vec::new();
        LobbyData::schemas(&mut schemas);
        for schema in [Name::schema(), LobbyName::schema(), SocketAddress::schema(), LobbyFilter::schema()]
            .into_iter()
            .chain([LobbyData::schema(), LobbyDataPatch::schema(), MemberData::schema(), MemberDataPatch::schema()])
            .chain(schemas.into_iter().map(|(_, schema)| schema))
        {
            assert!(serde_json::to_value(schema).unwrap()["description"].is_string());
        }
        let number = serde_json::to_value(LobbyFilter::schema()).unwrap()["oneOf"][3]["properties"]["value"].clone();
        assert_eq!(number, self::number());
    }
}
