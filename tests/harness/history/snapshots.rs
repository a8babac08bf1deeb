//! Snapshots: never an older one, never other bytes, never one of an epoch that is over.

use std::collections::BTreeMap;

use protocol::id::{Checksum, HostEpoch};
use protocol::snapshot::Generation;

use super::{Action, Answer, Found, Kind, Lobby, Moment, Operation, Outcome};

pub(super) fn check(lobby: &Lobby<'_>, found: &mut Found) {
    let puts: Vec<Put<'_>> = lobby.operations.iter().filter_map(|operation| Put::of(operation)).collect();
    let acknowledged = acknowledged(lobby, &puts, found);
    let mut fetched = Vec::new();
    for operation in &lobby.operations {
        match &operation.outcome {
            Outcome::Done(Answer::Snapshot(snapshot)) => fetched.push((*operation, *snapshot)),
            Outcome::Done(Answer::Damaged) => {
                found.add(Kind::ChangedSnapshot, lobby.id, format!("{operation:?} is no snapshot"));
            }
            Outcome::Done(Answer::Seat(..) | Answer::Nothing | Answer::View(_))
            | Outcome::Refused(_)
            | Outcome::Unknown
            | Outcome::Failed => {}
        }
    }
    check_bytes(lobby, &puts, &acknowledged, &fetched, found);
    check_order(lobby, &puts, &fetched, found);
    check_epochs(lobby, &puts, found);
}

#[derive(Clone, Copy)]
struct Put<'a> {
    operation: &'a Operation,
    generation: Generation,
    checksum: Checksum,
}

impl<'a> Put<'a> {
    fn of(operation: &'a Operation) -> Option<Self> {
        match operation.action {
            Action::Put(generation, checksum) => Some(Self { operation, generation, checksum }),
            Action::Create(_) | Action::Join | Action::Leave | Action::Read | Action::Fetch => None,
        }
    }

    const fn is_done(&self) -> bool {
        matches!(self.operation.outcome, Outcome::Done(_))
    }
}

type Fetched<'a> = (&'a Operation, Option<(Generation, Checksum)>);

fn acknowledged(lobby: &Lobby<'_>, puts: &[Put<'_>], found: &mut Found) -> BTreeMap<Generation, Checksum> {
    let mut acknowledged = BTreeMap::new();
    for put in puts.iter().filter(|put| put.is_done()) {
        let first = *acknowledged.entry(put.generation).or_insert(put.checksum);
        if first != put.checksum {
            let evidence = format!("two were acknowledged as {:?}: {first} and {}", put.generation, put.checksum);
            found.add(Kind::ChangedSnapshot, lobby.id, evidence);
        }
    }
    acknowledged
}

/// Whatever is fetched was sent before, was not refused, and is the one that was acknowledged under its number.
fn check_bytes(
    lobby: &Lobby<'_>,
    puts: &[Put<'_>],
    acknowledged: &BTreeMap<Generation, Checksum>,
    fetched: &[Fetched<'_>],
    found: &mut Found,
) {
    let mut sent: BTreeMap<(Generation, Checksum), Moment> = BTreeMap::new();
    for put in puts.iter().filter(|put| !matches!(put.operation.outcome, Outcome::Refused(_))) {
        let first = sent.entry((put.generation, put.checksum)).or_insert(put.operation.invoked);
        *first = put.operation.invoked.min(*first);
    }
    for (operation, snapshot) in fetched {
        let Some((generation, checksum)) = snapshot else { continue };
        if acknowledged.get(generation).is_some_and(|acknowledged| acknowledged != checksum) {
            found.add(Kind::ChangedSnapshot, lobby.id, format!("{operation:?} is not what was acknowledged"));
        } else if sent.get(&(*generation, *checksum)).is_none_or(|&at| at > operation.returned) {
            found.add(
                Kind::PhantomSnapshot,
                lobby.id,
                format!("{operation:?} is nothing that was sent and not refused"),
            );
        }
    }
}

/// A fetch, or an accepted upload, is never older than what was known before it began.
fn check_order(lobby: &Lobby<'_>, puts: &[Put<'_>], fetched: &[Fetched<'_>], found: &mut Found) {
    let done = puts.iter().filter(|put| put.is_done()).map(|put| (put.operation, Some(put.generation)));
    let seen = fetched.iter().map(|(operation, snapshot)| (*operation, snapshot.map(|(generation, _)| generation)));
    let mut all: Vec<_> = done.chain(seen).collect();
    let mut by_return = all.clone();
    by_return.sort_by_key(|(operation, _)| operation.returned);
    all.sort_by_key(|(operation, _)| operation.invoked);
    let mut returned = by_return.iter().peekable();
    let mut newest: Option<Generation> = None;
    for (operation, generation) in all {
        while let Some((_, before)) = returned.next_if(|(before, _)| before.returned < operation.invoked) {
            newest = newest.max(*before);
        }
        if generation < newest {
            found.add(Kind::OlderSnapshot, lobby.id, format!("{newest:?} was known before {operation:?}"));
        }
    }
}

/// No snapshot of an older epoch than was known before its upload began is acknowledged.
fn check_epochs(lobby: &Lobby<'_>, puts: &[Put<'_>], found: &mut Found) {
    let views = lobby.views().map(|(_, returned, seen)| (returned, seen.epoch));
    let heard = lobby.heard().filter_map(|(at, seq, _)| Some((at, lobby.epoch_at(seq)?)));
    let mut known: Vec<(Moment, HostEpoch)> = views.chain(heard).collect();
    known.sort_unstable_by_key(|&(at, _)| at);
    let mut known = known.into_iter().peekable();
    let mut puts: Vec<_> = puts.iter().filter(|put| put.is_done()).collect();
    puts.sort_by_key(|put| put.operation.invoked);
    let mut newest = HostEpoch::FIRST;
    for put in puts {
        while let Some((_, epoch)) = known.next_if(|&(at, _)| at < put.operation.invoked) {
            newest = newest.max(epoch);
        }
        if put.generation.epoch < newest {
            found.add(
                Kind::StaleEpochAccepted,
                lobby.id,
                format!("epoch {newest} was known before {:?}", put.operation),
            );
        }
    }
}
