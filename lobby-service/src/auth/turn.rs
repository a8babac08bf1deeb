//! TURN servers, and credentials for them as coturn's `use-auth-secret` takes them: good for a time, made from a secret that the servers
//! share with the service (draft-uberti-behave-turn-rest).

use std::str::FromStr;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::id::PlayerId;
use protocol::limits;
use protocol::time::Timestamp;

use crate::config::Secret;

/// The address of a TURN server (RFC 7065): `turn:HOST[:PORT][?transport=udp|tcp]`, or `turns:` for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnUrl(String);

impl FromStr for TurnUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_one = text.strip_prefix("turn:").or_else(|| text.strip_prefix("turns:")).is_some_and(is_server);
        let expected = || "a TURN server is turn:HOST:PORT?transport=udp, with tcp or turns: if it is to be".to_owned();
        is_one.then(|| Self(text.to_owned())).ok_or_else(expected)
    }
}

/// `HOST[:PORT][?transport=udp|tcp]`
fn is_server(text: &str) -> bool {
    let (server, transport) = text.split_once('?').unwrap_or((text, "transport=udp"));
    let host_end = if server.starts_with('[') { server.find(']').map(|end| end + 1) } else { server.find(':') };
    let (host, port) = server.split_at(host_end.unwrap_or(server.len()));
    let is_in_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-[]:".contains(&byte);
    let is_host = !host.is_empty() && host.bytes().all(is_in_host) && host.starts_with('[') == host.ends_with(']');
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    is_host && is_port && ["transport=udp", "transport=tcp"].contains(&transport)
}

/// TURN servers and the secret that they share with the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The servers: all of them take the same credentials.
    pub urls: Vec<TurnUrl>,
    /// Their secret.
    pub secret: Secret,
    /// How long credentials are good.
    pub credential_life: Duration,
}

/// What somebody shows to TURN servers.
#[derive(Clone, PartialEq, Eq)]
pub struct TurnPass {
    /// The servers.
    pub urls: Vec<String>,
    /// Until when it is good, in seconds since the Unix epoch, and whose it is.
    pub username: String,
    /// What proves that this service has given it.
    pub credential: String,
    /// Seconds for which it is good.
    pub life_s: u64,
}

impl std::fmt::Debug for TurnPass {
    /// Without the credential (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TurnPass").field("urls", &self.urls).finish_non_exhaustive()
    }
}

impl Turn {
    /// Servers that share this secret, with credentials of the usual life.
    #[must_use]
    pub const fn new(urls: Vec<TurnUrl>, secret: Secret) -> Self {
        Self { urls, secret, credential_life: limits::TURN_CREDENTIAL_LIFE }
    }

    /// What a player shows to the servers from now on.
    #[must_use]
    pub fn pass(&self, player: PlayerId, now: Timestamp) -> TurnPass {
        let username = format!("{}:{player}", now.after(self.credential_life).0 / 1000);
        // SHA-1 is what the servers know; as a MAC with a secret key it is not broken.
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.secret.reveal().as_bytes());
        let credential = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
        let urls = self.urls.iter().map(|TurnUrl(url)| url.clone()).collect();
        TurnPass { urls, username, credential, life_s: self.credential_life.as_secs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_server_is_named_as_browsers_take_it() {
        for good in [
            "turn:turn.example",
            "turn:turn.example:3478",
            "turns:turn.example:443?transport=tcp",
            "turn:192.0.2.7:3478?transport=udp",
            "turn:[2001:db8::7]:3478",
        ] {
            assert!(good.parse::<TurnUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "turn:",
            "turn:?transport=udp",
            "stun:turn.example",
            "turn:turn.example:port",
            "turn:turn.example:",
            "turn:turn.example:70000",
            "turn:turn.example?transport=sctp",
            "turn:user@turn.example",
            "turn:[2001:db8::7",
            "turn.example:3478",
        ] {
            assert!(bad.parse::<TurnUrl>().is_err(), "{bad}");
        }
    }

    /// The expected credential was made by `openssl dgst -sha1 -hmac hush -binary | base64`.
    #[test]
    fn credentials_are_those_that_coturn_takes() {
        let turn = Turn::new(vec!["turn:turn.example:3478".parse().unwrap()], "hush".into());
        let pass = turn.pass(PlayerId::from_bytes([0xab; 16]), Timestamp(1_700_000_000_999));
        assert_eq!(pass.username, "1700003600:abababababababababababababababab");
        assert_eq!(pass.credential, "DMcGx7j9dh+WaUlzoIFqoLHDS64=");
        assert_eq!((pass.life_s, &*pass.urls), (3600, &["turn:turn.example:3478".to_owned()][..]));
        assert!(
            !format!("{turn:?}{pass:?}").contains("hush") && !format!("{pass:?}").contains(&pass.credential),
            "P18"
        );
    }
}
