//! The client for games without an async runtime: it brings its own, on threads of its own.

use std::sync::Arc;

use protocol::id::{LobbyId, PlayerId};
use tokio::runtime::Runtime;

use crate::builder::ClientBuilder;
use crate::client::{LobbyOptions, LobbySummary};
use crate::error::Error;
use crate::session::Session;

/// Threads of the runtime: one session needs far less than one.
const WORKER_THREADS: usize = 2;

/// A player who is signed in. The calls wait; the sessions that they return are polled. Not for use inside an async runtime.
#[derive(Debug, Clone)]
pub struct Client {
    client: crate::Client,
    runtime: Arc<OwnedRuntime>,
}

/// Signs in, see [`ClientBuilder::sign_in`].
///
/// # Errors
/// Those of [`ClientBuilder::sign_in`], and [`Error::Socket`] if the runtime cannot be started.
pub fn sign_in(builder: ClientBuilder) -> Result<Client, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .thread_name("understudy")
        .enable_all()
        .build()
        .map_err(Error::Socket)?;
    let client = runtime.block_on(builder.sign_in())?;
    Ok(Client { client, runtime: Arc::new(OwnedRuntime(Some(runtime))) })
}

impl Client {
    /// The player.
    #[must_use]
    pub fn player(&self) -> PlayerId {
        self.client.player()
    }

    /// See [`crate::Client::host`].
    ///
    /// # Errors
    /// Those of [`crate::Client::host`].
    pub fn host(&self, options: LobbyOptions) -> Result<Session, Error> {
        self.session(self.client.host(options))
    }

    /// See [`crate::Client::join_code`].
    ///
    /// # Errors
    /// Those of [`crate::Client::join_code`].
    pub fn join_code(&self, code: &str) -> Result<Session, Error> {
        self.session(self.client.join_code(code))
    }

    /// See [`crate::Client::join_lobby`].
    ///
    /// # Errors
    /// Those of [`crate::Client::join_lobby`].
    pub fn join_lobby(&self, id: LobbyId) -> Result<Session, Error> {
        self.session(self.client.join_lobby(id))
    }

    /// See [`crate::Client::lobbies`].
    ///
    /// # Errors
    /// Those of [`crate::Client::lobbies`].
    pub fn lobbies(&self) -> Result<Vec<LobbySummary>, Error> {
        self.runtime.block_on(self.client.lobbies())
    }

    fn session(&self, session: impl Future<Output = Result<Session, Error>>) -> Result<Session, Error> {
        Ok(self.runtime.block_on(session)?.with_runtime(self.runtime.clone()))
    }
}

/// A runtime that may be dropped anywhere: it does not wait for its threads.
#[derive(Debug)]
pub(crate) struct OwnedRuntime(Option<Runtime>);

impl OwnedRuntime {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.as_ref().expect("the runtime is taken only when this is dropped").block_on(future)
    }
}

impl Drop for OwnedRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
