//! Listeners: the same events, each once, in order, over any number of sockets.

use protocol::id::EventSeq;
use protocol::limits;

use super::{Found, Heard, Kind, Lobby, Opening, Stream, digest};

pub(super) fn check(lobby: &Lobby<'_>, found: &mut Found) {
    let digests: Vec<u64> = lobby.log.iter().map(digest).collect();
    for (at, seq, heard) in lobby.heard() {
        let index = usize::try_from(seq.0).unwrap_or(usize::MAX).wrapping_sub(1);
        match digests.get(index) {
            None => found.add(Kind::LostEvent, lobby.id, format!("event {seq}, heard at {at:?}, is not in the log")),
            Some(&logged) if logged != heard => {
                let evidence = format!("event {seq}, heard at {at:?}, is another than {:?}", lobby.log[index]);
                found.add(Kind::StreamDiffers, lobby.id, evidence);
            }
            Some(_) => {}
        }
    }
    for stream in &lobby.streams {
        let mut newest = None;
        for opening in &stream.openings {
            newest = check_opening(lobby, stream, opening, found).or(newest);
        }
        if newest < stream.expected {
            let expected = stream.expected;
            let missed = newest.and_then(|newest| lobby.log.get(usize::try_from(newest.0).ok()?));
            let last = stream.openings.last();
            let evidence = format!(
                "{} heard {newest:?} as the last instead of {expected:?}, which is {missed:?}; socket {} was the last: {last:?}",
                stream.player,
                stream.openings.len()
            );
            found.add(Kind::StreamStuck, lobby.id, evidence);
        }
    }
}

/// Returns the newest event that was heard.
fn check_opening(lobby: &Lobby<'_>, stream: &Stream, opening: &Opening, found: &mut Found) -> Option<EventSeq> {
    let mut newest = opening.after;
    for &(at, heard) in &opening.heard {
        let who =
            || format!("{} at {at:?}, after {newest:?} on a socket opened after {:?}", stream.player, opening.after);
        match heard {
            Heard::Resync(seen) => {
                let lacked = newest.map_or(u64::MAX, |newest| (lobby.log.len() as u64).saturating_sub(newest.0));
                if lacked < limits::EVENTS_KEPT {
                    found.add(Kind::UnexpectedResync, lobby.id, who());
                }
                newest = Some(seen.seq);
            }
            Heard::Event(seq, _) => {
                match newest {
                    None => found.add(Kind::StreamGap, lobby.id, format!("{}: {seq} before the lobby", who())),
                    Some(newest) if seq.0 > newest.0 + 1 => {
                        found.add(Kind::StreamGap, lobby.id, format!("{}: {seq}", who()))
                    }
                    Some(newest) if seq <= newest => {
                        found.add(Kind::StreamRepeat, lobby.id, format!("{}: {seq}", who()))
                    }
                    Some(_) => {}
                }
                newest = newest.max(Some(seq));
            }
        }
    }
    newest
}
