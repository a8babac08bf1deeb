//! Hello, welcome, refusals and changes of the ownership table as MessagePack.

use protocol::frame::{Hello, Welcome};
use protocol::id::{ConnectionId, HostEpoch, ObjectId};
use protocol::journal::{Offer, Position, StreamId, Stretch};
use protocol::objects::{Change, Object, ObjectTable};
use protocol::snapshot::Generation;
use serde::Serialize;
use serde_json::{Value, json};

use crate::shapes::{change, generation, hex, offer, position, table};

fn packed(value: &impl Serialize) -> String {
    hex(&rmp_serde::to_vec_named(value).expect("these values are encoded"))
}

fn hellos() -> Vec<Hello> {
    let stretches = vec![Stretch { epoch: HostEpoch(1), after: 0 }, Stretch { epoch: HostEpoch(4), after: 70_000 }];
    let offer = Offer { stream: StreamId(u64::MAX - 5), oldest: 1, received: 1 << 40, received_stable: 255, stretches };
    let empty = Offer { stream: StreamId(3), oldest: 1, received: 0, received_stable: 0, stretches: Vec::new() };
    let holds = Some(Generation { epoch: HostEpoch(4), seq: 128 });
    vec![
        Hello { extra: Vec::new(), standby: false, moves: false, offer: empty.clone(), holds: None },
        Hello { extra: b"I am back".to_vec(), standby: true, moves: false, offer, holds },
        Hello { extra: vec![7; 70_000], standby: false, moves: true, offer: empty, holds: None },
    ]
}

fn objects() -> Vec<(ObjectId, Object)> {
    let object = |owner, enabled, bytes| Object { owner, enabled, data: vec![9; bytes] };
    vec![
        (ObjectId(0), object(None, true, 0)),
        (ObjectId(200), object(Some(ConnectionId(7)), true, 40)),
        (ObjectId(65_536), object(Some(ConnectionId(u32::MAX)), false, 300)),
        (ObjectId((1 << 53) - 1), object(Some(ConnectionId(0)), true, 1)),
    ]
}

fn welcomes() -> Vec<Welcome> {
    let position = Position { epoch: HostEpoch(2), received: 127, common: 128, oldest: 65_535, oldest_stable: 65_536 };
    let many =
        (0..40).map(|id| (ObjectId(id * 9), Object { owner: None, enabled: id % 2 == 0, data: vec![1] })).collect();
    let scene = "a scene whose name is longer than thirty-one bytes, höher".to_owned();
    [
        ObjectTable::default(),
        ObjectTable::from(objects().into_iter().collect::<std::collections::BTreeMap<_, _>>()),
        many_of(many),
    ]
    .map(|objects| Welcome { tick: 1 << 33, elapsed_us: 256, scene: scene.clone(), objects, position })
    .to_vec()
}

fn many_of(objects: Vec<(ObjectId, Object)>) -> ObjectTable {
    ObjectTable::from(objects.into_iter().collect::<std::collections::BTreeMap<_, _>>())
}

fn changes() -> Vec<Change> {
    let placed = objects().into_iter().map(|(id, object)| Change::Placed { id, object });
    let rest = [
        Change::Removed { id: ObjectId(5) },
        Change::Enabled { owner: ConnectionId(3), enabled: false },
        Change::Enabled { owner: ConnectionId(300), enabled: true },
    ];
    placed.chain(rest).collect()
}

pub(crate) fn cases() -> Vec<Value> {
    let hello = |hello: Hello| {
        json!({ "kind": "hello", "bytes": packed(&hello), "value": {
            "extra": hex(&hello.extra), "standby": hello.standby, "moves": hello.moves, "offer": offer(&hello.offer),
            "holds": hello.holds.map(generation),
        }})
    };
    let welcome = |welcome: Welcome| {
        json!({ "kind": "welcome", "bytes": packed(&welcome), "value": {
            "tick": welcome.tick, "elapsedUs": welcome.elapsed_us, "scene": welcome.scene, "objects": table(&welcome.objects),
            "position": position(&welcome.position),
        }})
    };
    let told = |changes: &[Change]| {
        let value: Value = changes.iter().map(change).collect();
        json!({ "kind": "objects", "bytes": packed(&changes), "value": value })
    };
    let refused = |reason: &str| json!({ "kind": "refused", "bytes": packed(&reason), "value": reason });
    let mut cases: Vec<_> = hellos().into_iter().map(hello).chain(welcomes().into_iter().map(welcome)).collect();
    cases.extend([told(&[]), told(&changes()), refused(""), refused("the game is full — come later")]);
    cases.extend(of_other_versions());
    cases
}

/// Fields that older peers do not say, and some that newer ones may.
fn of_other_versions() -> Vec<Value> {
    type Later = (f64, i8, Vec<Option<bool>>, std::collections::BTreeMap<String, Vec<i64>>);
    #[derive(Serialize)]
    struct Bare {
        #[serde(with = "serde_bytes")]
        extra: Vec<u8>,
        offer: Offer,
    }
    #[derive(Serialize)]
    struct Rich {
        later: Later,
        #[serde(flatten)]
        bare: Bare,
    }
    let said = Offer { stream: StreamId(3), oldest: 1, received: 0, received_stable: 0, stretches: Vec::new() };
    let value = json!({ "extra": "05", "standby": false, "moves": false, "offer": offer(&said), "holds": null });
    let bare = || Bare { extra: vec![5], offer: said.clone() };
    let map = [("a name".to_owned(), vec![i64::MIN, 1 << 40, -3]), ("é".repeat(40), vec![])].into_iter().collect();
    let rich = Rich { later: (0.5, -100, vec![None, Some(true)], map), bare: bare() };
    [packed(&bare()), packed(&rich)]
        .map(|bytes| {
            let read: Hello = rmp_serde::from_slice(&unhex(&bytes)).expect("Rust reads it");
            assert_eq!((read.extra, read.moves), (vec![5], false));
            json!({ "kind": "hello", "bytes": bytes, "value": value, "foreign": true })
        })
        .to_vec()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("these are digits");
    (0..text.len()).step_by(2).map(digit).collect()
}
