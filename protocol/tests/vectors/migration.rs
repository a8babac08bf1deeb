//! What one peer of a lobby does, whatever the lobby, the others and its links do.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fastrand::Rng;
use protocol::frame::HostHint;
use protocol::id::{ConnectionId, HostEpoch};
use protocol::lobby::{Command, Viewer};
use protocol::message::Event;
use protocol::migration::{Effect, GuestLink, Migration, Notice, ReadyAnswer, Role, Stage};
use serde_json::{Value, json};

use crate::play::{PLAYERS, Play, about};
use crate::shapes::{kind, ms, seats, start, word};

/// Kinds of effects and of notices that there are.
const EFFECTS: usize = 13;
const NOTICES: usize = 16;

pub(crate) fn cases() -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let cases: Vec<_> = (0..18).map(|seed| Peer::new(seed).transcript(seed, &mut seen)).collect();
    let cases: Vec<_> =
        cases.into_iter().chain([vouching(&mut seen), changing_successors(&mut seen), challenged(&mut seen)]).collect();
    assert_eq!(seen.len(), EFFECTS + NOTICES, "these histories show every effect and every notice: {seen:?}");
    cases
}

/// A guest hears the host that the lobby has lost, too early and then in time; and then no more.
fn vouching(seen: &mut BTreeSet<String>) -> Value {
    let mut peer = Peer::new(1);
    let mut steps = peer.begins(seen);
    let lost = peer.lobby_does(&Command::HostSilent { epoch: HostEpoch::FIRST }, seen);
    steps.extend(lost);
    for time in [50, 49, 1, 100, 100, 700, 99, 1, 400, 600, 1_000, 1_000] {
        peer.now += Duration::from_millis(time);
        if time <= 100 {
            let admitted = peer.admits(ConnectionId(0), HostEpoch::FIRST);
            steps.push(peer.told(&admitted, seen));
        }
        let late = peer.times_out();
        steps.push(peer.told(&late, seen));
    }
    peer.ends(&steps, "vouching")
}

/// The successor of a guest's host changes while the links to it, and to the one before it, come and go.
fn changing_successors(seen: &mut BTreeSet<String>) -> Value {
    let mut peer = Peer::new(2);
    let mut steps = peer.begins(seen);
    for (up, gone, down) in [(1_u8, 1_u8, 1), (3, 3, 9), (1, 1, 3), (3, 3, 9), (1, 1, 9), (3, 1, 9)] {
        peer.now += Duration::from_millis(10);
        peer.migration.handle_standby_up(ConnectionId(up.into()));
        steps.push(peer.told(&(kind("standby_up", json!({ "successor": up })), Value::Null), seen));
        steps.extend(peer.lobby_does(&Play::loses(gone), seen));
        let broken = peer.link_down(ConnectionId(down));
        steps.push(peer.told(&broken, seen));
        steps.extend(peer.lobby_does(&Play::returns(gone), seen));
    }
    peer.ends(&steps, "changing successors")
}

/// A host is asked whom it hears, as long after it heard a guest as just counts, and a little longer.
fn challenged(seen: &mut BTreeSet<String>) -> Value {
    let mut peer = Peer::new(0);
    let mut steps = vec![peer.told(&(kind("nothing", json!({})), Value::Null), seen)];
    for guest in [1, 2] {
        peer.now += Duration::from_millis(30);
        let takes = peer.migration.handle_hello(ConnectionId(guest), HostEpoch::FIRST, peer.at());
        steps.push(peer.told(&(kind("hello", json!({ "from": guest, "epoch": 1 })), json!(takes)), seen));
    }
    for time in [319, 1, 29, 1] {
        peer.now += Duration::from_millis(time);
        peer.migration.handle_challenge(HostEpoch::FIRST, peer.at());
        steps.push(peer.told(&(kind("challenge", json!({ "epoch": 1 })), Value::Null), seen));
    }
    peer.ends(&steps, "challenged")
}

struct Peer {
    random: Rng,
    play: Play,
    migration: Migration,
    start: Instant,
    now: Duration,
    /// What it was told to do and has not done yet.
    open: Vec<Effect>,
    /// Events that have not reached it yet.
    news: Vec<Event>,
    first: Value,
}

impl Peer {
    /// The creator, or another member of a lobby of several.
    fn new(seed: u64) -> Self {
        let (random, start) = (Rng::with_seed(seed), start());
        let me = ConnectionId(u32::try_from(seed % 3).expect("it is less than three"));
        let mut play = Play::new();
        while !play.lobby.has_member(me) || play.lobby.member_count() < 4 {
            play.later(Duration::from_millis(5));
            let player = u8::try_from(play.lobby.member_count()).expect("there are few");
            play.does(play.joins(player));
        }
        let view = play.lobby.view(Viewer::Members);
        let first = json!({ "me": me, "lobby": json!(view), "created": me.0 == 0, "now": 0 });
        let migration = Migration::new(me, view, me.0 == 0, start);
        Self { random, play, migration, start, now: Duration::ZERO, open: Vec::new(), news: Vec::new(), first }
    }

    fn transcript(mut self, seed: u64, seen: &mut BTreeSet<String>) -> Value {
        let mut steps = vec![self.told(&(kind("nothing", json!({})), Value::Null), seen)];
        for _ in 0..200 {
            self.now += Duration::from_millis(match self.random.u8(..8) {
                0 => self.random.u64(..900),
                _ => self.random.u64(..90),
            });
            let happened = self.happens();
            steps.push(self.told(&happened, seen));
        }
        self.first["seed"] = json!(seed);
        self.first["steps"] = json!(steps);
        self.first
    }

    /// A guest is welcomed.
    fn begins(&mut self, seen: &mut BTreeSet<String>) -> Vec<Value> {
        let first = self.told(&(kind("nothing", json!({})), Value::Null), seen);
        self.migration.handle_welcome(ConnectionId(0), self.at());
        vec![first, self.told(&(kind("welcome", json!({ "from": 0 })), Value::Null), seen)]
    }

    /// The lobby changes, and this peer is told at once.
    fn lobby_does(&mut self, command: &Command, seen: &mut BTreeSet<String>) -> Vec<Value> {
        let mut steps = Vec::new();
        for event in self.play.does(command.clone()) {
            self.migration.handle_event(&event, self.at());
            steps.push(self.told(&(kind("event", json!({ "event": json!(event) })), Value::Null), seen));
        }
        steps
    }

    fn admits(&mut self, from: ConnectionId, epoch: HostEpoch) -> (Value, Value) {
        let admission = self.migration.admit(from, epoch, self.at());
        (kind("admit", json!({ "from": from, "epoch": epoch })), word(admission))
    }

    fn ends(mut self, steps: &[Value], name: &str) -> Value {
        self.first["seed"] = json!(name);
        self.first["steps"] = json!(steps);
        self.first
    }

    /// What came of it.
    fn told(&mut self, (does, gives): &(Value, Value), seen: &mut BTreeSet<String>) -> Value {
        let effects: Vec<_> = std::iter::from_fn(|| self.migration.poll_effect()).collect();
        let shapes: Vec<_> = effects.iter().map(effect).collect();
        seen.extend(shapes.iter().filter_map(|shape| shape["kind"].as_str()).map(str::to_owned));
        seen.extend(
            shapes.iter().filter_map(|shape| shape["notice"]["kind"].as_str()).map(|kind| format!("notice {kind}")),
        );
        self.open.extend(effects.into_iter().filter(|effect| !matches!(effect, Effect::Notify(_))));
        json!({
            "do": does, "now": ms(self.now), "gives": gives, "effects": shapes, "role": self.role(self.migration.role()),
            "epoch": self.migration.epoch(), "guests": seats(self.migration.guests_in_game()), "seq": self.migration.lobby().seq,
            "timeout": self.migration.poll_timeout().map(|at| ms(at - self.start)),
        })
    }

    fn at(&self) -> Instant {
        self.start + self.now
    }

    fn happens(&mut self) -> (Value, Value) {
        let passed = self.play.now.0.saturating_sub(1_000_000);
        let time = self.now.saturating_sub(Duration::from_millis(passed));
        self.news.extend(self.play.later(time));
        if !self.news.is_empty() && self.random.u8(..4) > 0 {
            return self.next_event();
        }
        match self.random.u8(..20) {
            0..9 if !self.open.is_empty() => {
                let open = self.open.remove(self.random.usize(..self.open.len()));
                self.answer(&open)
            }
            0..10 => {
                let command = self.play.random_command(&mut self.random);
                self.news.extend(self.play.does(command));
                self.times_out()
            }
            10..13 => self.times_out(),
            13..18 => {
                let (from, epoch) = (self.somebody(), about(self.migration.epoch(), &mut self.random));
                let admission = self.migration.admit(from, epoch, self.start + self.now);
                (kind("admit", json!({ "from": from, "epoch": epoch })), word(admission))
            }
            _ => self.surprise(),
        }
    }

    /// The next event, seldom another one.
    fn next_event(&mut self) -> (Value, Value) {
        let event = self.news.remove(0);
        let event = match self.random.u8(..40) {
            0 if !self.news.is_empty() => self.news.remove(0),
            _ => event,
        };
        self.migration.handle_event(&event, self.at());
        (kind("event", json!({ "event": json!(event) })), Value::Null)
    }

    fn times_out(&mut self) -> (Value, Value) {
        self.migration.handle_timeout(self.at());
        (kind("timeout", json!({})), Value::Null)
    }

    /// The host, mostly, or any other.
    fn somebody(&mut self) -> ConnectionId {
        let host = if let Role::Guest { host, .. } = self.migration.role() { Some(*host) } else { None };
        host.filter(|_| self.random.u8(..5) > 0).unwrap_or(ConnectionId(self.random.u32(..u32::from(PLAYERS) + 1)))
    }

    /// Does what an effect asks for, and well enough mostly.
    fn answer(&mut self, open: &Effect) -> (Value, Value) {
        let (now, fails) = (self.at(), self.random.u8(..5) == 0);
        match *open {
            Effect::Dial { host: peer, .. } | Effect::DialStandby { successor: peer, .. } if fails => {
                self.link_down(peer)
            }
            Effect::Dial { host, .. } => {
                self.migration.handle_welcome(host, now);
                (kind("welcome", json!({ "from": host })), Value::Null)
            }
            Effect::DialStandby { successor, .. } => {
                self.migration.handle_standby_up(successor);
                (kind("standby_up", json!({ "successor": successor })), Value::Null)
            }
            Effect::Fetch { epoch } if fails => {
                self.migration.handle_fetch_failed(epoch, now);
                (kind("fetch_failed", json!({ "epoch": epoch })), Value::Null)
            }
            Effect::Fetch { epoch } => {
                let played: Vec<_> = (0..self.random.u32(..5)).map(ConnectionId).collect();
                self.migration.handle_fetched(epoch, played.clone());
                (kind("fetched", json!({ "epoch": epoch, "seats": seats(played) })), Value::Null)
            }
            Effect::Restore { epoch } => {
                self.migration.handle_restored(epoch);
                (kind("restored", json!({ "epoch": epoch })), Value::Null)
            }
            Effect::ConfirmReady { epoch } => self.is_ready(epoch),
            Effect::Admit { guest, .. } => {
                self.migration.handle_admitted(guest);
                (kind("admitted", json!({ "guest": guest })), Value::Null)
            }
            Effect::Resync => self.resync(),
            Effect::HangUp { .. }
            | Effect::PresentGrant { .. }
            | Effect::Upload { .. }
            | Effect::Report { .. }
            | Effect::Hears { .. }
            | Effect::Notify(_) => self.times_out(),
        }
    }

    fn is_ready(&mut self, epoch: HostEpoch) -> (Value, Value) {
        let answer = match self.random.u8(..6) {
            0 => ReadyAnswer::Refused,
            1 => ReadyAnswer::Unknown,
            _ => ReadyAnswer::Confirmed,
        };
        if answer != ReadyAnswer::Refused {
            self.news.extend(self.play.does(Command::Ready { connection: self.migration.me(), epoch }));
        }
        self.migration.handle_ready(epoch, answer, self.at());
        (kind("ready", json!({ "epoch": epoch, "answer": word(answer) })), Value::Null)
    }

    fn resync(&mut self) -> (Value, Value) {
        let view = self.play.lobby.view(Viewer::Members);
        self.migration.handle_resync(view.clone(), self.at());
        (kind("resync", json!({ "lobby": json!(view) })), Value::Null)
    }

    fn link_down(&mut self, peer: ConnectionId) -> (Value, Value) {
        self.migration.handle_link_down(peer, self.at());
        (kind("link_down", json!({ "peer": peer })), Value::Null)
    }

    /// What nobody asked for.
    fn surprise(&mut self) -> (Value, Value) {
        let (somebody, now) = (self.somebody(), self.at());
        let epoch = about(self.migration.epoch(), &mut self.random);
        match self.random.u8(..17) {
            0..2 => self.link_down(somebody),
            2..7 => {
                let from = ConnectionId(self.random.u32(..u32::from(PLAYERS)));
                let takes = self.migration.handle_hello(from, epoch, now);
                (kind("hello", json!({ "from": from, "epoch": epoch })), json!(takes))
            }
            7 => {
                self.migration.handle_goodbye(somebody, now);
                (kind("goodbye", json!({ "from": somebody })), Value::Null)
            }
            8..10 => {
                self.migration.handle_challenge(epoch, now);
                (kind("challenge", json!({ "epoch": epoch })), Value::Null)
            }
            10 => {
                self.migration.handle_paused(now);
                (kind("paused", json!({})), Value::Null)
            }
            11 => {
                self.migration.handle_relay_hint(HostHint { host: somebody, epoch });
                (kind("relay_hint", json!({ "epoch": epoch })), Value::Null)
            }
            12 => (kind("takes_standby", json!({ "from": somebody })), json!(self.migration.takes_standby(somebody))),
            13 => (kind("has_played", json!({ "connection": somebody })), json!(self.migration.has_played(somebody))),
            14 => {
                self.migration.handle_welcome(somebody, now);
                (kind("welcome", json!({ "from": somebody })), Value::Null)
            }
            15 if self.random.u8(..40) == 0 => {
                self.migration.handle_removed();
                (kind("removed", json!({})), Value::Null)
            }
            _ => self.resync(),
        }
    }

    fn role(&self, role: &Role) -> Value {
        let time = |at: Instant| ms(at - self.start);
        match role {
            Role::Waiting => kind("waiting", json!({})),
            Role::Out => kind("out", json!({})),
            Role::Host { epoch } => kind("host", json!({ "epoch": epoch })),
            Role::Guest { host, epoch, link } => {
                let link = match link {
                    GuestLink::Dialing { again_at } => kind("dialing", json!({ "againAt": again_at.map(time) })),
                    GuestLink::InGame { heard_at, hears } => {
                        kind("in_game", json!({ "heardAt": time(*heard_at), "hears": hears }))
                    }
                };
                kind("guest", json!({ "host": host, "epoch": epoch, "link": link }))
            }
            Role::Becoming { epoch, stage } => {
                let stage = match stage {
                    Stage::Fetching { again_at } => kind("fetching", json!({ "againAt": again_at.map(time) })),
                    Stage::Restoring => kind("restoring", json!({})),
                };
                kind("becoming", json!({ "epoch": epoch, "stage": stage }))
            }
        }
    }
}

fn effect(effect: &Effect) -> Value {
    match effect {
        Effect::Dial { host, peer_key, epoch } => {
            kind("dial", json!({ "host": host, "peerKey": peer_key, "epoch": epoch }))
        }
        Effect::DialStandby { successor, peer_key, epoch } => {
            kind("dial_standby", json!({ "successor": successor, "peerKey": peer_key, "epoch": epoch }))
        }
        Effect::HangUp { peer } => kind("hang_up", json!({ "peer": peer })),
        Effect::Fetch { epoch } => kind("fetch", json!({ "epoch": epoch })),
        Effect::Restore { epoch } => kind("restore", json!({ "epoch": epoch })),
        Effect::ConfirmReady { epoch } => kind("confirm_ready", json!({ "epoch": epoch })),
        Effect::PresentGrant { epoch } => kind("present_grant", json!({ "epoch": epoch })),
        Effect::Admit { guest, returning } => kind("admit", json!({ "guest": guest, "returning": returning })),
        Effect::Upload { epoch } => kind("upload", json!({ "epoch": epoch })),
        Effect::Report { epoch, hears_host } => kind("report", json!({ "epoch": epoch, "hearsHost": hears_host })),
        Effect::Hears { epoch, guests } => kind("hears", json!({ "epoch": epoch, "guests": guests })),
        Effect::Resync => kind("resync", json!({})),
        Effect::Notify(told) => kind("notify", json!({ "notice": notice(told) })),
    }
}

fn notice(notice: &Notice) -> Value {
    let of_host = |name, host: &ConnectionId| kind(name, json!({ "host": host }));
    let of_both = |name, host: &ConnectionId, epoch: &HostEpoch| kind(name, json!({ "host": host, "epoch": epoch }));
    let of_epoch = |name, epoch: &HostEpoch| kind(name, json!({ "epoch": epoch }));
    let of_player = |name, connection: &ConnectionId| kind(name, json!({ "connection": connection }));
    match notice {
        Notice::PeersUpdated => kind("peers_updated", json!({})),
        Notice::HostLost { host, cause } => kind("host_lost", json!({ "host": host, "cause": cause })),
        Notice::HostReturned { host } => of_host("host_returned", host),
        Notice::HostElected { host, epoch } => of_both("host_elected", host, epoch),
        Notice::HostMigrated { host, epoch } => of_both("host_migrated", host, epoch),
        Notice::JoinedGame { host, epoch } => of_both("joined_game", host, epoch),
        Notice::DisconnectedFromHost { host } => of_host("disconnected_from_host", host),
        Notice::HostShutDown { host } => of_host("host_shut_down", host),
        Notice::BecameHost { epoch } => of_epoch("became_host", epoch),
        Notice::Demoted { epoch } => of_epoch("demoted", epoch),
        Notice::PlayerJoined { connection } => of_player("player_joined", connection),
        Notice::PlayerLeft { connection, reason } => {
            kind("player_left", json!({ "connection": connection, "reason": reason }))
        }
        Notice::PlayerDisconnected { connection } => of_player("player_disconnected", connection),
        Notice::PlayerReconnected { connection } => of_player("player_reconnected", connection),
        Notice::Parked { reason } => kind("parked", json!({ "reason": reason })),
        Notice::Removed => kind("removed", json!({})),
    }
}
