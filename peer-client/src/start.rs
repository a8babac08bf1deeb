//! How a session begins: a socket and a certificate, a seat in a lobby, then the tasks that serve it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::frame::{PeerBody, PeerFrame};
use protocol::hand_over::HandOver;
use protocol::id::{ConnectionId, JoinCode, LobbyId, PeerKey};
use protocol::journal::StreamId;
use protocol::limits;
use protocol::message::LobbyView;
use protocol::migration::Migration;
use protocol::snapshot::Seal;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::builder::{Path, Settings};
use crate::client::LobbyOptions;
use crate::driver::{Arrived, Driver, INPUTS_MAX, Input, Resync, new_feed};
use crate::error::Error;
use crate::guest::Dialing;
use crate::holding::Held;
use crate::link::{GUEST_FRAME_BYTES_MAX, UnreadBudgets};
use crate::lobby_link::{self, LobbyLink};
use crate::outbox::Outbox;
use crate::paths::Paths;
use crate::saving::Snapshots;
use crate::service::{Seated, Seating, Service};
use crate::session::Session;
use crate::state::Shared;
use crate::strategy::Chooser;
use crate::timeline::Timeline;
use crate::transport::link::{Link, LinkError};
use crate::transport::quic::{Arrival, Transport};
use crate::transport::relay::Binding;
use crate::transport::socket::{ControlFrame, PeerSocket};
use crate::transport::tls::SessionKey;
use crate::transport::webrtc::WebRtc;

/// Peers whose handshake or hello is under way. Above it they are turned away, and dial again.
const ARRIVALS_MAX: usize = 256;
/// A peer whose fingerprint no member has is sent away after this long: the lobby's event may be later than the peer.
const ANNOUNCED_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer has this long to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Commands of the game that wait: asking twice is no more than asking once.
const COMMANDS_MAX: usize = 8;
/// Grants that wait for the relay: only the newest counts.
const RELAY_COMMANDS_MAX: usize = 8;

pub(crate) async fn host(
    settings: Arc<Settings>,
    service: Arc<Service>,
    options: LobbyOptions,
) -> Result<Session, Error> {
    let ground = Ground::prepare(settings, service).await?;
    let seated = ground.service.create(&options.name, &options.settings, &ground.seating()).await?;
    ground.start(seated, true)
}

pub(crate) async fn join_code(
    settings: Arc<Settings>,
    service: Arc<Service>,
    code: JoinCode,
) -> Result<Session, Error> {
    let ground = Ground::prepare(settings, service).await?;
    let seated = ground.service.join_code(code, &ground.seating()).await?;
    ground.start(seated, false)
}

pub(crate) async fn join_lobby(settings: Arc<Settings>, service: Arc<Service>, id: LobbyId) -> Result<Session, Error> {
    let ground = Ground::prepare(settings, service).await?;
    let seated = ground.service.join_lobby(id, &ground.seating()).await?;
    ground.start(seated, false)
}

/// What a session stands on, before it has a seat.
struct Ground {
    settings: Arc<Settings>,
    service: Arc<Service>,
    socket: Arc<PeerSocket>,
    relay_frames: mpsc::Receiver<ControlFrame>,
    transport: Arc<Transport>,
    web_rtc: Arc<WebRtc>,
    peer_key: PeerKey,
    direct_address: Option<String>,
}

impl Ground {
    async fn prepare(settings: Arc<Settings>, service: Arc<Service>) -> Result<Self, Error> {
        let key = SessionKey::generate()?;
        let peer_key = key.peer_key();
        let (socket, relay_frames) =
            PeerSocket::bind(listen_address(&settings), service.network()).map_err(Error::Socket)?;
        let socket = Arc::new(socket);
        let direct_address = match settings.path {
            Path::Relay | Path::Auto | Path::WebRtc => None,
            Path::Direct { .. } => {
                let listens_on = socket.listens_on().map_err(Error::Socket)?;
                Some(published(listens_on, settings.service_url.clone()).await.map_err(Error::Socket)?.to_string())
            }
        };
        let web_rtc = Arc::new(WebRtc::new(&key, service.network())?);
        let transport = Arc::new(Transport::new(socket.clone(), key)?);
        Ok(Self { settings, service, socket, relay_frames, transport, web_rtc, peer_key, direct_address })
    }

    fn seating(&self) -> Seating<'_> {
        Seating {
            name: &self.settings.player_name,
            peer_key: self.peer_key,
            build_id: &self.settings.build_id,
            can_host: self.settings.can_host,
            direct_address: self.direct_address.clone(),
            // Whoever dials it has to know that there is no other way.
            browser: self.settings.path == Path::WebRtc,
        }
    }

    fn start(self, seated: Seated, created: bool) -> Result<Session, Error> {
        let Seated { lobby: view, connection: me } = seated;
        if view.member(me).is_none() {
            return Err(Error::Answer("the lobby does not hold the seat that it gave".to_owned()));
        }
        let lobby = view.id;
        let (inputs, input_queue) = mpsc::channel(INPUTS_MAX);
        let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
        let (lobby_messages, message_queue) = mpsc::channel(lobby_link::MESSAGES_MAX);
        let (lobby_signals, signal_queue) = mpsc::channel(lobby_link::SIGNALS_MAX);
        let (relay, relay_queue) = mpsc::channel(RELAY_COMMANDS_MAX);
        let (bound_sender, bound) = watch::channel(false);
        let shared = Arc::new(Shared::new(me, Arc::new(view.clone()), StreamId::of(self.peer_key)));
        let outbox = Arc::new(Outbox::default());
        let (view_sender, members) = watch::channel(Arc::new(view.clone()));
        let network = self.service.network().cloned();
        let mut tasks = JoinSet::new();
        let binding = Binding {
            socket: self.socket.clone(),
            service: self.service.clone(),
            lobby,
            relay_address: self.settings.relay_address,
            frames: self.relay_frames,
            commands: relay_queue,
            bound: bound_sender,
            inputs: inputs.clone(),
            is_out_of_reach: false,
            web_socket: JoinSet::new(),
            is_udp_blocked: false,
        };
        tasks.spawn(binding.run());
        let lobby_link = LobbyLink {
            service: self.service.clone(),
            lobby,
            me,
            peer_key: self.peer_key,
            after: view.seq,
            messages: message_queue,
            signals: signal_queue,
            inputs: inputs.clone(),
        };
        tasks.spawn(lobby_link.run());
        tasks.spawn(accept(self.transport.clone(), members, inputs.clone()));
        let chooser = Chooser::new(self.settings.strategy);
        let sealer =
            self.settings.state_key.as_ref().map(|key| Arc::new(key.of_lobby(lobby)) as Arc<dyn Seal + Send + Sync>);
        let driver = Driver {
            migration: Migration::new(me, view, created, Instant::now()),
            settings: self.settings,
            service: self.service,
            lobby,
            shared: shared.clone(),
            outbox: outbox.clone(),
            transport: self.transport,
            socket: self.socket,
            bound,
            relay,
            lobby_messages,
            lobby_signals,
            view: view_sender,
            inputs,
            tasks,
            dialing: Dialing::default(),
            paths: Paths::new(Instant::now()),
            web_rtc: self.web_rtc,
            snapshots: Snapshots::new(),
            feed: new_feed(),
            chooser,
            sealer,
            hand_over: HandOver::default(),
            lobbys_wish: None,
            held: Held::default(),
            search: None,
            found: None,
            went_on_from_durable: false,
            announced_tick: 0,
            timeline: Timeline::default(),
            loss: None,
            planned: false,
            report_at: Instant::now(),
            unsaid_messages: 0,
            unsaid_bytes: 0,
            early_hellos: Vec::new(),
            early: Vec::new(),
            leaving: None,
            next_link: 0,
            unread: UnreadBudgets::default(),
            heartbeat_at: Instant::now() + limits::HEARTBEAT,
            resync_at: Resync::NotNeeded,
            lobby_reachable: true,
            binds: 0,
            over: false,
        };
        tokio::spawn(driver.run(input_queue, command_queue));
        Ok(Session::new(shared, outbox, commands).with_network(network))
    }
}

/// Where the socket listens.
fn listen_address(settings: &Settings) -> SocketAddr {
    match (settings.path, settings.relay_address) {
        (Path::Direct { listen }, _) => listen,
        (Path::Relay | Path::Auto | Path::WebRtc, Some(SocketAddr::V6(_))) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        (Path::Relay | Path::Auto | Path::WebRtc, Some(SocketAddr::V4(_)) | None) => (Ipv4Addr::UNSPECIFIED, 0).into(),
    }
}

/// The address to publish: where nothing more definite is known, the one by which this machine reaches the service.
async fn published(listens_on: SocketAddr, service_url: String) -> std::io::Result<SocketAddr> {
    if !listens_on.ip().is_unspecified() {
        return Ok(listens_on);
    }
    let towards = tokio::task::spawn_blocking(move || resolve(&service_url));
    let service = towards.await.map_err(std::io::Error::from)??;
    let unspecified: SocketAddr =
        if service.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    // Connecting a UDP socket sends nothing: it asks for a route.
    let probe = std::net::UdpSocket::bind(unspecified)?;
    probe.connect(service)?;
    Ok(SocketAddr::new(probe.local_addr()?.ip(), listens_on.port()))
}

pub(crate) fn resolve(service_url: &str) -> std::io::Result<SocketAddr> {
    let (scheme, rest) = service_url.split_once("://").unwrap_or(("http", service_url));
    let authority = rest.split('/').next().unwrap_or_default();
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let port = if scheme == "https" { 443 } else { 80 };
    let with_port = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
    with_port.to_socket_addrs()?.next().ok_or_else(|| std::io::ErrorKind::NotFound.into())
}

/// Takes peers in that dial this one, for as long as the session lives.
async fn accept(transport: Arc<Transport>, members: watch::Receiver<Arc<LobbyView>>, inputs: mpsc::Sender<Input>) {
    let places = Arc::new(Semaphore::new(ARRIVALS_MAX));
    let mut arrivals = JoinSet::new();
    loop {
        let arrival = tokio::select! {
            arrival = transport.accept() => arrival,
            Some(_) = arrivals.join_next() => continue,
        };
        let Some(arrival) = arrival else { return };
        let Ok(place) = places.clone().try_acquire_owned() else {
            arrival.refuse();
            continue;
        };
        let (members, inputs) = (members.clone(), inputs.clone());
        arrivals.spawn(async move {
            match take_in(arrival, members).await {
                Ok(arrived) => {
                    // The session has ended if nobody takes it.
                    let _ = inputs.send(Input::Arrived(Box::new(arrived))).await;
                }
                Err(error) => tracing::debug!(%error, "a peer did not come in"),
            }
            drop(place);
        });
    }
}

/// Handshake, then who it is, then its hello.
async fn take_in(arrival: Arrival, members: watch::Receiver<Arc<LobbyView>>) -> Result<Arrived, LinkError> {
    let (link, peer_key) = arrival.finish().await?;
    let peer = timeout(ANNOUNCED_TIMEOUT, member_with(peer_key, members)).await.ok().flatten();
    let Some(peer) = peer else {
        link.close();
        return Err(LinkError::Down("no member has this certificate".to_owned()));
    };
    take_hello(link, peer, peer_key).await
}

/// Who has proven itself says hello.
pub(crate) async fn take_hello(link: Link, peer: ConnectionId, peer_key: PeerKey) -> Result<Arrived, LinkError> {
    let mut stream = link.stream().await?;
    let frame = timeout(HELLO_TIMEOUT, stream.receive.frame(GUEST_FRAME_BYTES_MAX))
        .await
        .map_err(|_| LinkError::TimedOut)??;
    let decoded = PeerFrame::decode(&frame);
    let (epoch, hello) = match decoded {
        Ok(PeerFrame { epoch, body: PeerBody::Hello(hello) }) => (epoch, rmp_serde::from_slice(hello)),
        Ok(_) | Err(_) => return Err(LinkError::Down("the first frame was no hello".to_owned())),
    };
    let hello: protocol::frame::Hello = hello.map_err(|_| LinkError::Down("the hello cannot be read".to_owned()))?;
    if hello.extra.len() > limits::EXTRA_BYTES_MAX {
        return Err(LinkError::TooLarge);
    }
    Ok(Arrived { peer, peer_key, epoch, hello, link, stream })
}

/// Waits until the lobby announces who has this fingerprint.
async fn member_with(peer_key: PeerKey, mut members: watch::Receiver<Arc<LobbyView>>) -> Option<ConnectionId> {
    let find =
        |view: &Arc<LobbyView>| view.members.iter().find(|member| member.peer_key == peer_key).map(|m| m.connection);
    let view = members.wait_for(|view| find(view).is_some()).await.ok()?;
    find(&view)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_url_without_a_port_has_the_port_of_its_scheme() {
        let resolved = |url| resolve(url).unwrap().to_string();
        assert_eq!(resolved("http://127.0.0.1/lobbies"), "127.0.0.1:80");
        assert_eq!(resolved("https://127.0.0.1"), "127.0.0.1:443");
        assert_eq!(resolved("http://127.0.0.1:8080"), "127.0.0.1:8080");
        assert_eq!(resolved("https://[::1]"), "[::1]:443");
    }

    #[tokio::test]
    async fn an_unspecified_address_is_published_as_the_one_towards_the_service() {
        let listens_on = (Ipv4Addr::UNSPECIFIED, 4000).into();
        let address = published(listens_on, "http://127.0.0.1:8080".to_owned()).await.unwrap();
        assert_eq!(address, SocketAddr::from((Ipv4Addr::LOCALHOST, 4000)));
        let definite = "192.0.2.1:4000".parse().unwrap();
        assert_eq!(published(definite, String::new()).await.unwrap(), definite);
    }
}
