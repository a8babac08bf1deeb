//! Parameters that many operations have, described once.
#![expect(dead_code, reason = "they are described here; the extractors read them")]

use protocol::id::{ConnectionId, HostEpoch, LobbyId, PlayerId};
use utoipa::IntoParams;

/// A lobby that the path names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OfLobby {
    /// The lobby.
    id: LobbyId,
}

/// A member that the path names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OfMember {
    /// The lobby.
    id: LobbyId,
    /// The member's connection id.
    connection: ConnectionId,
}

/// A ban that the path names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OfBan {
    /// The lobby.
    id: LobbyId,
    /// The player.
    player: PlayerId,
}

/// On which epoch a host's request rests.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AtEpoch {
    /// The epoch at which the caller hosts. Needed from a host, not from a server.
    #[param(required = false)]
    epoch: HostEpoch,
}

/// A write that rests on a version.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct IfMatch {
    /// The `ETag` of the lobby as the caller knows it, as `"42"`; or `*` for whichever.
    #[param(rename = "If-Match", required = false)]
    if_match: String,
}

/// A read of what has changed.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct IfNoneMatch {
    /// The `ETag`s of what the caller has.
    #[param(rename = "If-None-Match", required = false)]
    if_none_match: String,
}

/// A read of what is newer.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct NewerThan {
    /// The newest generation that the caller has: its epoch and its number with a point between them, as `3.17`.
    #[param(required = false, pattern = r"^[0-9]{1,19}\.[0-9]{1,19}$")]
    newer_than: String,
}

/// A request that is one request however often it is sent.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct IdempotencyKey {
    /// 1 to 64 visible ASCII characters.
    #[param(rename = "Idempotency-Key", required = false, pattern = "^[!-~]{1,64}$")]
    idempotency_key: String,
}

/// What opens an event socket instead of a token.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WithTicket {
    /// Instead of a token: from `POST /v1/lobbies/{id}/ticket`.
    #[param(required = false)]
    ticket: String,
}
