//! What the streams of two guests and their hosts do, over several hosts.

use bytes::Bytes;
use fastrand::Rng;
use protocol::id::{ConnectionId, HostEpoch};
use protocol::journal::{Class, GuestStreams, HostStreams, Ledger, Settled, StreamId};
use serde_json::{Value, json};

use crate::shapes::{class, hex, kind, ledger, offer, position, receipt, resumed, settled};

const GUESTS: u32 = 3;

struct Play {
    guests: Vec<(StreamId, GuestStreams)>,
    host: HostStreams,
    epoch: HostEpoch,
    /// States that a next host may go on from, or that may become durable.
    states: Vec<Ledger>,
    settled: Vec<Settled>,
    /// Its hosts do not last.
    is_restless: bool,
}

pub(crate) fn cases() -> Vec<Value> {
    (0..6).map(transcript).collect()
}

fn transcript(seed: u64) -> Value {
    let mut random = Rng::with_seed(seed);
    let guests = (0..GUESTS).map(|guest| guest_of(u64::MAX - u64::from(guest))).collect();
    let epoch = HostEpoch(1);
    let mut play = Play {
        guests,
        host: HostStreams::new(epoch),
        epoch,
        states: vec![Ledger::default()],
        settled: Vec::new(),
        is_restless: seed % 2 == 1,
    };
    let steps: Vec<_> = (0..250).map(|_| play.step(&mut random)).collect();
    json!({ "seed": seed, "guests": GUESTS, "steps": steps })
}

fn guest_of(stream: u64) -> (StreamId, GuestStreams) {
    (StreamId(stream), GuestStreams::new(StreamId(stream)))
}

fn payload(random: &mut Rng) -> Bytes {
    let bytes = random.usize(..6);
    std::iter::repeat_with(|| random.u8(..)).take(bytes).collect()
}

impl Play {
    /// One thing happens; then what one guest and the host know is told.
    fn step(&mut self, random: &mut Rng) -> Value {
        let seat = random.u32(..GUESTS);
        let (does, gives) = self.happens(seat, random);
        let (_, guest) = &self.guests[seat as usize];
        let connection = ConnectionId(seat);
        let to_say: Vec<_> = self
            .host
            .to_say(connection)
            .map(|(kind, number, payload)| json!([class(kind), number, hex(&payload)]))
            .collect();
        let heard = guest.received(self.epoch);
        json!({
            "do": does, "gives": gives, "guest": seat, "offer": offer(&guest.offer()), "newest": guest.journal().newest(),
            "heard": [heard.0, heard.1], "entry": ledger(&self.host.ledger()).as_array().and_then(|entries| {
                entries.iter().find(|entry| entry["connection"] == seat).cloned()
            }), "toSay": to_say,
            "knows": self.host.knows(connection), "stream": self.host.stream(connection).map(|stream| stream.0.to_string()),
        })
    }

    fn happens(&mut self, seat: u32, random: &mut Rng) -> (Value, Value) {
        let connection = ConnectionId(seat);
        if self.is_restless && random.u8(..9) == 0 {
            return self.migrates(random);
        }
        match random.u8(..60) {
            0..12 => {
                let payload = payload(random);
                let said = json!({ "payload": hex(&payload) });
                (kind("guest_says", said), json!(self.guests[seat as usize].1.say(payload).ok()))
            }
            12..22 => self.host_says(connection, random),
            22..30 => self.guest_hears(seat, random),
            30..38 => {
                let number = self.guests[seat as usize].1.journal().newest().saturating_sub(random.u64(..3));
                (kind("host_hears", json!({ "number": number })), receipt(self.host.receive(connection, number)))
            }
            38..43 => {
                let (stream, guest) = &self.guests[seat as usize];
                let number = guest.journal().newest().saturating_sub(random.u64(..2));
                self.host.applied(connection, *stream, number);
                (kind("applied", json!({ "stream": stream.0.to_string(), "number": number })), Value::Null)
            }
            43..48 => self.says_hello(connection),
            48 => {
                let (received, stable) = (random.u64(..20), random.u64(..20));
                self.host.heard(connection, received, stable);
                (kind("heard", json!({ "received": received, "receivedStable": stable })), Value::Null)
            }
            49..52 => {
                self.states.push(self.host.ledger());
                (kind("gives_state", json!({})), Value::Null)
            }
            52..54 => self.is_durable(seat, random),
            54 => {
                self.settled = self.host.settled_by_now();
                (kind("settled_by_now", json!({})), self.settled.iter().map(settled).collect())
            }
            55..57 => self.migrates(random),
            57 => self.takes_own(connection),
            58 => self.restarts(seat, random),
            _ => self.is_given_up(connection, random),
        }
    }

    fn host_says(&mut self, connection: ConnectionId, random: &mut Rng) -> (Value, Value) {
        let (kind_of, payload) = ([Class::Reliable, Class::AfterStable][random.usize(..2)], payload(random));
        let does = kind("host_says", json!({ "class": class(kind_of), "payload": hex(&payload) }));
        let gives = match self.host.say(connection, kind_of, payload) {
            Ok(Some(number)) => kind("numbered", json!({ "number": number })),
            Ok(None) => kind("kept", json!({})),
            Err(_) => kind("full", json!({})),
        };
        (does, gives)
    }

    fn guest_hears(&mut self, seat: u32, random: &mut Rng) -> (Value, Value) {
        let said: Vec<_> = self.host.to_say(ConnectionId(seat)).collect();
        let (class_of, number) = match said.get(random.usize(..said.len().max(1))) {
            Some((class, number, _)) if random.u8(..4) > 0 => (*class, *number),
            _ => ([Class::Reliable, Class::AfterStable][random.usize(..2)], random.u64(..12)),
        };
        let came = self.guests[seat as usize].1.receive(class_of, number);
        (kind("guest_hears", json!({ "class": class(class_of), "number": number })), receipt(came))
    }

    fn says_hello(&mut self, connection: ConnectionId) -> (Value, Value) {
        let guest = &mut self.guests[connection.0 as usize].1;
        let answer = self.host.handle_hello(connection, &guest.offer());
        let found = guest.handle_welcome(answer.position);
        let gives = json!({
            "position": position(&answer.position), "inputsLost": answer.inputs_lost.map(crate::shapes::missing),
            "resumed": resumed(&found),
        });
        (kind("hello", json!({})), gives)
    }

    fn is_durable(&mut self, seat: u32, random: &mut Rng) -> (Value, Value) {
        let state = random.usize(..self.states.len());
        self.settled = self.host.handle_durable(&self.states[state].clone());
        let released: Vec<Vec<Value>> = self
            .settled
            .iter()
            .map(|settled| {
                self.host.released(settled).map(|(number, payload)| json!([number, hex(&payload)])).collect()
            })
            .collect();
        let mine = self.settled.iter().find(|settled| settled.connection == ConnectionId(seat));
        if let Some(settled) = mine {
            self.guests[seat as usize].1.handle_durable(settled.applied);
        }
        let gives = json!({ "settled": self.settled.iter().map(settled).collect::<Vec<_>>(), "released": released });
        (kind("durable", json!({ "state": state })), gives)
    }

    fn migrates(&mut self, random: &mut Rng) -> (Value, Value) {
        let state = self.states.len() - 1 - random.usize(..self.states.len().min(3));
        self.epoch = HostEpoch(self.epoch.0 + random.u64(1..3));
        self.host = HostStreams::restore(self.states[state].clone(), self.epoch);
        (kind("migrates", json!({ "state": state, "epoch": self.epoch })), Value::Null)
    }

    fn takes_own(&mut self, connection: ConnectionId) -> (Value, Value) {
        let own = self.host.take_own(connection, &mut self.guests[connection.0 as usize].1);
        let inputs: Vec<_> = own.inputs.iter().map(|(number, payload)| json!([number, hex(payload)])).collect();
        let told: Vec<_> = own.told.iter().map(|(kind, payload)| json!([class(*kind), hex(payload)])).collect();
        (kind("takes_own", json!({})), json!({ "inputs": inputs, "told": told, "resumed": resumed(&own.resumed) }))
    }

    fn restarts(&mut self, seat: u32, random: &mut Rng) -> (Value, Value) {
        let stream = random.u64(..);
        self.guests[seat as usize] = guest_of(stream);
        (kind("restarts", json!({ "stream": stream.to_string() })), Value::Null)
    }

    fn is_given_up(&mut self, connection: ConnectionId, random: &mut Rng) -> (Value, Value) {
        if random.bool() {
            self.host.forget(connection);
            return (kind("forget", json!({})), Value::Null);
        }
        self.host.give_up(connection);
        (kind("give_up", json!({})), Value::Null)
    }
}
