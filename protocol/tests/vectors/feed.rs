//! What a host's feed of states does.

use std::time::{Duration, Instant};

use fastrand::Rng;
use protocol::id::{ConnectionId, HostEpoch};
use protocol::snapshot::Generation;
use protocol::standby::{Feed, Job, State};
use serde_json::{Value, json};

use crate::shapes::{generation, kind, ms, start};

/// Bytes a second: a power of two, so that no cost has to be rounded differently.
const BYTES_PER_SECOND: u64 = 1 << 20;

#[derive(Debug, Clone)]
struct Toy {
    generation: Generation,
    tick: u64,
}

impl State for Toy {
    fn generation(&self) -> Generation {
        self.generation
    }

    fn tick(&self) -> u64 {
        self.tick
    }
}

struct Host {
    feed: Feed<Toy>,
    job: Option<Job<Toy>>,
    newest: Toy,
    start: Instant,
    now: Duration,
}

pub(crate) fn cases() -> Vec<Value> {
    (0..6).map(transcript).collect()
}

fn transcript(seed: u64) -> Value {
    let mut random = Rng::with_seed(seed);
    let newest = Toy { generation: Generation { epoch: HostEpoch(3), seq: 0 }, tick: 0 };
    let feed = Feed::new(BYTES_PER_SECOND);
    let mut host = Host { feed, job: None, newest, start: start(), now: Duration::ZERO };
    let steps: Vec<_> = (0..200).map(|_| host.step(&mut random)).collect();
    json!({ "seed": seed, "bytesPerSecond": BYTES_PER_SECOND, "steps": steps })
}

impl Host {
    fn step(&mut self, random: &mut Rng) -> Value {
        self.now += Duration::from_millis(random.u64(..50));
        let now = self.start + self.now;
        let does = self.input(now, random);
        let timeout = self.feed.poll_timeout().map(|at| ms(at.saturating_duration_since(self.start)));
        let job = self.feed.poll_job(now);
        let told = job.as_ref().map(|job| {
            json!({
                "to": job.to, "base": job.base.as_ref().map(|base| generation(base.generation)),
                "state": generation(job.state.generation),
            })
        });
        self.job = job.or(self.job.take());
        let lag = self.feed.lag(now).map(|lag| json!({ "ticks": lag.ticks, "bytes": lag.bytes, "time": ms(lag.time) }));
        let acknowledged: Vec<_> =
            (1..4).map(|peer| self.feed.acknowledged(ConnectionId(peer)).map(generation)).collect();
        json!({
            "do": does, "now": ms(self.now), "timeout": timeout, "job": told, "lag": lag, "successor": self.feed.successor(),
            "acknowledged": acknowledged, "sentBytes": self.feed.sent_bytes(),
        })
    }

    fn input(&mut self, now: Instant, random: &mut Rng) -> Value {
        let peer = ConnectionId(random.u32(1..4));
        match random.u8(..30) {
            0..2 => {
                let successor = (random.u8(..4) > 0).then_some(peer);
                self.feed.set_successor(successor);
                kind("successor", json!({ "to": successor }))
            }
            2 => {
                self.feed.handle_link_down(peer);
                kind("link_down", json!({ "peer": peer }))
            }
            3..12 => {
                self.newest.generation.seq += random.u64(..3);
                self.newest.tick += 2;
                self.feed.offer(self.newest.clone(), now);
                kind("offer", json!({ "generation": generation(self.newest.generation), "tick": self.newest.tick }))
            }
            12..20 => self.sent(now, random),
            20..28 => {
                let seq = self.newest.generation.seq.saturating_sub(random.u64(..4));
                let taken = Generation { seq, ..self.newest.generation };
                self.feed.handle_taken(peer, taken, now);
                kind("taken", json!({ "from": peer, "generation": generation(taken) }))
            }
            28 => {
                self.feed.handle_wanted(peer);
                kind("wanted", json!({ "from": peer }))
            }
            _ => {
                self.feed.hold_off(now + Duration::from_millis(120));
                kind("hold_off", json!({ "until": ms(self.now + Duration::from_millis(120)) }))
            }
        }
    }

    fn sent(&mut self, now: Instant, random: &mut Rng) -> Value {
        let Some(job) = self.job.take() else { return kind("nothing", json!({})) };
        let bytes = match random.u8(..8) {
            0 => None,
            1 => Some(random.usize(..6 << 20)),
            _ => Some(random.usize(..40_000)),
        };
        self.feed.handle_sent(&job, bytes, now);
        kind("sent", json!({ "bytes": bytes }))
    }
}
