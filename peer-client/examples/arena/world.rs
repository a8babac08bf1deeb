//! The rules of the arena, as a value: no clock, no network, and randomness from its own seed.
//!
//! Players walk on a grid, pick up coins and shoot; a shot costs a coin, which goes to a dispenser, and a player who is hit
//! drops half of its pocket. Coins are never made or lost: what lies on the floor, is in pockets and in dispensers adds up to
//! the same number for ever, which is how a migration can be checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Cells from left to right.
pub(crate) const WIDTH: u8 = 46;
/// Cells from top to bottom.
pub(crate) const HEIGHT: u8 = 18;
/// Steps of the world in a second.
pub(crate) const TICKS_PER_SECOND: u64 = 30;

const DISPENSERS: [Cell; 3] = [Cell { x: 8, y: 4 }, Cell { x: 37, y: 4 }, Cell { x: 22, y: 13 }];
const COINS_PER_DISPENSER: u16 = 20;
/// A dispenser pays this often.
const PAY_TICKS: u64 = 12;
/// A player walks ten cells a second.
const STEP_TICKS: u8 = 3;
const RELOAD_TICKS: u8 = 12;
const STUN_TICKS: u8 = 15;
const SHOT_RANGE: u8 = 14;
/// Coins of a hit player fly this far.
const SCATTER_CELLS: u8 = 3;
/// More players than a lobby can have; a world that claims more is not read.
const PLAYERS_MAX: usize = 1000;
/// A shot flies for 14 ticks and the next one takes 12.
const SHOTS_MAX: usize = 2 * PLAYERS_MAX;
/// More than there are, and few enough that no pocket overflows.
const COINS_MAX: u64 = u16::MAX as u64;
/// A few hundred thousand years, so that no tick overflows.
const TICK_MAX: u64 = 1 << 48;

/// A place on the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// From the left.
    pub(crate) x: u8,
    /// From the top.
    pub(crate) y: u8,
}

/// Where a player looks and a shot flies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Direction {
    Up,
    Down,
    Left,
    Right,
}

/// What a player wants in one tick.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Input {
    /// Turn and walk there.
    pub(crate) walk: Option<Direction>,
    /// Shoot where it looks.
    pub(crate) shoot: bool,
}

/// A player's figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Player {
    pub(crate) at: Cell,
    pub(crate) looks: Direction,
    pub(crate) coins: u16,
    /// False while the player is away: the figure stands still and cannot be hit.
    pub(crate) enabled: bool,
    walks_in: u8,
    shoots_in: u8,
    pub(crate) stunned: u8,
}

/// A shot under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shot {
    pub(crate) at: Cell,
    pub(crate) flies: Direction,
    by: u32,
    cells_left: u8,
}

/// A machine that nobody owns: it collects the price of shots and throws coins out again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dispenser {
    pub(crate) at: Cell,
    pub(crate) coins: u16,
}

/// The whole arena at a tick. Players are named by their connection ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct World {
    pub(crate) tick: u64,
    /// What this arena was made from; it never changes.
    pub(crate) seed: u64,
    random: u64,
    pub(crate) players: BTreeMap<u32, Player>,
    pub(crate) floor: BTreeMap<Cell, u16>,
    pub(crate) shots: Vec<Shot>,
    pub(crate) dispensers: Vec<Dispenser>,
}

/// Why bytes are not an arena.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("the arena cannot be read")]
    Malformed(#[from] rmp_serde::decode::Error),
    #[error("the arena has things outside of its walls, or too many of them")]
    OutOfBounds,
}

impl World {
    /// An arena without players.
    pub(crate) fn new(seed: u64) -> Self {
        let dispensers = DISPENSERS.map(|at| Dispenser { at, coins: COINS_PER_DISPENSER }).to_vec();
        let (players, floor) = (BTreeMap::new(), BTreeMap::new());
        Self { tick: 0, seed, random: seed, players, floor, shots: Vec::new(), dispensers }
    }

    /// A player is here: for the first time, or again where it stood.
    pub(crate) fn enter(&mut self, connection: u32) {
        let at = Cell { x: self.below(WIDTH), y: self.below(HEIGHT) };
        let newcomer = Player {
            at,
            looks: Direction::Right,
            coins: 0,
            enabled: true,
            walks_in: 0,
            shoots_in: RELOAD_TICKS,
            stunned: 0,
        };
        self.players.entry(connection).or_insert(newcomer).enabled = true;
    }

    /// A player is away: it keeps its place and its coins.
    pub(crate) fn disable(&mut self, connection: u32) {
        if let Some(player) = self.players.get_mut(&connection) {
            player.enabled = false;
        }
    }

    /// Everybody but this player is away: after a restore, until they are back.
    pub(crate) fn disable_all_but(&mut self, connection: u32) {
        for (&other, player) in &mut self.players {
            player.enabled = other == connection;
        }
    }

    /// A player will not come back: its coins stay.
    pub(crate) fn leave(&mut self, connection: u32) {
        if let Some(player) = self.players.remove(&connection) {
            self.scatter(player.at, player.coins);
        }
    }

    /// All coins there are.
    pub(crate) fn coins(&self) -> u64 {
        let floor = self.floor.values().map(|&coins| u64::from(coins));
        let pockets = self.players.values().map(|player| u64::from(player.coins));
        let dispensers = self.dispensers.iter().map(|dispenser| u64::from(dispenser.coins));
        floor.chain(pockets).chain(dispensers).sum()
    }

    /// One tick.
    pub(crate) fn step(&mut self, inputs: &BTreeMap<u32, Input>) {
        self.tick += 1;
        self.fly();
        for (&connection, &input) in inputs {
            self.act(connection, input);
        }
        self.pay();
    }

    /// As bytes, for the wire and for snapshots.
    pub(crate) fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec(self).expect("a world is made of numbers, lists and maps, which MessagePack has")
    }

    /// Reads what [`World::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let world: Self = rmp_serde::from_slice(bytes)?;
        let cells = (world.players.values().map(|player| player.at))
            .chain(world.floor.keys().copied())
            .chain(world.shots.iter().map(|shot| shot.at))
            .chain(world.dispensers.iter().map(|dispenser| dispenser.at));
        let in_bounds = cells.into_iter().all(Cell::is_inside)
            && world.players.len() <= PLAYERS_MAX
            && world.shots.len() <= SHOTS_MAX
            && world.dispensers.len() == DISPENSERS.len()
            && world.coins() <= COINS_MAX
            && world.tick <= TICK_MAX;
        if in_bounds { Ok(world) } else { Err(DecodeError::OutOfBounds) }
    }

    /// Shots fly one cell, hit or end.
    fn fly(&mut self) {
        for mut shot in std::mem::take(&mut self.shots) {
            let Some(at) = shot.at.next(shot.flies).filter(|_| shot.cells_left > 0) else { continue };
            shot.at = at;
            shot.cells_left -= 1;
            if !self.hit(&shot) {
                self.shots.push(shot);
            }
        }
    }

    /// Whether a shot hits somebody, who then drops half of its coins.
    fn hit(&mut self, shot: &Shot) -> bool {
        let mut players = self.players.iter_mut();
        let target = players.find(|(connection, player)| {
            **connection != shot.by && player.enabled && player.stunned == 0 && player.at == shot.at
        });
        let Some((_, player)) = target else { return false };
        let dropped = player.coins.div_ceil(2);
        player.coins -= dropped;
        player.stunned = STUN_TICKS;
        self.scatter(shot.at, dropped);
        true
    }

    /// One player turns, walks, picks up and shoots.
    fn act(&mut self, connection: u32, input: Input) {
        let Some(player) = self.players.get_mut(&connection).filter(|player| player.enabled) else { return };
        player.walks_in = player.walks_in.saturating_sub(1);
        player.shoots_in = player.shoots_in.saturating_sub(1);
        if player.stunned > 0 {
            player.stunned -= 1;
            return;
        }
        player.looks = input.walk.unwrap_or(player.looks);
        if input.walk.is_some() && player.walks_in == 0 {
            player.walks_in = STEP_TICKS;
            player.at = player.at.next(player.looks).unwrap_or(player.at);
        }
        if let Some(found) = self.floor.remove(&player.at) {
            player.coins += found;
        }
        if input.shoot && player.shoots_in == 0 && player.coins > 0 {
            player.shoots_in = RELOAD_TICKS;
            player.coins -= 1;
            let shot = Shot { at: player.at, flies: player.looks, by: connection, cells_left: SHOT_RANGE };
            self.shots.push(shot);
            self.collect(connection);
        }
    }

    /// The price of a shot goes to a dispenser.
    fn collect(&mut self, connection: u32) {
        let dispensers = self.dispensers.len();
        self.dispensers[connection as usize % dispensers].coins += 1;
    }

    /// Each dispenser throws out a coin now and then.
    fn pay(&mut self) {
        if !self.tick.is_multiple_of(PAY_TICKS) {
            return;
        }
        for index in 0..self.dispensers.len() {
            let dispenser = &mut self.dispensers[index];
            if dispenser.coins > 0 {
                dispenser.coins -= 1;
                let at = dispenser.at;
                self.scatter(at, 1);
            }
        }
    }

    /// Drops coins around a place.
    fn scatter(&mut self, around: Cell, coins: u16) {
        for _ in 0..coins {
            let offset = |drawn: u8, from: u8, size: u8| (from + drawn).saturating_sub(SCATTER_CELLS).min(size - 1);
            let x = offset(self.below(2 * SCATTER_CELLS + 1), around.x, WIDTH);
            let y = offset(self.below(2 * SCATTER_CELLS + 1), around.y, HEIGHT);
            *self.floor.entry(Cell { x, y }).or_default() += 1;
        }
    }

    /// A number below `limit` from the world's own randomness, so that equal worlds stay equal.
    fn below(&mut self, limit: u8) -> u8 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let drawn = scramble(self.random) % u64::from(limit);
        u8::try_from(drawn).expect("a remainder is smaller than its divisor, which is a byte")
    }
}

impl Cell {
    /// The neighbour, if it is inside.
    pub(crate) fn next(self, direction: Direction) -> Option<Self> {
        let (x, y) = match direction {
            Direction::Up => (Some(self.x), self.y.checked_sub(1)),
            Direction::Down => (Some(self.x), self.y.checked_add(1)),
            Direction::Left => (self.x.checked_sub(1), Some(self.y)),
            Direction::Right => (self.x.checked_add(1), Some(self.y)),
        };
        Some(Self { x: x?, y: y? }).filter(|cell| cell.is_inside())
    }

    /// Steps from one to the other.
    pub(crate) fn distance(self, other: Self) -> u32 {
        u32::from(self.x.abs_diff(other.x)) + u32::from(self.y.abs_diff(other.y))
    }

    const fn is_inside(self) -> bool {
        self.x < WIDTH && self.y < HEIGHT
    }
}

/// Spreads every bit of a number over all of them (the finaliser of SplitMix64).
pub(crate) const fn scramble(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random_input(random: &mut fastrand::Rng) -> Input {
        let walk = random.choice([Direction::Up, Direction::Down, Direction::Left, Direction::Right]);
        Input { walk: walk.filter(|_| random.bool()), shoot: random.u8(..4) == 0 }
    }

    /// Random ticks with players who come, go away, come back and leave.
    fn played(seed: u64, ticks: u32, mut check: impl FnMut(&World)) -> World {
        let (mut world, mut random) = (World::new(seed), fastrand::Rng::with_seed(seed));
        for _ in 0..ticks {
            let connection = random.u32(..5);
            match random.u32(..60) {
                0..=2 => world.enter(connection),
                3 => world.disable(connection),
                4 => world.leave(connection),
                _ => {}
            }
            let inputs = world.players.keys().map(|&connection| (connection, random_input(&mut random))).collect();
            world.step(&inputs);
            check(&world);
        }
        world
    }

    #[test]
    fn coins_are_neither_made_nor_lost_in_ten_thousand_random_ticks() {
        let coins = World::new(1).coins();
        let (mut most_shots, mut richest) = (0, 0);
        played(1, 10_000, |world| {
            assert_eq!(world.coins(), coins, "tick {}", world.tick);
            most_shots = most_shots.max(world.shots.len());
            richest = richest.max(world.players.values().map(|player| player.coins).max().unwrap_or(0));
        });
        assert!(most_shots > 0 && richest > 1, "something happened: {most_shots} shots, {richest} coins");
    }

    #[test]
    fn a_world_reads_back_as_it_was_written_and_goes_on_the_same_way() {
        let mut world = played(2, 2000, |_| {});
        let mut copy = World::decode(&world.encode()).unwrap();
        assert_eq!(copy, world);
        let inputs = BTreeMap::from([(1, Input { walk: Some(Direction::Left), shoot: true })]);
        for _ in 0..100 {
            world.step(&inputs);
            copy.step(&inputs);
        }
        assert_eq!(copy, world);
    }

    #[test]
    fn bytes_that_were_cut_or_changed_never_panic() {
        let (bytes, mut random) = (played(3, 500, |_| {}).encode(), fastrand::Rng::with_seed(3));
        for at in 0..bytes.len() {
            assert!(World::decode(&bytes[..at]).is_err());
            let mut changed = bytes.clone();
            changed[at] ^= 0xFF;
            if let Ok(mut world) = World::decode(&changed) {
                let inputs = world.players.keys().map(|&connection| (connection, random_input(&mut random))).collect();
                (0..20).for_each(|_| world.step(&inputs));
            }
        }
    }

    #[test]
    fn a_player_who_is_away_stands_still_keeps_its_coins_and_is_not_hit() {
        let mut world = World::new(4);
        world.enter(1);
        world.enter(2);
        let away = world.players.get_mut(&2).unwrap();
        (away.coins, away.at) = (4, Cell { x: 10, y: 5 });
        world.disable(2);
        let shooter = world.players.get_mut(&1).unwrap();
        (shooter.coins, shooter.at, shooter.looks) = (9, Cell { x: 7, y: 5 }, Direction::Right);
        let before = world.players[&2].clone();
        let walk = Input { walk: Some(Direction::Up), shoot: true };
        let inputs = BTreeMap::from([(1, Input { walk: None, shoot: true }), (2, walk)]);
        (0..60).for_each(|_| world.step(&inputs));
        assert_eq!(world.players[&2], before);
        world.enter(2);
        (0..60).for_each(|_| world.step(&BTreeMap::from([(1, Input { walk: None, shoot: true })])));
        assert!(world.players[&2].coins < 4, "back in the game it is hit");
    }
}
