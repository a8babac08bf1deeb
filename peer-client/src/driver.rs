//! Runs a session: one task that owns the [`Migration`], hands it what happens, and does what it decides.
//!
//! The task itself never waits for anything but its next input. What takes time (requests, dials, the game's answers) runs in tasks of
//! its own and comes back as an [`Input`].

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use protocol::frame::{Hello, HostHint, RelayFrame};
use protocol::hand_over::{CommitAnswer, GivenUp, HandOver, Wish};
use protocol::id::{ConnectionId, HostEpoch, LobbyId, PeerKey};
use protocol::limits;
use protocol::lobby::LossCause;
use protocol::message::{ClientMessage, CloseReason, LobbyView, ServerMessage};
use protocol::migration::{Effect, GuestLink, Migration, Notice, ReadyAnswer, Role as Part};
use protocol::snapshot::{Generation, Image};
use protocol::standby::{Feed, Job};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::builder::Settings;
use crate::event::{Event, Message, Output, Role};
use crate::guest::Dialing;
use crate::holding::{Applied, Held};
use crate::host::EarlyHello;
use crate::leaving::Leaving;
use crate::link::{LinkId, UnreadBudgets};
use crate::outbox::{Outbox, Up};
use crate::paths::Paths;
use crate::request::{Request, Saved};
use crate::saving::{Durable, Kept, SharedSeal, Snapshots, Stored};
use crate::service::Service;
use crate::session::Command;
use crate::state::Shared;
use crate::strategy::Chooser;
use crate::taking_over::{Found, Search};
use crate::timeline::Timeline;
use crate::transport::link::{Link, LinkStream};
use crate::transport::quic::Transport;
use crate::transport::relay::RelayCommand;
use crate::transport::socket::PeerSocket;
use crate::transport::webrtc::WebRtc;

/// Inputs that wait for the driver, which takes each in microseconds. Above it their senders wait.
pub(crate) const INPUTS_MAX: usize = 1024;

/// What happened.
pub(crate) enum Input {
    /// The lobby said something.
    Lobby(ServerMessage),
    /// The event socket is open.
    LobbyReachable,
    /// The event socket was lost.
    LobbyUnreachable,
    /// The whole lobby, as it was asked for; `None`: it could not be had.
    Resynced(Option<Box<LobbyView>>),
    /// The relay has bound this peer.
    RelayBound(HostHint),
    /// The relay says who is host.
    RelayHint(HostHint),
    /// A peer, proven to be this member, has dialled and said hello.
    Arrived(Box<Arrived>),
    /// A link that was dialled is up.
    LinkUp { peer: ConnectionId, id: LinkId, link: Link },
    /// A link is down, or could not be opened.
    LinkDown { peer: ConnectionId, id: LinkId },
    /// A frame came; with its budget, if it came on the stream.
    Frame { peer: ConnectionId, id: LinkId, frame: Bytes, budget: Option<OwnedSemaphorePermit> },
    /// What the lobby has that is newer than what is held here.
    LobbyHas { epoch: HostEpoch, result: Result<Option<Durable>, String> },
    /// Records of a state were applied to what is held here.
    Held { from: ConnectionId, applied: Applied },
    /// What is held here is encoded for the member that asked.
    StateForMember { to: ConnectionId, record: Option<Vec<u8>> },
    /// The game has restored it.
    Restored { epoch: HostEpoch, result: Result<(), String> },
    /// The lobby has answered `ready`.
    Ready { epoch: HostEpoch, answer: ReadyAnswer },
    /// The game has decided about a player.
    Decided { guest: ConnectionId, id: LinkId, result: Result<(), String> },
    /// The game's state; `None`: it skipped.
    Saved { epoch: HostEpoch, state: Option<Box<Saved>> },
    /// The game's state is what it is sent as.
    Imaged { generation: Generation, is_last: bool, kept: Result<Kept, String> },
    /// A state is encoded for the successor; without a job, its encoding panicked.
    Encoded { epoch: HostEpoch, job: Option<Box<Job<Image>>>, record: Option<Vec<u8>> },
    /// The lobby has answered the commit of a hand-over.
    Committed { epoch: HostEpoch, answer: CommitAnswer },
    /// A snapshot was stored, or not.
    Stored(Stored),
    /// The seat was given up.
    SeatGiven,
}

/// A guest at the door.
pub(crate) struct Arrived {
    pub(crate) peer: ConnectionId,
    /// What its link has proven. The member may have another by the time the guest is let in.
    pub(crate) peer_key: PeerKey,
    pub(crate) epoch: HostEpoch,
    pub(crate) hello: Hello,
    pub(crate) link: Link,
    pub(crate) stream: LinkStream,
}

/// The driver of one session.
pub(crate) struct Driver {
    pub(crate) settings: Arc<Settings>,
    pub(crate) service: Arc<Service>,
    pub(crate) lobby: LobbyId,
    pub(crate) migration: Migration,
    pub(crate) shared: Arc<Shared>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) transport: Arc<Transport>,
    pub(crate) socket: Arc<PeerSocket>,
    pub(crate) bound: watch::Receiver<bool>,
    pub(crate) relay: mpsc::Sender<RelayCommand>,
    pub(crate) lobby_messages: mpsc::Sender<ClientMessage>,
    /// Signals have a queue of their own, so that what the lobby must hear does not wait behind them.
    pub(crate) lobby_signals: mpsc::Sender<ClientMessage>,
    /// The members, for those who look a fingerprint up.
    pub(crate) view: watch::Sender<Arc<LobbyView>>,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) tasks: JoinSet<()>,
    pub(crate) dialing: Dialing,
    pub(crate) paths: Paths,
    /// Opens links as ICE finds a way.
    pub(crate) web_rtc: Arc<WebRtc>,
    pub(crate) snapshots: Snapshots,
    /// What this host sends to its successor.
    pub(crate) feed: Feed<Image>,
    pub(crate) chooser: Chooser,
    /// What seals what goes to the lobby.
    pub(crate) sealer: SharedSeal,
    pub(crate) hand_over: HandOver,
    /// Whom the lobby asked to hand over to, until it is done with.
    pub(crate) lobbys_wish: Option<ConnectionId>,
    /// What this peer holds for its host.
    pub(crate) held: Held,
    pub(crate) search: Option<Search>,
    /// Found, and not yet given to the game.
    pub(crate) found: Option<Found>,
    pub(crate) went_on_from_durable: bool,
    /// The newest tick that the host announced which this guest follows.
    pub(crate) announced_tick: u64,
    pub(crate) timeline: Timeline,
    /// Why the lobby has lost its host, until another is elected.
    pub(crate) loss: Option<LossCause>,
    /// The newest election was a wish.
    pub(crate) planned: bool,
    pub(crate) report_at: Instant,
    /// Since the last heartbeat: what was heard, and the host does not know of yet.
    pub(crate) unsaid_messages: u64,
    pub(crate) unsaid_bytes: usize,
    /// Guests that know a newer epoch than this peer, on links that were there.
    pub(crate) early_hellos: Vec<(EarlyHello, Instant)>,
    /// Guests that know a newer epoch than this peer, until when they may wait.
    pub(crate) early: Vec<(Box<Arrived>, Instant)>,
    pub(crate) leaving: Option<Leaving>,
    pub(crate) next_link: u64,
    pub(crate) unread: UnreadBudgets,
    pub(crate) heartbeat_at: Instant,
    pub(crate) resync_at: Resync,
    /// As the game was told last.
    pub(crate) lobby_reachable: bool,
    /// How often the relay has bound this peer.
    pub(crate) binds: u64,
    pub(crate) over: bool,
}

/// When the whole lobby is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resync {
    NotNeeded,
    Asked,
    At(Instant),
}

impl Driver {
    /// Runs until the session has left, lost its seat, or was dropped.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<Input>, mut commands: mpsc::Receiver<Command>) {
        self.show_lobby();
        self.do_effects();
        let shared = self.shared.clone();
        while !self.over {
            let wake = self.wake_at();
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.handle(input),
                    None => return,
                },
                () = shared.wake.notified() => self.look_what_the_game_left(),
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                Some(ended) = self.tasks.join_next() => {
                    if ended.is_err_and(|error| error.is_panic()) {
                        tracing::error!("a task of the session panicked");
                    }
                }
                () = sleep_until(wake.into()) => {}
            }
            self.do_effects();
            self.do_what_is_due();
        }
    }

    fn wake_at(&self) -> Instant {
        let resync = match self.resync_at {
            Resync::At(at) => Some(at),
            Resync::NotNeeded | Resync::Asked => None,
        };
        let early = self.early.iter().map(|(_, until)| *until).chain(self.early_hellos.iter().map(|(_, until)| *until));
        let others = [
            self.migration.poll_timeout(),
            self.snapshots.due_at(),
            self.feed.poll_timeout(),
            self.hand_over.poll_timeout(),
            self.search_due_at(),
            self.leaving.as_ref().and_then(Leaving::deadline),
            resync,
        ];
        others.into_iter().flatten().chain(early).fold(self.heartbeat_at, Instant::min)
    }

    fn do_what_is_due(&mut self) {
        let now = Instant::now();
        if now >= self.heartbeat_at + limits::HEARTBEAT {
            // This process stood still: what others said meanwhile is taken first.
            self.migration.handle_paused(now);
        }
        if self.migration.poll_timeout().is_some_and(|at| at <= now) {
            self.migration.handle_timeout(now);
            self.do_effects();
        }
        if self.heartbeat_at <= now {
            // After a pause of this process, what guests said meanwhile is taken first.
            if now < self.heartbeat_at + limits::HEARTBEAT {
                self.let_silent_guests_go(now);
            }
            let due_at = std::mem::replace(&mut self.heartbeat_at, now + limits::HEARTBEAT);
            self.beat();
            if now < due_at + limits::HEARTBEAT {
                self.look_at_paths(now);
            }
            self.report(now);
            self.ask_for_last_state(now);
        }
        if matches!(self.resync_at, Resync::At(at) if at <= now) {
            self.resync();
        }
        self.save_when_due(now);
        self.pump_feed(now);
        self.hand_over.handle_timeout(now);
        self.act_on_hand_over(now);
        self.go_on_searching(now);
        self.leave_when_due(now);
        self.admit_early(now);
        self.do_effects();
    }

    /// Says on all links that this peer is there, and how far it has heard.
    pub(crate) fn beat(&mut self) {
        (self.unsaid_messages, self.unsaid_bytes) = (0, 0);
        let state = self.shared.lock();
        let hosts = matches!(state.role, Role::Host | Role::HandingOver);
        let heard = if hosts { (0, 0) } else { state.own.received(state.epoch) };
        for link in state.links.values() {
            link.heartbeat(state.tick, heard);
            link.spare.iter().for_each(|spare| spare.heartbeat(state.tick, heard));
        }
    }

    fn handle(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Lobby(message) => self.lobby_said(message, now),
            Input::LobbyReachable => {
                if !std::mem::replace(&mut self.lobby_reachable, true) {
                    self.event(Event::LobbyReachable);
                }
            }
            Input::LobbyUnreachable => {
                if std::mem::replace(&mut self.lobby_reachable, false) {
                    self.event(Event::LobbyUnreachable);
                }
            }
            Input::Resynced(view) => self.resynced(view, now),
            Input::RelayBound(hint) => self.relay_bound(hint),
            Input::RelayHint(hint) => self.migration.handle_relay_hint(hint),
            Input::Arrived(arrived) => self.arrived(arrived, now),
            Input::LinkUp { peer, id, link } => self.link_up(peer, id, link),
            Input::LinkDown { peer, id } => self.link_down(peer, id, now),
            Input::Frame { peer, id, frame, budget } => self.frame(peer, id, &frame, budget, now),
            Input::LobbyHas { epoch, result } => self.lobby_has(epoch, result, now),
            Input::Held { from, applied } => self.states_applied(from, applied, now),
            Input::StateForMember { to, record } => {
                if let (Some(record), Some(link)) = (record, self.shared.lock().links.get(&to)) {
                    link.send_state(&record);
                }
            }
            Input::Restored { epoch, result } => match result {
                Ok(()) => self.restored(epoch, now),
                Err(reason) => tracing::warn!(reason, "the game did not restore: another member will be elected"),
            },
            Input::Ready { epoch, answer } => self.migration.handle_ready(epoch, answer, now),
            Input::Decided { guest, id, result } => self.decided(guest, id, result, now),
            Input::Saved { epoch, state } => self.saved(epoch, state.map(|state| *state)),
            Input::Imaged { generation, is_last, kept } => self.imaged(generation, is_last, kept, now),
            Input::Encoded { epoch, job, record } => match job {
                Some(job) if epoch == self.migration.epoch() => self.encoded(&job, record.as_deref(), now),
                // Of a host that is none any more.
                Some(_) => {}
                None => {
                    self.feed = new_feed();
                    self.feed_successor(now);
                }
            },
            Input::Committed { epoch, answer } => {
                if epoch == self.migration.epoch() {
                    self.hand_over.handle_commit(answer, now);
                }
            }
            Input::Stored(stored) => self.stored(stored, now),
            Input::SeatGiven => self.end(Event::Left),
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::SaveNow => self.snapshots.save_soon(),
            Command::HandOver { to } => {
                if !self.begin_hand_over(to, Wish::Game, Instant::now()) {
                    self.event(Event::HandOverFailed { to, why: GivenUp::SuccessorGone });
                }
            }
        }
    }

    fn look_what_the_game_left(&mut self) {
        self.state_given(Instant::now());
        if self.shared.lock().leave_wanted {
            self.start_leaving();
        }
    }

    fn lobby_said(&mut self, message: ServerMessage, now: Instant) {
        match message {
            ServerMessage::Event(event) => {
                self.held.is_successor = match self.migration.role() {
                    Part::Guest { .. } => self.migration.lobby().successor == Some(self.migration.me()),
                    Part::Becoming { .. } => self.held.is_successor,
                    Part::Host { .. } | Part::Waiting | Part::Out => false,
                };
                self.note_event(&event, now);
                self.migration.handle_event(&event, now);
                self.show_lobby();
                self.follow_lobby(now);
            }
            ServerMessage::Resync { lobby } => self.resynced(Some(Box::new(lobby)), now),
            ServerMessage::Challenge { epoch } => self.migration.handle_challenge(epoch, now),
            ServerMessage::Signal { from, peer_key, signal } => self.signalled(from, peer_key, signal),
            ServerMessage::Closing { reason, .. } => match reason {
                CloseReason::NotMember | CloseReason::Kicked | CloseReason::Banned | CloseReason::LobbyClosed => {
                    self.migration.handle_removed();
                }
                CloseReason::Replaced => self.end(Event::Replaced),
                CloseReason::TooManyMessages
                | CloseReason::MessageTooLarge
                | CloseReason::Malformed
                | CloseReason::NoHello
                | CloseReason::LeaseExpired
                | CloseReason::TooSlow
                | CloseReason::GoingAway => tracing::debug!(?reason, "the lobby closed the event socket"),
            },
        }
    }

    fn resynced(&mut self, view: Option<Box<LobbyView>>, now: Instant) {
        match view {
            Some(view) => {
                self.resync_at = Resync::NotNeeded;
                self.migration.handle_resync(*view, now);
                self.show_lobby();
                self.follow_lobby(now);
            }
            None => self.resync_at = Resync::At(now + limits::DIAL_RETRY),
        }
    }

    pub(crate) fn resync(&mut self) {
        if self.resync_at == Resync::Asked {
            return;
        }
        self.resync_at = Resync::Asked;
        let (service, lobby) = (self.service.clone(), self.lobby);
        self.spawn(async move {
            let view = service.lobby(lobby).await;
            if let Err(error) = &view {
                tracing::debug!(%error, "the lobby could not be asked");
            }
            Input::Resynced(view.ok().map(Box::new))
        });
    }

    fn relay_bound(&mut self, hint: HostHint) {
        self.binds += 1;
        // A relay that was started anew has forgotten who is host.
        if let Part::Host { epoch } = *self.migration.role()
            && self.binds > 1
            && hint.epoch < epoch
        {
            self.present_grant(epoch);
        }
        self.migration.handle_relay_hint(hint);
    }

    pub(crate) fn do_effects(&mut self) {
        while let Some(effect) = self.migration.poll_effect() {
            self.show_role();
            self.do_effect(effect);
        }
        self.show_role();
    }

    fn do_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Dial { host, peer_key, epoch } => self.dial(host, peer_key, epoch),
            Effect::DialStandby { successor, peer_key, epoch } => self.dial_standby(successor, peer_key, epoch),
            Effect::HangUp { peer } => {
                self.hang_up(peer);
                self.feed.handle_link_down(peer);
                self.hand_over.handle_link_down(peer);
            }
            Effect::Fetch { epoch } => self.search(epoch, Instant::now()),
            Effect::Restore { epoch } => self.restore(epoch),
            Effect::ConfirmReady { epoch } => self.confirm_ready(epoch),
            Effect::PresentGrant { epoch } => self.present_grant(epoch),
            Effect::Admit { guest, returning } => self.admit(guest, returning),
            Effect::Upload { .. } => self.snapshots.store_from(Instant::now()),
            Effect::Report { epoch, hears_host } => {
                self.say(ClientMessage::Report { epoch, hears_host });
                if hears_host {
                    self.heard_again();
                }
            }
            Effect::Hears { epoch, guests } => self.say(ClientMessage::Hears { epoch, guests }),
            Effect::Resync => self.resync(),
            Effect::Notify(notice) => self.notice(notice),
        }
    }

    pub(crate) fn say(&self, message: ClientMessage) {
        if self.lobby_messages.try_send(message).is_err() {
            tracing::debug!("a message to the lobby was dropped: the event socket is not open");
        }
    }

    fn notice(&mut self, notice: Notice) {
        if notice == Notice::Removed {
            // A session that leaves is told so by its own answer.
            if self.leaving.is_none() {
                self.end(Event::Removed);
            }
            return;
        }
        match notice {
            Notice::DisconnectedFromHost { .. } => {
                self.dialing.fell_silent();
                self.timeline.noticed(Instant::now());
            }
            Notice::BecameHost { epoch } => self.runs_the_game(epoch),
            Notice::Demoted { .. } => self.end_hand_over(),
            Notice::PeersUpdated
            | Notice::HostLost { .. }
            | Notice::HostReturned { .. }
            | Notice::HostElected { .. }
            | Notice::HostMigrated { .. }
            | Notice::JoinedGame { .. }
            | Notice::HostShutDown { .. }
            | Notice::PlayerJoined { .. }
            | Notice::PlayerLeft { .. }
            | Notice::PlayerDisconnected { .. }
            | Notice::PlayerReconnected { .. }
            | Notice::Parked { .. }
            | Notice::Removed => {}
        }
        let event = Event::from(notice);
        self.event(event.clone());
        self.keep_objects(&event);
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.output(Output::Event(event));
    }

    pub(crate) fn request(&mut self, request: Request) {
        self.output(Output::Request(request));
    }

    fn output(&mut self, output: Output) {
        let is_taken = self.outbox.push(output);
        self.check_taken(is_taken);
    }

    /// A message for the game that came by no link.
    pub(crate) fn own_message(&mut self, message: Message, up: Option<Up>) {
        let is_taken = self.outbox.push_own(message, up);
        self.check_taken(is_taken);
    }

    fn check_taken(&mut self, is_taken: bool) {
        if !is_taken && !self.over {
            tracing::warn!("the game does not poll its session, which ends");
            self.end(Event::Overrun);
        }
    }

    pub(crate) fn end(&mut self, last: Event) {
        self.over = true;
        self.outbox.close(Some(last));
    }

    /// Runs what takes time, and takes its result as an input.
    pub(crate) fn spawn(&mut self, work: impl Future<Output = Input> + Send + 'static) {
        let inputs = self.inputs.clone();
        self.tasks.spawn(async move {
            let input = work.await;
            // The session has ended if nobody takes it.
            let _ = inputs.send(input).await;
        });
    }

    pub(crate) const fn next_link(&mut self) -> LinkId {
        self.next_link += 1;
        LinkId(self.next_link)
    }

    fn show_lobby(&self) {
        let view = Arc::new(self.migration.lobby().clone());
        self.shared.lock().lobby = view.clone();
        self.view.send_replace(view);
    }

    pub(crate) fn show_role(&self) {
        let mut state = self.shared.lock();
        state.epoch = self.migration.epoch();
        state.role = match self.migration.role() {
            Part::Waiting | Part::Out => Role::Waiting,
            Part::Guest { link: GuestLink::Dialing { .. }, .. } => Role::Joining,
            Part::Guest { link: GuestLink::InGame { .. }, .. } => Role::Guest,
            Part::Becoming { .. } => Role::Becoming,
            Part::Host { .. } if state.frozen => Role::HandingOver,
            Part::Host { .. } => Role::Host,
        };
        if !matches!(state.role, Role::Becoming | Role::Host | Role::HandingOver) {
            // What only a host keeps.
            state.seats.clear();
            state.away.clear();
            state.given = None;
        }
    }

    /// Whether the lobby still waits for this peer to take over.
    pub(crate) fn is_host_or_elected(&self, epoch: HostEpoch) -> bool {
        match self.migration.role() {
            Part::Host { epoch: mine } | Part::Becoming { epoch: mine, .. } => *mine == epoch,
            Part::Waiting | Part::Guest { .. } | Part::Out => false,
        }
    }
}

/// What a host sends to its successor, from nothing.
pub(crate) const fn new_feed() -> Feed<Image> {
    Feed::new(limits::FEED_BYTES_PER_SECOND)
}

impl Drop for Driver {
    fn drop(&mut self) {
        let links = std::mem::take(&mut self.shared.lock().links);
        drop(links);
        if let Some(session) = self.socket.session() {
            self.socket.send_control(&RelayFrame::Unbind { session });
        }
        self.outbox.close(None);
    }
}
