//! What a session asks of its game. Each request holds the way back for its one answer.

use std::sync::Arc;
use std::time::Duration;

use protocol::id::{ConnectionId, PlayerId};
use protocol::journal::Ledger;
use protocol::objects::ObjectTable;
use protocol::snapshot::{Generation, Seat};
use serde_bytes::ByteBuf;
use tokio::sync::oneshot;

use crate::state::Shared;

/// Bytes of a scene's name: with the largest ownership table it fits into a welcome.
pub const SCENE_BYTES_MAX: usize = 16 * 1024;

/// What the game is asked for.
#[derive(Debug)]
pub enum Request {
    /// Its whole state, to be stored.
    SaveState(SaveState),
    /// To go on from a stored state.
    RestoreState(RestoreState),
    /// Whether a player may come in.
    AcceptPlayer(AcceptPlayer),
}

/// A game's state, as it is when it saves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SavedState {
    /// The game's tick.
    pub tick: u64,
    /// The game's time. The pause of a migration is not counted.
    pub elapsed: Duration,
    /// The scene that is loaded. At most [`SCENE_BYTES_MAX`] bytes.
    pub scene: String,
    /// The game's own bytes. With seats and objects at most [`protocol::limits::SNAPSHOT_BYTES_MAX`].
    pub state: Vec<u8>,
}

/// What has become of a game since it last gave its state, in the game's own form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StateChange {
    /// The game's tick.
    pub tick: u64,
    /// The game's time.
    pub elapsed: Duration,
    /// What [`Restored::changes`] is to hold.
    pub change: Vec<u8>,
}

/// Changes after which a game is asked for its whole state again.
pub const CHANGES_MAX: usize = 1024;

/// A state, with seats and objects as they were when the game handed it over.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    pub(crate) state: SavedState,
    pub(crate) changes: Vec<ByteBuf>,
    pub(crate) seats: Vec<Seat>,
    pub(crate) objects: ObjectTable,
    pub(crate) ledger: Ledger,
    /// The game stands still from here on.
    pub(crate) is_last: bool,
}

/// The game is asked for its whole state. Dropped: this snapshot is skipped.
#[derive(Debug)]
pub struct SaveState {
    pub(crate) shared: Arc<Shared>,
    pub(crate) reply: oneshot::Sender<Saved>,
}

impl SaveState {
    /// Hands the state over. Seats and objects are stored with it as they are now: what is placed afterwards is of the next one.
    ///
    /// If this peer is handing over, this state is its last: [`crate::Session::is_host`] is false from now on.
    pub fn answer(self, state: SavedState) {
        let saved = self.shared.lock().save(state);
        // Nobody waits any more: the session has ended, or this peer is not host any more.
        let _ = self.reply.send(saved);
    }

    /// Says that the last state still holds: for those who have nothing more to say.
    pub(crate) fn answer_with_last(self) {
        let saved = self.shared.lock().save_again();
        if let Some(saved) = saved {
            let _ = self.reply.send(saved);
        }
    }
}

/// A stored state, checked, with the seats and objects that the library has restored already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Where the snapshot stands.
    pub generation: Generation,
    /// The game's tick.
    pub tick: u64,
    /// The game's time.
    pub elapsed: Duration,
    /// The scene to load.
    pub scene: String,
    /// The seats with what only the host keeps of them.
    pub seats: Vec<Seat>,
    /// Who owns what, as it is now: what belongs to members that are not back yet is disabled.
    pub objects: ObjectTable,
    /// The game's own bytes.
    pub state: Vec<u8>,
    /// What became of `state` since, as the game gave it ([`crate::Session::give_change`]): to be applied one after the other.
    pub changes: Vec<Vec<u8>>,
}

/// The game is asked to go on from a stored state. Dropped: it failed.
#[derive(Debug)]
pub struct RestoreState {
    pub(crate) snapshot: Option<Box<Restored>>,
    pub(crate) reply: oneshot::Sender<Result<(), String>>,
}

impl RestoreState {
    /// What to go on from; `None`: nothing was ever stored, so the game starts anew.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Restored> {
        self.snapshot.as_deref()
    }

    /// The game runs: guests are let in.
    pub fn done(self) {
        let _ = self.reply.send(Ok(()));
    }

    /// The state cannot be used. The lobby is not told: it elects another member when the time to be ready is over, which
    /// [`protocol::limits::READY_TIMEOUT`] is by default.
    pub fn failed(self, reason: &str) {
        let _ = self.reply.send(Err(reason.to_owned()));
    }
}

/// A player stands at the door. Dropped: it is refused.
#[derive(Debug)]
pub struct AcceptPlayer {
    /// Its seat.
    pub connection: ConnectionId,
    /// Who.
    pub player: PlayerId,
    /// The name that it gave.
    pub name: String,
    /// The game knows it: it was let in before, on this host or before the snapshot that this host has restored. Its seat and
    /// what it owns are still there. One who joined after that snapshot was taken is new to this game.
    pub returning: bool,
    /// What its game wants to tell, see [`crate::ClientBuilder::return_payload`].
    pub extra: Vec<u8>,
    pub(crate) reply: oneshot::Sender<Result<(), String>>,
}

impl AcceptPlayer {
    /// Lets it in.
    pub fn accept(self) {
        let _ = self.reply.send(Ok(()));
    }

    /// Sends it away, with a reason that it is told.
    pub fn refuse(self, reason: &str) {
        let _ = self.reply.send(Err(reason.to_owned()));
    }
}
