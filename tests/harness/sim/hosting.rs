//! A peer that hosts: the game's ticks, what it tells its guests, the states that it gives to successor and lobby, and how it hands over.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::frame::{PeerBody, PeerFrame, Welcome};
use protocol::hand_over::{Action, CommitAnswer, GivenUp, HandOver, Wish};
use protocol::id::{ConnectionId, HostEpoch};
use protocol::journal::{Class, HostStreams, Ledger, Receipt, Settled, StreamId};
use protocol::limits;
use protocol::migration::{GuestLink, Role};
use protocol::objects::ObjectTable;
use protocol::snapshot::{Body, Generation, Image, Seat, Snapshot};
use protocol::standby::{Feed, Job, State};

use super::game::{Game, operation, read_operation};
use super::peer::PeerItem;
use super::service::{Answer, Call};
use super::{Item, Sim};

/// Time between two ticks.
const GAME_TICK: Duration = Duration::from_millis(100);
/// Every so many operations are a trade: whoever made it is told once it is stable.
const TRADE: u64 = 8;
/// Operations that a game takes in one tick.
const TAKEN_MAX: usize = 400;
/// From here on nobody says anything new, so that all can be heard until the end.
const SILENCE: Duration = Duration::from_secs(54);
/// By then a host whose hand-over has failed must have gone on.
const FROZEN_MAX: Duration = Duration::from_millis(limits::FREEZE_MAX.as_millis() as u64 + 500);

/// A state that is fed.
#[derive(Debug, Clone)]
pub(super) struct Fed(Image);

impl State for Fed {
    fn generation(&self) -> Generation {
        self.0.generation()
    }

    fn tick(&self) -> u64 {
        self.0.tick()
    }
}

/// Received, and not taken by the game yet.
struct Received {
    seat: ConnectionId,
    stream: StreamId,
    number: u64,
    payload: Bytes,
}

/// A game that runs here, or is about to.
pub(super) struct Hosting {
    pub(super) epoch: HostEpoch,
    pub(super) game: Game,
    pub(super) streams: HostStreams,
    inbox: VecDeque<Received>,
    pub(super) feed: Feed<Fed>,
    pub(super) hand_over: HandOver,
    frozen_since: Option<Instant>,
    /// The lobby has said that the hand-over is done.
    handed_over: bool,
    tick_at: Instant,
    next_seq: u64,
    latest: Option<(Image, Ledger)>,
    /// What is on its way to the lobby.
    uploading: Option<(Generation, u64, Ledger)>,
}

impl Hosting {
    pub(super) fn new(epoch: HostEpoch, game: Game, streams: HostStreams, next_seq: u64, now: Instant) -> Self {
        Self {
            epoch,
            game,
            streams,
            inbox: VecDeque::new(),
            feed: Feed::new(limits::FEED_BYTES_PER_SECOND),
            hand_over: HandOver::default(),
            frozen_since: None,
            handed_over: false,
            tick_at: now,
            next_seq,
            latest: None,
            uploading: None,
        }
    }

    pub(super) fn receives(&mut self, seat: ConnectionId, stream: StreamId, number: u64, payload: Bytes) {
        self.inbox.push_back(Received { seat, stream, number, payload });
    }
}

impl Sim {
    /// A game says something now and then, wherever it runs.
    pub(super) fn operate(&mut self, index: usize) {
        if self.elapsed() < SILENCE && self.rng.u8(0..12) == 0 {
            self.say_operation(index);
        }
    }

    fn say_operation(&mut self, index: usize) -> bool {
        let to = ConnectionId(self.rng.u32(0..self.peers.len() as u32));
        let Some(session) = &mut self.peers[index].session else { return false };
        let (me, stream) = (session.me, session.streams.offer().stream);
        let payload = operation(session.streams.journal().newest() + 1, to);
        let Ok(number) = session.streams.say(payload.clone()) else {
            self.stats.journals_full += 1;
            return false;
        };
        let epoch = session.migration.epoch();
        if let Some(hosting) = &mut session.hosting {
            hosting.receives(me, stream, number, payload);
        } else if let Role::Guest { host, link: GuestLink::InGame { .. }, .. } = *session.migration.role() {
            self.send_on_link(index, host, PeerFrame { epoch, body: PeerBody::Reliable { number, payload: &payload } });
        }
        true
    }

    /// A game that says as much as it can.
    pub(super) fn flood(&mut self, index: usize) {
        if self.elapsed() < SILENCE {
            while self.say_operation(index) {}
        }
    }

    pub(super) fn host_receives(&mut self, index: usize, from: ConnectionId, number: u64, payload: &[u8]) {
        let Some(hosting) = self.peers[index].hosting_mut() else { return };
        let Some(stream) = hosting.streams.stream(from) else { return };
        match hosting.streams.receive(from, number) {
            Receipt::Next => hosting.receives(from, stream, number, Bytes::copy_from_slice(payload)),
            Receipt::Repeated => {}
            Receipt::Gap => self.violation("P11", format!("host {index}: {number} of {from} does not come next")),
        }
    }

    /// The game lets a guest in, and both say again what the other lacks.
    pub(super) fn admit(&mut self, index: usize, guest: ConnectionId) {
        let Some(session) = &mut self.peers[index].session else { return };
        let (Some(hosting), Some(open)) = (&mut session.hosting, session.links.incoming.get_mut(&guest)) else {
            return;
        };
        session.migration.handle_admitted(guest);
        open.welcomed = true;
        let epoch = hosting.epoch;
        let offer = open.hello.offer.clone();
        let answer = hosting.streams.handle_hello(guest, &offer);
        if let Some(lost) = answer.inputs_lost {
            self.stats.inputs_lost_told += 1;
            if let Some(to) = lost.to {
                hosting.game.lose(offer.stream, to);
            }
        }
        let again: Vec<_> = hosting.streams.to_say(guest).collect();
        let (tick, elapsed_us) = (hosting.game.tick, hosting.game.tick * 100_000);
        let objects = ObjectTable::default();
        let welcome = Welcome { tick, elapsed_us, scene: String::new(), objects, position: answer.position };
        let welcome = rmp_serde::to_vec_named(&welcome).expect("a welcome can be written");
        self.seat(index, guest);
        self.send_on_link(index, guest, PeerFrame { epoch, body: PeerBody::Welcome(&welcome) });
        self.stats.outputs_replayed += again.len() as u64;
        again.into_iter().for_each(|(class, number, payload)| self.send_down(index, guest, class, number, &payload));
    }

    fn send_down(&mut self, index: usize, to: ConnectionId, class: Class, number: u64, payload: &[u8]) {
        let Some(session) = &self.peers[index].session else { return };
        let epoch = session.migration.epoch();
        if session.links.incoming.get(&to).is_some_and(|open| open.welcomed) {
            let body = match class {
                Class::Reliable => PeerBody::Reliable { number, payload },
                Class::AfterStable => PeerBody::AfterStable { number, payload },
            };
            self.send_on_link(index, to, PeerFrame { epoch, body });
        }
    }

    /// What a host does at each look at the clock.
    pub(super) fn host_tick(&mut self, index: usize) {
        let now = self.now;
        if self.peers[index].hosts().is_none() {
            return;
        }
        let Some(session) = &mut self.peers[index].session else { return };
        let Some(hosting) = &mut session.hosting else { return };
        hosting.hand_over.handle_timeout(now);
        let in_game =
            |successor: &ConnectionId| session.links.incoming.get(successor).is_some_and(|open| open.welcomed);
        hosting.feed.set_successor(session.migration.lobby().successor.filter(in_game));
        if hosting.tick_at <= now {
            hosting.tick_at = now + GAME_TICK;
            if hosting.frozen_since.is_none() {
                self.play(index);
            }
        }
        self.hand_over_acts(index);
        self.feed(index);
        self.check_frozen(index);
    }

    /// One tick of the game.
    fn play(&mut self, index: usize) {
        // Some games look at what has come only now and then.
        let polls = !self.faults.slow_game || self.healed() || self.rng.u8(0..8) == 0;
        if polls {
            for _ in 0..TAKEN_MAX {
                if !self.take_one(index) {
                    break;
                }
            }
        }
        let give_every = self.faults.give_every;
        let Some(hosting) = self.peers[index].hosting_mut() else { return };
        hosting.game.tick += 1;
        if hosting.game.tick.is_multiple_of(give_every) {
            self.give(index);
        }
    }

    /// The game takes the next operation and answers it, if there is room for the answer.
    fn take_one(&mut self, index: usize) -> bool {
        let Some(session) = &mut self.peers[index].session else { return false };
        let me = session.me;
        let Some(hosting) = &mut session.hosting else { return false };
        let Some(&Received { seat, stream, number, ref payload }) = hosting.inbox.front() else { return false };
        let is_current = seat != me && hosting.streams.stream(seat) == Some(stream);
        if is_current && !hosting.streams.has_room_for(seat, Class::Reliable, 24) {
            if session.links.incoming.get(&seat).is_some_and(|open| open.welcomed) {
                self.stats.journals_full += 1;
                return false;
            }
            hosting.streams.give_up(seat);
        }
        let operation = read_operation(stream, seat, payload);
        hosting.inbox.pop_front();
        let Some(operation) = operation else { return true };
        hosting.streams.applied(seat, stream, number);
        self.check_applied(index, operation);
        if is_current {
            self.tell_guest(index, seat, Class::Reliable, number);
            if number.is_multiple_of(TRADE) {
                self.tell_guest(index, seat, Class::AfterStable, number);
            }
        }
        true
    }

    fn tell_guest(&mut self, index: usize, to: ConnectionId, class: Class, what: u64) {
        let Some(hosting) = self.peers[index].hosting_mut() else { return };
        let Some(stream) = hosting.streams.stream(to) else { return };
        if !hosting.streams.has_room_for(to, class, 24) {
            self.stats.journals_full += 1;
            return;
        }
        let (count, payload) = hosting.game.tell(stream, class, what);
        let Ok(number) = hosting.streams.say(to, class, payload.clone()) else { return };
        if let Some(number) = number {
            if number != count {
                self.violation("P11", format!("the {count}. message of {to} has number {number}"));
            }
            self.send_down(index, to, class, number, &payload);
        }
    }

    /// The game gives its state.
    fn give(&mut self, index: usize) -> Option<Generation> {
        let now = self.now;
        let session = self.peers[index].session.as_mut()?;
        let hosting = session.hosting.as_mut()?;
        let seats = session.migration.lobby().members.iter().map(|member| Seat {
            connection: member.connection,
            player: member.player,
            played: session.migration.has_played(member.connection),
            host_data: session.secrets.get(&member.connection).cloned().unwrap_or_default(),
        });
        let ledger = hosting.streams.ledger();
        let body = Body {
            build_id: "sim".into(),
            scene: "arena".into(),
            seats: seats.collect(),
            objects: session.objects.clone(),
            ledger: ledger.clone(),
            state: hosting.game.write(),
            changes: Vec::new(),
        };
        let generation = Generation { epoch: hosting.epoch, seq: hosting.next_seq };
        hosting.next_seq += 1;
        let tick = hosting.game.tick;
        let image = Snapshot { generation, tick, elapsed_us: tick * 100_000, body }.to_image().ok()?;
        hosting.latest = Some((image.clone(), ledger));
        hosting.feed.offer(Fed(image.clone()), now);
        session.held = Some(image.clone());
        self.check_given(&image);
        Some(generation)
    }

    /// Has what the successor lacks encoded, which takes a moment.
    fn feed(&mut self, index: usize) {
        let (now, process) = (self.now, self.peers[index].process);
        let Some(hosting) = self.peers[index].hosting_mut() else { return };
        let epoch = hosting.epoch;
        if let Some(job) = hosting.feed.poll_job(now) {
            self.soon(1..60, Item::Peer { peer: index, process, item: PeerItem::Encoded { epoch, job } });
        }
    }

    pub(super) fn encoded(&mut self, index: usize, epoch: HostEpoch, job: &Job<Fed>) {
        let now = self.now;
        let Some(hosting) = self.peers[index].hosting_mut().filter(|hosting| hosting.epoch == epoch) else { return };
        let record = match &job.base {
            Some(base) => job.state.0.delta_from(&base.0, None),
            None => job.state.0.to_record(None),
        };
        hosting.feed.handle_sent(job, record.as_ref().ok().map(Vec::len), now);
        if let Ok(record) = record {
            let sent = if job.base.is_none() { &mut self.stats.states_sent_whole } else { &mut self.stats.deltas_sent };
            *sent += 1;
            self.send_on_link(index, job.to, PeerFrame { epoch, body: PeerBody::State(&record) });
        }
        self.feed(index);
    }

    /// Sends the lobby the newest state.
    pub(super) fn upload(&mut self, index: usize) {
        let upload_at = self.now + Duration::from_millis(self.faults.upload_every_ms);
        if self.peers[index].hosts().is_none() {
            return;
        }
        let Some(session) = &mut self.peers[index].session else { return };
        session.upload_at = Some(upload_at);
        if session.hosting.as_ref().is_none_or(|hosting| hosting.uploading.is_some()) {
            return;
        }
        let is_first = session.hosting.as_ref().is_some_and(|hosting| hosting.latest.is_none());
        if is_first {
            self.give(index);
        }
        let Some(session) = &mut self.peers[index].session else { return };
        let connection = session.me;
        let Some(hosting) = &mut session.hosting else { return };
        let Some((image, ledger)) = hosting.latest.clone() else { return };
        hosting.uploading = Some((image.generation(), image.tick(), ledger));
        if let Ok(record) = image.to_record(None) {
            self.request(index, Call::Snapshot { connection, record }, Answer::NotStored);
        }
    }

    /// What was uploaded is durable, or nobody knows.
    pub(super) fn uploaded(&mut self, index: usize, is_stored: bool) {
        let Some(hosting) = self.peers[index].hosting_mut() else { return };
        let Some((generation, tick, ledger)) = hosting.uploading.take() else { return };
        if !is_stored || generation.epoch != hosting.epoch {
            return;
        }
        let settled = hosting.streams.handle_durable(&ledger);
        self.history.stable(tick);
        settled.into_iter().for_each(|settled| self.settle(index, settled));
    }

    fn settle(&mut self, index: usize, settled: Settled) {
        let Some(session) = &mut self.peers[index].session else { return };
        let (me, epoch) = (session.me, session.migration.epoch());
        let Some(hosting) = &mut session.hosting else { return };
        let Settled { connection: to, applied: number, .. } = settled;
        let released: Vec<_> = hosting.streams.released(&settled).collect();
        self.stats.after_stable_released += released.len() as u64;
        if to != me {
            let durable = PeerFrame { epoch, body: PeerBody::Durable { number } };
            if session.links.incoming.get(&to).is_some_and(|open| open.welcomed) {
                self.send_on_link(index, to, durable);
            }
            let down = released.iter();
            return down.for_each(|(number, payload)| self.send_down(index, to, Class::AfterStable, *number, payload));
        }
        session.streams.handle_durable(number);
        for (number, payload) in released {
            let Some(session) = &mut self.peers[index].session else { return };
            if session.streams.receive(Class::AfterStable, number) == Receipt::Next {
                self.check_heard(index, Class::AfterStable, number, &payload);
            }
        }
        let Some(session) = &mut self.peers[index].session else { return };
        let (received, received_stable) = session.streams.received(epoch);
        if let Some(hosting) = &mut session.hosting {
            hosting.streams.heard(me, received, received_stable);
        }
    }

    /// A host is to give its game to its successor.
    pub(super) fn begin_hand_over(&mut self, index: usize, wish: Wish) -> bool {
        let now = self.now;
        let Some(hosting) = self.peers[index].hosting_mut() else { return false };
        let Some(successor) = hosting.feed.successor() else { return false };
        let acknowledged = hosting.feed.acknowledged(successor);
        let has_begun = hosting.hand_over.begin(successor, wish, acknowledged, now);
        self.stats.hand_overs_begun += u64::from(has_begun);
        has_begun
    }

    pub(super) fn cancel_hand_over(&mut self, index: usize) {
        if let Some(hosting) = self.peers[index].hosting_mut() {
            hosting.hand_over.cancel();
        }
    }

    fn hand_over_acts(&mut self, index: usize) {
        let now = self.now;
        while let Some(action) = self.peers[index].hosting_mut().and_then(|hosting| hosting.hand_over.poll_action()) {
            self.trace(|| format!("hand-over of {index}: {action:?}"));
            match action {
                Action::Freeze => {
                    if self.faults.slow_game && !self.healed() && self.rng.bool() {
                        continue;
                    }
                    let last = self.give(index);
                    let Some(hosting) = self.peers[index].hosting_mut() else { return };
                    match last {
                        Some(generation) => {
                            hosting.frozen_since = Some(now);
                            hosting.hand_over.handle_frozen(generation);
                        }
                        None => hosting.hand_over.handle_not_frozen(),
                    }
                }
                Action::Commit { to } => self.commit_hand_over(index, to),
                Action::GoOn { why, wish, .. } => self.go_on(index, why, wish),
            }
        }
    }

    fn commit_hand_over(&mut self, index: usize, to: ConnectionId) {
        let Some(session) = &self.peers[index].session else { return };
        let key = session.migration.lobby().member(to).map(|member| member.peer_key);
        let (connection, epoch) = (session.me, session.migration.epoch());
        if let (Some(key), Some(last)) = (key, session.held.as_ref().map(Image::generation)) {
            self.history.wants_to_hand_over(epoch, key, last);
        }
        self.request(index, Call::HandOver { connection, epoch, to }, Answer::HandedOver(CommitAnswer::Unknown));
    }

    pub(super) fn hand_over_answered(&mut self, index: usize, answer: CommitAnswer) {
        let now = self.now;
        if let Some(hosting) = self.peers[index].hosting_mut() {
            hosting.handed_over |= answer == CommitAnswer::Done;
            hosting.hand_over.handle_commit(answer, now);
        }
    }

    fn go_on(&mut self, index: usize, why: GivenUp, wish: Wish) {
        let count = match why {
            GivenUp::SuccessorGone => &mut self.stats.hand_overs_without_successor,
            GivenUp::TooLate => &mut self.stats.hand_overs_too_late,
            GivenUp::Refused => &mut self.stats.hand_overs_refused,
            GivenUp::Cancelled => &mut self.stats.hand_overs_cancelled,
        };
        *count += 1;
        if let Some(hosting) = self.peers[index].hosting_mut() {
            hosting.frozen_since = None;
        }
        if wish == Wish::Leave {
            self.upload(index);
            self.leave(index);
        }
    }

    /// P17: a host whose hand-over has not been committed goes on.
    fn check_frozen(&mut self, index: usize) {
        let now = self.now;
        let Some(hosting) = self.peers[index].hosting_mut() else { return };
        let frozen = hosting.frozen_since.filter(|_| !hosting.handed_over).map(|since| now - since);
        if let Some(frozen) = frozen.filter(|frozen| *frozen > FROZEN_MAX) {
            self.violation("P17", format!("host {index} has been frozen for {frozen:?}"));
        }
    }
}
