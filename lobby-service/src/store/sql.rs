//! What both databases share: how values stand in columns, and what their errors mean.

pub(super) mod identity;
pub(super) mod snapshots;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use protocol::commit::Version;
use protocol::id::{ConnectionId, EventSeq, InstanceId, LobbyId, PlayerId, RequestKey};
use protocol::limits;
use protocol::lobby::Lobby;
use protocol::lobby::listing::Listing;
use protocol::message::Event;
use protocol::time::Timestamp;

use super::overview::StoredInstance;
use super::{Change, MEMBERSHIPS_MAX, Membership, Newer, StoreError, closed_at, moves};

/// The format of `lobbies.body` that this build writes and reads.
pub(super) const BODY_FORMAT: i32 = 1;
/// The bound of [`MEMBERSHIPS`].
pub(super) const MEMBERSHIPS_LIMIT: i64 = MEMBERSHIPS_MAX as i64;
/// Unreadable rows whose ids are kept. Past it no more are logged.
const UNREADABLE_MAX: usize = 4096;

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) {
            corrupt("row", error)
        } else {
            unavailable(error)
        }
    }
}

pub(super) fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Unavailable(error.into())
}

pub(super) fn corrupt(what: &'static str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Corrupt { what, source: error.into() }
}

/// The databases' integers are signed. Ours count milliseconds, events and saves: none comes near the end.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn timestamp(number: i64) -> Timestamp {
    Timestamp(u64::try_from(number).unwrap_or_default())
}

pub(super) fn version(number: i64) -> Result<Version, StoreError> {
    Ok(Version(u64::try_from(number).map_err(|error| corrupt("version", error))?))
}

pub(super) fn id<const N: usize>(what: &'static str, bytes: &[u8]) -> Result<[u8; N], StoreError> {
    bytes.try_into().map_err(|error: std::array::TryFromSliceError| corrupt(what, error))
}

pub(super) fn lobby_id(bytes: &[u8]) -> Result<LobbyId, StoreError> {
    Ok(LobbyId::from_bytes(id("lobby id", bytes)?))
}

fn write_json<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| corrupt(what, error))
}

pub(super) fn read_lobby(format: i32, body: &str) -> Result<Lobby, StoreError> {
    if format != BODY_FORMAT {
        return Err(corrupt("lobby", format!("format {format} is not known to this build")));
    }
    serde_json::from_str(body).map_err(|error| corrupt("lobby", error))
}

/// A page of lobbies starts after this key: every id is longer than nothing, and so comes after it.
pub(super) fn page_start(after: Option<LobbyId>) -> Vec<u8> {
    after.map(|id| id.as_bytes().to_vec()).unwrap_or_default()
}

/// Parameters: the lobby.
pub(super) const LOAD: &str = "SELECT version, body_format, body FROM lobbies WHERE id = $1";

/// Parameters: the lobby, the version that is known. Its body comes only if it is another version.
pub(super) const LOAD_NEWER: &str = "SELECT version, body_format, CASE WHEN version = $2 THEN NULL ELSE body END
    FROM lobbies WHERE id = $1";

/// Reads the row of [`LOAD_NEWER`].
pub(super) fn newer(row: Option<(i64, i32, Option<String>)>) -> Result<Newer, StoreError> {
    match row {
        Some((number, format, Some(body))) => Ok(Newer::Newest(read_lobby(format, &body)?, version(number)?)),
        Some((_, _, None)) => Ok(Newer::Same),
        None => Ok(Newer::Gone),
    }
}

/// A lobby's row: its id, its version, the format of its body, its body.
pub(super) type LobbyRow = (Vec<u8>, i64, i32, String);

/// Parameters: the lobby after which, how many.
pub(super) const LOBBIES: &str =
    "SELECT id, version, body_format, body FROM lobbies WHERE id > $1 ORDER BY id LIMIT $2";

/// A row of [`MEMBERSHIPS`].
pub(super) type MembershipRow = (Vec<u8>, i64, bool, Option<Vec<u8>>);

/// Parameters: the player, how many.
pub(super) const MEMBERSHIPS: &str =
    "SELECT lobby_id, connection, coalesce(lobbies.writer = connection, false), request
    FROM memberships JOIN lobbies ON lobbies.id = lobby_id WHERE player_id = $1 ORDER BY lobby_id LIMIT $2";

/// Reads a row of [`MEMBERSHIPS`].
pub(super) fn membership((lobby, connection, is_host, request): MembershipRow) -> Result<Membership, StoreError> {
    let request = request.map(|key| id("membership", &key)).transpose()?;
    Ok(Membership {
        lobby: lobby_id(&lobby)?,
        connection: ConnectionId(u32::try_from(connection).map_err(|error| corrupt("membership", error))?),
        is_host,
        request: request.map(RequestKey::from_bytes),
    })
}

/// Parameters: the lobby, the number after which, how many. The lobby's last number comes with each event, or without any.
pub(super) const EVENTS_AFTER: &str = "SELECT lobbies.last_event, events.seq, events.body
    FROM lobbies LEFT JOIN events ON events.lobby_id = lobbies.id AND events.seq > $2
    WHERE lobbies.id = $1 ORDER BY events.seq LIMIT $3";

/// Reads the rows of [`EVENTS_AFTER`]: `None` if they do not follow the number that was asked for.
pub(super) fn following(
    after: EventSeq,
    rows: &[(i64, Option<i64>, Option<String>)],
) -> Result<Option<Vec<Event>>, StoreError> {
    let follows = rows.first().is_some_and(|(last, seq, _)| match seq {
        Some(seq) => seq.checked_sub(1) == Some(signed(after.0)),
        None => *last == signed(after.0),
    });
    let read = |body| serde_json::from_str(body).map_err(|error| corrupt("event", error));
    let events = rows.iter().filter_map(|(_, _, body)| body.as_deref()).filter(|_| follows).map(read);
    Ok(Some(events.collect::<Result<_, _>>()?).filter(|_| follows))
}

/// Without parameters.
pub(super) const INSTANCES: &str = "SELECT id, expires_at, heir FROM instances ORDER BY id";

/// Reads a row of [`INSTANCES`].
pub(super) fn stored_instance(row: &(Vec<u8>, i64, Option<Vec<u8>>)) -> Result<StoredInstance, StoreError> {
    let read = |bytes: &Vec<u8>| Ok::<_, StoreError>(InstanceId::from_bytes(id("instance id", bytes)?));
    let heir = row.2.as_ref().map(read).transpose()?;
    Ok(StoredInstance { id: read(&row.0)?, expires_at: timestamp(row.1), heir })
}

/// A change as the columns of its rows.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) id: LobbyId,
    /// `None` for a new lobby.
    pub(super) expected: Option<i64>,
    pub(super) join_code: String,
    /// What it is found by.
    pub(super) listing: Listing,
    pub(super) max_members: i32,
    pub(super) available: i32,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
    /// Somebody is.
    pub(super) is_connected: bool,
    pub(super) due_at: Option<i64>,
    pub(super) is_closed: bool,
    /// Set by the change that closes the lobby.
    pub(super) closed_at: Option<i64>,
    pub(super) last_event: i64,
    pub(super) epoch: i64,
    pub(super) writer: Option<i64>,
    pub(super) body: String,
    /// Events up to this one are not kept.
    pub(super) forgotten: i64,
    /// Those that are kept, with their numbers.
    pub(super) events: Vec<(i64, String)>,
    /// Who has a seat now, unless the lobby is closed.
    pub(super) seated: Vec<(PlayerId, Membership)>,
    /// Who has none any more.
    pub(super) unseated: Vec<PlayerId>,
}

impl Columns {
    pub(super) fn of(change: &Change) -> Result<Self, StoreError> {
        let lobby = &*change.lobby;
        let listing = lobby.listing();
        let forgotten = lobby.last_event().0.saturating_sub(limits::EVENTS_KEPT);
        let kept = change.events.iter().filter(|event| event.seq.0 > forgotten);
        let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let (mut seated, mut unseated) = (Vec::new(), Vec::new());
        // A closed lobby loses all of them.
        for (player, seat) in moves(lobby, &change.events).into_iter().filter(|_| !lobby.is_closed()) {
            match seat {
                Some(seat) => seated.push((player, seat)),
                None => unseated.push(player),
            }
        }
        Ok(Self {
            id: lobby.id(),
            expected: change.expected.map(|version| signed(version.0)),
            join_code: lobby.join_code().as_str().to_owned(),
            max_members: count(listing.max_members),
            available: count(listing.available),
            created_at: signed(listing.created_at),
            updated_at: signed(listing.updated_at),
            listing,
            is_connected: lobby.connected().next().is_some(),
            due_at: lobby.due_at().map(|at| signed(at.0)),
            is_closed: lobby.is_closed(),
            closed_at: closed_at(&change.events).filter(|_| lobby.is_closed()).map(|at| signed(at.0)),
            last_event: signed(lobby.last_event().0),
            epoch: signed(lobby.epoch().0),
            writer: lobby.host_writer().map(|connection| i64::from(connection.0)),
            body: write_json("lobby", lobby)?,
            forgotten: signed(forgotten),
            events: kept
                .map(|event| Ok((signed(event.seq.0), write_json("event", event)?)))
                .collect::<Result<_, StoreError>>()?,
            seated,
            unseated,
        })
    }
}

/// Rows that cannot be read: each is logged once, and keeps nobody from the others.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    logged: Mutex<BTreeSet<Vec<u8>>>,
}

impl Unreadable {
    pub(super) fn read(&self, (id, number, format, body): &LobbyRow) -> Option<(Lobby, Version)> {
        match read_lobby(*format, body).and_then(|lobby| Ok((lobby, version(*number)?))) {
            Ok(read) => Some(read),
            Err(error) => {
                self.skip(id, &error);
                None
            }
        }
    }

    pub(super) fn skip(&self, id: &[u8], error: &StoreError) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < UNREADABLE_MAX && logged.insert(id.to_vec()) {
            tracing::error!(?id, error = error as &dyn std::error::Error, "a lobby is skipped");
        }
    }
}
