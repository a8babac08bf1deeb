//! A player made of a few lines: it runs for the nearest coin and shoots at the rich.

use crate::world::{Cell, Direction, Input, World};

/// As far as a bot takes aim.
const AIM_CELLS: u32 = 10;
/// Coins that make a target worth the price of a shot.
const WORTH_COINS: u16 = 3;

/// What the bot at this seat wants now.
pub(crate) fn input(world: &World, connection: u32) -> Input {
    let Some(me) = world.players.get(&connection) else { return Input::default() };
    let rich = world.players.iter().filter(|&(&other, player)| other != connection && player.enabled);
    let mut targets = rich.filter(|(_, player)| player.coins >= WORTH_COINS).map(|(_, player)| player.at);
    if me.coins > 0
        && let Some(aim) = targets.find_map(|at| line_of_fire(me.at, at))
    {
        return Input { walk: Some(aim), shoot: true };
    }
    let nearest = world.floor.keys().min_by_key(|cell| (cell.distance(me.at), **cell));
    Input { walk: nearest.and_then(|&coin| towards(me.at, coin)), shoot: false }
}

/// The direction in which a shot from one cell hits the other, if it is near enough.
fn line_of_fire(from: Cell, to: Cell) -> Option<Direction> {
    let in_line = (from.x == to.x) != (from.y == to.y);
    (in_line && from.distance(to) <= AIM_CELLS).then(|| towards(from, to)).flatten()
}

/// The first step, along the longer way of the two.
fn towards(from: Cell, to: Cell) -> Option<Direction> {
    let sideways = from.x.abs_diff(to.x) > from.y.abs_diff(to.y);
    match (sideways, from == to) {
        (_, true) => None,
        (true, _) if to.x < from.x => Some(Direction::Left),
        (true, _) => Some(Direction::Right),
        (false, _) if to.y < from.y => Some(Direction::Up),
        (false, _) => Some(Direction::Down),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn five_bots_keep_the_arena_busy() {
        let mut world = World::new(9);
        (0..5).for_each(|connection| world.enter(connection));
        let (mut shots, mut stunned) = (0, 0);
        for _ in 0..3000 {
            let inputs: BTreeMap<_, _> = (0..5).map(|connection| (connection, input(&world, connection))).collect();
            world.step(&inputs);
            shots += world.shots.len();
            stunned += world.players.values().filter(|player| player.stunned > 0).count();
        }
        let pockets: u16 = world.players.values().map(|player| player.coins).sum();
        assert!(shots > 100 && stunned > 100 && pockets > 5, "{shots} shots, {stunned} stunned, {pockets} coins");
    }
}
