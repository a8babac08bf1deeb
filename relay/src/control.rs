//! What a relay and its lobby service say to each other: JSON texts on the control WebSocket.

use std::net::SocketAddr;

use protocol::id::{ConnectionId, HostEpoch, LobbyId};
use protocol::relay::HostSound;
use serde::{Deserialize, Serialize};

/// What the lobby service orders; see [`ToRelay`] for the same on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A member was removed: its link is closed and its token refused.
    Revoke {
        /// The lobby.
        lobby: LobbyId,
        /// The member's seat.
        connection: ConnectionId,
    },
    /// A removed member has its seat again.
    Reinstate {
        /// The lobby.
        lobby: LobbyId,
        /// The member's seat.
        connection: ConnectionId,
    },
    /// The lobby is closed, and its session with it.
    Close {
        /// The lobby.
        lobby: LobbyId,
    },
}

/// From a relay to its lobby service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromRelay {
    /// First on each control socket.
    Register {
        /// The UDP address at which peers reach the relay.
        address: SocketAddr,
    },
    /// A host fell silent, or was heard again.
    Sound {
        /// Its lobby.
        lobby: LobbyId,
        /// The host.
        host: ConnectionId,
        /// Its epoch, as the relay knows it.
        epoch: HostEpoch,
        /// It sends data (again), or has stopped.
        heard: bool,
    },
}

/// From a lobby service to its relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToRelay {
    /// A member was removed.
    Revoke {
        /// The lobby.
        lobby: LobbyId,
        /// The member's seat.
        connection: ConnectionId,
    },
    /// A removed member has its seat again.
    Reinstate {
        /// The lobby.
        lobby: LobbyId,
        /// The member's seat.
        connection: ConnectionId,
    },
    /// The lobby is closed.
    Close {
        /// The lobby.
        lobby: LobbyId,
    },
}

impl From<HostSound> for FromRelay {
    fn from(HostSound { lobby, host, epoch, heard }: HostSound) -> Self {
        Self::Sound { lobby, host, epoch, heard }
    }
}

impl From<ToRelay> for Order {
    fn from(message: ToRelay) -> Self {
        match message {
            ToRelay::Revoke { lobby, connection } => Self::Revoke { lobby, connection },
            ToRelay::Reinstate { lobby, connection } => Self::Reinstate { lobby, connection },
            ToRelay::Close { lobby } => Self::Close { lobby },
        }
    }
}

impl From<Order> for ToRelay {
    fn from(order: Order) -> Self {
        match order {
            Order::Revoke { lobby, connection } => Self::Revoke { lobby, connection },
            Order::Reinstate { lobby, connection } => Self::Reinstate { lobby, connection },
            Order::Close { lobby } => Self::Close { lobby },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_and_name_their_type_in_snake_case() {
        let lobby = LobbyId::from_bytes([7; 16]);
        let sound = HostSound { lobby, host: ConnectionId(1), epoch: HostEpoch(2), heard: false };
        let text = serde_json::to_string(&FromRelay::from(sound)).unwrap();
        assert!(text.starts_with(r#"{"type":"sound","lobby":"0707"#), "{text}");
        assert_eq!(serde_json::from_str::<FromRelay>(&text).unwrap(), sound.into());

        let order = Order::Revoke { lobby, connection: ConnectionId(4) };
        let text = serde_json::to_string(&ToRelay::from(order)).unwrap();
        assert_eq!(serde_json::from_str::<ToRelay>(&text).map(Order::from).unwrap(), order);
    }
}
