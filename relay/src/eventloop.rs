//! The relay's one task: reads frames, asks the table, does what it answers. It waits for nobody.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use protocol::frame::RelayFrame;
use protocol::id::LobbyId;
use protocol::limits;
use protocol::relay::{Counters, HostSound};
use tokio::sync::{mpsc, oneshot, watch};

use crate::control::Order;
use crate::desk::{Desk, Outcome};
use crate::listener::udp::UdpListener;
use crate::listener::websocket::{Heard, WebSocketListener, is_websocket};
use crate::queue::ControlQueue;

/// Frames of one wake-up from each way in: enough to be worth it, few enough that orders and timeouts are not late.
const BATCH_MAX: usize = 64;
/// Lobbies whose last sound waits until the service takes it. One that is pushed out is told again with its next change.
const SOUNDS_WAITING_MAX: usize = 4096;
/// How often idle WebSockets are looked for.
const IDLE_CHECK: Duration = Duration::from_secs(1);

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
    udp: UdpListener,
    websockets: WebSocketListener,
    /// What comes from all WebSockets.
    heard: mpsc::Receiver<Heard>,
    desk: Desk,
    /// Control frames that the system did not take at once.
    control: ControlQueue,
    /// The last sound of each lobby that the service has not taken yet.
    sounds: BTreeMap<LobbyId, HostSound>,
    next_idle_check: Instant,
}

impl EventLoop {
    pub(crate) fn new(
        udp: UdpListener,
        (websockets, heard): (WebSocketListener, mpsc::Receiver<Heard>),
        desk: Desk,
        now: Instant,
    ) -> Self {
        let (control, sounds) = (ControlQueue::default(), BTreeMap::new());
        Self { udp, websockets, heard, desk, control, sounds, next_idle_check: now + IDLE_CHECK }
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
                () = tokio::time::sleep_until(self.desk.table.poll_timeout().into()) => {
                    self.handle_timeout(Instant::now());
                    ends.counters.send_replace(self.desk.table.counters().clone());
                }
                // 3. What the service wants to know; the newest of each lobby.
                Ok(permit) = ends.sounds.reserve(), if !self.sounds.is_empty() => {
                    if let Some((_, sound)) = self.sounds.pop_first() {
                        permit.send(sound);
                    }
                }
                // 4. Control frames out.
                _ = self.udp.writable(), if !self.control.is_empty() => self.flush(),
                // 5. Frames in: the bulk, in bounded batches, both ways in alike.
                _ = self.udp.readable() => self.receive_batches(None),
                Some(heard) = self.heard.recv() => self.receive_batches(Some(heard)),
                // 6. Whoever wants to come in.
                accepted = self.websockets.accept() => {
                    if !self.websockets.admit(accepted, Instant::now()) {
                        self.desk.table.websocket_refused();
                    }
                }
            }
            self.collect();
        }
        ends.counters.send_replace(self.desk.table.counters().clone());
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Revoke { lobby, connection } => self.desk.table.revoke(lobby, connection, Instant::now()),
            Order::Reinstate { lobby, connection } => self.desk.table.reinstate(lobby, connection),
            Order::Close { lobby } => self.desk.table.close(lobby),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.desk.table.handle_timeout(now);
        if now >= self.next_idle_check {
            self.next_idle_check = now + IDLE_CHECK;
            self.websockets.close_idle(limits::RELAY_IDLE_TIMEOUT, now);
        }
    }

    fn receive_batches(&mut self, first: Option<Heard>) {
        let now = Instant::now();
        if let Some(heard) = first {
            self.hear(heard, now);
        }
        for _ in 0..BATCH_MAX {
            let Ok(heard) = self.heard.try_recv() else { break };
            self.hear(heard, now);
        }
        for _ in 0..BATCH_MAX {
            match self.udp.receive() {
                Ok((source, length)) => self.handle_datagram(source, length, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Some systems report here that an earlier datagram did not arrive. The socket goes on.
                Err(error) => tracing::debug!(%error, "receiving failed"),
            }
        }
    }

    /// Does what is decided about the datagram in the buffer.
    fn handle_datagram(&mut self, source: SocketAddr, length: usize, now: Instant) {
        if is_websocket(source) {
            self.desk.table.source_forged();
            return;
        }
        match self.desk.handle(source, self.udp.datagram(length), now) {
            Outcome::Forward { to, header } if is_websocket(to) => {
                let payload = self.udp.datagram(length).get(header.len()..).unwrap_or_default();
                self.give(to, [&header, payload].concat());
            }
            Outcome::Forward { to, header } => {
                if self.udp.forward(to, &header, length).is_err() {
                    self.desk.table.send_failed();
                }
            }
            Outcome::Reply(frame) => self.reply(source, frame),
            // Never waits for the system, and never takes a member's place in the queue: who asks asks again.
            Outcome::Stun(answer) => match self.udp.send(source, &answer) {
                Ok(()) => self.desk.table.stun_answered(),
                Err(_) => self.desk.table.send_failed(),
            },
            Outcome::Nothing | Outcome::Dropped => {}
        }
    }

    /// Does what is decided about what came from a WebSocket.
    fn hear(&mut self, heard: Heard, now: Instant) {
        match heard {
            Heard::Opened => self.desk.table.websocket_opened(),
            Heard::Frame(source, frame) => self.handle_message(source, frame, now),
            Heard::Closed(address) => self.websockets.close(address),
        }
    }

    fn handle_message(&mut self, source: SocketAddr, mut frame: Vec<u8>, now: Instant) {
        match self.desk.handle(source, &frame, now) {
            Outcome::Forward { to, header } => {
                if let Some(head) = frame.first_chunk_mut() {
                    *head = header;
                }
                self.give(to, frame);
            }
            Outcome::Reply(answer) => {
                // Whoever is no member yet has its time, and no more of it by asking again.
                let is_member =
                    matches!(RelayFrame::decode(&answer), Ok(RelayFrame::Bound { .. } | RelayFrame::Alive { .. }));
                self.reply(source, answer);
                if !is_member {
                    return;
                }
            }
            Outcome::Nothing => {}
            // An address that this relay has made up is of no use to anybody.
            Outcome::Stun(_) | Outcome::Dropped => return,
        }
        self.websockets.heard(source, now);
    }

    /// Takes what the table has to tell, after each step, so that nothing piles up in it.
    fn collect(&mut self) {
        while let Some((to, frame)) = self.desk.table.poll_transmit() {
            self.reply(to, frame);
        }
        while let Some(sound) = self.desk.table.poll_sound() {
            self.sounds.insert(sound.lobby, sound);
            if self.sounds.len() > SOUNDS_WAITING_MAX {
                self.sounds.pop_first();
            }
        }
    }

    /// Sends a packet of a game, if the system or the queue takes it.
    fn give(&mut self, to: SocketAddr, frame: Vec<u8>) {
        if !is_websocket(to) {
            if self.udp.send(to, &frame).is_err() {
                self.desk.table.send_failed();
            }
            return;
        }
        match self.websockets.outgoing(to).map(|outgoing| outgoing.push_data(frame)) {
            Some(false) => {}
            Some(true) => self.desk.table.queue_full(),
            None => self.desk.table.send_failed(),
        }
    }

    /// Sends a control frame now, or as soon as the system takes it.
    fn reply(&mut self, to: SocketAddr, frame: Vec<u8>) {
        if is_websocket(to) {
            let taken = self.websockets.outgoing(to).is_some_and(|outgoing| outgoing.push_control(frame).is_ok());
            if !taken {
                self.desk.table.send_failed();
                self.websockets.close(to);
            }
            return;
        }
        if self.control.push(to, frame) {
            self.desk.table.send_failed();
        }
        self.flush();
    }

    fn flush(&mut self) {
        while let Some((to, frame)) = self.control.front() {
            match self.udp.send(to, frame) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::debug!(%error, "a control frame could not be sent");
                    self.desk.table.send_failed();
                }
                Ok(()) => {}
            }
            self.control.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::frame::RelayFrame;
    use protocol::id::{ConnectionId, LobbyId};
    use protocol::relay::{DropReason, Limits, RelayTable};

    use super::*;
    use crate::config::WebSocketLimits;
    use crate::listener::websocket;
    use crate::verifier::Verifier;

    #[tokio::test]
    async fn nobody_speaks_by_udp_for_who_is_bound_by_websocket() {
        let now = Instant::now();
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let tcp = websocket::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let key = serde_json::json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]});
        let verifier = Verifier::from_jwks(&key, "nobody").unwrap();
        let desk = Desk::new(RelayTable::new(Limits::default(), [1; 32], now), verifier, now);
        let websockets = WebSocketListener::new(tcp, WebSocketLimits::default(), now);
        let mut relay = EventLoop::new(UdpListener::new(socket), websockets, desk, now);

        let websocket: SocketAddr = "[fd75:7773::1]:1".parse().unwrap();
        let lobby = LobbyId::from_bytes([1; 16]);
        let peer = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        relay.desk.table.bind(peer.local_addr().unwrap(), lobby, ConnectionId(0), 7, now);
        let bound = relay.desk.table.bind(websocket, lobby, ConnectionId(1), 7, now);
        let Ok(RelayFrame::Bound { session, .. }) = RelayFrame::decode(&bound) else { panic!("not bound") };
        let data = RelayFrame::Data { session, peer: ConnectionId(0), payload: b"x" }.to_vec();
        peer.send_to(&data, relay.udp.local_addr()).await.unwrap();
        relay.udp.readable().await.unwrap();
        let (_, length) = relay.udp.receive().unwrap();
        relay.handle_datagram(websocket, length, now);
        let counters = relay.desk.table.counters();
        let place = DropReason::ALL.iter().position(|&reason| reason == DropReason::UnboundSource).unwrap();
        assert_eq!((counters.forwarded, counters.dropped[place]), (0, 1));
        relay.handle_message(websocket, data, now);
        assert_eq!(relay.desk.table.counters().forwarded, 1, "the WebSocket itself is who it is");
    }
}
