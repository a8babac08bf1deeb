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
use crate::outbox::Outbox;
use crate::request::{Request, Saved};
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
    Leave,
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
    /// Of the blocking client: dropped last.
    _runtime: Option<Arc<OwnedRuntime>>,
}

impl Session {
    pub(crate) const fn new(shared: Arc<Shared>, outbox: Arc<Outbox>, commands: mpsc::Sender<Command>) -> Self {
        Self { shared, outbox, commands, _runtime: None }
    }

    pub(crate) fn with_runtime(mut self, runtime: Arc<OwnedRuntime>) -> Self {
        self._runtime = Some(runtime);
        self
    }

    /// What is there for the game, in order: to be called each frame until it returns `None`. Never blocks.
    pub fn poll(&mut self) -> Option<Output> {
        self.outbox.pop()
    }

    /// Waits for what is there for the game. `None`: the session has ended, and all of it was taken.
    pub async fn next(&mut self) -> Option<Output> {
        self.outbox.next().await
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

    /// Sends a message. It is queued, not yet sent, when this returns.
    ///
    /// # Errors
    /// [`SendError::NotConnected`], [`SendError::TooLarge`], [`SendError::Full`]. A message to everyone fails only as too large, or if
    /// a queue was full; that nobody is there is no error.
    pub fn send(&self, to: Recipient, delivery: Delivery, payload: impl Into<Bytes>) -> Result<(), SendError> {
        let payload = payload.into();
        let max = match delivery {
            Delivery::Reliable => limits::MESSAGE_BYTES_MAX,
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
        crate::transport::DATAGRAM_BYTES_MAX - PEER_HEADER_BYTES_MAX
    }

    /// Says at which tick the game is: heartbeats and welcomes carry it.
    pub fn set_tick(&self, tick: u64) {
        self.shared.lock().tick = tick;
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

    /// What was dropped so far.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        Dropped { stale_frames: self.shared.lock().stale_frames, unread_messages: self.outbox.dropped() }
    }

    /// Asks the game for its state and stores it at once, if this peer is host.
    pub fn save_now(&self) {
        self.command(Command::SaveNow);
    }

    /// Leaves: a host asks the game for its state and stores it first; then the others are told, the seat is given up, and the session
    /// ends with [`Event::Left`]. Keep polling, and answer what is asked, until [`Session::is_over`].
    pub fn start_leaving(&self) {
        self.command(Command::Leave);
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
                    let last = self.shared.lock().last_saved.clone();
                    if let Some(state) = last {
                        request.answer_with(Saved::clone(&state));
                    }
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
