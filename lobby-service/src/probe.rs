//! `--probe`: asks the instance that runs with these options whether it is ready. For containers, which have no other client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Longer than the service's own wait for its store.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Why it is not, or is not known to be.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// It says so.
    #[error("not ready: {0}")]
    Says(reqwest::StatusCode),
    /// It does not answer.
    #[error("no answer")]
    Silent(#[from] reqwest::Error),
    /// There is nowhere to ask: the probes are on the admin listener.
    #[error("there is no admin listener to ask")]
    Nowhere,
}

/// Asks at this address.
///
/// # Errors
/// [`Unready`].
pub async fn probe(admin: Option<SocketAddr>) -> Result<(), Unready> {
    let mut address = admin.ok_or(Unready::Nowhere)?;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
    let status = client.get(format!("http://{address}/readyz")).send().await?.status();
    if status.is_success() { Ok(()) } else { Err(Unready::Says(status)) }
}
