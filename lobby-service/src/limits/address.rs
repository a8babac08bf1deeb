//! Which address a request comes from, where proxies stand in front of the service.
//!
//! A header can say anything. What a proxy appended to it is believed as far as the proxies are trusted, from the last entry to
//! the first: the first address that is no trusted proxy is the client's. Only one of the two headers is read, since a proxy that
//! writes one of them lets pass what the client wrote into the other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

/// Proxies one behind the other.
const HOPS_MAX: usize = 16;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Addresses of trusted proxies: a network, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| "an address or a network is expected, such as 10.0.0.0/8".to_owned())
    }
}

/// The header in which trusted proxies say whom they speak for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, which most proxies write.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The address that a request comes from, canonical: never an IPv4 address in IPv6's form. Unspecified if the listener does not
/// say who is connected.
pub(crate) fn client_address(parts: &Parts, trusted: &[Network], header: ForwardedHeader) -> IpAddr {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |ConnectInfo(peer)| peer.ip().to_canonical());
    if is_trusted(peer, trusted) { behind(peer, &parts.headers, trusted, header) } else { peer }
}

/// Whether somebody says that it speaks for another.
pub(super) fn is_forwarded(parts: &Parts) -> bool {
    parts.headers.contains_key(X_FORWARDED_FOR) || parts.headers.contains_key(header::FORWARDED)
}

fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// Follows the header from the nearest proxy on. An entry that cannot be read ends the way at the proxy that wrote it.
fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[Network], header: ForwardedHeader) -> IpAddr {
    let (name, read): (_, fn(&str) -> Option<IpAddr>) = match header {
        ForwardedHeader::XForwardedFor => (X_FORWARDED_FOR, node),
        ForwardedHeader::Forwarded => (header::FORWARDED, forwarded_for),
    };
    // Split from the end: whatever quotes a client has opened, what proxies appended after it stands alone.
    let lines = headers.get_all(name).into_iter().rev().map(|line| line.to_str().unwrap_or_default());
    let mut address = peer;
    for entry in lines.flat_map(|line| line.rsplit(',')).take(HOPS_MAX) {
        let Some(next) = read(entry.trim()) else { break };
        address = next;
        if !is_trusted(address, trusted) {
            break;
        }
    }
    address
}

/// The `for` of one element: `for=192.0.2.43;proto=http`, `For="[2001:db8::1]:4711"`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then(|| node(value.trim_matches('"')))?
    })
}

/// An address, with a port or without: `192.0.2.43`, `192.0.2.43:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(peer: Option<&str>, lines: &[(&str, &str)]) -> Parts {
        let mut request = Request::new(());
        for (name, value) in lines {
            request.headers_mut().append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        if let Some(peer) = peer {
            request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 4711)));
        }
        request.into_parts().0
    }

    fn trusted() -> Vec<Network> {
        ["10.0.0.0/8", "192.0.2.9", "2001:db8:ffff::/48"].iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Who it is by `X-Forwarded-For` and by `Forwarded`.
    fn client(peer: &str, lines: &[&str]) -> String {
        let plain: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        client_address(&parts(Some(peer), &plain), &trusted(), ForwardedHeader::XForwardedFor).to_string()
    }

    fn standard(peer: &str, lines: &[&str]) -> String {
        let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
        client_address(&parts(Some(peer), &lines), &trusted(), ForwardedHeader::Forwarded).to_string()
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        for line in ["1.2.3.4", "1.2.3.4, 10.0.0.1", "10.0.0.1", "", "nonsense", "::1"] {
            assert_eq!(client("203.0.113.5", &[line]), "203.0.113.5");
            assert_eq!(standard("203.0.113.5", &[&format!("for={line}")]), "203.0.113.5");
        }
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_what_the_client_wrote_before_it_is_not() {
        assert_eq!(client("10.1.2.3", &["203.0.113.5"]), "203.0.113.5");
        assert_eq!(client("10.1.2.3", &["1.1.1.1, 203.0.113.5"]), "203.0.113.5", "forged by the client");
        assert_eq!(client("10.1.2.3", &["1.1.1.1, 10.9.9.9, 203.0.113.5"]), "203.0.113.5", "a forged proxy");
        assert_eq!(client("10.1.2.3", &["1.1.1.1, 203.0.113.5, 192.0.2.9, 10.0.0.7"]), "203.0.113.5", "three proxies");
        assert_eq!(client("10.1.2.3", &["1.1.1.1", "203.0.113.5", "192.0.2.9"]), "203.0.113.5", "in several lines");
        assert_eq!(client("10.1.2.3", &[]), "10.1.2.3", "it speaks for itself");
        assert_eq!(client("10.1.2.3", &["10.0.0.7, 10.0.0.8"]), "10.0.0.7", "a client among the proxies");
    }

    #[test]
    fn an_entry_that_cannot_be_read_ends_the_way_at_the_proxy_that_wrote_it() {
        for entry in
            ["nonsense", "unknown", "_hidden", "1.2.3", "1.2.3.4.5", "1.2.3.4:99999", "fe80::1%eth0", "[::1", ""]
        {
            assert_eq!(client("10.1.2.3", &[&format!("203.0.113.5, {entry}")]), "10.1.2.3", "{entry}");
            assert_eq!(client("10.1.2.3", &[&format!("203.0.113.5, {entry}, 192.0.2.9")]), "192.0.2.9", "{entry}");
            assert_eq!(standard("10.1.2.3", &[&format!("for=203.0.113.5, for={entry}")]), "10.1.2.3", "{entry}");
        }
    }

    #[test]
    fn addresses_are_canonical_in_every_form() {
        assert_eq!(client("::ffff:10.1.2.3", &["::ffff:203.0.113.5"]), "203.0.113.5");
        assert_eq!(client("::ffff:10.1.2.3", &["1.1.1.1, ::ffff:192.0.2.9"]), "1.1.1.1");
        for entry in ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:4711", "2001:DB8:0::1"] {
            assert_eq!(client("2001:db8:ffff::2", &[entry]), "2001:db8::1");
        }
        assert_eq!(client("10.1.2.3", &["203.0.113.5:1234"]), "203.0.113.5");
    }

    #[test]
    fn the_standard_header_is_read_in_its_forms() {
        for element in [
            "for=203.0.113.5",
            "For=\"203.0.113.5:80\"",
            "proto=https;for=203.0.113.5;by=10.1.2.3",
            "host=a; FOR=203.0.113.5",
        ] {
            assert_eq!(standard("10.1.2.3", &[element]), "203.0.113.5", "{element}");
        }
        assert_eq!(standard("10.1.2.3", &["for=\"[2001:db8::1]:4711\""]), "2001:db8::1");
        assert_eq!(
            standard("10.1.2.3", &["for=\"1.1.1.1, for=203.0.113.5"]),
            "203.0.113.5",
            "an open quote hides nothing"
        );
        assert_eq!(standard("10.1.2.3", &["proto=https"]), "10.1.2.3");
    }

    #[test]
    fn only_the_chosen_header_counts() {
        let lines = [("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "203.0.113.5"), ("x-real-ip", "2.2.2.2")];
        let parts = parts(Some("10.1.2.3"), &lines);
        let of = |header| client_address(&parts, &trusted(), header).to_string();
        assert_eq!(of(ForwardedHeader::XForwardedFor), "203.0.113.5");
        assert_eq!(of(ForwardedHeader::Forwarded), "1.1.1.1");
    }

    #[test]
    fn a_long_way_is_not_followed_to_its_end() {
        let line = std::iter::once("203.0.113.5").chain(std::iter::repeat_n("10.0.0.1", HOPS_MAX)).collect::<Vec<_>>();
        assert_eq!(client("10.1.2.3", &[&line.join(", ")]), "10.0.0.1");
    }

    #[test]
    fn without_a_peer_everybody_is_one_unspecified_address() {
        let parts = parts(None, &[("x-forwarded-for", "1.2.3.4")]);
        assert_eq!(client_address(&parts, &trusted(), ForwardedHeader::default()), Ipv4Addr::UNSPECIFIED);
    }

    /// Whatever stands before the entry of the proxy: bytes of a client change nothing.
    #[test]
    fn no_forged_beginning_changes_who_it_is() {
        let alphabet = b"0123456789abcdef.:,;=\"[] for";
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut forged = String::new();
            for _ in 0..24 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                forged.push(char::from(alphabet[(state >> 33) as usize % alphabet.len()]));
            }
            assert_eq!(client("10.1.2.3", &[&format!("{forged}, 203.0.113.5, 10.0.0.1")]), "203.0.113.5");
            assert_eq!(client("10.1.2.3", &[&forged, "203.0.113.5"]), "203.0.113.5");
            assert_eq!(standard("10.1.2.3", &[&format!("{forged},for=203.0.113.5")]), "203.0.113.5");
        }
    }
}
