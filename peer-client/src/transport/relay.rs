//! This peer's binding at the relay: bound at the start, kept alive, bound anew when the relay has forgotten it.
//!
//! By UDP; and if nothing comes of that for a while, by WebSocket at the same time. Whichever binds first is used. Who is bound by WebSocket
//! asks by UDP every now and then, and moves there if the relay answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::frame::{HostHint, RefusedReason, RelayFrame};
use protocol::id::{HostEpoch, LobbyId, SessionTag};
use protocol::limits;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::socket::{Carrier, ControlFrame, PeerSocket};
use super::web_socket;
use crate::driver::Input;
use crate::service::{RelayToken, Service};

/// A question to the relay is repeated after this long, then after twice as long, up to [`ASK_INTERVAL_MAX`].
const ASK_INTERVAL: Duration = Duration::from_millis(100);
/// Longest pause between two questions.
const ASK_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// When nothing came from the relay for this long, it is asked whether it is there; and how often it is asked then.
const IDLE: Patience = Patience { silence: Duration::from_secs(1), interval: Duration::from_millis(250) };
/// The same while links go through it: they bring a heartbeat each [`limits::HEARTBEAT`]. A relay that was started anew is found out
/// before the lobby gives up the host.
const IN_USE: Patience = Patience { silence: limits::SUSPICION, interval: limits::HEARTBEAT };
/// The relay is in use for this long after the last data came through it.
const USE: Duration = Duration::from_secs(3);
/// Questions without an answer after which this peer binds anew.
const PROBES_MAX: u32 = 4;
/// Questions at bind without an answer after which the service is asked again which relay it is.
const BIND_ATTEMPTS_MAX: u32 = 8;
/// A relay that has not bound by UDP for this long is asked by WebSocket too: one that answers does so within a way around the world.
const WEB_SOCKET_AFTER: Duration = Duration::from_secs(1);
/// Who is bound by WebSocket asks by UDP this often.
const UDP_INTERVAL: Duration = Duration::from_secs(30);
/// Time to get a token for that, while everything else waits.
const UDP_TOKEN_TIMEOUT: Duration = Duration::from_millis(500);
/// A token is not used for the last part of its life: it is checked by another clock.
const TOKEN_RESERVE: Duration = Duration::from_secs(10);

/// What the driver asks of the binding.
#[derive(Debug)]
pub(crate) enum RelayCommand {
    /// Show this grant until the relay has taken or refused it.
    Grant { epoch: HostEpoch, token: String },
}

/// What the binding works with.
pub(crate) struct Binding {
    pub(crate) socket: Arc<PeerSocket>,
    pub(crate) service: Arc<Service>,
    pub(crate) lobby: LobbyId,
    /// Instead of the announced addresses.
    pub(crate) relay_address: Option<SocketAddr>,
    pub(crate) frames: mpsc::Receiver<ControlFrame>,
    pub(crate) commands: mpsc::Receiver<RelayCommand>,
    /// Whether the relay forwards for this peer.
    pub(crate) bound: watch::Sender<bool>,
    pub(crate) inputs: mpsc::Sender<Input>,
    /// The log says already that this socket cannot send to the relay.
    pub(crate) is_out_of_reach: bool,
    /// The task that has the WebSocket, if there is one.
    pub(crate) web_socket: JoinSet<()>,
    /// Only a WebSocket has bound last.
    pub(crate) is_udp_blocked: bool,
}

struct Patience {
    silence: Duration,
    interval: Duration,
}

/// A token, while it can be used.
struct Ticket {
    token: RelayToken,
    expires_at: Instant,
}

struct Grant {
    epoch: HostEpoch,
    token: String,
    again_at: Instant,
    interval: Duration,
}

impl Binding {
    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) {
        let mut ticket = None;
        let mut grant = None;
        loop {
            let host = self.bind(&mut ticket, &mut grant).await;
            self.bound.send_replace(true);
            if self.inputs.send(Input::RelayBound(host)).await.is_err() {
                return;
            }
            self.stay_bound(&mut ticket, &mut grant).await;
            // It may be dead without anybody knowing, or lead to another relay than the next one.
            self.web_socket = JoinSet::new();
            tracing::debug!("the relay does not answer: binding again");
        }
    }

    /// Asks until it is bound. The relay forwards by the old binding meanwhile, if it still has it.
    async fn bind(&mut self, ticket: &mut Option<Ticket>, grant: &mut Option<Grant>) -> HostHint {
        let mut interval = ASK_INTERVAL;
        let mut attempts = 0;
        let mut web_socket_at = None;
        loop {
            let Some(current) = self.usable(ticket).await else {
                sleep(interval).await;
                interval = longer(interval);
                continue;
            };
            let token = current.token.token.clone();
            let patience = if self.is_udp_blocked { Duration::ZERO } else { WEB_SOCKET_AFTER };
            let web_socket_at = *web_socket_at.get_or_insert_with(|| Instant::now() + patience);
            self.ask(&token, web_socket_at).await;
            let until = match web_socket_at.saturating_duration_since(Instant::now()) {
                Duration::ZERO => interval,
                remaining => interval.min(remaining),
            };
            match self.bound_within(&token, until, grant).await {
                Some(Ok(host)) => return host,
                Some(Err(reason)) => {
                    tracing::debug!(?reason, "the relay refused to bind");
                    *ticket = None;
                    sleep(interval).await;
                }
                None => {
                    attempts += 1;
                    if attempts % BIND_ATTEMPTS_MAX == 0 {
                        tracing::warn!("the relay does not answer, neither by UDP nor by WebSocket");
                        *ticket = self.fetch().await.or(ticket.take());
                    }
                }
            }
            interval = longer(interval);
        }
    }

    /// Asks for a challenge by UDP, and from that time on by WebSocket too.
    async fn ask(&mut self, token: &str, web_socket_at: Instant) {
        let question = RelayFrame::BindRequest { token: token.as_bytes() };
        // A socket that fails is noticed by who receives from it.
        let _ = self.socket.writable().await;
        self.socket.send_control_by(Carrier::Udp, &question);
        // A simulated network is one of datagrams, and is not gone around.
        if Instant::now() < web_socket_at || self.service.network().is_some() {
            return;
        }
        while self.web_socket.try_join_next().is_some() {}
        if self.web_socket.is_empty()
            && let Some(relay) = self.socket.relay_address()
        {
            self.web_socket.spawn(web_socket::carry(relay, self.socket.web_socket().clone()));
        }
        // It waits until the WebSocket is open.
        self.socket.send_control_by(Carrier::WebSocket, &question);
    }

    /// Answers the challenge; `None`: nothing came in time.
    async fn bound_within(
        &mut self,
        token: &str,
        time: Duration,
        grant: &mut Option<Grant>,
    ) -> Option<Result<HostHint, RefusedReason>> {
        let until = tokio::time::Instant::now() + time;
        loop {
            let ControlFrame { carrier, bytes } = tokio::select! {
                frame = self.frames.recv() => frame?,
                Some(command) = self.commands.recv() => {
                    *grant = Some(Grant::new(command));
                    continue;
                }
                () = sleep_until(until) => return None,
            };
            match RelayFrame::decode(&bytes) {
                Ok(RelayFrame::Challenge { cookie }) => {
                    self.socket.send_control_by(carrier, &RelayFrame::Bind { cookie, token: token.as_bytes() });
                }
                Ok(RelayFrame::Bound { session, host, .. }) => {
                    self.use_carrier(carrier, session);
                    return Some(Ok(host));
                }
                Ok(RelayFrame::Refused { reason }) => return Some(Err(reason)),
                _ => {}
            }
        }
    }

    /// The relay has bound this peer by that carrier, and knows it by no other any more.
    fn use_carrier(&mut self, carrier: Carrier, session: SessionTag) {
        self.socket.set_session(session, carrier);
        let is_udp_blocked = carrier == Carrier::WebSocket;
        if self.is_udp_blocked != is_udp_blocked {
            tracing::info!(?carrier, "the relay is reached by another carrier");
        }
        self.is_udp_blocked = is_udp_blocked;
        if carrier == Carrier::Udp {
            // Its end is noticed by nobody: nothing of it is in use.
            self.web_socket = JoinSet::new();
        }
    }

    /// Keeps the binding alive; returns when the relay does not answer any more.
    async fn stay_bound(&mut self, ticket: &mut Option<Ticket>, grant: &mut Option<Grant>) {
        let bound_at = Instant::now();
        let mut probes = 0;
        let mut next_probe = bound_at + IN_USE.silence;
        let mut ask_udp_at = Instant::now() + UDP_INTERVAL;
        loop {
            let is_web_socket = self.socket.carrier() == Carrier::WebSocket;
            let mut wake = grant.as_ref().map_or(next_probe, |grant| grant.again_at.min(next_probe));
            if is_web_socket {
                wake = wake.min(ask_udp_at);
            }
            tokio::select! {
                frame = self.frames.recv() => match frame {
                    Some(frame) => self.take(&frame, ticket, grant).await,
                    None => return,
                },
                Some(command) = self.commands.recv() => *grant = Some(Grant::new(command)),
                Some(_) = self.web_socket.join_next() => if is_web_socket { return },
                () = sleep_until(wake.into()) => {}
            }
            let now = Instant::now();
            if is_web_socket && ask_udp_at <= now {
                ask_udp_at = now + UDP_INTERVAL;
                self.ask_by_udp(ticket).await;
            }
            if let Some(grant) = grant.as_mut().filter(|grant| grant.again_at <= now) {
                self.show(grant, now);
            }
            if next_probe > now {
                continue;
            }
            let in_use = self.socket.relay_data_at().is_some_and(|at| now.saturating_duration_since(at) < USE);
            let patience = if in_use { IN_USE } else { IDLE };
            let quiet_since = self.socket.relay_heard_at().unwrap_or(bound_at);
            if now.saturating_duration_since(quiet_since) < patience.silence {
                probes = 0;
                next_probe = quiet_since + patience.silence;
            } else if probes == PROBES_MAX {
                return;
            } else {
                probes += 1;
                next_probe = now + patience.interval;
                self.keep_alive();
            }
        }
    }

    /// Asks for a challenge by UDP, which may get through again.
    async fn ask_by_udp(&mut self, ticket: &mut Option<Ticket>) {
        // The relay that is bound, though another may be named by now: a binding that works is not given up for one that may not.
        if let Ok(Some(current)) = timeout(UDP_TOKEN_TIMEOUT, self.valid(ticket)).await {
            let token = current.token.token.as_bytes();
            self.socket.send_control_by(Carrier::Udp, &RelayFrame::BindRequest { token });
        }
    }

    /// What comes by UDP while it is bound by WebSocket answers what was asked there. Returns true if it is no more than that.
    fn is_about_udp(&mut self, frame: &RelayFrame<'_>, ticket: Option<&Ticket>) -> bool {
        match (frame, ticket) {
            (RelayFrame::Challenge { cookie }, Some(ticket)) => {
                let token = ticket.token.token.as_bytes();
                self.socket.send_control_by(Carrier::Udp, &RelayFrame::Bind { cookie: *cookie, token });
                true
            }
            (RelayFrame::Bound { session, .. }, _) => {
                self.use_carrier(Carrier::Udp, *session);
                false
            }
            (RelayFrame::Challenge { .. } | RelayFrame::Refused { .. }, _) => true,
            _ => false,
        }
    }

    fn keep_alive(&self) {
        if let Some(session) = self.socket.session() {
            self.socket.send_control(&RelayFrame::KeepAlive { session, padding: [0; 12] });
        }
    }

    fn show(&self, grant: &mut Grant, now: Instant) {
        if let Some(session) = self.socket.session() {
            self.socket.send_control(&RelayFrame::Grant { session, token: grant.token.as_bytes() });
        }
        grant.again_at = now + grant.interval;
        grant.interval = longer(grant.interval);
    }

    async fn take(&mut self, frame: &ControlFrame, ticket: &Option<Ticket>, grant: &mut Option<Grant>) {
        let decoded = RelayFrame::decode(&frame.bytes);
        if let Ok(answer) = &decoded
            && (frame.carrier, self.socket.carrier()) == (Carrier::Udp, Carrier::WebSocket)
            && self.is_about_udp(answer, ticket.as_ref())
        {
            return;
        }
        let hint = match decoded {
            Ok(
                RelayFrame::HostMoved { host, .. }
                | RelayFrame::Demoted { host, .. }
                | RelayFrame::Alive { host, .. }
                | RelayFrame::Bound { host, .. },
            ) => host,
            Ok(RelayFrame::Refused { reason }) => {
                if grant.take().is_some() {
                    tracing::warn!(?reason, "the relay refused the host grant");
                }
                return;
            }
            _ => return,
        };
        if grant.as_ref().is_some_and(|grant| grant.epoch <= hint.epoch) {
            tracing::debug!(epoch = %hint.epoch, "the relay knows the host of this epoch");
            *grant = None;
        }
        // The session has ended if nobody takes it.
        let _ = self.inputs.send(Input::RelayHint(hint)).await;
    }

    /// A token that is still good.
    async fn valid<'a>(&self, ticket: &'a mut Option<Ticket>) -> Option<&'a Ticket> {
        if ticket.as_ref().is_none_or(|ticket| ticket.expires_at <= Instant::now()) {
            *ticket = self.fetch().await;
        }
        ticket.as_ref()
    }

    /// A token that is still good, with the socket turned to its relay.
    async fn usable<'a>(&mut self, ticket: &'a mut Option<Ticket>) -> Option<&'a Ticket> {
        let current = self.valid(ticket).await?;
        let address = match self.relay_address {
            Some(address) => address,
            None => self.resolve(current).await?,
        };
        self.socket.set_relay(address);
        Some(current)
    }

    async fn fetch(&self) -> Option<Ticket> {
        match self.service.relay_token(self.lobby).await {
            Ok(token) => {
                let life = Duration::from_secs(token.expires_in_s).saturating_sub(TOKEN_RESERVE);
                Some(Ticket { token, expires_at: Instant::now() + life.min(limits::RELAY_TOKEN_LIFE) })
            }
            Err(error) => {
                tracing::debug!(%error, "no relay token");
                None
            }
        }
    }

    async fn resolve(&mut self, ticket: &Ticket) -> Option<SocketAddr> {
        // Members meet at the first: whoever takes another is alone there.
        let announced = ticket.token.relays.first()?;
        match tokio::net::lookup_host(announced.address.as_str()).await {
            Ok(mut addresses) => {
                let address = addresses.find(|address| self.socket.reaches(*address));
                if address.is_none() && !std::mem::replace(&mut self.is_out_of_reach, true) {
                    tracing::warn!("the relay has no address of the family that this socket speaks");
                }
                address
            }
            Err(error) => {
                tracing::debug!(%error, "the relay's address cannot be resolved");
                None
            }
        }
    }
}

impl Grant {
    fn new(command: RelayCommand) -> Self {
        let RelayCommand::Grant { epoch, token } = command;
        Self { epoch, token, again_at: Instant::now(), interval: ASK_INTERVAL }
    }
}

fn longer(interval: Duration) -> Duration {
    (2 * interval).min(ASK_INTERVAL_MAX)
}
