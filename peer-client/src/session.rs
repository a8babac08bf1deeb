//! A seat in a lobby, as the game holds it.

use std::sync::Arc;

use bytes::Bytes;
use protocol::frame::PEER_HEADER_BYTES_MAX;
use protocol::id::{ConnectionId, HostEpoch, JoinCode, ObjectId};
use protocol::limits;
use protocol::message::LobbyView;
use protocol::objects::ObjectTable;
use tokio::sync::mpsc;

use crate::blocking::OwnedRuntime;
use crate::error::{Error, HostError, SendError};
use crate::event::{Delivery, Event, Output, Recipient, Role};
use crate::outbox::{Item, Outbox, Up};
use crate::paths::LinkReport;
use crate::request::{Request, SavedState, StateChange};
use crate::simulated::NetworkControl;
use crate::state::{Entry, Shared};

/// Events and requests that may wait for the game. A game that leaves more than this unread is not running any more, and its session
/// ends with [`Event::Overrun`].
pub const EVENTS_MAX: usize = 16 * 1024;

/// What a session dropped instead of giving it to its game.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Frames of hosts that are not host any more, or meant for one.
    pub stale_frames: u64,
    /// Unreliable messages that the game did not read in time.
    pub unread_messages: u64,
}

/// What a session asks of its driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    SaveNow,
    /// The game wishes another to host.
    HandOver {
        to: ConnectionId,
    },
}

/// A seat in a lobby. It follows the host, or is the host, until it leaves or is dropped.
///
/// All methods but [`Session::next`] and [`Session::leave`] return at once. A session that is dropped without leaving is to the
/// others like one that crashed: its seat is kept for the removal delay, and if it was host another is elected.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    commands: mpsc::Sender<Command>,
    /// If it is simulated.
    pub(crate) network: Option<NetworkControl>,
    /// Of the blocking client: dropped last.
    _runtime: Option<Arc<OwnedRuntime>>,
}

impl Session {
    pub(crate) const fn new(shared: Arc<Shared>, outbox: Arc<Outbox>, commands: mpsc::Sender<Command>) -> Self {
        Self { shared, outbox, commands, network: None, _runtime: None }
    }

    pub(crate) fn with_runtime(mut self, runtime: Arc<OwnedRuntime>) -> Self {
        self._runtime = Some(runtime);
        self
    }

    /// What is there for the game, in order: to be called each frame until it returns `None`. Never blocks.
    pub fn poll(&mut self) -> Option<Output> {
        loop {
            let Item { output, up } = self.outbox.pop()?;
            if self.takes(up) {
                return Some(output);
            }
        }
    }

    /// Waits for what is there for the game. `None`: the session has ended, and all of it was taken.
    pub async fn next(&mut self) -> Option<Output> {
        loop {
            let Item { output, up } = self.outbox.next().await?;
            if self.takes(up) {
                return Some(output);
            }
        }
    }

    /// A message to a host is part of its game from the moment that the game takes it.
    fn takes(&self, up: Option<Up>) -> bool {
        up.is_none_or(|up| self.shared.lock().takes(up))
    }

    /// The session has ended: it left, lost its seat, or was replaced. What it still has for the game can be polled.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.outbox.is_closed()
    }

    /// This peer's seat. The same over every migration.
    #[must_use]
    pub fn me(&self) -> ConnectionId {
        self.shared.me()
    }

    /// What this peer is. As it is now: the events that led to it may still wait to be polled.
    #[must_use]
    pub fn role(&self) -> Role {
        self.shared.lock().role
    }

    /// Whether this peer runs the game.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.role() == Role::Host
    }

    /// The host that the lobby has or has elected, as far as this peer knows.
    #[must_use]
    pub fn host(&self) -> Option<ConnectionId> {
        self.shared.lock().lobby.host.host()
    }

    /// The epoch that this peer's messages carry. As it is now: an output in hand may be of the epoch before.
    #[must_use]
    pub fn epoch(&self) -> HostEpoch {
        self.shared.lock().epoch
    }

    /// The lobby with its members, as far as this peer knows.
    #[must_use]
    pub fn lobby(&self) -> LobbyView {
        self.shared.lock().lobby.as_ref().clone()
    }

    /// What others join by. The same over every migration.
    #[must_use]
    pub fn join_code(&self) -> JoinCode {
        self.shared.lock().lobby.join_code
    }

    /// Where this guest last entered a game; `None` before it was welcomed.
    #[must_use]
    pub fn entry(&self) -> Option<Entry> {
        self.shared.lock().entry.clone()
    }

    /// The guests in the game of this host, in the order of their connection ids; on a guest, nobody.
    #[must_use]
    pub fn in_game(&self) -> Vec<ConnectionId> {
        self.shared.lock().guests_in_game()
    }

    /// Sends a message. It is kept, not yet sent, when this returns. A guest that has been in the game may send reliably while it has no
    /// host: the next one is told.
    ///
    /// # Errors
    /// [`SendError`]. A message to everyone fails only as too large, or if a journal was full; that nobody is there is no error.
    pub fn send(&self, to: Recipient, delivery: Delivery, payload: impl Into<Bytes>) -> Result<(), SendError> {
        let payload = payload.into();
        let max = match delivery {
            Delivery::Reliable | Delivery::AfterStable => limits::MESSAGE_BYTES_MAX,
            Delivery::Unreliable => self.max_unreliable_bytes(),
        };
        if payload.len() > max {
            return Err(SendError::TooLarge { max });
        }
        self.shared.lock().send(to, delivery, &payload)
    }

    /// Bytes that an unreliable message may have on any path.
    #[must_use]
    pub const fn max_unreliable_bytes(&self) -> usize {
        limits::DATAGRAM_BYTES_MAX - PEER_HEADER_BYTES_MAX
    }

    /// Says at which tick the game is: heartbeats and welcomes carry it.
    pub fn set_tick(&self, tick: u64) {
        self.shared.lock().tick = tick;
    }

    /// Host only: gives the state of a tick. To be called as often as the game likes, best at each tick: it goes to the successor as the
    /// difference to the one before, and to the lobby at the interval of snapshots. What the game has polled so far, and sent, counts as
    /// part of it. A state that is given before the last one was dealt with takes its place.
    ///
    /// If this peer is handing over, the state is its last, and [`Session::is_host`] is false from now on.
    ///
    /// # Errors
    /// [`HostError::NotHost`]; [`HostError::TooLarge`] for a scene's name above [`crate::SCENE_BYTES_MAX`].
    pub fn give_state(&self, state: SavedState) -> Result<(), HostError> {
        self.shared.lock().give(state)?;
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Host only: as [`Session::give_state`], in the game's own form: what has become of the state that it gave last. Whoever goes on
    /// gets that state and all changes since ([`crate::Restored::changes`]).
    ///
    /// # Errors
    /// [`HostError::NotHost`]; [`HostError::NoBase`] if nothing was given yet, or changes that together are larger than the state, or more
    /// than [`crate::CHANGES_MAX`]: give the whole state.
    pub fn give_change(&self, change: StateChange) -> Result<(), HostError> {
        self.shared.lock().give_change(change)?;
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Host only: begins to hand the game over, to this member or to whoever would be elected. Ends with [`Event::HandOverFailed`], after
    /// which this peer is host as before, or with [`Event::Demoted`] and the new host's game.
    ///
    /// # Errors
    /// [`HostError::NotHost`], [`HostError::UnknownSeat`], [`HostError::NobodyEligible`], [`HostError::Busy`].
    pub fn hand_over(&self, to: Option<ConnectionId>) -> Result<(), HostError> {
        let to = {
            let state = self.shared.lock();
            if state.role != Role::Host {
                return Err(HostError::NotHost);
            }
            let to = to.or(state.lobby.successor).ok_or(HostError::NobodyEligible)?;
            state.lobby.member(to).filter(|_| to != self.me()).ok_or(HostError::UnknownSeat)?;
            to
        };
        self.commands.try_send(Command::HandOver { to }).map_err(|_| HostError::Busy)
    }

    /// Who owns what.
    #[must_use]
    pub fn objects(&self) -> ObjectTable {
        self.shared.lock().objects.clone()
    }

    /// Host only: places an object, or gives it another owner and other data, and tells the guests.
    ///
    /// # Errors
    /// [`HostError::NotHost`], [`HostError::UnknownSeat`], [`HostError::TooManyObjects`], and [`HostError::TooLarge`] for data of more
    /// than [`limits::SEAT_DATA_BYTES_MAX`] bytes, or for a table of more than [`limits::OBJECT_TABLE_BYTES_MAX`].
    pub fn place_object(&self, id: ObjectId, owner: Option<ConnectionId>, data: Vec<u8>) -> Result<(), HostError> {
        self.shared.lock().place_object(id, owner, data)
    }

    /// Host only: removes an object, if it is there, and tells the guests.
    ///
    /// # Errors
    /// [`HostError::NotHost`].
    pub fn remove_object(&self, id: ObjectId) -> Result<(), HostError> {
        self.shared.lock().remove_object(id)
    }

    /// Host only: keeps data of a seat that no guest sees. It is part of each snapshot.
    ///
    /// # Errors
    /// [`HostError::NotHost`], [`HostError::UnknownSeat`], and [`HostError::TooLarge`] above [`limits::SEAT_DATA_BYTES_MAX`].
    pub fn set_seat_data(&self, connection: ConnectionId, data: Vec<u8>) -> Result<(), HostError> {
        self.shared.lock().set_seat_data(connection, data)
    }

    /// Host only: what is kept of a seat.
    #[must_use]
    pub fn seat_data(&self, connection: ConnectionId) -> Option<Vec<u8>> {
        self.shared.lock().seats.get(&connection).cloned()
    }

    /// Bytes of states that this peer has sent to successors, whenever it was host.
    #[must_use]
    pub fn state_bytes_sent(&self) -> u64 {
        self.shared.lock().state_bytes_sent
    }

    /// The links to other peers, in the order of their connection ids: by which path, how fast, and what is kept beside.
    #[must_use]
    pub fn links(&self) -> Vec<LinkReport> {
        self.shared.lock().link_reports()
    }

    /// What was dropped so far.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        Dropped { stale_frames: self.shared.lock().stale_frames, unread_messages: self.outbox.dropped() }
    }

    /// Asks the game for its state and stores it at once, if this peer is host.
    pub fn save_now(&self) {
        self.command(Command::SaveNow);
    }

    /// Leaves: the others are told, the seat is given up, and the session ends with [`Event::Left`]. A host hands over first, or where
    /// nobody can take over, asks the game for its state and stores it. Keep polling, and answer what is asked, until
    /// [`Session::is_over`].
    pub fn start_leaving(&self) {
        self.shared.lock().leave_wanted = true;
        self.shared.wake.notify_one();
    }

    /// Leaves, for games that have nothing more to say: a host's last state stays what it was when it was saved.
    ///
    /// # Errors
    /// [`Error::Ended`] if the session ended before it could leave.
    pub async fn leave(mut self) -> Result<(), Error> {
        self.start_leaving();
        let mut left = Err(Error::Ended);
        while let Some(output) = self.next().await {
            match output {
                Output::Event(Event::Left) => left = Ok(()),
                Output::Request(Request::SaveState(request)) => {
                    request.answer_with_last();
                }
                Output::Request(Request::RestoreState(_) | Request::AcceptPlayer(_))
                | Output::Event(_)
                | Output::Message(_) => {}
            }
        }
        left
    }

    fn command(&self, command: Command) {
        // Full: as many of the same are on their way. Closed: the session has ended.
        let _ = self.commands.try_send(command);
    }
}
