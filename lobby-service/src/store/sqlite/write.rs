//! Saving changes of many lobbies: one transaction, one statement a lobby, one for the events of all.

use serde::Serialize;
use sqlx::{SqliteConnection, query};

use super::SqliteStore;
use crate::store::sql::{BODY_FORMAT, Columns};
use crate::store::{Change, StoreError, Written};

const INSERT: &str = "INSERT INTO lobbies (id, version, public, name, members, max_members, connected, due_at, closed,
         closed_at, last_event, epoch, writer, body_format, body, join_code, created_at)
     VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
     ON CONFLICT DO NOTHING";
const UPDATE: &str = "UPDATE lobbies SET version = version + 1, public = $2, name = $3, members = $4, max_members = $5,
         connected = $6, due_at = $7, closed = $8, closed_at = $9, last_event = $10, epoch = $11, writer = $12,
         body_format = $13, body = $14
     WHERE id = $1 AND version = $15";

/// An event of a saved change: the lobby's id in hexadecimal, its number, its body.
#[derive(Serialize)]
struct NewEvent<'a>(String, i64, &'a str);

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
        for columns in saved {
            clean(&mut transaction, columns).await?;
        }
        transaction.commit().await?;
        Ok(ends)
    }
}

async fn write_lobby(connection: &mut SqliteConnection, columns: &Columns) -> Result<Written, StoreError> {
    let query = query(if columns.expected.is_some() { UPDATE } else { INSERT })
        .bind(columns.id.as_bytes().as_slice())
        .bind(columns.is_public)
        .bind(&columns.name)
        .bind(columns.members)
        .bind(columns.max_members)
        .bind(columns.connected)
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
        None => (query.bind(&columns.join_code).bind(columns.created_at), Written::Taken),
    };
    let done = query.execute(connection).await?;
    Ok(if done.rows_affected() == 1 { Written::Done } else { otherwise })
}

async fn insert_events(connection: &mut SqliteConnection, saved: &[&Columns]) -> Result<(), StoreError> {
    let of = |columns: &&Columns| columns.id.to_string();
    let events: Vec<_> = saved
        .iter()
        .flat_map(|columns| columns.events.iter().map(move |(seq, body)| NewEvent(of(columns), *seq, body)))
        .collect();
    if events.is_empty() {
        return Ok(());
    }
    let events = serde_json::to_string(&events).map_err(|error| crate::store::sql::corrupt("event", error))?;
    let insert = "INSERT INTO events (lobby_id, seq, body)
         SELECT unhex(value ->> 0), value ->> 1, value ->> 2 FROM json_each($1)";
    query(insert).bind(events).execute(connection).await?;
    Ok(())
}

/// Deletes what a saved lobby does not keep.
async fn clean(connection: &mut SqliteConnection, columns: &Columns) -> Result<(), StoreError> {
    if columns.forgotten > 0 && !columns.events.is_empty() {
        let forget = query("DELETE FROM events WHERE lobby_id = $1 AND seq <= $2");
        forget.bind(columns.id.as_bytes().as_slice()).bind(columns.forgotten).execute(&mut *connection).await?;
    }
    if columns.is_closed {
        let forget = query("DELETE FROM snapshots WHERE lobby_id = $1");
        forget.bind(columns.id.as_bytes().as_slice()).execute(connection).await?;
    }
    Ok(())
}
