//! Saving changes of many lobbies in one statement.

use std::collections::BTreeSet;

use protocol::id::LobbyId;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;
use sqlx::{Postgres, query_as};

use super::PostgresStore;
use crate::store::sql::{BODY_FORMAT, Columns, lobby_id};
use crate::store::{Change, StoreError, Written};

/// Times that a statement is tried that the server has undone because of others: it takes one of those that wait for each other.
const ATTEMPTS_MAX: u32 = 4;
/// What the server says then: a deadlock, a serialisation failure.
const UNDONE: [&str; 2] = ["40P01", "40001"];

/// - `locked`: the lobbies as they are now, in the order of their ids. All is locked before anything is written.
/// - `changed`: those whose version still is the expected one. The rows are the locked ones, though this statement may have begun
///   before they were last saved: an update follows a row to its newest version.
/// - `created`: new ones, unless their id or code is taken, also by somebody who is just creating.
/// - Events of what was written; and away with what is not kept any more. A snapshot that is stored while its lobby is closed can
///   escape that, since this statement does not see it. Nobody reads it (see `snapshots.rs`), and it goes with the lobby.
const WRITE: &str = "
WITH input AS MATERIALIZED (
    SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::text[], $4::boolean[], $5::text[], $6::integer[], $7::integer[],
        $8::integer[], $9::bigint[], $10::bigint[], $11::boolean[], $12::bigint[], $13::bigint[], $14::bigint[],
        $15::bigint[], $16::text[], $17::bigint[])
    AS input (id, expected, join_code, public, name, members, max_members, connected, created_at, due_at, closed, closed_at,
        last_event, epoch, writer, body, forgotten)
), locked AS MATERIALIZED (
    SELECT id, version FROM lobbies WHERE id = ANY ($1) ORDER BY id FOR UPDATE
), changed AS (
    UPDATE lobbies SET version = lobbies.version + 1, public = input.public, name = input.name, members = input.members,
        max_members = input.max_members, connected = input.connected, due_at = input.due_at, closed = input.closed,
        closed_at = input.closed_at, last_event = input.last_event, epoch = input.epoch, writer = input.writer,
        body_format = $18, body = input.body
    FROM locked JOIN input ON input.id = locked.id AND input.expected = locked.version
    WHERE lobbies.id = locked.id
    RETURNING lobbies.id
), created AS (
    INSERT INTO lobbies (id, version, join_code, public, name, members, max_members, connected, created_at, due_at, closed,
        closed_at, last_event, epoch, writer, body_format, body)
    SELECT id, 1, join_code, public, name, members, max_members, connected, created_at, due_at, closed, closed_at,
        last_event, epoch, writer, $18, body
    FROM input WHERE expected IS NULL AND (SELECT count(*) FROM locked) >= 0 ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id
), written AS MATERIALIZED (
    SELECT id FROM changed UNION ALL SELECT id FROM created
), told AS (
    INSERT INTO events (lobby_id, seq, body)
    SELECT event.lobby_id, event.seq, event.body
    FROM UNNEST($19::bytea[], $20::bigint[], $21::text[]) AS event (lobby_id, seq, body)
        JOIN written ON written.id = event.lobby_id
), forgotten AS (
    DELETE FROM events USING written JOIN input ON input.id = written.id AND input.forgotten > 0
    WHERE events.lobby_id = written.id AND events.seq <= input.forgotten
), emptied AS (
    DELETE FROM snapshots USING written JOIN input ON input.id = written.id AND input.closed
    WHERE snapshots.lobby_id = written.id
)
SELECT id FROM written";

impl PostgresStore {
    pub(super) async fn write_changes(&self, changes: &[Change]) -> Result<Vec<Written>, StoreError> {
        let columns = changes.iter().map(Columns::of).collect::<Result<Vec<_>, _>>()?;
        debug_assert_eq!(
            columns.iter().map(|columns| columns.id).collect::<BTreeSet<_>>().len(),
            columns.len(),
            "one change a lobby"
        );
        let mut attempts = 1;
        let written = loop {
            match self.writers.rows(statement(&columns)).await {
                Err(error) if attempts < ATTEMPTS_MAX && is_undone(&error) => attempts += 1,
                result => break result?,
            }
        };
        let written = written.iter().map(|(id,)| lobby_id(id)).collect::<Result<BTreeSet<LobbyId>, _>>()?;
        let end = |columns: &Columns| match columns.expected {
            _ if written.contains(&columns.id) => Written::Done,
            Some(_) => Written::Stale,
            None => Written::Taken,
        };
        Ok(columns.iter().map(end).collect())
    }
}

fn is_undone(error: &StoreError) -> bool {
    let StoreError::Unavailable(source) = error else { return false };
    let error = source.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    error.and_then(sqlx::error::DatabaseError::code).is_some_and(|code| UNDONE.contains(&&*code))
}

fn statement<'q>(columns: &'q [Columns]) -> QueryAs<'q, Postgres, (Vec<u8>,), PgArguments> {
    fn list<'a, T: 'a>(columns: &'a [Columns], read: impl Fn(&'a Columns) -> T + 'a) -> Vec<T> {
        columns.iter().map(read).collect()
    }
    let events: Vec<_> = columns.iter().flat_map(|one| one.events.iter().map(move |event| (one, event))).collect();
    query_as(WRITE)
        .bind(list(columns, |one| one.id.as_bytes().as_slice()))
        .bind(list(columns, |one| one.expected))
        .bind(list(columns, |one| one.join_code.as_str()))
        .bind(list(columns, |one| one.is_public))
        .bind(list(columns, |one| one.name.as_str()))
        .bind(list(columns, |one| one.members))
        .bind(list(columns, |one| one.max_members))
        .bind(list(columns, |one| one.connected))
        .bind(list(columns, |one| one.created_at))
        .bind(list(columns, |one| one.due_at))
        .bind(list(columns, |one| one.is_closed))
        .bind(list(columns, |one| one.closed_at))
        .bind(list(columns, |one| one.last_event))
        .bind(list(columns, |one| one.epoch))
        .bind(list(columns, |one| one.writer))
        .bind(list(columns, |one| one.body.as_str()))
        .bind(list(columns, |one| one.forgotten))
        .bind(BODY_FORMAT)
        .bind(events.iter().map(|(one, _)| one.id.as_bytes().as_slice()).collect::<Vec<_>>())
        .bind(events.iter().map(|(_, (seq, _))| *seq).collect::<Vec<_>>())
        .bind(events.iter().map(|(_, (_, body))| body.as_str()).collect::<Vec<_>>())
}
