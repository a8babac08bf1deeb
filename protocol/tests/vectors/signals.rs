//! Signals: what is admitted, and as what.

use protocol::signal::Signal;
use serde_json::{Value, json};

const CANDIDATES: [&str; 34] = [
    "candidate:1 1 udp 2130706431 192.0.2.7 4000 typ host",
    "candidate:2 1 udp 1694498815 203.0.113.4 4001 typ srflx raddr 192.0.2.7 rport 4000",
    "candidate:3 1 UDP 16777215 198.51.100.1 49152 typ relay raddr 203.0.113.4 rport 4001",
    "candidate:4 1 udp 2113937151 0b3dfa0b-1c6e-4d1c-8a46-6a3ad1a30ac0.local 51000 typ host generation 0 network-cost 999",
    "candidate:842163049 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active generation 0 ufrag abcd network-id 1",
    "candidate:0012 01 tcp +5 192.0.2.7 09 typ host tcptype passive tcptype nothing",
    "candidate:a+/9 1 udp 1 2001:db8::1 4000 typ prflx",
    "candidate:1 1 udp 1 :: 4000 typ host",
    "candidate:1 1 udp 1 ::ffff:192.0.2.7 4000 typ host",
    "candidate:1 1 udp 1 1:2:3:4:5:6:7:8 4000 typ host",
    "candidate:1 1 udp 1 1:2:3:4:5:6:192.0.2.7 4000 typ host",
    "candidate:1 1 udp 1 1:2:3:4:5:6:7:: 4000 typ host",
    "candidate:1 1 udp 1 1:2:3:4:5:6:7::8 4000 typ host",
    "candidate:1 1 udp 1 1.2.3.4::1 4000 typ host",
    "candidate:1 1 udp 1 1:2:3 4000 typ host",
    "candidate:1 1 udp 1 12345::1 4000 typ host",
    "candidate:1 1 udp 1 192.0.2.07 4000 typ host",
    "candidate:1 1 udp 1 192.0.2.256 4000 typ host",
    "candidate:1 1 udp 1 fe80::1%eth0 4000 typ host",
    "",
    "candidate:",
    "candidate:1 1 udp 1 192.0.2.7 4000",
    "candidate:1 1 udp 1 192.0.2.7 4000 typ host raddr",
    "candidate:1 1 udp 1 example.org 4000 typ host",
    "candidate:1 1 udp 1 192.0.2.7 70000 typ host",
    "candidate:1 1 udp 4294967296 192.0.2.7 7000 typ host",
    "candidate:1 1 sctp 1 192.0.2.7 4000 typ host",
    "candidate:1 1 udp 1 192.0.2.7 4000 typ other",
    "candidate:1 1 udp 1 192.0.2.7 4000 typ host\r\na=fingerprint:x 0",
    "candidate:1 1 udp 1 .local 4000 typ host",
    "candidate:1 1 udp -1 192.0.2.7 4000 typ host",
    "candidate:1  1 udp 1 192.0.2.7 4000 typ host",
    "candidate:1 1 udp 1 192.0.2.7 4000 typ host x é",
    "a=candidate:1 1 udp 1 192.0.2.7 4000 typ host",
];

/// A signal as it may come, and what is made of it; `null`: it is ignored.
fn signal(value: &Value) -> Value {
    let admitted = serde_json::from_value::<Signal>(value.clone()).ok().and_then(|signal| signal.admitted(false).ok());
    json!({ "kind": "signal", "signal": value, "admitted": admitted })
}

pub(crate) fn cases() -> Vec<Value> {
    let candidate = |text: &&str| {
        let stripped = signal(&json!({ "kind": "candidates", "attempt": 1, "candidates": [text] }));
        json!({ "kind": "candidate", "candidate": text, "stripped": stripped["admitted"]["candidates"][0] })
    };
    let pwd = "p".repeat(22);
    let offer =
        |ufrag: &str, pwd: &str| json!({ "kind": "offer", "attempt": 7, "ufrag": ufrag, "pwd": pwd, "candidates": [] });
    let mut cases: Vec<_> = CANDIDATES.iter().map(candidate).collect();
    cases.extend([
        signal(&json!({ "kind": "offer", "attempt": 7, "ufrag": "ab+/", "pwd": pwd, "candidates": CANDIDATES[..4] })),
        signal(&json!({ "kind": "answer", "attempt": 0, "ufrag": "ab09", "pwd": pwd })),
        signal(&json!({ "kind": "candidates", "attempt": 7, "candidates": [] })),
        signal(&json!({ "kind": "candidates", "attempt": 7 })),
        signal(&json!({ "kind": "close", "attempt": u32::MAX })),
        signal(&json!({ "kind": "close", "attempt": 1_u64 << 32 })),
        signal(&json!({ "kind": "close", "attempt": -1 })),
        signal(&json!({ "kind": "close", "attempt": 1.5 })),
        signal(&json!({ "kind": "close" })),
        signal(&json!({ "kind": "other", "attempt": 1 })),
        signal(&json!(null)),
        signal(&json!("close")),
        signal(&offer("abc", &pwd)),
        signal(&offer(&"a".repeat(32), &"p".repeat(64))),
        signal(&offer(&"a".repeat(33), &pwd)),
        signal(&offer("abcd", &"p".repeat(21))),
        signal(&offer("abcd", &"p".repeat(65))),
        signal(&offer("ab d", &pwd)),
        signal(&offer("abcd\n", &pwd)),
        signal(&json!({ "kind": "candidates", "attempt": 7, "candidates": vec![CANDIDATES[0]; 16] })),
        signal(&json!({ "kind": "candidates", "attempt": 7, "candidates": vec![CANDIDATES[0]; 17] })),
        signal(&json!({ "kind": "candidates", "attempt": 7, "candidates": [5] })),
        signal(&json!({ "kind": "candidates", "attempt": 7, "candidates": [format!("{} x {}", CANDIDATES[0], "y".repeat(201))] })),
        signal(&json!({ "kind": "candidates", "attempt": 7, "candidates": [format!("{} x {}", CANDIDATES[0], "y".repeat(202))] })),
    ]);
    cases
}
