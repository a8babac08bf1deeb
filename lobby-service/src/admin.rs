//! The admin API: for operators, on a listener of its own. Everything under `/admin` needs the admin token; the probes and the metrics
//! need none, so that the listener is to be reached by operators alone.

mod api_keys;
mod bans;
mod close_lobby;
mod drain;
mod extract;
mod force_election;
mod hand_over;
mod instances;
mod kick;
mod list_lobbies;
mod list_members;
mod metrics;
mod relays;
mod show_lobby;

use std::sync::Arc;

use axum::{Extension, Router};
use tokio::net::TcpListener;
use utoipa::openapi::OpenApi as Description;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::AdminToken;
use crate::error::Problem;
use crate::http::{self, health};
use crate::listener::{self, ListenerLimits};
use crate::service::Service;

/// Everything that is not an operation.
#[derive(OpenApi)]
#[openapi(
    info(title = "Understudy admin", description = "For operators of the lobby service."),
    components(schemas(Problem)),
    modifiers(&Token),
    tags(
        (name = "lobbies", description = "All lobbies, whosever they are."),
        (name = "keys", description = "Keys of the game's servers."),
        (name = "instances", description = "The processes of the service, and their relays."),
        (name = "service", description = "For probes and for Prometheus.")
    )
)]
struct Base;

struct Token;

impl Modify for Token {
    fn modify(&self, description: &mut Description) {
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("admin_token", SecurityScheme::Http(token));
    }
}

fn documented() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::with_openapi(Base::openapi())
        .routes(routes!(list_lobbies::list_lobbies))
        .routes(routes!(show_lobby::show_lobby, close_lobby::close_lobby))
        .routes(routes!(list_members::list_members))
        .routes(routes!(kick::kick))
        .routes(routes!(bans::list_bans, bans::ban))
        .routes(routes!(bans::unban))
        .routes(routes!(force_election::force_election))
        .routes(routes!(hand_over::plan_hand_over))
        .routes(routes!(api_keys::create_api_key, api_keys::list_api_keys))
        .routes(routes!(api_keys::revoke_api_key))
        .routes(routes!(instances::instances))
        .routes(routes!(relays::relays))
        .routes(routes!(drain::begin_drain, drain::show_drain, drain::end_drain))
        .routes(routes!(metrics::metrics))
        .routes(routes!(health::health))
        .routes(routes!(health::readiness))
}

/// The admin API's description (OpenAPI 3.1).
#[must_use]
pub fn description() -> Description {
    documented().into_openapi()
}

fn router(service: &Arc<Service>, token: AdminToken) -> Router {
    let (router, description) = documented().split_for_parts();
    http::guarded(http::with_pages(router, description), service).layer(Extension(Arc::new(token)))
}

/// Serves until it is dropped. It is plain HTTP: only the operator's own network reaches it.
pub(crate) async fn serve(socket: TcpListener, service: Arc<Service>, token: AdminToken, limits: ListenerLimits) {
    listener::serve(socket, router(&service, token), limits, None, std::future::pending()).await;
}
