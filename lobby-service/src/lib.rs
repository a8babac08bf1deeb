//! The lobby service: a shell around [`protocol::lobby::Lobby`].
//!
//! ```text
//! http, socket, sweeper, presence ─▶ service ─▶ protocol (decides) + store (keeps)
//! ```
//!
//! [`start`] runs the whole service on the calling runtime; `main.rs` is its process.

pub mod admin;
pub mod arguments;
pub mod auth;
pub mod clock;
pub mod config;
pub mod error;
mod events;
mod heads;
pub mod http;
pub mod identity;
mod instances;
pub mod limits;
pub mod listener;
pub mod logging;
pub mod metrics;
mod migrations;
mod news;
pub mod operating;
mod presence;
pub mod probe;
mod relays;
pub mod service;
mod signalling;
mod socket;
pub mod store;
mod sweeper;
mod writer;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use auth::{AdminToken, Auth, AuthError, KeyError};
use config::{Config, Database};
use listener::{ListenerLimits, Tls, TlsError};
use migrations::Exporter;
use operating::Collector;
use service::Service;
use store::memory::MemoryStore;
use store::postgres::{Options, PostgresStore};
use store::sqlite::SqliteStore;
use store::{Store, StoreError};

/// Time that requests and sockets have to end once the service stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a task that has panicked is begun again.
const TASK_PAUSE: Duration = Duration::from_secs(1);

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its keys, or the issuers whose tokens it takes.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The admin token.
    #[error("the admin token cannot be used")]
    AdminToken(#[source] KeyError),
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
    /// Its TLS certificate.
    #[error("TLS cannot be used")]
    Tls(#[from] TlsError),
    /// Its relay.
    #[error("the relay cannot be started on {address}")]
    Relay {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The client that sends traces.
    #[error("traces cannot be sent")]
    Traces(#[source] reqwest::Error),
}

/// A running service.
#[derive(Debug)]
pub struct Running {
    /// Where the API listens.
    pub http: SocketAddr,
    /// Where the relay in this process listens, if there is one.
    pub relay: Option<SocketAddr>,
    /// Where the admin API listens, if it does.
    pub admin: Option<SocketAddr>,
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
    begin(config, None).await
}

/// As [`start`], on a store that is open already, whatever the configuration says of one.
///
/// # Errors
/// [`StartError`].
pub async fn start_on(config: Config, store: Arc<dyn Store>) -> Result<Running, StartError> {
    begin(config, Some(store)).await
}

async fn begin(config: Config, store: Option<Arc<dyn Store>>) -> Result<Running, StartError> {
    let auth = Auth::new(&config.key, &config.identity)?.with_turn(config.turn.clone());
    let tls = Tls::open(&config.listener)?;
    let store = match store {
        Some(store) => store,
        None => open(&config).await?,
    };
    let listening = |source| StartError::Listen { address: config.listen, source };
    let operators = match config.operating.admin_listen {
        Some(address) => Some(open_admin(address, &config.identity.admin_token_file).await?),
        None => None,
    };
    let socket = TcpListener::bind(config.listen).await.map_err(listening)?;
    let http = socket.local_addr().map_err(listening)?;
    let service = Service::new(store, auth, config.limits);
    instances::begin(&service).await?;
    let mut tasks = JoinSet::new();
    let relay_running = match &config.relay {
        Some(choice) => Some(start_relay(&service, choice, &mut tasks).await?),
        None => None,
    };
    let closed_kept = config.closed_lobbies_kept;
    tasks.spawn(again_and_again("sweeper", &service, move |service| sweeper::sweep(service, closed_kept)));
    tasks.spawn(again_and_again("presence", &service, presence::watch));
    tasks.spawn(again_and_again("lease", &service, instances::keep));
    tasks.spawn(again_and_again("news out", &service, news::tell));
    tasks.spawn(again_and_again("keys", &service, auth::keep_keys));
    tasks.spawn(again_and_again("news in", &service, news::hear));
    if let Some(tls) = &tls {
        tasks.spawn(listener::tls::renew(Arc::clone(tls)));
    }
    if let Some(Collector(collector)) = config.operating.traces {
        let (exporter, exports) = Exporter::new(collector).map_err(StartError::Traces)?;
        service.migrations.export_to(exporter);
        tasks.spawn(exports.run(Arc::clone(&service)));
    }
    let admin = operators.map(|(listener, address, token)| {
        tasks.spawn(admin::serve(listener, Arc::clone(&service), token, config.listener.clone()));
        address
    });
    let (stop, stopped) = oneshot::channel();
    let router = http::router(&service, config.relay_secret, config.allowed_origins);
    let server = tokio::spawn(serve(socket, router, config.listener, tls, Arc::clone(&service), stopped));
    let relay = relay_running.as_ref().map(|relay| relay.address);
    Ok(Running { http, relay, admin, service, stop, server, relay_running, tasks })
}

/// Runs what never ends. If a bug ends it all the same, it is run again: without it the service would look well and not be.
fn again_and_again<T: Future<Output = ()> + Send + 'static>(
    name: &'static str,
    service: &Arc<Service>,
    task: impl Fn(Arc<Service>) -> T + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    let service = Arc::clone(service);
    async move {
        loop {
            let ended = AssertUnwindSafe(task(Arc::clone(&service))).catch_unwind().await;
            tracing::error!(name, has_panicked = ended.is_err(), "a task has ended and is begun again");
            tokio::time::sleep(TASK_PAUSE).await;
        }
    }
}

/// Opens the store, whose tables are brought up to date by it.
async fn open(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match &config.database {
        Database::Memory => Arc::new(MemoryStore::default()),
        Database::Sqlite(path) => Arc::new(SqliteStore::open(path).await?),
        Database::Postgres(url) => {
            let options = Options { allow_unsafe: config.allow_unsafe_database };
            Arc::new(PostgresStore::open(url.reveal(), options).await?)
        }
    })
}

/// Brings the tables of a database up to date.
///
/// # Errors
/// [`StoreError`].
pub async fn migrate(config: &Config) -> Result<(), StoreError> {
    open(config).await?.close().await;
    Ok(())
}

async fn open_admin(address: SocketAddr, token: &Path) -> Result<(TcpListener, SocketAddr, AdminToken), StartError> {
    let token = AdminToken::open(token).map_err(StartError::AdminToken)?;
    let listening = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listening)?;
    let bound = listener.local_addr().map_err(listening)?;
    Ok((listener, bound, token))
}

async fn start_relay(
    service: &Arc<Service>,
    choice: &config::Relay,
    tasks: &mut JoinSet<()>,
) -> Result<relay::Running, StartError> {
    let verifier = service.auth.relay_verifier();
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
    socket: TcpListener,
    router: Router,
    limits: ListenerLimits,
    tls: Option<Arc<Tls>>,
    service: Arc<Service>,
    stopped: oneshot::Receiver<()>,
) {
    let stop = async move {
        // An error means that the handle was dropped: the end as well.
        let _ = stopped.await;
        service.stop();
    };
    listener::serve(socket, router, limits, tls, stop).await;
}

impl Running {
    /// The service itself.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Closes all sockets, lets requests end, and stops. Members stay connected in their lobbies: another instance, or the next
    /// start, gives them a term to come back.
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
        // Others need not wait until the lease has run out. If the store is away, they do.
        if let Err(error) = service.store.retire(service.leases.instance()).await {
            tracing::warn!(%error, "the instance's lease runs on");
        }
        service.store.close().await;
    }
}
