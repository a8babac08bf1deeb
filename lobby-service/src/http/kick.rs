//! `DELETE /v1/lobbies/{id}/members/{connection}`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use protocol::id::HostEpoch;
use serde::Deserialize;

use super::conditions::IfMatch;
use super::extract::{Actor, MemberPath, Parameters, Scope};
use super::parameters;
use crate::error::Problem;
use crate::service::Service;

/// At which epoch a host asks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AtEpoch {
    pub(super) epoch: Option<HostEpoch>,
}

/// Take a member's seat.
///
/// For the host and for servers of the game; a member that names its own seat leaves. The member may join again: ban it if it must not.
#[utoipa::path(
    delete, path = "/v1/lobbies/{id}/members/{connection}", tag = "members",
    security(("access_token" = []), ("api_key" = [])),
    params(parameters::OfMember, parameters::AtEpoch, parameters::IfMatch),
    responses((status = 204, description = "It has no seat any more; its socket and its relay session are closed."))
)]
pub(super) async fn kick(
    State(service): State<Arc<Service>>,
    actor: Actor,
    MemberPath(id, connection): MemberPath,
    Parameters(AtEpoch { epoch }): Parameters<AtEpoch>,
    IfMatch(version): IfMatch,
) -> Result<StatusCode, Problem> {
    service.kick(actor.asker(Scope::MembersWrite)?, id, connection, epoch, version).await?;
    Ok(StatusCode::NO_CONTENT)
}
