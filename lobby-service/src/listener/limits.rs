//! What the listener grants to whoever connects. Every value is a flag and an environment variable.
//!
//! The values are those of common servers where they agree (nginx, HAProxy, Envoy), and otherwise what a game client on a poor
//! line still keeps: 4 KiB a second is a phone at the edge of its cell.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::bucket::Rate;

/// The limits of the listener.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Listener")]
pub struct ListenerLimits {
    /// Milliseconds from the first byte of a request (of a connection: from its start) to the end of its header; a connection that
    /// takes longer is closed. The header fits into a dozen packets, so that only a slow-loris needs as long.
    #[arg(long, env = "UNDERSTUDY_HEADER_TIMEOUT_MS", default_value_t = DEFAULT.header_timeout_ms)]
    pub header_timeout_ms: u64,
    /// Bytes of a request's header, its first line included; 431 above it. The longest token is 1 KiB.
    #[arg(long, env = "UNDERSTUDY_HEADER_BYTES_MAX", default_value_t = DEFAULT.header_bytes_max)]
    pub header_bytes_max: usize,
    /// Lines of a request's header; 431 above it. Browsers behind two proxies send thirty.
    #[arg(long, env = "UNDERSTUDY_HEADER_LINES_MAX", default_value_t = DEFAULT.header_lines_max)]
    pub header_lines_max: usize,
    /// Milliseconds for a request's whole body; 408 above it. 16 MiB, the largest snapshot, at 5 Mbit/s.
    #[arg(long, env = "UNDERSTUDY_BODY_TIMEOUT_MS", default_value_t = DEFAULT.body_timeout_ms)]
    pub body_timeout_ms: u64,
    /// Milliseconds for which a body may pause; 408 above it.
    #[arg(long, env = "UNDERSTUDY_BODY_PAUSE_MAX_MS", default_value_t = DEFAULT.body_pause_max_ms)]
    pub body_pause_max_ms: u64,
    /// Bytes a second that a client sends of a body, or reads of an answer, at least, on average after the first pause: whoever
    /// trickles holds a connection as one who does nothing. Below it: 408 or closed.
    #[arg(long, env = "UNDERSTUDY_BYTES_PER_S_MIN", default_value_t = DEFAULT.bytes_per_s_min)]
    pub bytes_per_s_min: u64,
    /// Milliseconds for which a connection may wait for its next request. Longer than the pauses of a game that polls.
    #[arg(long, env = "UNDERSTUDY_KEEP_ALIVE_MS", default_value_t = DEFAULT.keep_alive_ms)]
    pub keep_alive_ms: u64,
    /// Milliseconds for which a client may read nothing of its answer before it is cut off.
    #[arg(long, env = "UNDERSTUDY_WRITE_TIMEOUT_MS", default_value_t = DEFAULT.write_timeout_ms)]
    pub write_timeout_ms: u64,
    /// Connections in total, event sockets included; above it they are refused. Must be below the limit of open files, which is
    /// raised as far as it goes, else the service warns and takes fewer. An idle event socket takes about 10 KiB.
    #[arg(long, env = "UNDERSTUDY_CONNECTIONS_MAX", default_value_t = DEFAULT.connections_max)]
    pub connections_max: usize,
    /// Connections of one address (IPv6: of one /64); 0 for any number. It is the address that connects: behind a proxy or load
    /// balancer all clients have the proxy's, so raise it there, or switch it off and let the proxy count.
    #[arg(long, env = "UNDERSTUDY_CONNECTIONS_PER_ADDRESS_MAX", default_value_t = DEFAULT.connections_per_address_max)]
    pub connections_per_address_max: usize,
    /// Event sockets opened in a second, in total; 0 for any number. Above it 503 with Retry-After, before any work is done for
    /// them. Twice as many may come at once. A service that stops spreads its clients over three seconds.
    #[arg(long, env = "UNDERSTUDY_SOCKETS_PER_S_MAX", default_value_t = DEFAULT.sockets_per_s_max)]
    pub sockets_per_s_max: u32,
    /// Messages in a second from one event socket, pings and pongs included; 0 for any number. Above it the socket is closed with
    /// 1008. A peer sends two or three. Signals between members have a rate of their own, since a host answers all guests at once; what
    /// is beyond that counts here.
    #[arg(long, env = "UNDERSTUDY_SOCKET_MESSAGES_PER_S_MAX", default_value_t = DEFAULT.socket_messages_per_s_max)]
    pub socket_messages_per_s_max: u32,
    /// Messages from one event socket at once, after a pause.
    #[arg(long, env = "UNDERSTUDY_SOCKET_MESSAGES_BURST", default_value_t = DEFAULT.socket_messages_burst)]
    pub socket_messages_burst: u32,
    /// PEM file with the certificate and those that lead to its issuer: the API is https and wss then. Read anew when it changes,
    /// and on SIGHUP.
    #[arg(long, env = "UNDERSTUDY_TLS_CERTIFICATE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    #[arg(long, env = "UNDERSTUDY_TLS_KEY", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// Milliseconds for a TLS handshake. Two round trips and a signature.
    #[arg(long, env = "UNDERSTUDY_TLS_HANDSHAKE_TIMEOUT_MS", default_value_t = DEFAULT.tls_handshake_timeout_ms)]
    pub tls_handshake_timeout_ms: u64,
}

/// The default of everything.
const DEFAULT: ListenerLimits = ListenerLimits {
    header_timeout_ms: 5_000,
    header_bytes_max: 16 * 1024,
    header_lines_max: 64,
    body_timeout_ms: 30_000,
    body_pause_max_ms: 5_000,
    bytes_per_s_min: 4 * 1024,
    keep_alive_ms: 30_000,
    write_timeout_ms: 10_000,
    connections_max: 16_384,
    connections_per_address_max: 64,
    sockets_per_s_max: 2_000,
    socket_messages_per_s_max: 50,
    socket_messages_burst: 100,
    tls_certificate: None,
    tls_key: None,
    tls_handshake_timeout_ms: 5_000,
};

impl Default for ListenerLimits {
    fn default() -> Self {
        DEFAULT
    }
}

impl ListenerLimits {
    /// Of the API's addresses.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.tls_certificate.is_some() { "https" } else { "http" }
    }

    /// How often an event socket may say something; `None`: as often as it likes.
    pub(crate) fn socket_messages(&self) -> Option<Rate> {
        Rate::new(self.socket_messages_per_s_max, self.socket_messages_burst)
    }

    /// How often an event socket may be opened.
    pub(super) fn sockets(&self) -> Option<Rate> {
        Rate::new(self.sockets_per_s_max, self.sockets_per_s_max.saturating_mul(2))
    }

    pub(super) const fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    pub(super) const fn keep_alive(&self) -> Duration {
        Duration::from_millis(self.keep_alive_ms)
    }

    pub(super) const fn tls_handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.tls_handshake_timeout_ms)
    }
}
