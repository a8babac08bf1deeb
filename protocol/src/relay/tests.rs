//! What the relay's table promises, datagram by datagram.

use super::*;
use crate::frame::{RELAY_DATA_HEADER_BYTES, RELAY_PAYLOAD_BYTES_MAX};

/// A table on a clock of its own. A peer is known by the last number of its address.
struct Play {
    table: RelayTable,
    now: Instant,
    tag: SessionTag,
}

const TOKEN: &[u8] = b"a token that the shell has verified";

impl Play {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let now = crate::tests::start();
        Self { table: RelayTable::new(limits, [3; 32], now), now, tag: SessionTag(0) }
    }

    /// With connections 0 to `members - 1` of lobby 1 bound at addresses of the same numbers.
    fn of(members: u32) -> Self {
        let mut play = Self::new();
        (0..members).for_each(|member| play.bind(member, 1, member));
        play
    }

    fn later(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.table.handle_timeout(self.now);
        self
    }

    #[track_caller]
    fn bind(&mut self, address: u32, lobby: u8, member: u32) {
        let answer = self.table.bind(at(address), id(lobby), ConnectionId(member), 99, self.now);
        let Ok(RelayFrame::Bound { session, connection, .. }) = RelayFrame::decode(&answer) else { panic!("refused") };
        assert_eq!(connection, ConnectionId(member));
        self.tag = session;
    }

    #[track_caller]
    fn refused(&mut self, address: u32, lobby: u8, member: u32) -> RefusedReason {
        let answer = self.table.bind(at(address), id(lobby), ConnectionId(member), 99, self.now);
        reason(&answer).expect("it was bound")
    }

    /// What becomes of a datagram; whatever it borrows is the caller's.
    fn hears<'a>(&mut self, address: u32, datagram: &'a [u8]) -> Action<'a> {
        self.table.handle_datagram(at(address), datagram, self.now)
    }

    /// Where data of a peer goes: to which address, as whose.
    fn data(&mut self, address: u32, to: u32, bytes: usize) -> Result<(SocketAddr, u32), DropReason> {
        let payload = vec![7; bytes];
        let datagram = RelayFrame::Data { session: self.tag, peer: ConnectionId(to), payload: &payload }.to_vec();
        match self.hears(address, &datagram) {
            Action::Forward { to, header, payload: forwarded } => {
                assert_eq!(forwarded, payload, "the payload is not touched");
                let frame = [header.as_slice(), forwarded].concat();
                let Ok(RelayFrame::Data { peer, .. }) = RelayFrame::decode(&frame) else { panic!("not data any more") };
                Ok((to, peer.0))
            }
            Action::Drop(reason) => Err(reason),
            other @ (Action::Reply(_)
            | Action::AnswerStun(_)
            | Action::VerifyMember { .. }
            | Action::VerifyGrant { .. }
            | Action::Nothing) => {
                panic!("{other:?}")
            }
        }
    }

    fn grant(&mut self, address: u32, host: u32, epoch: u64) -> Vec<u8> {
        self.table.grant(at(address), id(1), hint(host, epoch), self.now)
    }

    /// Who is told what, as of the last call.
    fn told(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        std::iter::from_fn(|| self.table.poll_transmit()).collect()
    }

    fn sounds(&mut self) -> Vec<bool> {
        std::iter::from_fn(|| self.table.poll_sound()).map(|sound| sound.heard).collect()
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        let place = DropReason::ALL.iter().position(|&other| other == reason).unwrap();
        self.table.counters().dropped[place]
    }
}

fn at(number: u32) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], u16::try_from(1000 + number).unwrap()))
}

fn id(lobby: u8) -> LobbyId {
    LobbyId::from_bytes([lobby; 16])
}

fn hint(host: u32, epoch: u64) -> HostHint {
    HostHint { host: ConnectionId(host), epoch: HostEpoch(epoch) }
}

fn reason(answer: &[u8]) -> Option<RefusedReason> {
    match RelayFrame::decode(answer) {
        Ok(RelayFrame::Refused { reason }) => Some(reason),
        _ => None,
    }
}

fn challenge(action: Action<'_>) -> [u8; 16] {
    let Action::Reply(answer) = action else { panic!("no challenge: {action:?}") };
    let Ok(RelayFrame::Challenge { cookie }) = RelayFrame::decode(&answer) else { panic!("no challenge") };
    cookie
}

#[test]
fn a_token_is_verified_only_for_an_address_that_returned_its_cookie() {
    let mut play = Play::new();
    let request = RelayFrame::BindRequest { token: TOKEN }.to_vec();
    let cookie = challenge(play.hears(1, &request));
    let bind = RelayFrame::Bind { cookie, token: TOKEN }.to_vec();
    assert_eq!(play.hears(1, &bind), Action::VerifyMember { token: TOKEN });
    assert_eq!(play.hears(2, &bind), Action::Drop(DropReason::BadCookie), "another address");
    let other = RelayFrame::Bind { cookie, token: b"another token" }.to_vec();
    assert_eq!(play.hears(1, &other), Action::Drop(DropReason::BadCookie), "another token");
    play.later(limits::RELAY_COOKIE_LIFE);
    assert_eq!(play.hears(1, &bind), Action::VerifyMember { token: TOKEN }, "the period before is accepted too");
    play.later(limits::RELAY_COOKIE_LIFE);
    assert_eq!(play.hears(1, &bind), Action::Drop(DropReason::BadCookie), "too old");
    assert_eq!(play.table.sizes(), (0, 0), "and nothing is kept of any of it");
}

/// P14.
#[test]
fn members_of_a_session_reach_each_other_and_nobody_else() {
    let mut play = Play::of(2);
    let tag = play.tag;
    play.bind(5, 2, 0);
    let other = std::mem::replace(&mut play.tag, tag);
    assert_ne!(other, tag, "a tag that is taken is not given again");
    assert_eq!(play.data(0, 1, 10), Ok((at(1), 0)));
    assert_eq!(play.data(1, 0, RELAY_PAYLOAD_BYTES_MAX), Ok((at(0), 1)));
    assert_eq!(play.data(5, 1, 10), Err(DropReason::UnboundSource), "a member of another session");
    assert_eq!(play.data(6, 1, 10), Err(DropReason::UnboundSource), "nobody");
    assert_eq!(play.data(0, 2, 10), Err(DropReason::UnboundDestination));
    play.tag = SessionTag(5);
    assert_eq!(play.data(0, 1, 10), Err(DropReason::UnknownSession));
}

#[test]
fn a_newer_address_takes_the_place_of_the_older_one() {
    let mut play = Play::of(2);
    play.bind(7, 1, 1);
    assert_eq!(play.data(0, 1, 1), Ok((at(7), 0)));
    assert_eq!(play.data(1, 0, 1), Err(DropReason::UnboundSource));
    assert_eq!(play.data(7, 0, 1), Ok((at(0), 1)));
    assert_eq!(play.table.sizes(), (1, 2));
}

#[test]
fn an_address_that_binds_as_another_member_is_no_longer_the_first() {
    let mut play = Play::of(2);
    play.bind(1, 1, 4);
    assert_eq!(play.data(0, 1, 1), Err(DropReason::UnboundDestination));
    assert_eq!(play.data(1, 0, 1), Ok((at(0), 4)));
    assert_eq!(play.table.sizes(), (1, 2));
}

#[test]
fn a_higher_grant_moves_the_host_and_everybody_is_told_once() {
    let mut play = Play::of(3);
    let tag = play.tag;
    let moved = |epoch| RelayFrame::HostMoved { session: tag, host: epoch }.to_vec();
    assert_eq!(play.grant(0, 0, 1), moved(hint(0, 1)));
    assert_eq!(play.told(), [(at(1), moved(hint(0, 1))), (at(2), moved(hint(0, 1)))]);
    assert_eq!(play.grant(1, 1, 2), moved(hint(1, 2)));
    let demoted = RelayFrame::Demoted { session: tag, host: hint(1, 2) }.to_vec();
    assert_eq!(play.told(), [(at(0), demoted), (at(2), moved(hint(1, 2)))]);
    assert_eq!(play.grant(1, 1, 2), moved(hint(1, 2)), "said again, answered again");
    assert_eq!(play.told(), []);
    assert_eq!((play.table.host_of(id(1)), play.table.counters().hosts_moved), (Some(hint(1, 2)), 2));
}

/// P4.
#[test]
fn a_grant_of_an_older_epoch_changes_nothing() {
    let mut play = Play::of(2);
    play.grant(1, 1, 5);
    play.told();
    for (address, host, epoch) in [(0, 0, 4), (0, 0, 5), (1, 1, 4)] {
        assert_eq!(reason(&play.grant(address, host, epoch)), Some(RefusedReason::StaleGrant));
    }
    assert_eq!((play.table.host_of(id(1)), play.told()), (Some(hint(1, 5)), Vec::new()));
    assert_eq!(play.dropped(DropReason::StaleGrant), 3);
}

#[test]
fn a_grant_counts_only_from_the_address_of_the_member_that_it_names() {
    let mut play = Play::of(2);
    for (address, host) in [(0, 1), (9, 0), (9, 9)] {
        assert_eq!(reason(&play.grant(address, host, 1)), Some(RefusedReason::Token));
    }
    let unknown = play.table.grant(at(0), id(2), hint(0, 1), play.now);
    assert_eq!(reason(&unknown), Some(RefusedReason::Token));
    assert_eq!(play.table.host_of(id(1)), Some(HostHint::NONE));
}

#[test]
fn a_grant_is_verified_only_for_a_bound_address() {
    let mut play = Play::of(1);
    let grant = RelayFrame::Grant { session: play.tag, token: TOKEN }.to_vec();
    assert_eq!(play.hears(0, &grant), Action::VerifyGrant { token: TOKEN });
    assert_eq!(play.hears(9, &grant), Action::Drop(DropReason::UnboundSource));
}

#[test]
fn a_revoked_member_stays_out_for_as_long_as_its_token_could_be_valid() {
    let mut play = Play::of(2);
    play.table.revoke(id(1), ConnectionId(1), play.now);
    assert_eq!(play.data(1, 0, 1), Err(DropReason::UnboundSource));
    assert_eq!(play.refused(1, 1, 1), RefusedReason::Revoked);
    play.later(limits::RELAY_TOKEN_LIFE).bind(0, 1, 0);
    assert_eq!(play.refused(1, 1, 1), RefusedReason::Revoked);
    play.later(limits::CLOCK_LEEWAY).bind(1, 1, 1);
}

#[test]
fn a_reinstated_member_binds_again() {
    let mut play = Play::of(2);
    play.table.revoke(id(1), ConnectionId(1), play.now);
    play.table.reinstate(id(1), ConnectionId(1));
    play.bind(1, 1, 1);
}

#[test]
fn an_idle_link_is_closed_and_the_last_one_takes_the_session_with_it() {
    let mut play = Play::of(2);
    let keep_alive = RelayFrame::KeepAlive { session: play.tag, padding: [0; 12] }.to_vec();
    play.later(limits::RELAY_KEEP_ALIVE * 2);
    assert!(matches!(play.hears(0, &keep_alive), Action::Reply(_)));
    play.later(limits::RELAY_KEEP_ALIVE);
    assert_eq!((play.table.sizes(), play.table.counters().idled_out), ((1, 1), 1));
    assert_eq!(play.data(0, 1, 1), Err(DropReason::UnboundDestination));
    play.later(limits::RELAY_IDLE_TIMEOUT);
    assert_eq!((play.table.sizes(), play.table.counters().idled_out), ((0, 0), 2));
    assert_eq!(play.hears(0, &keep_alive), Action::Drop(DropReason::UnknownSession));
}

#[test]
fn an_unbound_link_and_a_closed_session_forward_nothing() {
    let mut play = Play::of(3);
    let unbind = RelayFrame::Unbind { session: play.tag }.to_vec();
    assert_eq!(play.hears(2, &unbind), Action::Nothing);
    assert_eq!(play.hears(2, &unbind), Action::Drop(DropReason::UnboundSource));
    assert_eq!(play.data(0, 2, 1), Err(DropReason::UnboundDestination));
    play.table.close(id(1));
    assert_eq!(play.data(0, 1, 1), Err(DropReason::UnknownSession));
    assert_eq!(play.table.sizes(), (0, 0));
}

#[test]
fn a_host_is_silent_once_it_has_sent_data_and_stops_and_is_told_once() {
    let mut play = Play::of(2);
    play.grant(0, 0, 1);
    play.later(limits::RELAY_HOST_SILENCE * 2);
    assert!(play.sounds().is_empty(), "it has not sent anything yet: it may use a direct link");
    play.data(0, 1, 1).unwrap();
    assert_eq!(play.sounds(), [true], "from here on the relay's word counts");
    play.later(limits::RELAY_HOST_SILENCE / 2);
    assert!(play.sounds().is_empty());
    play.later(limits::RELAY_HOST_SILENCE / 2).later(limits::RELAY_HOST_SILENCE);
    assert_eq!(play.sounds(), [false]);
    play.data(1, 0, 1).unwrap();
    assert!(play.sounds().is_empty(), "a guest is not the host");
    play.data(0, 1, 1).unwrap();
    assert_eq!(play.sounds(), [true]);
}

#[test]
fn a_silent_host_that_binds_again_without_sending_stays_silent() {
    let mut play = Play::of(2);
    play.grant(0, 0, 1);
    play.data(0, 1, 1).unwrap();
    play.later(limits::RELAY_HOST_SILENCE / 2).bind(8, 1, 0);
    play.later(limits::RELAY_HOST_SILENCE / 2);
    assert_eq!(play.sounds(), [true, false]);
}

#[test]
fn a_new_host_starts_with_a_clean_slate() {
    let mut play = Play::of(2);
    play.grant(0, 0, 1);
    play.data(0, 1, 1).unwrap();
    play.data(1, 0, 1).unwrap();
    play.later(limits::RELAY_HOST_SILENCE);
    assert_eq!(play.sounds(), [true, false]);
    play.grant(1, 1, 2);
    play.later(limits::RELAY_HOST_SILENCE);
    assert!(play.sounds().is_empty(), "what it sent as a guest does not count");
}

#[test]
fn a_member_may_send_its_burst_and_then_its_rate() {
    let limits = Limits { bytes_per_second: 1_000, burst_bytes: 2_000, ..Limits::default() };
    let mut play = Play::with(limits);
    play.bind(0, 1, 0);
    play.bind(1, 1, 1);
    let sends = |play: &mut Play, bytes| play.data(0, 1, bytes).map(|_| ());
    assert_eq!(sends(&mut play, 1_200), Ok(()));
    assert_eq!(sends(&mut play, 801), Err(DropReason::OverRate));
    assert_eq!(sends(&mut play, 800), Ok(()));
    play.later(Duration::from_millis(500));
    assert_eq!(sends(&mut play, 501), Err(DropReason::OverRate));
    assert_eq!(sends(&mut play, 500), Ok(()));
    assert_eq!(play.data(1, 0, 1_200).map(|_| ()), Ok(()), "each has its own");
    play.later(Duration::from_secs(10));
    assert_eq!(
        [1_200, 800, 1].map(|bytes| sends(&mut play, bytes).is_ok()),
        [true, true, false],
        "never more than a burst"
    );
}

#[test]
fn binding_again_gives_no_second_burst() {
    let limits = Limits { bytes_per_second: 1, burst_bytes: 1_000, ..Limits::default() };
    let mut play = Play::with(limits);
    play.bind(0, 1, 0);
    play.data(0, 0, 1_000).unwrap();
    play.bind(0, 1, 0);
    assert_eq!(play.data(0, 0, 100), Err(DropReason::OverRate));
    play.bind(4, 1, 0);
    assert_eq!(play.data(4, 0, 100), Err(DropReason::OverRate));
}

#[test]
fn small_steps_of_time_refill_as_much_as_large_ones() {
    let limits = Limits { bytes_per_second: 1_000, burst_bytes: 1_000, ..Limits::default() };
    let mut play = Play::with(limits);
    play.bind(0, 1, 0);
    play.data(0, 0, 1_000).unwrap();
    let sent = (0..10_000).filter(|_| play.later(Duration::from_micros(100)).data(0, 0, 1).is_ok()).count();
    assert!((990..=1_000).contains(&sent), "{sent} bytes in a second");
}

/// P15.
#[test]
fn a_full_relay_or_session_says_so() {
    let mut play = Play::with(Limits { sessions: 1, members: 1, ..Limits::default() });
    play.bind(0, 1, 0);
    assert_eq!(play.refused(1, 1, 1), RefusedReason::Busy);
    assert_eq!(play.refused(2, 2, 0), RefusedReason::Busy);
    play.bind(3, 1, 0);
    assert_eq!(play.dropped(DropReason::Full), 2);
}

#[test]
fn what_only_a_relay_says_and_what_is_no_frame_is_dropped_and_counted() {
    let mut play = Play::of(1);
    let challenge = RelayFrame::Challenge { cookie: [0; 16] }.to_vec();
    assert_eq!(play.hears(0, &challenge), Action::Drop(DropReason::WrongDirection));
    let long = vec![0x10; limits::RELAY_FRAME_BYTES_MAX + 1];
    for datagram in [b"".as_slice(), b"\x20", b"\x1f", b"\x10abc", &long] {
        assert_eq!(play.hears(0, datagram), Action::Drop(DropReason::Malformed));
    }
    assert_eq!((play.dropped(DropReason::WrongDirection), play.dropped(DropReason::Malformed)), (1, 5));
}

/// P14, and that an answer is never longer than its question: under any datagrams from any addresses.
#[test]
fn random_datagrams_reach_only_members_of_the_senders_session() {
    let mut rng = fastrand::Rng::with_seed(41);
    let limits = Limits { idle_timeout: Duration::from_millis(300), sessions: 3, members: 3, ..Limits::default() };
    let mut play = Play::with(limits);
    // The reference: who is bound where, by what was verified. Links that idled out are a part of it that no longer works.
    let mut bound: BTreeMap<(LobbyId, ConnectionId), SocketAddr> = BTreeMap::new();
    let mut forwarded = 0;
    for _ in 0..60_000 {
        let source = rng.u32(..8);
        if rng.u8(..20) == 0 {
            play.later(Duration::from_millis(rng.u64(..30)));
        }
        let datagram = random_datagram(&mut rng);
        match play.hears(source, &datagram) {
            Action::Forward { to, header, payload } => {
                forwarded += 1;
                assert_eq!(header.len() + payload.len(), datagram.len());
                let from = u32::from_be_bytes(header[5..RELAY_DATA_HEADER_BYTES].try_into().unwrap());
                let lobby_of = |(&(lobby, _), &address): (&(LobbyId, _), &SocketAddr)| (address == to).then_some(lobby);
                let shared = bound.iter().filter_map(lobby_of);
                let sender = |lobby| bound.get(&(lobby, ConnectionId(from))) == Some(&at(source));
                assert!(shared.into_iter().any(sender), "from {source} as {from} to {to}");
            }
            Action::Reply(answer) => assert!(answer.len() <= datagram.len(), "{answer:?} for {datagram:?}"),
            Action::VerifyMember { .. } => panic!("nobody returned a cookie"),
            Action::VerifyGrant { .. } => {
                assert!(bound.values().any(|&address| address == at(source)), "only those who are bound");
            }
            Action::AnswerStun(_) | Action::Nothing | Action::Drop(_) => {}
        }
        if rng.u8(..30) == 0 {
            let (lobby, connection) = (id(rng.u8(..4)), ConnectionId(rng.u32(..4)));
            let answer = play.table.bind(at(source), lobby, connection, rng.u32(..4), play.now);
            if reason(&answer).is_none() {
                bound.retain(|&(other, _), address| other != lobby || *address != at(source));
                bound.insert((lobby, connection), at(source));
            }
        }
        if rng.u8(..200) == 0 {
            let lobby = id(rng.u8(..4));
            play.table.close(lobby);
            bound.retain(|&(other, _), _| other != lobby);
        }
        let (sessions, links) = play.table.sizes();
        assert!(sessions <= 3 && links <= 9 && (sessions > 0 || links == 0));
    }
    assert!(forwarded > 1_000, "the test forwards: {forwarded}");
}

/// Mostly frames with small numbers, so that many of them name something that exists.
fn random_datagram(rng: &mut fastrand::Rng) -> Vec<u8> {
    let length = rng.usize(..40);
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(length).collect();
    if rng.u8(..10) > 0 {
        let kind = 0x10 | if rng.bool() { rng.u8(..13) } else { 0 };
        let head = [kind, 0, 0, 0, rng.u8(..8), 0, 0, 0, rng.u8(..4)];
        bytes.splice(..0, head);
    }
    bytes
}
