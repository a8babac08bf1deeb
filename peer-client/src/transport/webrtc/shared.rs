//! What a link's handles and its task share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, watch};

use super::super::link::{LinkError, LinkPath};
use super::datagrams::{Again, BUSY_BYTES, Datagrams, HELD_BACK, early_copies};
use super::lanes::{Incoming, LANES, LaneMessage, MESSAGES, Outgoing, Violation, taken_message};

/// What is to be sent next.
pub(super) enum Next {
    Reliable(BytesMut),
    Unreliable(Bytes),
}

/// Which channels take something now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) reliable: bool,
    pub(super) unreliable: bool,
}

/// How far the link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    Opening,
    Open,
    Ended(String),
}

/// What a link's handles and its task share. A lock is held for a few instructions, or for the copying of a message.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    stage: watch::Sender<Stage>,
    /// For the task: there is something to do.
    work: Notify,
    /// For the one writer of each lane: there is room.
    room: [Notify; LANES],
    /// For the one reader of each lane: something came.
    came: [Notify; LANES],
    datagram_came: Notify,
    /// For the one that waits until all is delivered.
    delivered: Notify,
}

#[derive(Debug, Default)]
struct State {
    outgoing: [Outgoing; LANES],
    incoming: [Incoming; LANES],
    datagrams_out: Datagrams,
    datagrams_in: Datagrams,
    again: Again,
    /// Nothing is copied until then.
    held_back_until: Option<Instant>,
    finish: Finish,
    /// Whether each lane's writer and reader were handed out.
    writers_gone: [bool; LANES],
    readers_gone: [bool; LANES],
    round_trip: Duration,
    turned: bool,
}

/// How far the wish is that all be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Finish {
    #[default]
    Unwanted,
    Wanted,
    Delivered,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            stage: watch::Sender::new(Stage::Opening),
            work: Notify::new(),
            room: [const { Notify::const_new() }; LANES],
            came: [const { Notify::const_new() }; LANES],
            datagram_came: Notify::new(),
            delivered: Notify::new(),
        }
    }

    // For the handles.

    /// The right to write on a lane; once.
    pub(super) fn take_writer(&self, lane: usize) -> Result<(), LinkError> {
        claim(&mut self.lock().writers_gone[lane])
    }

    /// The right to read from a lane; once.
    pub(super) fn take_reader(&self, lane: usize) -> Result<(), LinkError> {
        claim(&mut self.lock().readers_gone[lane])
    }

    /// Writes whole frames on a lane; returns when the other side has had room for all of them.
    pub(super) async fn write(&self, lane: usize, chunks: &mut [Bytes]) -> Result<(), LinkError> {
        if lane == MESSAGES {
            self.copy_early(chunks);
        }
        for chunk in chunks {
            while !chunk.is_empty() {
                self.check()?;
                let before = chunk.len();
                self.lock().outgoing[lane].push(chunk);
                if chunk.len() < before {
                    self.work.notify_one();
                }
                if !chunk.is_empty() {
                    self.room[lane].notified().await;
                }
            }
        }
        Ok(())
    }

    fn copy_early(&self, chunks: &[Bytes]) {
        let (copies, is_held_back) = early_copies(chunks);
        let (mut state, now) = (self.lock(), Instant::now());
        let is_free = state.held_back_until.is_none_or(|until| until <= now);
        if is_held_back {
            state.held_back_until = Some(now + HELD_BACK);
        }
        if is_free && state.outgoing[MESSAGES].waiting_bytes() <= BUSY_BYTES {
            for copy in copies {
                state.datagrams_out.push(copy.clone());
                state.again.push(copy, now);
            }
        }
    }

    /// Returns when all messages have reached the other side, or the link is down.
    pub(super) async fn finish(&self) {
        self.lock().finish = Finish::Wanted;
        self.work.notify_one();
        while self.check().is_ok() && self.lock().finish != Finish::Delivered {
            self.delivered.notified().await;
        }
    }

    /// What came next on a lane. What came before the link ended is still read.
    pub(super) async fn read(&self, lane: usize) -> Result<Bytes, LinkError> {
        loop {
            // First, or what came before the end could be missed.
            let ended = self.check();
            let (taken, is_to_be_said) = {
                let incoming = &mut self.lock().incoming[lane];
                (incoming.take(), incoming.is_to_be_said())
            };
            if is_to_be_said {
                self.work.notify_one();
            }
            match taken {
                Some(bytes) => return Ok(bytes),
                None => ended?,
            }
            self.came[lane].notified().await;
        }
    }

    pub(super) fn send_datagram(&self, datagram: Bytes) {
        self.lock().datagrams_out.push(datagram);
        self.work.notify_one();
    }

    pub(super) async fn datagram(&self) -> Result<Bytes, LinkError> {
        loop {
            let ended = self.check();
            let datagram = self.lock().datagrams_in.pop();
            match datagram {
                Some(datagram) => return Ok(datagram),
                None => ended?,
            }
            self.datagram_came.notified().await;
        }
    }

    pub(super) fn round_trip(&self) -> Duration {
        self.lock().round_trip
    }

    pub(super) fn path(&self) -> LinkPath {
        LinkPath::WebRtc { turned: self.lock().turned }
    }

    /// Waits until the link is up.
    pub(super) async fn opened(&self) -> Result<(), LinkError> {
        let mut stage = self.stage.subscribe();
        // The sender lives as long as this.
        let _ = stage.wait_for(|stage| *stage != Stage::Opening).await;
        self.check()
    }

    /// Waits until the link is down.
    pub(super) async fn closed(&self) {
        let _ = self.stage.subscribe().wait_for(|stage| matches!(stage, Stage::Ended(_))).await;
    }

    /// Ends the link. The first reason counts.
    pub(super) fn end(&self, why: &str) {
        self.stage.send_if_modified(|stage| {
            let is_first = !matches!(stage, Stage::Ended(_));
            if is_first {
                *stage = Stage::Ended(why.to_owned());
            }
            is_first
        });
        let waiting = self.room.iter().chain(&self.came).chain([&self.work, &self.datagram_came, &self.delivered]);
        waiting.for_each(Notify::notify_one);
    }

    fn check(&self) -> Result<(), LinkError> {
        match &*self.stage.borrow() {
            Stage::Opening | Stage::Open => Ok(()),
            Stage::Ended(why) => Err(LinkError::Down(why.clone())),
        }
    }

    // For the task.

    /// Both channels are open.
    pub(super) fn open(&self) {
        self.stage.send_if_modified(|stage| {
            let opens = *stage == Stage::Opening;
            if opens {
                *stage = Stage::Open;
            }
            opens
        });
    }

    /// Waits until there may be something to send, or the link is to end.
    pub(super) async fn work(&self) {
        self.work.notified().await;
    }

    /// What to send next, of what there is room for: first what lets the other side go on, then what gets old, then messages, then states.
    pub(super) fn next(&self, room: Room, now: Instant) -> Option<Next> {
        let mut state = self.lock();
        let State { outgoing, incoming, datagrams_out, again, .. } = &mut *state;
        if room.reliable && incoming.iter().any(Incoming::is_to_be_said) {
            return Some(Next::Reliable(taken_message(incoming.each_mut().map(Incoming::say))));
        }
        if room.unreliable
            && let Some(datagram) = datagrams_out.pop().or_else(|| again.due(now))
        {
            return Some(Next::Unreliable(datagram));
        }
        if !room.reliable {
            return None;
        }
        outgoing.iter_mut().enumerate().find_map(|(lane, outgoing)| outgoing.next_message(lane)).map(Next::Reliable)
    }

    /// What was taken so far, whether it is due or not.
    pub(super) fn taken_now(&self) -> BytesMut {
        taken_message(self.lock().incoming.each_mut().map(Incoming::say))
    }

    /// When early copies are to be sent again.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.lock().again.next_at()
    }

    /// Whether somebody waits until all is delivered, and all is with the channel.
    pub(super) fn is_finishing(&self) -> bool {
        let state = self.lock();
        state.finish == Finish::Wanted && state.outgoing[MESSAGES].waiting_bytes() == 0
    }

    /// All is delivered.
    pub(super) fn delivered(&self) {
        self.lock().finish = Finish::Delivered;
        self.delivered.notify_one();
    }

    /// A message of the reliable channel.
    pub(super) fn handle_reliable(&self, message: BytesMut) -> Result<(), Violation> {
        match LaneMessage::decode(message)? {
            LaneMessage::Bytes { lane, bytes } => {
                self.lock().incoming[lane].put(bytes)?;
                self.came[lane].notify_one();
            }
            LaneMessage::Taken(taken) => {
                let mut state = self.lock();
                for (outgoing, taken) in state.outgoing.iter_mut().zip(taken) {
                    outgoing.handle_taken(taken)?;
                }
                drop(state);
                self.room.iter().for_each(Notify::notify_one);
            }
        }
        Ok(())
    }

    /// A message of the unreliable channel.
    pub(super) fn handle_unreliable(&self, message: Bytes) {
        self.lock().datagrams_in.push(message);
        self.datagram_came.notify_one();
    }

    pub(super) fn measured(&self, round_trip: Duration, turned: bool) {
        let mut state = self.lock();
        state.round_trip = round_trip;
        state.turned = turned;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn claim(gone: &mut bool) -> Result<(), LinkError> {
    if std::mem::replace(gone, true) { Err(LinkError::Finished) } else { Ok(()) }
}
