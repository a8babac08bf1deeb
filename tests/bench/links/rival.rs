//! The crate with its defaults: two connections in this process, with channels that are announced.

mod lossy;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::BytesMut;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceCandidateInit, RTCPeerConnectionIceEvent,
    SettingEngineBuilder,
};

pub(crate) use self::lossy::Loss;
use self::lossy::LossyRuntime;
use super::seat::SMALL_BYTES;
use super::{Failure, payload};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

type Connection = Arc<dyn PeerConnection>;
type Channel = Arc<dyn DataChannel>;

/// What a connection reports.
enum Report {
    Candidate(RTCIceCandidateInit),
    Channel(Channel),
}

struct Reporter(mpsc::UnboundedSender<Report>);

#[async_trait]
impl PeerConnectionEventHandler for Reporter {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(candidate) = event.candidate.to_json() {
            // The other side needs no more of them.
            let _ = self.0.send(Report::Candidate(candidate));
        }
    }

    async fn on_data_channel(&self, channel: Channel) {
        let _ = self.0.send(Report::Channel(channel));
    }
}

/// Two connections and their channels, open.
pub(crate) struct Rival {
    connections: [Connection; 2],
    reliable: Channel,
    /// The reliable channel at the other end.
    arriving: Channel,
    /// Both ends of the unreliable one: it closes without.
    _unreliable: [Channel; 2],
    signalling: [AbortHandle; 2],
}

impl Rival {
    /// Opens one as whoever reads the crate's examples does. Returns how long it took until the first message was there.
    pub(crate) async fn open(loss: Option<&Loss>) -> Result<(Self, Duration), Failure> {
        let began = Instant::now();
        let (offering, offering_reports) = connection(loss).await?;
        let (answering, answering_reports) = connection(loss).await?;
        let reliable = offering.create_data_channel("reliable", None).await?;
        let options = RTCDataChannelInit { ordered: false, max_retransmits: Some(0), ..Default::default() };
        let unreliable = offering.create_data_channel("unreliable", Some(options)).await?;
        let offer = offering.create_offer(None).await?;
        offering.set_local_description(offer.clone()).await?;
        answering.set_remote_description(offer).await?;
        let answer = answering.create_answer(None).await?;
        answering.set_local_description(answer.clone()).await?;
        offering.set_remote_description(answer).await?;
        let (channels, mut opened) = mpsc::unbounded_channel();
        let signalling = [
            tokio::spawn(pass_on(offering_reports, answering.clone(), channels.clone())).abort_handle(),
            tokio::spawn(pass_on(answering_reports, offering.clone(), channels)).abort_handle(),
        ];
        for channel in [&reliable, &unreliable] {
            while !matches!(event(channel).await?, DataChannelEvent::OnOpen) {}
        }
        reliable.send(payload::stamped(SMALL_BYTES)[..].into()).await?;
        let [first, second] = [next(&mut opened).await?, next(&mut opened).await?];
        let (arriving, other) = if first.label().await? == "reliable" { (first, second) } else { (second, first) };
        let connections = [offering, answering];
        let rival = Self { connections, reliable, arriving, _unreliable: [unreliable, other], signalling };
        rival.message().await?;
        Ok((rival, began.elapsed()))
    }

    /// Sends a message that says when.
    pub(crate) async fn say(&self) -> Result<(), Failure> {
        Ok(self.reliable.send(payload::stamped(SMALL_BYTES)[..].into()).await?)
    }

    /// The next message.
    pub(crate) async fn message(&self) -> Result<BytesMut, Failure> {
        loop {
            if let DataChannelEvent::OnMessage(message) = event(&self.arriving).await? {
                return Ok(message.data);
            }
        }
    }

    /// The crate leaves it to whoever has a connection to close it.
    pub(crate) async fn close(self) {
        self.signalling.iter().for_each(AbortHandle::abort);
        for connection in &self.connections {
            // It may have ended by itself.
            let _ = connection.close().await;
        }
    }
}

async fn connection(loss: Option<&Loss>) -> Result<(Connection, mpsc::UnboundedReceiver<Report>), Failure> {
    let (reports, reported) = mpsc::unbounded_channel();
    let settings = SettingEngineBuilder::default().with_include_loopback_candidate(true).build();
    let mut builder = PeerConnectionBuilder::new()
        .with_setting_engine(settings)
        .with_handler(Arc::new(Reporter(reports)))
        .with_udp_addrs(vec!["127.0.0.1:0"]);
    if let Some(loss) = loss {
        builder = builder.with_runtime(Arc::new(LossyRuntime(loss.clone())));
    }
    Ok((Arc::new(builder.build().await?), reported))
}

/// Gives the other side each candidate, and whoever waits for them the channels.
async fn pass_on(
    mut reports: mpsc::UnboundedReceiver<Report>,
    other: Connection,
    channels: mpsc::UnboundedSender<Channel>,
) {
    while let Some(report) = reports.recv().await {
        match report {
            // One that cannot be used is one less.
            Report::Candidate(candidate) => drop(other.add_ice_candidate(candidate).await),
            Report::Channel(channel) => drop(channels.send(channel)),
        }
    }
}

async fn next(channels: &mut mpsc::UnboundedReceiver<Channel>) -> Result<Channel, Failure> {
    Ok(timeout(PATIENCE, channels.recv()).await?.ok_or("a connection ended")?)
}

async fn event(channel: &Channel) -> Result<DataChannelEvent, Failure> {
    Ok(timeout(PATIENCE, channel.poll()).await?.ok_or("a channel ended")?)
}
