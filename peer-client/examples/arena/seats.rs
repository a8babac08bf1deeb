//! Seats and what belongs to them: the figure on the grid, the object in the library's table, the secret that only hosts know.

use std::collections::BTreeSet;
use std::io;

use peer_client::protocol::id::{ConnectionId, ObjectId};
use peer_client::{Restored, Session};
use serde_json::json;

use crate::trace;
use crate::world::{World, scramble};

/// The figure of the player at connection c is object `FIGURES` + c; below are the dispensers, which nobody owns.
const FIGURES: u64 = 1000;
const FIRST_DISPENSER: u64 = 1;

/// Host only: brings the figures in line with who is in the game, away, or gone for good.
///
/// # Errors
/// Those of the trace.
pub(crate) fn seat_players(session: &Session, world: &mut World) -> io::Result<()> {
    let present: BTreeSet<u32> = session.in_game().into_iter().chain([session.me()]).map(|seat| seat.0).collect();
    let members: BTreeSet<u32> = session.lobby().members.iter().map(|member| member.connection.0).collect();
    let seated: Vec<(u32, bool)> = world.players.iter().map(|(&seat, player)| (seat, player.enabled)).collect();
    for &(connection, enabled) in &seated {
        if !members.contains(&connection) {
            world.leave(connection);
        } else if enabled && !present.contains(&connection) {
            world.disable(connection);
        }
    }
    for &connection in &present {
        if !seated.contains(&(connection, true)) {
            world.enter(connection);
            place_figure(session, world, connection)?;
        }
    }
    Ok(())
}

/// Host only: tells the library of the dispensers, unless it knows them already.
///
/// # Errors
/// Those of the trace.
pub(crate) fn place_dispensers(session: &Session, world: &World) -> io::Result<()> {
    if session.objects().object(ObjectId(FIRST_DISPENSER)).is_some() {
        return Ok(());
    }
    for id in (FIRST_DISPENSER..).take(world.dispensers.len()) {
        if let Err(error) = session.place_object(ObjectId(id), None, b"dispenser".to_vec()) {
            trace::write("unplaced", json!({"object": id, "error": error.to_string()}))?;
        }
    }
    Ok(())
}

/// The players of a stored arena whose secret is stored with it.
pub(crate) fn secrets_kept(snapshot: &Restored, world: &World) -> usize {
    let kept = |connection: &&u32| {
        let seat = snapshot.seats.iter().find(|seat| seat.connection.0 == **connection);
        seat.is_some_and(|seat| seat.host_data == secret(world.seed, **connection))
    };
    world.players.keys().filter(kept).count()
}

/// Tells the library of a player's figure, and of what only hosts may know of the player.
fn place_figure(session: &Session, world: &World, connection: u32) -> io::Result<()> {
    let (object, seat) = (ObjectId(FIGURES + u64::from(connection)), ConnectionId(connection));
    if session.objects().object(object).is_some_and(|figure| figure.owner == Some(seat)) {
        return Ok(());
    }
    let placed = session
        .place_object(object, Some(seat), b"figure".to_vec())
        .and_then(|()| session.set_seat_data(seat, secret(world.seed, connection)));
    match placed {
        Ok(()) => Ok(()),
        Err(error) => trace::write("unplaced", json!({"connection": connection, "error": error.to_string()})),
    }
}

/// What the host keeps of a seat and no guest sees: a number that can be computed again, so that a loss is noticed.
fn secret(seed: u64, connection: u32) -> Vec<u8> {
    scramble(seed ^ scramble(u64::from(connection))).to_be_bytes().to_vec()
}
