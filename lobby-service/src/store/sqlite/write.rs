//! Saving changes of many lobbies: one transaction, one statement a lobby, one for the events of all, one each for the seats that
//! were taken and given up.

use protocol::id::LobbyId;
use serde::Serialize;
use sqlx::{SqliteConnection, query};

use super::SqliteStore;
use crate::store::sql::{BODY_FORMAT, Columns, corrupt};
use crate::store::{Change, StoreError, Written};

const INSERT: &str = "INSERT INTO lobbies (id, version, join_code, listed, name_folded, build_id, max_members, available,
         updated_at, locked, has_password, s1, s2, s3, s4, s5, n1, n2, n3, n4, n5, connected, due_at, closed, closed_at,
         last_event, epoch, writer, body_format, body, created_at)
     VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
         $25, $26, $27, $28, $29, $30)
     ON CONFLICT DO NOTHING";
const UPDATE: &str = "UPDATE lobbies SET version = version + 1, join_code = $2, listed = $3, name_folded = $4, build_id = $5,
         max_members = $6, available = $7, updated_at = $8, locked = $9, has_password = $10, s1 = $11, s2 = $12, s3 = $13,
         s4 = $14, s5 = $15, n1 = $16, n2 = $17, n3 = $18, n4 = $19, n5 = $20, connected = $21, due_at = $22, closed = $23,
         closed_at = $24, last_event = $25, epoch = $26, writer = $27, body_format = $28, body = $29
     WHERE id = $1 AND version = $30";

/// An event of a saved change: whose, its number, its body.
#[derive(Serialize)]
struct NewEvent<'a>(LobbyId, i64, &'a str);

impl SqliteStore {
    pub(super) async fn write_changes(&self, changes: &[Change]) -> Result<Vec<Written>, StoreError> {
        // Written as JSON before the file is locked.
        let columns = changes.iter().map(Columns::of).collect::<Result<Vec<_>, _>>()?;
        let mut transaction = self.begin().await?;
        let mut ends = Vec::with_capacity(columns.len());
        let mut saved = Vec::with_capacity(columns.len());
        for columns in &columns {
            let end = write_lobby(&mut transaction, columns).await?;
            ends.push(end);
            if end == Written::Done {
                saved.push(columns);
            }
        }
        insert_events(&mut transaction, &saved).await?;
        move_members(&mut transaction, &saved).await?;
        for columns in saved {
            clean(&mut transaction, columns).await?;
        }
        transaction.commit().await?;
        Ok(ends)
    }
}

async fn write_lobby(connection: &mut SqliteConnection, columns: &Columns) -> Result<Written, StoreError> {
    let mut query = query(if columns.expected.is_some() { UPDATE } else { INSERT })
        .bind(columns.id.as_bytes().as_slice())
        .bind(&columns.join_code)
        .bind(columns.listing.is_listed)
        .bind(&columns.listing.name)
        .bind(&columns.listing.build_id)
        .bind(columns.max_members)
        .bind(columns.available)
        .bind(columns.updated_at)
        .bind(columns.listing.is_locked)
        .bind(columns.listing.has_password);
    for text in &columns.listing.texts {
        query = query.bind(text);
    }
    for number in columns.listing.numbers {
        query = query.bind(number);
    }
    query = query
        .bind(columns.is_connected)
        .bind(columns.due_at)
        .bind(columns.is_closed)
        .bind(columns.closed_at)
        .bind(columns.last_event)
        .bind(columns.epoch)
        .bind(columns.writer)
        .bind(BODY_FORMAT)
        .bind(&columns.body);
    let (query, otherwise) = match columns.expected {
        Some(version) => (query.bind(version), Written::Stale),
        None => (query.bind(columns.created_at), Written::Taken),
    };
    match query.execute(connection).await {
        Ok(done) => Ok(if done.rows_affected() == 1 { Written::Done } else { otherwise }),
        // Its new join code is another lobby's. The statement was undone, the transaction goes on.
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(Written::Taken),
        Err(error) => Err(error.into()),
    }
}

async fn insert_events(connection: &mut SqliteConnection, saved: &[&Columns]) -> Result<(), StoreError> {
    let events =
        saved.iter().flat_map(|columns| columns.events.iter().map(|(seq, body)| NewEvent(columns.id, *seq, body)));
    let insert = "INSERT INTO events (lobby_id, seq, body)
         SELECT unhex(value ->> 0), value ->> 1, value ->> 2 FROM json_each($1)";
    execute(connection, insert, events.collect()).await
}

/// Writes who has a seat now and who has none any more.
async fn move_members(connection: &mut SqliteConnection, saved: &[&Columns]) -> Result<(), StoreError> {
    let unseated = saved.iter().flat_map(|columns| columns.unseated.iter().map(|player| (*player, columns.id)));
    let delete = "DELETE FROM memberships
         WHERE (player_id, lobby_id) IN (SELECT unhex(value ->> 0), unhex(value ->> 1) FROM json_each($1))";
    execute(connection, delete, unseated.collect()).await?;
    let seated = saved.iter().flat_map(|columns| {
        columns.seated.iter().map(|(player, seat)| (*player, columns.id, seat.connection, seat.request))
    });
    let insert = "INSERT OR REPLACE INTO memberships (player_id, lobby_id, connection, request)
         SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, unhex(value ->> 3) FROM json_each($1)";
    execute(connection, insert, seated.collect()).await
}

/// Runs a statement on rows, which it gets as one JSON array; not at all if there are none.
async fn execute<T: Serialize>(
    connection: &mut SqliteConnection,
    sql: &'static str,
    rows: Vec<T>,
) -> Result<(), StoreError> {
    if !rows.is_empty() {
        let rows = serde_json::to_string(&rows).map_err(|error| corrupt("row", error))?;
        query(sql).bind(rows).execute(connection).await?;
    }
    Ok(())
}

/// Deletes what a saved lobby does not keep.
async fn clean(connection: &mut SqliteConnection, columns: &Columns) -> Result<(), StoreError> {
    if columns.forgotten > 0 && !columns.events.is_empty() {
        let forget = query("DELETE FROM events WHERE lobby_id = $1 AND seq <= $2");
        forget.bind(columns.id.as_bytes().as_slice()).bind(columns.forgotten).execute(&mut *connection).await?;
    }
    if columns.is_closed {
        let tables = [
            "DELETE FROM snapshots WHERE lobby_id = $1",
            "DELETE FROM snapshot_deltas WHERE lobby_id = $1",
            "DELETE FROM newest_snapshots WHERE lobby_id = $1",
            "DELETE FROM memberships WHERE lobby_id = $1",
        ];
        for sql in tables {
            query(sql).bind(columns.id.as_bytes().as_slice()).execute(&mut *connection).await?;
        }
    }
    Ok(())
}
