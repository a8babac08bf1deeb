//! Real time: what was known before something began is in it, and what began later is not.

use protocol::id::EventSeq;

use super::seats::Write;
use super::{Found, Kind, Lobby, Moment};

/// Somebody knew that an event was there.
#[derive(Debug, Clone, Copy)]
struct Known {
    invoked: Moment,
    returned: Moment,
    seq: EventSeq,
    /// By making it. Else by seeing it.
    is_write: bool,
    /// It says which event was the newest. What comes on a socket later may lag.
    is_newest: bool,
}

pub(super) fn check(lobby: &Lobby<'_>, writes: &[Write<'_>], found: &mut Found) {
    let mut all: Vec<Known> = writes
        .iter()
        .map(|Write { operation, seq }| {
            let (invoked, returned) = (operation.invoked, operation.returned);
            Known { invoked, returned, seq: *seq, is_write: true, is_newest: false }
        })
        .collect();
    all.extend(lobby.views().map(|(invoked, returned, seen)| {
        let seq = seen.seq;
        Known { invoked, returned, seq, is_write: false, is_newest: true }
    }));
    all.extend(lobby.heard().map(|(at, seq, _)| Known {
        invoked: at,
        returned: at,
        seq,
        is_write: false,
        is_newest: false,
    }));
    let mut by_return = all.clone();
    by_return.sort_unstable_by_key(|known| known.returned);
    all.sort_unstable_by_key(|known| known.invoked);
    let mut returned = by_return.iter().peekable();
    // The newest that was made, and the newest that was made or seen.
    let (mut made, mut newest): (Option<Known>, Option<Known>) = (None, None);
    for known in &all {
        while let Some(&before) = returned.next_if(|before| before.returned < known.invoked) {
            if before.is_write {
                made = newer(made, before);
            }
            newest = newer(newest, before);
        }
        compare(lobby, made, newest, *known, found);
    }
}

fn newer(newest: Option<Known>, other: Known) -> Option<Known> {
    newest.filter(|newest| newest.seq >= other.seq).or(Some(other))
}

fn compare(lobby: &Lobby<'_>, made: Option<Known>, newest: Option<Known>, after: Known, found: &mut Found) {
    let told = |known: Known| format!("{} from {:?} to {:?}", known.seq, known.invoked, known.returned);
    let evidence = |before: Known| format!("first event {}, then event {}", told(before), told(after));
    if after.is_write {
        if let Some(before) = made.filter(|before| after.seq <= before.seq) {
            found.add(Kind::OutOfOrder, lobby.id, evidence(before));
        } else if let Some(before) = newest.filter(|before| after.seq <= before.seq) {
            found.add(Kind::FutureRead, lobby.id, evidence(before));
        }
    } else if after.is_newest
        && let Some(before) = newest.filter(|before| after.seq < before.seq)
    {
        found.add(Kind::StaleRead, lobby.id, evidence(before));
    }
}
