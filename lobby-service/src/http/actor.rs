//! Who sends a request: a player with its access token, or a game server with its key.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::{header, request::Parts};
use protocol::error::ErrorCode;
use protocol::id::PlayerId;

use crate::auth::Refused;
use crate::auth::api_key::{ApiKey, Scope, is_api_key};
use crate::clock::wall;
use crate::error::Problem;
use crate::service::{Asker, Error, Service};

/// Who sends a request.
#[derive(Debug, Clone)]
pub(crate) enum Actor {
    /// A player.
    Player(PlayerId),
    /// A game server.
    Server(Arc<ApiKey>),
}

impl Actor {
    /// For an operation that players and game servers may do: what a player may, its seat says; a server needs this scope.
    pub(crate) fn asker(&self, scope: Scope) -> Result<Asker, Problem> {
        match self {
            Self::Player(player) => Ok(Asker::Player(*player)),
            Self::Server(_) => self.server_with(scope).map(|_key| Asker::Server),
        }
    }

    /// The key of a game server that may do this.
    pub(crate) fn server_with(&self, scope: Scope) -> Result<&ApiKey, Problem> {
        let forbidden = |detail: String| Err(Problem::new(ErrorCode::Forbidden, detail));
        match self {
            Self::Server(key) if key.scopes.contains(&scope) => Ok(key),
            Self::Server(_) => forbidden(format!("the key has not the scope {}", scope.as_str())),
            Self::Player(_) => forbidden("this is for game servers with a key".to_owned()),
        }
    }
}

/// The player whose access token the request carries; a key of a game server is refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller(pub(crate) PlayerId);

/// What was found out about a request, so that it is found out once.
#[derive(Clone)]
struct Identified(Result<Actor, Problem>);

/// Finds out who sends a request.
pub(crate) async fn identify(parts: &mut Parts, service: &Service) -> Result<Actor, Problem> {
    if let Some(Identified(known)) = parts.extensions.get() {
        return known.clone();
    }
    let found = find_out(parts, service).await;
    parts.extensions.insert(Identified(found.clone()));
    found
}

async fn find_out(parts: &Parts, service: &Service) -> Result<Actor, Problem> {
    let refused = || Problem::new(ErrorCode::Unauthenticated, Refused.to_string());
    let token = bearer(parts).ok_or_else(refused)?;
    if is_api_key(token) {
        return match service.open_with(token).await {
            Ok(key) => Ok(Actor::Server(Arc::new(key))),
            Err(Error::Unauthenticated) => Err(refused()),
            Err(error) => Err(error.into()),
        };
    }
    service.auth.verify_access(token, wall()).map(Actor::Player).map_err(|Refused| refused())
}

impl FromRequestParts<Arc<Service>> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Problem> {
        identify(parts, service).await
    }
}

impl FromRequestParts<Arc<Service>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Problem> {
        match identify(parts, service).await? {
            Actor::Player(player) => Ok(Self(player)),
            Actor::Server(_) => Err(Problem::new(ErrorCode::Forbidden, "this is for players, not for game servers")),
        }
    }
}

/// The token of the `Authorization` header (RFC 6750 section 2.1). Two headers are one too many: others may read the other one. A
/// browser cannot send that header with a WebSocket: it offers a subprotocol instead.
pub(crate) fn bearer(parts: &Parts) -> Option<&str> {
    let mut headers = parts.headers.get_all(header::AUTHORIZATION).iter();
    if !parts.headers.contains_key(header::AUTHORIZATION) {
        return offered_token(parts);
    }
    let value = headers.next().filter(|_| headers.next().is_none())?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_start_matches(' '))
}

/// What stands before the token in the name of the subprotocol that carries it.
const OFFERED: &str = "bearer.";

fn offered_token(parts: &Parts) -> Option<&str> {
    let mut offers = parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let offers = offers.next().filter(|_| offers.next().is_none())?.to_str().ok()?;
    offers.split(',').find_map(|offer| offer.trim().strip_prefix(OFFERED))
}
