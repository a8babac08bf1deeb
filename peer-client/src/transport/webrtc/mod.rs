//! WebRTC links: ICE, DTLS and SCTP to a peer that may be a browser, with what peers say in two data channels.
//!
//! *Who is at the other end.* The certificate is that of the session, the same that QUIC shows, and no description of a peer is taken
//! from the network: the one that the crate gets is composed here, with the fingerprint that the lobby names ([`description`]). So the
//! handshake fails with anybody else, and a forged signal can keep a link from coming about and nothing more.
//!
//! *Channels.* Both are agreed on beforehand, which saves the round of opening them. On the reliable one, two streams of frames with
//! windows of their own share the way ([`lanes`]); on the unreliable one go datagrams, and early copies of messages that may not be
//! lost ([`datagrams`]).
//!
//! *Fast.* With its defaults the crate needs 816 ms over loopback from nothing to the first message, and here it takes 39 (medians of 20,
//! by turns, debug build, two busy cores); through a TURN server 150 to 350 ms instead of 5 seconds. It is not the network that takes
//! the rest:
//!
//! | what | saves | how |
//! |---|---|---|
//! | candidates are checked every 200 ms | 200 ms | [`settings::ICE_CHECK_INTERVAL`] |
//! | channels are announced and that is acknowledged late | 200 ms | they are negotiated |
//! | what a handshake leaves to be sent waits for the crate's next timer | 200 ms | [`task::NUDGE`]: its task is woken while it opens |
//! | reflexive and relayed pairs wait for a better one | 0.5 to 2 s | no such waits |
//!
//! *Bounded.* Memory by the windows and by queues that drop what is oldest; time by the crate's own timeouts and by that of opening.
//! *Nothing is left.* One task owns the connection and closes it, whatever ends the link: its handles are gone, somebody closes it,
//! the peer does, it breaks a rule, or the crate's own task is gone ([`sockets`]).

mod datagrams;
mod description;
mod lanes;
mod settings;
mod shared;
mod sockets;
mod task;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::id::PeerKey;
use protocol::signal::{Description, Signal};
use serde::Deserialize;
use tokio::sync::mpsc;

use self::description::Side;
use self::settings::Identity;
use self::shared::Shared;
use self::task::Attempt;
use super::link::{Link, LinkError, LinkPath, LinkStream};
use super::tls::SessionKey;
use crate::error::Error;
use crate::simulated::NetworkControl;

pub(in crate::transport) use self::lanes::{MESSAGES, STATES};

/// This peer's end of all its WebRTC links.
pub(crate) struct WebRtc {
    identity: Identity,
    network: Option<NetworkControl>,
}

/// What a link is opened with.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// Tells this attempt from others: drawn at random by the one that offers.
    pub(crate) attempt: u32,
    /// The key that the lobby names for the other side.
    pub(crate) expected: PeerKey,
    pub(crate) ice_servers: Vec<IceServer>,
    /// No address of this player may leave, and none of the other is used: relays alone.
    pub(crate) relay_only: bool,
    /// The lobby is on this machine: the other side may be as well.
    pub(crate) loopback: bool,
}

/// A STUN or TURN server, as the lobby service names them. Of TURN servers those on UDP are used.
#[derive(Clone, Deserialize)]
pub(crate) struct IceServer {
    pub(crate) urls: Vec<String>,
    #[serde(default)]
    pub(crate) username: String,
    #[serde(default)]
    pub(crate) credential: String,
}

impl IceServer {
    fn is_turn(&self) -> bool {
        self.urls.iter().any(|url| url.starts_with("turn:"))
    }
}

impl std::fmt::Debug for IceServer {
    /// Without the credential (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// The way to the other side through the lobby, for one attempt.
pub(crate) struct Signalling {
    /// Signals for the other side. Where it is full they are lost, as the service may lose them.
    pub(crate) outgoing: mpsc::Sender<Signal>,
    /// Signals of the other side: those of this attempt count.
    pub(crate) incoming: mpsc::Receiver<Signal>,
}

impl WebRtc {
    /// For links of the process that holds this key, over a simulated network where there is one.
    ///
    /// # Errors
    /// [`Error::Certificate`] if the crate cannot use it.
    pub(crate) fn new(key: &SessionKey, network: Option<&NetworkControl>) -> Result<Self, Error> {
        Ok(Self { identity: Identity::new(key)?, network: network.cloned() })
    }

    /// Opens a link to a peer, which has to answer. Giving up is dropping the future.
    pub(crate) async fn offer(&self, terms: Terms, signalling: Signalling) -> Result<(Link, LinkStream), LinkError> {
        let link = self.open(terms, signalling, None).await?;
        let stream = link.stream().await?;
        Ok((link, stream))
    }

    /// Answers a peer that offers. Giving up is dropping the future.
    pub(crate) async fn answer(
        &self,
        terms: Terms,
        signalling: Signalling,
        offer: Description,
    ) -> Result<Link, LinkError> {
        self.open(terms, signalling, Some(offer)).await
    }

    async fn open(&self, terms: Terms, signalling: Signalling, offer: Option<Description>) -> Result<Link, LinkError> {
        if terms.relay_only && !terms.ice_servers.iter().any(IceServer::is_turn) {
            return Err(LinkError::Dial("addresses are secret, and there is no TURN server".to_owned()));
        }
        let link = WebRtcLink(Arc::new(Owner(Arc::new(Shared::new()))));
        let attempt = Attempt {
            side: if offer.is_some() { Side::Answering } else { Side::Offering },
            offer,
            terms,
            signalling,
            identity: self.identity.clone(),
            network: self.network.clone(),
            shared: link.0.0.clone(),
        };
        tokio::spawn(attempt.run());
        link.0.0.opened().await?;
        Ok(Link::WebRtc(link))
    }
}

/// A WebRTC connection to a peer. It is closed when the last of its handles is gone.
#[derive(Debug, Clone)]
pub(crate) struct WebRtcLink(Arc<Owner>);

/// Closes the link in the end: its task alone does not keep it.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.end("it was given up");
    }
}

impl WebRtcLink {
    /// One end of a lane, to write on. There is one.
    pub(super) fn writer(&self, lane: usize) -> Result<LaneWriter, LinkError> {
        self.0.0.take_writer(lane)?;
        Ok(LaneWriter { link: self.clone(), lane })
    }

    /// One end of a lane, to read from. There is one.
    pub(super) fn reader(&self, lane: usize) -> Result<LaneReader, LinkError> {
        self.0.0.take_reader(lane)?;
        Ok(LaneReader { link: self.clone(), lane })
    }

    /// Sends a datagram. The oldest make room for it.
    pub(super) fn send_datagram(&self, datagram: Bytes) {
        self.0.0.send_datagram(datagram);
    }

    /// The next datagram: also the early copies of numbered messages, whichever comes first.
    pub(super) async fn datagram(&self) -> Result<Bytes, LinkError> {
        self.0.0.datagram().await
    }

    /// As ICE measured it last, at most a second ago.
    pub(super) fn round_trip(&self) -> Duration {
        self.0.0.round_trip()
    }

    pub(super) fn path(&self) -> LinkPath {
        self.0.0.path()
    }

    /// Waits until it is down.
    pub(super) async fn closed(&self) {
        self.0.0.closed().await;
    }

    /// Closes it, with whatever is under way.
    pub(super) fn close(&self) {
        self.0.0.end("it was closed");
    }
}

/// Writes on a lane.
pub(crate) struct LaneWriter {
    link: WebRtcLink,
    lane: usize,
}

impl LaneWriter {
    /// Writes whole frames, as far as the peer has room for them.
    pub(super) async fn write(&mut self, chunks: &mut [Bytes]) -> Result<(), LinkError> {
        self.link.0.0.write(self.lane, chunks).await
    }

    /// Returns when the peer has all messages.
    pub(super) async fn finish(self) {
        self.link.0.0.finish().await;
    }
}

/// Reads from a lane.
pub(crate) struct LaneReader {
    link: WebRtcLink,
    lane: usize,
}

impl LaneReader {
    /// What came next. May be dropped while it waits.
    pub(super) async fn read(&mut self) -> Result<Bytes, LinkError> {
        self.link.0.0.read(self.lane).await
    }
}
