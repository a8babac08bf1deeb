//! Two sides of a link, and the next host.

mod random;

use super::*;

const FIRST: HostEpoch = HostEpoch(1);
const SECOND: HostEpoch = HostEpoch(2);
const THIRD: HostEpoch = HostEpoch(3);
const SEAT: ConnectionId = ConnectionId(7);
const PROCESS: StreamId = StreamId(11);
const NEXT_PROCESS: StreamId = StreamId(12);

fn bytes(number: u64) -> Bytes {
    Bytes::from(number.to_be_bytes().to_vec())
}

fn range(from: u64, to: u64) -> Option<Missing> {
    Some(Missing { from, to: Some(to) })
}

fn settled(applied: u64, release_after: u64, release_up_to: u64) -> Settled {
    Settled { connection: SEAT, applied, release_after, release_up_to }
}

/// A guest and its host, who speak to each other without a network.
struct Pair {
    guest: GuestStreams,
    host: HostStreams,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self { guest: GuestStreams::new(PROCESS), host: HostStreams::new(FIRST) };
        assert_eq!(pair.link(), (Resumed::default(), None));
        pair
    }

    /// A new link: hello and welcome.
    fn link(&mut self) -> (Resumed, Option<Missing>) {
        let Answer { position, inputs_lost } = self.host.handle_hello(SEAT, &self.guest.offer());
        (self.guest.handle_welcome(position), inputs_lost)
    }

    /// The guest says so many messages; the host receives some of them and its game takes some of those.
    fn ups(&mut self, said: u64, received: u64, applied: u64) {
        let first = self.guest.journal().newest() + 1;
        (first..first + said).for_each(|number| assert_eq!(self.guest.say(bytes(number)), Ok(number)));
        (first..first + received).for_each(|number| assert_eq!(self.host.receive(SEAT, number), Receipt::Next));
        (first..first + applied).for_each(|number| self.host.applied(SEAT, PROCESS, number));
    }

    /// The host says so many messages, of which the guest receives some.
    fn downs(&mut self, said: u64, received: u64) {
        for nth in 0..said {
            let number = self.host.say(SEAT, Class::Reliable, bytes(nth)).unwrap().unwrap();
            if nth < received {
                assert_eq!(self.guest.receive(Class::Reliable, number), Receipt::Next);
            }
        }
    }

    fn stable(&mut self, said: u64) {
        (0..said).for_each(|nth| assert_eq!(self.host.say(SEAT, Class::AfterStable, bytes(nth)), Ok(None)));
    }

    /// The next host goes on from a ledger.
    fn migrate(&mut self, ledger: &Ledger, epoch: HostEpoch) {
        self.host = HostStreams::restore(ledger.clone(), epoch);
    }

    /// The numbers that the host says after a welcome.
    fn to_say(&self) -> (Vec<u64>, Vec<u64>) {
        let of =
            |wanted| self.host.to_say(SEAT).filter(move |(class, ..)| *class == wanted).map(|(_, number, _)| number);
        (of(Class::Reliable).collect(), of(Class::AfterStable).collect())
    }

    fn said_again(&self, resumed: Resumed) -> Vec<u64> {
        self.guest.journal().after(resumed.say_after).map(|(number, _)| number).collect()
    }
}

#[test]
fn a_journal_numbers_from_one_keeps_in_order_and_forgets_what_is_cut() {
    let mut journal = Journal::default();
    assert_eq!((journal.oldest(), journal.newest()), (1, 0));
    assert_eq!((1..=4).map(|number| journal.push(bytes(number))).collect::<Vec<_>>(), [Ok(1), Ok(2), Ok(3), Ok(4)]);
    journal.cut(2);
    journal.cut(1);
    let kept = |journal: &Journal, after| journal.after(after).map(|(number, _)| number).collect::<Vec<_>>();
    assert_eq!((kept(&journal, 0), kept(&journal, 3), kept(&journal, u64::MAX)), (vec![3, 4], vec![4], vec![]));
    journal.clear();
    assert_eq!((journal.oldest(), journal.newest(), journal.push(bytes(5))), (5, 4, Ok(5)));
}

#[test]
fn a_full_journal_refuses_and_changes_nothing_until_it_is_cut() {
    let mut journal = Journal::default();
    let messages = limits::JOURNAL_MESSAGES_MAX as u64;
    (1..=messages).for_each(|number| assert_eq!(journal.push(bytes(number)), Ok(number)));
    assert_eq!((journal.push(bytes(0)), journal.newest()), (Err(Full), messages));
    journal.cut(1);
    assert_eq!((journal.push(bytes(0)), journal.push(bytes(0))), (Ok(messages + 1), Err(Full)));
    let mut large = Journal::default();
    assert!(!large.has_room_for(limits::JOURNAL_BYTES_MAX + 1) && large.has_room_for(limits::JOURNAL_BYTES_MAX));
    large.push(Bytes::from(vec![0; limits::JOURNAL_BYTES_MAX - 8])).unwrap();
    assert_eq!((large.push(bytes(1)), large.push(bytes(2))), (Ok(2), Err(Full)));
    large.cut(1);
    assert_eq!(large.push(bytes(3)), Ok(3));
}

#[test]
fn on_a_new_link_to_the_same_host_each_message_is_had_once() {
    let mut pair = Pair::new();
    pair.ups(5, 3, 2);
    pair.downs(4, 1);
    let (resumed, lost) = pair.link();
    assert_eq!((resumed, lost), (Resumed { say_after: 3, ..Resumed::default() }, None));
    assert_eq!((pair.said_again(resumed), pair.to_say().0), (vec![4, 5], vec![2, 3, 4]));
    assert_eq!(pair.host.receive(SEAT, 3), Receipt::Repeated);
    assert_eq!(pair.host.receive(SEAT, 5), Receipt::Gap);
    assert_eq!(pair.host.receive(SEAT, 4), Receipt::Next);
    assert_eq!(pair.guest.receive(Class::Reliable, 1), Receipt::Repeated);
    assert_eq!(pair.guest.receive(Class::Reliable, 3), Receipt::Gap);
    assert_eq!(pair.guest.receive(Class::Reliable, 2), Receipt::Next);
}

#[test]
fn the_next_host_has_what_its_state_says_and_is_told_the_rest() {
    let mut pair = Pair::new();
    pair.ups(5, 4, 2);
    pair.downs(3, 1);
    let state = pair.host.ledger();
    pair.host.applied(SEAT, PROCESS, 4);
    pair.migrate(&state, SECOND);
    let (resumed, lost) = pair.link();
    assert_eq!((resumed, lost), (Resumed { say_after: 2, ..Resumed::default() }, None));
    assert_eq!((pair.said_again(resumed), pair.to_say().0), (vec![3, 4, 5], vec![2, 3]));
}

#[test]
fn what_the_old_host_said_after_the_state_is_taken_back_though_the_new_one_has_said_more_by_then() {
    let mut pair = Pair::new();
    pair.downs(3, 3);
    let state = pair.host.ledger();
    pair.downs(2, 2);
    pair.migrate(&state, SECOND);
    pair.downs(4, 0);
    let (resumed, _) = pair.link();
    assert_eq!(resumed.taken_back, range(4, 5));
    assert_eq!((pair.to_say().0, resumed.never_heard), (vec![4, 5, 6, 7], None));
}

#[test]
fn a_welcome_that_is_lost_changes_nothing_for_the_next_one() {
    let mut pair = Pair::new();
    pair.downs(5, 5);
    pair.migrate(&Ledger::default(), SECOND);
    let _lost = pair.host.handle_hello(SEAT, &pair.guest.offer());
    pair.downs(7, 0);
    let (resumed, _) = pair.link();
    assert_eq!((resumed.taken_back, pair.to_say().0), (range(1, 5), (1..=7).collect()));
}

#[test]
fn a_host_that_the_guest_never_met_may_have_said_other_messages_under_the_same_numbers() {
    let mut pair = Pair::new();
    pair.downs(3, 3);
    let state = pair.host.ledger();
    pair.downs(3, 3);
    pair.migrate(&state, SECOND);
    pair.downs(5, 0);
    let state = pair.host.ledger();
    pair.migrate(&state, THIRD);
    let (resumed, _) = pair.link();
    assert_eq!((resumed.taken_back, pair.to_say().0), (range(4, 6), vec![4, 5, 6, 7, 8]));
}

#[test]
fn what_was_heard_on_a_branch_that_was_given_up_is_taken_back() {
    let mut pair = Pair::new();
    pair.downs(3, 3);
    let old = pair.host.ledger();
    pair.downs(2, 0);
    let newer = pair.host.ledger();
    pair.migrate(&old, SECOND);
    pair.link();
    pair.downs(4, 4);
    pair.migrate(&newer, THIRD);
    let (resumed, _) = pair.link();
    assert_eq!((resumed.taken_back, pair.to_say().0), (range(4, 7), vec![4, 5]));
}

#[test]
fn a_guest_says_what_it_has_heard_only_to_the_host_that_numbers_it() {
    let mut pair = Pair::new();
    pair.downs(3, 2);
    assert_eq!((pair.guest.received(FIRST), pair.guest.received(SECOND)), ((2, 0), (0, 0)));
    pair.host.heard(SEAT, 2, 0);
    assert_eq!(pair.to_say().0, [3]);
}

#[test]
fn what_a_host_gives_up_is_never_heard_and_told() {
    let mut pair = Pair::new();
    pair.downs(4, 1);
    pair.host.give_up(SEAT);
    pair.downs(1, 0);
    let (resumed, _) = pair.link();
    assert_eq!((resumed.never_heard, pair.to_say().0), (range(2, 4), vec![5]));
    assert_eq!(pair.guest.receive(Class::Reliable, 5), Receipt::Next);
}

#[test]
fn inputs_that_were_cut_and_are_in_no_state_are_lost_and_both_sides_know_which() {
    let mut pair = Pair::new();
    pair.ups(5, 5, 5);
    pair.guest.handle_durable(4);
    pair.migrate(&Ledger::default(), SECOND);
    let (resumed, lost) = pair.link();
    assert_eq!((resumed.inputs_lost, lost), (range(1, 4), range(1, 4)));
    assert_eq!((pair.said_again(resumed), pair.host.receive(SEAT, 5)), (vec![5], Receipt::Next));
    assert_eq!(pair.link(), (Resumed { say_after: 5, ..Resumed::default() }, None));
}

#[test]
fn a_process_that_starts_anew_begins_a_stream_that_the_old_one_has_no_part_in() {
    let mut pair = Pair::new();
    pair.ups(5, 5, 2);
    pair.downs(3, 1);
    pair.guest = GuestStreams::new(NEXT_PROCESS);
    assert_eq!(pair.link(), (Resumed::default(), None));
    assert_eq!((pair.host.stream(SEAT), pair.to_say().0), (Some(NEXT_PROCESS), vec![]));
    pair.host.applied(SEAT, PROCESS, 5);
    assert_eq!(pair.host.ledger().0[0].applied, 0);
    pair.guest.say(bytes(1)).unwrap();
    assert_eq!(pair.host.receive(SEAT, 1), Receipt::Next);
}

#[test]
fn what_a_process_that_is_gone_had_told_a_host_that_is_gone_is_lost_and_nobody_knows_how_much() {
    let mut pair = Pair::new();
    pair.ups(5, 5, 2);
    let state = pair.host.ledger();
    pair.migrate(&state, SECOND);
    pair.guest = GuestStreams::new(NEXT_PROCESS);
    assert_eq!(pair.link(), (Resumed::default(), Some(Missing { from: 3, to: None })));
    assert_eq!(pair.link(), (Resumed::default(), None));
}

#[test]
fn after_stable_leaves_once_its_state_is_durable_and_never_twice() {
    let mut pair = Pair::new();
    pair.stable(2);
    let (first, unsettled) = (pair.host.ledger(), pair.to_say().1);
    pair.stable(1);
    let second = pair.host.ledger();
    pair.stable(1);
    assert!(unsettled.is_empty());
    assert_eq!(pair.host.handle_durable(&first), [settled(0, 0, 2)]);
    assert_eq!(pair.host.released(&settled(0, 0, 2)).map(|(number, _)| number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(pair.host.handle_durable(&first), [settled(0, 2, 2)]);
    assert_eq!(pair.host.released(&settled(0, 2, 2)).count(), 0);
    assert_eq!(pair.host.handle_durable(&second), [settled(0, 2, 3)]);
    assert_eq!(pair.guest.receive(Class::AfterStable, 1), Receipt::Next);
    assert_eq!(pair.guest.receive(Class::AfterStable, 1), Receipt::Repeated);
    pair.link();
    assert_eq!(pair.to_say().1, [2, 3]);
    pair.host.heard(SEAT, 0, 9);
    assert_eq!((pair.to_say().1, pair.host.ledger().0[0].stable.first), (vec![], 4));
}

#[test]
fn after_stable_is_never_taken_back_by_a_host_that_goes_on_from_a_durable_state() {
    let mut pair = Pair::new();
    pair.stable(2);
    let durable = pair.host.ledger();
    pair.host.handle_durable(&durable);
    assert_eq!(pair.guest.receive(Class::AfterStable, 1), Receipt::Next);
    pair.stable(1);
    pair.migrate(&durable, SECOND);
    pair.stable(1);
    assert_eq!((pair.link().0, pair.to_say().1), (Resumed::default(), vec![]));
    let again = pair.host.ledger();
    assert_eq!(pair.host.handle_durable(&again), [settled(0, 1, 3)]);
}

#[test]
fn numbers_after_stable_of_a_generation_that_was_set_aside_are_used_up() {
    let mut pair = Pair::new();
    pair.stable(3);
    let lost = pair.host.ledger();
    pair.host.handle_durable(&lost);
    (1..=3).for_each(|number| assert_eq!(pair.guest.receive(Class::AfterStable, number), Receipt::Next));
    pair.migrate(&Ledger::default(), SECOND);
    let _lost = pair.host.handle_hello(SEAT, &pair.guest.offer());
    pair.stable(2);
    pair.link();
    let state = pair.host.ledger();
    assert_eq!(pair.host.handle_durable(&state), [settled(0, 3, 5)]);
    assert_eq!(pair.guest.receive(Class::AfterStable, 4), Receipt::Next);
}

#[test]
fn only_a_durable_state_lets_a_guest_forget_and_only_what_is_in_it() {
    let mut pair = Pair::new();
    pair.ups(5, 4, 2);
    let state = pair.host.ledger();
    pair.host.applied(SEAT, PROCESS, 4);
    assert_eq!(pair.host.handle_durable(&state), [settled(2, 0, 0)]);
    pair.guest.handle_durable(2);
    assert_eq!(pair.guest.offer().oldest, 3);
    assert_eq!(pair.host.settled_by_now(), [settled(4, 0, 0)]);
    let (resumed, lost) = pair.link();
    assert_eq!((resumed.inputs_lost, lost, pair.said_again(resumed)), (None, None, vec![5]));
}

#[test]
fn a_durable_state_of_the_process_before_settles_nothing() {
    let mut pair = Pair::new();
    pair.ups(3, 3, 3);
    pair.stable(1);
    let state = pair.host.ledger();
    pair.guest = GuestStreams::new(NEXT_PROCESS);
    pair.link();
    assert_eq!(pair.host.handle_durable(&state), []);
}

#[test]
fn a_new_host_takes_what_it_had_still_to_say_and_to_hear() {
    let mut pair = Pair::new();
    pair.ups(4, 3, 2);
    pair.downs(3, 1);
    let state = pair.host.ledger();
    pair.migrate(&state, SECOND);
    let own = pair.host.take_own(SEAT, &mut pair.guest);
    assert_eq!(own.inputs.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(own.told, [(Class::Reliable, bytes(1)), (Class::Reliable, bytes(2))]);
    assert_eq!((own.resumed.taken_back, pair.to_say().0, pair.guest.received(SECOND)), (None, vec![], (3, 0)));
    pair.host.applied(SEAT, PROCESS, 3);
    let state = pair.host.ledger();
    pair.migrate(&state, THIRD);
    assert_eq!(pair.link().0.say_after, 3);
}

#[test]
fn nobody_is_told_anything_without_a_seat() {
    let mut pair = Pair::new();
    pair.host.forget(SEAT);
    assert!(!pair.host.knows(SEAT) && !pair.host.has_room_for(SEAT, Class::Reliable, 1));
    assert_eq!(pair.host.say(SEAT, Class::Reliable, bytes(1)), Err(Full));
    assert_eq!(pair.host.receive(SEAT, 1), Receipt::Gap);
    assert_eq!(pair.host.ledger(), Ledger::default());
}

#[test]
fn a_ledger_reads_back_as_it_was_written() {
    let mut pair = Pair::new();
    pair.ups(2, 2, 1);
    pair.downs(2, 1);
    pair.stable(1);
    let ledger = pair.host.ledger();
    let read: Ledger = rmp_serde::from_slice(&rmp_serde::to_vec_named(&ledger).unwrap()).unwrap();
    assert_eq!(read, ledger);
    let (restored, entry) = (HostStreams::restore(read, SECOND).ledger(), &ledger.0[0]);
    let stretches = [Stretch { epoch: FIRST, after: 0 }, Stretch { epoch: SECOND, after: 2 }].to_vec();
    assert_eq!(restored, Ledger(vec![LedgerEntry { stretches, ..entry.clone() }]));
}

#[test]
fn stretches_are_bounded_and_a_guest_that_missed_more_hosts_hears_all_that_is_kept() {
    let mut pair = Pair::new();
    pair.downs(3, 2);
    for epoch in 2..40 {
        let state = pair.host.ledger();
        pair.migrate(&state, HostEpoch(epoch));
    }
    assert_eq!(pair.host.ledger().0[0].stretches.len(), limits::STRETCHES_MAX);
    let (resumed, _) = pair.link();
    assert_eq!((resumed.taken_back, pair.to_say().0), (range(1, 2), vec![1, 2, 3]));
}

#[test]
fn claims_at_the_end_of_all_numbers_do_no_harm() {
    let numbers = [0, 1, u64::MAX - 1, u64::MAX];
    for (a, b) in numbers.into_iter().flat_map(|a| numbers.map(|b| (a, b))) {
        let stretches = vec![Stretch { epoch: FIRST, after: a }, Stretch { epoch: HostEpoch(u64::MAX), after: b }];
        let offer = Offer { stream: PROCESS, oldest: a, received: b, received_stable: a, stretches: stretches.clone() };
        let said = |first| Said { first, messages: vec![serde_bytes::ByteBuf::from(vec![1])] };
        let entry = LedgerEntry {
            connection: SEAT,
            stream: if a == b { PROCESS } else { NEXT_PROCESS },
            applied: b,
            down: said(a),
            stable: said(b),
            stretches,
        };
        for mut host in [HostStreams::new(FIRST), HostStreams::restore(Ledger(vec![entry]), SECOND)] {
            host.handle_hello(SEAT, &offer);
            host.receive(SEAT, a);
            host.applied(SEAT, PROCESS, b);
            host.heard(SEAT, a, b);
            host.say(SEAT, Class::AfterStable, bytes(1)).unwrap();
            host.handle_hello(SEAT, &offer);
            let ledger = host.ledger();
            host.handle_durable(&ledger);
            host.to_say(SEAT).count();
        }
        let mut guest = GuestStreams::new(PROCESS);
        guest.say(bytes(1)).unwrap();
        guest.handle_welcome(Position { epoch: FIRST, received: a, common: b, oldest: a, oldest_stable: b });
        guest.handle_welcome(Position { epoch: FIRST, received: b, common: a, oldest: b, oldest_stable: a });
        guest.receive(Class::Reliable, a);
        guest.receive(Class::AfterStable, b);
        guest.handle_durable(a);
    }
}
