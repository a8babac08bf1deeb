//! `docs/unity.md` names everything of Unity's, and nothing of ours that is not there.

use std::collections::BTreeSet;

use protocol::error::ErrorCode;
use serde_json::Value;

const PAGE: &str = include_str!("../../docs/unity.md");
const README: &str = include_str!("../../README.md");
const LIBRARY: [&str; 3] = [
    include_str!("../../peer-client/src/event.rs"),
    include_str!("../../peer-client/src/request.rs"),
    include_str!("../../peer-client/src/builder.rs"),
];

/// What Unity's REST interfaces, SDKs and codes are called.
const UNITY: &str = "
    /query /create /joinbycode /{lobbyId}/join` /{lobbyId}/createorjoin /quickjoin /{lobbyId}/reconnect GET|/{lobbyId}`
    POST|/{lobbyId}` DELETE|/{lobbyId}` POST|/{lobbyId}/players/{playerId} DELETE|/{lobbyId}/players/{playerId}
    /{lobbyId}/bulkupdate /{lobbyId}/heartbeat /{lobbyId}/tokens wireJoin vivoxJoin GET|/joined GET|/hosted migrationdatainfo
    If-Match service-id impersonated-user-id ignoreIneffectualUpdates allocationId` connectionInfo sampleResults
    lobbyCode upid environmentId maxPlayers availableSlots isPrivate isLocked hasPassword players[] hostId lastUpdated
    MaxPlayers AvailableSlots Created LastUpdated IsLocked HasPassword CONTAINS EQ NE LT LE GT GE S1 S5 N1 N5
    LobbyChanged PlayerJoined PlayerLeft DataChanged DataAdded DataRemoved PlayerDataChanged PlayerDataAdded PlayerDataRemoved
    LobbyDeleted KickedFromLobby Unsubscribed Subscribing Subscribed Unsynced Error
    16000 16001 16002 16003 16004 16005 16006 16007 16009 16010 16400 16401 16403 16404 16409 16412 16429 16500 16503 16601 16602
    16603 16604 16998 16999
    GetMigrationDataInfoAsync UploadMigrationDataAsync DownloadMigrationDataAsync UpdateLobbyAsync{HostId}
    WithHostMigration(handler) interval,|timeout IMigrationDataHandler.Generate IMigrationDataHandler.Apply
    GetHostMigrationDataAsync SetHostMigrationDataAsync SessionHostChanged SessionMigrated preserveRegion EnableHostMigration
    HostMigrationConfig HostMigrationStats HostMigrationInProgress IsMigrated NetworkStreamIsReconnected IncludeInMigration
    NonGhostMigrationComponents HostMigrationData.Get HostMigrationData.Set
    /v1/allocate /v1/joincode /v1/join` /v1/regions allocationIdBytes serverEndpoints udp dtls wss connectionData hostConnectionData
    BIND PING CONNECT RELAY DISCONNECT CLOSE 15001 15006 15007 15008 15009 15010 15429";

/// What stands in the first column of the tables, which is Unity's, and what stands elsewhere, which is ours.
fn columns() -> (String, String) {
    let (mut theirs, mut ours) = (String::new(), String::new());
    for line in PAGE.lines() {
        match line.strip_prefix("| ").and_then(|row| row.split_once(" | ")) {
            Some((first, rest)) => {
                theirs += &format!("{first}\n");
                ours += &format!("{rest}\n");
            }
            None => ours += &format!("{line}\n"),
        }
    }
    (theirs, ours)
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn the_page_names_every_call_event_and_code_of_unity() {
    let missing: Vec<_> =
        UNITY.split_whitespace().map(|name| name.replace('|', " ")).filter(|name| !PAGE.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(README.contains("docs/unity.md"), "the README leads to the page");
}

#[test]
fn what_the_page_names_of_ours_is_there() {
    let description = serde_json::to_value(lobby_service::http::description()).unwrap();
    let mut operations = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        operations
            .extend(methods.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    let mut words: BTreeSet<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    collect(&description["components"], &mut words);
    let (_, ours) = columns();
    let (mut named, mut wrong) = (0, Vec::new());
    for name in quoted(&ours) {
        let is_there = match name.split_once("::") {
            Some((_, item)) => LIBRARY.iter().any(|source| source.contains(&format!(" {item}"))),
            None if name.contains(" /") => operations.contains(name),
            None if name.chars().all(|letter| letter.is_ascii_digit()) => is_close_code(name, &description),
            None if is_word(name) => words.contains(name),
            None => continue,
        };
        named += 1;
        if !is_there {
            wrong.push(name);
        }
    }
    assert!(named > 100, "{named} names were found");
    assert!(wrong.is_empty(), "{wrong:?} are not there");
}

/// A word of the API: not a name of Unity's or of a header.
fn is_word(name: &str) -> bool {
    let is_of_unity = UNITY.split_whitespace().any(|of_unity| of_unity.trim_matches('`') == name);
    name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_') && !is_of_unity
}

fn is_close_code(number: &str, description: &Value) -> bool {
    let reasons = description["components"]["schemas"]["CloseReason"]["enum"].as_array().unwrap();
    let reasons =
        reasons.iter().map(|reason| serde_json::from_value::<protocol::message::CloseReason>(reason.clone()).unwrap());
    reasons.into_iter().any(|reason| reason.code().to_string() == number)
}

/// Names of fields and values.
fn collect<'a>(value: &'a Value, words: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match (name.as_str(), value) {
                    ("properties", Value::Object(fields)) => words.extend(fields.keys().map(String::as_str)),
                    ("enum", Value::Array(values)) => words.extend(values.iter().filter_map(Value::as_str)),
                    _ => {}
                }
                collect(value, words);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, words)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
