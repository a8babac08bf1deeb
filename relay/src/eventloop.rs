//! The relay's one task: reads datagrams, asks the table, does what it answers.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use protocol::frame::HostHint;
use protocol::id::LobbyId;
use protocol::relay::{Action, Counters, DropReason, HostSound, RelayTable};
use protocol::token::{GrantClaims, RelayClaims};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};

use crate::control::Order;
use crate::listener::udp::UdpListener;
use crate::proofs::Proofs;
use crate::queue::ControlQueue;
use crate::verifier::{TokenError, Verifier};

/// Datagrams of one wake-up: enough to be worth it, few enough that orders and timeouts are not late.
const BATCH_MAX: usize = 64;
/// Lobbies whose last sound waits until the service takes it. One that is pushed out is told again with its next change.
const SOUNDS_WAITING_MAX: usize = 4096;

/// The task's ends of the channels to its handle.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) sounds: mpsc::Sender<HostSound>,
    pub(crate) counters: watch::Sender<Counters>,
    pub(crate) stopped: oneshot::Receiver<()>,
}

/// The state of the task.
#[derive(Debug)]
pub(crate) struct EventLoop {
    listener: UdpListener,
    table: RelayTable,
    verifier: Verifier,
    /// Who may have tokens verified.
    proofs: Proofs,
    /// Control frames that the system did not take at once.
    control: ControlQueue,
    /// The last sound of each lobby that the service has not taken yet.
    sounds: BTreeMap<LobbyId, HostSound>,
}

impl EventLoop {
    pub(crate) fn new(socket: UdpSocket, table: RelayTable, verifier: Verifier) -> Self {
        let listener = UdpListener::new(socket);
        let proofs = Proofs::new(Instant::now());
        Self { listener, table, verifier, proofs, control: ControlQueue::default(), sounds: BTreeMap::new() }
    }

    /// Runs until it is told to stop, or its handle is gone.
    pub(crate) async fn run(mut self, mut ends: Ends) {
        loop {
            tokio::select! {
                biased;
                _ = &mut ends.stopped => break,
                // 1. Orders: a removed member is out before its next packet.
                Some(order) = ends.orders.recv() => self.obey(order),
                // 2. Timeouts: rare, and late ones would keep dead links alive.
                () = tokio::time::sleep_until(self.table.poll_timeout().into()) => {
                    self.table.handle_timeout(Instant::now());
                    ends.counters.send_replace(self.table.counters().clone());
                }
                // 3. What the service wants to know; the newest of each lobby.
                Ok(permit) = ends.sounds.reserve(), if !self.sounds.is_empty() => {
                    if let Some((_, sound)) = self.sounds.pop_first() {
                        permit.send(sound);
                    }
                }
                // 4. Control frames out.
                _ = self.listener.writable(), if !self.control.is_empty() => self.flush(),
                // 5. Datagrams in: the bulk, in bounded batches.
                _ = self.listener.readable() => self.receive_batch(),
            }
            self.collect();
        }
        ends.counters.send_replace(self.table.counters().clone());
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Revoke { lobby, connection } => self.table.revoke(lobby, connection, Instant::now()),
            Order::Reinstate { lobby, connection } => self.table.reinstate(lobby, connection),
            Order::Close { lobby } => self.table.close(lobby),
        }
    }

    fn receive_batch(&mut self) {
        let now = Instant::now();
        for _ in 0..BATCH_MAX {
            match self.listener.receive() {
                Ok((source, length)) => self.handle(source, length, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Some systems report here that an earlier datagram did not arrive. The socket goes on.
                Err(error) => tracing::debug!(%error, "receiving failed"),
            }
        }
    }

    /// Does what the table decides about the datagram in the buffer.
    fn handle(&mut self, source: SocketAddr, length: usize, now: Instant) {
        match self.table.handle_datagram(source, self.listener.datagram(length), now) {
            Action::Forward { to, header, payload: _ } => {
                if self.listener.forward(to, &header, length).is_err() {
                    self.table.send_failed();
                }
            }
            Action::Reply(frame) => self.reply(source, frame),
            Action::VerifyMember { .. } | Action::VerifyGrant { .. } if !self.proofs.admit(source.ip(), now) => {
                self.table.proof_dropped();
            }
            Action::VerifyMember { token } => {
                let answer = bind(&mut self.table, self.verifier.verify_member(token), source, now);
                self.reply(source, answer);
            }
            Action::VerifyGrant { token } => {
                let answer = grant(&mut self.table, self.verifier.verify_grant(token), source, now);
                self.reply(source, answer);
            }
            Action::Nothing => {}
            Action::Drop(reason) => tracing::trace!(reason = reason.as_str(), "dropped"),
        }
    }

    /// Takes what the table has to tell, after each step, so that nothing piles up in it.
    fn collect(&mut self) {
        while let Some((to, frame)) = self.table.poll_transmit() {
            self.reply(to, frame);
        }
        while let Some(sound) = self.table.poll_sound() {
            self.sounds.insert(sound.lobby, sound);
            if self.sounds.len() > SOUNDS_WAITING_MAX {
                self.sounds.pop_first();
            }
        }
    }

    /// Sends a control frame now, or as soon as the system takes it.
    fn reply(&mut self, to: SocketAddr, frame: Vec<u8>) {
        if self.control.push(to, frame) {
            self.table.send_failed();
        }
        self.flush();
    }

    fn flush(&mut self) {
        while let Some((to, frame)) = self.control.front() {
            match self.listener.send(to, frame) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::debug!(%error, "a control frame could not be sent");
                    self.table.send_failed();
                }
                Ok(()) => {}
            }
            self.control.pop();
        }
    }
}

/// Answers a member whose token was looked at.
fn bind(table: &mut RelayTable, claims: Result<RelayClaims, TokenError>, source: SocketAddr, now: Instant) -> Vec<u8> {
    match claims {
        Ok(claims) => table.bind(source, claims.lobby, claims.connection, fresh_tag(), now),
        Err(error) => refuse(table, &error),
    }
}

/// Answers a host whose grant was looked at.
fn grant(table: &mut RelayTable, claims: Result<GrantClaims, TokenError>, source: SocketAddr, now: Instant) -> Vec<u8> {
    match claims {
        Ok(GrantClaims { lobby, connection, epoch, .. }) => {
            table.grant(source, lobby, HostHint { host: connection, epoch }, now)
        }
        Err(error) => refuse(table, &error),
    }
}

fn refuse(table: &mut RelayTable, error: &TokenError) -> Vec<u8> {
    tracing::debug!(%error, "a token is refused");
    table.refuse(DropReason::BadToken)
}

/// A random number for a new session. Where there is none the table takes the next free one: nothing rests on it alone.
fn fresh_tag() -> u32 {
    getrandom::u32().unwrap_or_default()
}
