//! Links between peers: QUIC over one UDP socket, through the relay or straight, and WebRTC.

pub(crate) mod link;
pub(crate) mod quic;
pub(crate) mod relay;
pub(crate) mod socket;
pub(crate) mod tls;
pub(crate) mod web_socket;
pub(crate) mod webrtc;
