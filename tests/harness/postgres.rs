//! Databases on a real Postgres for tests: an empty one each, on one server.
//!
//! `cargo xtask test` starts the server and names it in [`TEST_SERVER`]; a test that is started otherwise starts one of its own, which
//! ends with the test's process.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use xtask::postgres::{self, Postgres, TEST_SERVER};
use xtask::trace::now_us;

/// The server of this process, if it had to start one. Never dropped, as nothing static is: its guardian ends it with the process.
static OWN: Mutex<Option<Postgres>> = Mutex::new(None);
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// An empty database. Removed when dropped, with the connections to it.
#[derive(Debug)]
pub struct TestDatabase {
    server: String,
    name: String,
}

/// Makes an empty database.
///
/// # Panics
/// If no server is there and none can be started, with what is missing.
#[must_use]
pub fn database() -> TestDatabase {
    let server = server();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // The processes of several tests may share the server.
    let name = format!("test_{}_{}_{number}", process::id(), now_us());
    let database = TestDatabase { server, name };
    postgres::create_database(&database.server_database(), &database.name)
        .unwrap_or_else(|error| panic!("no Postgres to test with, at {}: {error}", database.server));
    database
}

/// The address of a server, up to and with the last slash.
fn server() -> String {
    if let Ok(server) = std::env::var(TEST_SERVER) {
        assert!(
            server.ends_with('/'),
            "{TEST_SERVER} is postgres://USER@HOST:PORT/ with a slash at its end, not {server}"
        );
        return server;
    }
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    if own.is_none() {
        *own = Some(Postgres::start().unwrap_or_else(|error| panic!("no Postgres to test with: {error}")));
    }
    own.as_ref().map(|server| server.url("")).expect("it was just started")
}

impl TestDatabase {
    /// What a client connects to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}{}", self.server, self.name)
    }

    /// Says one SQL statement in it and returns the rows, a line each.
    ///
    /// # Panics
    /// If that fails.
    pub fn query(&self, sql: &str) -> String {
        postgres::query(&self.url(), sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The database that every server has.
    fn server_database(&self) -> String {
        format!("{}postgres", self.server)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // The server ends soon, with all that is in it.
        drop(postgres::drop_database(&self.server_database(), &self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_database_is_empty_and_gone_with_its_owner() {
        let (first, second) = (database(), database());
        first.query("CREATE TABLE kept (number int)");
        second.query("CREATE TABLE kept (number int)");
        let (url, server) = (first.url(), first.server_database());
        drop(first);
        assert!(postgres::query(&url, "SELECT 1").is_err(), "it is gone");
        assert_eq!(postgres::query(&server, "SELECT 1").unwrap().trim(), "1", "the server is there");
        assert_eq!(second.query("SELECT count(*) FROM kept").trim(), "0");
    }
}
