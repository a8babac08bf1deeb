//! The API: one endpoint a file, and the router that documents itself.

mod create_lobby;
mod election;
mod events;
mod extract;
mod fetch_snapshot;
mod health;
mod heartbeat;
mod host_grant;
mod join_by_code;
mod join_lobby;
mod keys;
mod leave;
mod list_lobbies;
mod put_snapshot;
mod ready;
mod refresh;
mod relay_control;
mod relay_token;
mod show_lobby;
mod sign_in;

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use protocol::error::ErrorCode;
use protocol::limits;
use protocol::message::{ClientMessage, ServerMessage};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi as Description;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::config::Secret;
use crate::error::Problem;
use crate::service::Service;

/// Everything that is not an endpoint.
#[derive(OpenApi)]
#[openapi(
    info(title = "Understudy lobby service", description = "Lobbies that outlive their hosts."),
    components(schemas(ServerMessage, ClientMessage, Problem)),
    modifiers(&Tokens),
    tags(
        (name = "players", description = "Signing in."),
        (name = "lobbies", description = "Making, finding, joining and leaving lobbies."),
        (name = "hosting", description = "What hosts write and members read when the host changes."),
        (name = "relays", description = "Tokens that relays verify offline."),
        (name = "service", description = "For operators and relays.")
    )
)]
struct Base;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, description: &mut Description) {
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("access_token", SecurityScheme::Http(token));
    }
}

fn documented() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::with_openapi(Base::openapi())
        .routes(routes!(sign_in::sign_in))
        .routes(routes!(refresh::refresh))
        .routes(routes!(create_lobby::create_lobby, list_lobbies::list_lobbies))
        .routes(routes!(join_by_code::join_by_code))
        .routes(routes!(show_lobby::show_lobby))
        .routes(routes!(join_lobby::join_lobby))
        .routes(routes!(leave::leave))
        .routes(routes!(heartbeat::heartbeat))
        .routes(routes!(ready::ready))
        .routes(routes!(put_snapshot::put_snapshot, fetch_snapshot::fetch_snapshot))
        .routes(routes!(election::election))
        .routes(routes!(relay_token::relay_token))
        .routes(routes!(host_grant::host_grant))
        .routes(routes!(events::events))
        .routes(routes!(keys::keys))
        .routes(routes!(health::health))
}

/// The API's description (OpenAPI 3.1), with the messages of the event socket among its components.
#[must_use]
pub fn description() -> Description {
    documented().into_openapi()
}

/// The whole API. `relay_secret` admits relays of other processes.
pub(crate) fn router(service: Arc<Service>, relay_secret: Option<Secret>) -> Router {
    let (router, description) = documented().split_for_parts();
    let router = match relay_secret {
        Some(secret) => router.merge(relay_control::router(secret)),
        None => router,
    };
    router
        .merge(
            Router::from(SwaggerUi::new("/docs").url("/openapi.json", description)).layer(map_response(no_such_page)),
        )
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES_MAX))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(service)
}

/// The pages answer an unknown path with a bare status.
async fn no_such_page(response: Response) -> Response {
    if response.status() == StatusCode::NOT_FOUND { nothing_here().await.into_response() } else { response }
}

async fn nothing_here() -> Problem {
    Problem::new(ErrorCode::NotFound, "there is nothing at this path")
}

async fn other_method() -> Problem {
    Problem::new(ErrorCode::MethodNotAllowed, "this path does not take this method")
}

#[expect(clippy::needless_pass_by_value, reason = "the layer hands over the panic")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(message, "a handler panicked");
    Problem::new(ErrorCode::Internal, "the service failed").into_response()
}
