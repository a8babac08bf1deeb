//! A link to a peer, whichever transport carries it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::quic::{self, QuicLink};
use super::webrtc::{LaneReader, LaneWriter, MESSAGES, STATES, WebRtcLink};

/// The way that a link's bytes take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkPath {
    /// QUIC through the lobby's relay.
    Relay,
    /// The same, but this end of it reaches the relay by a WebSocket: UDP does not get through.
    RelayWebSocket,
    /// QUIC straight to the peer's address.
    Direct,
    /// WebRTC data channels.
    WebRtc {
        /// They go through a TURN server, not straight.
        turned: bool,
    },
}

impl LinkPath {
    /// A name for people and programs; it does not change.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::RelayWebSocket => "relay_web_socket",
            Self::Direct => "direct",
            Self::WebRtc { turned: false } => "web_rtc",
            Self::WebRtc { turned: true } => "web_rtc_turned",
        }
    }
}

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

/// A connection to a peer.
#[derive(Debug, Clone)]
pub(crate) enum Link {
    Quic(QuicLink),
    WebRtc(WebRtcLink),
}

impl Link {
    /// The stream that the dialing side opens.
    pub(crate) async fn stream(&self) -> Result<LinkStream, LinkError> {
        match self {
            Self::Quic(link) => Ok(LinkStream::quic(link.stream().await?)),
            Self::WebRtc(link) => LinkStream::webrtc(link),
        }
    }

    /// Opens the stream for states, on which the game's messages do not wait.
    pub(crate) async fn open_states(&self) -> Result<FrameWriter, LinkError> {
        match self {
            Self::Quic(link) => Ok(FrameWriter::Quic(link.open_states().await?)),
            Self::WebRtc(link) => Ok(FrameWriter::WebRtc(link.writer(STATES)?)),
        }
    }

    /// Waits for the stream of states that the other side opens.
    pub(crate) async fn accept_states(&self) -> Result<FrameReader, LinkError> {
        match self {
            Self::Quic(link) => Ok(FrameReader::new(Source::Quic(link.accept_states().await?))),
            Self::WebRtc(link) => Ok(FrameReader::new(Source::WebRtc(link.reader(STATES)?))),
        }
    }

    /// Sends a datagram. Where too many wait, the oldest is dropped; on a link that is down it is lost, as any datagram may be.
    pub(crate) fn send_datagram(&self, datagram: Vec<u8>) {
        match self {
            Self::Quic(link) => link.send_datagram(datagram.into()),
            Self::WebRtc(link) => link.send_datagram(datagram.into()),
        }
    }

    /// The next datagram.
    pub(crate) async fn datagram(&self) -> Result<Bytes, LinkError> {
        match self {
            Self::Quic(link) => link.datagram().await,
            Self::WebRtc(link) => link.datagram().await,
        }
    }

    /// As it is measured now.
    pub(crate) fn round_trip(&self) -> Duration {
        match self {
            Self::Quic(link) => link.round_trip(),
            Self::WebRtc(link) => link.round_trip(),
        }
    }

    /// The way that it takes now.
    pub(crate) fn path(&self) -> LinkPath {
        match self {
            Self::Quic(link) => link.path(),
            Self::WebRtc(link) => link.path(),
        }
    }

    /// Waits until it is down.
    pub(crate) async fn closed(&self) {
        match self {
            Self::Quic(link) => link.closed().await,
            Self::WebRtc(link) => link.closed().await,
        }
    }

    /// Closes it, with whatever is under way.
    pub(crate) fn close(&self) {
        match self {
            Self::Quic(link) => link.close(),
            Self::WebRtc(link) => link.close(),
        }
    }
}

/// The stream of a link.
pub(crate) struct LinkStream {
    pub(super) send: FrameWriter,
    pub(crate) receive: FrameReader,
}

impl LinkStream {
    pub(super) fn quic((send, receive): (quinn::SendStream, quinn::RecvStream)) -> Self {
        Self { send: FrameWriter::Quic(send), receive: FrameReader::new(Source::Quic(receive)) }
    }

    fn webrtc(link: &WebRtcLink) -> Result<Self, LinkError> {
        let receive = FrameReader::new(Source::WebRtc(link.reader(MESSAGES)?));
        Ok(Self { send: FrameWriter::WebRtc(link.writer(MESSAGES)?), receive })
    }

    pub(crate) fn split(self) -> (FrameWriter, FrameReader) {
        (self.send, self.receive)
    }
}

/// Writes frames, each after its length.
pub(crate) enum FrameWriter {
    Quic(quinn::SendStream),
    WebRtc(LaneWriter),
}

impl FrameWriter {
    /// Writes whole frames, as far as the peer takes them; returns when all of them are on their way.
    pub(crate) async fn write(&mut self, chunks: &mut [Bytes]) -> Result<(), LinkError> {
        match self {
            Self::Quic(stream) => quic::write(stream, chunks).await,
            Self::WebRtc(lane) => lane.write(chunks).await,
        }
    }

    /// Ends the stream; returns when the peer has all of it.
    pub(crate) async fn finish(self) {
        match self {
            Self::Quic(mut stream) => quic::finish(&mut stream).await,
            Self::WebRtc(lane) => lane.finish().await,
        }
    }
}

/// Where the bytes of frames come from.
enum Source {
    Quic(quinn::RecvStream),
    WebRtc(LaneReader),
}

impl Source {
    /// What came next; `None`: the peer has finished. May be dropped while it waits.
    async fn chunk(&mut self) -> Result<Option<Bytes>, LinkError> {
        match self {
            Self::Quic(stream) => quic::read(stream).await,
            Self::WebRtc(lane) => lane.read().await.map(Some),
        }
    }
}

/// Reads frames.
pub(crate) struct FrameReader {
    source: Source,
    buffer: BytesMut,
}

impl FrameReader {
    fn new(source: Source) -> Self {
        Self { source, buffer: BytesMut::new() }
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
            match self.source.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Err(LinkError::Finished),
            }
        }
    }
}
