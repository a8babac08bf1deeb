//! The service's REST API, as this crate uses it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::id::{ConnectionId, HostEpoch, JoinCode, LobbyId, PeerKey, PlayerId};
use protocol::lobby;
use protocol::message::LobbyView;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::client::LobbySummary;
use crate::error::Error;
use crate::identity::{Identity, IdentityStore};

/// A request that is not answered by then has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for snapshots, which may be large and the path slow.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);
/// An access token is renewed this long before it expires.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// The service, to a player who is signed in.
pub(crate) struct Service {
    http: reqwest::Client,
    url: String,
    player: PlayerId,
    identity: Arc<dyn IdentityStore>,
    access: Mutex<Access>,
    /// Held while the tokens are renewed: a refresh token is good for one use.
    refresh_token: tokio::sync::Mutex<String>,
}

#[derive(Clone)]
struct Access {
    token: Arc<str>,
    renew_at: Instant,
}

#[derive(Deserialize)]
struct SignedIn {
    player: PlayerId,
    access_token: String,
    expires_in_s: u64,
    refresh_token: String,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
}

/// What a newcomer brings, as the API names it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Seating<'a> {
    pub(crate) name: &'a str,
    pub(crate) peer_key: PeerKey,
    pub(crate) build_id: &'a str,
    pub(crate) can_host: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) direct_address: Option<String>,
}

/// Where a newcomer sits.
#[derive(Debug, Deserialize)]
pub(crate) struct Seated {
    pub(crate) lobby: LobbyView,
    pub(crate) connection: ConnectionId,
}

/// What opens the relays of a lobby.
#[derive(Deserialize)]
pub(crate) struct RelayToken {
    pub(crate) relays: Vec<Relay>,
    pub(crate) token: String,
    pub(crate) expires_in_s: u64,
}

/// A relay.
#[derive(Deserialize)]
pub(crate) struct Relay {
    pub(crate) address: String,
}

impl Service {
    /// Signs in with the stored identity, or as a new player.
    pub(crate) async fn sign_in(url: &str, name: &str, identity: Arc<dyn IdentityStore>) -> Result<Self, Error> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Error::Url);
        }
        // The event socket's TLS takes the process's provider. One that the game has installed stays.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(REQUEST_TIMEOUT)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| Error::Unreachable(error.into()))?;
        let store = identity.clone();
        let stored = off_the_runtime(move || store.load()).await?;
        let signed_in = match stored {
            Some(Identity { refresh_token, .. }) => match refresh(&http, url, &refresh_token).await {
                Err(Error::Refused { status: 401, code, .. }) => {
                    tracing::warn!(code, "the stored identity is not known any more: signing in as a new player");
                    register(&http, url, name).await?
                }
                other => other?,
            },
            None => register(&http, url, name).await?,
        };
        save(&identity, &signed_in).await?;
        Ok(Self {
            http,
            url: url.to_owned(),
            player: signed_in.player,
            identity,
            access: Mutex::new(Access::new(&signed_in)),
            refresh_token: tokio::sync::Mutex::new(signed_in.refresh_token),
        })
    }

    pub(crate) const fn player(&self) -> PlayerId {
        self.player
    }

    pub(crate) async fn lobbies(&self) -> Result<Vec<LobbySummary>, Error> {
        #[derive(Deserialize)]
        struct Page {
            lobbies: Vec<LobbySummary>,
        }
        let page: Page = json(self.send(Method::GET, "/v1/lobbies", |request| request).await?).await?;
        Ok(page.lobbies)
    }

    pub(crate) async fn create(
        &self,
        lobby_name: &str,
        settings: &lobby::Settings,
        seating: &Seating<'_>,
    ) -> Result<Seated, Error> {
        #[derive(Serialize)]
        struct Create<'a> {
            lobby_name: &'a str,
            settings: &'a lobby::Settings,
            #[serde(flatten)]
            seating: &'a Seating<'a>,
        }
        self.post("/v1/lobbies", &Create { lobby_name, settings, seating }).await
    }

    pub(crate) async fn join_code(&self, join_code: JoinCode, seating: &Seating<'_>) -> Result<Seated, Error> {
        #[derive(Serialize)]
        struct Join<'a> {
            join_code: JoinCode,
            #[serde(flatten)]
            seating: &'a Seating<'a>,
        }
        self.post("/v1/lobbies/join", &Join { join_code, seating }).await
    }

    pub(crate) async fn join_lobby(&self, id: LobbyId, seating: &Seating<'_>) -> Result<Seated, Error> {
        self.post(&format!("/v1/lobbies/{id}/join"), seating).await
    }

    pub(crate) async fn lobby(&self, id: LobbyId) -> Result<LobbyView, Error> {
        json(self.send(Method::GET, &format!("/v1/lobbies/{id}"), |request| request).await?).await
    }

    /// Whether this player still has this seat.
    pub(crate) async fn has_seat(&self, id: LobbyId, seat: ConnectionId) -> Result<bool, Error> {
        let response = self.send(Method::GET, &format!("/v1/lobbies/{id}"), |request| request).await;
        match response {
            Ok(response) => Ok(json::<Shown>(response).await?.has(seat)),
            // Without a code it is not the service that answers.
            Err(Error::Refused { status: 403 | 404, code, .. }) if !code.is_empty() => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn leave(&self, id: LobbyId) -> Result<(), Error> {
        self.send(Method::POST, &format!("/v1/lobbies/{id}/leave"), |request| request).await.map(drop)
    }

    pub(crate) async fn ready(&self, id: LobbyId, epoch: HostEpoch) -> Result<(), Error> {
        let body = EpochBody { epoch };
        self.send(Method::POST, &format!("/v1/lobbies/{id}/ready"), |request| request.json(&body)).await.map(drop)
    }

    pub(crate) async fn relay_token(&self, id: LobbyId) -> Result<RelayToken, Error> {
        json(self.send(Method::POST, &format!("/v1/lobbies/{id}/relay-token"), |request| request).await?).await
    }

    pub(crate) async fn host_grant(&self, id: LobbyId, epoch: HostEpoch) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Granted {
            grant: String,
        }
        let granted: Granted = self.post(&format!("/v1/lobbies/{id}/host-grant"), &EpochBody { epoch }).await?;
        Ok(granted.grant)
    }

    pub(crate) async fn put_snapshot(&self, id: LobbyId, record: Bytes) -> Result<(), Error> {
        let put = |request: RequestBuilder| {
            request
                .header(reqwest::header::CONTENT_TYPE, "application/octet-stream")
                .timeout(SNAPSHOT_TIMEOUT)
                .body(record.clone())
        };
        self.send(Method::PUT, &format!("/v1/lobbies/{id}/snapshot"), put).await.map(drop)
    }

    /// The newest snapshot; `None`: nothing was ever stored.
    pub(crate) async fn snapshot(&self, id: LobbyId) -> Result<Option<Bytes>, Error> {
        let path = format!("/v1/lobbies/{id}/snapshot");
        match self.send(Method::GET, &path, |request| request.timeout(SNAPSHOT_TIMEOUT)).await {
            Ok(response) => response.bytes().await.map(Some).map_err(unreachable),
            Err(Error::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The address of a lobby's event socket, and the access token that opens it.
    pub(crate) async fn events(&self, id: LobbyId) -> Result<(String, Arc<str>), Error> {
        let access = self.access().await?;
        // "http" becomes "ws", "https" becomes "wss".
        Ok((format!("ws{}/v1/lobbies/{id}/events", self.url.trim_start_matches("http")), access))
    }

    /// Gets another access token in the place of one that was refused or is about to expire.
    pub(crate) async fn renew(&self, refused: &str) -> Result<(), Error> {
        let mut refresh_token = self.refresh_token.lock().await;
        if *self.current().token != *refused {
            return Ok(());
        }
        let signed_in = refresh(&self.http, &self.url, &refresh_token).await?;
        save(&self.identity, &signed_in).await?;
        *self.access.lock().unwrap_or_else(PoisonError::into_inner) = Access::new(&signed_in);
        *refresh_token = signed_in.refresh_token;
        Ok(())
    }

    async fn access(&self) -> Result<Arc<str>, Error> {
        let access = self.current();
        if access.renew_at > Instant::now() {
            return Ok(access.token);
        }
        self.renew(&access.token).await?;
        Ok(self.current().token)
    }

    fn current(&self) -> Access {
        self.access.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        json(self.send(Method::POST, path, |request| request.json(body)).await?).await
    }

    /// Sends a request, once more with another token if the first is refused.
    async fn send(
        &self,
        method: Method,
        path: &str,
        finish: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Error> {
        let access = self.access().await?;
        let request = |token: &str| {
            let request = self.http.request(method.clone(), format!("{}{path}", self.url)).bearer_auth(token);
            finish(request).send()
        };
        let response = request(&access).await.map_err(unreachable)?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return accepted(response).await;
        }
        self.renew(&access).await?;
        let token = self.current().token;
        accepted(request(&token).await.map_err(unreachable)?).await
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("player", &self.player).finish_non_exhaustive()
    }
}

impl Access {
    fn new(signed_in: &SignedIn) -> Self {
        let life = Duration::from_secs(signed_in.expires_in_s);
        Self {
            token: signed_in.access_token.as_str().into(),
            renew_at: Instant::now() + life.saturating_sub(RENEW_BEFORE).max(life / 2),
        }
    }
}

/// A lobby, as a player may see it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Shown {
    ToMembers(Box<LobbyView>),
    ToOthers(#[expect(dead_code, reason = "only its shape tells")] LobbySummary),
}

impl Shown {
    fn has(&self, seat: ConnectionId) -> bool {
        match self {
            Self::ToMembers(lobby) => !lobby.closed && lobby.member(seat).is_some(),
            Self::ToOthers(_) => false,
        }
    }
}

#[derive(Serialize)]
struct EpochBody {
    epoch: HostEpoch,
}

async fn register(http: &reqwest::Client, url: &str, name: &str) -> Result<SignedIn, Error> {
    let body = serde_json::json!({ "name": name });
    let response = http.post(format!("{url}/v1/players")).json(&body).send().await.map_err(unreachable)?;
    json(accepted(response).await?).await
}

async fn refresh(http: &reqwest::Client, url: &str, refresh_token: &str) -> Result<SignedIn, Error> {
    let body = serde_json::json!({ "refresh_token": refresh_token });
    let response = http.post(format!("{url}/v1/players/refresh")).json(&body).send().await.map_err(unreachable)?;
    json(accepted(response).await?).await
}

/// Saves the identity before anything is done with it.
async fn save(store: &Arc<dyn IdentityStore>, signed_in: &SignedIn) -> Result<(), Error> {
    let identity = Identity { player: signed_in.player, refresh_token: signed_in.refresh_token.clone() };
    let store = store.clone();
    off_the_runtime(move || store.save(&identity)).await
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Identity(error.into()))?.map_err(Error::Identity)
}

async fn accepted(response: Response) -> Result<Response, Error> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let problem = response.bytes().await.ok().and_then(|bytes| serde_json::from_slice::<Problem>(&bytes).ok());
    let Problem { code, detail } = problem.unwrap_or(Problem { code: String::new(), detail: String::new() });
    Err(Error::Refused { status: status.as_u16(), code, detail })
}

async fn json<T: DeserializeOwned>(response: Response) -> Result<T, Error> {
    let bytes = response.bytes().await.map_err(unreachable)?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Answer(error.to_string()))
}

fn unreachable(error: reqwest::Error) -> Error {
    // Without its URL, which names the lobby; the cause stays.
    Error::Unreachable(error.without_url().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::{HOST, lobby};

    #[test]
    fn a_player_has_the_seats_of_a_lobby_that_is_shown_to_it_whole_until_it_is_closed() {
        let has_seat =
            |json: &serde_json::Value, seat| serde_json::from_value::<Shown>(json.clone()).unwrap().has(seat);
        let mut whole = serde_json::to_value(lobby()).unwrap();
        assert!(has_seat(&whole, HOST));
        assert!(!has_seat(&whole, ConnectionId(9)));
        whole["closed"] = true.into();
        assert!(!has_seat(&whole, HOST));
        let short = serde_json::json!({
            "id": lobby().id, "name": "arena", "build_id": "1", "members": 2, "max_members": 8
        });
        assert!(!has_seat(&short, HOST));
        assert!(serde_json::from_str::<Shown>("{}").is_err(), "of another's answer nothing follows");
    }
}
