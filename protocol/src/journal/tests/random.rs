//! P11 over random histories: guests and a row of hosts, links that break at any point, states that become durable or do not, hosts
//! that go on from any of those that may be the newest, processes that start anew.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::*;

/// Who said the n-th of something.
type Id = u64;

enum Up {
    Said(StreamId, u64, Id),
    Heard(HostEpoch, u64, u64),
}

#[derive(Clone, Copy)]
enum Down {
    Welcome(Position),
    Said(Class, u64, Id),
    Durable(u64),
}

#[derive(Default)]
struct Link {
    up: VecDeque<Up>,
    down: VecDeque<Down>,
}

struct Guest {
    streams: GuestStreams,
    link: Option<Link>,
    welcome: bool,
    /// What it has said, by its numbers.
    said: Vec<Id>,
    /// What it was told that counts, by number; and by the order in which it came.
    heard: BTreeMap<u64, Id>,
    heard_stable: Vec<Id>,
    /// Numbers that it was told it never hears.
    never: Vec<u64>,
}

impl Guest {
    fn new(process: u64) -> Self {
        Self {
            streams: GuestStreams::new(StreamId(process)),
            link: None,
            welcome: false,
            said: Vec::new(),
            heard: BTreeMap::new(),
            heard_stable: Vec::new(),
            never: Vec::new(),
        }
    }
}

/// A game: what it has taken of each process, and what it has told each.
#[derive(Clone, Default)]
struct Game {
    taken: BTreeMap<StreamId, Vec<Id>>,
    told: BTreeMap<StreamId, Vec<Id>>,
    told_stable: BTreeMap<StreamId, Vec<Id>>,
}

#[derive(Clone)]
struct State {
    ledger: Ledger,
    game: Game,
}

struct World {
    rng: Rng,
    epoch: HostEpoch,
    host: HostStreams,
    game: Game,
    /// Received, and not taken by the game yet.
    inbox: VecDeque<(ConnectionId, StreamId, u64, Id)>,
    /// The newest durable one first, then those that are held somewhere.
    states: Vec<State>,
    /// How many of them are of hosts before this one.
    older: usize,
    guests: Vec<Guest>,
    next: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            epoch: FIRST,
            host: HostStreams::new(FIRST),
            game: Game::default(),
            inbox: VecDeque::new(),
            states: vec![State { ledger: Ledger::default(), game: Game::default() }],
            older: 1,
            guests: (0..3).map(Guest::new).collect(),
            next: 100,
        }
    }

    fn id(&mut self) -> Id {
        self.next += 1;
        self.next
    }

    fn step(&mut self) {
        let at = self.rng.usize(..self.guests.len());
        match self.rng.u8(0..100) {
            0..20 => self.guest_says(at),
            20..45 => self.deliver(at),
            45..58 => self.take(),
            58..72 => self.host_says(at),
            72..78 => self.give(),
            78..83 => self.durable(),
            83..90 => self.link(at),
            90..94 => self.guests[at].link = None,
            94..96 => self.hears(at),
            96..98 => self.migrate(),
            98 => self.host.give_up(seat(at)),
            _ => {
                let process = self.id();
                self.guests[at] = Guest::new(process);
            }
        }
    }

    fn guest_says(&mut self, at: usize) {
        let id = self.id();
        let guest = &mut self.guests[at];
        let number = guest.streams.say(bytes(id)).unwrap();
        guest.said.push(id);
        assert_eq!(guest.said.len() as u64, number);
        if let Some(link) = guest.link.as_mut().filter(|_| guest.welcome) {
            link.up.push_back(Up::Said(guest.streams.offer().stream, number, id));
        }
    }

    fn hears(&mut self, at: usize) {
        let guest = &mut self.guests[at];
        let (received, stable) = guest.streams.received(self.epoch);
        if let Some(link) = &mut guest.link {
            link.up.push_back(Up::Heard(self.epoch, received, stable));
        }
    }

    fn link(&mut self, at: usize) {
        let guest = &mut self.guests[at];
        let answer = self.host.handle_hello(seat(at), &guest.streams.offer());
        // Nothing that was durable is ever set aside here, so that only a process that is gone loses anything.
        assert!(answer.inputs_lost.is_none_or(|lost| lost.to.is_none()), "{answer:?}");
        guest.welcome = false;
        let mut down = VecDeque::from([Down::Welcome(answer.position)]);
        down.extend(
            self.host.to_say(seat(at)).map(|(class, number, payload)| Down::Said(class, number, id_of(&payload))),
        );
        guest.link = Some(Link { up: VecDeque::new(), down });
    }

    fn deliver(&mut self, at: usize) {
        let up = self.rng.bool();
        let Some(link) = &mut self.guests[at].link else { return };
        if up {
            match link.up.pop_front() {
                Some(Up::Said(stream, number, id)) if self.host.receive(seat(at), number) == Receipt::Next => {
                    self.inbox.push_back((seat(at), stream, number, id));
                }
                Some(Up::Said(..)) => {}
                Some(Up::Heard(epoch, received, stable)) => {
                    assert_eq!(epoch, self.epoch);
                    self.host.heard(seat(at), received, stable);
                }
                None => {}
            }
        } else if let Some(frame) = link.down.pop_front() {
            self.guest_hears(at, frame);
        }
    }

    fn guest_hears(&mut self, at: usize, frame: Down) {
        let guest = &mut self.guests[at];
        match frame {
            Down::Welcome(position) => {
                let resumed = guest.streams.handle_welcome(position);
                assert_eq!(resumed.inputs_lost, None);
                if let Some(Missing { from, to }) = resumed.taken_back {
                    let taken = guest.heard.split_off(&from);
                    assert!(taken.keys().last().is_none_or(|&last| Some(last) <= to), "{taken:?} {to:?}");
                    guest.never.retain(|number| *number < from);
                }
                if let Some(Missing { from, to }) = resumed.never_heard {
                    guest.never.extend(from..=to.unwrap());
                }
                guest.welcome = true;
                let stream = guest.streams.offer().stream;
                let again = guest.streams.journal().after(resumed.say_after);
                let again: Vec<_> = again.map(|(number, payload)| Up::Said(stream, number, id_of(payload))).collect();
                guest.link.as_mut().unwrap().up.extend(again);
            }
            Down::Said(class, number, id) => match guest.streams.receive(class, number) {
                Receipt::Next if class == Class::Reliable => assert_eq!(guest.heard.insert(number, id), None),
                Receipt::Next => guest.heard_stable.push(id),
                Receipt::Repeated => {}
                Receipt::Gap => panic!("{class:?} {number} is a gap"),
            },
            Down::Durable(number) => guest.streams.handle_durable(number),
        }
    }

    fn take(&mut self) {
        if let Some((connection, stream, number, id)) = self.inbox.pop_front() {
            self.host.applied(connection, stream, number);
            let taken = self.game.taken.entry(stream).or_default();
            taken.push(id);
            assert_eq!(taken.len() as u64, number);
        }
    }

    fn host_says(&mut self, at: usize) {
        let Some(stream) = self.host.stream(seat(at)) else { return };
        let id = self.id();
        let class = if self.rng.u8(0..4) == 0 { Class::AfterStable } else { Class::Reliable };
        let number = self.host.say(seat(at), class, bytes(id)).unwrap();
        let told = match class {
            Class::Reliable => &mut self.game.told,
            Class::AfterStable => &mut self.game.told_stable,
        };
        told.entry(stream).or_default().push(id);
        if let (Some(number), Some(link)) = (number, &mut self.guests[at].link) {
            link.down.push_back(Down::Said(class, number, id));
        }
    }

    fn give(&mut self) {
        self.states.push(State { ledger: self.host.ledger(), game: self.game.clone() });
    }

    /// Some state of this host is durable: those before it are forgotten.
    fn durable(&mut self) {
        if self.older == self.states.len() {
            return;
        }
        let which = self.rng.usize(self.older..self.states.len());
        self.states.drain(..which);
        self.older = 0;
        let ledger = self.states[0].ledger.clone();
        for settled in self.host.handle_durable(&ledger) {
            let released: Vec<_> = self.host.released(&settled).collect();
            let Some(link) = &mut self.guests[settled.connection.0 as usize].link else { continue };
            link.down.push_back(Down::Durable(settled.applied));
            link.down.extend(released.iter().map(|(number, id)| Down::Said(Class::AfterStable, *number, id_of(id))));
        }
    }

    /// The host is gone. The next one goes on from any state that is held somewhere.
    fn migrate(&mut self) {
        let state = self.states[self.rng.usize(..self.states.len())].clone();
        self.epoch = self.epoch.next();
        self.host = HostStreams::restore(state.ledger, self.epoch);
        self.game = state.game;
        self.inbox.clear();
        self.older = self.states.len();
        self.guests.iter_mut().for_each(|guest| guest.link = None);
    }

    /// Nothing breaks any more: everything arrives and is taken.
    fn settle(&mut self) {
        for at in 0..self.guests.len() {
            self.link(at);
        }
        self.give();
        self.older = self.states.len() - 1;
        self.durable();
        for at in 0..self.guests.len() {
            while self.guests[at].link.as_ref().is_some_and(|link| !link.up.is_empty() || !link.down.is_empty()) {
                self.deliver(at);
            }
        }
        while !self.inbox.is_empty() {
            self.take();
        }
    }

    fn check(&self) {
        for guest in &self.guests {
            let stream = guest.streams.offer().stream;
            assert_eq!(self.game.taken.get(&stream).unwrap_or(&Vec::new()), &guest.said, "{stream:?} said");
            let told = self.game.told.get(&stream).cloned().unwrap_or_default();
            let missing = |number: &u64| !guest.never.contains(number);
            let wanted: Vec<_> = (1..).zip(told).filter(|(number, _)| missing(number)).collect();
            let heard: Vec<_> = guest.heard.iter().map(|(&number, &id)| (number, id)).collect();
            assert_eq!(heard, wanted, "{stream:?} heard");
            let told = self.game.told_stable.get(&stream).cloned().unwrap_or_default();
            assert_eq!(guest.heard_stable, told, "{stream:?} heard after stable");
        }
    }
}

fn seat(at: usize) -> ConnectionId {
    ConnectionId(at as u32)
}

fn id_of(payload: &Bytes) -> Id {
    u64::from_be_bytes(*payload.first_chunk().unwrap())
}

#[test]
fn p11_each_message_has_its_effect_once_in_the_history_that_survives() {
    for seed in 0..3000 {
        let mut world = World::new(seed);
        let steps = world.rng.usize(20..600);
        (0..steps).for_each(|_| world.step());
        world.settle();
        world.check();
    }
}
