//! Connections, and calls that end in time whatever the server does.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgListener, PgPoolOptions, PgRow};
use sqlx::query::{Query, QueryAs};
use sqlx::{Connection as _, FromRow, PgConnection, PgPool, Postgres};
use tokio::time::timeout;

use crate::store::StoreError;
use crate::store::sql::unavailable;

/// How long a request waits for a connection before it is answered "unavailable".
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a call waits for its answer: longer than the server works on it, so that it is the server that gives up, if it can.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);
/// A connection that has been idle for this long is tried before it is used: the server may have gone meanwhile.
const IDLE_UNTRIED_MAX: Duration = Duration::from_secs(1);
/// How long the end of all connections may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// After a connection could not be had, nobody else waits for one for this long: all are answered at once.
const GIVEN_UP_FOR: Duration = Duration::from_millis(250);

/// Some connections for one kind of use.
#[derive(Debug)]
pub(super) struct Pool {
    connections: PgPool,
    given_up_until: Mutex<Option<Instant>>,
}

impl Pool {
    /// Opens the first connection.
    pub(super) async fn open(options: PgConnectOptions, connections: u32) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, metadata| {
                Box::pin(async move {
                    if metadata.idle_for > IDLE_UNTRIED_MAX {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            });
        Ok(Self { connections: pool.connect_with(options).await?, given_up_until: Mutex::default() })
    }

    /// Runs a statement that returns rows.
    pub(super) async fn rows<'q, O>(&self, query: QueryAs<'q, Postgres, O, PgArguments>) -> Result<Vec<O>, StoreError>
    where
        O: for<'r> FromRow<'r, PgRow> + Send + Unpin + 'q,
    {
        let mut leased = self.lease().await?;
        let result = in_time(query.fetch_all(&mut *leased)).await?;
        Ok(leased.give_back(result)?)
    }

    /// Runs a statement that returns one row, or none.
    pub(super) async fn row<'q, O>(&self, query: QueryAs<'q, Postgres, O, PgArguments>) -> Result<Option<O>, StoreError>
    where
        O: for<'r> FromRow<'r, PgRow> + Send + Unpin + 'q,
    {
        Ok(self.rows(query).await?.pop())
    }

    /// Runs a statement that returns nothing. Returns how many rows it has changed.
    pub(super) async fn execute(&self, query: Query<'_, Postgres, PgArguments>) -> Result<u64, StoreError> {
        let mut leased = self.lease().await?;
        let result = in_time(query.execute(&mut *leased)).await?;
        Ok(leased.give_back(result)?.rows_affected())
    }

    /// Takes a connection for more than one statement. Each wait is to be put into [`in_time`].
    pub(super) async fn lease(&self) -> Result<Leased, StoreError> {
        let given_up = *self.given_up_until();
        if given_up.is_some_and(|until| until > Instant::now()) {
            return Err(unavailable("it could not be reached a moment ago"));
        }
        let acquired = self.connections.acquire().await;
        *self.given_up_until() = acquired.is_err().then(|| Instant::now() + GIVEN_UP_FOR);
        Ok(Leased(Some(acquired?)))
    }

    /// A time cannot be half written, so that a poisoned lock guards a whole one.
    fn given_up_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.given_up_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection to listen on.
    pub(super) async fn listener(&self) -> Result<PgListener, StoreError> {
        Ok(in_time(PgListener::connect_with(&self.connections)).await??)
    }

    pub(super) async fn close(&self) {
        // A connection that hangs ends with the process.
        if timeout(CLOSE_TIMEOUT, self.connections.close()).await.is_err() {
            tracing::warn!("the database did not close its connections in time");
        }
    }
}

/// Waits for the server, but not for ever: it may be frozen, or the network gone.
pub(super) async fn in_time<T>(future: impl Future<Output = T>) -> Result<T, StoreError> {
    timeout(CALL_TIMEOUT, future).await.map_err(unavailable)
}

/// A connection in use. It goes back to the others only from [`Self::give_back`]: when a call was given up, nobody knows what the
/// server will say on it next, and so it is closed.
#[derive(Debug)]
pub(super) struct Leased(Option<PoolConnection<Postgres>>);

impl Leased {
    /// The call has ended in good order, or with an error that the server told; or else the connection is closed.
    pub(super) fn give_back<T>(mut self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        if matches!(result, Ok(_) | Err(sqlx::Error::Database(_))) {
            drop(self.0.take());
        }
        result
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            // Without a farewell, which could hang as well.
            drop(connection.detach());
        }
    }
}

impl Deref for Leased {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.0.as_ref().expect("it is taken out only at the end")
    }
}

impl DerefMut for Leased {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect("it is taken out only at the end")
    }
}
