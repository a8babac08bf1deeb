//! The service's REST API, as this crate uses it.

mod state;

pub(crate) use state::Newest;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::id::{ConnectionId, HostEpoch, JoinCode, LobbyId, PeerKey, PlayerId};
use protocol::limits;
use protocol::lobby;
use protocol::message::LobbyView;
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::client::LobbySummary;
use crate::error::Error;
use crate::identity::{Identity, IdentityStore, SavedSeat};
use crate::retry::in_time;
use crate::simulated::{self, NetworkControl};
use crate::transport::webrtc::IceServer;

/// A request that is not answered by then has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for snapshots, which may be large and the path slow.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);
/// An access token is renewed this long before it expires.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// The service, to a player who is signed in.
pub(crate) struct Service {
    http: Http,
    url: String,
    player: PlayerId,
    identity: Arc<dyn IdentityStore>,
    access: Mutex<Access>,
    /// What is saved. Held while tokens are renewed and seats are taken: a refresh token and a seat's secret are good for one use.
    kept: tokio::sync::Mutex<Identity>,
    /// Of the lobby that asked last, until then.
    ice_servers: tokio::sync::Mutex<Option<(LobbyId, Instant, Vec<IceServer>)>>,
}

#[derive(Clone)]
struct Access {
    token: Arc<str>,
    renew_at: Instant,
}

#[derive(Deserialize)]
struct IceServers {
    ice_servers: Vec<IceServer>,
    expires_in_s: u64,
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
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) browser: bool,
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
    /// Signs in with the token of another issuer, if there is one; else with the stored identity, or as a new player.
    pub(crate) async fn sign_in(
        url: &str,
        name: &str,
        identity: Arc<dyn IdentityStore>,
        external_token: Option<&str>,
        network: Option<NetworkControl>,
    ) -> Result<Self, Error> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Error::Url);
        }
        // The event socket's TLS takes the process's provider. One that the game has installed stays.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = Http::new(network)?;
        let store = identity.clone();
        let stored = off_the_runtime(move || store.load()).await?;
        let signed_in = match (external_token, &stored) {
            (Some(token), _) => exchange(&http, url, token, name).await?,
            (None, Some(stored)) => return_or_register(&http, url, name, &stored.refresh_token).await?,
            (None, None) => register(&http, url, name).await?,
        };
        let (player, refresh_token) = (signed_in.player, signed_in.refresh_token.clone());
        // Another player has no use for the rest.
        let known = stored.filter(|stored| stored.player == player);
        let (seats, asked_with) = known.map(|known| (known.seats, known.asked_with)).unwrap_or_default();
        let kept = Identity { player, refresh_token, seats, asked_with };
        save(&identity, &kept).await?;
        Ok(Self {
            http,
            url: url.to_owned(),
            player: signed_in.player,
            identity,
            access: Mutex::new(Access::new(&signed_in)),
            kept: tokio::sync::Mutex::new(kept),
            ice_servers: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) const fn player(&self) -> PlayerId {
        self.player
    }

    /// The simulated network, if it is not the real one.
    pub(crate) const fn network(&self) -> Option<&NetworkControl> {
        self.http.network.as_ref()
    }

    pub(crate) async fn lobbies(&self) -> Result<Vec<LobbySummary>, Error> {
        #[derive(Deserialize)]
        struct Page {
            lobbies: Vec<LobbySummary>,
        }
        let page: Page = self.post("/v1/lobbies/query", &serde_json::json!({ "count": limits::LIST_PAGE_MAX })).await?;
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
        }
        self.take_seat(&mut *self.kept.lock().await, "/v1/lobbies", &Create { lobby_name, settings }, seating).await
    }

    pub(crate) async fn join_code(&self, join_code: JoinCode, seating: &Seating<'_>) -> Result<Seated, Error> {
        #[derive(Serialize)]
        struct Join {
            join_code: JoinCode,
        }
        let is_wanted = |seat: &SavedSeat| seat.join_code == join_code;
        self.join("/v1/lobbies/join", &Join { join_code }, is_wanted, seating).await
    }

    pub(crate) async fn join_lobby(&self, id: LobbyId, seating: &Seating<'_>) -> Result<Seated, Error> {
        #[derive(Serialize)]
        struct Join {}
        self.join(&format!("/v1/lobbies/{id}/join"), &Join {}, |seat| seat.lobby == id, seating).await
    }

    /// Takes the player's seat again if it has one from another process, else a new one.
    async fn join(
        &self,
        path: &str,
        what: &impl Serialize,
        is_wanted: impl Fn(&SavedSeat) -> bool,
        seating: &Seating<'_>,
    ) -> Result<Seated, Error> {
        let mut kept = self.kept.lock().await;
        if let Some(seat) = kept.seats.iter().rev().find(|seat| is_wanted(seat)).cloned()
            && let Some(seated) = self.reconnect(&mut kept, seat, seating).await?
        {
            return Ok(seated);
        }
        let lost = kept.asked_with.clone();
        match self.take_seat(&mut kept, path, what, seating).await {
            Err(Error::Refused { code, .. }) if code == "seat_taken" => self.find_lost(&mut kept, lost, seating).await,
            seated => seated,
        }
    }

    /// Asks for a seat, with a secret that is saved before.
    async fn take_seat(
        &self,
        kept: &mut Identity,
        path: &str,
        what: &impl Serialize,
        seating: &Seating<'_>,
    ) -> Result<Seated, Error> {
        #[derive(Serialize)]
        struct Asked<'a, T> {
            #[serde(flatten)]
            what: &'a T,
            #[serde(flatten)]
            seating: &'a Seating<'a>,
            reconnect_secret: &'a str,
        }
        let before = kept.asked_with.replace(draw_secret());
        save(&self.identity, kept).await?;
        let reconnect_secret = kept.asked_with.clone().unwrap_or_default();
        let asked = Asked { what, seating, reconnect_secret: &reconnect_secret };
        match self.post_as(kept, path, &asked).await {
            Ok(seated) => self.keep(kept, seated, reconnect_secret).await,
            Err(error) => {
                // What was refused has left nothing behind; a process before this one may have.
                if matches!(error, Error::Refused { .. }) {
                    kept.asked_with = before;
                }
                Err(error)
            }
        }
    }

    /// A process before this one has asked for a seat, and died before it knew that it had it.
    async fn find_lost(
        &self,
        kept: &mut Identity,
        secret: Option<String>,
        seating: &Seating<'_>,
    ) -> Result<Seated, Error> {
        #[derive(Deserialize)]
        struct Memberships {
            joined: Vec<LobbyId>,
        }
        let taken = || Error::Refused {
            status: 409,
            code: "seat_taken".into(),
            detail: "another process of this player has its seat, and its secret is not here".into(),
        };
        let reconnect_secret = secret.ok_or_else(taken)?;
        let request =
            || self.http.client.get(format!("{}/v1/players/me/lobbies", self.url)).bearer_auth(self.current().token);
        let Memberships { joined } = json(self.http.answer(request).await?).await?;
        let known: Vec<_> = kept.seats.iter().map(|seat| seat.lobby).collect();
        for lobby in joined.into_iter().filter(|lobby| !known.contains(lobby)) {
            let join_code = JoinCode::from_entropy(0);
            let seat = SavedSeat { lobby, join_code, reconnect_secret: reconnect_secret.clone(), next_secret: None };
            if let Some(seated) = self.reconnect(kept, seat, seating).await? {
                return Ok(seated);
            }
        }
        Err(taken())
    }

    /// Takes a seat again, with a next secret that is saved before; `None` if there is none any more.
    async fn reconnect(
        &self,
        kept: &mut Identity,
        seat: SavedSeat,
        seating: &Seating<'_>,
    ) -> Result<Option<Seated>, Error> {
        #[derive(Serialize)]
        struct Reconnect<'a> {
            reconnect_secret: &'a str,
            next_secret: &'a str,
            peer_key: PeerKey,
            #[serde(skip_serializing_if = "Option::is_none")]
            direct_address: Option<&'a str>,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            browser: bool,
        }
        // If a process before this one has asked already, the same two are the same request.
        let next_secret = seat.next_secret.clone().unwrap_or_else(draw_secret);
        kept.keep(SavedSeat { next_secret: Some(next_secret.clone()), ..seat.clone() });
        save(&self.identity, kept).await?;
        let body = Reconnect {
            reconnect_secret: &seat.reconnect_secret,
            next_secret: &next_secret,
            peer_key: seating.peer_key,
            direct_address: seating.direct_address.as_deref(),
            browser: seating.browser,
        };
        match self.post_as(kept, &format!("/v1/lobbies/{}/reconnect", seat.lobby), &body).await {
            Ok(seated) => self.keep(kept, seated, next_secret).await.map(Some),
            Err(Error::Refused { code, .. }) if code == "wrong_secret" || code == "lobby_closed" => {
                kept.forget(seat.lobby);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Saves what takes a seat again.
    async fn keep(&self, kept: &mut Identity, seated: Seated, reconnect_secret: String) -> Result<Seated, Error> {
        let (lobby, join_code) = (seated.lobby.id, seated.lobby.join_code);
        kept.keep(SavedSeat { lobby, join_code, reconnect_secret, next_secret: None });
        kept.asked_with = None;
        save(&self.identity, kept).await?;
        Ok(seated)
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

    /// Whether the service runs on this machine: then other players may do so too.
    pub(crate) async fn is_on_this_machine(&self) -> bool {
        let url = self.url.clone();
        let resolved = tokio::task::spawn_blocking(move || crate::start::resolve(&url)).await;
        resolved.is_ok_and(|address| address.is_ok_and(|address| address.ip().is_loopback()))
    }

    /// Servers that help peers to reach each other. Without an answer there are none: peers in one network need none.
    pub(crate) async fn ice_servers(&self, id: LobbyId) -> Vec<IceServer> {
        let mut known = self.ice_servers.lock().await;
        if let Some((of, until, servers)) = &*known
            && *of == id
            && *until > Instant::now()
        {
            return servers.clone();
        }
        match self.ask_ice_servers(id).await {
            Ok(IceServers { ice_servers, expires_in_s }) => {
                let until = Instant::now() + Duration::from_secs(expires_in_s) / 2;
                *known = Some((id, until, ice_servers.clone()));
                ice_servers
            }
            Err(error) => {
                tracing::debug!(%error, "the lobby names no servers for ICE");
                Vec::new()
            }
        }
    }

    async fn ask_ice_servers(&self, id: LobbyId) -> Result<IceServers, Error> {
        json(self.send(Method::POST, &format!("/v1/lobbies/{id}/ice-servers"), |request| request).await?).await
    }

    pub(crate) async fn host_grant(&self, id: LobbyId, epoch: HostEpoch) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Granted {
            grant: String,
        }
        let granted: Granted = self.post(&format!("/v1/lobbies/{id}/host-grant"), &EpochBody { epoch }).await?;
        Ok(granted.grant)
    }

    /// The address of a lobby's event socket, and the access token that opens it.
    pub(crate) async fn events(&self, id: LobbyId) -> Result<(String, Arc<str>), Error> {
        let access = self.access().await?;
        // "http" becomes "ws", "https" becomes "wss".
        Ok((format!("ws{}/v1/lobbies/{id}/events", self.url.trim_start_matches("http")), access))
    }

    /// Gets another access token in the place of one that was refused or is about to expire.
    pub(crate) async fn renew(&self, refused: &str) -> Result<(), Error> {
        self.renew_as(&mut *self.kept.lock().await, refused).await
    }

    async fn renew_as(&self, kept: &mut Identity, refused: &str) -> Result<(), Error> {
        if *self.current().token != *refused {
            return Ok(());
        }
        let signed_in = refresh(&self.http, &self.url, &kept.refresh_token).await?;
        kept.refresh_token.clone_from(&signed_in.refresh_token);
        save(&self.identity, kept).await?;
        *self.access.lock().unwrap_or_else(PoisonError::into_inner) = Access::new(&signed_in);
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

    /// Sends a request, once more with another token if the first is refused, and later if it is too early.
    async fn send(
        &self,
        method: Method,
        path: &str,
        finish: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Error> {
        let access = self.access().await?;
        let request = |token: &str| {
            finish(self.http.client.request(method.clone(), format!("{}{path}", self.url)).bearer_auth(token))
        };
        match self.http.answer(|| request(&access)).await {
            Err(error) if is_of_token(&error) => self.renew(&access).await?,
            answer => return answer,
        }
        let token = self.current().token;
        self.http.answer(|| request(&token)).await
    }

    /// As [`Self::post`], for who holds what is kept.
    async fn post_as<T: DeserializeOwned>(
        &self,
        kept: &mut Identity,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let request = |token: &str| self.http.client.post(format!("{}{path}", self.url)).bearer_auth(token).json(body);
        let access = self.current();
        if access.renew_at <= Instant::now() {
            self.renew_as(kept, &access.token).await?;
        }
        let token = self.current().token;
        match self.http.answer(|| request(&token)).await {
            Err(error) if is_of_token(&error) => self.renew_as(kept, &token).await?,
            answer => return json(answer?).await,
        }
        let token = self.current().token;
        json(self.http.answer(|| request(&token)).await?).await
    }
}

/// The way to the service.
struct Http {
    client: reqwest::Client,
    network: Option<NetworkControl>,
}

impl Http {
    fn new(network: Option<NetworkControl>) -> Result<Self, Error> {
        let client = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(REQUEST_TIMEOUT)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| Error::Unreachable(error.into()))?;
        Ok(Self { client, network })
    }

    /// Sends a request, later if it is too early, and takes what is no refusal.
    async fn answer(&self, request: impl Fn() -> RequestBuilder) -> Result<Response, Error> {
        accepted(in_time(|| self.send(request())).await?).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        match &self.network {
            None => request.send().await.map_err(unreachable),
            Some(network) => simulated::exchange(network, REQUEST_TIMEOUT, request).await.map_err(Error::Unreachable),
        }
    }
}

/// 256 random bits in hexadecimal.
fn draw_secret() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("a system that runs this gives random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Another token may be accepted.
fn is_of_token(error: &Error) -> bool {
    matches!(error, Error::Refused { status: 401, code, .. } if code == "unauthenticated")
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

async fn return_or_register(http: &Http, url: &str, name: &str, refresh_token: &str) -> Result<SignedIn, Error> {
    match refresh(http, url, refresh_token).await {
        Err(Error::Refused { status: 401, code, .. }) => {
            tracing::warn!(code, "the stored identity is not known any more: signing in as a new player");
            register(http, url, name).await
        }
        other => other,
    }
}

async fn exchange(http: &Http, url: &str, token: &str, name: &str) -> Result<SignedIn, Error> {
    let body = serde_json::json!({ "token": token, "name": name });
    post(http, &format!("{url}/v1/players/external"), &body).await
}

async fn register(http: &Http, url: &str, name: &str) -> Result<SignedIn, Error> {
    let body = serde_json::json!({ "name": name });
    post(http, &format!("{url}/v1/players"), &body).await
}

async fn refresh(http: &Http, url: &str, refresh_token: &str) -> Result<SignedIn, Error> {
    let body = serde_json::json!({ "refresh_token": refresh_token });
    post(http, &format!("{url}/v1/players/refresh"), &body).await
}

async fn post(http: &Http, url: &str, body: &serde_json::Value) -> Result<SignedIn, Error> {
    json(http.answer(|| http.client.post(url).json(body)).await?).await
}

/// Saves the identity before anything is done with it.
async fn save(store: &Arc<dyn IdentityStore>, identity: &Identity) -> Result<(), Error> {
    let (store, identity) = (store.clone(), identity.clone());
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
