//! Saving changes of many lobbies in one statement.

use std::collections::BTreeSet;

use protocol::id::LobbyId;
use sqlx::error::DatabaseError;
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
/// The constraint that undoes a statement which gives a lobby the join code of another. Then each change is saved by itself.
const UNIQUE_CODE: &str = "lobbies_join_code_key";

/// - `locked`: the lobbies as they are now, in the order of their ids. All is locked before anything is written.
/// - `changed`: those whose version still is the expected one. The rows are the locked ones, though this statement may have begun
///   before they were last saved: an update follows a row to its newest version.
/// - `created`: new ones, unless their id or code is taken, also by somebody who is just creating.
/// - Events of what was written, and who has a seat now; and away with what is not kept any more. A snapshot or a delta that is stored
///   while its lobby is closed can escape that, since this statement does not see it. Nobody reads it (see `snapshots.rs`), and it goes
///   with the lobby. No seat can escape: this statement has begun after the version that it replaces was saved.
const WRITE: &str = "
WITH input AS MATERIALIZED (
    SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::text[], $4::boolean[], $5::text[], $6::text[], $7::integer[],
        $8::integer[], $9::bigint[], $10::boolean[], $11::boolean[], $12::text[], $13::text[], $14::text[], $15::text[],
        $16::text[], $17::double precision[], $18::double precision[], $19::double precision[], $20::double precision[],
        $21::double precision[], $22::boolean[], $23::bigint[], $24::bigint[], $25::boolean[], $26::bigint[],
        $27::bigint[], $28::bigint[], $29::bigint[], $30::text[], $31::bigint[])
    AS input (id, expected, join_code, listed, name_folded, build_id, max_members, available, updated_at, locked,
        has_password, s1, s2, s3, s4, s5, n1, n2, n3, n4, n5, connected, created_at, due_at, closed, closed_at,
        last_event, epoch, writer, body, forgotten)
), locked AS MATERIALIZED (
    SELECT id, version FROM lobbies WHERE id = ANY ($1) ORDER BY id FOR UPDATE
), changed AS (
    UPDATE lobbies SET version = lobbies.version + 1, join_code = input.join_code, listed = input.listed,
        name_folded = input.name_folded, build_id = input.build_id, max_members = input.max_members,
        available = input.available, updated_at = input.updated_at, locked = input.locked,
        has_password = input.has_password, s1 = input.s1, s2 = input.s2, s3 = input.s3, s4 = input.s4, s5 = input.s5,
        n1 = input.n1, n2 = input.n2, n3 = input.n3, n4 = input.n4, n5 = input.n5, connected = input.connected,
        due_at = input.due_at, closed = input.closed, closed_at = input.closed_at, last_event = input.last_event,
        epoch = input.epoch, writer = input.writer, body_format = $32, body = input.body
    FROM locked JOIN input ON input.id = locked.id AND input.expected = locked.version
    WHERE lobbies.id = locked.id
    RETURNING lobbies.id
), created AS (
    INSERT INTO lobbies (id, version, join_code, listed, name_folded, build_id, max_members, available, updated_at,
        locked, has_password, s1, s2, s3, s4, s5, n1, n2, n3, n4, n5, connected, created_at, due_at, closed, closed_at,
        last_event, epoch, writer, body_format, body)
    SELECT id, 1, join_code, listed, name_folded, build_id, max_members, available, updated_at, locked, has_password, s1,
        s2, s3, s4, s5, n1, n2, n3, n4, n5, connected, created_at, due_at, closed, closed_at, last_event, epoch, writer,
        $32, body
    FROM input WHERE expected IS NULL AND (SELECT count(*) FROM locked) >= 0 ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id
), written AS MATERIALIZED (
    SELECT id FROM changed UNION ALL SELECT id FROM created
), told AS (
    INSERT INTO events (lobby_id, seq, body)
    SELECT event.lobby_id, event.seq, event.body
    FROM UNNEST($33::bytea[], $34::bigint[], $35::text[]) AS event (lobby_id, seq, body)
        JOIN written ON written.id = event.lobby_id
), forgotten AS (
    DELETE FROM events USING written JOIN input ON input.id = written.id AND input.forgotten > 0
    WHERE events.lobby_id = written.id AND events.seq <= input.forgotten
), emptied AS (
    DELETE FROM snapshots USING written JOIN input ON input.id = written.id AND input.closed
    WHERE snapshots.lobby_id = written.id
), emptied_of_deltas AS (
    DELETE FROM snapshot_deltas USING written JOIN input ON input.id = written.id AND input.closed
    WHERE snapshot_deltas.lobby_id = written.id
), seated AS (
    INSERT INTO memberships (player_id, lobby_id, connection, request)
    SELECT seat.player_id, seat.lobby_id, seat.connection, seat.request
    FROM UNNEST($36::bytea[], $37::bytea[], $38::bigint[], $39::bytea[])
        AS seat (lobby_id, player_id, connection, request) JOIN written ON written.id = seat.lobby_id
    ON CONFLICT (player_id, lobby_id) DO UPDATE SET connection = excluded.connection, request = excluded.request
), unseated AS (
    DELETE FROM memberships USING written JOIN UNNEST($40::bytea[], $41::bytea[]) AS gone (lobby_id, player_id)
        ON gone.lobby_id = written.id
    WHERE memberships.lobby_id = gone.lobby_id AND memberships.player_id = gone.player_id
), vacated AS (
    DELETE FROM memberships USING written JOIN input ON input.id = written.id AND input.closed
    WHERE memberships.lobby_id = written.id
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
        match self.write_together(&columns).await {
            Err(error) if is_taken(&error) => {}
            result => return result,
        }
        let mut ends = Vec::with_capacity(columns.len());
        for one in columns.chunks(1) {
            match self.write_together(one).await {
                Err(error) if is_taken(&error) => ends.push(Written::Taken),
                result => ends.append(&mut result?),
            }
        }
        Ok(ends)
    }

    async fn write_together(&self, columns: &[Columns]) -> Result<Vec<Written>, StoreError> {
        let mut attempts = 1;
        let written = loop {
            match self.writers.rows(statement(columns)).await {
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

/// Others were in the way.
fn is_undone(error: &StoreError) -> bool {
    database_error(error).and_then(DatabaseError::code).is_some_and(|code| UNDONE.contains(&&*code))
}

/// A lobby's new join code is another one's.
fn is_taken(error: &StoreError) -> bool {
    database_error(error).and_then(DatabaseError::constraint) == Some(UNIQUE_CODE)
}

/// What the server says.
fn database_error(error: &StoreError) -> Option<&dyn DatabaseError> {
    let StoreError::Unavailable(source) = error else { return None };
    source.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error)
}

fn statement<'q>(columns: &'q [Columns]) -> QueryAs<'q, Postgres, (Vec<u8>,), PgArguments> {
    fn list<'a, R, T>(rows: &'a [R], read: impl Fn(&'a R) -> T) -> Vec<T> {
        rows.iter().map(read).collect()
    }
    let events: Vec<_> = columns.iter().flat_map(|one| one.events.iter().map(move |event| (one, event))).collect();
    let seated: Vec<_> = columns.iter().flat_map(|one| one.seated.iter().map(move |seat| (one, seat))).collect();
    let unseated: Vec<_> =
        columns.iter().flat_map(|one| one.unseated.iter().map(move |player| (one, player))).collect();
    let mut query = query_as(WRITE)
        .bind(list(columns, |one| one.id.as_bytes().as_slice()))
        .bind(list(columns, |one| one.expected))
        .bind(list(columns, |one| one.join_code.as_str()))
        .bind(list(columns, |one| one.listing.is_listed))
        .bind(list(columns, |one| one.listing.name.as_str()))
        .bind(list(columns, |one| one.listing.build_id.as_str()))
        .bind(list(columns, |one| one.max_members))
        .bind(list(columns, |one| one.available))
        .bind(list(columns, |one| one.updated_at))
        .bind(list(columns, |one| one.listing.is_locked))
        .bind(list(columns, |one| one.listing.has_password));
    for index in 0..5 {
        query = query.bind(list(columns, |one| one.listing.texts[index].as_deref()));
    }
    for index in 0..5 {
        query = query.bind(list(columns, |one| one.listing.numbers[index]));
    }
    query
        .bind(list(columns, |one| one.is_connected))
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
        .bind(list(&events, |(one, _)| one.id.as_bytes().as_slice()))
        .bind(list(&events, |(_, (seq, _))| *seq))
        .bind(list(&events, |(_, (_, body))| body.as_str()))
        .bind(list(&seated, |(one, _)| one.id.as_bytes().as_slice()))
        .bind(list(&seated, |(_, (player, _))| player.as_bytes().as_slice()))
        .bind(list(&seated, |(_, (_, seat))| i64::from(seat.connection.0)))
        .bind(list(&seated, |(_, (_, seat))| seat.request.as_ref().map(|key| key.as_bytes().as_slice())))
        .bind(list(&unseated, |(one, _)| one.id.as_bytes().as_slice()))
        .bind(list(&unseated, |(_, player)| player.as_bytes().as_slice()))
}
