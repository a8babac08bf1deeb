//! What a session tells its game: events, which may be ignored, and messages of other peers.

use std::time::Duration;

use bytes::Bytes;
use protocol::hand_over::GivenUp;
use protocol::id::{ConnectionId, HostEpoch, ObjectId};
use protocol::journal::Missing;
use protocol::lobby::{LeaveReason, LossCause, ParkReason};
use protocol::migration::Notice;
use protocol::snapshot::Generation;

use crate::report::Migratability;
use crate::request::Request;
use crate::strategy::Strategy;
use crate::timeline::MigrationTrace;
use crate::transport::link::LinkPath;

/// One thing that a session has for its game.
#[derive(Debug)]
pub enum Output {
    /// Something happened. May be ignored.
    Event(Event),
    /// The game is asked for something, and must answer. A request that is dropped counts as skipped, or as a refusal.
    Request(Request),
    /// A message of another peer.
    Message(Message),
}

/// A message of another peer's game.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who sent it. Proven by the link.
    pub from: ConnectionId,
    /// How it came.
    pub delivery: Delivery,
    /// The game's bytes.
    pub payload: Bytes,
}

/// To whom a message goes. Guests can only reach the host; the host reaches guests in the game.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// The host.
    Host,
    /// From the host: all guests in the game. From a guest: the host.
    Everyone,
    /// One peer.
    One(ConnectionId),
}

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Has its effect once, after those sent before it, over any number of links and hosts (see [`crate`]). At most
    /// [`protocol::limits::MESSAGE_BYTES_MAX`] bytes.
    Reliable,
    /// From the host only: as [`Delivery::Reliable`], in an order of its own, and said only once the state that the game gives next is
    /// durable: no loss of a host takes it back. It is late by about the interval of snapshots.
    AfterStable,
    /// May be lost, and may overtake others: also reliable ones, so that the first to a player who has just been let in may come
    /// before it is in the game, and is dropped there. At most [`crate::Session::max_unreliable_bytes`] bytes.
    Unreliable,
}

/// What a peer is in its lobby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The lobby has no host that this peer could follow.
    Waiting,
    /// It follows a host, and is not in its game (yet, or at the moment).
    Joining,
    /// It is in the game of its host.
    Guest,
    /// It was elected and restores the game.
    Becoming,
    /// It runs the game.
    Host,
    /// It ran the game, has given its last state, and another member is about to go on from it. If that fails it is host again.
    HandingOver,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Members, or what is known of them, changed.
    PeersUpdated,
    /// The lobby has lost its host.
    HostLost {
        /// Who it was.
        host: ConnectionId,
        /// Why.
        cause: LossCause,
    },
    /// The lost host is still there: nothing has changed.
    HostReturned {
        /// Who.
        host: ConnectionId,
    },
    /// A member was elected and restores the game.
    HostElected {
        /// Who.
        host: ConnectionId,
        /// Its epoch.
        epoch: HostEpoch,
    },
    /// This peer is in the game of a new host.
    HostMigrated {
        /// Who.
        host: ConnectionId,
        /// Its epoch.
        epoch: HostEpoch,
    },
    /// This peer is in the game, for the first time or again at the same host.
    JoinedGame {
        /// The host.
        host: ConnectionId,
        /// Its epoch.
        epoch: HostEpoch,
    },
    /// The host's game did not let this peer in. It is asked again after a while.
    RefusedByHost {
        /// The host.
        host: ConnectionId,
        /// What it said.
        reason: String,
    },
    /// The link to the host is down, or nothing is heard on it.
    DisconnectedFromHost {
        /// The host.
        host: ConnectionId,
    },
    /// The host is heard again on the same link: nothing was missed of what is reliable.
    ReconnectedToHost {
        /// The host.
        host: ConnectionId,
    },
    /// A peer is reached by another path from now on. Nothing was lost, said twice, or came in another order.
    PathChanged {
        /// Who: the host, or to the host a guest.
        peer: ConnectionId,
        /// How.
        path: LinkPath,
        /// From the guest's wish to go on there to the answer of its host; to the host, nothing.
        took: Duration,
    },
    /// The host said that it leaves.
    HostShutDown {
        /// Who.
        host: ConnectionId,
    },
    /// This peer runs the game now.
    BecameHost {
        /// Its epoch.
        epoch: HostEpoch,
    },
    /// This peer was host, or elected, and another one is now. What it did since has no effect.
    Demoted {
        /// The epoch that counts.
        epoch: HostEpoch,
    },
    /// A player is there for the first time.
    PlayerJoined {
        /// Its seat.
        connection: ConnectionId,
    },
    /// A player gave up its seat, or stayed away for too long.
    PlayerLeft {
        /// Its seat.
        connection: ConnectionId,
        /// Why.
        reason: LeaveReason,
    },
    /// A player is away; its seat is kept.
    PlayerDisconnected {
        /// Its seat.
        connection: ConnectionId,
    },
    /// A player is back, with its connection id.
    PlayerReconnected {
        /// Its seat.
        connection: ConnectionId,
    },
    /// An object is enabled: its owner is back. A guest is told so of its own objects after each welcome, also after its first if
    /// there are any.
    ObjectReconnected {
        /// Which.
        object: ObjectId,
        /// Whose.
        owner: ConnectionId,
    },
    /// An object has another owner.
    AuthorityChanged {
        /// Which.
        object: ObjectId,
        /// Whose it is now; `None`: the host's.
        owner: Option<ConnectionId>,
    },
    /// A snapshot of this host is durable in the lobby.
    SnapshotStored {
        /// Where it stands.
        generation: Generation,
        /// Its tick.
        tick: u64,
        /// What was uploaded, in bytes: the whole record, or the difference to the one before.
        bytes: usize,
    },
    /// A snapshot of this host could not be stored. The next one is tried at the usual time.
    SnapshotFailed {
        /// Where it would have stood.
        generation: Generation,
        /// Why, for people.
        reason: String,
    },
    /// Reliable messages have no effect in the game that goes on, although their sender was told that they were taken: the state
    /// that held their effect is lost, or their sender's process is. The host is told, and the sender, if its process lives.
    InputsLost {
        /// Whose.
        who: ConnectionId,
        /// Their numbers, counted by its process from 1; the last may be unknown, and then there may be none.
        numbers: Missing,
    },
    /// A guest heard reliable messages of a host that the game that goes on knows nothing of: it is a little older. What matters was
    /// better said [`Delivery::AfterStable`].
    TakenBack {
        /// Their numbers.
        numbers: Missing,
    },
    /// A guest will not hear reliable messages that its host had for it: it was away for too long.
    NeverHeard {
        /// Their numbers.
        numbers: Missing,
    },
    /// A migration is over for this peer: what took how long.
    Migrated(Box<MigrationTrace>),
    /// How well the game would survive now the loss of this host. Once a second.
    Migratability(Migratability),
    /// How this host keeps its state safe from now on.
    StrategyChosen {
        /// How.
        strategy: Strategy,
        /// Why, for people.
        reason: &'static str,
    },
    /// This host begins to hand over.
    HandOverBegun {
        /// To whom.
        to: ConnectionId,
    },
    /// The hand-over came to nothing: this host goes on, as if it had not begun.
    HandOverFailed {
        /// To whom it was meant to be.
        to: ConnectionId,
        /// Why.
        why: GivenUp,
    },
    /// Nobody is host for now.
    Parked {
        /// Why.
        reason: ParkReason,
    },
    /// The event socket to the lobby is down. Play goes on, and it is opened anew.
    LobbyUnreachable,
    /// The event socket to the lobby is up again.
    LobbyReachable,
    /// This peer has no seat any more, or the lobby is closed. The last event of its session.
    Removed,
    /// Another process, or another session, of the same player took the seat over. The last event of its session.
    Replaced,
    /// This peer has left as it was asked to. The last event of its session.
    Left,
    /// The game did not take what the session had for it: more than [`crate::session::EVENTS_MAX`] outputs waited. The last event.
    Overrun,
}

impl From<Notice> for Event {
    fn from(notice: Notice) -> Self {
        match notice {
            Notice::PeersUpdated => Self::PeersUpdated,
            Notice::HostLost { host, cause } => Self::HostLost { host, cause },
            Notice::HostReturned { host } => Self::HostReturned { host },
            Notice::HostElected { host, epoch } => Self::HostElected { host, epoch },
            Notice::HostMigrated { host, epoch } => Self::HostMigrated { host, epoch },
            Notice::JoinedGame { host, epoch } => Self::JoinedGame { host, epoch },
            Notice::DisconnectedFromHost { host } => Self::DisconnectedFromHost { host },
            Notice::HostShutDown { host } => Self::HostShutDown { host },
            Notice::BecameHost { epoch } => Self::BecameHost { epoch },
            Notice::Demoted { epoch } => Self::Demoted { epoch },
            Notice::PlayerJoined { connection } => Self::PlayerJoined { connection },
            Notice::PlayerLeft { connection, reason } => Self::PlayerLeft { connection, reason },
            Notice::PlayerDisconnected { connection } => Self::PlayerDisconnected { connection },
            Notice::PlayerReconnected { connection } => Self::PlayerReconnected { connection },
            Notice::Parked { reason } => Self::Parked { reason },
            Notice::Removed => Self::Removed,
        }
    }
}
