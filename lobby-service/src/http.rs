//! The API: one endpoint a file, and the router that documents itself.

mod actor;
mod arena;
mod bans;
mod bulk;
mod close_lobby;
mod conditions;
mod create_lobby;
mod create_or_join;
mod election;
mod events;
mod exact;
mod examples;
mod external;
pub(crate) mod extract;
mod fetch_snapshot;
mod hand_over;
pub(crate) mod health;
mod heartbeat;
mod host_grant;
mod ice_servers;
mod idempotency;
mod join_by_code;
mod join_lobby;
mod json;
mod keys;
mod kick;
mod leave;
mod limited;
mod links;
pub(crate) mod measure;
mod member;
mod memberships;
mod origin;
mod parameters;
mod patch_snapshot;
mod put_snapshot;
mod query_lobbies;
mod quick_join;
mod ready;
mod reconnect;
mod refresh;
mod refusals;
mod relay_control;
mod relay_token;
mod rotate_code;
mod show_lobby;
mod sign_in;
mod ticket;
mod transfer;
mod update_lobby;
mod update_member;

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::{from_fn_with_state, map_response};
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
use origin::Origins;

/// Everything that is not an endpoint.
#[derive(OpenApi)]
#[openapi(
    info(title = "Understudy lobby service", description = "Lobbies that outlive their hosts."),
    components(schemas(ServerMessage, ClientMessage, Problem)),
    modifiers(&Tokens),
    tags(
        (name = "players", description = "Signing in."),
        (name = "lobbies", description = "Making, finding, joining and leaving lobbies."),
        (name = "members", description = "Changing, sending away and banning members."),
        (name = "hosting", description = "What hosts write and members read when the host changes."),
        (name = "relays", description = "Tokens that relays verify offline, and servers for WebRTC links."),
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
        let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A server's API key.")).build();
        components.add_security_scheme("api_key", SecurityScheme::Http(key));
    }
}

fn documented() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::with_openapi(Base::openapi())
        .routes(routes!(sign_in::sign_in))
        .routes(routes!(external::external))
        .routes(routes!(refresh::refresh))
        .routes(routes!(memberships::memberships))
        .routes(routes!(create_lobby::create_lobby))
        .routes(routes!(query_lobbies::query_lobbies))
        .routes(routes!(quick_join::quick_join))
        .routes(routes!(join_by_code::join_by_code))
        .routes(routes!(show_lobby::show_lobby, update_lobby::update_lobby, close_lobby::close_lobby))
        .routes(routes!(create_or_join::create_or_join))
        .routes(routes!(join_lobby::join_lobby))
        .routes(routes!(reconnect::reconnect))
        .routes(routes!(rotate_code::rotate_code))
        .routes(routes!(bulk::bulk))
        .routes(routes!(update_member::update_member, kick::kick))
        .routes(routes!(bans::list_bans, bans::ban))
        .routes(routes!(bans::unban))
        .routes(routes!(transfer::transfer))
        .routes(routes!(hand_over::hand_over))
        .routes(routes!(leave::leave))
        .routes(routes!(heartbeat::heartbeat))
        .routes(routes!(ready::ready))
        .routes(routes!(put_snapshot::put_snapshot, patch_snapshot::patch_snapshot, fetch_snapshot::fetch_snapshot))
        .routes(routes!(election::election))
        .routes(routes!(relay_token::relay_token))
        .routes(routes!(host_grant::host_grant))
        .routes(routes!(ice_servers::ice_servers))
        .routes(routes!(events::events))
        .routes(routes!(ticket::ticket))
        .routes(routes!(keys::keys))
        .routes(routes!(health::health))
        .routes(routes!(health::readiness))
}

/// The API's description (OpenAPI 3.1), with the messages of the event socket among its components.
#[must_use]
pub fn description() -> Description {
    let mut description = documented().into_openapi();
    refusals::document(&mut description);
    limited::document(&mut description);
    links::document(&mut description);
    examples::document(&mut description);
    description
}

/// The whole API. `relay_secret` admits relays of other processes; `origins` are those of web pages that may use it, beside its own.
pub(crate) fn router(service: &Arc<Service>, relay_secret: Option<Secret>, origins: Vec<String>) -> Router {
    let (router, _) = documented().split_for_parts();
    let router = match relay_secret {
        Some(secret) => router.merge(relay_control::router(secret)),
        None => router,
    };
    let router = with_pages(router.merge(arena::router()), description())
        .layer(from_fn_with_state(Arc::clone(service), limited::limit))
        .layer(from_fn_with_state(Origins::new(origins), origin::check));
    guarded(router, service)
}

/// Adds the documentation, and an answer for what is not there.
pub(crate) fn with_pages(router: Router<Arc<Service>>, description: Description) -> Router<Arc<Service>> {
    // Otherwise the page shows the description to a checker on the internet.
    let page = utoipa_swagger_ui::Config::default().validator_url("none");
    router
        .merge(
            Router::from(SwaggerUi::new("/docs").config(page).url("/openapi.json", description))
                .layer(map_response(no_such_page)),
        )
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES_MAX))
}

/// Every request is answered, whatever happens in it, and measured.
pub(crate) fn guarded(router: Router<Arc<Service>>, service: &Arc<Service>) -> Router {
    router
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(Arc::clone(service), measure::measure))
        .with_state(Arc::clone(service))
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
