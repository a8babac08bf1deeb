//! What searches for the newest state do.

use std::time::Duration;

use fastrand::Rng;
use protocol::id::{ConnectionId, HostEpoch};
use protocol::snapshot::Generation;
use protocol::takeover::{LobbyHas, Source, Step, Takeover};
use serde_json::{Value, json};

use crate::shapes::{generation, kind, ms, seats, start, word};

pub(crate) fn cases() -> Vec<Value> {
    (0..90).map(transcript).collect()
}

fn transcript(seed: u64) -> Value {
    let mut random = Rng::with_seed(seed);
    let start = start();
    let mut now = Duration::from_millis(random.u64(..100));
    let own = random.bool().then(|| some(&mut random));
    let (warm, members) = (random.u8(..4) == 0, (0..random.u32(..4)).map(ConnectionId).collect::<Vec<_>>());
    let mut takeover = Takeover::new(HostEpoch(5), own, warm, members.clone(), start + now);
    let first = json!({
        "seed": seed, "epoch": 5, "own": own.map(generation), "warm": warm, "members": seats(members), "now": ms(now),
    });
    let mut steps = Vec::new();
    for _ in 0..14 {
        let member = ConnectionId(random.u32(..4));
        let does = match random.u8(..12) {
            0..5 => {
                let holds = (random.u8(..4) > 0).then(|| some(&mut random));
                takeover.handle_hello(member, holds);
                kind("hello", json!({ "member": member, "holds": holds.map(generation) }))
            }
            5 => {
                takeover.handle_gone(member);
                kind("gone", json!({ "member": member }))
            }
            6 => {
                let at = some(&mut random);
                takeover.handle_state(member, at);
                kind("state", json!({ "member": member, "generation": generation(at) }))
            }
            7..9 => {
                let newer = random.bool().then(|| some(&mut random));
                takeover.handle_lobby(newer.map_or(LobbyHas::NothingNewer, LobbyHas::Newer));
                kind("lobby", json!({ "newer": newer.map(generation) }))
            }
            9 => {
                takeover.handle_lobby_failed();
                kind("lobby_failed", json!({}))
            }
            _ => kind("nothing", json!({})),
        };
        now += Duration::from_millis(random.u64(..300));
        let timeout = takeover.poll_timeout().map(|at| ms(at - start));
        let step = takeover.poll(start + now).map(shape);
        steps.push(json!({ "do": does, "now": ms(now), "timeout": timeout, "step": step }));
    }
    let mut transcript = first;
    transcript["steps"] = json!(steps);
    transcript
}

fn some(random: &mut Rng) -> Generation {
    Generation { epoch: HostEpoch(random.u64(3..7)), seq: random.u64(..2) }
}

fn shape(step: Step) -> Value {
    match step {
        Step::AskLobby { newer_than } => kind("ask_lobby", json!({ "newerThan": newer_than.map(generation) })),
        Step::AskMember { member, generation: asked } => {
            kind("ask_member", json!({ "member": member, "generation": generation(asked) }))
        }
        Step::Use(source @ (Source::Own | Source::Lobby | Source::Nothing)) => {
            kind("use", json!({ "source": word(source) }))
        }
    }
}
