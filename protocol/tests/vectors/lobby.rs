//! What a member's view of a lobby becomes with each event.

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;
use protocol::lobby::{Actor, Ban, Command, Viewer};
use protocol::time::Timestamp;
use serde_json::{Value, json};

use crate::play::{PLAYERS, Play, id};

/// Kinds of events there are, without those that only replace others for some readers.
const KINDS: usize = 24;

pub(crate) fn cases() -> Vec<Value> {
    let mut kinds = BTreeSet::new();
    let cases = (0..6).map(|seed| transcript(seed, &mut kinds)).collect();
    assert_eq!(kinds.len(), KINDS, "these histories show every kind of event: {kinds:?}");
    cases
}

fn transcript(seed: u64, kinds: &mut BTreeSet<String>) -> Value {
    let mut random = Rng::with_seed(seed);
    let mut play = Play::new();
    let mut view = play.lobby.view(Viewer::Server);
    let first = json!(view);
    let mut steps = Vec::new();
    for number in 0..70 {
        // Once as long as nobody waits for a hand-over.
        let longest = if number == 31 { 12_000 } else { 400 };
        let mut events = play.later(Duration::from_millis(random.u64(..longest)));
        events.extend(play.does(match number {
            10 | 20 | 30 => Command::AskHandOver { by: Actor::Server, to: None },
            40 => Command::Ban { by: Actor::Server, player: id(PLAYERS - 1), ban: ban() },
            44 => Command::Unban { by: Actor::Server, player: id(PLAYERS - 1) },
            69 => Command::Close { by: Actor::Server },
            _ => play.random_command(&mut random),
        }));
        for event in events {
            let before = view.seq;
            assert!(view.apply(&event), "{event:?} after {before}");
            let event = json!(event);
            kinds.extend(event["kind"].as_str().map(str::to_owned));
            steps.push(json!({ "event": event, "view": json!(view) }));
        }
    }
    json!({ "seed": seed, "first": first, "steps": steps })
}

fn ban() -> Ban {
    Ban { since: Timestamp(0), until: Some(Timestamp(9_000_000)), reason: "for a while".into() }
}
