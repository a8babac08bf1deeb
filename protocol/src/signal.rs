//! What two members tell each other through the lobby before they can talk directly: ICE (RFC 8445) for a WebRTC link.
//!
//! There is no session description among it and no fingerprint: each side composes the description of the other itself, from what
//! is said here and from the fingerprint that the lobby names for that member. A link is authenticated by that alone; whoever could
//! change a signal could keep a link from coming about, and nothing else.
//!
//! Signals are soft: one to a member that is not there is lost, and the attempt that it belongs to runs out.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::limits;

/// A signal from one process to another.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Signal {
    /// From the one that dials: it wants a link.
    Offer {
        /// Drawn at random by the one that dials; tells this attempt from others between the two.
        attempt: u32,
        /// How the one that dials is reached.
        #[serde(flatten)]
        description: Description,
    },
    /// To the one that dialled: it may have one.
    Answer {
        /// That of the offer.
        attempt: u32,
        /// How the one that answers is reached.
        #[serde(flatten)]
        description: Description,
    },
    /// More ways to reach the sender.
    Candidates {
        /// That of the offer.
        attempt: u32,
        /// Each as RFC 8839 writes it, from `candidate:` on.
        #[cfg_attr(feature = "schema", schema(max_items = 16))]
        candidates: Vec<String>,
    },
    /// The sender is done with this attempt, or with the link that came of it.
    Close {
        /// That of the offer.
        attempt: u32,
    },
}

/// How a process is reached by ICE.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Description {
    /// Its user name fragment (RFC 8839, section 5.4): 4 to 32 characters.
    #[cfg_attr(feature = "schema", schema(pattern = "^[A-Za-z0-9+/]{4,32}$"))]
    pub ufrag: String,
    /// Its password: 22 to 64 characters.
    #[cfg_attr(feature = "schema", schema(pattern = "^[A-Za-z0-9+/]{22,64}$"))]
    pub pwd: String,
    /// Those of its candidates that are known already.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(max_items = 16))]
    pub candidates: Vec<String>,
}

impl std::fmt::Debug for Description {
    /// Without password and addresses (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Description({} candidates)", self.candidates.len())
    }
}

impl std::fmt::Debug for Signal {
    /// Without password and addresses (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, count) = match self {
            Self::Offer { description, .. } => ("Offer", description.candidates.len()),
            Self::Answer { description, .. } => ("Answer", description.candidates.len()),
            Self::Candidates { candidates, .. } => ("Candidates", candidates.len()),
            Self::Close { .. } => ("Close", 0),
        };
        write!(f, "{kind}(attempt {}, {count} candidates)", self.attempt())
    }
}

/// Why a signal is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignalError {
    /// A user name fragment or a password that ICE does not have.
    #[error("a user name fragment has 4 to 32 and a password 22 to 64 letters, digits, + and /")]
    Credentials,
    /// Too many candidates.
    #[error("a signal has at most 16 candidates")]
    TooMany,
    /// A candidate that is none.
    #[error("a candidate is as RFC 8839 writes it, of at most 256 bytes")]
    Candidate,
}

impl Signal {
    /// Which attempt it is about.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        match self {
            Self::Offer { attempt, .. }
            | Self::Answer { attempt, .. }
            | Self::Candidates { attempt, .. }
            | Self::Close { attempt } => *attempt,
        }
    }

    /// The signal as it may be forwarded and used: checked, its candidates without what is not needed, related addresses above all;
    /// and if `relay_only`, without those that tell an address of a player.
    ///
    /// # Errors
    /// [`SignalError`].
    pub fn admitted(self, relay_only: bool) -> Result<Self, SignalError> {
        let description = |Description { ufrag, pwd, candidates }: Description| {
            let is_ice = |text: &str, min, max| {
                (min..=max).contains(&text.len())
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
            };
            if !is_ice(&ufrag, 4, limits::UFRAG_CHARS_MAX) || !is_ice(&pwd, 22, limits::ICE_PASSWORD_CHARS_MAX) {
                return Err(SignalError::Credentials);
            }
            Ok(Description { ufrag, pwd, candidates: admitted(&candidates, relay_only)? })
        };
        Ok(match self {
            Self::Offer { attempt, description: said } => Self::Offer { attempt, description: description(said)? },
            Self::Answer { attempt, description: said } => Self::Answer { attempt, description: description(said)? },
            Self::Candidates { attempt, candidates } => {
                Self::Candidates { attempt, candidates: admitted(&candidates, relay_only)? }
            }
            Self::Close { attempt } => Self::Close { attempt },
        })
    }
}

fn admitted(candidates: &[String], relay_only: bool) -> Result<Vec<String>, SignalError> {
    if candidates.len() > limits::SIGNAL_CANDIDATES_MAX {
        return Err(SignalError::TooMany);
    }
    let mut kept = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let candidate = Candidate::parse(candidate).ok_or(SignalError::Candidate)?;
        if !relay_only || candidate.kind == "relay" {
            kept.push(candidate.to_string());
        }
    }
    Ok(kept)
}

/// A way to reach a process (RFC 8839, section 5.1), without related address and extensions other than `tcptype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    foundation: &'a str,
    component: u16,
    transport: &'a str,
    priority: u32,
    /// An IP address, or a name that mDNS knows.
    pub address: &'a str,
    /// Its port.
    pub port: u16,
    /// `host`, `srflx`, `prflx` or `relay`.
    pub kind: &'a str,
    tcp_type: Option<&'a str>,
}

impl<'a> Candidate<'a> {
    /// Reads one. `None`: it is none, or of a kind that is not known.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > limits::CANDIDATE_BYTES_MAX || !text.is_ascii() {
            return None;
        }
        let mut words = text.strip_prefix("candidate:")?.split(' ');
        let foundation = words.next().filter(|word| is_word(word, 32))?;
        let component = words.next()?.parse().ok()?;
        let transport =
            words.next().filter(|word| word.eq_ignore_ascii_case("udp") || word.eq_ignore_ascii_case("tcp"))?;
        let priority = words.next()?.parse().ok()?;
        let address = words.next().filter(|word| is_address(word))?;
        let port = words.next()?.parse().ok()?;
        words.next().filter(|word| *word == "typ")?;
        let kind = words.next().filter(|kind| ["host", "srflx", "prflx", "relay"].contains(kind))?;
        let mut tcp_type = None;
        while let Some(name) = words.next() {
            let value = words.next()?;
            if name == "tcptype" {
                tcp_type = Some(value).filter(|value| ["active", "passive", "so"].contains(value));
            }
        }
        Some(Self { foundation, component, transport, priority, address, port, kind, tcp_type })
    }
}

fn is_word(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}

/// An IP address, or what a browser says in its place.
fn is_address(text: &str) -> bool {
    let is_name = || {
        let name = text.strip_suffix(".local").unwrap_or_default();
        (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.parse::<IpAddr>().is_ok() || is_name()
}

impl std::fmt::Display for Candidate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { foundation, component, transport, priority, address, port, kind, tcp_type } = self;
        write!(f, "candidate:{foundation} {component} {transport} {priority} {address} {port} typ {kind}")?;
        tcp_type.iter().try_for_each(|tcp_type| write!(f, " tcptype {tcp_type}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "candidate:1 1 udp 2130706431 192.0.2.7 4000 typ host";
    const REFLEXIVE: &str = "candidate:2 1 udp 1694498815 203.0.113.4 4001 typ srflx raddr 192.0.2.7 rport 4000";
    const RELAYED: &str = "candidate:3 1 UDP 16777215 198.51.100.1 49152 typ relay raddr 203.0.113.4 rport 4001";
    const NAMED: &str = "candidate:4 1 udp 2113937151 0b3dfa0b-1c6e-4d1c-8a46-6a3ad1a30ac0.local 51000 typ host generation 0 network-cost 999";

    fn offer(candidates: &[&str]) -> Signal {
        let candidates = candidates.iter().map(|&candidate| candidate.to_owned()).collect();
        let description = Description { ufrag: "abcd".into(), pwd: "p".repeat(22), candidates };
        Signal::Offer { attempt: 7, description }
    }

    fn candidates(signal: Signal) -> Vec<String> {
        match signal {
            Signal::Offer { description, .. } | Signal::Answer { description, .. } => description.candidates,
            Signal::Candidates { candidates, .. } => candidates,
            Signal::Close { .. } => Vec::new(),
        }
    }

    #[test]
    fn no_related_address_is_forwarded_and_nothing_that_is_not_needed() {
        let admitted = candidates(offer(&[HOST, REFLEXIVE, RELAYED, NAMED]).admitted(false).unwrap());
        assert_eq!(admitted[0], HOST);
        assert_eq!(admitted[1], "candidate:2 1 udp 1694498815 203.0.113.4 4001 typ srflx");
        assert_eq!(admitted[2], "candidate:3 1 UDP 16777215 198.51.100.1 49152 typ relay");
        assert!(admitted[3].ends_with(".local 51000 typ host"));
    }

    #[test]
    fn where_players_are_not_to_learn_addresses_only_those_of_relays_are_forwarded() {
        let trickled = Signal::Candidates { attempt: 7, candidates: vec![HOST.into(), REFLEXIVE.into(), NAMED.into()] };
        assert_eq!(candidates(trickled.admitted(true).unwrap()), Vec::<String>::new());
        let admitted = candidates(offer(&[HOST, REFLEXIVE, RELAYED, NAMED]).admitted(true).unwrap());
        assert_eq!(admitted, ["candidate:3 1 UDP 16777215 198.51.100.1 49152 typ relay"]);
    }

    #[test]
    fn what_is_no_candidate_or_too_much_is_refused() {
        for wrong in [
            "",
            "candidate:",
            "candidate:1 1 udp 1 192.0.2.7 4000",
            "candidate:1 1 udp 1 192.0.2.7 4000 typ host raddr",
            "candidate:1 1 udp 1 example.org 4000 typ host",
            "candidate:1 1 udp 1 192.0.2.7 70000 typ host",
            "candidate:1 1 sctp 1 192.0.2.7 4000 typ host",
            "candidate:1 1 udp 1 192.0.2.7 4000 typ host\r\na=fingerprint:x 0",
            "candidate:1 1 udp 1 .local 4000 typ host",
        ] {
            assert_eq!(offer(&[wrong]).admitted(false), Err(SignalError::Candidate), "{wrong}");
        }
        assert_eq!(offer(&[HOST; 17]).admitted(false), Err(SignalError::TooMany));
        let short = Description { ufrag: "abc".into(), pwd: "p".repeat(22), candidates: Vec::new() };
        assert_eq!(Signal::Answer { attempt: 1, description: short }.admitted(false), Err(SignalError::Credentials));
    }

    #[test]
    fn a_signal_reads_back_as_it_was_written_and_the_debug_form_tells_no_address() {
        for signal in [offer(&[HOST]), Signal::Close { attempt: 9 }] {
            let text = serde_json::to_string(&signal).unwrap();
            assert_eq!(serde_json::from_str::<Signal>(&text).unwrap(), signal);
        }
        let trickled = Signal::Candidates { attempt: 7, candidates: vec![HOST.into()] };
        for signal in [offer(&[HOST]), trickled] {
            assert!(!format!("{signal:?}").contains("192"), "P18");
        }
    }

    #[test]
    fn a_signal_with_a_field_that_it_does_not_have_is_none() {
        let offer = serde_json::to_value(offer(&[HOST])).unwrap();
        assert!(serde_json::from_value::<Signal>(offer.clone()).is_ok());
        for signal in [offer, serde_json::json!({"kind": "close", "attempt": 7})] {
            for field in ["sdp", "description"] {
                let mut more = signal.clone();
                more[field] = "v=0".into();
                assert!(serde_json::from_value::<Signal>(more).is_err(), "{field}");
            }
        }
    }

    #[test]
    fn the_largest_signal_fits_into_a_message_and_into_a_note_between_instances() {
        let longest = format!("candidate:{} 1 udp 1 192.0.2.7 4000 typ relay", "f".repeat(32));
        let padded = format!("{longest} x {}", "y".repeat(limits::CANDIDATE_BYTES_MAX - longest.len() - 3));
        let all = vec![&padded[..]; limits::SIGNAL_CANDIDATES_MAX];
        let text = serde_json::to_string(&offer(&all)).unwrap();
        assert!(text.len() + 200 < limits::SOCKET_MESSAGE_BYTES_MAX, "{}", text.len());
        let forwarded = serde_json::to_string(&offer(&all).admitted(false).unwrap()).unwrap();
        assert!(forwarded.len() + 300 < 7_000, "{}", forwarded.len());
    }
}
