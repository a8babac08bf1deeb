//! Snapshots and deltas as records: plain, compressed, in place, moved, and wrong ones.

use std::collections::BTreeMap;

use fastrand::Rng;
use protocol::id::{ConnectionId, HostEpoch, ObjectId, PlayerId};
use protocol::journal::{Ledger, LedgerEntry, Said, StreamId, Stretch};
use protocol::objects::{Object, ObjectTable};
use protocol::snapshot::{
    Body, DELTA_HEADER_BYTES, DeltaHeader, Generation, Header, Image, Seat, Snapshot, write_delta,
};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};

use crate::shapes::{generation, hex, ledger, refusal, table};

fn at(seq: u64) -> Generation {
    Generation { epoch: HostEpoch(2), seq }
}

/// A snapshot with something of everything in it.
fn rich(seq: u64, state: Vec<u8>) -> Snapshot {
    let seat = |connection: u32, played, host_data: &[u8]| {
        let player = PlayerId::from_bytes([connection as u8 + 0xA0; 16]);
        Seat { connection: ConnectionId(connection), player, played, host_data: host_data.to_vec() }
    };
    let said = |first, messages: &[&[u8]]| Said {
        first,
        messages: messages.iter().map(|message| ByteBuf::from(message.to_vec())).collect(),
    };
    let entry = LedgerEntry {
        connection: ConnectionId(1),
        stream: StreamId(0xF00D_0000_0000_0001),
        applied: 300,
        down: said(7, &[b"one", b""]),
        stable: said(1, &[]),
        stretches: vec![Stretch { epoch: HostEpoch(1), after: 3 }, Stretch { epoch: HostEpoch(2), after: 5 }],
    };
    let object = Object { owner: Some(ConnectionId(1)), enabled: false, data: b"crate".to_vec() };
    Snapshot {
        generation: at(seq),
        tick: 300 + seq,
        elapsed_us: 10_000_000 + seq,
        body: Body {
            build_id: "1.0".into(),
            scene: "arena".into(),
            seats: vec![seat(0, true, b""), seat(1, true, &[9; 300]), seat(2, false, b"x")],
            objects: ObjectTable::from(BTreeMap::from([(ObjectId(5), object)])),
            ledger: Ledger(vec![entry]),
            state,
            changes: vec![ByteBuf::from(b"moved".to_vec()), ByteBuf::new()],
        },
    }
}

fn bare(seq: u64, state: Vec<u8>) -> Snapshot {
    let Snapshot { generation, tick, elapsed_us, .. } = rich(seq, Vec::new());
    let (build_id, scene) = ("1".into(), "s".into());
    let (seats, objects, ledger, changes) = (Vec::new(), ObjectTable::default(), Ledger::default(), Vec::new());
    Snapshot { generation, tick, elapsed_us, body: Body { build_id, scene, seats, objects, ledger, state, changes } }
}

fn body(body: &Body) -> Value {
    let seat = |seat: &Seat| json!({ "connection": seat.connection, "player": seat.player, "played": seat.played, "hostData": hex(&seat.host_data) });
    json!({
        "buildId": body.build_id, "scene": body.scene, "seats": body.seats.iter().map(seat).collect::<Vec<_>>(),
        "objects": table(&body.objects), "ledger": ledger(&body.ledger), "state": hex(&body.state),
        "changes": body.changes.iter().map(|change| hex(change)).collect::<Vec<_>>(),
    })
}

fn header(header: &Header) -> Value {
    json!({
        "generation": generation(header.generation), "tick": header.tick, "elapsedUs": header.elapsed_us,
        "checksum": header.checksum,
    })
}

/// Words over and over with some noise between them: zstd uses all that it has.
fn prose(random: &mut Rng, words: usize) -> Vec<u8> {
    let word = |random: &mut Rng| match random.u8(..6) {
        0 => b"the successor ".to_vec(),
        1 => b"holds the newest state, ".to_vec(),
        2 => vec![random.u8(..); random.usize(1..30)],
        3 => std::iter::repeat_with(|| random.u8(..)).take(9).collect(),
        _ => format!("{} ", random.u16(..)).into_bytes(),
    };
    (0..words).flat_map(|_| word(random)).collect()
}

fn entities(count: u32, random: &mut Rng) -> Vec<u8> {
    let entity = |number: u32| {
        let floats: Vec<u8> = (0..10).flat_map(|_| ((random.f32() - 0.5) * 100.0).to_le_bytes()).collect();
        [&number.to_le_bytes()[..], &floats, &[0, 3]].concat()
    };
    (0..count).flat_map(entity).collect()
}

/// A snapshot, written by Rust, compressed where that is worth it; and what is in it.
fn record(snapshot: &Snapshot) -> Value {
    let plain = snapshot.encode().expect("it is small");
    let image = snapshot.to_image().expect("it is small");
    let compressed = image.to_record(None).expect("it is small");
    let header = header(&Header::check(&plain).expect("it was just written"));
    json!({
        "kind": "snapshot", "header": header, "checksum": image.checksum(), "body": body(&snapshot.body), "plain": hex(&plain),
        "record": hex(&compressed),
    })
}

/// A delta, written by Rust; `same` if TypeScript has to write the same bytes, since nothing in it is worth compressing.
fn delta(name: &str, base: &Snapshot, result: &Snapshot) -> Value {
    let [from, to] = [base, result].map(|snapshot| snapshot.to_image().expect("it is small"));
    let record = to.delta_from(&from, None).expect("it is small");
    let checked = DeltaHeader::check(&record).expect("it was just written");
    let patch = ["in_place", "moved"][usize::from(record[DELTA_HEADER_BYTES])];
    json!({
        "kind": "delta", "name": name, "patch": patch, "base": hex(&base.encode().expect("it is small")),
        "result": hex(&result.encode().expect("it is small")), "record": hex(&record),
        "header": header(&checked.leads_to), "from": generation(checked.base),
        "same": patch == "in_place" && record.len() < 340,
    })
}

fn deltas() -> Vec<Value> {
    let mut random = Rng::with_seed(12);
    let base = bare(1, entities(60, &mut random));
    let state = base.body.state.clone();
    let few = (0..4).fold(state.clone(), |mut state, place| {
        state[place * 300] ^= 3;
        state
    });
    let many = (0..180).fold(state.clone(), |mut state, place| {
        state[place * 15] = random.u8(..);
        state
    });
    let shifted = [&state[..500], b"put in here", &state[500..]].concat();
    let cut = [&state[..500], &state[700..]].concat();
    let turned = [&state[1000..], &state[..1000]].concat();
    let mut cases = vec![
        delta("nothing has changed", &base, &bare(2, state.clone())),
        delta("a few bytes", &base, &bare(2, few)),
        delta("every fifteenth byte", &base, &bare(2, many)),
        delta("something was put in", &base, &bare(2, shifted)),
        delta("something was left out", &base, &bare(9, cut)),
        delta("the end is in front", &base, &bare(2, turned)),
        delta("from nothing", &bare(1, Vec::new()), &base_at(2, &state)),
        delta("to nothing", &base, &bare(2, Vec::new())),
        delta(
            "in another epoch",
            &base,
            &Snapshot { generation: Generation { epoch: HostEpoch(3), seq: 0 }, ..base.clone() },
        ),
    ];
    // More than a block of zstd, and references from the last of them back into the base.
    let long = prose(&mut random, 13_000);
    assert!(long.len() > 1 << 17, "{} bytes are one block", long.len());
    let turned = [&long[70_001..], b"the seam", &long[..70_001]].concat();
    cases.push(delta("a long text was turned", &bare(1, long), &bare(2, turned)));
    cases.extend((0..12).map(|round| {
        let base = bare(1, entities(random.u32(1..60), &mut random));
        let mut state = base.body.state.clone();
        for _ in 0..random.usize(1..6) {
            let from = random.usize(..state.len());
            let to = (from + random.usize(..90)).min(state.len());
            let bytes = prose(&mut random, 3);
            drop(state.splice(from..to, bytes));
        }
        delta(&format!("round {round}"), &base, &bare(2, state))
    }));
    cases.extend((0..24).map(|round| small(round, &mut random)));
    cases
}

/// A few changes close to each other, and a few bytes that came or went: nothing in it is worth compressing.
fn small(round: u32, random: &mut Rng) -> Value {
    let base: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(200).collect();
    let mut state = base.clone();
    let mut at = random.usize(..40);
    while at < state.len() {
        state[at] ^= 5;
        at += random.usize(1..12);
    }
    let from = random.usize(20..150);
    match round % 3 {
        0 => drop(state.splice(from..from, std::iter::repeat_n(9, random.usize(1..6)))),
        1 => drop(state.drain(from..from + random.usize(1..6))),
        _ => {}
    }
    delta(&format!("small round {round}"), &bare(1, base), &bare(2, state))
}

fn base_at(seq: u64, state: &[u8]) -> Snapshot {
    bare(seq, state.to_vec())
}

/// Records that are refused, as snapshots or as deltas of a base, and why.
fn refused() -> Vec<Value> {
    let snapshot = bare(1, b"some state ".repeat(40));
    let image = snapshot.to_image().expect("it is small");
    let result = bare(2, b"other state ".repeat(37)).to_image().expect("it is small");
    let (record, delta) =
        (image.to_record(None).expect("it is small"), result.delta_from(&image, None).expect("it is small"));
    let base = hex(&snapshot.encode().expect("it is small"));
    let whole = |record: &[u8]| {
        let why = Image::from_record(record, None).expect_err("it is wrong");
        json!({ "kind": "refused", "record": hex(record), "error": refusal(why) })
    };
    let applied = |record: &[u8]| {
        let why = image.apply(record, None).expect_err("it is wrong");
        json!({ "kind": "refused", "base": base, "record": hex(record), "error": refusal(why) })
    };
    let mut cases =
        vec![whole(&[]), whole(&record[..70]), whole(&[&record[..], b"x"].concat()), applied(&record), whole(&delta)];
    for at in (0..record.len()).step_by(7) {
        cases.push(whole(&flipped(&record, at)));
    }
    for at in (0..delta.len()).step_by(7) {
        cases.push(applied(&flipped(&delta, at)));
    }
    let other = bare(3, Vec::new()).to_image().expect("it is small");
    let elsewhere = bare(4, Vec::new()).to_image().expect("it is small").delta_from(&other, None).expect("it is small");
    cases.push(applied(&elsewhere));
    cases.extend(wrong_differences(&image, &delta).iter().map(|record| applied(record)));
    cases
}

fn flipped(record: &[u8], at: usize) -> Vec<u8> {
    let mut flipped = record.to_vec();
    flipped[at] ^= 0x10;
    flipped
}

/// Whoever carries a delta can give it a header that fits: then the difference is looked at.
fn wrong_differences(base: &Image, delta: &[u8]) -> Vec<Vec<u8>> {
    let written = |difference: &[u8]| write_delta(0, at(1), at(2), 302, 7, difference).expect("it is small");
    let difference = &delta[DELTA_HEADER_BYTES..];
    let behind_length = |kind: u8, length: &[u8], patch: &[u8]| [&[kind][..], &[7; 32], length, patch].concat();
    let bomb = zstd::bulk::compress(&vec![0; 17 << 20], 1).expect("zeros compress");
    let bomb_part = |bytes: usize| {
        vec![(2 * bytes + 1) as u8 | 0x80, ((2 * bytes + 1) >> 7) as u8 | 0x80, ((2 * bytes + 1) >> 14) as u8]
    };
    let mut random = Rng::with_seed(4);
    let mut wrong = vec![
        written(&[]),
        written(&[0; 33]),
        written(&behind_length(2, &[5], &[])),
        written(&behind_length(0, &[0x81, 0x80, 0x80, 0x08], &[])),
        written(&behind_length(0, &[100], &[100, 0, 0, 0, 0])),
        written(&behind_length(0, &[100], &[101, 0, 0, 0])),
        written(&behind_length(0, &[100], &[100, 0, 0])),
        written(&behind_length(0, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF], &[])),
        written(&behind_length(1, &[100], b"no frame")),
        written(&behind_length(1, &[100], &bomb)),
        written(&behind_length(0, &[100], &[&[0][..], &bomb_part(bomb.len()), &bomb].concat())),
        write_delta(1, at(1), at(2), 302, 7, difference).expect("it is small"),
        write_delta(2, at(1), at(2), 302, 7, difference).expect("it is small"),
        write_delta(0, at(1), at(1), 302, 7, difference).expect("it is small"),
    ];
    while wrong.len() < 100 {
        let mut changed = difference.to_vec();
        let place = random.usize(..changed.len());
        changed[place] = random.u8(..);
        let record = written(&changed);
        if base.apply(&record, None).is_err() {
            wrong.push(record);
        }
    }
    wrong
}

pub(crate) fn cases() -> Vec<Value> {
    let mut random = Rng::with_seed(3);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(700).collect();
    let mut cases = vec![
        record(&rich(7, b"a short state".to_vec())),
        record(&rich(8, noise)),
        record(&rich(9, vec![7; 5000])),
        record(&rich(10, prose(&mut random, 800))),
        record(&bare(11, entities(100, &mut random))),
        record(&bare(12, prose(&mut random, 3000))),
        record(&bare(0, Vec::new())),
    ];
    cases.extend(deltas());
    cases.extend(refused());
    cases
}
