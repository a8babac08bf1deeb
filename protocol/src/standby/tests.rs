//! A host and its successors, with states that are only numbers.

use super::*;
use crate::id::HostEpoch;

const FIRST: ConnectionId = ConnectionId(1);
const SECOND: ConnectionId = ConnectionId(2);
const THIRD: ConnectionId = ConnectionId(3);
const MS: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tick(u64);

impl State for Tick {
    fn generation(&self) -> Generation {
        generation(self.0)
    }

    fn tick(&self) -> u64 {
        self.0
    }
}

fn generation(seq: u64) -> Generation {
    Generation { epoch: HostEpoch(4), seq }
}

struct Play {
    feed: Feed<Tick>,
    now: Instant,
}

impl Play {
    fn new(bytes_per_second: u64) -> Self {
        let mut feed = Feed::new(bytes_per_second);
        feed.set_successor(Some(FIRST));
        Self { feed, now: crate::tests::start() }
    }

    /// A successor that holds state 1.
    fn warm() -> Self {
        let mut play = Self::new(1 << 40);
        assert_eq!(play.gives(1).sends(10), [(FIRST, None, 1)]);
        play.feed.handle_taken(FIRST, generation(1), play.now);
        play
    }

    fn gives(&mut self, state: u64) -> &mut Self {
        self.feed.offer(Tick(state), self.now);
        self
    }

    fn later(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    /// The state is being encoded.
    fn begins(&mut self, state: u64) -> Option<Job<Tick>> {
        self.gives(state);
        self.feed.poll_job(self.now)
    }

    /// All that is sent now: to whom, from which state, to which.
    fn sends(&mut self, bytes: usize) -> Vec<(ConnectionId, Option<u64>, u64)> {
        let mut sent = Vec::new();
        while let Some(job) = self.feed.poll_job(self.now) {
            sent.push((job.to, job.base.map(|base| base.0), job.state.0));
            self.feed.handle_sent(&job, Some(bytes), self.now);
        }
        sent
    }
}

#[test]
fn the_first_state_goes_whole_and_each_other_as_the_difference_to_the_one_sent_before_it() {
    let mut play = Play::new(1 << 40);
    assert_eq!(play.sends(10), []);
    assert_eq!(play.gives(1).sends(10), [(FIRST, None, 1)]);
    assert_eq!(play.gives(2).sends(10), [(FIRST, Some(1), 2)]);
    assert_eq!(play.sends(10), []);
    assert_eq!(play.feed.sent_bytes(), 20);
    assert_eq!((play.feed.successor(), play.feed.acknowledged(FIRST)), (Some(FIRST), None));
    play.feed.handle_taken(FIRST, generation(1), play.now);
    assert_eq!(play.feed.acknowledged(FIRST), Some(generation(1)));
}

#[test]
fn states_that_come_while_one_is_encoded_are_coalesced() {
    let mut play = Play::warm();
    let job = play.begins(2).unwrap();
    assert!(play.begins(3).is_none());
    play.gives(4);
    play.feed.handle_sent(&job, Some(10), play.now);
    assert_eq!(play.sends(10), [(FIRST, Some(2), 4)]);
}

#[test]
fn what_could_not_be_encoded_is_no_base() {
    let mut play = Play::warm();
    let job = play.begins(2).unwrap();
    play.feed.handle_sent(&job, None, play.now);
    assert_eq!(play.gives(3).sends(10), [(FIRST, Some(1), 3)]);
}

#[test]
fn no_more_states_are_under_way_than_allowed_and_an_acknowledgement_makes_room() {
    let mut play = Play::warm();
    for state in 0..limits::FEED_IN_FLIGHT_MAX as u64 {
        assert_eq!(play.gives(2 + state).sends(10).len(), 1);
    }
    assert_eq!(play.gives(90).sends(10), []);
    assert_eq!(play.feed.poll_timeout(), None);
    play.feed.handle_taken(FIRST, generation(2), play.now);
    assert_eq!(play.gives(91).sends(10), [(FIRST, Some(33), 91)]);
}

#[test]
fn so_many_bytes_are_under_way_and_one_of_the_largest_goes_alone() {
    let mut play = Play::warm();
    assert_eq!(play.gives(2).sends(limits::SNAPSHOT_BYTES_MAX).len(), 1);
    assert_eq!(play.gives(3).sends(10), []);
    play.feed.handle_taken(FIRST, generation(2), play.now);
    assert_eq!(play.sends(limits::FEED_IN_FLIGHT_BYTES_MAX - 1).len(), 1);
    assert_eq!(play.gives(4).sends(10).len(), 1);
    assert_eq!(play.gives(5).sends(10), []);
}

#[test]
fn the_rate_is_kept_on_average_by_large_states_and_by_many_small_ones() {
    for bytes in [90, 300, 2000] {
        let mut play = Play::new(1000);
        let start = play.now;
        for state in 1..=200 {
            play.gives(state).sends(bytes);
            play.feed.handle_taken(FIRST, generation(state), play.now);
            play.later(30 * MS);
        }
        let most = (play.now - start + limits::HEARTBEAT).as_secs_f64() * 1000.0 + bytes as f64;
        let sent = play.feed.sent_bytes() as f64;
        assert!(sent <= most && sent >= 0.8 * most.min(200.0 * bytes as f64), "{sent} of {most} with {bytes}");
    }
}

#[test]
fn a_feed_that_waits_for_its_rate_says_until_when_and_one_that_has_nothing_to_send_says_nothing() {
    let mut play = Play::new(1000);
    assert_eq!(play.gives(1).sends(500).len(), 1);
    assert_eq!(play.feed.poll_timeout(), None);
    assert_eq!(play.gives(2).sends(500), []);
    let at = play.feed.poll_timeout().unwrap();
    assert_eq!(at - play.now, 400 * MS);
    play.later(400 * MS);
    assert_eq!(play.sends(10).len(), 1);
    assert_eq!(play.later(Duration::from_secs(60)).feed.poll_timeout(), None);
}

#[test]
fn whoever_wants_a_whole_state_gets_one_although_a_difference_is_being_made() {
    let mut play = Play::warm();
    play.feed.handle_wanted(FIRST);
    assert_eq!(play.feed.acknowledged(FIRST), Some(generation(1)));
    assert_eq!(play.gives(2).sends(10), [(FIRST, None, 2)]);
    let job = play.begins(3).unwrap();
    play.feed.handle_wanted(FIRST);
    play.feed.handle_sent(&job, Some(10), play.now);
    assert_eq!(play.sends(10), [(FIRST, None, 3)]);
}

#[test]
fn the_old_successor_is_fed_until_the_new_one_is_warm() {
    let mut play = Play::warm();
    play.feed.set_successor(Some(SECOND));
    assert_eq!(play.gives(2).sends(10), [(SECOND, None, 2), (FIRST, Some(1), 2)]);
    assert_eq!(play.feed.successor(), Some(SECOND));
    play.feed.handle_taken(SECOND, generation(2), play.now);
    assert_eq!(play.gives(3).sends(10), [(SECOND, Some(2), 3)]);
    assert_eq!(play.feed.acknowledged(FIRST), None);
}

#[test]
fn a_warm_successor_is_kept_over_any_number_of_cold_ones_and_takes_up_where_it_was() {
    let mut play = Play::warm();
    play.feed.set_successor(Some(SECOND));
    play.feed.set_successor(Some(THIRD));
    play.feed.set_successor(None);
    assert_eq!(play.gives(2).sends(10), [(THIRD, None, 2), (FIRST, Some(1), 2)]);
    play.feed.set_successor(Some(FIRST));
    assert_eq!(play.gives(3).sends(10), [(FIRST, Some(2), 3)]);
}

#[test]
fn a_link_that_is_down_takes_with_it_what_was_sent_there() {
    let mut play = Play::warm();
    let job = play.begins(2).unwrap();
    play.feed.handle_link_down(FIRST);
    assert_eq!((play.feed.successor(), play.feed.acknowledged(FIRST)), (None, None));
    play.feed.set_successor(Some(FIRST));
    play.feed.handle_sent(&job, Some(10), play.now);
    assert_eq!(play.gives(3).sends(10), [(FIRST, None, 3)]);
    assert_eq!(play.feed.lag(play.now), None);
}

#[test]
fn strangers_acknowledge_nothing() {
    let mut play = Play::warm();
    play.feed.handle_taken(SECOND, generation(9), play.now);
    play.feed.handle_wanted(SECOND);
    play.feed.handle_taken(FIRST, generation(9), play.now);
    assert_eq!((play.feed.acknowledged(FIRST), play.feed.acknowledged(SECOND)), (Some(generation(1)), None));
}

#[test]
fn the_lag_is_what_was_given_and_not_acknowledged() {
    let mut play = Play::warm();
    assert_eq!(play.feed.lag(play.now), Some(Lag::default()));
    play.gives(2).sends(10);
    play.later(30 * MS).gives(3).sends(20);
    play.later(30 * MS);
    assert_eq!(play.feed.lag(play.now), Some(Lag { ticks: 2, bytes: 30, time: 60 * MS }));
    play.feed.handle_taken(FIRST, generation(2), play.now);
    assert_eq!(play.feed.lag(play.now), Some(Lag { ticks: 1, bytes: 20, time: 30 * MS }));
}
