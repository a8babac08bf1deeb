//! The paths that are compared.

use std::net::{Ipv4Addr, SocketAddr};

use peer_client::Path;

/// One of the paths, in the order of the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Relay,
    Direct,
    WebRtc,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Relay, Self::Direct, Self::WebRtc];

    /// The heads of their columns.
    pub(crate) const NAMES: [&'static str; 3] = ["relay", "direct", "WebRTC"];

    /// The column of its figures.
    pub(crate) const fn column(self) -> usize {
        match self {
            Self::Relay => 0,
            Self::Direct => 1,
            Self::WebRtc => 2,
        }
    }

    /// What both sides are set up with.
    pub(crate) fn path(self) -> Path {
        match self {
            Self::Relay => Path::Relay,
            Self::Direct => Path::Direct { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) },
            Self::WebRtc => Path::WebRtc,
        }
    }
}
