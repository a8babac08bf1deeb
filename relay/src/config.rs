//! What an operator chooses.

use std::net::{Ipv4Addr, SocketAddr};

use protocol::limits;
use protocol::relay::Limits;

/// Where a relay listens and how much it carries.
#[derive(Debug, Clone)]
pub struct Config {
    /// The UDP address to bind, and the TCP address for WebSockets; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Limits per link and per session, and the time-outs.
    pub limits: Limits,
    /// Limits of WebSockets.
    pub websockets: WebSocketLimits,
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct WebSocketLimits {
    /// In all.
    pub connections: usize,
    /// From one address, or one IPv6 /64. Behind a proxy all come from one.
    pub per_address: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            limits: Limits::default(),
            websockets: WebSocketLimits::default(),
        }
    }
}

impl Default for WebSocketLimits {
    fn default() -> Self {
        Self { connections: limits::RELAY_WEBSOCKETS_MAX, per_address: limits::RELAY_WEBSOCKETS_PER_ADDRESS_MAX }
    }
}
