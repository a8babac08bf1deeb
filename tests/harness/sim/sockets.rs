//! The event sockets of an instance.

use std::time::{Duration, Instant};

use protocol::commit::{Head, Outcome, Version};
use protocol::id::{ConnectionId, EventSeq, HostEpoch, PeerKey};
use protocol::lobby::{Command, Viewer};
use protocol::message::ClientMessage;
use protocol::presence::{Lost, SocketId};

use super::commits::Waiting;
use super::network::Node;
use super::news::Bus;
use super::peer::{FromService, PeerItem};
use super::{Item, Sim};

/// A socket, at its instance.
pub(super) struct Socket {
    peer: usize,
    process: u32,
    pub(super) connection: ConnectionId,
    key: PeerKey,
    after: Option<EventSeq>,
    /// The newest event sent; `None` until the hello was answered.
    pub(super) sent: Option<EventSeq>,
    /// The lobby as it was when the hello was answered. What is older says nothing of this socket.
    pub(super) since: Version,
    pub(super) next_ping: Instant,
    /// What it said last of the host, and when.
    pub(super) report: Option<(HostEpoch, bool, Instant)>,
}

impl Socket {
    /// Whether it is open, in this seat, of this process.
    pub(super) fn is_of(&self, connection: ConnectionId, key: PeerKey) -> bool {
        self.connection == connection && self.key == key && self.sent.is_some()
    }
}

impl Sim {
    /// A client says hello.
    pub(super) fn open(
        &mut self,
        instance: usize,
        id: SocketId,
        peer: usize,
        process: u32,
        (connection, key): (ConnectionId, PeerKey),
        after: Option<EventSeq>,
    ) {
        if !self.service.serves(instance, self.now) {
            return self.soon(1..10, Item::Peer { peer, process, item: PeerItem::SocketClosed(id) });
        }
        let player = self.peers[peer].player;
        let (seat, now) = ((self.lobby, connection), self.now);
        let at = &mut self.service.instances[instance];
        let socket = Socket {
            peer,
            process,
            connection,
            key,
            after,
            sent: None,
            since: Version(0),
            next_ping: now,
            report: None,
        };
        at.sockets.insert(id, socket);
        let holder = at.id;
        if let Some(replaced) = at.presence.opened(seat, key, id, now) {
            self.close_socket(instance, replaced);
        }
        let command = Command::Connect { connection, player, peer_key: key, holder };
        self.execute(instance, command, Waiting::Hello(id));
    }

    /// The lobby has heard of it, or refuses it: then whoever it was has no seat.
    pub(super) fn hello_answered(&mut self, instance: usize, id: SocketId, outcome: &Outcome, head: Option<&Head>) {
        let (Outcome::Applied(lobby), Some(head)) = (outcome, head) else {
            if let Some(connection) = self.connection_of(instance, id) {
                let (seat, now) = ((self.lobby, connection), self.now);
                self.service.instances[instance].presence.closed(seat, id, now);
            }
            return self.close_socket(instance, id);
        };
        if self.service.store_fails(instance, self.now) {
            return self.hello_failed(instance, id);
        }
        let Some(socket) = self.service.instances[instance].sockets.get_mut(&id) else { return };
        let after = socket.after;
        let sent = after.unwrap_or(lobby.last_event());
        (socket.sent, socket.since) = (Some(sent), head.version);
        if after.is_none() {
            self.send_to_peer(instance, id, FromService::Resync(Box::new(lobby.view(Viewer::Members))));
        }
        let events = self.service.tables.events_after(self.lobby, sent, u32::MAX).unwrap_or_default();
        self.send_events(instance, id, &events);
    }

    /// Nobody knows what became of the hello: the member has a term to say it again, here or elsewhere.
    pub(super) fn hello_failed(&mut self, instance: usize, id: SocketId) {
        let Some(connection) = self.connection_of(instance, id) else { return };
        let (seat, now) = ((self.lobby, connection), self.now);
        let presence = &mut self.service.instances[instance].presence;
        if let Some(lost) = presence.closed(seat, id, now) {
            presence.heartbeat(seat, lost.peer_key, now);
        }
        self.drop_socket(instance, id);
    }

    fn connection_of(&self, instance: usize, id: SocketId) -> Option<ConnectionId> {
        self.service.instances[instance].sockets.get(&id).map(|socket| socket.connection)
    }

    /// Closes a socket from this side, with a reason that has the client look for its seat.
    pub(super) fn close_socket(&mut self, instance: usize, id: SocketId) {
        self.send_to_peer(instance, id, FromService::Closed);
        self.service.instances[instance].sockets.remove(&id);
    }

    /// A socket ends because its instance does: the client comes back, maybe elsewhere.
    pub(super) fn drop_socket(&mut self, instance: usize, id: SocketId) {
        if let Some(Socket { peer, process, .. }) = self.service.instances[instance].sockets.remove(&id) {
            self.soon(1..30, Item::Peer { peer, process, item: PeerItem::SocketClosed(id) });
        }
    }

    pub(super) fn drop_all_sockets(&mut self, instance: usize) {
        let ids: Vec<_> = self.service.instances[instance].sockets.keys().copied().collect();
        ids.into_iter().for_each(|id| self.drop_socket(instance, id));
    }

    pub(super) fn socket_closed(&mut self, instance: usize, id: SocketId) {
        self.checker_sample();
        let now = self.now;
        let at = &mut self.service.instances[instance];
        let Some(socket) = at.sockets.remove(&id) else { return };
        if let Some(lost) = at.presence.closed((self.lobby, socket.connection), id, now) {
            self.presence_lost(instance, lost);
        }
    }

    /// A member is not heard here any more: the lobby is told.
    pub(super) fn presence_lost(&mut self, instance: usize, lost: Lost) {
        if let Some(socket) = lost.socket {
            self.close_socket(instance, socket);
        }
        let Lost { seat: (_, connection), peer_key, holder, .. } = lost;
        self.trace(|| format!("instance {instance} lost {connection}, held by {holder:?}"));
        self.stats.heirs_lost_members += u64::from(holder != self.service.instances[instance].id);
        self.execute(instance, Command::Disconnect { connection, peer_key, holder }, Waiting::Nobody);
    }

    pub(super) fn socket_alive(&mut self, instance: usize, id: SocketId) {
        if let Some(connection) = self.connection_of(instance, id) {
            let (seat, now) = ((self.lobby, connection), self.now);
            self.service.instances[instance].presence.heard(seat, id, now);
        }
    }

    pub(super) fn socket_message(&mut self, instance: usize, id: SocketId, message: ClientMessage) {
        self.socket_alive(instance, id);
        let Some(connection) = self.connection_of(instance, id) else { return };
        let bus = match message {
            ClientMessage::Report { epoch, hears_host } => {
                self.trace(|| format!("report of {connection}: hears {hears_host}"));
                if let Some(socket) = self.service.instances[instance].sockets.get_mut(&id) {
                    socket.report = Some((epoch, hears_host, self.now));
                }
                Bus::Report { guest: connection, epoch, hears: hears_host, at: self.now }
            }
            ClientMessage::Hears { epoch, guests } => {
                let now = self.now;
                self.service.instances[instance].suspicion.handle_answer(epoch, guests, now);
                return self.assess(instance);
            }
            ClientMessage::Hello { .. } | ClientMessage::Signal { .. } => return,
        };
        self.forward(instance, bus);
        self.bus_says(instance, bus);
    }

    pub(super) fn send_events(&mut self, instance: usize, id: SocketId, events: &[protocol::message::Event]) {
        for event in events {
            if let Some(socket) = self.service.instances[instance].sockets.get_mut(&id) {
                socket.sent = Some(event.seq);
            }
            self.send_to_peer(instance, id, FromService::Event(Box::new(event.clone())));
        }
    }

    /// Sends on a socket: in order, and late if the way is cut.
    pub(super) fn send_to_peer(&mut self, instance: usize, id: SocketId, message: FromService) {
        let Some(socket) = self.service.instances[instance].sockets.get(&id) else { return };
        let (peer, process) = (socket.peer, socket.process);
        let cut = self.network.cut_until(Node::Service(instance), Node::Peer(peer, process), self.now);
        let earliest = cut.unwrap_or(self.now) + Duration::from_millis(self.rng.u64(1..10));
        let at = self.network.in_order(id.0, true, earliest);
        self.at(at, Item::Peer { peer, process, item: PeerItem::FromService { socket: id, message } });
    }

    pub(super) fn ping_sockets(&mut self, instance: usize) {
        let now = self.now;
        let sockets = &mut self.service.instances[instance].sockets;
        let due = sockets.iter_mut().filter(|(_, socket)| socket.sent.is_some() && socket.next_ping <= now);
        let ids: Vec<_> = due
            .map(|(&id, socket)| {
                socket.next_ping = now + protocol::limits::SOCKET_PING;
                id
            })
            .collect();
        ids.into_iter().for_each(|id| self.send_to_peer(instance, id, FromService::Ping));
    }
}
