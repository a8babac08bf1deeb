//! The crate's connection, set up for games: quick to open, quick to notice an end, and no larger than it has to be.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use protocol::limits;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use webrtc::data_channel::{DataChannel, RTCDataChannelInit};
use webrtc::error::Result;
use webrtc::peer_connection::crypto::{RTCCryptoProvider, SignatureScheme, default_provider};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCCertificate, RTCConfigurationBuilder,
    RTCIceConnectionState, RTCIceServer, RTCIceTransportPolicy, RTCPeerConnectionIceEvent, RTCPeerConnectionState,
    SettingEngineBuilder,
};

use super::super::tls::{SessionKey, certificate_error};
use super::sockets::LinkRuntime;
use super::{IceServer, Terms};
use crate::error::Error;

/// A pair of candidates is checked this often until one works. The crate's 200 ms would be two thirds of the time that a connection
/// takes; five times as often costs 5 kB per second and pair for as long as it takes.
pub(super) const ICE_CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// A pair that did not work after so many checks, which is two seconds, is left alone.
const ICE_CHECKS_MAX: u16 = 100;
/// How often ICE asks whether the other side is still there.
const ICE_KEEP_ALIVE: Duration = Duration::from_millis(500);
/// Without an answer for this long ICE calls it disconnected: a hint alone, for the session hears heartbeats.
const ICE_DISCONNECTED: Duration = Duration::from_millis(1500);
/// And this long after that it has failed, which ends the link. Also bounds how long all candidates are tried, with the former.
const ICE_FAILED: Duration = Duration::from_millis(8500);
/// How long the crate is told that the certificate is good for. It is the fingerprint that counts.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// The channels, by the numbers that both sides know.
const RELIABLE: (u16, &str) = (0, "reliable");
const UNRELIABLE: (u16, &str) = (1, "unreliable");

/// Who this process is to the crate.
#[derive(Clone)]
pub(super) struct Identity {
    certificate: RTCCertificate,
    crypto: Arc<dyn RTCCryptoProvider>,
}

impl Identity {
    pub(super) fn new(key: &SessionKey) -> std::result::Result<Self, Error> {
        let crypto = default_provider().map_err(certificate_error)?;
        let (certificate, private_key) = key.der();
        let chain: Vec<CertificateDer<'static>> = vec![certificate.clone()];
        let expires = SystemTime::now() + CERTIFICATE_LIFE;
        let certificate =
            RTCCertificate::from_pkcs8(crypto.crypto(), SignatureScheme::EcdsaP256Sha256, chain, private_key, expires)
                .map_err(certificate_error)?;
        Ok(Self { certificate, crypto })
    }
}

/// What the crate reports of a connection.
#[derive(Debug)]
pub(super) enum Event {
    /// Where this side may be reached.
    Candidate(String),
    /// The other side was reached: the handshakes begin.
    Reached,
    State(RTCPeerConnectionState),
    /// The peer opened a channel that nobody agreed on.
    StrangeChannel,
}

/// A connection with its two channels, which nothing was said on yet.
pub(super) struct Connection {
    pub(super) connection: Box<dyn PeerConnection>,
    pub(super) reliable: Arc<dyn DataChannel>,
    pub(super) unreliable: Arc<dyn DataChannel>,
}

impl Connection {
    /// Binds the sockets. Whoever has a connection has to close it: the crate does not.
    pub(super) async fn new(
        identity: Identity,
        terms: &Terms,
        (ufrag, pwd): (String, String),
        runtime: LinkRuntime,
        events: mpsc::Sender<Event>,
    ) -> Result<Self> {
        let no_wait = Some(Duration::ZERO);
        let settings = SettingEngineBuilder::new()
            .with_crypto_provider(identity.crypto)
            .with_ice_credentials(ufrag, pwd)
            .with_ice_connection_attempts(Some(ICE_CHECK_INTERVAL), Some(ICE_CHECKS_MAX))
            .with_ice_timeouts(Some(ICE_DISCONNECTED), Some(ICE_FAILED), Some(ICE_KEEP_ALIVE))
            .with_host_acceptance_min_wait(no_wait)
            .with_srflx_acceptance_min_wait(no_wait)
            .with_prflx_acceptance_min_wait(no_wait)
            .with_relay_acceptance_min_wait(no_wait)
            .with_include_loopback_candidate(terms.loopback)
            // It would need a fixed port, and names are of no use here.
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            // The crate has a buffer of this size for each connection.
            .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(limits::CHANNEL_MESSAGE_BYTES_MAX as u32))
            .build();
        let policy = if terms.relay_only { RTCIceTransportPolicy::Relay } else { RTCIceTransportPolicy::All };
        let configuration = RTCConfigurationBuilder::new()
            .with_certificates(vec![identity.certificate])
            .with_ice_servers(terms.ice_servers.iter().map(server).collect())
            .with_ice_transport_policy(policy)
            .build();
        let connection = PeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_setting_engine(settings)
            .with_runtime(Arc::new(runtime))
            .with_handler(Arc::new(Reporter(events)))
            .with_udp_addrs(addresses(terms.loopback))
            .build()
            .await?;
        let channels = async {
            let reliable = connection.create_data_channel(RELIABLE.1, Some(channel(RELIABLE.0, None))).await?;
            let unreliable = connection.create_data_channel(UNRELIABLE.1, Some(channel(UNRELIABLE.0, Some(0)))).await?;
            Ok((reliable, unreliable))
        };
        match channels.await {
            Ok((reliable, unreliable)) => Ok(Self { connection: Box::new(connection), reliable, unreliable }),
            Err(error) => {
                let _ = connection.close().await;
                Err(error)
            }
        }
    }
}

fn server(server: &IceServer) -> RTCIceServer {
    let IceServer { urls, username, credential } = server.clone();
    RTCIceServer { urls, username, credential }
}

fn channel(id: u16, max_retransmits: Option<u16>) -> RTCDataChannelInit {
    RTCDataChannelInit {
        ordered: max_retransmits.is_none(),
        max_retransmits,
        negotiated: Some(id),
        ..Default::default()
    }
}

/// Any address of each network of this machine: the crate takes a socket for each.
fn addresses(loopback: bool) -> Vec<SocketAddr> {
    let mut addresses = vec![(Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into()];
    if loopback {
        addresses.push((Ipv4Addr::LOCALHOST, 0).into());
    }
    addresses
}

/// Passes on what the crate reports. Its task waits meanwhile, so nothing here does.
struct Reporter(mpsc::Sender<Event>);

impl Reporter {
    fn report(&self, event: Event) {
        if let Err(error) = self.0.try_send(event) {
            tracing::debug!(%error, "an event of a WebRTC connection was lost");
        }
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Reporter {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(candidate) = event.candidate.to_json() {
            self.report(Event::Candidate(candidate.candidate));
        }
    }

    async fn on_ice_connection_state_change(&self, state: RTCIceConnectionState) {
        if state == RTCIceConnectionState::Connected {
            self.report(Event::Reached);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.report(Event::State(state));
    }

    async fn on_data_channel(&self, _: Arc<dyn DataChannel>) {
        self.report(Event::StrangeChannel);
    }
}
