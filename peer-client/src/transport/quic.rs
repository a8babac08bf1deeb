//! QUIC links: one connection to a peer, with one stream for what must arrive and datagrams for what may be lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::id::PeerKey;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, RecvStream, SendStream, TokioRuntime, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;

use super::link::{Link, LinkError, LinkPath, LinkStream};
use super::socket::{Carrier, PeerSocket, is_relayed};
use super::tls::{self, SessionKey};
use crate::error::Error;

/// A link on which nothing came for this long is down. Thirty heartbeats.
const IDLE_TIMEOUT_MS: u32 = 3000;
/// A dial that is not answered by then has failed.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Assumed until it is measured: a lost first flight is sent again after three of these.
const INITIAL_RTT: Duration = Duration::from_millis(50);
/// What every path carries, and a relay frame as well.
const MTU_BYTES: u16 = 1200;
/// Unsent and unread datagrams of a link; above it the oldest are dropped.
const DATAGRAM_BUFFER_BYTES: usize = 256 * 1024;
/// Unacknowledged bytes of a link's streams.
const SEND_WINDOW_BYTES: u64 = 2 * 1024 * 1024;
/// Unread bytes of each of a link's two streams.
const RECEIVE_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes read from a stream at once.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// This peer's end of all its links.
pub(crate) struct Transport {
    endpoint: Endpoint,
    key: SessionKey,
    config: Arc<TransportConfig>,
    socket: Arc<PeerSocket>,
}

impl Transport {
    /// Opens the endpoint on a socket.
    pub(crate) fn new(socket: Arc<PeerSocket>, key: SessionKey) -> Result<Self, Error> {
        let config = Arc::new(transport_config());
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(key.server_config()?));
        server.transport_config(config.clone());
        let endpoint = Endpoint::new_with_abstract_socket(
            EndpointConfig::default(),
            Some(server),
            socket.clone(),
            Arc::new(TokioRuntime),
        )
        .map_err(Error::Socket)?;
        Ok(Self { endpoint, key, config, socket })
    }

    /// Opens a link to the peer at an address, whose certificate must have this fingerprint.
    pub(crate) async fn dial(&self, address: SocketAddr, expected: PeerKey) -> Result<(Link, LinkStream), LinkError> {
        let crypto = self.key.client_config(expected).map_err(|error| LinkError::Dial(error.to_string()))?;
        let mut client = quinn::ClientConfig::new(Arc::new(crypto));
        client.transport_config(self.config.clone());
        let connecting = self
            .endpoint
            .connect_with(client, super::socket::mapped(address), tls::NAME)
            .map_err(|error| LinkError::Dial(error.to_string()))?;
        let opened = async {
            let connection = connecting.await?;
            let streams = connection.open_bi().await?;
            Ok((Link::Quic(QuicLink { connection, socket: self.socket.clone() }), LinkStream::quic(streams)))
        };
        tokio::time::timeout(DIAL_TIMEOUT, opened).await.map_err(|_| LinkError::TimedOut)?
    }

    /// The next peer that dials; `None`: the endpoint is closed.
    pub(crate) async fn accept(&self) -> Option<Arrival> {
        Some(Arrival { incoming: self.endpoint.accept().await?, socket: self.socket.clone() })
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.endpoint.close(VarInt::from_u32(0), b"");
    }
}

fn transport_config() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .initial_rtt(INITIAL_RTT)
        .initial_mtu(MTU_BYTES)
        .min_mtu(MTU_BYTES)
        .mtu_discovery_config(None)
        .send_window(SEND_WINDOW_BYTES)
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(2 * RECEIVE_WINDOW_BYTES))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        .enable_segmentation_offload(false);
    config
}

/// A peer that dials.
pub(crate) struct Arrival {
    incoming: quinn::Incoming,
    socket: Arc<PeerSocket>,
}

impl Arrival {
    /// Sends it away at once: too many are on their way in.
    pub(crate) fn refuse(self) {
        self.incoming.refuse();
    }

    /// Finishes the handshake. The fingerprint is of the certificate whose key the peer has proven to hold.
    pub(crate) async fn finish(self) -> Result<(Link, PeerKey), LinkError> {
        let connecting = self.incoming.accept()?;
        let connection = tokio::time::timeout(DIAL_TIMEOUT, connecting).await.map_err(|_| LinkError::TimedOut)??;
        let peer_key = connection
            .peer_identity()
            .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
            .and_then(|chain| chain.first().map(tls::fingerprint))
            .ok_or_else(|| LinkError::Down("the peer showed no certificate".to_owned()))?;
        Ok((Link::Quic(QuicLink { connection, socket: self.socket }), peer_key))
    }
}

/// A QUIC connection to a peer.
#[derive(Debug, Clone)]
pub(crate) struct QuicLink {
    connection: quinn::Connection,
    socket: Arc<PeerSocket>,
}

impl QuicLink {
    /// Waits for the stream that the dialing side opens.
    pub(super) async fn stream(&self) -> Result<(SendStream, RecvStream), LinkError> {
        let accepted = tokio::time::timeout(DIAL_TIMEOUT, self.connection.accept_bi());
        Ok(accepted.await.map_err(|_| LinkError::TimedOut)??)
    }

    /// Opens the stream for states.
    pub(super) async fn open_states(&self) -> Result<SendStream, LinkError> {
        let stream = self.connection.open_uni().await?;
        // The other stream goes first.
        let _ = stream.set_priority(-1);
        Ok(stream)
    }

    /// Waits for the stream of states that the other side opens.
    pub(super) async fn accept_states(&self) -> Result<RecvStream, LinkError> {
        Ok(self.connection.accept_uni().await?)
    }

    /// Sends a datagram, or loses it.
    pub(super) fn send_datagram(&self, datagram: Bytes) {
        if let Err(error) = self.connection.send_datagram(datagram) {
            tracing::trace!(%error, "a datagram was not sent");
        }
    }

    /// The next datagram.
    pub(super) async fn datagram(&self) -> Result<Bytes, LinkError> {
        Ok(self.connection.read_datagram().await?)
    }

    /// As it is measured now.
    pub(super) fn round_trip(&self) -> Duration {
        self.connection.rtt()
    }

    /// Through the relay or straight: the address of the peer tells.
    pub(super) fn path(&self) -> LinkPath {
        match (is_relayed(self.connection.remote_address()), self.socket.carrier()) {
            (false, _) => LinkPath::Direct,
            (true, Carrier::Udp) => LinkPath::Relay,
            (true, Carrier::WebSocket) => LinkPath::RelayWebSocket,
        }
    }

    /// Waits until it is down.
    pub(super) async fn closed(&self) {
        self.connection.closed().await;
    }

    /// Closes it, with whatever is under way.
    pub(super) fn close(&self) {
        self.connection.close(VarInt::from_u32(0), b"");
    }
}

/// Writes what is there, as far as the peer takes it.
pub(super) async fn write(stream: &mut SendStream, chunks: &mut [Bytes]) -> Result<(), LinkError> {
    stream.write_all_chunks(chunks).await.map_err(|error| LinkError::Down(error.to_string()))
}

/// Ends the stream; returns when the peer has all of it.
pub(super) async fn finish(stream: &mut SendStream) {
    // Closed already: then there is nothing to wait for.
    if stream.finish().is_ok() {
        let _ = stream.stopped().await;
    }
}

/// What came next; `None`: the peer has finished. May be dropped while it waits.
pub(super) async fn read(stream: &mut RecvStream) -> Result<Option<Bytes>, LinkError> {
    let chunk = stream.read_chunk(CHUNK_BYTES_MAX, true).await;
    Ok(chunk.map_err(|error| LinkError::Down(error.to_string()))?.map(|chunk| chunk.bytes))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// An end on the loopback interface; with the address that it listens on, and its fingerprint.
    fn end() -> (Transport, SocketAddr, PeerKey) {
        let (socket, _) = PeerSocket::bind((Ipv4Addr::LOCALHOST, 0).into(), None).unwrap();
        let address = socket.listens_on().unwrap();
        let key = SessionKey::generate().unwrap();
        let peer_key = key.peer_key();
        (Transport::new(Arc::new(socket), key).unwrap(), address, peer_key)
    }

    #[tokio::test]
    async fn both_sides_know_each_other_and_exchange_frames_and_datagrams() {
        let ((host, address, host_key), (guest, _, guest_key)) = (end(), end());
        let dialling = async {
            let (link, stream) = guest.dial(address, host_key).await.unwrap();
            let (mut writer, reader) = stream.split();
            let mut frame = [Bytes::from_static(&[0, 0, 0, 5]), Bytes::from_static(b"hello")];
            writer.write(&mut frame).await.unwrap();
            link.send_datagram(b"quick".to_vec());
            (link, writer, reader)
        };
        let accepting = async {
            let (link, peer_key) = host.accept().await.unwrap().finish().await.unwrap();
            let mut stream = link.stream().await.unwrap();
            assert_eq!(peer_key, guest_key);
            assert_eq!(stream.receive.frame(5).await.unwrap(), "hello");
            assert_eq!(link.datagram().await.unwrap(), "quick");
            let Link::Quic(QuicLink { connection, .. }) = &link else { panic!("it was accepted by QUIC") };
            assert!(connection.max_datagram_size().unwrap() >= protocol::limits::DATAGRAM_BYTES_MAX);
            assert_eq!(link.path(), LinkPath::Direct);
            (link, stream)
        };
        let ((_guest_link, writer, _reader), (_host_link, mut stream)) = tokio::join!(dialling, accepting);
        let ended = async { stream.receive.frame(5).await };
        let (ended, ()) = tokio::join!(ended, writer.finish());
        assert!(matches!(ended, Err(LinkError::Finished)));
    }

    #[tokio::test]
    async fn a_host_with_another_certificate_is_not_spoken_to() {
        let ((host, address, _), (guest, _, guest_key)) = (end(), end());
        let (dialled, accepted) =
            tokio::join!(guest.dial(address, guest_key), async { host.accept().await.unwrap().finish().await });
        assert!(dialled.is_err());
        assert!(accepted.is_err(), "the handshake has failed for both");
    }

    #[tokio::test]
    async fn a_guest_without_a_certificate_is_not_let_in() {
        let (host, address, _) = end();
        let verifier = Arc::new(tls::tests::AnyHost);
        let mut crypto =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth();
        crypto.alpn_protocols = vec![b"understudy/1".to_vec()];
        let config =
            quinn::ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(crypto).unwrap()));
        let stranger = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let connecting = stranger.connect_with(config, address, tls::NAME).unwrap();
        let (_, accepted) = tokio::join!(connecting, async { host.accept().await.unwrap().finish().await });
        assert!(accepted.is_err());
    }

    #[tokio::test]
    async fn a_frame_larger_than_is_allowed_ends_the_link() {
        let ((host, address, host_key), (guest, ..)) = (end(), end());
        let dialling = async {
            let (link, stream) = guest.dial(address, host_key).await.unwrap();
            let (mut writer, reader) = stream.split();
            writer.write(&mut [Bytes::from_static(&[0xff; 4])]).await.unwrap();
            (link, writer, reader)
        };
        let accepting = async {
            let (link, _) = host.accept().await.unwrap().finish().await.unwrap();
            let mut stream = link.stream().await.unwrap();
            assert!(matches!(stream.receive.frame(1000).await, Err(LinkError::TooLarge)));
        };
        let _ = tokio::join!(dialling, accepting);
    }
}
