//! The relay's table: sessions, who is bound where, who is host, what is dropped and why.
//!
//! A live machine. The shell hands it each datagram and does what it answers: forward, reply, or verify a signature and come
//! back. It keeps no packet. Addresses enter only after they have returned a cookie, and a frame goes only from one bound
//! address of a session to another of the same session (P14).
//!
//! An address that has proven nothing gets no answer that is longer than its question, but for one: STUN's, which is (see
//! [`BindingRequest::answer`]), and which is counted out to each network and to all of them.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::frame::{FrameError, HostHint, RefusedReason, RelayFrame};
use crate::id::{ConnectionId, HostEpoch, LobbyId, SessionTag};
use crate::limits;
use crate::planted::{self, Bug};
use crate::stun::{self, BindingRequest};

/// What an operator may change.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Sessions at most.
    pub sessions: usize,
    /// Members of a session at most.
    pub members: usize,
    /// Bytes a second from one member.
    pub bytes_per_second: u64,
    /// Bytes at once from one member.
    pub burst_bytes: u64,
    /// A link on which nothing came for this long is closed.
    pub idle_timeout: Duration,
    /// A host that sent data and then none for this long is silent.
    pub host_silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: limits::RELAY_SESSIONS_MAX,
            members: limits::MEMBERS_MAX as usize,
            bytes_per_second: limits::RELAY_LINK_BYTES_PER_SECOND,
            burst_bytes: limits::RELAY_LINK_BURST_BYTES,
            idle_timeout: limits::RELAY_IDLE_TIMEOUT,
            host_silence: limits::RELAY_HOST_SILENCE,
        }
    }
}

/// Why a datagram was not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// Not a frame.
    Malformed,
    /// A frame that only a relay sends.
    WrongDirection,
    /// No such session.
    UnknownSession,
    /// The address is not bound in that session.
    UnboundSource,
    /// The destination is not bound in that session.
    UnboundDestination,
    /// The cookie is not the one that this address was sent, or too old.
    BadCookie,
    /// The token is not valid.
    BadToken,
    /// More tokens to verify than the relay has time for.
    TooManyProofs,
    /// More than the member may send.
    OverRate,
    /// The relay or the session is full.
    Full,
    /// A grant of an older epoch.
    StaleGrant,
    /// The seat was revoked.
    Revoked,
    /// A STUN message that is no plain binding request, or a damaged one.
    StunNotPlain,
    /// More STUN questions than are answered, of one network or of all.
    StunOverRate,
    /// Too much waits for a WebSocket: the oldest packet of a game made room.
    QueueFull,
    /// The operating system did not take it.
    SendFailed,
}

impl DropReason {
    /// All of them, in the order of [`Counters::dropped`].
    pub const ALL: [Self; 16] = [
        Self::Malformed,
        Self::WrongDirection,
        Self::UnknownSession,
        Self::UnboundSource,
        Self::UnboundDestination,
        Self::BadCookie,
        Self::BadToken,
        Self::TooManyProofs,
        Self::OverRate,
        Self::Full,
        Self::StaleGrant,
        Self::Revoked,
        Self::StunNotPlain,
        Self::StunOverRate,
        Self::QueueFull,
        Self::SendFailed,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongDirection => "wrong_direction",
            Self::UnknownSession => "unknown_session",
            Self::UnboundSource => "unbound_source",
            Self::UnboundDestination => "unbound_destination",
            Self::BadCookie => "bad_cookie",
            Self::BadToken => "bad_token",
            Self::TooManyProofs => "too_many_proofs",
            Self::OverRate => "over_rate",
            Self::Full => "full",
            Self::StaleGrant => "stale_grant",
            Self::Revoked => "revoked",
            Self::StunNotPlain => "stun_not_plain",
            Self::StunOverRate => "stun_over_rate",
            Self::QueueFull => "queue_full",
            Self::SendFailed => "send_failed",
        }
    }
}

/// What the relay has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams forwarded.
    pub forwarded: u64,
    /// Their bytes, headers included.
    pub forwarded_bytes: u64,
    /// Addresses bound.
    pub bound: u64,
    /// Links closed because nothing came.
    pub idled_out: u64,
    /// Hosts that moved.
    pub hosts_moved: u64,
    /// STUN questions answered.
    pub stun_answered: u64,
    /// WebSockets opened.
    pub websockets_opened: u64,
    /// Connections that were closed before they became WebSockets: there were too many, of one address or of all.
    pub websockets_refused: u64,
    /// Datagrams dropped, by [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
}

/// What the shell has to do with a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<'a> {
    /// Send the datagram on, with its first bytes replaced by `header`.
    Forward {
        /// Where to.
        to: SocketAddr,
        /// The header that names the source.
        header: [u8; crate::frame::RELAY_DATA_HEADER_BYTES],
        /// What follows it.
        payload: &'a [u8],
    },
    /// Send these bytes back to where the datagram came from.
    Reply(Vec<u8>),
    /// Answer this STUN question, if there are not too many of them: the asker has not proven its address. Then call
    /// [`RelayTable::stun_answered`] or [`RelayTable::stun_dropped`].
    AnswerStun(BindingRequest),
    /// Verify the relay token's signature and claims, then call [`RelayTable::bind`] or [`RelayTable::refuse`].
    VerifyMember {
        /// The token.
        token: &'a [u8],
    },
    /// Verify the host grant's signature and claims, then call [`RelayTable::grant`] or [`RelayTable::refuse`].
    VerifyGrant {
        /// The token.
        token: &'a [u8],
    },
    /// Nothing.
    Nothing,
    /// Nothing; it has been counted.
    Drop(DropReason),
}

/// Something that the lobby service wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostSound {
    /// Which lobby.
    pub lobby: LobbyId,
    /// Its host, as the relay knows it.
    pub host: ConnectionId,
    /// Its epoch.
    pub epoch: HostEpoch,
    /// It sends data (again), or has stopped.
    pub heard: bool,
}

/// A bound address.
#[derive(Debug)]
struct Link {
    address: SocketAddr,
    heard_at: Instant,
    data_at: Option<Instant>,
    /// Bytes that it may still send, as of `refilled_at`.
    budget: u64,
    refilled_at: Instant,
}

#[derive(Debug)]
struct Session {
    lobby: LobbyId,
    host: HostHint,
    host_silent: bool,
    links: BTreeMap<ConnectionId, Link>,
    by_address: BTreeMap<SocketAddr, ConnectionId>,
}

/// All sessions of a relay.
#[derive(Debug)]
pub struct RelayTable {
    limits: Limits,
    secret: [u8; 32],
    started: Instant,
    sessions: BTreeMap<SessionTag, Session>,
    tags: BTreeMap<LobbyId, SessionTag>,
    revoked: BTreeMap<(LobbyId, ConnectionId), Instant>,
    outbox: VecDeque<(SocketAddr, Vec<u8>)>,
    sounds: VecDeque<HostSound>,
    next_check: Instant,
    counters: Counters,
}

/// How often idle links and silent hosts are looked for: as much later than it fell silent a host can be told to be.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

impl RelayTable {
    /// Makes an empty table. `secret` is random and makes the cookies.
    #[must_use]
    pub fn new(limits: Limits, secret: [u8; 32], now: Instant) -> Self {
        Self {
            limits,
            secret,
            started: now,
            sessions: BTreeMap::new(),
            tags: BTreeMap::new(),
            revoked: BTreeMap::new(),
            outbox: VecDeque::new(),
            sounds: VecDeque::new(),
            next_check: now + CHECK_INTERVAL,
            counters: Counters::default(),
        }
    }

    /// What it has done so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Sessions and links.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.sessions.len(), self.sessions.values().map(|session| session.links.len()).sum())
    }

    /// Who is host of a lobby, as far as grants have shown; `None` without a session.
    #[must_use]
    pub fn host_of(&self, lobby: LobbyId) -> Option<HostHint> {
        Some(self.sessions.get(self.tags.get(&lobby)?)?.host)
    }

    /// Decides what happens with a datagram from `source`.
    pub fn handle_datagram<'a>(&mut self, source: SocketAddr, datagram: &'a [u8], now: Instant) -> Action<'a> {
        if stun::is_stun(datagram) {
            return BindingRequest::decode(datagram)
                .map_or_else(|_refused| self.drop(DropReason::StunNotPlain), Action::AnswerStun);
        }
        let frame = match RelayFrame::decode(datagram) {
            Ok(frame) => frame,
            Err(FrameError::Truncated | FrameError::TooLong | FrameError::Version | FrameError::Kind) => {
                return self.drop(DropReason::Malformed);
            }
        };
        match frame {
            RelayFrame::Data { session, peer, payload } => self.route(source, session, peer, payload, now),
            RelayFrame::BindRequest { token } => {
                let challenge = RelayFrame::Challenge { cookie: self.cookie(source, token, now, 0) }.to_vec();
                if challenge.len() > datagram.len() {
                    self.drop(DropReason::Malformed)
                } else {
                    Action::Reply(challenge)
                }
            }
            RelayFrame::Bind { cookie, token } => {
                let fresh = [0, 1].into_iter().any(|back| self.cookie(source, token, now, back) == cookie);
                if fresh { Action::VerifyMember { token } } else { self.drop(DropReason::BadCookie) }
            }
            RelayFrame::KeepAlive { session, .. } => match self.heard(source, session, now) {
                Ok(session_state) => Action::Reply(RelayFrame::Alive { session, host: session_state.host }.to_vec()),
                Err(reason) => self.drop(reason),
            },
            RelayFrame::Grant { session, token } => match self.heard(source, session, now) {
                Ok(_) => Action::VerifyGrant { token },
                Err(reason) => self.drop(reason),
            },
            RelayFrame::Unbind { session } => self.unbind(source, session),
            RelayFrame::Challenge { .. }
            | RelayFrame::Bound { .. }
            | RelayFrame::Alive { .. }
            | RelayFrame::HostMoved { .. }
            | RelayFrame::Demoted { .. }
            | RelayFrame::Refused { .. } => self.drop(DropReason::WrongDirection),
        }
    }

    /// Binds the address of a member whose token was verified. A newer address takes the place of the older one.
    ///
    /// `fresh_tag` is a random number, used if the session is new. Returns the reply for `source`.
    pub fn bind(
        &mut self,
        source: SocketAddr,
        lobby: LobbyId,
        connection: ConnectionId,
        fresh_tag: u32,
        now: Instant,
    ) -> Vec<u8> {
        if self.revoked.contains_key(&(lobby, connection)) {
            return self.refuse(DropReason::Revoked);
        }
        let Some(tag) = self.session_for(lobby, fresh_tag) else { return self.refuse(DropReason::Full) };
        let (burst, members) = (self.limits.burst_bytes, self.limits.members);
        let Some(session) = self.sessions.get_mut(&tag) else { return self.refuse(DropReason::Full) };
        if session.links.len() >= members && !session.links.contains_key(&connection) {
            return self.refuse(DropReason::Full);
        }
        // One address is one member: whoever was bound there before has moved away.
        if let Some(previous) = session.by_address.insert(source, connection)
            && previous != connection
        {
            session.links.remove(&previous);
        }
        let mut link = Link { address: source, heard_at: now, data_at: None, budget: burst, refilled_at: now };
        if let Some(old) = session.links.remove(&connection) {
            // Binding again gives no second burst, and is no data: a silent host stays silent.
            link = Link { data_at: old.data_at, budget: old.budget, refilled_at: old.refilled_at, ..link };
            if old.address != source {
                session.by_address.remove(&old.address);
            }
        }
        session.links.insert(connection, link);
        self.counters.bound += 1;
        RelayFrame::Bound { session: tag, connection, host: session.host }.to_vec()
    }

    /// Records a host whose grant was verified, if its epoch is higher than any before, and tells everybody.
    ///
    /// Returns the reply for `source`.
    pub fn grant(&mut self, source: SocketAddr, lobby: LobbyId, host: HostHint, now: Instant) -> Vec<u8> {
        let Some(tag) = self.tags.get(&lobby).copied() else { return self.refuse(DropReason::UnknownSession) };
        let Some(session) = self.sessions.get_mut(&tag) else { return self.refuse(DropReason::UnknownSession) };
        if session.by_address.get(&source) != Some(&host.host) {
            return self.refuse(DropReason::UnboundSource);
        }
        let older = host.epoch < session.host.epoch && !planted::is(Bug::RelayTakesOlderGrant);
        if older || (host.epoch == session.host.epoch && host.host != session.host.host) {
            return self.refuse(DropReason::StaleGrant);
        }
        let moved = RelayFrame::HostMoved { session: tag, host }.to_vec();
        if host == session.host {
            return moved;
        }
        let previous = std::mem::replace(&mut session.host, host);
        session.host_silent = false;
        for (&connection, link) in &mut session.links {
            let demoted =
                previous.epoch != HostEpoch::NONE && connection == previous.host && previous.host != host.host;
            if demoted {
                self.outbox.push_back((link.address, RelayFrame::Demoted { session: tag, host }.to_vec()));
            } else if link.address != source {
                self.outbox.push_back((link.address, moved.clone()));
            } else {
                // Its silence is counted from its first data as host.
                link.data_at = None;
                link.heard_at = now;
            }
        }
        self.counters.hosts_moved += 1;
        moved
    }

    /// Counts a refusal and makes the frame that says so. Only for addresses that have proven themselves.
    pub fn refuse(&mut self, reason: DropReason) -> Vec<u8> {
        self.count(reason);
        let reason = match reason {
            DropReason::StaleGrant => RefusedReason::StaleGrant,
            DropReason::Revoked => RefusedReason::Revoked,
            DropReason::Full => RefusedReason::Busy,
            DropReason::Malformed
            | DropReason::WrongDirection
            | DropReason::UnknownSession
            | DropReason::UnboundSource
            | DropReason::UnboundDestination
            | DropReason::BadCookie
            | DropReason::BadToken
            | DropReason::TooManyProofs
            | DropReason::OverRate
            | DropReason::StunNotPlain
            | DropReason::StunOverRate
            | DropReason::QueueFull
            | DropReason::SendFailed => RefusedReason::Token,
        };
        RelayFrame::Refused { reason }.to_vec()
    }

    /// Closes a member's link and refuses its token from now on, until it expires.
    pub fn revoke(&mut self, lobby: LobbyId, connection: ConnectionId, now: Instant) {
        if self.revoked.len() >= limits::RELAY_REVOKED_MAX
            && let Some(first) = self.revoked.iter().min_by_key(|(_, until)| **until).map(|(&seat, _)| seat)
        {
            self.revoked.remove(&first);
        }
        self.revoked.insert((lobby, connection), now + limits::RELAY_TOKEN_LIFE + limits::CLOCK_LEEWAY);
        if let Some(tag) = self.tags.get(&lobby).copied() {
            self.remove_link(tag, connection);
        }
    }

    /// Takes a revocation back: the player has its seat again.
    pub fn reinstate(&mut self, lobby: LobbyId, connection: ConnectionId) {
        self.revoked.remove(&(lobby, connection));
    }

    /// Closes a session.
    pub fn close(&mut self, lobby: LobbyId) {
        if let Some(tag) = self.tags.remove(&lobby) {
            self.sessions.remove(&tag);
        }
    }

    /// Counts a token that nobody had the time to verify. Its sender asks again.
    pub fn proof_dropped(&mut self) {
        self.count(DropReason::TooManyProofs);
    }

    /// Counts a STUN question that was answered.
    pub const fn stun_answered(&mut self) {
        self.counters.stun_answered += 1;
    }

    /// Counts a STUN question too many. Its sender asks again.
    pub fn stun_dropped(&mut self) {
        self.count(DropReason::StunOverRate);
    }

    /// Counts a WebSocket that was opened.
    pub const fn websocket_opened(&mut self) {
        self.counters.websockets_opened += 1;
    }

    /// Counts a connection too many.
    pub const fn websocket_refused(&mut self) {
        self.counters.websockets_refused += 1;
    }

    /// Counts packets of games that made room in the queue of a WebSocket.
    pub fn queue_full(&mut self) {
        self.count(DropReason::QueueFull);
    }

    /// Counts a datagram whose source is an address that only the shell gives.
    pub fn source_forged(&mut self) {
        self.count(DropReason::UnboundSource);
    }

    /// Counts a datagram that the operating system did not take.
    pub fn send_failed(&mut self) {
        self.count(DropReason::SendFailed);
    }

    /// A control frame that is to be sent.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.outbox.pop_front()
    }

    /// A host that fell silent, or was heard again.
    pub fn poll_sound(&mut self) -> Option<HostSound> {
        self.sounds.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub const fn poll_timeout(&self) -> Instant {
        self.next_check
    }

    /// Closes idle links and looks for silent hosts.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.next_check {
            return;
        }
        self.next_check = now + CHECK_INTERVAL;
        self.revoked.retain(|_, until| *until > now);
        let idle = self.limits.idle_timeout;
        let mut gone = Vec::new();
        for (&tag, session) in &mut self.sessions {
            gone.extend(
                session
                    .links
                    .iter()
                    .filter(|(_, link)| now - link.heard_at >= idle)
                    .map(|(&connection, _)| (tag, connection)),
            );
            let silent_for = session.links.get(&session.host.host).and_then(|link| link.data_at).map(|at| now - at);
            if session.host.epoch != HostEpoch::NONE
                && !session.host_silent
                && silent_for.is_some_and(|silent| silent >= self.limits.host_silence)
            {
                session.host_silent = true;
                self.sounds.push_back(session.sound());
            }
        }
        for (tag, connection) in gone {
            self.counters.idled_out += 1;
            self.remove_link(tag, connection);
        }
    }

    fn route<'a>(
        &mut self,
        source: SocketAddr,
        tag: SessionTag,
        peer: ConnectionId,
        payload: &'a [u8],
        now: Instant,
    ) -> Action<'a> {
        match self.try_route(source, tag, peer, payload.len() as u64, now) {
            Ok((to, from)) => {
                self.counters.forwarded += 1;
                self.counters.forwarded_bytes += (crate::frame::RELAY_DATA_HEADER_BYTES + payload.len()) as u64;
                Action::Forward { to, header: RelayFrame::data_header(tag, from), payload }
            }
            Err(reason) => self.drop(reason),
        }
    }

    fn try_route(
        &mut self,
        source: SocketAddr,
        tag: SessionTag,
        peer: ConnectionId,
        bytes: u64,
        now: Instant,
    ) -> Result<(SocketAddr, ConnectionId), DropReason> {
        let session = self.sessions.get_mut(&tag).ok_or(DropReason::UnknownSession)?;
        let from = *session.by_address.get(&source).ok_or(DropReason::UnboundSource)?;
        let to = session.links.get(&peer).ok_or(DropReason::UnboundDestination)?.address;
        let link = session.links.get_mut(&from).ok_or(DropReason::UnboundSource)?;
        link.heard_at = now;
        let first_data = link.data_at.replace(now).is_none();
        if !link.spend(bytes, &self.limits, now) {
            return Err(DropReason::OverRate);
        }
        let is_host = session.host.epoch != HostEpoch::NONE && from == session.host.host;
        if is_host && (session.host_silent || first_data) {
            session.host_silent = false;
            self.sounds.push_back(session.sound());
        }
        Ok((to, from))
    }

    /// Marks a bound address as alive.
    fn heard(&mut self, source: SocketAddr, tag: SessionTag, now: Instant) -> Result<&Session, DropReason> {
        let session = self.sessions.get_mut(&tag).ok_or(DropReason::UnknownSession)?;
        let connection = session.by_address.get(&source).ok_or(DropReason::UnboundSource)?;
        if let Some(link) = session.links.get_mut(connection) {
            link.heard_at = now;
        }
        Ok(session)
    }

    fn unbind<'a>(&mut self, source: SocketAddr, tag: SessionTag) -> Action<'a> {
        let Some(session) = self.sessions.get(&tag) else { return self.drop(DropReason::UnknownSession) };
        let Some(&connection) = session.by_address.get(&source) else { return self.drop(DropReason::UnboundSource) };
        self.remove_link(tag, connection);
        Action::Nothing
    }

    /// A session without links is forgotten, but for its host and epoch while it has any link.
    fn remove_link(&mut self, tag: SessionTag, connection: ConnectionId) {
        let Some(session) = self.sessions.get_mut(&tag) else { return };
        if let Some(link) = session.links.remove(&connection) {
            session.by_address.remove(&link.address);
        }
        if session.links.is_empty() {
            self.tags.remove(&session.lobby);
            self.sessions.remove(&tag);
        }
    }

    fn session_for(&mut self, lobby: LobbyId, fresh_tag: u32) -> Option<SessionTag> {
        if let Some(&tag) = self.tags.get(&lobby) {
            return Some(tag);
        }
        if self.sessions.len() >= self.limits.sessions {
            return None;
        }
        let mut tag = SessionTag(fresh_tag);
        while self.sessions.contains_key(&tag) {
            tag = SessionTag(tag.0.wrapping_add(1));
        }
        let session = Session {
            lobby,
            host: HostHint::NONE,
            host_silent: false,
            links: BTreeMap::new(),
            by_address: BTreeMap::new(),
        };
        self.sessions.insert(tag, session);
        self.tags.insert(lobby, tag);
        Some(tag)
    }

    /// A keyed hash over address, token and time (as in RFC 9000 section 8.1): nothing is kept for who has only asked.
    fn cookie(&self, source: SocketAddr, token: &[u8], now: Instant, periods_back: u64) -> [u8; 16] {
        let period = (now - self.started).as_secs() / limits::RELAY_COOKIE_LIFE.as_secs();
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(&period.wrapping_sub(periods_back).to_be_bytes());
        match source.ip() {
            std::net::IpAddr::V4(ip) => hasher.update(&ip.octets()),
            std::net::IpAddr::V6(ip) => hasher.update(&ip.octets()),
        };
        hasher.update(&source.port().to_be_bytes());
        hasher.update(token);
        let mut cookie = [0; 16];
        cookie.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        cookie
    }

    fn drop<'a>(&mut self, reason: DropReason) -> Action<'a> {
        self.count(reason);
        Action::Drop(reason)
    }

    fn count(&mut self, reason: DropReason) {
        if let Some(place) = DropReason::ALL.iter().position(|&other| other == reason) {
            self.counters.dropped[place] += 1;
        }
    }
}

impl Session {
    const fn sound(&self) -> HostSound {
        HostSound { lobby: self.lobby, host: self.host.host, epoch: self.host.epoch, heard: !self.host_silent }
    }
}

impl Link {
    /// A token bucket: refilled by time, emptied by bytes.
    fn spend(&mut self, bytes: u64, limits: &Limits, now: Instant) -> bool {
        let elapsed_us = u64::try_from((now - self.refilled_at).as_micros()).unwrap_or(u64::MAX);
        let refill = elapsed_us.saturating_mul(limits.bytes_per_second) / 1_000_000;
        if refill > 0 {
            self.budget = self.budget.saturating_add(refill).min(limits.burst_bytes);
            self.refilled_at = now;
        }
        match self.budget.checked_sub(bytes) {
            Some(rest) => {
                self.budget = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests;
