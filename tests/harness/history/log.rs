//! The log of a lobby: numbers, epochs, and that every view of it is what its events make.

use std::collections::BTreeMap;

use protocol::id::{ConnectionId, EventSeq, HostEpoch};
use protocol::message::{Event, EventBody};

use super::{Found, Kind, Lobby, Seen};

/// A host that neither heard nor tried anything for so long did not always come back. Its lease is longer.
const IDLE_MAX_US: u64 = 5_000_000;

pub(super) fn check(lobby: &Lobby<'_>, found: &mut Found) {
    let mut epoch = HostEpoch::FIRST;
    for (event, number) in lobby.log.iter().zip(1..) {
        if event.seq.0 != number {
            found.add(Kind::LogGap, lobby.id, format!("event {} stands where {number} should", event.seq));
            break;
        }
        let elected = matches!(event.body, EventBody::HostElected { .. });
        if event.epoch.0 != epoch.0 + u64::from(elected) {
            let evidence = format!("from {epoch} to {} with event {}: {:?}", event.epoch, event.seq, event.body);
            found.add(Kind::EpochMoved, lobby.id, evidence);
        }
        epoch = event.epoch;
    }
    if lobby.is_steady {
        check_steady(lobby, found);
    }
    check_views(lobby, found);
}

fn check_steady(lobby: &Lobby<'_>, found: &mut Found) {
    let idle_us = lobby.streams.iter().map(|stream| stream.idle_max_us).max().unwrap_or_default();
    if idle_us > IDLE_MAX_US {
        return;
    }
    // Then they went away.
    let end = lobby.streams.iter().filter_map(|stream| stream.expected).min().unwrap_or(EventSeq(u64::MAX));
    for (index, event) in lobby.log.iter().enumerate().take_while(|(_, event)| event.seq <= end) {
        let before: Vec<_> = lobby.log[index.saturating_sub(4)..index].iter().map(short).collect();
        let evidence =
            || format!("{}, after {}; clients were idle for at most {idle_us} us", short(event), before.join(", "));
        match &event.body {
            EventBody::HostElected { .. } => found.add(Kind::NeedlessElection, lobby.id, evidence()),
            EventBody::MemberLeft { connection, .. } if listens(lobby, *connection) => {
                found.add(Kind::SeatLost, lobby.id, evidence());
            }
            EventBody::MemberLeft { .. }
            | EventBody::MemberJoined { .. }
            | EventBody::MemberChanged { .. }
            | EventBody::MemberConnected { .. }
            | EventBody::MemberDisconnected { .. }
            | EventBody::HostLost { .. }
            | EventBody::HostReturned { .. }
            | EventBody::HostVouched { .. }
            | EventBody::HostReady { .. }
            | EventBody::ElectionFailed { .. }
            | EventBody::HostParked { .. }
            | EventBody::HandOverAsked { .. }
            | EventBody::HandOverEnded
            | EventBody::SuccessorChanged { .. }
            | EventBody::LobbyChanged { .. }
            | EventBody::DataChanged { .. }
            | EventBody::PrivateDataChanged { .. }
            | EventBody::MemberDataChanged { .. }
            | EventBody::MemberPrivateDataChanged { .. }
            | EventBody::JoinCodeChanged { .. }
            | EventBody::PlayerBanned { .. }
            | EventBody::PlayerUnbanned { .. }
            | EventBody::Hidden
            | EventBody::LobbyClosed => {}
        }
    }
}

/// Whether it is the seat of somebody who listens. A join whose outcome is unknown leaves a seat that nobody uses.
fn listens(lobby: &Lobby<'_>, connection: ConnectionId) -> bool {
    lobby.log.iter().any(|event| match &event.body {
        EventBody::MemberJoined { member } if member.connection == connection => {
            lobby.streams.iter().any(|stream| stream.player == member.player)
        }
        EventBody::MemberJoined { .. }
        | EventBody::MemberLeft { .. }
        | EventBody::MemberChanged { .. }
        | EventBody::MemberConnected { .. }
        | EventBody::MemberDisconnected { .. }
        | EventBody::HostLost { .. }
        | EventBody::HostReturned { .. }
        | EventBody::HostVouched { .. }
        | EventBody::HostElected { .. }
        | EventBody::HostReady { .. }
        | EventBody::ElectionFailed { .. }
        | EventBody::HostParked { .. }
        | EventBody::HandOverAsked { .. }
        | EventBody::HandOverEnded
        | EventBody::SuccessorChanged { .. }
        | EventBody::LobbyChanged { .. }
        | EventBody::DataChanged { .. }
        | EventBody::PrivateDataChanged { .. }
        | EventBody::MemberDataChanged { .. }
        | EventBody::MemberPrivateDataChanged { .. }
        | EventBody::JoinCodeChanged { .. }
        | EventBody::PlayerBanned { .. }
        | EventBody::PlayerUnbanned { .. }
        | EventBody::Hidden
        | EventBody::LobbyClosed => false,
    })
}

fn short(event: &Event) -> String {
    let body = serde_json::to_value(&event.body).unwrap_or_default();
    let (kind, connection) = (body["kind"].as_str().unwrap_or_default(), &body["connection"]);
    format!("event {} at {:?}: {kind} {connection}", event.seq, event.at)
}

/// Each view of a number is the same: what the events up to that number make.
fn check_views(lobby: &Lobby<'_>, found: &mut Found) {
    let mut view = lobby.born.clone();
    let mut states: BTreeMap<EventSeq, Seen> = BTreeMap::from([(view.seq, Seen::of(&view))]);
    let born = view.seq;
    for event in lobby.log.iter().filter(|event| event.seq > born) {
        view.apply(event);
        states.insert(view.seq, Seen::of(&view));
    }
    for (_, returned, seen) in lobby.views().filter(|(_, _, seen)| seen.seq >= born) {
        match states.get(&seen.seq) {
            None => {
                let evidence = format!("a view at {returned:?} had event {}, the log ends with {}", seen.seq, view.seq);
                found.add(Kind::LostEvent, lobby.id, evidence);
            }
            Some(state) if *state != seen => {
                let evidence = format!("a view at {returned:?} was {seen:?}, its events make {state:?}");
                found.add(Kind::WrongState, lobby.id, evidence);
            }
            Some(_) => {}
        }
    }
}
