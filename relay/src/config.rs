//! What an operator chooses.

use std::net::{Ipv4Addr, SocketAddr};

use protocol::relay::Limits;

/// Where a relay listens and how much it carries.
#[derive(Debug, Clone)]
pub struct Config {
    /// The UDP address to bind; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Limits per link and per session, and the time-outs.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), limits: Limits::default() }
    }
}
