//! Opening a link: what both sides tell each other, and waking the crate until it is up.

use std::time::{Duration, Instant};

use protocol::id::PeerKey;
use protocol::limits;
use protocol::signal::{Description, Signal};
use tokio::time::timeout;
use webrtc::peer_connection::{RTCIceCandidateInit, RTCPeerConnectionState, RTCSessionDescription};

use super::super::super::tls::fingerprint;
use super::super::description::{Side, is_usable, session_description, to_tell};
use super::super::lanes::{LANES, taken_message};
use super::super::settings::{Connection, Event};
use super::{CHANNEL_BYTES_MIN, End, Task};

/// From the first answer of the other side on. A lost packet of a handshake is sent again after one second, the next after two; and a
/// handshake with somebody else just goes on: the crate does not tell that it refused a certificate.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(4);
/// The first candidates, which are of this machine's own sockets, are waited for this long, so that they go with the description.
const CANDIDATES_WAIT: Duration = Duration::from_millis(50);
/// Candidates of the other side that are tried, in all. Each is paired with each of this side and checked fifty times a second: more would
/// let a member have this one send much to addresses of its choice.
const REMOTE_CANDIDATES_MAX: usize = 10;

impl Task {
    /// Tells the other side how this one is reached.
    pub(super) async fn describe_self(
        &mut self,
        side: Side,
        offer: Option<Description>,
        (ufrag, pwd): (String, String),
    ) -> Result<(), End> {
        let connection = &self.connection.connection;
        let local = match &offer {
            None => connection.create_offer(None).await?,
            Some(offer) => {
                self.describe_other(offer, Side::Offering).await?;
                self.connection.connection.create_answer(None).await?
            }
        };
        self.connection.connection.set_local_description(local).await?;
        let candidates = if self.terms.relay_only { Vec::new() } else { self.first_candidates().await? };
        let (attempt, description) = (self.terms.attempt, Description { ufrag, pwd, candidates });
        self.tell(match side {
            Side::Offering => Signal::Offer { attempt, description },
            Side::Answering => Signal::Answer { attempt, description },
        });
        Ok(())
    }

    /// The candidates of this machine's own sockets, which the crate names all at once.
    async fn first_candidates(&mut self) -> Result<Vec<String>, End> {
        let mut candidates = Vec::new();
        while candidates.is_empty() {
            let Ok(Some(event)) = timeout(CANDIDATES_WAIT, self.events.recv()).await else { break };
            candidates.extend(self.candidate_of(event)?);
        }
        while candidates.len() < limits::SIGNAL_CANDIDATES_MAX
            && let Ok(event) = self.events.try_recv()
        {
            candidates.extend(self.candidate_of(event)?);
        }
        Ok(candidates)
    }

    /// Tells the crate who the other side is.
    async fn describe_other(&mut self, said: &Description, side: Side) -> Result<(), End> {
        let text = session_description(said, self.terms.expected, side);
        let description = match side {
            Side::Offering => RTCSessionDescription::offer(text)?,
            Side::Answering => RTCSessionDescription::answer(text)?,
        };
        self.connection.connection.set_remote_description(description).await?;
        self.is_described = true;
        self.add_candidates(&said.candidates).await;
        Ok(())
    }

    async fn add_candidates(&mut self, candidates: &[String]) {
        for candidate in candidates.iter().filter(|candidate| is_usable(candidate, self.terms.relay_only)) {
            if self.remote_candidates == REMOTE_CANDIDATES_MAX {
                return tracing::debug!("a peer has too many candidates");
            }
            self.remote_candidates += 1;
            let candidate = RTCIceCandidateInit {
                candidate: candidate.clone(),
                sdp_mid: Some("0".to_owned()),
                sdp_mline_index: Some(0),
                ..Default::default()
            };
            if let Err(error) = self.connection.connection.add_ice_candidate(candidate).await {
                tracing::debug!(%error, "a candidate was not taken");
            }
        }
    }

    /// Wakes the crate's task. To set what is set already is the one way to do only that.
    pub(super) async fn nudge(&self) -> Result<(), End> {
        if Instant::now() >= self.give_up_at {
            return Err(End::TimedOut);
        }
        let Connection { reliable, unreliable, .. } = &self.connection;
        for channel in [reliable, unreliable] {
            channel.set_buffered_amount_low_threshold(CHANNEL_BYTES_MIN as u32 / 2).await?;
        }
        Ok(())
    }

    /// Both channels are open: with the right peer, or not at all.
    pub(super) async fn opened(&mut self) -> Result<(), End> {
        let is_expected = self.remote_key().await == Some(self.terms.expected);
        if !is_expected {
            return Err(End::Stranger);
        }
        self.nudge().await?;
        if self.answers {
            self.connection.reliable.send(taken_message([0; LANES])).await?;
        }
        self.measure().await;
        self.shared.open();
        Ok(())
    }

    /// The fingerprint of the certificate that the peer showed. The crate has compared it; so much depends on it that it is done twice.
    async fn remote_key(&self) -> Option<PeerKey> {
        let transport = self.connection.connection.sctp().await?.transport();
        let certificates = transport.get_remote_certificates().await.ok()?;
        certificates.into_iter().next().map(|certificate| fingerprint(&certificate.into()))
    }

    /// What of it the other side is to know.
    pub(super) fn candidate_of(&mut self, event: Event) -> Result<Option<String>, End> {
        match event {
            Event::Candidate(candidate) => Ok(to_tell(&candidate, self.terms.relay_only)),
            Event::Reached => {
                self.give_up_at = self.give_up_at.min(Instant::now() + HANDSHAKE_TIMEOUT);
                Ok(None)
            }
            Event::State(RTCPeerConnectionState::Failed) => Err(End::Failed),
            Event::State(RTCPeerConnectionState::Closed) => Err(End::Closed),
            Event::State(state) => {
                tracing::trace!(%state, "a WebRTC connection changed");
                Ok(None)
            }
            Event::StrangeChannel => Err(End::StrangeChannel),
        }
    }

    /// A signal of the other side. One that makes no sense is dropped: it may be forged.
    pub(super) async fn signal(&mut self, signal: Signal) -> Result<(), End> {
        if signal.attempt() != self.terms.attempt {
            return Ok(());
        }
        match signal.admitted(self.terms.relay_only) {
            Ok(Signal::Answer { description, .. }) if !self.is_described => {
                self.describe_other(&description, Side::Answering).await?;
            }
            Ok(Signal::Candidates { candidates, .. }) if self.is_described => self.add_candidates(&candidates).await,
            Ok(Signal::Close { .. }) => return Err(End::Closed),
            Ok(Signal::Offer { .. } | Signal::Answer { .. } | Signal::Candidates { .. }) => {}
            Err(error) => tracing::debug!(%error, "a signal was dropped"),
        }
        Ok(())
    }

    pub(super) fn tell(&self, signal: Signal) {
        if self.outgoing.try_send(signal).is_err() {
            tracing::debug!("a signal was lost: too many wait");
        }
    }
}
