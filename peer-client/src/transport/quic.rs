//! QUIC links: one connection to a peer, with one stream for what must arrive and datagrams for what may be lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use protocol::id::PeerKey;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;

use super::socket::PeerSocket;
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

/// Why a link is not, or no longer, there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("it could not be dialled: {0}")]
    Dial(String),
    #[error("the peer did not answer in time")]
    TimedOut,
    #[error("the peer closed its stream")]
    Finished,
    #[error("the link is down: {0}")]
    Down(String),
    #[error("the peer's frame is larger than is allowed")]
    TooLarge,
}

impl From<quinn::ConnectionError> for LinkError {
    fn from(error: quinn::ConnectionError) -> Self {
        Self::Down(error.to_string())
    }
}

/// This peer's end of all its links.
pub(crate) struct Transport {
    endpoint: Endpoint,
    key: SessionKey,
    config: Arc<TransportConfig>,
}

impl Transport {
    /// Opens the endpoint on a socket.
    pub(crate) fn new(socket: Arc<PeerSocket>, key: SessionKey) -> Result<Self, Error> {
        let config = Arc::new(transport_config());
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(key.server_config()?));
        server.transport_config(config.clone());
        let endpoint =
            Endpoint::new_with_abstract_socket(EndpointConfig::default(), Some(server), socket, Arc::new(TokioRuntime))
                .map_err(Error::Socket)?;
        Ok(Self { endpoint, key, config })
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
            let (send, receive) = connection.open_bi().await?;
            Ok((Link { connection }, LinkStream { send, receive: FrameReader::new(receive) }))
        };
        tokio::time::timeout(DIAL_TIMEOUT, opened).await.map_err(|_| LinkError::TimedOut)?
    }

    /// The next peer that dials; `None`: the endpoint is closed.
    pub(crate) async fn accept(&self) -> Option<Arrival> {
        Some(Arrival(self.endpoint.accept().await?))
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
pub(crate) struct Arrival(quinn::Incoming);

impl Arrival {
    /// Sends it away at once: too many are on their way in.
    pub(crate) fn refuse(self) {
        self.0.refuse();
    }

    /// Finishes the handshake. The fingerprint is of the certificate whose key the peer has proven to hold.
    pub(crate) async fn finish(self) -> Result<(Link, PeerKey), LinkError> {
        let connecting = self.0.accept()?;
        let connection = tokio::time::timeout(DIAL_TIMEOUT, connecting).await.map_err(|_| LinkError::TimedOut)??;
        let peer_key = connection
            .peer_identity()
            .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
            .and_then(|chain| chain.first().map(tls::fingerprint))
            .ok_or_else(|| LinkError::Down("the peer showed no certificate".to_owned()))?;
        Ok((Link { connection }, peer_key))
    }
}

/// A connection to a peer.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    connection: quinn::Connection,
}

impl Link {
    /// The stream that the dialing side opens.
    pub(crate) async fn stream(&self) -> Result<LinkStream, LinkError> {
        let accepted = tokio::time::timeout(DIAL_TIMEOUT, self.connection.accept_bi());
        let (send, receive) = accepted.await.map_err(|_| LinkError::TimedOut)??;
        Ok(LinkStream { send, receive: FrameReader::new(receive) })
    }

    /// Opens the stream for states, on which the game's messages do not wait.
    pub(crate) async fn open_states(&self) -> Result<FrameWriter, LinkError> {
        let stream = self.connection.open_uni().await?;
        // The other stream goes first.
        let _ = stream.set_priority(-1);
        Ok(FrameWriter(stream))
    }

    /// Waits for the stream of states that the other side opens.
    pub(crate) async fn accept_states(&self) -> Result<FrameReader, LinkError> {
        Ok(FrameReader::new(self.connection.accept_uni().await?))
    }

    /// Sends a datagram. Where too many wait, the oldest is dropped; on a link that is down it is lost, as any datagram may be.
    pub(crate) fn send_datagram(&self, datagram: Vec<u8>) {
        if let Err(error) = self.connection.send_datagram(datagram.into()) {
            tracing::trace!(%error, "a datagram was not sent");
        }
    }

    /// The next datagram.
    pub(crate) async fn datagram(&self) -> Result<Bytes, LinkError> {
        Ok(self.connection.read_datagram().await?)
    }

    /// As it is measured now.
    pub(crate) fn round_trip(&self) -> Duration {
        self.connection.rtt()
    }

    /// Waits until it is down.
    pub(crate) async fn closed(&self) {
        self.connection.closed().await;
    }

    /// Closes it, with whatever is under way.
    pub(crate) fn close(&self) {
        self.connection.close(VarInt::from_u32(0), b"");
    }
}

/// The stream of a link.
pub(crate) struct LinkStream {
    send: quinn::SendStream,
    pub(crate) receive: FrameReader,
}

impl LinkStream {
    pub(crate) fn split(self) -> (FrameWriter, FrameReader) {
        (FrameWriter(self.send), self.receive)
    }
}

/// Writes frames, each after its length.
pub(crate) struct FrameWriter(quinn::SendStream);

impl FrameWriter {
    /// Writes what is there, as far as the peer takes it; returns when all of it is on its way.
    pub(crate) async fn write(&mut self, chunks: &mut [Bytes]) -> Result<(), LinkError> {
        self.0.write_all_chunks(chunks).await.map_err(|error| LinkError::Down(error.to_string()))
    }

    /// Ends the stream; returns when the peer has all of it.
    pub(crate) async fn finish(mut self) {
        // Closed already: then there is nothing to wait for.
        if self.0.finish().is_ok() {
            let _ = self.0.stopped().await;
        }
    }
}

/// Reads frames.
pub(crate) struct FrameReader {
    stream: quinn::RecvStream,
    buffer: BytesMut,
}

impl FrameReader {
    fn new(stream: quinn::RecvStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next frame, without its length. May be dropped while it waits: nothing is lost.
    pub(crate) async fn frame(&mut self, bytes_max: usize) -> Result<Bytes, LinkError> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<4>() {
                let length = u32::from_be_bytes(*head) as usize;
                if length > bytes_max {
                    return Err(LinkError::TooLarge);
                }
                if self.buffer.len() >= 4 + length {
                    let mut frame = self.buffer.split_to(4 + length);
                    return Ok(frame.split_off(4).freeze());
                }
            }
            let chunk = self.stream.read_chunk(CHUNK_BYTES_MAX, true).await;
            match chunk.map_err(|error| LinkError::Down(error.to_string()))? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk.bytes),
                None => return Err(LinkError::Finished),
            }
        }
    }
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
            assert!(link.connection.max_datagram_size().unwrap() >= crate::transport::DATAGRAM_BYTES_MAX);
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
