//! What the arena in the browser must do the same: rules, bot, and bytes, written to `peer-client/web/vectors/arena.json`.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::ballast::Ballast;
use crate::bot;
use crate::message::Packet;
use crate::stored::Vault;
use crate::world::{Direction, Input, World, scramble};

/// The committed file.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web/vectors/arena.json");
const TICKS: u32 = 300;
/// Whole states stand in the file this often; of the ticks between them there is a sum.
const STATE_TICKS: u64 = 60;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A number of all bytes: words are little-endian, the last one is filled up with zeros.
fn sum(bytes: &[u8]) -> String {
    let sum = bytes.chunks(8).fold(0, |sum, word| {
        let mut whole = [0; 8];
        whole[..word.len()].copy_from_slice(word);
        scramble(sum ^ u64::from_le_bytes(whole))
    });
    format!("{sum:016x}")
}

fn random_input(random: &mut fastrand::Rng) -> Input {
    let walk = random.choice([Direction::Up, Direction::Down, Direction::Left, Direction::Right]);
    Input { walk: walk.filter(|_| random.bool()), shoot: random.u8(..4) == 0 }
}

/// `2U*`: the player of connection 2 walks up and shoots.
fn input_text(connection: u32, input: Input) -> String {
    let walk = input.walk.map_or("-".to_owned(), |walk| format!("{walk:?}")[..1].to_owned());
    format!("{connection}{walk}{}", if input.shoot { "*" } else { "" })
}

/// One of the changes that a host makes between ticks: `e2`, `d2`, `l2`, `o2` for entering, being away, leaving, and everybody else
/// being away.
fn change(world: &mut World, random: &mut fastrand::Rng) -> Option<String> {
    let connection = random.u32(..6);
    let letter = match random.u32(..80) {
        0..=5 => 'e',
        6..=7 => 'd',
        8 => 'l',
        9 if random.u8(..4) == 0 => 'o',
        _ => return None,
    };
    match letter {
        'e' => world.enter(connection),
        'd' => world.disable(connection),
        'l' => world.leave(connection),
        _ => world.disable_all_but(connection),
    }
    Some(format!("{letter}{connection}"))
}

/// A game from its seed: what is done, and the states that follow. Bots play those with an even seed.
fn game(seed: u64) -> Value {
    let (mut world, mut random) = (World::new(seed), fastrand::Rng::with_seed(seed));
    let (mut done, mut sums, mut states) = (Vec::new(), Vec::new(), Vec::new());
    let bots = seed.is_multiple_of(2);
    (0..3).for_each(|connection| world.enter(connection));
    for _ in 0..TICKS {
        let mut words: Vec<_> = change(&mut world, &mut random).into_iter().collect();
        let input = |connection: u32| if bots { bot::input(&world, connection) } else { random_input(&mut random) };
        let connections: Vec<u32> = world.players.keys().copied().collect();
        let inputs: BTreeMap<u32, Input> =
            connections.iter().copied().zip(connections.iter().copied().map(input)).collect();
        words.extend(inputs.iter().map(|(&connection, &input)| input_text(connection, input)));
        world.step(&inputs);
        done.push(words.join(" "));
        let bytes = world.encode();
        sums.push(sum(&bytes));
        if world.tick.is_multiple_of(STATE_TICKS) {
            states.push(hex(&bytes));
        }
    }
    json!({"seed": seed.to_string(), "bots": bots, "done": done, "sums": sums, "states": states})
}

/// Every kind of packet, with small and large numbers.
fn packets() -> Vec<Value> {
    let mut packets = Vec::new();
    for (process, number) in [(1, 127), (128, 255), (256, 65_535), (65_536, u64::from(u32::MAX)), (1 << 32, u64::MAX)] {
        let fields = json!({"process": process.to_string(), "number": number.to_string()});
        packets.push(("Bank", fields.clone(), Packet::Bank { process, number }));
        packets.push(("Receipt", fields, Packet::Receipt { process, number }));
    }
    for walk in [None, Some(Direction::Up), Some(Direction::Down), Some(Direction::Left), Some(Direction::Right)] {
        for shoot in [false, true] {
            packets.push(("Input", json!({"walk": walk, "shoot": shoot}), Packet::Input(Input { walk, shoot })));
        }
    }
    for (epoch, length) in [(1, 0_u8), (200, 3), (70_000, 255)] {
        let world: Vec<u8> = (0..length).collect();
        packets.push(("World", json!({"epoch": epoch, "world": hex(&world)}), Packet::World { epoch, world }));
    }
    let value = |(kind, fields, packet): (&str, Value, Packet)| json!({"kind": kind, "fields": fields, "bytes": hex(&packet.encode())});
    packets.into_iter().map(value).collect()
}

/// States of hosts, with and without ballast, after some operations and ticks.
fn stored() -> Vec<Value> {
    let cases = [(11, 0), (12, 3000), (13, 4099)];
    let state = |(seed, state_bytes): (u64, usize)| {
        let (mut vault, mut world) = (Vault::new(seed, state_bytes), World::new(seed));
        (0..20).for_each(|connection| world.enter(connection));
        for number in [1, 2, 2, 5] {
            vault.bank.take(3, u64::MAX - seed, number);
            vault.bank.take(300, 7, number);
        }
        vault.bank.say_receipts(|connection, _, number| connection == 3 || number < 2);
        for tick in 1..=10 {
            vault.ballast.churn(tick, 3);
        }
        let before = vault.encode(&world.encode());
        // The one who goes on from it.
        vault.bank.take(3, 1, 1);
        vault.ballast.churn(11, 50);
        world.disable_all_but(4);
        world.step(&BTreeMap::new());
        let after = vault.encode(&world.encode());
        json!({"seed": seed.to_string(), "state_bytes": state_bytes, "before": hex(&before), "after": hex(&after)})
    };
    cases.into_iter().map(state).collect()
}

fn written() -> String {
    let games: Vec<_> = [1, 2, 0xDEAD_BEEF_0000_0003, u64::MAX - 1].into_iter().map(game).collect();
    let ballast = Vault::new(5, 2048 + 100).encode(&[]);
    assert!(Ballast::new(5, 100).is_whole());
    let all = json!({"games": games, "packets": packets(), "stored": stored(), "ballast": hex(&ballast)});
    serde_json::to_string_pretty(&all).unwrap() + "\n"
}

#[test]
fn the_vectors_of_the_browser_s_arena_are_what_this_one_does() {
    let written = written();
    if std::env::var_os("UNDERSTUDY_WRITE_EXAMPLES").is_some() {
        std::fs::write(FILE, &written).unwrap();
    }
    let committed = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        committed == written,
        "web/vectors/arena.json is out of date: run this test with UNDERSTUDY_WRITE_EXAMPLES=1"
    );
}
