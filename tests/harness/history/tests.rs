//! A history that a good service makes is taken; each way to spoil it is found, under its own name.

use std::time::Duration;

use fastrand::Rng;
use protocol::id::{InstanceId, JoinCode, PeerKey};
use protocol::lobby::{Command, Lobby, NewLobby, Newcomer, Settings, Viewer};
use protocol::message::EventBody;
use protocol::time::Timestamp;

use super::*;

const LOBBY: LobbyId = LobbyId::from_bytes([7; 16]);
const PLAYERS: u8 = 8;
const STEPS: u64 = 400;
/// Microseconds between two decisions; requests take up to four times as long, so that they overlap.
const STEP_US: u64 = 1_000;

/// A real lobby that decides one command a step, and clients who write down what they see of it.
struct Maker {
    rng: Rng,
    lobby: Lobby,
    at: u64,
    history: History,
    /// Until when each player waits for an answer.
    busy: BTreeMap<PlayerId, u64>,
    snapshot: Option<(Generation, Checksum)>,
}

fn player(number: u8) -> PlayerId {
    PlayerId::from_bytes([number; 16])
}

fn newcomer(number: u8) -> Newcomer {
    Newcomer::new(player(number), PeerKey::from_bytes([number; 32]), InstanceId::from_bytes([1; 8]))
}

impl Maker {
    fn new(seed: u64) -> Self {
        let settings = Settings::default();
        let code = JoinCode::from_entropy(1);
        let new = NewLobby::new(LOBBY, code, "first".to_owned(), settings);
        let created = Lobby::create(new, newcomer(0), Timestamp(10 * STEP_US));
        let (lobby, events) = created.unwrap();
        let mut history = History { listed: vec!["first".to_owned()], ..History::default() };
        history.born.insert(LOBBY, lobby.view(Viewer::Members));
        history.logs.insert(LOBBY, events);
        let rng = Rng::with_seed(seed);
        let mut maker = Self { rng, lobby, at: 10 * STEP_US, history, busy: BTreeMap::new(), snapshot: None };
        let answer = Answer::Seat(ConnectionId(0), Seen::of(&maker.lobby.view(Viewer::Members)));
        maker.note(0, Action::Create("first".to_owned()), Outcome::Done(answer));
        maker
    }

    fn make(seed: u64) -> History {
        let mut maker = Self::new(seed);
        for _ in 0..STEPS {
            maker.step();
        }
        maker.listen();
        maker.history
    }

    fn step(&mut self) {
        self.at += STEP_US;
        let number = self.rng.u8(0..PLAYERS);
        if self.busy.get(&player(number)).is_some_and(|&until| until >= self.at) {
            return;
        }
        let seat = self.lobby.seat_of(player(number));
        match (self.rng.u8(0..6), seat) {
            (0 | 1, None) => self.join(number),
            (0, Some(connection)) if number > 1 => self.leave(number, connection),
            (1 | 2, _) => self.note(
                number,
                Action::Read,
                Outcome::Done(Answer::View(Seen::of(&self.lobby.view(Viewer::Members)))),
            ),
            (3, _) => self.note(number, Action::Fetch, Outcome::Done(Answer::Snapshot(self.snapshot))),
            _ => self.put(),
        }
    }

    fn join(&mut self, number: u8) {
        self.decide(Command::Join(newcomer(number)));
        let connection = self.lobby.seat_of(player(number)).unwrap();
        let answer = Answer::Seat(connection, Seen::of(&self.lobby.view(Viewer::Members)));
        self.note(number, Action::Join, Outcome::Done(answer));
    }

    fn leave(&mut self, number: u8, connection: ConnectionId) {
        self.decide(Command::Leave { connection, player: player(number) });
        self.note(number, Action::Leave, Outcome::Done(Answer::Nothing));
    }

    /// By the host, who never leaves. One upload at a time.
    fn put(&mut self) {
        if self.busy.get(&player(0)).is_some_and(|&until| until >= self.at) {
            return;
        }
        let seq = self.snapshot.map_or(0, |(generation, _)| generation.seq + 1);
        let generation = Generation { epoch: HostEpoch::FIRST, seq };
        let checksum = Checksum::from_bytes([self.rng.u8(..); 32]);
        self.snapshot = Some((generation, checksum));
        self.note(0, Action::Put(generation, checksum), Outcome::Done(Answer::Nothing));
    }

    fn decide(&mut self, command: Command) {
        let (lobby, events) = self.lobby.clone().apply(command, Timestamp(self.at)).unwrap();
        self.lobby = lobby;
        self.history.logs.get_mut(&LOBBY).unwrap().extend(events);
    }

    /// The request began some time before now, where it was decided, and its answer came some time later.
    fn note(&mut self, number: u8, action: Action, outcome: Outcome) {
        let player = player(number);
        let free = self.busy.get(&player).map_or(0, |&until| until + 1);
        let invoked = (self.at - self.rng.u64(1..2 * STEP_US)).max(free);
        let returned = self.at + self.rng.u64(1..2 * STEP_US);
        self.busy.insert(player, returned);
        let (invoked, returned) = (Moment(invoked), Moment(returned));
        self.history.operations.push(Operation { player, lobby: Some(LOBBY), invoked, returned, action, outcome });
    }

    /// Two listeners: one heard all on one socket, the other on a socket for every seven events.
    fn listen(&mut self) {
        let log = &self.history.logs[&LOBBY];
        let hear = |event: &Event| (Moment(event.at.0 + 5 * STEP_US), Heard::Event(event.seq, digest(event)));
        let born = Seen::of(&self.history.born[&LOBBY]);
        let skip = usize::try_from(born.seq.0).unwrap();
        let mut whole =
            Opening { hello: Moment(11 * STEP_US), instance: 0, alive: Moment(0), after: None, heard: Vec::new() };
        whole.heard.push((Moment(11 * STEP_US), Heard::Resync(born)));
        whole.heard.extend(log[skip..].iter().map(hear));
        let pieces = log.chunks(7).map(|events| {
            let hello = Moment(events[0].at.0);
            Opening {
                hello,
                instance: 0,
                alive: hello,
                after: Some(EventSeq(events[0].seq.0 - 1)),
                heard: events.iter().map(hear).collect(),
            }
        });
        let end = EventSeq(log.len() as u64);
        let openings = [vec![whole], pieces.collect()];
        self.history.streams = openings
            .into_iter()
            .zip([0, 1])
            .map(|(openings, number)| Stream {
                player: player(number),
                lobby: LOBBY,
                openings,
                expected: Some(end),
                idle_max_us: 0,
            })
            .collect();
    }
}

fn kinds(history: &History) -> BTreeSet<Kind> {
    check(history).into_iter().map(|violation| violation.kind).collect()
}

/// Spoils a good history and expects that this is found.
#[track_caller]
fn expect(kind: Kind, spoil: impl Fn(&mut History)) {
    for seed in 0..5 {
        let mut history = Maker::make(seed);
        spoil(&mut history);
        let found = check(&history);
        assert!(found.iter().any(|violation| violation.kind == kind), "seed {seed}: {kind:?} is not among {found:?}");
    }
}

/// The last acknowledged operation that fits.
fn last(history: &mut History, fits: impl Fn(&Operation) -> bool) -> &mut Operation {
    let fits = |operation: &&mut Operation| matches!(operation.outcome, Outcome::Done(_)) && fits(operation);
    history.operations.iter_mut().rev().find(fits).unwrap()
}

fn log(history: &mut History) -> &mut Vec<Event> {
    history.logs.get_mut(&LOBBY).unwrap()
}

fn is_read(operation: &Operation) -> bool {
    operation.action == Action::Read
}

fn is_fetch(operation: &Operation) -> bool {
    matches!(operation.outcome, Outcome::Done(Answer::Snapshot(Some(_))))
}

#[test]
fn a_good_history_is_taken() {
    for seed in 0..50 {
        let history = Maker::make(seed);
        assert!(history.operations.len() > 100 && history.logs[&LOBBY].len() > 30, "it says something");
        assert_eq!(check(&history), [], "seed {seed}");
    }
}

#[test]
fn an_unknown_outcome_may_have_had_its_effect_or_not() {
    for seed in 0..20 {
        let mut history = Maker::make(seed);
        let owner = last(&mut history, |operation| operation.action == Action::Join).player;
        let seats = |operation: &Operation| matches!(operation.action, Action::Join | Action::Leave);
        let newest = last(&mut history, |operation| operation.player == owner && seats(operation));
        (newest.outcome, newest.returned) = (Outcome::Unknown, Moment::NEVER);
        let mut without = newest.clone();
        assert_eq!(check(&history), [], "seed {seed}: it had");
        without.player = player(200);
        history.operations.push(without);
        assert_eq!(check(&history), [], "seed {seed}: another had not");
    }
}

#[test]
fn a_lobby_that_is_gone_is_found() {
    expect(Kind::LostLobby, |history| history.logs.clear());
}

#[test]
fn an_event_that_is_gone_is_found() {
    expect(Kind::LogGap, |history| _ = log(history).remove(10));
    expect(Kind::LostEvent, |history| _ = log(history).pop());
    expect(Kind::StreamGap, |history| _ = history.streams[0].openings[0].heard.remove(10));
    expect(Kind::StreamStuck, |history| _ = history.streams[1].openings.pop());
}

#[test]
fn two_events_that_changed_places_are_found() {
    expect(Kind::LogGap, |history| log(history).swap(8, 9));
    expect(Kind::StreamRepeat, |history| history.streams[0].openings[0].heard.swap(8, 9));
}

#[test]
fn a_number_that_came_twice_is_found() {
    expect(Kind::StreamRepeat, |history| {
        let heard = &mut history.streams[0].openings[0].heard;
        heard.insert(9, heard[8]);
    });
    expect(Kind::StreamRepeat, |history| {
        let openings = &mut history.streams[1].openings;
        let again = openings[0].heard[6];
        openings[1].heard.insert(0, again);
    });
}

#[test]
fn an_event_that_differs_is_found() {
    expect(Kind::StreamDiffers, |history| {
        let heard = &mut history.streams[0].openings[0].heard[9].1;
        let Heard::Event(seq, digest) = *heard else { panic!("{heard:?}") };
        *heard = Heard::Event(seq, digest ^ 1);
    });
}

#[test]
fn a_whole_lobby_instead_of_events_that_are_kept_is_found() {
    expect(Kind::UnexpectedResync, |history| {
        let seen = Seen::of(&history.born[&LOBBY]);
        history.streams[1].openings[1].heard.insert(0, (Moment(1), Heard::Resync(seen)));
    });
}

#[test]
fn an_acknowledged_join_that_is_lost_is_found() {
    expect(Kind::LostWrite, |history| {
        let mut join = last(history, |operation| operation.action == Action::Join).clone();
        join.player = player(200);
        history.operations.push(join);
    });
}

#[test]
fn a_refused_join_that_took_effect_is_found() {
    expect(Kind::PhantomWrite, |history| {
        last(history, |operation| operation.action == Action::Join).outcome = Outcome::Refused(409);
    });
}

#[test]
fn a_creation_that_was_refused_or_happened_twice_is_found() {
    let creation = |name: &str, outcome| Operation {
        player: player(1),
        lobby: None,
        invoked: Moment(1),
        returned: Moment(2),
        action: Action::Create(name.to_owned()),
        outcome,
    };
    expect(Kind::PhantomWrite, |history| {
        history.operations.push(creation("second", Outcome::Refused(422)));
        history.listed.push("second".to_owned());
    });
    expect(Kind::PhantomWrite, |history| {
        history.operations.push(creation("second", Outcome::Unknown));
        history.listed.extend(["second".to_owned(), "second".to_owned()]);
    });
    expect(Kind::PhantomWrite, |history| history.listed.push("first".to_owned()));
}

#[test]
fn a_connection_id_that_is_given_twice_is_found() {
    let spoil = |history: &mut History| {
        let join = last(history, |operation| operation.action == Action::Join);
        let Outcome::Done(Answer::Seat(connection, _)) = &mut join.outcome else { panic!("{join:?}") };
        *connection = ConnectionId(0);
    };
    expect(Kind::SharedConnection, spoil);
    expect(Kind::WrongConnection, spoil);
    expect(Kind::SharedConnection, |history| {
        for event in log(history) {
            if let EventBody::MemberJoined { member } = &mut event.body {
                member.connection = ConnectionId(member.connection.0.min(1));
            }
        }
    });
}

#[test]
fn a_write_that_overtook_one_that_was_acknowledged_before_is_found() {
    expect(Kind::OutOfOrder, |history| {
        let join = last(history, |operation| operation.action == Action::Join).clone();
        let owner = join.player;
        let is_its =
            |event: &&Event| matches!(&event.body, EventBody::MemberJoined { member } if member.player == owner);
        let joined = log(history).iter().find(is_its).unwrap().clone();
        // The first of the two events is of the join that began when the other had been acknowledged.
        for (number, invoked) in [(201, 2_000_000_000), (202, 1_000_000_000)] {
            let mut event = joined.clone();
            let EventBody::MemberJoined { member } = &mut event.body else { panic!("{event:?}") };
            (member.player, member.connection) = (player(number), ConnectionId(number.into()));
            event.seq = EventSeq(log(history).len() as u64 + 1);
            let seen = Seen { seq: event.seq, epoch: HostEpoch::FIRST, digest: 0 };
            log(history).push(event);
            let (invoked, returned) = (Moment(invoked), Moment(invoked + 1));
            let outcome = Outcome::Done(Answer::Seat(ConnectionId(number.into()), seen));
            history.operations.push(Operation { player: player(number), invoked, returned, outcome, ..join.clone() });
        }
    });
}

#[test]
fn a_stale_read_is_found() {
    expect(Kind::StaleRead, |history| {
        let old = history.operations.iter().find(|operation| is_read(operation)).unwrap().outcome.clone();
        last(history, is_read).outcome = old;
    });
}

#[test]
fn a_read_of_the_future_is_found() {
    expect(Kind::FutureRead, |history| {
        let new = last(history, is_read).outcome.clone();
        let old = history.operations.iter_mut().find(|operation| is_read(operation)).unwrap();
        old.outcome = new;
    });
    expect(Kind::LostEvent, |history| {
        let Outcome::Done(Answer::View(seen)) = &mut last(history, is_read).outcome else { panic!("a read") };
        seen.seq = EventSeq(seen.seq.0 + 1_000);
    });
}

#[test]
fn a_view_that_its_events_do_not_make_is_found() {
    expect(Kind::WrongState, |history| {
        let Outcome::Done(Answer::View(seen)) = &mut last(history, is_read).outcome else { panic!("a read") };
        seen.digest ^= 1;
    });
}

#[test]
fn an_older_snapshot_is_found() {
    let spoil = |history: &mut History, outcome| last(history, is_fetch).outcome = outcome;
    expect(Kind::OlderSnapshot, |history| {
        let old = history.operations.iter().find(|operation| is_fetch(operation)).unwrap().outcome.clone();
        spoil(history, old);
    });
    expect(Kind::OlderSnapshot, |history| spoil(history, Outcome::Done(Answer::Snapshot(None))));
    expect(Kind::OlderSnapshot, |history| {
        let is_put = |operation: &Operation| matches!(operation.action, Action::Put(..));
        let old = history.operations.iter().find(|operation| is_put(operation)).unwrap().action.clone();
        last(history, is_put).action = old;
    });
}

#[test]
fn changed_bytes_of_a_snapshot_are_found() {
    expect(Kind::ChangedSnapshot, |history| {
        let Outcome::Done(Answer::Snapshot(Some((_, checksum)))) = &mut last(history, is_fetch).outcome else {
            panic!("a fetch")
        };
        *checksum = Checksum::from_bytes([99; 32]);
        let spoiled = *checksum;
        // Nobody has sent these by chance.
        history.operations.retain(|other| !matches!(other.action, Action::Put(_, sent) if sent == spoiled));
    });
    expect(Kind::ChangedSnapshot, |history| last(history, is_fetch).outcome = Outcome::Done(Answer::Damaged));
}

#[test]
fn a_refused_snapshot_that_is_there_is_found() {
    expect(Kind::PhantomSnapshot, |history| {
        let Outcome::Done(Answer::Snapshot(Some(fetched))) = last(history, is_fetch).outcome else { panic!("a fetch") };
        let put = |operation: &Operation| operation.action == Action::Put(fetched.0, fetched.1);
        last(history, put).outcome = Outcome::Refused(409);
    });
}

#[test]
fn a_snapshot_of_an_epoch_that_is_over_is_found() {
    expect(Kind::StaleEpochAccepted, |history| {
        let first = history.operations.iter_mut().find(|operation| is_read(operation)).unwrap();
        let Outcome::Done(Answer::View(seen)) = &mut first.outcome else { panic!("a read") };
        seen.epoch = HostEpoch(2);
    });
}

#[test]
fn an_epoch_that_moved_without_an_election_is_found() {
    expect(Kind::EpochMoved, |history| log(history)[9].epoch = HostEpoch(0));
    expect(Kind::EpochMoved, |history| log(history).last_mut().unwrap().epoch = HostEpoch(2));
}

#[test]
fn an_election_is_needless_where_the_host_always_came_back() {
    let elect = |history: &mut History, idle: Duration| {
        history.steady.insert(LOBBY);
        history.streams[0].idle_max_us = u64::try_from(idle.as_micros()).unwrap();
        let ranking = protocol::lobby::election::elect(&[], &protocol::lobby::election::Policy::default());
        let (host, ready_by) = (ConnectionId(1), Timestamp(0));
        log(history).last_mut().unwrap().body = EventBody::HostElected { host, ready_by, ranking };
    };
    expect(Kind::NeedlessElection, |history| elect(history, Duration::from_secs(1)));
    let mut history = Maker::make(0);
    elect(&mut history, Duration::from_secs(10));
    assert!(!kinds(&history).contains(&Kind::NeedlessElection), "its process did not run");
    expect(Kind::SeatLost, |history| {
        history.steady.insert(LOBBY);
        let (connection, reason) = (ConnectionId(0), protocol::lobby::LeaveReason::Removed);
        log(history).last_mut().unwrap().body = EventBody::MemberLeft { connection, player: player(0), reason };
    });
}

#[test]
fn a_token_that_is_refused_and_a_fault_of_the_service_are_found() {
    expect(Kind::TokenRefused, |history| last(history, is_read).outcome = Outcome::Refused(401));
    expect(Kind::InternalError, |history| last(history, is_read).outcome = Outcome::Failed);
}

#[test]
fn a_seat_that_was_used_after_an_unknown_outcome_is_found() {
    expect(Kind::BadHistory, |history| {
        let join = last(history, |operation| operation.action == Action::Join);
        let mut before = join.clone();
        (before.invoked, before.outcome) = (Moment(join.invoked.0 - 1), Outcome::Unknown);
        history.operations.push(before);
    });
}
