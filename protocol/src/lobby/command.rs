//! What can be asked of a lobby, and by whom.

use serde::{Deserialize, Serialize};

use crate::id::{ConnectionId, EventSeq, HostEpoch, InstanceId, JoinCode, PeerKey, PlayerId, SecretHash};
use crate::time::Timestamp;

use super::data::DataPatch;
use super::member::Newcomer;
use super::settings::{PasswordHash, SettingsPatch};

/// Who asks for what a host may do, or a server of the game.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The host, at the epoch that it believes in.
    Host {
        /// Its seat.
        connection: ConnectionId,
        /// The epoch that its wish rests on.
        epoch: HostEpoch,
    },
    /// A server of the game with its key, or an operator.
    Server,
}

/// What becomes of a lobby. What is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LobbyPatch {
    /// 1 to 128 characters.
    pub name: Option<String>,
    /// Its settings.
    pub settings: SettingsPatch,
    /// Its password: another one, or none.
    pub password: Option<Option<PasswordHash>>,
    /// Its data.
    pub data: DataPatch,
}

/// What becomes of a member. What is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberPatch {
    /// At most 128 characters.
    pub name: Option<String>,
    /// Whether it consents to being host.
    pub can_host: Option<bool>,
    /// Its data.
    pub data: DataPatch,
}

/// What a server of the game changes at once: all of it, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bulk {
    /// The lobby itself.
    pub lobby: LobbyPatch,
    /// Members, by whose they are.
    pub members: Vec<(PlayerId, MemberPatch)>,
    /// Players who get a seat that they take by joining. Nobody can refuse them but a ban or a full lobby.
    pub add: Vec<Reservation>,
    /// Players who lose their seats.
    pub remove: Vec<PlayerId>,
    /// Players who are not there are no reason to refuse the rest.
    pub ignores_absent: bool,
}

/// A seat for a player who has not come yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Who.
    pub player: PlayerId,
    /// Shown to the others.
    pub name: String,
    /// What is known of it.
    pub data: DataPatch,
}

/// A player who may not take a seat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Ban {
    /// Since when.
    pub since: Timestamp,
    /// Until when; without it for the lobby's life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why, for those who manage the lobby: at most 128 characters.
    #[serde(default)]
    pub reason: String,
}

/// A process that takes the seat of its player again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// Whose seat it is.
    pub player: PlayerId,
    /// The hash of the secret that it shows.
    pub presented: SecretHash,
    /// The hash of the secret that it gets.
    pub next: SecretHash,
    /// The certificate of the process.
    pub peer_key: PeerKey,
    /// Where it can be reached without the relay.
    pub direct_address: Option<String>,
    /// It runs in a browser.
    pub browser: bool,
    /// The instance of the service that hears it.
    pub holder: InstanceId,
}

/// What can be asked of a lobby.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A player takes a seat, or says again that it has one.
    Join(Newcomer),
    /// Another process of a player takes its seat, with the seat's secret.
    Reconnect(Return),
    /// A member's event socket opened, or its heartbeat came.
    Connect {
        /// The seat.
        connection: ConnectionId,
        /// Whose it is.
        player: PlayerId,
        /// The certificate of its process.
        peer_key: PeerKey,
        /// The instance of the service that hears it from now on.
        holder: InstanceId,
    },
    /// A member's event socket closed, or its lease ran out.
    Disconnect {
        /// The seat.
        connection: ConnectionId,
        /// Of which process. Another one's loss changes nothing.
        peer_key: PeerKey,
        /// The instance that had heard it. Once another hears it, this loss changes nothing.
        holder: InstanceId,
    },
    /// A member gives up its seat.
    Leave {
        /// The seat.
        connection: ConnectionId,
        /// Whose it is.
        player: PlayerId,
    },
    /// The elected host has restored the game and runs it.
    Ready {
        /// The seat.
        connection: ConnectionId,
        /// The epoch it was elected for.
        epoch: HostEpoch,
    },
    /// The guests and the relay agree that the host is silent (see [`crate::suspicion`]).
    HostSilent {
        /// Of which epoch they speak.
        epoch: HostEpoch,
    },
    /// A majority of the guests hears the host that the lobby has lost.
    HostHeard {
        /// Of which epoch they speak.
        epoch: HostEpoch,
    },
    /// The members are to meet at this relay, unless they meet at another one than `instead_of` by now.
    Meet {
        /// Where.
        relay: String,
        /// Where they met so far: that relay is gone.
        instead_of: Option<String>,
    },
    /// The lobby becomes another one.
    Update {
        /// Who asks.
        by: Actor,
        /// What changes.
        patch: LobbyPatch,
    },
    /// A member becomes another one. Who may ask is the caller's to know: the member itself, or a server.
    UpdateMember {
        /// The seat.
        connection: ConnectionId,
        /// What changes.
        patch: MemberPatch,
    },
    /// A member loses its seat. It may join again.
    Kick {
        /// Who asks.
        by: Actor,
        /// The seat.
        connection: ConnectionId,
    },
    /// A player loses its seat, if it has one, and gets none until the ban ends.
    Ban {
        /// Who asks.
        by: Actor,
        /// Who.
        player: PlayerId,
        /// For how long, and why.
        ban: Ban,
    },
    /// A ban ends.
    Unban {
        /// Who asks.
        by: Actor,
        /// Whose.
        player: PlayerId,
    },
    /// Another member becomes host, at the next epoch, with what the lobby has of the game.
    Replace {
        /// Who asks.
        by: Actor,
        /// Who is to host; without it whoever would be elected.
        to: Option<ConnectionId>,
    },
    /// The host is to prepare another member, and to make it host once it has the whole game. Asked again it is one request.
    AskHandOver {
        /// Who asks.
        by: Actor,
        /// Who is to host; without it whoever is asked to already, or would be elected.
        to: Option<ConnectionId>,
    },
    /// The lobby gets another join code. The one before opens nothing any more.
    RotateCode {
        /// Who asks.
        by: Actor,
        /// The new one.
        code: JoinCode,
    },
    /// The lobby ends.
    Close {
        /// Who asks.
        by: Actor,
    },
    /// A server changes several things at once.
    Bulk(Bulk),
    /// Another command, if the lobby is as its caller knows it.
    If {
        /// The newest event that the caller has seen.
        seq: EventSeq,
        /// What it wants then.
        command: Box<Command>,
    },
    /// A deadline has come; see [`super::Lobby::due_at`].
    Due,
    /// The service was away: deadlines that have passed meanwhile start anew, so that nobody is judged by time in which it could
    /// not be heard.
    Resume,
}

impl Command {
    /// The epoch that the command rests on.
    pub(super) const fn epoch(&self) -> Option<HostEpoch> {
        if let Self::If { command, .. } = self {
            return command.epoch();
        }
        if let Self::Ready { epoch, .. } | Self::HostSilent { epoch } | Self::HostHeard { epoch } = self {
            return Some(*epoch);
        }
        match self.actor() {
            Some(Actor::Host { epoch, .. }) => Some(epoch),
            Some(Actor::Server) | None => None,
        }
    }

    /// Who asks for what only a host, or a server, may do.
    pub(super) const fn actor(&self) -> Option<Actor> {
        match self {
            Self::Update { by, .. }
            | Self::Kick { by, .. }
            | Self::Ban { by, .. }
            | Self::Unban { by, .. }
            | Self::Replace { by, .. }
            | Self::AskHandOver { by, .. }
            | Self::RotateCode { by, .. }
            | Self::Close { by } => Some(*by),
            Self::If { command, .. } => command.actor(),
            Self::Join(_)
            | Self::Reconnect(_)
            | Self::Connect { .. }
            | Self::Disconnect { .. }
            | Self::Leave { .. }
            | Self::Ready { .. }
            | Self::HostSilent { .. }
            | Self::HostHeard { .. }
            | Self::Meet { .. }
            | Self::UpdateMember { .. }
            | Self::Bulk(_)
            | Self::Due
            | Self::Resume => None,
        }
    }
}
