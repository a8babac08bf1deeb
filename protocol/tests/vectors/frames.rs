//! Peer frames as bytes, and bytes that are none.

use protocol::frame::{PeerBody, PeerFrame};
use protocol::id::HostEpoch;
use protocol::snapshot::Generation;
use serde_json::{Value, json};

use crate::shapes::{hex, kind, word};

/// The largest number that JavaScript counts to.
const LARGEST: u64 = (1 << 53) - 1;

fn bodies() -> Vec<(PeerBody<'static>, Value)> {
    let at = Generation { epoch: HostEpoch(5), seq: LARGEST };
    let bytes = |name, payload: &[u8]| kind(name, json!({ "payload": hex(payload) }));
    let numbered = |name, number: u64| kind(name, json!({ "number": number }));
    let generation = |name| kind(name, json!({ "generation": { "epoch": 5, "seq": LARGEST } }));
    let said = |name, number: u64, payload: &[u8]| kind(name, json!({ "number": number, "payload": hex(payload) }));
    vec![
        (PeerBody::Hello(b"hello"), bytes("hello", b"hello")),
        (PeerBody::Welcome(b""), bytes("welcome", b"")),
        (PeerBody::Refused(b"no"), bytes("refused", b"no")),
        (PeerBody::Reliable { number: 4, payload: b"move" }, said("reliable", 4, b"move")),
        (PeerBody::Unreliable(b"input"), bytes("unreliable", b"input")),
        (
            PeerBody::Heartbeat { tick: LARGEST, received: 1 << 32, received_stable: 1 },
            kind("heartbeat", json!({ "tick": LARGEST, "received": 1_u64 << 32, "receivedStable": 1 })),
        ),
        (PeerBody::Objects(&[0x90]), bytes("objects", &[0x90])),
        (PeerBody::Goodbye, kind("goodbye", json!({}))),
        (PeerBody::AfterStable { number: LARGEST, payload: &[0, 255] }, said("after_stable", LARGEST, &[0, 255])),
        (PeerBody::State(b"record"), bytes("state", b"record")),
        (PeerBody::StateTaken { generation: at }, generation("state_taken")),
        (PeerBody::StateWanted, kind("state_wanted", json!({}))),
        (PeerBody::Durable { number: 3 }, numbered("durable", 3)),
        (PeerBody::StateAsked { generation: at }, generation("state_asked")),
        (PeerBody::LastState { generation: at }, generation("last_state")),
        (PeerBody::Ping { number: 300 }, numbered("ping", 300)),
        (PeerBody::Pong { number: 70_000 }, numbered("pong", 70_000)),
    ]
}

/// What is refused, and as what.
fn refused(bytes: &[u8]) -> Value {
    let error = PeerFrame::decode(bytes).expect_err("these bytes are no frame");
    json!({ "bytes": hex(bytes), "error": word(error) })
}

pub(crate) fn cases() -> Vec<Value> {
    let mut cases = Vec::new();
    for (number, (body, said)) in bodies().into_iter().enumerate() {
        let epoch = HostEpoch(number as u64 * 1000);
        let bytes = PeerFrame { epoch, body }.to_vec();
        cases.push(json!({ "bytes": hex(&bytes), "frame": { "epoch": epoch, "body": said } }));
        cases.push(refused(&bytes[..8]));
        if !matches!(said["payload"], Value::String(_)) {
            cases.push(refused(&[&bytes[..], b"x"].concat()));
            cases.extend((bytes.len() > 9).then(|| refused(&bytes[..bytes.len() - 1])));
        }
    }
    cases.extend([refused(b""), refused(&[0; 9]), refused(&[18; 9]), refused(&[255; 40])]);
    cases.extend(too_large());
    cases
}

/// Frames whose numbers JavaScript cannot count: Rust reads them, and they are refused there.
fn too_large() -> Vec<Value> {
    let body = PeerBody::Durable { number: LARGEST + 1 };
    let frames = [
        PeerFrame { epoch: HostEpoch(1), body },
        PeerFrame { epoch: HostEpoch(u64::MAX), body: PeerBody::Goodbye },
        PeerFrame { epoch: HostEpoch(1), body: PeerBody::Reliable { number: u64::MAX, payload: b"x" } },
    ];
    frames.iter().map(|frame| json!({ "bytes": hex(&frame.to_vec()), "error": "number" })).collect()
}
