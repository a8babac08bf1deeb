//! A relay and its peers on real sockets of this machine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{LONGEST, PATIENCE, Signer, Stage, decode, hint, lobby, registered};
use protocol::frame::{RELAY_PAYLOAD_BYTES_MAX, RefusedReason, RelayFrame};
use protocol::id::{ConnectionId, SessionTag};
use protocol::limits;
use protocol::relay::{DropReason, HostSound, Limits};
use protocol::token::{Audience, GrantClaims, RelayClaims};
use relay::Order;

const REFUSED_TOKEN: RelayFrame<'static> = RelayFrame::Refused { reason: RefusedReason::Token };
const REFUSED_STALE: RelayFrame<'static> = RelayFrame::Refused { reason: RefusedReason::StaleGrant };
const REFUSED_REVOKED: RelayFrame<'static> = RelayFrame::Refused { reason: RefusedReason::Revoked };

#[tokio::test]
async fn a_member_binds_by_returning_its_cookie() {
    let stage = Stage::new().await;
    let mut peer = stage.peer().await;
    let answer = peer.bind(&stage.signer.member(lobby(1), 7)).await;
    let RelayFrame::Bound { connection, host, .. } = decode(&answer) else { panic!("not bound") };
    assert_eq!((connection, host), (ConnectionId(7), hint(0, 0)));
    let answer = peer.ask(RelayFrame::KeepAlive { session: peer.tag, padding: [1; 12] }).await;
    assert_eq!(decode(&answer), RelayFrame::Alive { session: peer.tag, host: hint(0, 0) });
    stage.relay.stop().await;
}

#[tokio::test]
async fn a_wrong_cookie_binds_nothing_and_gets_no_answer() {
    let stage = Stage::new().await;
    let (alice, mallory) = (stage.peer().await, stage.peer().await);
    let token = stage.signer.member(lobby(1), 0);
    let cookie = alice.cookie(&token).await;
    mallory.say(RelayFrame::Bind { cookie, token: &token }).await;
    mallory.say(RelayFrame::Bind { cookie: [0; 16], token: &token }).await;
    stage.dropped(DropReason::BadCookie, 2).await;
    assert!(mallory.has_heard_nothing());
    assert_eq!(stage.relay.counters().bound, 0);
}

#[tokio::test]
async fn a_token_that_is_expired_early_foreign_for_another_or_forged_is_refused() {
    let stage = Stage::new().await;
    let (lobby, connection) = (lobby(1), ConnectionId(0));
    let claims = |registered| RelayClaims { registered, lobby, connection };
    let mut foreign = registered(Audience::Relay, 60);
    foreign.iss = "another".into();
    let mut early = registered(Audience::Relay, 60);
    early.nbf += 200;
    let mut flipped = stage.signer.member(lobby, 0);
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    let tokens = [
        stage.signer.sign(Audience::Relay, &claims(registered(Audience::Relay, -60))),
        stage.signer.sign(Audience::Relay, &claims(registered(Audience::Grant, 60))),
        stage.signer.sign(Audience::Relay, &claims(registered(Audience::Api, 60))),
        stage.signer.sign(Audience::Relay, &claims(foreign)),
        stage.signer.sign(Audience::Relay, &claims(early)),
        stage.signer.sign(Audience::Grant, &claims(registered(Audience::Relay, 60))),
        stage.signer.grant(lobby, 0, 1),
        Signer::new("current").member(lobby, 0),
        Signer::new("unknown").member(lobby, 0),
        b"this is not a token at all".to_vec(),
        flipped,
    ];
    for (number, token) in tokens.iter().enumerate() {
        let mut peer = stage.peer().await;
        assert_eq!(decode(&peer.bind(token).await), REFUSED_TOKEN, "token {number}");
    }
    stage.dropped(DropReason::BadToken, tokens.len() as u64).await;
}

#[tokio::test]
async fn new_keys_count_as_soon_as_they_are_published_and_bad_ones_change_nothing() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let verifier = relay::Verifier::from_jwks(&old.jwks(), protocol::token::ISSUER).unwrap();
    let for_the_relay = verifier.clone();
    assert!(verifier.replace_keys(&serde_json::json!({ "keys": [] })).is_err());
    assert!(for_the_relay.verify_member(&old.member(lobby(1), 0)).is_ok());
    verifier.replace_keys(&new.jwks()).unwrap();
    assert!(for_the_relay.verify_member(&new.member(lobby(1), 0)).is_ok());
    assert!(for_the_relay.verify_member(&old.member(lobby(1), 0)).is_err());
}

#[tokio::test]
async fn members_hear_each_other_with_the_source_in_place_of_the_destination() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.member(lobby(1), 0).await, stage.member(lobby(1), 7).await);
    alice.send(7, b"to bob").await;
    bob.hears(0, b"to bob").await;
    let longest = [5; RELAY_PAYLOAD_BYTES_MAX];
    bob.send(0, &longest).await;
    alice.hears(7, &longest).await;
    stage.counted(|counters| counters.forwarded == 2 && counters.forwarded_bytes == (9 + 6 + LONGEST) as u64).await;
}

#[tokio::test]
async fn nothing_passes_from_one_session_to_another() {
    let stage = Stage::new().await;
    let (alice, eve) = (stage.member(lobby(1), 0).await, stage.member(lobby(2), 0).await);
    eve.say(RelayFrame::Data { session: alice.tag, peer: ConnectionId(0), payload: b"hello" }).await;
    stage.dropped(DropReason::UnboundSource, 1).await;
    assert!(alice.has_heard_nothing());
}

#[tokio::test]
async fn an_address_that_is_not_bound_reaches_nobody() {
    let stage = Stage::new().await;
    let (alice, stranger) = (stage.member(lobby(1), 0).await, stage.peer().await);
    stranger.say(RelayFrame::Data { session: alice.tag, peer: ConnectionId(0), payload: b"hello" }).await;
    stranger.say(RelayFrame::KeepAlive { session: alice.tag, padding: [0; 12] }).await;
    let token = stage.signer.grant(lobby(1), 0, 9);
    stranger.say(RelayFrame::Grant { session: alice.tag, token: &token }).await;
    stage.dropped(DropReason::UnboundSource, 3).await;
    assert!(alice.has_heard_nothing() && stranger.has_heard_nothing());
}

#[tokio::test]
async fn a_member_that_binds_from_another_address_is_there_and_no_longer_here() {
    let stage = Stage::new().await;
    let (alice, old) = (stage.member(lobby(1), 0).await, stage.member(lobby(1), 1).await);
    let new = stage.member(lobby(1), 1).await;
    alice.send(1, b"where are you").await;
    new.hears(0, b"where are you").await;
    old.send(0, b"here").await;
    stage.dropped(DropReason::UnboundSource, 1).await;
    assert!(alice.has_heard_nothing() && old.has_heard_nothing());
}

#[tokio::test]
async fn a_grant_moves_the_host_demotes_the_old_one_and_tells_the_others() {
    let stage = Stage::new().await;
    let lobby = lobby(1);
    let (alice, bob, carol) =
        (stage.member(lobby, 0).await, stage.member(lobby, 1).await, stage.member(lobby, 2).await);
    let session = alice.tag;
    let first = alice.ask(RelayFrame::Grant { session, token: &stage.signer.grant(lobby, 0, 1) }).await;
    assert_eq!(decode(&first), RelayFrame::HostMoved { session, host: hint(0, 1) });
    for peer in [&bob, &carol] {
        assert_eq!(decode(&peer.hear().await), RelayFrame::HostMoved { session, host: hint(0, 1) });
    }

    let second = bob.ask(RelayFrame::Grant { session, token: &stage.signer.grant(lobby, 1, 2) }).await;
    assert_eq!(decode(&second), RelayFrame::HostMoved { session, host: hint(1, 2) });
    assert_eq!(decode(&alice.hear().await), RelayFrame::Demoted { session, host: hint(1, 2) });
    assert_eq!(decode(&carol.hear().await), RelayFrame::HostMoved { session, host: hint(1, 2) });

    let stale = alice.ask(RelayFrame::Grant { session, token: &stage.signer.grant(lobby, 0, 1) }).await;
    assert_eq!(decode(&stale), REFUSED_STALE);
    let same_epoch = alice.ask(RelayFrame::Grant { session, token: &stage.signer.grant(lobby, 0, 2) }).await;
    assert_eq!(decode(&same_epoch), REFUSED_STALE);
    let alive = carol.ask(RelayFrame::KeepAlive { session, padding: [0; 12] }).await;
    assert_eq!(decode(&alive), RelayFrame::Alive { session, host: hint(1, 2) });
    stage.counted(|counters| counters.hosts_moved == 2).await;
}

#[tokio::test]
async fn a_grant_counts_only_for_its_member_its_lobby_and_its_audience() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.member(lobby(1), 0).await, stage.member(lobby(1), 1).await);
    let session = alice.tag;
    let expired = GrantClaims {
        registered: registered(Audience::Grant, -60),
        lobby: lobby(1),
        connection: ConnectionId(1),
        epoch: hint(1, 1).epoch,
    };
    let tokens = [
        stage.signer.grant(lobby(1), 0, 1),
        stage.signer.grant(lobby(2), 1, 1),
        stage.signer.member(lobby(1), 1),
        stage.signer.sign(Audience::Grant, &expired),
    ];
    for token in &tokens {
        let answer = bob.ask(RelayFrame::Grant { session, token }).await;
        assert!(matches!(decode(&answer), RelayFrame::Refused { .. }), "{:?}", decode(&answer));
    }
    let alive = bob.ask(RelayFrame::KeepAlive { session, padding: [0; 12] }).await;
    assert_eq!(decode(&alive), RelayFrame::Alive { session, host: hint(0, 0) });
    assert!(alice.has_heard_nothing());
}

#[tokio::test]
async fn a_revoked_member_is_cut_off_until_it_is_reinstated() {
    let stage = Stage::new().await;
    let (lobby, orders) = (lobby(1), stage.relay.orders());
    let (alice, mut bob) = (stage.member(lobby, 0).await, stage.member(lobby, 1).await);
    let connection = ConnectionId(1);
    orders.send(Order::Revoke { lobby, connection }).await.unwrap();
    let token = stage.signer.member(lobby, 1);
    assert_eq!(decode(&bob.bind(&token).await), REFUSED_REVOKED);
    bob.send(0, b"still here").await;
    stage.dropped(DropReason::UnboundSource, 1).await;
    assert!(alice.has_heard_nothing());

    orders.send(Order::Reinstate { lobby, connection }).await.unwrap();
    assert!(matches!(decode(&bob.bind(&token).await), RelayFrame::Bound { .. }));
    bob.send(0, b"back").await;
    alice.hears(1, b"back").await;
}

#[tokio::test]
async fn a_closed_session_forwards_nothing() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.member(lobby(1), 0).await, stage.member(lobby(1), 1).await);
    stage.relay.orders().send(Order::Close { lobby: lobby(1) }).await.unwrap();
    alice.send(1, b"hello").await;
    stage.dropped(DropReason::UnknownSession, 1).await;
    assert!(bob.has_heard_nothing());
}

#[tokio::test]
async fn an_idle_link_is_closed_and_one_that_speaks_is_not() {
    let stage = Stage::with(Limits { idle_timeout: Duration::from_millis(400), ..Limits::default() }).await;
    let (alice, bob) = (stage.member(lobby(1), 0).await, stage.member(lobby(1), 1).await);
    let idled_out = stage.counted(|counters| counters.idled_out == 1);
    let speaking = async {
        loop {
            alice.ask(RelayFrame::KeepAlive { session: alice.tag, padding: [0; 12] }).await;
        }
    };
    tokio::select! { () = idled_out => {}, () = speaking => {} }
    alice.send(1, b"are you there").await;
    stage.dropped(DropReason::UnboundDestination, 1).await;
    assert!(bob.has_heard_nothing());
}

#[tokio::test]
async fn a_host_is_reported_when_it_begins_to_send_when_it_stops_and_when_it_is_heard_again() {
    let mut stage = Stage::with(Limits { host_silence: Duration::from_millis(150), ..Limits::default() }).await;
    let (host, _guest) = (stage.member(lobby(1), 3).await, stage.member(lobby(1), 1).await);
    host.ask(RelayFrame::Grant { session: host.tag, token: &stage.signer.grant(lobby(1), 3, 4) }).await;
    host.send(1, b"tick").await;
    for heard in [true, false, true] {
        let sound = tokio::time::timeout(PATIENCE, stage.relay.sound()).await.unwrap().unwrap();
        assert_eq!(sound, HostSound { lobby: lobby(1), host: ConnectionId(3), epoch: hint(3, 4).epoch, heard });
        if !heard {
            host.send(1, b"tock").await;
        }
    }
}

#[tokio::test]
async fn sounds_that_nobody_takes_do_not_stop_the_relay() {
    let mut stage = Stage::new().await;
    drop(stage.relay.take_sounds());
    assert_eq!(stage.relay.sound().await, None);
    let (host, guest) = (stage.member(lobby(1), 0).await, stage.member(lobby(1), 1).await);
    host.ask(RelayFrame::Grant { session: host.tag, token: &stage.signer.grant(lobby(1), 0, 1) }).await;
    guest.hear().await;
    host.send(1, b"tick").await;
    guest.hears(0, b"tick").await;
}

#[tokio::test]
async fn what_is_over_the_rate_is_dropped_and_the_others_are_not_slowed() {
    let limits = Limits { bytes_per_second: 1, burst_bytes: 2_000, ..Limits::default() };
    let stage = Stage::with(limits).await;
    let (alice, bob) = (stage.member(lobby(1), 0).await, stage.member(lobby(1), 1).await);
    for _ in 0..4 {
        alice.send(1, &[1; 800]).await;
    }
    stage.dropped(DropReason::OverRate, 2).await;
    bob.hears(0, &[1; 800]).await;
    bob.hears(0, &[1; 800]).await;
    assert!(bob.has_heard_nothing());
    bob.send(0, b"mine").await;
    alice.hears(1, b"mine").await;
}

#[tokio::test]
async fn an_unproven_address_gets_no_answer_longer_than_its_question() {
    let stage = Stage::new().await;
    let alice = stage.member(lobby(1), 0).await;
    let (session, host) = (alice.tag, hint(0, 0));
    let long = [b'x'; limits::TOKEN_BYTES_MAX];
    let frames = [
        RelayFrame::Data { session, peer: ConnectionId(0), payload: b"x" },
        RelayFrame::BindRequest { token: b"" },
        RelayFrame::BindRequest { token: &long[..15] },
        RelayFrame::Challenge { cookie: [0; 16] },
        RelayFrame::Bind { cookie: [0; 16], token: b"" },
        RelayFrame::Bound { session, connection: ConnectionId(0), host },
        RelayFrame::KeepAlive { session, padding: [0; 12] },
        RelayFrame::Alive { session, host },
        RelayFrame::Grant { session, token: &long },
        RelayFrame::HostMoved { session, host },
        RelayFrame::Demoted { session, host },
        RelayFrame::Unbind { session },
        RelayFrame::Refused { reason: RefusedReason::Busy },
    ];
    let stranger = stage.peer().await;
    for frame in frames {
        stranger.say(frame).await;
    }
    // The last question is one that has an answer: whatever answers there were before it have come as well.
    for length in [16, 17, limits::TOKEN_BYTES_MAX] {
        let question = RelayFrame::BindRequest { token: &long[..length] };
        let answer = stranger.ask(question).await;
        assert!(matches!(decode(&answer), RelayFrame::Challenge { .. }), "only the challenge is an answer");
        assert!(answer.len() <= question.to_vec().len());
    }
    assert!(stranger.has_heard_nothing() && alice.has_heard_nothing());
}

#[tokio::test]
async fn every_drop_is_counted_by_its_reason() {
    let stage = Stage::with(Limits { members: 1, bytes_per_second: 1, burst_bytes: 100, ..Limits::default() }).await;
    let alice = stage.member(lobby(1), 0).await;
    let (session, nobody) = (alice.tag, ConnectionId(9));
    alice.socket.send(b"\xFFgarbage").await.unwrap();
    alice.say(RelayFrame::Challenge { cookie: [0; 16] }).await;
    alice.say(RelayFrame::Data { session: SessionTag(session.0 ^ 1), peer: nobody, payload: b"x" }).await;
    alice.say(RelayFrame::Data { session, peer: nobody, payload: b"x" }).await;
    alice.say(RelayFrame::Bind { cookie: [0; 16], token: b"x" }).await;
    alice.send(0, &[0; 101]).await;
    alice.socket.send(&stun_question(1)[..19]).await.unwrap();
    stage.peer().await.say(RelayFrame::Unbind { session }).await;
    stage.peer().await.bind(b"this is not a token").await;
    let full = stage.peer().await.bind(&stage.signer.member(lobby(1), 1)).await;
    assert_eq!(decode(&full), RelayFrame::Refused { reason: RefusedReason::Busy });
    for epoch in [2, 1] {
        alice.ask(RelayFrame::Grant { session, token: &stage.signer.grant(lobby(1), 0, epoch) }).await;
    }
    stage.relay.orders().send(Order::Revoke { lobby: lobby(1), connection: ConnectionId(0) }).await.unwrap();
    stage.peer().await.bind(&stage.signer.member(lobby(1), 0)).await;
    // Each once, except that nothing here makes the system refuse a datagram, and that a few tokens and questions are not too many.
    for reason in DropReason::ALL {
        let never = matches!(
            reason,
            DropReason::SendFailed | DropReason::QueueFull | DropReason::TooManyProofs | DropReason::StunOverRate
        );
        stage.dropped(reason, u64::from(!never)).await;
    }
}

#[tokio::test]
async fn a_datagram_that_is_too_long_is_malformed_and_is_not_cut_and_forwarded() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.member(lobby(1), 0).await, stage.member(lobby(1), 1).await);
    alice.send(1, &[0; RELAY_PAYLOAD_BYTES_MAX + 1]).await;
    alice.send(1, &[0; 60_000]).await;
    stage.dropped(DropReason::Malformed, 2).await;
    assert!(bob.has_heard_nothing());
}

#[tokio::test]
async fn more_tokens_than_the_relay_has_time_for_are_dropped_and_counted_and_the_game_goes_on() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.member(lobby(1), 0).await, stage.member(lobby(1), 1).await);
    let (flooder, token) = (stage.peer().await, b"this is not a token at all");
    let cookie = flooder.cookie(token).await;
    let place = DropReason::ALL.iter().position(|&reason| reason == DropReason::TooManyProofs).unwrap();
    let flood = async {
        loop {
            flooder.say(RelayFrame::Bind { cookie, token }).await;
            // One at a time, so that the system drops none itself: the next answer comes whether there is one to this or not.
            flooder.say(RelayFrame::BindRequest { token }).await;
            while !matches!(decode(&flooder.hear().await), RelayFrame::Challenge { .. }) {}
        }
    };
    tokio::select! { () = stage.counted(|counters| counters.dropped[place] > 0) => {}, () = flood => {} }
    alice.send(1, b"tick").await;
    bob.hears(0, b"tick").await;
}

/// A binding request without attributes (RFC 8489), and the transaction of the answer with the address in it.
fn stun_question(number: u32) -> Vec<u8> {
    [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 8], &number.to_be_bytes()].concat()
}

fn stun_answer(number: u32, port: u16) -> Vec<u8> {
    let port = (port ^ 0x2112).to_be_bytes();
    let ip = [127 ^ 0x21, 0x12, 0xa4, 1 ^ 0x42];
    let attribute = [&[0, 0x20, 0, 8, 0, 1][..], &port, &ip].concat();
    [&[1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42][..], &[7; 8], &number.to_be_bytes(), &attribute].concat()
}

#[tokio::test]
async fn who_asks_by_stun_is_told_its_address_and_members_notice_nothing() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.member(lobby(1), 0).await, stage.member(lobby(1), 1).await);
    let stranger = stage.peer().await;
    for peer in [&stranger, &alice] {
        peer.socket.send(&stun_question(5)).await.unwrap();
        assert_eq!(peer.hear().await, stun_answer(5, peer.socket.local_addr().unwrap().port()));
    }
    alice.send(1, b"tick").await;
    bob.hears(0, b"tick").await;
    stage.counted(|counters| counters.stun_answered == 2 && counters.forwarded == 1).await;
}

#[tokio::test]
async fn stun_that_is_no_plain_question_gets_no_answer() {
    let stage = Stage::new().await;
    let stranger = stage.peer().await;
    let mut answer = stun_question(1);
    answer[0] = 1;
    let mut with_change_request = [stun_question(2), vec![0, 3, 0, 4, 0, 0, 0, 6]].concat();
    with_change_request[3] = 8;
    let cut = stun_question(3)[..19].to_vec();
    for message in [answer, with_change_request, cut] {
        stranger.socket.send(&message).await.unwrap();
    }
    stage.dropped(DropReason::StunNotPlain, 3).await;
    assert!(stranger.has_heard_nothing());
}

#[tokio::test]
async fn one_network_is_told_its_address_so_often_and_no_more() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.member(lobby(1), 0).await, stage.member(lobby(1), 1).await);
    let stranger = stage.peer().await;
    let place = DropReason::ALL.iter().position(|&reason| reason == DropReason::StunOverRate).unwrap();
    for number in 0..limits::STUN_SOURCE_ANSWERS_BURST {
        stranger.socket.send(&stun_question(number)).await.unwrap();
        stranger.hear().await;
    }
    let questions = 10 * limits::STUN_SOURCE_ANSWERS_PER_SECOND;
    for number in 0..questions {
        stranger.socket.send(&stun_question(number)).await.unwrap();
    }
    stage.counted(|counters| counters.dropped[place] > u64::from(questions / 2)).await;
    alice.send(1, b"tick").await;
    bob.hears(0, b"tick").await;
}

#[tokio::test]
async fn garbage_never_stops_the_relay() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.member(lobby(1), 0).await, stage.member(lobby(1), 1).await);
    let stranger = stage.peer().await;
    let mut seed = 1_u64;
    let mut next = || {
        // Numbers of Knuth's MMIX generator: any bytes will do, as long as they are the same each time.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    };
    for round in 0..2_000 {
        let mut bytes: Vec<u8> = (0..next() % 80).map(|_| next() as u8).collect();
        if let Some(first) = bytes.first_mut() {
            *first = 0x10 | (*first & 0xF);
        }
        let sender = if round % 2 == 0 { &alice } else { &stranger };
        sender.socket.send(&bytes).await.unwrap();
    }
    // Wait until all of it has been read: bob's own question is behind it in the same queue.
    bob.ask(RelayFrame::KeepAlive { session: bob.tag, padding: [0; 12] }).await;
    let carol = stage.member(lobby(1), 2).await;
    bob.send(2, b"all well").await;
    carol.hears(1, b"all well").await;
}

#[tokio::test]
async fn a_stopped_relay_gives_its_address_back() {
    let stage = Stage::new().await;
    let address = stage.relay.address;
    stage.relay.stop().await;
    assert!(tokio::net::UdpSocket::bind(address).await.is_ok());
}
