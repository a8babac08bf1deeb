//! Creations, joins and leaves: each acknowledged one had its effect once, each refused one none, and a seat is one player's.

use std::collections::BTreeMap;

use protocol::id::{ConnectionId, EventSeq, PlayerId};
use protocol::lobby::LeaveReason;
use protocol::message::{Event, EventBody};

use super::{Action, Answer, Found, History, Kind, Lobby, Operation, Outcome, Violation};

/// A write and the number of the event that it made.
pub(super) struct Write<'a> {
    pub(super) operation: &'a Operation,
    pub(super) seq: EventSeq,
}

/// Creations whose outcome is unknown, or that were refused: they have no lobby that anybody knows.
pub(super) fn check_creations(nowhere: &[&Operation], history: &History, found: &mut Found) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in &history.listed {
        *counts.entry(name).or_default() += 1;
    }
    for operation in nowhere {
        let Action::Create(name) = &operation.action else { continue };
        let allowed = usize::from(operation.outcome == Outcome::Unknown);
        let count = counts.get(name.as_str()).copied().unwrap_or_default();
        if count > allowed {
            let evidence = format!("{count} lobbies from {operation:?}");
            found.push(Violation { kind: Kind::PhantomWrite, lobby: None, evidence });
        }
    }
    for view in history.born.values() {
        let count = counts.get(view.name.as_str()).copied().unwrap_or_default();
        if count > 1 {
            found.add(Kind::PhantomWrite, view.id, format!("{count} lobbies from the creation of {}", view.name));
        }
    }
}

/// Returns which write made which event.
pub(super) fn check<'a>(lobby: &Lobby<'a>, found: &mut Found) -> Vec<Write<'a>> {
    let mut seats = Seats::default();
    seats.read_log(lobby, found);
    for &operation in &lobby.operations {
        let player = seats.players.entry(operation.player).or_default();
        match operation.action {
            Action::Create(_) | Action::Join => player.joins.push(operation),
            Action::Leave => player.leaves.push(operation),
            Action::Put(..) | Action::Read | Action::Fetch => {}
        }
    }
    let mut writes = Vec::new();
    for (id, mut player) in seats.players {
        check_unknown_is_last(lobby, &player, found);
        for (operations, events, what) in
            [(&mut player.joins, &player.joined, "joins"), (&mut player.leaves, &player.left, "leaves")]
        {
            operations.sort_unstable_by_key(|operation| operation.invoked);
            match_up(lobby, (id, what), operations, events, &mut writes, found);
        }
    }
    check_connections(lobby, &writes, found);
    writes
}

/// What is known of one player in one lobby.
#[derive(Default)]
struct Player<'a> {
    joins: Vec<&'a Operation>,
    leaves: Vec<&'a Operation>,
    joined: Vec<EventSeq>,
    left: Vec<EventSeq>,
}

#[derive(Default)]
struct Seats<'a> {
    players: BTreeMap<PlayerId, Player<'a>>,
    owners: BTreeMap<ConnectionId, PlayerId>,
}

impl Seats<'_> {
    fn read_log(&mut self, lobby: &Lobby<'_>, found: &mut Found) {
        let mut seats = BTreeMap::new();
        for Event { seq, body, .. } in lobby.log {
            match body {
                EventBody::MemberJoined { member } => {
                    let owner = *self.owners.entry(member.connection).or_insert(member.player);
                    let seat = *seats.entry(member.player).or_insert(member.connection);
                    if owner != member.player || seat != member.connection {
                        let evidence = format!(
                            "event {seq} gives connection {}, which was {owner}'s, to {}, who had {seat}",
                            member.connection, member.player
                        );
                        found.add(Kind::SharedConnection, lobby.id, evidence);
                    }
                    self.players.entry(member.player).or_default().joined.push(*seq);
                }
                EventBody::MemberLeft { connection, reason: LeaveReason::Left, .. } => {
                    if let Some(owner) = self.owners.get(connection) {
                        self.players.entry(*owner).or_default().left.push(*seq);
                    }
                }
                EventBody::MemberLeft { .. }
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
                | EventBody::LobbyClosed => {}
            }
        }
    }
}

/// Only then it is known which write made which event.
fn check_unknown_is_last(lobby: &Lobby<'_>, player: &Player<'_>, found: &mut Found) {
    let all = || player.joins.iter().chain(&player.leaves);
    let unknown = all().filter(|operation| operation.outcome == Outcome::Unknown).map(|unknown| unknown.invoked).min();
    let newest = all().map(|operation| operation.invoked).max();
    if unknown.is_some() && unknown < newest {
        found.add(Kind::BadHistory, lobby.id, format!("{:?} was not the last of its seat", unknown));
    }
}

/// One player's joins, or its leaves, are sequential: the first acknowledged one made the first event.
fn match_up<'a>(
    lobby: &Lobby<'a>,
    (player, what): (PlayerId, &str),
    operations: &[&'a Operation],
    events: &[EventSeq],
    writes: &mut Vec<Write<'a>>,
    found: &mut Found,
) {
    let done = operations.iter().filter(|operation| matches!(operation.outcome, Outcome::Done(_)));
    let unknown = operations.iter().filter(|operation| operation.outcome == Outcome::Unknown);
    let (least, most) = (done.clone().count(), done.clone().count() + unknown.clone().count());
    let evidence =
        || format!("{least} acknowledged and {} unknown {what} of {player}, events {events:?}", most - least);
    if events.len() < least {
        found.add(Kind::LostWrite, lobby.id, evidence());
    } else if events.len() > most {
        found.add(Kind::PhantomWrite, lobby.id, evidence());
    } else {
        let pairs = done.chain(unknown).zip(events);
        writes.extend(pairs.map(|(&operation, &seq)| Write { operation, seq }));
    }
}

/// The acknowledged connection id is the one in the event, and no other player's.
fn check_connections(lobby: &Lobby<'_>, writes: &[Write<'_>], found: &mut Found) {
    let mut owners: BTreeMap<ConnectionId, PlayerId> = BTreeMap::new();
    for operation in &lobby.operations {
        if let Outcome::Done(Answer::Seat(connection, _)) = operation.outcome {
            let owner = *owners.entry(connection).or_insert(operation.player);
            if owner != operation.player {
                let evidence = format!("connection {connection} was given to {owner} and to {}", operation.player);
                found.add(Kind::SharedConnection, lobby.id, evidence);
            }
        }
    }
    for Write { operation, seq } in writes {
        let index = usize::try_from(seq.0).unwrap_or_default().saturating_sub(1);
        if let Outcome::Done(Answer::Seat(connection, seen)) = operation.outcome
            && let Some(Event { body: EventBody::MemberJoined { member }, .. }) = lobby.log.get(index)
        {
            if member.connection != connection {
                let evidence = format!("{connection} was acknowledged, event {seq} says {}", member.connection);
                found.add(Kind::WrongConnection, lobby.id, evidence);
            }
            if seen.seq < *seq {
                let evidence = format!("the answer to a join shows event {}, the join is {seq}", seen.seq);
                found.add(Kind::StaleRead, lobby.id, evidence);
            }
        }
    }
}
