//! What an operator can choose, and where each choice may stand: flags > environment > file > default.
//!
//! Every flag `--some-name` that has an environment variable may stand in the file as `some-name = value`.

mod check;
mod example;
mod file;
mod turn;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue};
use clap::{ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser};
use tracing_subscriber::EnvFilter;

use crate::config::{CLOSED_LOBBIES_KEPT, Config, Database, HTTP_LISTEN, Key, RELAY_LISTEN, Relay, Secret};
use crate::identity::Identity;
use crate::limits;
use crate::listener::ListenerLimits;
use crate::logging::Format;
use crate::operating::OperatingArguments;
pub use example::example;
use file::File;
use turn::TurnArguments;

/// The environment variable that may hold the relays' secret.
const RELAY_SECRET: &str = "UNDERSTUDY_RELAY_SECRET";
/// The heading of what is done instead of serving: it is asked for on the command line only.
const INSTEAD: &str = "Instead of serving";
/// What is shown instead of a secret.
const HIDDEN: &str = "***";

/// Keeps lobbies, and the game alive when a host is lost.
///
/// Each option may also be given by its environment variable, or in a file as `name = value` (TOML). The command line counts before
/// the environment, that before the file.
#[derive(Debug, Parser)]
#[command(name = "lobby-service", version)]
pub struct Arguments {
    /// File with options, one `name = value` a line. Without it ./understudy.toml is read, if it is there.
    #[arg(long, value_name = "FILE", env = "UNDERSTUDY_CONFIG")]
    config: Option<PathBuf>,

    /// Where the API listens; port 0 lets the system choose.
    #[arg(long, value_name = "ADDRESS", env = "UNDERSTUDY_LISTEN", default_value_t = HTTP_LISTEN)]
    listen: SocketAddr,
    /// Origin of web pages that may use the API, beside its own pages: `https://game.example`, or * for all. May be repeated.
    #[arg(long, value_name = "ORIGIN", env = "UNDERSTUDY_ALLOW_ORIGIN", value_delimiter = ',')]
    allow_origin: Vec<String>,
    /// The first signing key, made at the first start. Those that follow it stand beside it: PATH.1, PATH.2, …
    #[arg(long, value_name = "FILE", env = "UNDERSTUDY_KEY_FILE", default_value = "./understudy-key.der")]
    key_file: PathBuf,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    listener: ListenerLimits,
    #[command(flatten)]
    limits: limits::Flags,

    /// Where lobbies are kept: sqlite://PATH for one service; postgres://USER:PASSWORD@HOST/NAME for any number of instances, which
    /// share a key file as well; memory: for nowhere.
    #[arg(long, env = "DATABASE_URL", default_value = "sqlite://./understudy.db", help_heading = "Database")]
    #[arg(value_name = "URL", hide_env_values = true)]
    database: Database,
    /// File that holds the database's URL, so that its password stands neither in the environment nor on the command line.
    #[arg(long, env = "UNDERSTUDY_DATABASE_FILE", help_heading = "Database", conflicts_with = "database")]
    #[arg(value_name = "FILE")]
    database_file: Option<PathBuf>,
    /// Starts on a Postgres whose fsync or synchronous_commit is off: after a crash it may have lost what was acknowledged.
    #[arg(long, env = "UNDERSTUDY_ALLOW_UNSAFE_DATABASE", help_heading = "Database")]
    allow_unsafe_database: bool,
    /// Seconds for which a closed lobby is kept. Its last events explain why it is gone.
    #[arg(long, env = "UNDERSTUDY_KEEP_CLOSED_LOBBIES_S", default_value_t = CLOSED_LOBBIES_KEPT.as_secs())]
    #[arg(value_name = "SECONDS", help_heading = "Database")]
    keep_closed_lobbies_s: u64,

    /// Where the relay in this process listens (UDP, and TCP for WebSockets); port 0 lets the system choose.
    #[arg(long, env = "UNDERSTUDY_RELAY_LISTEN", default_value_t = RELAY_LISTEN, help_heading = "Relay")]
    #[arg(value_name = "ADDRESS")]
    relay_listen: SocketAddr,
    /// The address of that relay that peers are told, if it is not the bound one.
    #[arg(long, value_name = "ADDRESS", env = "UNDERSTUDY_RELAY_ADVERTISE", help_heading = "Relay")]
    relay_advertise: Option<String>,
    /// Runs no relay in this process.
    #[arg(long, env = "UNDERSTUDY_NO_RELAY", help_heading = "Relay")]
    no_relay: bool,
    /// File that holds what relays of other processes show to register. Without it UNDERSTUDY_RELAY_SECRET counts, if it is set:
    /// the command line, which everybody on the machine can read, never holds the secret itself.
    #[arg(long, value_name = "FILE", env = "UNDERSTUDY_RELAY_SECRET_FILE", help_heading = "Relay")]
    relay_secret_file: Option<PathBuf>,

    #[command(flatten)]
    turn: TurnArguments,

    #[command(flatten)]
    operating: OperatingArguments,

    /// Reads all options and the files that they name, prints each option with where it comes from, and ends.
    #[arg(long, help_heading = INSTEAD)]
    check_config: bool,
    /// Brings the database's tables up to date and ends.
    #[arg(long, help_heading = INSTEAD)]
    migrate_only: bool,
    /// Makes the signing key that follows the newest, and ends. Services that run notice it: no restart is needed.
    #[arg(long, help_heading = INSTEAD)]
    rotate_key: bool,
    /// Asks the service that runs with the same options whether it is ready, and ends: with 0 if it is.
    #[arg(long, help_heading = INSTEAD)]
    probe: bool,
    /// Prints a file with every option, explained and commented out, and ends.
    #[arg(long, help_heading = INSTEAD)]
    print_example_config: bool,
    /// Prints the API's description (OpenAPI) and ends.
    #[arg(long, help_heading = INSTEAD)]
    print_openapi: bool,
    /// Prints the admin API's description (OpenAPI) and ends.
    #[arg(long, help_heading = INSTEAD)]
    print_admin_openapi: bool,
}

/// What the process is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Serve until it is told to stop.
    Serve,
    /// Say what was chosen, and whether it can be used.
    CheckConfig,
    /// Bring the database's tables up to date.
    Migrate,
    /// Make the next signing key.
    RotateKey,
    /// Ask whether the service is ready.
    Probe,
    /// Print a file with every option.
    PrintExampleConfig,
    /// Print the API's description.
    PrintOpenApi,
    /// Print the admin API's description.
    PrintAdminOpenApi,
}

/// Why a choice cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A file that an option names.
    #[error("{option}: {} cannot be read", path.display())]
    File {
        /// Which option.
        option: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The database, as its file says.
    #[error("database-file: {0}")]
    Database(String),
    /// TURN servers take nobody without credentials, and there is nothing to make them with.
    #[error("turn-url: it needs the servers' secret, in turn-secret-file or in UNDERSTUDY_TURN_SECRET")]
    TurnSecret,
    /// What is to be logged.
    #[error("log: this is no filter")]
    Log(#[from] tracing_subscriber::filter::ParseError),
    /// The key.
    #[error("key-file: the key cannot be used")]
    Key(#[from] crate::auth::AuthError),
    /// The admin token.
    #[error("admin-token-file: the token cannot be used")]
    AdminToken(#[source] crate::auth::KeyError),
    /// A file that is to be made in a folder which is not there.
    #[error("{option}: there is no folder for {}", path.display())]
    Folder {
        /// Which option.
        option: &'static str,
        /// Which file.
        path: PathBuf,
    },
}

/// All that was chosen, with where it comes from.
#[derive(Debug)]
pub struct Settings {
    /// The choices.
    pub arguments: Arguments,
    matches: ArgMatches,
    /// The ids of the options that the file decides.
    from_file: BTreeSet<String>,
    file: File,
}

/// Why the choices cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A flag or a variable. Help and the version are told in this way too.
    #[error(transparent)]
    Given(#[from] clap::Error),
    /// The file.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Settings {
    /// Reads the command line, whose first word is the program, the environment and the file.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, Unreadable> {
        let words: Vec<_> = words.into_iter().collect();
        let command = command();
        // What is wrong with these words is said when they are read together with the file's.
        let given = command.clone().ignore_errors(true).try_get_matches_from(&words)?;
        let file = File::find(given.get_one::<PathBuf>("config").map(PathBuf::as_path))?;
        let from_file = file.decides(&command, &given);
        let added = file.words(&command, &from_file)?;
        let program = words.first().cloned().unwrap_or_else(|| command.get_name().into());
        let all = std::iter::once(program).chain(added).chain(words.into_iter().skip(1));
        let refused = |error| file.explain(&from_file, without_secret(&command, error));
        let matches = command.clone().try_get_matches_from(all).map_err(refused)?;
        let arguments = Arguments::from_arg_matches(&matches)?;
        Ok(Self { arguments, matches, from_file, file })
    }
}

/// The command as clap knows it; variables may say yes and no in all usual words.
pub(crate) fn command() -> Command {
    Arguments::command().mut_args(|argument| {
        let is_switch = matches!(argument.get_action(), ArgAction::SetTrue) && argument.get_env().is_some();
        if is_switch { argument.value_parser(BoolishValueParser::new()) } else { argument }
    })
}

/// The error without the value that was refused, if that may be a secret (P18).
fn without_secret(command: &Command, mut error: clap::Error) -> clap::Error {
    let mut secrets = command.get_arguments().filter(|argument| argument.is_hide_env_values_set());
    if secrets.any(|secret| secret.get_long() == blamed(&error)) {
        error.insert(ContextKind::InvalidValue, ContextValue::String(HIDDEN.to_owned()));
    }
    error
}

/// The name of the option that an error is about: clap shows it as `--listen <ADDRESS>`.
fn blamed(error: &clap::Error) -> Option<&str> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(shown)) => shown.split_whitespace().next()?.strip_prefix("--"),
        _ => None,
    }
}

impl Arguments {
    /// What is to be done.
    #[must_use]
    pub const fn task(&self) -> Task {
        match self {
            Self { check_config: true, .. } => Task::CheckConfig,
            Self { print_openapi: true, .. } => Task::PrintOpenApi,
            Self { rotate_key: true, .. } => Task::RotateKey,
            Self { print_admin_openapi: true, .. } => Task::PrintAdminOpenApi,
            Self { probe: true, .. } => Task::Probe,
            Self { print_example_config: true, .. } => Task::PrintExampleConfig,
            Self { migrate_only: true, .. } => Task::Migrate,
            Self { .. } => Task::Serve,
        }
    }

    /// What is to be logged.
    ///
    /// # Errors
    /// [`Unusable::Log`].
    pub fn log_filter(&self) -> Result<EnvFilter, Unusable> {
        Ok(EnvFilter::try_new(&self.operating.log)?)
    }

    /// How the log is written.
    #[must_use]
    pub const fn log_format(&self) -> Format {
        self.operating.log_format
    }

    /// The choices as the service takes them. Files with secrets are read.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn config(&self) -> Result<Config, Unusable> {
        let relay = Relay { listen: self.relay_listen, advertise: self.relay_advertise.clone() };
        Ok(Config {
            listen: self.listen,
            database: self.database()?,
            allow_unsafe_database: self.allow_unsafe_database,
            closed_lobbies_kept: Duration::from_secs(self.keep_closed_lobbies_s),
            key: Key::File(self.key_file.clone()),
            relay: (!self.no_relay).then_some(relay),
            relay_secret: self.relay_secret()?,
            turn: self.turn.turn()?,
            listener: self.listener.clone(),
            identity: self.identity.clone(),
            allowed_origins: self.allow_origin.clone(),
            limits: self.limits.clone().limits(),
            operating: self.operating.operating(),
        })
    }

    /// Makes the next signing key. Returns its file, and when it will sign.
    ///
    /// # Errors
    /// [`Unusable::Key`].
    pub fn rotate_key(&self) -> Result<(PathBuf, Duration), Unusable> {
        Ok((
            crate::auth::add_key(&self.key_file).map_err(crate::auth::AuthError::from)?,
            self.identity.key_activation(),
        ))
    }

    fn database(&self) -> Result<Database, Unusable> {
        match &self.database_file {
            Some(path) => read("database-file", path)?.parse().map_err(Unusable::Database),
            None => Ok(self.database.clone()),
        }
    }

    fn relay_secret(&self) -> Result<Option<Secret>, Unusable> {
        let text = match &self.relay_secret_file {
            Some(path) => read("relay-secret-file", path)?,
            None => std::env::var(RELAY_SECRET).unwrap_or_default(),
        };
        Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(Secret::from))
    }
}

/// Reads a short text, without the end of its line.
fn read(option: &'static str, path: &std::path::Path) -> Result<String, Unusable> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| Unusable::File { option, path: path.to_owned(), source })?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests;
