//! The rival: `INSERT … ON CONFLICT DO UPDATE` of one row with the whole game, each in a transaction of its own that is on disk before
//! the next one of the same connection begins.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, query};

use super::super::Failure;
use super::super::scale::Scale;
use super::{Meter, STATE_BYTES, Saved};

/// Connections at once, of which those count that serve it best. SQLite writes on one at a time.
const CONNECTIONS: [usize; 3] = [1, 8, 32];

/// Its best.
pub(super) async fn measure(url: &str, process: Option<u32>, scale: &Scale) -> Result<Option<Saved>, Failure> {
    let Some((kind, place)) = url.split_once("://") else { return Ok(None) };
    if kind == "sqlite" {
        return Ok(Some(sqlite(&format!("{place}-rival"), scale).await?));
    }
    let mut best: Option<Saved> = None;
    for connections in CONNECTIONS {
        let saved = postgres(url, process, connections, scale).await?;
        eprintln!("    {:.0} upserts a second on {connections} connection(s)", saved.per_second());
        if best.as_ref().is_none_or(|best| saved.per_second() > best.per_second()) {
            best = Some(saved);
        }
    }
    Ok(best)
}

async fn sqlite(file: &str, scale: &Scale) -> Result<Saved, Failure> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection: SqliteConnection = options.connect().await?;
    query("CREATE TABLE rival (id BLOB NOT NULL PRIMARY KEY, game BLOB NOT NULL) STRICT")
        .execute(&mut connection)
        .await?;
    let upsert = "INSERT INTO rival (id, game) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET game = excluded.game";
    let meter = Meter::start(None)?;
    let mut writes = Writes::new(scale);
    let mut count = 0;
    while let Some((id, game)) = writes.next() {
        query(upsert).bind(&id[..]).bind(game).execute(&mut connection).await?;
        count += 1;
    }
    let saved = meter.saved(count)?;
    connection.close().await?;
    Ok(saved)
}

async fn postgres(url: &str, process: Option<u32>, connections: usize, scale: &Scale) -> Result<Saved, Failure> {
    let mut first = PgConnection::connect(url).await?;
    for sql in ["DROP TABLE IF EXISTS rival", "CREATE TABLE rival (id bytea NOT NULL PRIMARY KEY, game bytea NOT NULL)"]
    {
        query(sql).execute(&mut first).await?;
    }
    first.close().await?;
    let open = try_join_all((0..connections).map(|_| PgConnection::connect(url))).await?;
    let upsert = "INSERT INTO rival (id, game) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET game = excluded.game";
    let meter = Meter::start(process)?;
    let (writes, count) = (RefCell::new(Writes::new(scale)), Cell::new(0));
    let clients = open.into_iter().map(async |mut connection| {
        loop {
            let Some((id, game)) = writes.borrow_mut().next() else { break };
            query(upsert).bind(&id[..]).bind(game).execute(&mut connection).await?;
            count.set(count.get() + 1);
        }
        Ok::<_, Failure>(connection)
    });
    let open = try_join_all(clients).await?;
    let saved = meter.saved(count.get())?;
    for mut connection in open {
        query("DROP TABLE IF EXISTS rival").execute(&mut connection).await?;
        connection.close().await?;
    }
    Ok(saved)
}

/// Whose game is saved next, and what it is by then, until the time is over.
struct Writes {
    random: fastrand::Rng,
    lobbies: usize,
    number: usize,
    until: Instant,
}

impl Writes {
    fn new(scale: &Scale) -> Self {
        let until = Instant::now() + scale.uploading.max(Duration::from_millis(1));
        Self { random: fastrand::Rng::with_seed(1), lobbies: scale.durable, number: 0, until }
    }

    fn next(&mut self) -> Option<([u8; 16], Vec<u8>)> {
        if self.number > 0 && Instant::now() >= self.until {
            return None;
        }
        self.number += 1;
        let mut game = vec![0; STATE_BYTES];
        self.random.fill(&mut game);
        // Spread as ids are that are drawn at random.
        let id = fastrand::Rng::with_seed((self.number % self.lobbies) as u64).u128(..).to_be_bytes();
        Some((id, game))
    }
}
