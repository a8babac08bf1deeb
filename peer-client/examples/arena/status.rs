//! What a process tells of its game, a few times a second.

use std::io;
use std::time::{Duration, Instant};

use peer_client::{LinkPath, LinkReport, Role};
use serde_json::{Value, json};

use crate::game::{Game, role_name};
use crate::trace;
use crate::world::{Player, TICKS_PER_SECOND};

/// Processes write their status at the same ticks, so that it can be compared; and at least this often.
const TICKS: u64 = TICKS_PER_SECOND / 5;
const INTERVAL: Duration = Duration::from_millis(200);

/// When it was told last.
#[derive(Debug)]
pub(crate) struct Status {
    at: Instant,
    tick: u64,
}

impl Status {
    /// It was not told yet.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { at: now, tick: 0 }
    }

    /// Whether it is time, and it is told now.
    pub(crate) fn is_due(&mut self, tick: u64, now: Instant) -> bool {
        let tick = tick / TICKS;
        let is_due = tick != self.tick || now >= self.at + INTERVAL;
        if is_due {
            (self.at, self.tick) = (now, tick);
        }
        is_due
    }
}

/// Writes it.
///
/// # Errors
/// Those of the trace.
pub(crate) fn write(game: &Game) -> io::Result<()> {
    let (session, world, customer) = (game.session(), &game.world, &game.customer);
    let player = |(connection, player): (&u32, &Player)| {
        let (enabled, coins) = (player.enabled, player.coins);
        json!({"connection": connection, "enabled": enabled, "coins": coins})
    };
    let objects = session.objects();
    let mut status = json!({
        "role": role_name(session.role()),
        "epoch": session.epoch(),
        "world_epoch": game.world_epoch,
        "host": session.host(),
        "tick": world.tick,
        "players": world.players.iter().map(player).collect::<Vec<_>>(),
        "coins": world.coins(),
        "owned": objects.owned_by(session.me()).collect::<Vec<_>>(),
        "objects": objects.iter().count(),
        "said": customer.said,
        "receipts": customer.newest,
        "receipts_lost": customer.lost,
        "receipts_twice": customer.twice,
        "links": session.links().iter().map(link).collect::<Vec<_>>(),
    });
    let to_host = session.links().into_iter().find(|link| Some(link.peer) == session.host() && link.in_game);
    status["path"] = json!(to_host.and_then(|link| link.path).map(LinkPath::name));
    if session.role() == Role::Host {
        add_bank(&mut status, game);
    }
    trace::write("status", status)
}

fn link(link: &LinkReport) -> Value {
    json!({
        "peer": link.peer,
        "path": link.path.map(LinkPath::name),
        "round_trip_us": link.round_trip.map(|time| time.as_micros()),
        "in_game": link.in_game,
        "spare": link.spare.map(LinkPath::name),
    })
}

/// What only a host knows: what it sent to its successor, the totals, and the newest operation of each account.
fn add_bank(status: &mut Value, game: &Game) {
    let bank = &game.vault.bank;
    status["state_bytes_sent"] = json!(game.session().state_bytes_sent());
    status["banked"] = json!(bank.banked);
    status["lost"] = json!(bank.lost);
    status["twice"] = json!(bank.twice);
    let newest = bank.accounts.iter().map(|(connection, account)| (connection.to_string(), json!(account.newest)));
    status["accounts"] = newest.collect();
}
