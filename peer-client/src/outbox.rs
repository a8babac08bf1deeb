//! What waits for the game: events, requests and reliable messages in order; unreliable messages only as long as they are fresh.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::id::{ConnectionId, HostEpoch};
use protocol::journal::StreamId;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::event::{Event, Message, Output};
use crate::session::EVENTS_MAX;

/// Unreliable messages that wait for the game. Above it the oldest is dropped: a newer one says more.
const UNRELIABLE_MAX: usize = 4096;

/// A message that came up to this host: taking it is what makes it part of the game.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Up {
    /// At which epoch. To a host of another one it says nothing: it will be said again.
    pub(crate) epoch: HostEpoch,
    pub(crate) from: ConnectionId,
    pub(crate) stream: StreamId,
    pub(crate) number: u64,
}

/// One thing for the game.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) output: Output,
    pub(crate) up: Option<Up>,
}

/// The queue between a session's driver and its game.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Each entry has its place among both queues.
    ordered: VecDeque<(u64, Item, Option<OwnedSemaphorePermit>)>,
    unreliable: VecDeque<(u64, Message)>,
    /// Of `ordered`, those that no link's budget bounds.
    unbudgeted: usize,
    next_place: u64,
    /// Unreliable messages that the game never saw.
    dropped: u64,
    closed: bool,
}

impl Outbox {
    /// Queues an event or a request. Returns false if the game has left too many unread.
    pub(crate) fn push(&self, output: Output) -> bool {
        self.push_item(Item { output, up: None })
    }

    /// Queues a message that came by no link.
    pub(crate) fn push_own(&self, message: Message, up: Option<Up>) -> bool {
        self.push_item(Item { output: Output::Message(message), up })
    }

    fn push_item(&self, item: Item) -> bool {
        let mut waiting = self.lock();
        if waiting.unbudgeted >= EVENTS_MAX {
            return false;
        }
        waiting.unbudgeted += 1;
        let place = waiting.place();
        waiting.ordered.push_back((place, item, None));
        drop(waiting);
        self.changed.notify_one();
        true
    }

    /// Queues a reliable message. The budget returns to its link when the game takes it.
    pub(crate) fn push_reliable(&self, message: Message, up: Option<Up>, budget: OwnedSemaphorePermit) {
        let mut waiting = self.lock();
        let place = waiting.place();
        waiting.ordered.push_back((place, Item { output: Output::Message(message), up }, Some(budget)));
        drop(waiting);
        self.changed.notify_one();
    }

    /// Queues an unreliable message.
    pub(crate) fn push_unreliable(&self, message: Message) {
        let mut waiting = self.lock();
        if waiting.unreliable.len() >= UNRELIABLE_MAX {
            waiting.unreliable.pop_front();
            waiting.dropped += 1;
        }
        let place = waiting.place();
        waiting.unreliable.push_back((place, message));
        drop(waiting);
        self.changed.notify_one();
    }

    /// Queues the last event. Nothing comes after it.
    pub(crate) fn close(&self, last: Option<Event>) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.closed = true;
            if let Some(event) = last {
                let place = waiting.place();
                waiting.unbudgeted += 1;
                waiting.ordered.push_back((place, Item { output: Output::Event(event), up: None }, None));
            }
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// Unreliable messages that were dropped because the game read too slowly.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(crate) fn pop(&self) -> Option<Item> {
        self.lock().pop()
    }

    /// Waits for the next; `None`: closed and empty.
    pub(crate) async fn next(&self) -> Option<Item> {
        loop {
            let changed = self.changed.notified();
            {
                let mut waiting = self.lock();
                if let Some(item) = waiting.pop() {
                    return Some(item);
                }
                if waiting.closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }

    fn pop(&mut self) -> Option<Item> {
        let ordered = self.ordered.front().map_or(u64::MAX, |(place, ..)| *place);
        if self.unreliable.front().is_some_and(|(place, _)| *place < ordered) {
            let (_, message) = self.unreliable.pop_front()?;
            return Some(Item { output: Output::Message(message), up: None });
        }
        let (_, item, budget) = self.ordered.pop_front()?;
        if budget.is_none() {
            self.unbudgeted -= 1;
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::event::Delivery;

    fn message(number: usize, delivery: Delivery) -> Message {
        Message { from: ConnectionId(1), delivery, payload: Bytes::from(number.to_string()) }
    }

    fn drain(outbox: &Outbox) -> Vec<String> {
        std::iter::from_fn(|| outbox.pop())
            .map(|item| match item.output {
                Output::Message(message) => String::from_utf8(message.payload.to_vec()).unwrap(),
                Output::Event(event) => format!("{event:?}"),
                Output::Request(request) => format!("{request:?}"),
            })
            .collect()
    }

    #[test]
    fn outputs_come_in_the_order_in_which_they_were_queued() {
        let (outbox, budget) = (Outbox::default(), Arc::new(Semaphore::new(10)));
        outbox.push_unreliable(message(1, Delivery::Unreliable));
        assert!(outbox.push(Output::Event(Event::PeersUpdated)));
        outbox.push_reliable(message(2, Delivery::Reliable), None, budget.clone().try_acquire_many_owned(4).unwrap());
        outbox.push_unreliable(message(3, Delivery::Unreliable));
        assert_eq!(budget.available_permits(), 6);
        assert_eq!(drain(&outbox), ["1", "PeersUpdated", "2", "3"]);
        assert_eq!(budget.available_permits(), 10);
    }

    #[test]
    fn a_game_that_does_not_read_loses_the_oldest_unreliable_messages_and_no_others() {
        let outbox = Outbox::default();
        assert!(outbox.push(Output::Event(Event::PeersUpdated)));
        for number in 0..=UNRELIABLE_MAX {
            outbox.push_unreliable(message(number, Delivery::Unreliable));
        }
        let read = drain(&outbox);
        assert_eq!(outbox.dropped(), 1);
        assert_eq!((read.len(), read[0].as_str(), read[1].as_str()), (1 + UNRELIABLE_MAX, "PeersUpdated", "1"));
    }

    #[test]
    fn a_game_that_never_reads_ends_its_session_with_a_named_reason() {
        let outbox = Outbox::default();
        while outbox.push(Output::Event(Event::PeersUpdated)) {}
        outbox.close(Some(Event::Overrun));
        let read = drain(&outbox);
        assert_eq!((read.len(), read.last().unwrap().as_str()), (EVENTS_MAX + 1, "Overrun"));
        assert!(outbox.is_closed());
    }
}
