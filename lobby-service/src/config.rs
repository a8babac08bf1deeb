//! What an operator chooses. Without any choice everything works on one machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::Turn;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::listener::ListenerLimits;
use crate::operating::Operating;

/// Where the API listens.
pub const HTTP_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Where the relay in this process listens: STUN's port, which firewalls often let through. It answers STUN's binding requests too.
pub const RELAY_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3478);

/// How long closed lobbies are kept: their last events explain why they are gone.
pub const CLOSED_LOBBIES_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Where lobbies are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// Nowhere: all ends with the process.
    Memory,
    /// In a file, for one service.
    Sqlite(PathBuf),
    /// In a Postgres database, for any number of instances of the service.
    Postgres(Secret),
}

impl std::str::FromStr for Database {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "memory:" => Ok(Self::Memory),
            _ if ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) => {
                Ok(Self::Postgres(text.into()))
            }
            _ => match text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")) {
                Some(path) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
                Some(_) | None => Err("a database is postgres://…, sqlite://PATH or memory:".to_owned()),
            },
        }
    }
}

/// The signing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// In a file, made at the first start.
    File(PathBuf),
    /// Made at each start: all tokens end with the process.
    Ephemeral,
}

/// The relay in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// The UDP address to bind; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// What peers are told, where that differs from the bound address: `host:port`.
    pub advertise: Option<String>,
}

/// What must not be logged (P18).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// All choices.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the API listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where lobbies are kept.
    pub database: Database,
    /// Starts on a database that may lose what it has acknowledged.
    pub allow_unsafe_database: bool,
    /// How long closed lobbies are kept.
    pub closed_lobbies_kept: Duration,
    /// The signing key.
    pub key: Key,
    /// The relay in this process, if any.
    pub relay: Option<Relay>,
    /// Origins of web pages that may use the API, beside its own: `https://game.example`, or `*`.
    pub allowed_origins: Vec<String>,
    /// What relays in other processes show to register; without it none can.
    pub relay_secret: Option<Secret>,
    /// TURN servers for WebRTC links, if there are any.
    pub turn: Option<Turn>,
    /// What whoever connects may take, and TLS.
    pub listener: ListenerLimits,
    /// Keys and tokens.
    pub identity: Identity,
    /// How much anybody may ask for.
    pub limits: Limits,
    /// What operators choose for themselves.
    pub operating: Operating,
}

impl Config {
    /// Everything in memory, on ports that the system chooses, without limits.
    #[must_use]
    pub fn ephemeral() -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: any_port,
            database: Database::Memory,
            allow_unsafe_database: false,
            closed_lobbies_kept: CLOSED_LOBBIES_KEPT,
            key: Key::Ephemeral,
            relay: Some(Relay { listen: any_port, advertise: None }),
            allowed_origins: Vec::new(),
            relay_secret: None,
            turn: None,
            // Whoever uses it comes from one address.
            listener: ListenerLimits { connections_per_address_max: 0, ..ListenerLimits::default() },
            identity: Identity::default(),
            limits: Limits::off(),
            operating: Operating::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_in_what_is_logged_of_the_choices() {
        let config = Config { relay_secret: Some("hush".into()), ..Config::ephemeral() };
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn a_database_is_chosen_by_its_scheme() {
        assert_eq!("memory:".parse(), Ok(Database::Memory));
        assert_eq!("sqlite://./a.db".parse(), Ok(Database::Sqlite("./a.db".into())));
        assert!("sqlite://".parse::<Database>().is_err());
        assert_eq!("postgres://u:hush@h/d".parse(), Ok(Database::Postgres("postgres://u:hush@h/d".into())));
        assert!(!format!("{:?}", "postgresql://u:hush@h/d".parse::<Database>()).contains("hush"), "P18");
        assert!("mysql://x".parse::<Database>().is_err());
    }
}
