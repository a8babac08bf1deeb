//! Values in the form that the TypeScript has them.

use std::time::{Duration, Instant};

use protocol::id::ConnectionId;
use protocol::journal::{
    Class, Ledger, LedgerEntry, Missing, Offer, Position, Receipt, Resumed, Said, Settled, Stretch,
};
use protocol::objects::{Change, Object, ObjectTable};
use protocol::snapshot::{Generation, SnapshotError};
use serde_json::{Map, Value, json};

/// Where all times are counted from.
pub(crate) fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test needs an origin; nothing depends on which")]
    Instant::now()
}

/// Bytes as hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Milliseconds, whole ones without a fraction.
pub(crate) fn ms(duration: Duration) -> Value {
    let nanos = duration.as_nanos();
    if nanos.is_multiple_of(1_000_000) { json!(duration.as_millis() as u64) } else { json!(nanos as f64 / 1e6) }
}

/// What the TypeScript names with the word that Rust writes in camel case.
pub(crate) fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// An enum without anything in it.
pub(crate) fn word(value: impl std::fmt::Debug) -> Value {
    json!(snake(&format!("{value:?}")))
}

pub(crate) fn generation(generation: Generation) -> Value {
    json!({ "epoch": generation.epoch, "seq": generation.seq })
}

pub(crate) fn class(class: Class) -> Value {
    word(class)
}

pub(crate) fn receipt(receipt: Receipt) -> Value {
    word(receipt)
}

pub(crate) fn missing(missing: Missing) -> Value {
    json!({ "from": missing.from, "to": missing.to })
}

pub(crate) fn stretches(stretches: &[Stretch]) -> Value {
    stretches.iter().map(|stretch| json!({ "epoch": stretch.epoch, "after": stretch.after })).collect()
}

pub(crate) fn offer(offer: &Offer) -> Value {
    json!({
        "stream": offer.stream.0.to_string(), "oldest": offer.oldest, "received": offer.received,
        "receivedStable": offer.received_stable, "stretches": stretches(&offer.stretches),
    })
}

pub(crate) fn position(position: &Position) -> Value {
    json!({
        "epoch": position.epoch, "received": position.received, "common": position.common, "oldest": position.oldest,
        "oldestStable": position.oldest_stable,
    })
}

pub(crate) fn resumed(resumed: &Resumed) -> Value {
    json!({
        "sayAfter": resumed.say_after, "inputsLost": resumed.inputs_lost.map(missing),
        "takenBack": resumed.taken_back.map(missing), "neverHeard": resumed.never_heard.map(missing),
    })
}

fn said(said: &Said) -> Value {
    json!({ "first": said.first, "messages": said.messages.iter().map(|message| hex(message)).collect::<Vec<_>>() })
}

fn entry(entry: &LedgerEntry) -> Value {
    json!({
        "connection": entry.connection, "stream": entry.stream.0.to_string(), "applied": entry.applied,
        "down": said(&entry.down), "stable": said(&entry.stable), "stretches": stretches(&entry.stretches),
    })
}

pub(crate) fn ledger(ledger: &Ledger) -> Value {
    ledger.0.iter().map(entry).collect()
}

pub(crate) fn settled(settled: &Settled) -> Value {
    json!({
        "connection": settled.connection, "applied": settled.applied, "releaseAfter": settled.release_after,
        "releaseUpTo": settled.release_up_to,
    })
}

pub(crate) fn object(object: &Object) -> Value {
    json!({ "owner": object.owner, "enabled": object.enabled, "data": hex(&object.data) })
}

pub(crate) fn table(table: &ObjectTable) -> Value {
    table.iter().map(|(id, known)| json!([id, object(known)])).collect()
}

pub(crate) fn change(change: &Change) -> Value {
    match change {
        Change::Placed { id, object: placed } => json!({ "kind": "placed", "id": id, "object": object(placed) }),
        Change::Removed { id } => json!({ "kind": "removed", "id": id }),
        Change::Enabled { owner, enabled } => json!({ "kind": "enabled", "owner": owner, "enabled": enabled }),
    }
}

pub(crate) fn refusal(error: SnapshotError) -> Value {
    word(error)
}

/// An object with its `kind` and some fields.
pub(crate) fn kind(kind: &str, fields: Value) -> Value {
    let mut whole = Map::from_iter([("kind".to_owned(), json!(kind))]);
    if let Value::Object(fields) = fields {
        whole.extend(fields);
    }
    Value::Object(whole)
}

pub(crate) fn seats(seats: impl IntoIterator<Item = ConnectionId>) -> Value {
    seats.into_iter().map(|seat| json!(seat)).collect()
}
