//! The lobby service: a shell around [`protocol::lobby::Lobby`].
//!
//! ```text
//! http, socket, sweeper, presence ─▶ service ─▶ protocol (decides) + store (keeps)
//! ```
//!
//! [`start`] runs the whole service on the calling runtime; `main.rs` is its process.

pub mod auth;
pub mod clock;
pub mod config;
pub mod error;
mod events;
pub mod http;
mod presence;
mod relays;
pub mod service;
mod socket;
pub mod store;
mod sweeper;

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use auth::{Auth, KeyError};
use config::{Config, Database, Key};
use service::Service;
use store::memory::MemoryStore;
use store::sqlite::SqliteStore;
use store::{Store, StoreError};

/// Time that requests and sockets have to end once the service stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its store.
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    /// Its API's address.
    #[error("{address} cannot be listened on")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its relay.
    #[error("the relay cannot be started on {address}")]
    Relay {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its own keys, as the relay sees them.
    #[error("the relay does not take the service's keys")]
    RelayKeys(#[from] relay::VerifierError),
}

/// A running service.
#[derive(Debug)]
pub struct Running {
    /// Where the API listens.
    pub http: SocketAddr,
    /// Where the relay in this process listens, if there is one.
    pub relay: Option<SocketAddr>,
    service: Arc<Service>,
    /// Dropping it, or sending, ends the server.
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
    relay_running: Option<relay::Running>,
    tasks: JoinSet<()>,
}

/// Opens the store and the key, binds the sockets, and runs the service on the calling tokio runtime.
///
/// # Errors
/// [`StartError`].
pub async fn start(config: Config) -> Result<Running, StartError> {
    auth::install_provider();
    let auth = match &config.key {
        Key::File(path) => Auth::open(path)?,
        Key::Ephemeral => Auth::ephemeral()?,
    };
    let store: Arc<dyn Store> = match &config.database {
        Database::Memory => Arc::new(MemoryStore::default()),
        Database::Sqlite(path) => Arc::new(SqliteStore::open(path).await?),
    };
    let listening = |source| StartError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listening)?;
    let http = listener.local_addr().map_err(listening)?;
    let service = Service::new(store, auth);
    service.give_leases().await?;
    let mut tasks = JoinSet::new();
    let relay_running = match &config.relay {
        Some(choice) => Some(start_relay(&service, choice, &mut tasks).await?),
        None => None,
    };
    tasks.spawn(sweeper::sweep(Arc::clone(&service)));
    tasks.spawn(presence::watch(Arc::clone(&service)));
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(serve(listener, Arc::clone(&service), config.relay_secret, stopped));
    let relay = relay_running.as_ref().map(|relay| relay.address);
    Ok(Running { http, relay, service, stop, server, relay_running, tasks })
}

async fn start_relay(
    service: &Arc<Service>,
    choice: &config::Relay,
    tasks: &mut JoinSet<()>,
) -> Result<relay::Running, StartError> {
    let verifier = relay::Verifier::from_jwks(&service.auth.jwks(), service.auth.issuer())?;
    let config = relay::Config { listen: choice.listen, ..relay::Config::default() };
    let mut running =
        relay::start(config, verifier).await.map_err(|source| StartError::Relay { address: choice.listen, source })?;
    if choice.advertise.is_none() && running.address.ip().is_unspecified() {
        tracing::warn!("peers are told an address of the relay that leads nowhere: choose the one to advertise");
    }
    let address = choice.advertise.clone().unwrap_or_else(|| running.address.to_string());
    service.relays.add_local(address, running.orders());
    if let Some(mut sounds) = running.take_sounds() {
        let service = Arc::clone(service);
        tasks.spawn(async move {
            while let Some(sound) = sounds.recv().await {
                service.told_by_relay(sound);
            }
        });
    }
    Ok(running)
}

async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    relay_secret: Option<config::Secret>,
    stopped: oneshot::Receiver<()>,
) {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a socket keeps its delay");
        }
    });
    let router = http::router(Arc::clone(&service), relay_secret);
    let stop = async move {
        // An error means that the handle was dropped: the end as well.
        let _ = stopped.await;
        service.stop();
    };
    let served = axum::serve(listener, router).with_graceful_shutdown(stop).into_future();
    if let Err(error) = served.await {
        tracing::error!(%error, "the server has ended");
    }
}

impl Running {
    /// The service itself.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Closes all sockets, lets requests end, and stops. Members stay connected in their lobbies: the next start gives them a
    /// term to come back.
    pub async fn stop(self) {
        let Self { service, stop, mut server, relay_running, mut tasks, .. } = self;
        // An error means that the server has ended already.
        let _ = stop.send(());
        if tokio::time::timeout(STOP_TIMEOUT, &mut server).await.is_err() {
            server.abort();
        }
        let sockets = async {
            while !service.rooms.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(STOP_TIMEOUT, sockets).await.is_err() {
            tracing::warn!("some sockets did not end in time");
        }
        if let Some(relay) = relay_running {
            relay.stop().await;
        }
        tasks.shutdown().await;
        service.store.close().await;
    }
}
