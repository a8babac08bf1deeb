//! What planned hand-overs do.

use std::time::Duration;

use fastrand::Rng;
use protocol::hand_over::{Action, CommitAnswer, HandOver, Wish};
use protocol::id::{ConnectionId, HostEpoch};
use protocol::snapshot::Generation;
use serde_json::{Value, json};

use crate::shapes::{generation, kind, ms, start, word};

pub(crate) fn cases() -> Vec<Value> {
    (0..16).map(transcript).collect()
}

fn transcript(seed: u64) -> Value {
    let mut random = Rng::with_seed(seed);
    let (start, mut hand_over) = (start(), HandOver::default());
    let mut now = Duration::ZERO;
    let mut steps = Vec::new();
    for _ in 0..60 {
        now += Duration::from_millis(match random.u8(..10) {
            0 => random.u64(..6_000),
            1 => 250,
            _ => random.u64(..40),
        });
        let (does, gives) = step(&mut hand_over, start + now, &mut random);
        let actions: Vec<_> = std::iter::from_fn(|| hand_over.poll_action()).map(shape).collect();
        let under = hand_over.under_way().map(|(to, wish)| json!({ "to": to, "wish": word(wish) }));
        steps.push(json!({
            "do": does, "now": ms(now), "gives": gives, "actions": actions, "under": under, "freezing": hand_over.is_freezing(),
            "timeout": hand_over.poll_timeout().map(|at| ms(at - start)),
        }));
    }
    json!({ "seed": seed, "steps": steps })
}

fn step(hand_over: &mut HandOver, now: std::time::Instant, random: &mut Rng) -> (Value, Value) {
    let to = ConnectionId(random.u32(1..3));
    let at = Generation { epoch: HostEpoch(2), seq: random.u64(..4) };
    let mut gives = Value::Null;
    let does = match random.u8(..26) {
        0..6 => {
            let wish = [Wish::Game, Wish::Leave, Wish::Operator][random.usize(..3)];
            let acknowledged = random.bool().then_some(at);
            gives = json!(hand_over.begin(to, wish, acknowledged, now));
            kind("begin", json!({ "to": to, "wish": word(wish), "acknowledged": acknowledged.map(generation) }))
        }
        6..12 => {
            hand_over.handle_taken(to, at, now);
            kind("taken", json!({ "from": to, "generation": generation(at) }))
        }
        12..16 => {
            hand_over.handle_frozen(at);
            kind("frozen", json!({ "generation": generation(at) }))
        }
        16 => {
            hand_over.handle_not_frozen();
            kind("not_frozen", json!({}))
        }
        17..21 => {
            let answer = [CommitAnswer::Done, CommitAnswer::Refused, CommitAnswer::Unknown][random.usize(..3)];
            hand_over.handle_commit(answer, now);
            kind("committed", json!({ "answer": word(answer) }))
        }
        21 => {
            hand_over.handle_replaced();
            kind("replaced", json!({}))
        }
        22 => {
            hand_over.handle_link_down(to);
            kind("link_down", json!({ "peer": to }))
        }
        23 => {
            hand_over.cancel();
            kind("cancel", json!({}))
        }
        _ => {
            hand_over.handle_timeout(now);
            kind("timeout", json!({}))
        }
    };
    (does, gives)
}

fn shape(action: Action) -> Value {
    match action {
        Action::Freeze => kind("freeze", json!({})),
        Action::Commit { to } => kind("commit", json!({ "to": to })),
        Action::GoOn { to, why, wish } => kind("go_on", json!({ "to": to, "why": word(why), "wish": word(wish) })),
    }
}
