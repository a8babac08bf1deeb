//! Two links to a peer: which carries the game, how the second comes about, and what members signal each other to open one.
//!
//! A guest has one link to its host that carries the game, the primary. Where a better way may exist it opens a second one, and where
//! the better way carries, it keeps the relay's as the spare. [`protocol::paths`] says when to move; what it takes is a hello on the
//! other link and a welcome as the answer, and both sides say again what the other has not heard. Journals make that invisible.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::frame::{Hello, PeerBody, PeerFrame};
use protocol::id::{ConnectionId, HostEpoch, LobbyId, PeerKey};
use protocol::journal::Class;
use protocol::limits;
use protocol::message::ClientMessage;
use protocol::migration::Role as Part;
use protocol::signal::{Description, Signal};
use tokio::sync::mpsc;

use crate::builder::Path;
use crate::driver::{Arrived, Driver, Input};
use crate::event::Event;
use crate::guest::Way;
use crate::link::{LinkHandle, LinkId, Opening, queues};
use crate::service::Service;
use crate::start;
use crate::state::State;
use crate::transport::link::{Link, LinkError, LinkPath, LinkStream};
use crate::transport::webrtc::{Signalling, Terms, WebRtc};

/// A hello with which the game is to go on that is not answered by then will not be: that link is closed. SCTP says again what was lost after
/// a second, and then after two.
const RESUME_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts of one peer over WebRTC that are under way, or whose link is there, at a time. One is in use, one is kept, one is on its way.
const ATTEMPTS_OF_PEER_MAX: usize = 4;
/// A link to a host that is not up by then is tried another way too.
const SECOND_WAY_AFTER: Duration = Duration::from_millis(300);
/// Signals of one attempt that wait for it.
const SIGNALS_MAX: usize = 32;

/// Where a link stands among those to its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It carries the game, or is about to.
    Primary,
    /// It is for later: one of its ends is only the successor.
    Standby,
    /// Both only show on it that they are there.
    Spare,
}

/// What is known of ways beside the primary ones.
#[derive(Debug)]
pub(crate) struct Paths {
    /// WebRTC links that are being opened, or are there: who gets their signals.
    attempts: BTreeMap<(ConnectionId, u32), mpsc::Sender<Signal>>,
    /// When a second link to the host is tried.
    second_at: Instant,
    /// How long to wait once the next try has failed.
    pause: Duration,
    /// When round trips are measured next.
    measure_at: Instant,
}

impl Paths {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { attempts: BTreeMap::new(), second_at: now, pause: limits::PATH_RETRY, measure_at: now }
    }

    /// A link to the host is being opened: if that takes long, another way is tried as well.
    pub(crate) fn dials(&mut self, now: Instant) {
        (self.second_at, self.pause) = (now + SECOND_WAY_AFTER, limits::PATH_RETRY);
    }

    /// The guest is in the game: a better way may be looked for.
    pub(crate) fn carries(&mut self, now: Instant) {
        self.second_at = self.second_at.min(now);
    }

    /// A second link has ended, or never came about.
    fn failed(&mut self, now: Instant) {
        self.second_at = now + self.pause;
        self.pause = (2 * self.pause).min(limits::PATH_RETRY_MAX);
    }

    /// Where the signals of an attempt go; `None`: there are too many.
    fn begin(&mut self, peer: ConnectionId, attempt: u32) -> Option<mpsc::Receiver<Signal>> {
        self.attempts.retain(|_, signals| !signals.is_closed());
        let of_peer = self.attempts.range((peer, 0)..=(peer, u32::MAX)).count();
        if of_peer >= ATTEMPTS_OF_PEER_MAX || self.attempts.contains_key(&(peer, attempt)) {
            return None;
        }
        if self.attempts.len() >= limits::WEB_RTC_ATTEMPTS_MAX + limits::MEMBERS_MAX as usize {
            return None;
        }
        let (sender, signals) = mpsc::channel(SIGNALS_MAX);
        self.attempts.insert((peer, attempt), sender);
        Some(signals)
    }
}

impl State {
    /// One of the links to a peer.
    pub(crate) fn link_mut(&mut self, peer: ConnectionId, id: LinkId) -> Option<(&mut LinkHandle, Place)> {
        let link = self.links.get_mut(&peer)?;
        if link.id == id {
            let place = if link.standby { Place::Standby } else { Place::Primary };
            return Some((link, place));
        }
        link.spare.as_deref_mut().filter(|spare| spare.id == id).map(|spare| (spare, Place::Spare))
    }

    /// The spare takes the place of the primary, which becomes the spare if it is up. Returns the new primary.
    fn swap_links(&mut self, peer: ConnectionId) -> Option<&mut LinkHandle> {
        let primary = self.links.get_mut(&peer)?;
        let spare = primary.spare.take()?;
        let mut former = std::mem::replace(primary, *spare);
        (primary.standby, primary.in_game, primary.epoch) = (former.standby, former.in_game, former.epoch);
        (primary.extra, primary.offer) = (std::mem::take(&mut former.extra), former.offer.take());
        former.resuming = None;
        primary.spare = former.is_open().then(|| Box::new(former));
        Some(primary)
    }
}

// Which link carries the game.
impl Driver {
    /// With each heartbeat.
    pub(crate) fn look_at_paths(&mut self, now: Instant) {
        self.measure_round_trips(now);
        let Part::Guest { host, .. } = *self.migration.role() else { return self.close_those_that_do_not_resume(now) };
        let gives_way = {
            let state = self.shared.lock();
            let Some(link) = state.links.get(&host).filter(|link| !link.standby) else { return };
            let in_vain = |link: &&LinkHandle| {
                link.resuming.is_some_and(|since| now.saturating_duration_since(since) > RESUME_TIMEOUT)
            };
            [Some(link), link.spare.as_deref()].into_iter().flatten().filter(in_vain).for_each(LinkHandle::close);
            match &link.spare {
                Some(spare) => {
                    let is_ready = spare.is_open() && spare.resuming.is_none() && link.resuming.is_none();
                    is_ready && link.in_game && link.way.gives_way_to(&spare.way, now)
                }
                None if now >= self.paths.second_at => {
                    let (peer_key, epoch) = (link.peer_key, link.epoch);
                    let is_straight = link.is_open().then_some(link.way.is_straight);
                    drop(state);
                    return self.open_second(host, peer_key, epoch, is_straight, now);
                }
                None => false,
            }
        };
        if gives_way {
            self.say_moves(host, now);
        }
    }

    /// A guest whose link ended goes on at the other, or is gone there too.
    fn close_those_that_do_not_resume(&self, now: Instant) {
        let in_vain = |link: &&LinkHandle| {
            link.resuming.is_some_and(|since| now.saturating_duration_since(since) > 2 * RESUME_TIMEOUT)
        };
        self.shared.lock().links.values().filter(in_vain).for_each(LinkHandle::close);
    }

    fn measure_round_trips(&mut self, now: Instant) {
        if now < self.paths.measure_at {
            return;
        }
        self.paths.measure_at = now + limits::PING_INTERVAL;
        for link in self.shared.lock().links.values_mut() {
            link.measure(now);
            if let Some(spare) = &mut link.spare {
                spare.measure(now);
            }
        }
    }

    /// A guest says on its spare that it goes on there. Until it is welcomed the primary carries.
    fn say_moves(&self, host: ConnectionId, now: Instant) {
        let Some(hello) = self.hello(false, true) else { return };
        let epoch = self.migration.epoch();
        let mut state = self.shared.lock();
        let Some(spare) = state.links.get_mut(&host).and_then(|link| link.spare.as_mut()) else { return };
        tracing::debug!(%host, path = ?spare.path(), "the game moves to another path");
        (spare.epoch, spare.resuming) = (epoch, Some(now));
        spare.tell(PeerBody::Hello(&hello));
    }

    /// A welcome came. Returns how long it took if it is the answer to a move, which is made with it.
    pub(crate) fn goes_on_at(&self, host: ConnectionId, id: LinkId, now: Instant) -> Option<Duration> {
        let mut state = self.shared.lock();
        let (link, place) = state.link_mut(host, id)?;
        let since = link.resuming.take()?;
        if place == Place::Spare {
            state.swap_links(host);
        }
        if let Some(link) = state.links.get(&host) {
            link.want_states();
        }
        Some(now.saturating_duration_since(since))
    }

    /// The primary is down. Returns whether the game can go on on the spare.
    pub(crate) fn falls_back(&mut self, peer: ConnectionId, now: Instant) -> bool {
        let follows = self.follows(peer);
        let hosts = matches!(self.migration.role(), Part::Host { .. });
        let hello = self.hello(false, true).filter(|_| follows);
        let mut state = self.shared.lock();
        let can = |link: &&LinkHandle| link.in_game && link.spare.as_ref().is_some_and(|spare| spare.is_open());
        if !(follows || hosts) || self.leaving.is_some() || state.links.get(&peer).filter(can).is_none() {
            return false;
        }
        let Some(link) = state.swap_links(peer) else { return false };
        link.spare = None;
        let was_said = link.resuming.is_some();
        link.resuming = Some(now);
        if let Some(hello) = hello.filter(|_| !was_said) {
            link.tell(PeerBody::Hello(&hello));
        }
        tracing::debug!(%peer, path = ?link.path(), "a link ended, and the spare carries on");
        true
    }

    /// The spare is down, or never came about.
    pub(crate) fn spare_down(&mut self, peer: ConnectionId, now: Instant) {
        let follows = self.follows(peer);
        let hello = self.hello(false, true).filter(|_| follows);
        if let Some(link) = self.shared.lock().links.get_mut(&peer) {
            let was_moving = link.spare.take().is_some_and(|spare| spare.resuming.is_some());
            // The host may have moved there: it is to come back.
            if let Some(hello) = hello.filter(|_| was_moving && link.in_game && link.resuming.is_none()) {
                link.resuming = Some(now);
                link.tell(PeerBody::Hello(&hello));
            }
        }
        if follows {
            self.paths.failed(now);
        }
    }

    /// What counts on a spare beside a hello.
    pub(crate) fn on_spare(
        &mut self,
        peer: ConnectionId,
        id: LinkId,
        bytes: &Bytes,
        frame: PeerFrame<'_>,
        now: Instant,
    ) {
        match frame.body {
            PeerBody::Heartbeat { received, received_stable, .. } => {
                self.shared.lock().streams.heard(peer, received, received_stable);
            }
            PeerBody::Welcome(welcome) => self.welcomed(peer, id, welcome, now),
            // What a guest said before it knew that its host has moved: its number tells whether the host has it already.
            PeerBody::Reliable { number, payload } if matches!(self.migration.role(), Part::Host { .. }) => {
                // Taken as an early copy is: it will be said again.
                self.reliable(peer, Class::Reliable, number, bytes.slice_ref(payload), None);
            }
            PeerBody::Hello(_)
            | PeerBody::Refused(_)
            | PeerBody::Reliable { .. }
            | PeerBody::Unreliable(_)
            | PeerBody::Objects(_)
            | PeerBody::Goodbye
            | PeerBody::AfterStable { .. }
            | PeerBody::State(_)
            | PeerBody::StateTaken { .. }
            | PeerBody::StateWanted
            | PeerBody::Durable { .. }
            | PeerBody::StateAsked { .. }
            | PeerBody::LastState { .. }
            | PeerBody::Ping { .. }
            | PeerBody::Pong { .. } => {}
        }
    }
}

// A host's side of it.
impl Driver {
    /// A guest that is in the game says hello on another link of the same process: to go on there, or to have it for later.
    pub(crate) fn is_second_link(&self, arrived: &Arrived) -> bool {
        let hello = &arrived.hello;
        (hello.moves || hello.standby) && self.plays_here(arrived.peer, arrived.epoch, arrived.peer_key)
    }

    fn plays_here(&self, peer: ConnectionId, epoch: HostEpoch, peer_key: PeerKey) -> bool {
        *self.migration.role() == (Part::Host { epoch })
            && self.migration.guests_in_game().any(|guest| guest == peer)
            && self.shared.lock().links.get(&peer).is_some_and(|link| link.in_game && link.peer_key == peer_key)
    }

    pub(crate) fn take_second_link(&mut self, arrived: Arrived, now: Instant) {
        let Arrived { peer, peer_key, epoch, hello, link, stream } = arrived;
        let handle = self.run_arrived(peer, peer_key, epoch, link, stream, now);
        if let Some(primary) = self.shared.lock().links.get_mut(&peer) {
            primary.spare = Some(Box::new(handle));
        }
        if hello.moves {
            self.moves_over(peer, &hello, now);
        }
    }

    /// A hello on a link that is there: is it a move of a guest that is in the game?
    pub(crate) fn says_that_it_moves(&self, peer: ConnectionId, epoch: HostEpoch, hello: &Hello) -> bool {
        let peer_key = self.shared.lock().links.get(&peer).map(|link| link.peer_key);
        hello.moves && peer_key.is_some_and(|peer_key| self.plays_here(peer, epoch, peer_key))
    }

    /// The guest goes on at this link: what it has not heard is said again there.
    pub(crate) fn go_on_with_guest(&mut self, peer: ConnectionId, id: LinkId, hello: &Hello, now: Instant) {
        let place = self.shared.lock().link_mut(peer, id).map(|(_, place)| place);
        match place {
            Some(Place::Spare) => self.moves_over(peer, hello, now),
            Some(Place::Primary) => self.resume_guest(peer, hello, now),
            Some(Place::Standby) | None => {}
        }
    }

    fn moves_over(&mut self, peer: ConnectionId, hello: &Hello, now: Instant) {
        let has_moved = self.shared.lock().swap_links(peer).is_some();
        if has_moved {
            self.resume_guest(peer, hello, now);
        }
    }

    fn resume_guest(&mut self, peer: ConnectionId, hello: &Hello, now: Instant) {
        let welcomed = {
            let mut state = self.shared.lock();
            if let Some(link) = state.links.get_mut(&peer) {
                link.resuming = None;
            }
            state.welcome(peer, &hello.offer)
        };
        let Some(inputs_lost) = welcomed else { return };
        if let Some(numbers) = inputs_lost {
            self.event(Event::InputsLost { who: peer, numbers });
        }
        // States that were under way on the other link may not arrive.
        self.feed.handle_link_down(peer);
        self.hand_over.handle_link_down(peer);
        self.act_on_hand_over(now);
        self.holds(peer, hello.holds, now);
        self.feed_successor(now);
        self.tell_path(peer, Duration::ZERO);
    }

    /// Tells the game by which path a peer is reached from now on.
    pub(crate) fn tell_path(&mut self, peer: ConnectionId, took: Duration) {
        let path = self.shared.lock().links.get(&peer).and_then(LinkHandle::path);
        if let Some(path) = path {
            self.event(Event::PathChanged { peer, path, took });
        }
    }
}

// How a second link comes about.
impl Driver {
    /// A guest looks for a better way to its host, or keeps the relay's for when the better one ends.
    fn open_second(
        &mut self,
        host: ConnectionId,
        peer_key: PeerKey,
        epoch: HostEpoch,
        is_straight: Option<bool>,
        now: Instant,
    ) {
        self.paths.second_at = now + self.paths.pause;
        let is_browser = self.migration.lobby().member(host).is_some_and(|member| member.browser);
        if is_browser || self.leaving.is_some() || self.settings.path != Path::Auto {
            return;
        }
        let way = match is_straight {
            Some(true) => Way::Relay,
            Some(false) | None if self.migration.lobby().settings.relay_only => return,
            Some(false) | None => match self.web_rtc_way(host, peer_key) {
                Some(way) => way,
                None => return,
            },
        };
        let (id, (ends, task_ends)) = (self.next_link(), queues());
        let relayed = matches!(way, Way::Relay);
        let task = self.dial_task(host, peer_key, id, way, Duration::ZERO, task_ends);
        let opening = Opening { id, epoch, relayed, standby: false, peer_key, ends };
        let handle = LinkHandle::new(opening, None, task, now);
        if let Some(link) = self.shared.lock().links.get_mut(&host) {
            link.spare = Some(Box::new(handle));
        }
    }

    /// A second link is up.
    pub(crate) fn second_up(&mut self, host: ConnectionId, now: Instant) {
        let standby = self.hello(true, false);
        let comes_in = self.hello(false, false);
        let moves = {
            let mut state = self.shared.lock();
            let Some(primary) = state.links.get(&host) else { return };
            let Some(spare) = primary.spare.as_ref().filter(|spare| spare.is_open()) else { return };
            match (primary.in_game, primary.way.is_straight, spare.way.is_straight) {
                (true, false, true) => true,
                (true, true, false) => {
                    if let Some(hello) = standby {
                        spare.tell(PeerBody::Hello(&hello));
                    }
                    false
                }
                // No better than what there is.
                (true, false, false) | (true, true, true) => {
                    spare.close();
                    false
                }
                (false, ..) => {
                    // The first that is up carries the game.
                    if !primary.is_open()
                        && let Some(link) = state.swap_links(host)
                    {
                        if let Some(hello) = comes_in {
                            link.tell(PeerBody::Hello(&hello));
                        }
                        link.want_states();
                    }
                    false
                }
            }
        };
        if moves {
            self.say_moves(host, now);
        }
    }

    /// The way to a peer over WebRTC. `None`: not from here, or too many are being tried.
    pub(crate) fn web_rtc_way(&mut self, peer: ConnectionId, peer_key: PeerKey) -> Option<Way> {
        self.attempt(peer, peer_key, random_attempt()).map(|attempt| Way::WebRtc(Box::new(attempt)))
    }

    fn attempt(&mut self, peer: ConnectionId, peer_key: PeerKey, number: u32) -> Option<Attempt> {
        let incoming = self.paths.begin(peer, number)?;
        let (outgoing, mut said) = mpsc::channel(SIGNALS_MAX);
        let lobby = self.lobby_signals.clone();
        self.tasks.spawn(async move {
            while let Some(signal) = said.recv().await {
                // The event socket may be away: then the attempt runs out.
                let _ = lobby.send(ClientMessage::Signal { to: peer, peer_key, signal }).await;
            }
        });
        let relay_only = self.migration.lobby().settings.relay_only;
        let (service, lobby, web_rtc) = (self.service.clone(), self.lobby, self.web_rtc.clone());
        let signalling = Signalling { outgoing, incoming };
        Some(Attempt { web_rtc, service, lobby, number, peer_key, relay_only, signalling })
    }

    /// A game that asked for the relay tells its address to nobody who can do without.
    fn takes_offers_of(&self, from: ConnectionId) -> bool {
        match self.settings.path {
            Path::Auto | Path::WebRtc => true,
            Path::Relay | Path::Direct { .. } => {
                self.migration.lobby().member(from).is_some_and(|member| member.browser)
            }
        }
    }

    /// A member's process signals this one.
    pub(crate) fn signalled(&mut self, from: ConnectionId, peer_key: PeerKey, signal: Signal) {
        let relay_only = self.migration.lobby().settings.relay_only;
        let is_member = self.migration.lobby().member(from).is_some_and(|member| member.peer_key == peer_key);
        let Some(signal) = signal.admitted(relay_only).ok().filter(|_| is_member) else {
            return tracing::debug!(%from, is_member, "a signal is dropped");
        };
        if let Signal::Offer { attempt, description } = signal {
            if !self.takes_offers_of(from) {
                let close = ClientMessage::Signal { to: from, peer_key, signal: Signal::Close { attempt } };
                // Full: the other side finds out by itself.
                let _ = self.lobby_signals.try_send(close);
                return;
            }
            let Some(attempt) = self.attempt(from, peer_key, attempt) else {
                return tracing::debug!(%from, "an offer too many");
            };
            let inputs = self.inputs.clone();
            self.tasks.spawn(async move {
                match attempt.answer(description, from).await {
                    Ok(arrived) => {
                        // The session has ended if nobody takes it.
                        let _ = inputs.send(Input::Arrived(Box::new(arrived))).await;
                    }
                    Err(error) => tracing::debug!(%from, %error, "a member could not be reached over WebRTC"),
                }
            });
            return;
        }
        // One that is over has nobody to tell.
        if let Some(signals) = self.paths.attempts.get(&(from, signal.attempt())) {
            let _ = signals.try_send(signal);
        }
    }
}

/// One attempt to link to a member over WebRTC.
pub(crate) struct Attempt {
    web_rtc: Arc<WebRtc>,
    service: Arc<Service>,
    lobby: LobbyId,
    /// Drawn by the side that dials.
    number: u32,
    peer_key: PeerKey,
    relay_only: bool,
    signalling: Signalling,
}

impl Attempt {
    async fn terms(&self) -> Terms {
        let ice_servers = self.service.ice_servers(self.lobby).await;
        let loopback = self.service.is_on_this_machine().await;
        Terms { attempt: self.number, expected: self.peer_key, ice_servers, relay_only: self.relay_only, loopback }
    }

    /// Dials.
    pub(crate) async fn offer(self) -> Result<(Link, LinkStream), LinkError> {
        let terms = self.terms().await;
        self.web_rtc.offer(terms, self.signalling).await
    }

    /// Answers one that dials, and takes its hello.
    async fn answer(self, offer: Description, peer: ConnectionId) -> Result<Arrived, LinkError> {
        let terms = self.terms().await;
        let link = self.web_rtc.answer(terms, self.signalling, offer).await?;
        start::take_hello(link, peer, self.peer_key).await
    }
}

fn random_attempt() -> u32 {
    getrandom::u32().unwrap_or_default()
}

/// A link to a peer, as [`crate::Session::links`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkReport {
    /// To whom.
    pub peer: ConnectionId,
    /// By which path; `None`: it is not up yet.
    pub path: Option<LinkPath>,
    /// The round trip on it, as it was measured last.
    pub round_trip: Option<Duration>,
    /// It carries the game; otherwise one of its ends is only the successor, or the guest is not let in yet.
    pub in_game: bool,
    /// The path of a second link that is kept for when this one ends.
    pub spare: Option<LinkPath>,
}

impl State {
    pub(crate) fn link_reports(&self) -> Vec<LinkReport> {
        let report = |(&peer, link): (&ConnectionId, &LinkHandle)| LinkReport {
            peer,
            path: link.path(),
            round_trip: link.round_trip(),
            in_game: link.in_game,
            spare: link.spare.as_ref().and_then(|spare| spare.path()),
        };
        self.links.iter().map(report).collect()
    }
}
