//! What happens, for machines: one JSON object a line on standard error, written at once, with `at_us` and `kind`.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use peer_client::protocol::hand_over::GivenUp;
use peer_client::protocol::id::ConnectionId;
use peer_client::{Event, Migratability, MigrationTrace, StateSource, Strategy};
use serde_json::{Value, json};

/// Writes one line. `fields` is an object.
///
/// # Errors
/// Those of standard error: nobody reads it any more.
pub(crate) fn write(kind: &str, mut fields: Value) -> io::Result<()> {
    fields["at_us"] = json!(now_us());
    fields["kind"] = json!(kind);
    // One write a line: lines of several threads, and of a process that is killed, stay whole.
    io::stderr().lock().write_all(format!("{fields}\n").as_bytes())
}

/// Microseconds since the Unix epoch, by this machine's clock.
pub(crate) fn now_us() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A time in whole microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
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
        Event::PathChanged { peer, path, took } => {
            json!({"name": "path_changed", "peer": peer, "path": path.name(), "took_us": took.as_micros()})
        }
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
        Event::InputsLost { who, numbers } => json!({"name": "inputs_lost", "who": who, "numbers": numbers}),
        Event::TakenBack { numbers } => json!({"name": "taken_back", "numbers": numbers}),
        Event::NeverHeard { numbers } => json!({"name": "never_heard", "numbers": numbers}),
        Event::Migrated(migration) => migrated(migration),
        Event::Migratability(now) => migratability(now),
        Event::StrategyChosen { strategy, reason } => {
            json!({"name": "strategy_chosen", "strategy": strategy_name(*strategy), "reason": reason})
        }
        Event::HandOverBegun { to } => peer("hand_over_begun", "to", to),
        Event::HandOverFailed { to, why } => json!({"name": "hand_over_failed", "to": to, "why": given_up(*why)}),
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

fn migrated(migration: &MigrationTrace) -> Value {
    let MigrationTrace { from, to, epoch, planned, generation, ticks_lost, said_again, .. } = migration;
    json!({
        "name": "migrated",
        "from": from,
        "to": to,
        "epoch": epoch,
        "planned": planned,
        "noticed_us": migration.noticed.map(micros),
        "elected_us": migration.elected.map(micros),
        "found_us": migration.found.map(micros),
        "restored_us": migration.restored.map(micros),
        "resumed_us": micros(migration.resumed),
        "source": migration.source.map(source_name),
        "generation": generation,
        "ticks_lost": ticks_lost,
        "said_again": said_again,
    })
}

fn migratability(now: &Migratability) -> Value {
    let Migratability { successor, is_warm, lag_ticks, .. } = now;
    json!({
        "name": "migratability",
        "successor": successor,
        "is_warm": is_warm,
        "lag_ticks": lag_ticks,
        "lag_us": micros(now.lag),
        "durable_age_us": now.durable_age.map(micros),
        "predicted_loss_us": now.predicted_loss.map(micros),
        "predicted_pause_us": now.predicted_pause.map(micros),
        "strategy": strategy_name(now.strategy),
    })
}

const fn strategy_name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Automatic => "automatic",
        Strategy::Replica => "replica",
        Strategy::BaseAndDeltas => "deltas",
        Strategy::Snapshot => "snapshot",
        _ => "unknown",
    }
}

const fn source_name(source: StateSource) -> &'static str {
    match source {
        StateSource::Warm => "warm",
        StateSource::Lobby => "lobby",
        StateSource::Member => "member",
        StateSource::Nothing => "nothing",
    }
}

const fn given_up(why: GivenUp) -> &'static str {
    match why {
        GivenUp::SuccessorGone => "successor_gone",
        GivenUp::TooLate => "too_late",
        GivenUp::Refused => "refused",
        GivenUp::Cancelled => "cancelled",
    }
}
