//! The lobby service as a process, with a relay in it. `lobby-service --help` names all choices.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use lobby_service::config::{CLOSED_LOBBIES_KEPT, Config, Database, HTTP_LISTEN, Key, RELAY_LISTEN, Relay, Secret};
use lobby_service::{Running, auth, http};
use tracing_subscriber::EnvFilter;

/// The environment variable that may hold the relays' secret.
const RELAY_SECRET: &str = "UNDERSTUDY_RELAY_SECRET";

/// Keeps lobbies, and the game alive when a host is lost.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where the API listens; port 0 lets the system choose.
    #[arg(long, env = "UNDERSTUDY_LISTEN", default_value_t = HTTP_LISTEN)]
    listen: SocketAddr,
    /// Where lobbies are kept: sqlite://PATH for one service; postgres://USER:PASSWORD@HOST/NAME for any number of instances, which
    /// share a key file as well; memory: for nowhere.
    #[arg(long, env = "DATABASE_URL", default_value = "sqlite://./understudy.db", hide_env_values = true)]
    database: Database,
    /// Starts on a Postgres whose fsync or synchronous_commit is off: after a crash it may have lost what was acknowledged.
    #[arg(long, env = "UNDERSTUDY_ALLOW_UNSAFE_DATABASE")]
    allow_unsafe_database: bool,
    /// Seconds for which a closed lobby is kept. Its last events explain why it is gone.
    #[arg(long, env = "UNDERSTUDY_KEEP_CLOSED_LOBBIES_S", default_value_t = CLOSED_LOBBIES_KEPT.as_secs())]
    keep_closed_lobbies_s: u64,
    /// Brings the database's tables up to date and ends.
    #[arg(long)]
    migrate_only: bool,
    /// The signing key, made at the first start.
    #[arg(long, env = "UNDERSTUDY_KEY_FILE", default_value = "./understudy-key.der")]
    key_file: PathBuf,
    /// Where the relay in this process listens (UDP); port 0 lets the system choose.
    #[arg(long, env = "UNDERSTUDY_RELAY_LISTEN", default_value_t = RELAY_LISTEN)]
    relay_listen: SocketAddr,
    /// The address of that relay that peers are told, if it is not the bound one.
    #[arg(long, env = "UNDERSTUDY_RELAY_ADVERTISE")]
    relay_advertise: Option<String>,
    /// Runs no relay in this process.
    #[arg(long, env = "UNDERSTUDY_NO_RELAY")]
    no_relay: bool,
    /// File that holds what relays of other processes show to register. Without it UNDERSTUDY_RELAY_SECRET counts, if it is set:
    /// the command line, which everybody on the machine can read, never holds the secret itself.
    #[arg(long, env = "UNDERSTUDY_RELAY_SECRET_FILE")]
    relay_secret_file: Option<PathBuf>,
    /// What is logged, as in RUST_LOG.
    #[arg(long, env = "UNDERSTUDY_LOG", default_value = "info")]
    log: String,
    /// Prints the API's description (OpenAPI) and ends.
    #[arg(long)]
    print_openapi: bool,
}

impl Arguments {
    fn config(self) -> std::io::Result<Config> {
        let relay_secret = self.relay_secret()?;
        let relay = Relay { listen: self.relay_listen, advertise: self.relay_advertise };
        Ok(Config {
            listen: self.listen,
            database: self.database,
            allow_unsafe_database: self.allow_unsafe_database,
            closed_lobbies_kept: Duration::from_secs(self.keep_closed_lobbies_s),
            key: Key::File(self.key_file),
            relay: (!self.no_relay).then_some(relay),
            relay_secret,
        })
    }

    fn relay_secret(&self) -> std::io::Result<Option<Secret>> {
        let text = match &self.relay_secret_file {
            Some(path) => std::fs::read_to_string(path)?,
            None => std::env::var(RELAY_SECRET).unwrap_or_default(),
        };
        Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(Secret::from))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            // The log may not be there yet. If nobody reads the errors either, nobody can be told.
            let _ = writeln!(std::io::stderr(), "lobby-service: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    if arguments.print_openapi {
        return Ok(writeln!(std::io::stdout(), "{}", http::description().to_pretty_json()?)?);
    }
    let filter = EnvFilter::try_new(&arguments.log)?;
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    auth::install_provider();
    tokio::runtime::Runtime::new()?.block_on(async {
        if arguments.migrate_only {
            return Ok(lobby_service::migrate(&arguments.config()?).await?);
        }
        let running = lobby_service::start(arguments.config()?).await?;
        announce(&running)?;
        until_told_to_stop().await?;
        tracing::info!("stopping");
        running.stop().await;
        Ok(())
    })
}

/// One line for programs that started us on port 0.
fn announce(running: &Running) -> std::io::Result<()> {
    let relay = running.relay.map(|address| format!(" relay={address}")).unwrap_or_default();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "lobby-service: listening http={}{relay}", running.http)?;
    stdout.flush()?;
    tracing::info!("the API's documentation is at http://{}/docs/", running.http);
    Ok(())
}

#[cfg(unix)]
async fn until_told_to_stop() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn until_told_to_stop() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
