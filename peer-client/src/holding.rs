//! The newest state that others need, held by this peer: its host feeds it, because it would be elected now.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use protocol::frame::PeerBody;
use protocol::id::ConnectionId;
use protocol::limits;
use protocol::snapshot::{Generation, Image};

use crate::driver::{Driver, Input};

/// Records that wait to be applied: as many as a host has under way, and the answer of a member.
const WAITING_MAX: usize = limits::FEED_IN_FLIGHT_MAX + 1;

/// What this peer holds.
#[derive(Debug, Default)]
pub(crate) struct Held {
    image: Option<Image>,
    waiting: VecDeque<(ConnectionId, Bytes)>,
    working: bool,
    /// A difference did not fit: others are of no use until a whole state comes.
    wants_whole: bool,
    /// The host feeds this peer, as its successor.
    pub(crate) is_successor: bool,
    /// The host gives none after this one, and hands over.
    pub(crate) last: Option<Generation>,
}

impl Held {
    pub(crate) const fn image(&self) -> Option<&Image> {
        self.image.as_ref()
    }

    pub(crate) fn generation(&self) -> Option<Generation> {
        self.image.as_ref().map(Image::generation)
    }

    /// It holds the last state of a host that handed over: nobody can have a newer one.
    pub(crate) fn is_complete(&self) -> bool {
        self.last.is_some() && self.generation() == self.last
    }

    /// A host holds what it gives itself.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Driver {
    /// A record came, from whoever may send one.
    pub(crate) fn state_came(&mut self, from: ConnectionId, record: Bytes) {
        if self.held.waiting.len() == WAITING_MAX {
            self.held.waiting.clear();
            self.held.wants_whole = true;
            self.tell(from, PeerBody::StateWanted);
            return;
        }
        self.held.waiting.push_back((from, record));
        self.apply_states();
    }

    fn apply_states(&mut self) {
        if self.held.working {
            return;
        }
        let Some((from, first)) = self.held.waiting.pop_front() else { return };
        let mut records = vec![first];
        while self.held.waiting.front().is_some_and(|(other, _)| *other == from) {
            records.extend(self.held.waiting.pop_front().map(|(_, record)| record));
        }
        self.held.working = true;
        let (image, wants_whole) = (self.held.image.clone(), self.held.wants_whole);
        self.spawn(async move {
            let applied = tokio::task::spawn_blocking(move || apply(image, wants_whole, &records)).await;
            Input::Held { from, applied: applied.unwrap_or(Applied { image: None, fails: true }) }
        });
    }

    pub(crate) fn states_applied(&mut self, from: ConnectionId, applied: Applied, now: Instant) {
        self.held.working = false;
        let Applied { image, fails } = applied;
        if let Some(image) = image {
            let generation = image.generation();
            self.held.image = Some(image);
            self.tell(from, PeerBody::StateTaken { generation });
            self.found_state(from, generation, now);
        }
        if fails && !self.held.wants_whole {
            self.tell(from, PeerBody::StateWanted);
        }
        self.held.wants_whole = fails;
        self.apply_states();
    }

    /// An elected member asks for what this peer holds.
    pub(crate) fn state_asked(&mut self, from: ConnectionId, generation: Generation) {
        let Some(image) = self.held.image.clone().filter(|image| image.generation() == generation) else { return };
        self.spawn(async move {
            let record = tokio::task::spawn_blocking(move || image.to_record(None)).await;
            Input::StateForMember { to: from, record: record.ok().and_then(Result::ok) }
        });
    }

    pub(crate) fn tell(&self, peer: ConnectionId, body: PeerBody<'_>) {
        if let Some(link) = self.shared.lock().links.get(&peer) {
            link.tell(body);
        }
    }
}

/// What came of some records.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The newest state, if there is another.
    image: Option<Image>,
    /// A whole state is needed.
    fails: bool,
}

fn apply(held: Option<Image>, wants_whole: bool, records: &[Bytes]) -> Applied {
    let (mut image, mut fails) = (held, wants_whole);
    let before = image.as_ref().map(Image::generation);
    for record in records {
        let next = match Image::from_record(record, None) {
            Ok(whole) => Some(whole),
            Err(_) if fails => None,
            Err(_) => image.as_ref().and_then(|image| image.apply(record, None).ok()),
        };
        fails = next.is_none();
        image = next.filter(|next| image.as_ref().is_none_or(|held| held.generation() < next.generation())).or(image);
    }
    let is_news = image.as_ref().map(Image::generation) > before;
    Applied { image: image.filter(|_| is_news), fails }
}
