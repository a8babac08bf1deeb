//! A service that is killed while clients use it keeps its promises: a short run of what `cargo xtask chaos-store` does for minutes.

#![expect(clippy::print_stdout, reason = "the seed and what happened are part of the result")]

use tests::chaos::{Database, Options, run};
use tests::cluster::binaries;

/// P1, P2, P4 to P8, P10 and P16 over kills of the service.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_on_a_file_keeps_its_promises_over_kills() {
    short_run(Database::Sqlite, 5, 20).await;
}

/// P1, P2, P4 to P8, P10 and P16 over kills of two instances and of their database.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_on_postgres_keeps_its_promises_over_kills_of_both() {
    short_run(Database::Postgres, 10, 35).await;
}

/// Held by the run that goes on: several at once would starve each other.
static ONE_RUN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn short_run(database: Database, kills: u32, seconds: u64) {
    let _only_run = ONE_RUN.lock().await;
    let seed = fastrand::u64(..1 << 32);
    let options = Options { database, kills, least_kills: 3, seconds, seed, is_told: false };
    println!("{options:?}");
    let report = run(&binaries(), &options).await.unwrap_or_else(|error| panic!("{error}"));
    println!("{report}");
    assert!(report.is_good(), "{report}");
}
