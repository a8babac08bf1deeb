//! How a client is set up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::limits;

use crate::client::Client;
use crate::error::Error;
use crate::identity::{Forgetful, IdentityFile, IdentityStore};
use crate::seal::StateKey;
use crate::simulated::SimulatedNetwork;
use crate::strategy::Strategy;

/// How peers reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Path {
    /// Through the relay that the service names at once, and from then on straight from machine to machine (WebRTC) wherever a way is
    /// found; back to the relay when that ends. Peers in browsers are reached in this way alone.
    #[default]
    Auto,
    /// Through the relay that the service names and not otherwise, but for peers in browsers. Works behind any address translator that
    /// lets UDP out.
    Relay,
    /// WebRTC alone, as peers in browsers: for lobbies without a relay. Behind some address translators it takes a TURN server.
    WebRtc,
    /// Straight, where the other side publishes an address; else through the relay.
    Direct {
        /// Where this peer listens and what it publishes. Port 0 takes a free one; an unspecified address is published as the one
        /// by which the service is reached.
        listen: SocketAddr,
    },
}

/// Sets up a [`Client`]. Only the service's URL is needed.
#[derive(Clone)]
pub struct ClientBuilder {
    pub(crate) settings: Settings,
    identity: Arc<dyn IdentityStore>,
    external_token: Option<String>,
}

/// What a client was set up with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) service_url: String,
    pub(crate) player_name: String,
    pub(crate) build_id: String,
    pub(crate) can_host: bool,
    pub(crate) snapshot_interval: Duration,
    pub(crate) strategy: Strategy,
    pub(crate) path: Path,
    pub(crate) relay_address: Option<SocketAddr>,
    pub(crate) return_payload: Vec<u8>,
    pub(crate) state_key: Option<StateKey>,
    pub(crate) simulated_network: Option<SimulatedNetwork>,
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl ClientBuilder {
    pub(crate) fn new(service_url: &str) -> Self {
        Self {
            settings: Settings {
                service_url: service_url.trim_end_matches('/').to_owned(),
                player_name: String::new(),
                build_id: String::new(),
                can_host: true,
                snapshot_interval: limits::SNAPSHOT_INTERVAL,
                strategy: Strategy::default(),
                path: Path::Auto,
                relay_address: None,
                return_payload: Vec::new(),
                state_key: None,
                simulated_network: None,
            },
            identity: Arc::new(Forgetful),
            external_token: None,
        }
    }

    /// The name that others see. Empty by default.
    #[must_use]
    pub fn player_name(mut self, name: impl Into<String>) -> Self {
        self.settings.player_name = name.into();
        self
    }

    /// The game's build. Only equal builds play together, and a snapshot is restored only by the build that saved it.
    #[must_use]
    pub fn build_id(mut self, build_id: impl Into<String>) -> Self {
        self.settings.build_id = build_id.into();
        self
    }

    /// Whether this peer may be elected. True by default.
    #[must_use]
    pub fn can_host(mut self, can_host: bool) -> Self {
        self.settings.can_host = can_host;
        self
    }

    /// Where the player's identity is kept. Without one the player is new each time.
    #[must_use]
    pub fn identity(mut self, store: impl IdentityStore + 'static) -> Self {
        self.identity = Arc::new(store);
        self
    }

    /// Keeps the player's identity in a file.
    #[must_use]
    pub fn identity_file(self, path: impl Into<PathBuf>) -> Self {
        self.identity(IdentityFile::new(path))
    }

    /// Signs in with a token of an issuer that the service is configured to believe (a store, a console, the studio's accounts).
    /// It says who the player is, whoever the stored identity is.
    #[must_use]
    pub fn external_token(mut self, token: impl Into<String>) -> Self {
        self.external_token = Some(token.into());
        self
    }

    /// How often a host stores its state: [`limits::SNAPSHOT_INTERVAL`] by default, brought into
    /// [`limits::SNAPSHOT_INTERVAL_MIN`] to [`limits::SNAPSHOT_INTERVAL_MAX`].
    #[must_use]
    pub fn snapshot_interval(mut self, interval: Duration) -> Self {
        self.settings.snapshot_interval = interval.clamp(limits::SNAPSHOT_INTERVAL_MIN, limits::SNAPSHOT_INTERVAL_MAX);
        self
    }

    /// How a host keeps its state safe. [`Strategy::Automatic`] by default.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.settings.strategy = strategy;
        self
    }

    /// How peers reach each other. [`Path::Auto`] by default.
    #[must_use]
    pub fn path(mut self, path: Path) -> Self {
        self.settings.path = path;
        self
    }

    /// Reaches the relay by this address instead of the announced one: behind a port mapping, or through a test's proxy.
    #[must_use]
    pub fn relay_address(mut self, address: SocketAddr) -> Self {
        self.settings.relay_address = Some(address);
        self
    }

    /// What a host's game is told when this peer arrives, [`crate::AcceptPlayer::extra`]. At most
    /// [`limits::EXTRA_BYTES_MAX`] bytes; what is longer is cut.
    #[must_use]
    pub fn return_payload(mut self, mut payload: Vec<u8>) -> Self {
        payload.truncate(limits::EXTRA_BYTES_MAX);
        self.settings.return_payload = payload;
        self
    }

    /// Seals what hosts store with this key, the same for all players of the game: the service cannot read it. Without one it is
    /// stored as it is.
    #[must_use]
    pub fn state_key(mut self, key: StateKey) -> Self {
        self.settings.state_key = Some(key);
        self
    }

    /// Makes this peer's network bad, to try migrations at one's desk. Without it, which is the default, the network is what it is.
    #[must_use]
    pub fn simulated_network(mut self, network: SimulatedNetwork) -> Self {
        self.settings.simulated_network = Some(network);
        self
    }

    /// Signs in with the stored identity, or as a new player, whose identity is then stored.
    ///
    /// # Errors
    /// [`Error::Url`], [`Error::Identity`], [`Error::Unreachable`], [`Error::Refused`], [`Error::Answer`],
    /// [`Error::Certificate`].
    pub async fn sign_in(self) -> Result<Client, Error> {
        Client::sign_in(self.settings, self.identity, self.external_token.as_deref()).await
    }
}
