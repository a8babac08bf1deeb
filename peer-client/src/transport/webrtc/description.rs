//! How the other side is described to the crate: composed here, never taken from the network.

use std::fmt::Write;
use std::net::IpAddr;

use protocol::id::PeerKey;
use protocol::signal::{Candidate, Description};

/// Bytes of an ICE user name fragment and of a password that this side has: 48 and 144 bits (RFC 8839 asks for 24 and 128).
const UFRAG_CHARS: usize = 8;
const PASSWORD_CHARS: usize = 24;
/// The characters that both consist of.
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Which side of an attempt the described one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Offering,
    Answering,
}

/// The session description (RFC 8841) of a peer that holds this key. Whatever the peer said of itself is in it as credentials alone,
/// which are checked to be such; so the certificate that the crate will accept is the one that the lobby names.
pub(super) fn session_description(said: &Description, expected: PeerKey, side: Side) -> String {
    let setup = match side {
        Side::Offering => "actpass",
        Side::Answering => "active",
    };
    let (ufrag, pwd, fingerprint) = (&said.ufrag, &said.pwd, fingerprint(expected));
    [
        "v=0",
        "o=- 1 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        &format!("a=ice-ufrag:{ufrag}"),
        &format!("a=ice-pwd:{pwd}"),
        "a=ice-options:trickle",
        &format!("a=fingerprint:sha-256 {fingerprint}"),
        &format!("a=setup:{setup}"),
        "a=mid:0",
        "a=sctp-port:5000",
        "a=max-message-size:65536",
        "",
    ]
    .join("\r\n")
}

/// As RFC 8122 writes it: `AB:CD:…`.
fn fingerprint(key: PeerKey) -> String {
    let mut text = String::with_capacity(95);
    for (index, byte) in key.as_bytes().iter().enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        write!(text, "{colon}{byte:02X}").expect("a string takes all that is written to it");
    }
    text
}

/// A user name fragment and a password of this side, from 32 random bytes.
pub(super) fn credentials(random: [u8; UFRAG_CHARS + PASSWORD_CHARS]) -> (String, String) {
    let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(ICE_CHARS[usize::from(byte % 64)])).collect();
    let (ufrag, pwd) = random.split_at(UFRAG_CHARS);
    (text(ufrag), text(pwd))
}

/// A candidate of this side as it may leave this machine: no name, no address that means nothing elsewhere, and no address of the player
/// where the lobby asks for that.
pub(super) fn to_tell(candidate: &str, relay_only: bool) -> Option<String> {
    let candidate = Candidate::parse(candidate)?;
    let address: IpAddr = candidate.address.parse().ok()?;
    let may_leave = !address.is_unspecified() && (!relay_only || candidate.kind == "relay");
    may_leave.then(|| candidate.to_string())
}

/// Whether a candidate of the other side is of use. A name that only mDNS knows is not: such a browser is found when it sends something
/// here (RFC 8445, section 7.3.1.3). Candidates are UDP's, and of relays alone where the lobby asks for that.
pub(super) fn is_usable(candidate: &str, relay_only: bool) -> bool {
    Candidate::parse(candidate).is_some_and(|parsed| {
        parsed.address.parse::<IpAddr>().is_ok_and(|address| !address.is_unspecified())
            && is_udp(candidate)
            && (!relay_only || parsed.kind == "relay")
    })
}

fn is_udp(candidate: &str) -> bool {
    candidate.split(' ').nth(2).is_some_and(|transport| transport.eq_ignore_ascii_case("udp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "candidate:1 1 udp 2130706431 192.0.2.7 4000 typ host";
    const REFLEXIVE: &str = "candidate:2 1 udp 1694498815 203.0.113.4 4001 typ srflx raddr 192.0.2.7 rport 4000";
    const RELAYED: &str = "candidate:3 1 udp 16777215 198.51.100.1 49152 typ relay raddr 203.0.113.4 rport 4001";
    const NAMED: &str = "candidate:4 1 udp 2113937151 0b3dfa0b-1c6e.local 51000 typ host";
    const TCP: &str = "candidate:5 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active";
    const ANY: &str = "candidate:6 1 udp 2130706431 0.0.0.0 4000 typ host";

    #[test]
    fn a_description_holds_the_key_that_the_lobby_names_and_two_credentials_of_the_peer() {
        let mut key = [0x0f; 32];
        key[0] = 0xab;
        let said = Description { ufrag: "frag".into(), pwd: "p".repeat(22), candidates: vec![HOST.into()] };
        let text = session_description(&said, PeerKey::from_bytes(key), Side::Answering);
        let fingerprint = format!("a=fingerprint:sha-256 AB{}\r\n", ":0F".repeat(31));
        assert_eq!(text.matches("fingerprint").count(), 1);
        assert!(text.contains(&fingerprint), "{text}");
        assert!(
            text.contains("a=ice-ufrag:frag\r\n") && text.contains("a=setup:active\r\n") && text.ends_with("65536\r\n")
        );
        assert!(!text.contains("candidate"));
        assert!(session_description(&said, PeerKey::from_bytes(key), Side::Offering).contains("a=setup:actpass"));
    }

    #[test]
    fn credentials_are_such_as_the_service_lets_through() {
        let (ufrag, pwd) = credentials(std::array::from_fn(|index| (index * 37) as u8));
        let description = Description { ufrag, pwd, candidates: Vec::new() };
        assert_eq!((description.ufrag.len(), description.pwd.len()), (UFRAG_CHARS, PASSWORD_CHARS));
        protocol::signal::Signal::Answer { attempt: 1, description }.admitted(false).unwrap();
    }

    #[test]
    fn no_related_address_leaves_and_where_addresses_are_secret_only_relays_do() {
        assert_eq!(to_tell(REFLEXIVE, false).unwrap(), "candidate:2 1 udp 1694498815 203.0.113.4 4001 typ srflx");
        let told = |relay_only| [HOST, REFLEXIVE, RELAYED, NAMED, ANY].map(|text| to_tell(text, relay_only).is_some());
        assert_eq!(told(false), [true, true, true, false, false]);
        assert_eq!(told(true), [false, false, true, false, false]);
    }

    #[test]
    fn of_the_other_sides_candidates_those_are_used_that_can_be() {
        let used =
            |relay_only| [HOST, REFLEXIVE, RELAYED, NAMED, TCP, ANY, "x"].map(|text| is_usable(text, relay_only));
        assert_eq!(used(false), [true, true, true, false, false, false, false]);
        assert_eq!(used(true), [false, false, true, false, false, false, false]);
    }
}
