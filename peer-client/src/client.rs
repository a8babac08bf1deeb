//! A player who is signed in.

use std::sync::Arc;

use protocol::id::{JoinCode, LobbyId, PlayerId};
use protocol::lobby;
use serde::Deserialize;

use crate::builder::{ClientBuilder, Settings};
use crate::error::Error;
use crate::identity::IdentityStore;
use crate::service::Service;
use crate::session::Session;
use crate::simulated::NetworkControl;

/// A player who is signed in. Clones share the sign-in.
#[derive(Debug, Clone)]
pub struct Client {
    settings: Arc<Settings>,
    service: Arc<Service>,
}

/// What a new lobby is like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LobbyOptions {
    /// Its name, which everybody sees: 1 to [`protocol::limits::NAME_CHARS_MAX`] characters.
    pub name: String,
    /// Delays, seats and visibility.
    pub settings: lobby::Settings,
}

/// A lobby in the list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LobbySummary {
    /// Its id.
    pub id: LobbyId,
    /// Its name.
    pub name: String,
    /// The build that its members play.
    pub build_id: String,
    /// Seats that are taken.
    pub members: u32,
    /// Seats.
    pub max_members: u32,
}

impl Client {
    /// Starts to set up a client of the service at this URL, as `http://127.0.0.1:8080`.
    pub fn builder(service_url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(&service_url.into())
    }

    pub(crate) async fn sign_in(
        settings: Settings,
        identity: Arc<dyn IdentityStore>,
        external_token: Option<&str>,
    ) -> Result<Self, Error> {
        let (url, name) = (&settings.service_url, &settings.player_name);
        let network = settings.simulated_network.map(NetworkControl::new);
        let service = Service::sign_in(url, name, identity, external_token, network).await?;
        Ok(Self { settings: Arc::new(settings), service: Arc::new(service) })
    }

    /// The player.
    #[must_use]
    pub fn player(&self) -> PlayerId {
        self.service.player()
    }

    /// Creates a lobby and runs its game. The game is asked for its state at once.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Refused`], [`Error::Answer`], [`Error::Socket`], [`Error::Identity`], [`Error::Certificate`].
    pub async fn host(&self, options: LobbyOptions) -> Result<Session, Error> {
        crate::start::host(self.settings.clone(), self.service.clone(), options).await
    }

    /// Joins the lobby with this code, the way people type it.
    ///
    /// # Errors
    /// [`Error::JoinCode`], and those of [`Client::host`].
    pub async fn join_code(&self, code: &str) -> Result<Session, Error> {
        let code: JoinCode = code.parse()?;
        crate::start::join_code(self.settings.clone(), self.service.clone(), code).await
    }

    /// Joins a lobby of the list.
    ///
    /// # Errors
    /// Those of [`Client::host`].
    pub async fn join_lobby(&self, id: LobbyId) -> Result<Session, Error> {
        crate::start::join_lobby(self.settings.clone(), self.service.clone(), id).await
    }

    /// The public lobbies; at most [`protocol::limits::LIST_PAGE_MAX`].
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Refused`], [`Error::Answer`].
    pub async fn lobbies(&self) -> Result<Vec<LobbySummary>, Error> {
        self.service.lobbies().await
    }
}
