//! Who becomes host: a pure function with a total order, the same on the service and on every peer.

use serde::{Deserialize, Serialize};

use crate::id::ConnectionId;
use crate::time::Timestamp;

/// What an election knows of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The seat.
    pub connection: ConnectionId,
    /// It consents to being host.
    pub can_host: bool,
    /// Since when it has been connected without interruption, if it is.
    pub connected_since: Option<Timestamp>,
    /// It was elected since the last host and failed.
    pub failed: bool,
}

/// What a lobby wants of its host. Reserved for the criteria to come: all of today's are fixed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {}

/// Why a member cannot be elected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// It does not consent.
    NoConsent,
    /// It is not connected.
    Disconnected,
}

/// What put a place before the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// It has not failed since the last host.
    NotFailed,
    /// It has been connected for longer without interruption.
    LongerConnected,
    /// Its connection id is lower: the last resort, so that there are no ties.
    LowerConnectionId,
    /// Nobody comes after it.
    Last,
    /// The host, or who manages the lobby, has chosen it.
    Chosen,
}

/// A place in a ranking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Place {
    /// Who.
    pub connection: ConnectionId,
    /// Why before the next one.
    pub because: Criterion,
}

/// A member that cannot be elected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Excluded {
    /// Who.
    pub connection: ConnectionId,
    /// Why.
    pub because: Exclusion,
}

/// The outcome of an election, with its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Ranking {
    /// Who can be elected, best first.
    pub places: Vec<Place>,
    /// Who cannot.
    pub excluded: Vec<Excluded>,
}

impl Ranking {
    /// The winner.
    #[must_use]
    pub fn first(&self) -> Option<ConnectionId> {
        self.places.first().map(|place| place.connection)
    }

    /// The same with another winner, if it can be elected.
    pub(super) fn chosen(mut self, winner: ConnectionId) -> Option<Self> {
        let at = self.places.iter().position(|place| place.connection == winner)?;
        self.places[..=at].rotate_right(1);
        self.places.first_mut()?.because = Criterion::Chosen;
        Some(self)
    }
}

type Key = (bool, Timestamp, ConnectionId);

/// Ranks the candidates: those that have not failed, then those connected for longest, then the lowest connection id.
///
/// The order of `candidates` does not matter.
#[must_use]
pub fn elect(candidates: &[Candidate], _policy: &Policy) -> Ranking {
    let mut excluded = Vec::new();
    let mut keys: Vec<Key> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let because = match candidate.connected_since {
            _ if !candidate.can_host => Exclusion::NoConsent,
            None => Exclusion::Disconnected,
            Some(since) => {
                keys.push((candidate.failed, since, candidate.connection));
                continue;
            }
        };
        excluded.push(Excluded { connection: candidate.connection, because });
    }
    keys.sort_unstable();
    excluded.sort_unstable_by_key(|excluded| excluded.connection);
    let places = keys.iter().enumerate().map(|(index, key)| place(key, keys.get(index + 1))).collect();
    Ranking { places, excluded }
}

fn place(key: &Key, next: Option<&Key>) -> Place {
    let because = match next {
        None => Criterion::Last,
        Some(next) if key.0 != next.0 => Criterion::NotFailed,
        Some(next) if key.1 != next.1 => Criterion::LongerConnected,
        Some(_) => Criterion::LowerConnectionId,
    };
    Place { connection: key.2, because }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(connection: u32, since: Option<u64>) -> Candidate {
        Candidate {
            connection: ConnectionId(connection),
            can_host: true,
            connected_since: since.map(Timestamp),
            failed: false,
        }
    }

    #[test]
    fn the_longest_connected_member_that_consents_and_has_not_failed_wins() {
        let unwilling = Candidate { can_host: false, ..candidate(1, Some(1)) };
        let failed = Candidate { failed: true, ..candidate(2, Some(2)) };
        let all = [candidate(5, Some(9)), failed, candidate(3, None), candidate(4, Some(9)), unwilling];
        let ranking = elect(&all, &Policy::default());
        let places: Vec<_> = ranking.places.iter().map(|place| (place.connection.0, place.because)).collect();
        assert_eq!(places, [(4, Criterion::LowerConnectionId), (5, Criterion::NotFailed), (2, Criterion::Last)]);
        let excluded: Vec<_> =
            ranking.excluded.iter().map(|excluded| (excluded.connection.0, excluded.because)).collect();
        assert_eq!(excluded, [(1, Exclusion::NoConsent), (3, Exclusion::Disconnected)]);
    }

    #[test]
    fn the_order_of_the_candidates_changes_nothing() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let mut candidates: Vec<_> =
                (0..rng.u32(1..12)).map(|id| candidate(id, rng.bool().then(|| rng.u64(0..4)))).collect();
            let before = elect(&candidates, &Policy::default());
            rng.shuffle(&mut candidates);
            assert_eq!(elect(&candidates, &Policy::default()), before);
        }
    }
}
