//! What every request passes before its handler. What is cheap comes first: the number of requests, the address, the token's
//! signature, the player.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use protocol::error::{ErrorCode, Rejection};
use protocol::id::PlayerId;
use tokio::time::Instant;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{Object, OpenApi, Ref, RefOr};

use super::actor::{Actor, Caller, bearer, identify};
use crate::auth::api_key::is_api_key;
use crate::error::Problem;
use crate::limits::{Class, Refused, Subject, Tightest};
use crate::service::{Error, Joined, Service};

/// The address that a request comes from, also if proxies stand between.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientAddress(IpAddr);

/// Admits a request, or answers it at once; tells the caller where it stands.
pub(super) async fn limit(
    State(service): State<Arc<Service>>,
    route: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let arrived = Instant::now();
    let class = route.and_then(|route| Class::of(request.method(), route.as_str()));
    let Some(_slot) = service.limiter.enter(class) else {
        service.metrics.refused("load");
        return Problem::new(ErrorCode::Unavailable, "too many requests at once; try again").into_response();
    };
    let (mut parts, body) = request.into_parts();
    let address = service.limiter.client_address(&parts);
    parts.extensions.insert(ClientAddress(address));
    let mut tightest = Tightest::default();
    let admitted = admit(&service, &mut parts, class, address, &mut tightest).await;
    request = Request::from_parts(parts, body);
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(refused) => Problem::from(refused).into_response(),
    };
    if let Some(refused) = response.extensions_mut().remove::<Refused>() {
        service.metrics.refused(refused.class().name());
        tightest.note_refused(refused);
    }
    service.limiter.write(&tightest, response.headers_mut());
    if response.status() == StatusCode::CREATED && matches!(class, Some(Class::Create | Class::CreateOrJoin)) {
        service.limiter.charge(Class::CreateAddress, Subject::address(address));
    }
    // A wrong reconnect secret is answered as if there were no lobby.
    let is_secret = class == Some(Class::Reconnect) && response.status() == StatusCode::UNAUTHORIZED;
    if is_secret || class.is_some() && response.status() == StatusCode::NOT_FOUND {
        conceal(arrived, service.limiter.limits().not_found_grid).await;
    }
    response
}

async fn admit(
    service: &Service,
    parts: &mut Parts,
    class: Option<Class>,
    address: IpAddr,
    tightest: &mut Tightest,
) -> Result<(), Refused> {
    let (limiter, address) = (&service.limiter, Subject::address(address));
    let Some(class) = class else { return limiter.take(Class::Address, address, tightest) };
    if class == Class::Health {
        return limiter.take(class, address, tightest);
    }
    // A game server does not pay by its address, unless its key is none.
    let is_server = bearer(parts).is_some_and(is_api_key);
    if is_server {
        limiter.check(class.of_address(), address, &mut Tightest::default())?;
    } else {
        limiter.take(class.of_address(), address, tightest)?;
    }
    if matches!(class, Class::SignIn | Class::Refresh) {
        return limiter.take(class, address, tightest);
    }
    match identify(parts, service).await {
        Ok(Actor::Player(player)) => {
            if matches!(class, Class::Create | Class::CreateOrJoin) {
                limiter.check(Class::CreateAddress, address, tightest)?;
            }
            limiter.take(class, Subject::Player(player), tightest)
        }
        Ok(Actor::Server(key)) => limiter.take(class, Subject::ApiKey(key.id), tightest),
        // The handler refuses.
        Err(_) => {
            if is_server {
                limiter.charge(class.of_address(), address);
            }
            Ok(())
        }
    }
}

/// Waits until the next step of the grid since a request came: whether there is nothing, or something that the caller may not know
/// of, and whether that was in memory or in the database, takes the same time.
async fn conceal(arrived: Instant, grid: Duration) {
    if let Some(told_after) = told_after(arrived.elapsed(), grid) {
        tokio::time::sleep_until(arrived + told_after).await;
    }
}

/// When to tell what is known after this time; `None`: at once.
fn told_after(known_after: Duration, grid: Duration) -> Option<Duration> {
    let steps = known_after.as_nanos().checked_div(grid.as_nanos())?;
    Some(grid.saturating_mul(u32::try_from(steps + 1).unwrap_or(u32::MAX)))
}

/// A player who may still guess at join codes. That is known before anything of the body is read: a flood of guesses costs little.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guesser(pub(super) PlayerId, pub(super) ClientAddress);

impl FromRequestParts<Arc<Service>> for Guesser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Problem> {
        let Caller(player) = Caller::from_request_parts(parts, service).await?;
        let address = parts.extensions.get().copied();
        let ClientAddress(address) = address.unwrap_or_else(|| ClientAddress(service.limiter.client_address(parts)));
        service.limiter.failures().check(address, player)?;
        Ok(Self(player, ClientAddress(address)))
    }
}

/// Joins with something that can be guessed: a join code, a password. Who has guessed wrong too often is refused before.
pub(super) async fn guess(
    service: &Service,
    ClientAddress(address): ClientAddress,
    player: PlayerId,
    joining: impl Future<Output = Result<Joined, Error>>,
) -> Result<Joined, Problem> {
    let failures = service.limiter.failures();
    failures.check(address, player)?;
    let joined = joining.await;
    if let Err(Error::NotFound | Error::Rejected(Rejection::Unknown | Rejection::WrongPassword)) = joined {
        failures.record(address, player);
    }
    Ok(joined?)
}

/// Says of each operation which headers its answer 429 has.
pub(super) fn document(description: &mut OpenApi) {
    let headers = [
        ("RateLimit-Limit", Type::Integer, "How many of these the caller can have at once."),
        ("RateLimit-Remaining", Type::Integer, "How many are left."),
        ("RateLimit-Reset", Type::Integer, "Seconds until all are there again."),
        (
            "RateLimit-Policy",
            Type::String,
            "How many in how many seconds (`w`), at once (`burst`), and of what (`name`).",
        ),
        ("Retry-After", Type::Integer, "Seconds to wait."),
    ];
    let headers = headers.map(|(name, kind, text)| {
        let header = HeaderBuilder::new().schema(Some(Object::with_type(kind))).description(Some(text)).build();
        (name.to_owned(), header.into())
    });
    let mut limited = None;
    for path in description.paths.paths.values_mut() {
        let operations = [&mut path.get, &mut path.put, &mut path.post, &mut path.patch, &mut path.delete];
        for operation in operations.into_iter().flatten() {
            if let Some(response) = operation.responses.responses.get_mut("429") {
                limited = Some(std::mem::replace(response, Ref::from_response_name("RateLimited").into()));
            }
        }
    }
    if let Some(RefOr::T(mut response)) = limited {
        response.headers = headers.into();
        let components = description.components.get_or_insert_default();
        components.responses.insert("RateLimited".to_owned(), response.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_told_at_the_next_step() {
        let told = |known_ms, grid_ms| told_after(Duration::from_millis(known_ms), Duration::from_millis(grid_ms));
        for (known_ms, told_ms) in [(0, 20), (1, 20), (19, 20), (20, 40), (39, 40), (95, 100)] {
            assert_eq!(told(known_ms, 20), Some(Duration::from_millis(told_ms)));
        }
        assert_eq!(told(7, 0), None);
    }
}
