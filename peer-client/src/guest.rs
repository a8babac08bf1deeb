//! A guest's part: dial the host, be welcomed, mirror the ownership table.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::frame::{Hello, PeerBody, Welcome};
use protocol::id::{ConnectionId, HostEpoch, ObjectId, PeerKey};
use protocol::journal::{Class, Resumed};
use protocol::migration::Role as Part;
use protocol::objects::{Change, ObjectTable};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::builder::Path;
use crate::driver::{Driver, Input};
use crate::event::Event;
use crate::link::{HOST_FRAME_BYTES_MAX, LinkHandle, LinkId, Opening, Running, TaskEnds, queues};
use crate::paths::Attempt;
use crate::state::Entry;
use crate::transport::quic::Transport;
use crate::transport::socket;

/// A dial through the relay waits this long for the relay to bind this peer.
const BOUND_TIMEOUT: Duration = Duration::from_secs(5);
/// A guest that was refused asks again after this long, then after twice as long, up to [`REFUSED_PAUSE_MAX`].
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause of a guest that is refused again and again.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(30);

/// What a guest remembers of its dials.
#[derive(Debug, Default)]
pub(crate) struct Dialing {
    /// The direct way to the host did not work last: the relay is tried next, then the direct way again.
    direct_failed: bool,
    /// The game was told that the host is not heard, on a link that may still be up.
    silent: bool,
    /// The host's game refused this guest at this epoch: how long it waits before it asks again.
    refused: Option<(HostEpoch, Duration)>,
}

impl Dialing {
    /// A link was closed, or never opened.
    pub(crate) const fn ended(&mut self, link: &LinkHandle) {
        if !link.is_open() {
            self.direct_failed = !link.relayed;
        }
    }

    pub(crate) const fn fell_silent(&mut self) {
        self.silent = true;
    }

    fn pause(&self, epoch: HostEpoch) -> Duration {
        self.refused.filter(|(refused_at, _)| *refused_at == epoch).map_or(Duration::ZERO, |(_, pause)| pause)
    }

    fn refused(&mut self, epoch: HostEpoch) {
        let pause = (2 * self.pause(epoch)).clamp(REFUSED_PAUSE, REFUSED_PAUSE_MAX);
        self.refused = Some((epoch, pause));
    }
}

impl Driver {
    pub(crate) fn dial(&mut self, host: ConnectionId, peer_key: PeerKey, epoch: HostEpoch) {
        if self.tells_of_leaving() {
            return;
        }
        self.dialing.silent = false;
        self.paths.dials(Instant::now());
        let Some(hello) = self.hello(false, false) else { return };
        {
            let mut state = self.shared.lock();
            let open = |link: &&mut LinkHandle| link.standby && link.is_open() && link.peer_key == peer_key;
            if let Some(link) = state.links.get_mut(&host).filter(open) {
                // The link that was for later.
                (link.standby, link.in_game, link.epoch) = (false, false, epoch);
                link.tell(PeerBody::Hello(&hello));
                link.want_states();
                return;
            }
        }
        self.open_link(host, peer_key, epoch, false);
    }

    /// Opens a link to the successor, for later.
    pub(crate) fn dial_standby(&mut self, successor: ConnectionId, peer_key: PeerKey, epoch: HostEpoch) {
        if self.leaving.is_none() {
            self.open_link(successor, peer_key, epoch, true);
        }
    }

    /// What this peer says first on a link, as it stands now.
    pub(crate) fn hello(&self, standby: bool, moves: bool) -> Option<Vec<u8>> {
        let (extra, offer) = (self.settings.return_payload.clone(), self.shared.lock().own.offer());
        let hello = Hello { extra, standby, moves, offer, holds: self.held.generation() };
        rmp_serde::to_vec_named(&hello).inspect_err(|error| tracing::error!(%error, "a hello cannot be encoded")).ok()
    }

    fn open_link(&mut self, peer: ConnectionId, peer_key: PeerKey, epoch: HostEpoch, standby: bool) {
        let Some(way) = self.way_to(peer, peer_key) else {
            // As any dial that fails.
            return self.migration.handle_link_down(peer, Instant::now());
        };
        let (id, (ends, task_ends)) = (self.next_link(), queues());
        let relayed = matches!(way, Way::Relay);
        let pause = if standby { Duration::ZERO } else { self.dialing.pause(epoch) };
        let task = self.dial_task(peer, peer_key, id, way, pause, task_ends);
        let opening = Opening { id, epoch, relayed, standby, peer_key, ends };
        let mut handle = LinkHandle::new(opening, None, task, Instant::now());
        if !standby {
            handle.want_states();
        }
        let mut state = self.shared.lock();
        let mut replaced = state.links.remove(&peer);
        // Another way to the same process that is still being tried.
        let tried = replaced.as_mut().filter(|link| !standby && link.peer_key == peer_key);
        handle.spare = tried.and_then(|link| link.spare.take_if(|spare| !spare.is_open()));
        state.links.insert(peer, handle);
        drop(state);
        drop(replaced);
    }

    /// How a peer is reached at first. `None`: not from here.
    fn way_to(&mut self, peer: ConnectionId, peer_key: PeerKey) -> Option<Way> {
        let is_browser = self.migration.lobby().member(peer).is_some_and(|member| member.browser);
        if is_browser || self.settings.path == Path::WebRtc {
            return self.web_rtc_way(peer, peer_key);
        }
        Some(self.direct_address_of(peer).map_or(Way::Relay, Way::Direct))
    }

    /// Starts to open a link.
    pub(crate) fn dial_task(
        &mut self,
        peer: ConnectionId,
        peer_key: PeerKey,
        id: LinkId,
        way: Way,
        pause: Duration,
        ends: TaskEnds,
    ) -> AbortHandle {
        let dial = Dial {
            transport: self.transport.clone(),
            bound: self.bound.clone(),
            way,
            pause,
            peer,
            peer_key,
            id,
            ends,
            unread: self.unread.of(peer),
            inputs: self.inputs.clone(),
        };
        self.tasks.spawn(dial.run())
    }

    /// The host is heard, on the link that had fallen silent if no other was dialled since.
    pub(crate) fn heard_again(&mut self) {
        if let Part::Guest { host, .. } = *self.migration.role()
            && std::mem::take(&mut self.dialing.silent)
        {
            self.event(Event::ReconnectedToHost { host });
        }
    }

    fn direct_address_of(&self, host: ConnectionId) -> Option<SocketAddr> {
        match self.settings.path {
            Path::Direct { .. } if !self.dialing.direct_failed => {
                self.migration.lobby().member(host)?.direct_address.as_ref()?.parse().ok()
            }
            Path::Direct { .. } | Path::Relay | Path::Auto | Path::WebRtc => None,
        }
    }

    pub(crate) fn welcomed(&mut self, host: ConnectionId, id: LinkId, welcome: &[u8], now: Instant) {
        if !self.follows(host) {
            return;
        }
        let goes_on = self.goes_on_at(host, id, now);
        if goes_on.is_none() && self.is_in_game(host) {
            return;
        }
        let welcome: Welcome = match rmp_serde::from_slice(welcome) {
            Ok(welcome) => welcome,
            Err(error) => {
                tracing::warn!(%error, "the host's welcome cannot be read");
                return self.hang_up_and_tell(host, now);
            }
        };
        let (before, resumed) = {
            let mut state = self.shared.lock();
            let state = &mut *state;
            let resumed = state.own.handle_welcome(welcome.position);
            state.has_played = true;
            if let Some(link) = state.links.get_mut(&host) {
                link.in_game = true;
                for (number, payload) in state.own.journal().after(resumed.say_after) {
                    self.timeline.said_again += 1;
                    link.say(Class::Reliable, number, payload.clone());
                }
            }
            let elapsed = Duration::from_micros(welcome.elapsed_us);
            state.entry = Some(Entry { tick: welcome.tick, elapsed, scene: welcome.scene });
            (std::mem::replace(&mut state.objects, welcome.objects), resumed)
        };
        if goes_on.is_none() {
            self.dialing = Dialing::default();
        }
        self.announced_tick = welcome.tick;
        if let Some(took) = goes_on {
            self.resumed(host, &resumed);
            self.owners_changed(&before);
            self.held.last = None;
            return self.tell_path(host, took);
        }
        self.paths.carries(now);
        self.migration.handle_welcome(host, now);
        self.do_effects();
        self.resumed(host, &resumed);
        if let Some(trace) = self.timeline.finish(host, self.migration.epoch(), now) {
            self.event(Event::Migrated(Box::new(trace)));
        }
        self.timeline.heard(host, now);
        self.second_up(host, now);
        self.owners_changed(&before);
        let me = self.migration.me();
        let own: Vec<_> = self.shared.lock().objects.owned_by(me).collect();
        own.into_iter().for_each(|object| self.event(Event::ObjectReconnected { object, owner: me }));
    }

    /// What this peer's streams lost on the way to this host.
    pub(crate) fn resumed(&mut self, host: ConnectionId, resumed: &Resumed) {
        let who = self.migration.me();
        let Resumed { inputs_lost, taken_back, never_heard, .. } = *resumed;
        let lost = inputs_lost.map(|numbers| Event::InputsLost { who, numbers });
        let taken_back = taken_back.map(|numbers| Event::TakenBack { numbers });
        let never_heard = never_heard.map(|numbers| Event::NeverHeard { numbers });
        for event in [lost, taken_back, never_heard].into_iter().flatten() {
            tracing::debug!(%host, ?event, "not all reliable messages are of the game that goes on");
            self.event(event);
        }
    }

    fn owners_changed(&mut self, before: &ObjectTable) {
        for (object, owner) in self.owners_that_differ_from(before) {
            self.event(Event::AuthorityChanged { object, owner });
        }
    }

    /// Of the objects that this guest knew, those that have another owner now.
    fn owners_that_differ_from(&self, before: &ObjectTable) -> Vec<(ObjectId, Option<ConnectionId>)> {
        let state = self.shared.lock();
        let owner_of = |id| before.object(id).map(|object| object.owner);
        state
            .objects
            .iter()
            .filter(|(id, object)| owner_of(*id).is_some_and(|owner| owner != object.owner))
            .map(|(id, object)| (id, object.owner))
            .collect()
    }

    pub(crate) fn refused_by_host(&mut self, host: ConnectionId, reason: &[u8], now: Instant) {
        if !self.follows(host) {
            return;
        }
        let reason = rmp_serde::from_slice(reason).unwrap_or_else(|_| String::from("no reason that can be read"));
        self.event(Event::RefusedByHost { host, reason });
        self.dialing.refused(self.migration.epoch());
        self.hang_up_and_tell(host, now);
    }

    pub(crate) fn objects_changed(&mut self, host: ConnectionId, changes: &[u8]) {
        if !self.follows(host) || !self.is_in_game(host) {
            return;
        }
        let changes: Vec<Change> = match rmp_serde::from_slice(changes) {
            Ok(changes) => changes,
            Err(error) => return tracing::warn!(%error, "the host's changes cannot be read"),
        };
        for change in changes {
            let events = self.mirror(change);
            events.into_iter().for_each(|event| self.event(event));
        }
    }

    fn mirror(&self, change: Change) -> Vec<Event> {
        let mut state = self.shared.lock();
        let events = match &change {
            Change::Placed { id, object } => match state.objects.object(*id) {
                Some(before) if before.owner != object.owner => {
                    vec![Event::AuthorityChanged { object: *id, owner: object.owner }]
                }
                Some(_) | None => Vec::new(),
            },
            Change::Removed { .. } | Change::Enabled { enabled: false, .. } => Vec::new(),
            Change::Enabled { owner, enabled: true } => {
                let owner = *owner;
                let away = |id: &ObjectId| state.objects.object(*id).is_some_and(|object| !object.enabled);
                let back = state.objects.owned_by(owner).filter(away);
                back.map(|object| Event::ObjectReconnected { object, owner }).collect()
            }
        };
        state.objects.apply(change);
        events
    }

    pub(crate) fn follows(&self, peer: ConnectionId) -> bool {
        matches!(*self.migration.role(), Part::Guest { host, .. } if host == peer)
    }

    pub(crate) fn is_in_game(&self, host: ConnectionId) -> bool {
        self.shared.lock().links.get(&host).is_some_and(|link| link.in_game)
    }

    fn hang_up_and_tell(&mut self, host: ConnectionId, now: Instant) {
        self.hang_up(host);
        self.lost_link(host, now);
    }
}

/// How a link is opened.
pub(crate) enum Way {
    /// Through the relay.
    Relay,
    /// Straight to an address that the peer publishes.
    Direct(SocketAddr),
    /// As ICE finds it.
    WebRtc(Box<Attempt>),
}

/// One attempt to reach a peer, and the link that comes of it.
struct Dial {
    transport: Arc<Transport>,
    bound: watch::Receiver<bool>,
    way: Way,
    pause: Duration,
    peer: ConnectionId,
    peer_key: PeerKey,
    id: LinkId,
    ends: TaskEnds,
    unread: Arc<Semaphore>,
    inputs: mpsc::Sender<Input>,
}

impl Dial {
    async fn run(self) {
        sleep(self.pause).await;
        let Self { transport, mut bound, way, peer, peer_key, id, ends, unread, inputs, .. } = self;
        let dialled = match way {
            Way::Relay => {
                // Not bound in time: the dial fails as any other.
                let _ = timeout(BOUND_TIMEOUT, bound.wait_for(|bound| *bound)).await;
                transport.dial(socket::relayed(peer), peer_key).await
            }
            Way::Direct(address) => transport.dial(address, peer_key).await,
            Way::WebRtc(attempt) => attempt.offer().await,
        };
        match dialled {
            Ok((link, stream)) => {
                // Without a session there is nothing to run for.
                if inputs.send(Input::LinkUp { peer, id, link: link.clone() }).await.is_ok() {
                    let frame_bytes_max = HOST_FRAME_BYTES_MAX;
                    Running { peer, id, link, stream, ends, unread, frame_bytes_max, inputs }.run().await;
                }
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "a peer could not be reached");
                let _ = inputs.send(Input::LinkDown { peer, id }).await;
            }
        }
    }
}
