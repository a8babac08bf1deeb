//! What instances tell each other, by NOTIFY on one channel: outside of all transactions, which would wait for each other there.

use async_trait::async_trait;
use sqlx::postgres::PgListener;
use sqlx::query;

use super::PostgresStore;
use super::pool::in_time;
use crate::store::sql::unavailable;
use crate::store::{Listener, StoreError};

const CHANNEL: &str = "understudy";

struct Notes(PgListener);

impl PostgresStore {
    pub(super) async fn send_note(&self, text: &str) -> Result<(), StoreError> {
        self.news.execute(query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(text)).await?;
        Ok(())
    }

    pub(super) async fn hear_notes(&self) -> Result<impl Listener + use<>, StoreError> {
        let mut listener = self.news.listener().await?;
        in_time(listener.listen(CHANNEL)).await??;
        Ok(Notes(listener))
    }
}

#[async_trait]
impl Listener for Notes {
    async fn next(&mut self) -> Result<String, StoreError> {
        match self.0.try_recv().await? {
            Some(note) => Ok(note.payload().to_owned()),
            None => Err(unavailable("the connection was lost")),
        }
    }
}
