//! Opening the database: its tables are brought up to date, and its settings looked at.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::query_as;
use tokio::time::timeout;

use super::PostgresStore;
use super::pool::Pool;
use crate::store::StoreError;
use crate::store::sql::{Unreadable, unavailable};

/// Connections that save: each carries many changes at once.
const WRITERS: u32 = 4;
/// Connections that read at the same time.
const READERS: u32 = 8;
/// Connections that look for lobbies at the same time.
const FINDERS: u32 = 4;
/// One that listens, one that tells.
const NEWS: u32 = 2;
/// How long the first connection may take, also while the server is starting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the tables may take to be brought up to date, with the wait for another instance that does it.
const MIGRATE_TIMEOUT: Duration = Duration::from_secs(600);

/// What holds for every connection, whatever the server's defaults are.
const SETTINGS: [(&str, &str); 9] = [
    ("default_transaction_isolation", "read committed"),
    ("statement_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "5s"),
    // A service that has vanished keeps no lock for long.
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    // A plan is made once and kept, so it must suit tables of any size: by index, always.
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("jit", "off"),
];

/// What an operator may choose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Uses a database even if it may lose what it has acknowledged.
    pub allow_unsafe: bool,
}

impl PostgresStore {
    /// Connects, and brings the tables up to date; of several instances that start at once, one does that and the others wait.
    ///
    /// # Errors
    /// [`StoreError::Unsafe`]; [`StoreError::Unavailable`] if the database cannot be reached or is of a newer version.
    pub async fn open(url: &str, options: Options) -> Result<Self, StoreError> {
        let connect = url.parse::<PgConnectOptions>()?.application_name("understudy");
        timeout(MIGRATE_TIMEOUT, migrate(connect.clone())).await.map_err(unavailable)??;
        let connect = connect.options(SETTINGS);
        let writers = Pool::open(connect.clone(), WRITERS).await?;
        check(&writers, options).await?;
        let readers = Pool::open(connect.clone(), READERS).await?;
        // Which index is good for a query depends on the values that are looked for.
        let by_value = connect.clone().options([("plan_cache_mode", "force_custom_plan")]);
        let finders = Pool::open(by_value, FINDERS).await?;
        let news = Pool::open(connect, NEWS).await?;
        Ok(Self { writers, readers, finders, news, unreadable: Unreadable::default() })
    }
}

/// On a connection of its own: to wait for another instance may take longer than a statement may.
async fn migrate(options: PgConnectOptions) -> Result<(), StoreError> {
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT_TIMEOUT).connect_with(options).await?;
    let migrated = sqlx::migrate!("../migrations/postgres").run(&pool).await.map_err(unavailable);
    pool.close().await;
    migrated
}

/// Whether what the database acknowledges is durable, and whether it can hold any text.
async fn check(pool: &Pool, options: Options) -> Result<(), StoreError> {
    let sql =
        "SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('server_encoding')";
    let row: Option<(String, String, String)> = pool.row(query_as(sql)).await?;
    let (fsync, synchronous_commit, encoding) = row.ok_or_else(|| unavailable("no settings"))?;
    if encoding != "UTF8" {
        return Err(unavailable(format!("the database's encoding is {encoding}, and must be UTF8")));
    }
    for (setting, value) in [("fsync", fsync), ("synchronous_commit", synchronous_commit)] {
        if value != "off" {
            continue;
        }
        if !options.allow_unsafe {
            return Err(StoreError::Unsafe { setting });
        }
        tracing::warn!(setting, "is off: the database may lose what it has acknowledged");
    }
    Ok(())
}
