//! What operators choose for themselves: the admin listener, logs, traces.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use crate::logging::Format;

/// Where the admin API listens: on this machine only.
pub const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// Choices of operators.
#[derive(Debug, Clone, Default)]
pub struct Operating {
    /// Where the admin API listens, if there is to be one; port 0 lets the system choose.
    pub admin_listen: Option<SocketAddr>,
    /// Where traces of migrations go.
    pub traces: Option<Collector>,
}

/// The base address of an OpenTelemetry collector that takes OTLP over HTTP. It may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Collector(pub(crate) reqwest::Url);

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Collector")
    }
}

impl FromStr for Collector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url: reqwest::Url = text.parse().map_err(|_| "a collector's address is http://HOST:PORT".to_owned())?;
        match url.scheme() {
            "http" | "https" => Ok(Self(url)),
            _ => Err("a collector's address begins with http:// or https://".to_owned()),
        }
    }
}

/// An address, or nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Somewhere(Option<SocketAddr>);

impl FromStr for Somewhere {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self(None)),
            _ => text
                .parse()
                .map(|address| Self(Some(address)))
                .map_err(|_| "an address is HOST:PORT, or off".to_owned()),
        }
    }
}

/// The same on the command line.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Operating")]
pub struct OperatingArguments {
    /// Where the admin API, /metrics and the probes listen; off for nowhere. Others than the operator should not reach it.
    #[arg(long, value_name = "ADDRESS", env = "UNDERSTUDY_ADMIN_LISTEN", default_value = "127.0.0.1:9090")]
    admin_listen: Somewhere,
    /// What is logged, as in RUST_LOG: error, warn, info, debug, trace, also for single parts. Other people's libraries tell nothing
    /// below info.
    #[arg(long, value_name = "FILTER", env = "UNDERSTUDY_LOG", default_value = "info")]
    pub(crate) log: String,
    /// How a line of the log is written.
    #[arg(long, value_enum, value_name = "FORMAT", env = "UNDERSTUDY_LOG_FORMAT", default_value_t = Format::Text)]
    pub(crate) log_format: Format,
    /// Base address of an OpenTelemetry collector (OTLP over HTTP), as http://127.0.0.1:4318: it gets a trace of each migration.
    #[arg(long, value_name = "URL", env = "UNDERSTUDY_OTLP_ENDPOINT", hide_env_values = true)]
    otlp_endpoint: Option<Collector>,
}

impl OperatingArguments {
    /// The choices as the service takes them.
    pub(crate) fn operating(&self) -> Operating {
        Operating { admin_listen: self.admin_listen.0, traces: self.otlp_endpoint.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collectors_password_is_not_in_what_is_logged_of_the_choices() {
        let collector: Collector = "https://u:hush@collector.example:4318".parse().unwrap();
        assert!(
            !format!("{:?}", Operating { traces: Some(collector), ..Operating::default() }).contains("hush"),
            "P18"
        );
        assert!("ftp://x".parse::<Collector>().is_err() && "x".parse::<Collector>().is_err());
    }

    #[test]
    fn the_admin_listener_can_be_switched_off() {
        assert_eq!("off".parse(), Ok(Somewhere(None)));
        assert_eq!("127.0.0.1:9090".parse(), Ok(Somewhere(Some(ADMIN_LISTEN))));
        assert!("on".parse::<Somewhere>().is_err());
    }
}
