//! Finding lobbies.

use std::sync::Arc;

use protocol::error::Rejection;
use protocol::id::{LobbyId, PlayerId};
use protocol::lobby::listing::{Condition, Field, Operator, Position, Query, Value};
use protocol::lobby::{Admission, Lobby, Viewer};

use super::{Asker, Error, Joined, Profile, Request, Service};
use crate::auth::random;
use crate::store::Membership;

/// Lobbies that a quick join tries: others may be faster.
const TRIED_MAX: u32 = 16;

impl Service {
    /// A lobby for a caller, and as whom that sees it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for private lobbies of others; the store's.
    pub async fn show(&self, asker: Asker, id: LobbyId) -> Result<(Arc<Lobby>, Viewer), Error> {
        let lobby = self.lobby(id).await?;
        let viewer = match asker {
            Asker::Server => Viewer::Server,
            Asker::Player(player) => match lobby.seat_of(player) {
                Some(connection) => Viewer::Member(connection),
                None if lobby.is_known_to(player, Admission::Id, self.clock.now()) => Viewer::Anybody,
                None => return Err(Error::NotFound),
            },
        };
        Ok((lobby, viewer))
    }

    /// A page of the lobbies that are looked for, and where the next one begins, if there may be one.
    ///
    /// # Errors
    /// The store's.
    pub async fn query(&self, query: &Query) -> Result<(Vec<Lobby>, Option<Position>), Error> {
        let lobbies = self.stored(self.store.query(query).await)?;
        let last = lobbies.last().filter(|_| lobbies.len() == query.count as usize);
        let next = last.map(|lobby| query.position(lobby.id(), &lobby.listing()));
        Ok((lobbies, next))
    }

    /// Takes a seat in some lobby that fits: public, without a password, of the same build, with a free seat, and not one where the
    /// player sits already. Those that need fewest to be full come first.
    ///
    /// # Errors
    /// [`Error::NoOpenLobbies`]; [`Error::KeyReused`]; the store's.
    pub async fn quick_join(
        self: &Arc<Self>,
        player: PlayerId,
        mut query: Query,
        profile: Profile,
        request: Option<Request>,
    ) -> Result<Joined, Error> {
        if let Some(before) = self.carried_out(player, request).await? {
            return self.join(player, before, Admission::Quick, profile, None, request).await;
        }
        let is = |field, value| Condition { field, operator: Operator::Eq, value };
        let free = Condition { field: Field::AvailableSeats, operator: Operator::Ge, value: Value::Number(1.0) };
        query.conditions.extend([
            free,
            is(Field::Locked, Value::Truth(false)),
            is(Field::HasPassword, Value::Truth(false)),
            is(Field::BuildId, Value::Text(profile.build_id.clone())),
        ]);
        query.count = TRIED_MAX;
        let mut lobbies = self.stored(self.store.query(&query).await)?;
        lobbies.retain(|lobby| lobby.seat_of(player).is_none());
        // Many who come at the same time do not all try the same one first.
        if !lobbies.is_empty() {
            let first = usize::from(random::<1>()[0]) % lobbies.len().min(4);
            lobbies.rotate_left(first);
        }
        for lobby in lobbies {
            match self.join(player, lobby.id(), Admission::Quick, profile.clone(), None, request).await {
                Err(Error::NotFound | Error::Busy) => {}
                Err(Error::Rejected(Rejection::Full(_) | Rejection::Locked | Rejection::Closed)) => {}
                joined => return joined,
            }
        }
        Err(Error::NoOpenLobbies)
    }

    /// Where a player has a seat.
    ///
    /// # Errors
    /// The store's.
    pub async fn memberships(&self, player: PlayerId) -> Result<Vec<Membership>, Error> {
        Ok(self.stored(self.store.memberships(player).await)?)
    }
}
