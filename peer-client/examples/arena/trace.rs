//! What happens, for machines: one JSON object a line on standard error, written at once, with `at_us` and `kind`.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use peer_client::Event;
use peer_client::protocol::id::ConnectionId;
use serde_json::{Value, json};

/// Writes one line. `fields` is an object.
///
/// # Errors
/// Those of standard error: nobody reads it any more.
pub(crate) fn write(kind: &str, mut fields: Value) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    fields["at_us"] = json!(u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
    fields["kind"] = json!(kind);
    // One write a line: lines of several threads, and of a process that is killed, stay whole.
    io::stderr().lock().write_all(format!("{fields}\n").as_bytes())
}

/// An event with its name and all of its fields.
pub(crate) fn event(event: &Event) -> Value {
    let peer = |name: &str, field: &str, connection: &ConnectionId| json!({"name": name, field: connection});
    match event {
        Event::PeersUpdated => json!({"name": "peers_updated"}),
        Event::HostLost { host, cause } => json!({"name": "host_lost", "host": host, "cause": cause}),
        Event::HostReturned { host } => peer("host_returned", "host", host),
        Event::HostElected { host, epoch } => json!({"name": "host_elected", "host": host, "epoch": epoch}),
        Event::HostMigrated { host, epoch } => json!({"name": "host_migrated", "host": host, "epoch": epoch}),
        Event::JoinedGame { host, epoch } => json!({"name": "joined_game", "host": host, "epoch": epoch}),
        Event::ReconnectedToHost { host } => peer("reconnected_to_host", "host", host),
        Event::RefusedByHost { host, reason } => json!({"name": "refused_by_host", "host": host, "reason": reason}),
        Event::DisconnectedFromHost { host } => peer("disconnected_from_host", "host", host),
        Event::HostShutDown { host } => peer("host_shut_down", "host", host),
        Event::BecameHost { epoch } => json!({"name": "became_host", "epoch": epoch}),
        Event::Demoted { epoch } => json!({"name": "demoted", "epoch": epoch}),
        Event::PlayerJoined { connection } => peer("player_joined", "connection", connection),
        Event::PlayerLeft { connection, reason } => {
            json!({"name": "player_left", "connection": connection, "reason": reason})
        }
        Event::PlayerDisconnected { connection } => peer("player_disconnected", "connection", connection),
        Event::PlayerReconnected { connection } => peer("player_reconnected", "connection", connection),
        Event::ObjectReconnected { object, owner } => {
            json!({"name": "object_reconnected", "object": object, "owner": owner})
        }
        Event::AuthorityChanged { object, owner } => {
            json!({"name": "authority_changed", "object": object, "owner": owner})
        }
        Event::SnapshotStored { generation, tick, bytes } => {
            json!({"name": "snapshot_stored", "generation": generation, "tick": tick, "bytes": bytes})
        }
        Event::SnapshotFailed { generation, reason } => {
            json!({"name": "snapshot_failed", "generation": generation, "reason": reason})
        }
        Event::Parked { reason } => json!({"name": "parked", "reason": reason}),
        Event::LobbyUnreachable => json!({"name": "lobby_unreachable"}),
        Event::LobbyReachable => json!({"name": "lobby_reachable"}),
        Event::Removed => json!({"name": "removed"}),
        Event::Replaced => json!({"name": "replaced"}),
        Event::Left => json!({"name": "left"}),
        Event::Overrun => json!({"name": "overrun"}),
        _ => json!({"name": "unknown"}),
    }
}
