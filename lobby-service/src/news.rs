//! What instances of the service tell each other: that a lobby was saved, what members and relays say of its host, and signals between
//! members that are connected to different instances.
//!
//! A note may be lost. That a lobby was saved is then found by comparing versions; what members say they say again; signals are soft. Notes are sent
//! after the transaction, never in it: in it they would take a lock that all transactions share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use protocol::commit::Version;
use protocol::id::{ConnectionId, HostEpoch, InstanceId, LobbyId};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::service::Service;
use crate::signalling::Forward;
use crate::store::{Listener, StoreError};

/// Time between two comparisons of versions.
const COMPARE_INTERVAL: Duration = Duration::from_secs(2);
/// The same while no notes can be heard.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Versions compared in one query.
const COMPARED_AT_ONCE: usize = 1000;
/// Lobbies that are read at the same time.
const READ_AT_ONCE: usize = 4;
/// Saved lobbies that wait to be told. Past it they are found by their versions.
const SAVED_MAX: usize = 4096;
/// Words that wait to be told. Past it the oldest is dropped: it will be said again.
const SAID_MAX: usize = 1024;
/// Signals that wait to be told. Past it the oldest is dropped: its attempt runs out.
const SIGNALS_MAX: usize = 1024;
/// Signals that are told before what else has gathered meanwhile: whoever floods others with them delays no news of lobbies.
const SIGNALS_AT_ONCE: usize = 64;
/// Bytes of a note: Postgres takes less than 8,000.
const NOTE_BYTES_MAX: usize = 7_900;
/// Of them, what holds the rest together; a word; a guest in it.
const ENVELOPE_BYTES: usize = 100;
const WORD_BYTES: usize = 200;
const GUEST_BYTES: usize = 11;
/// Saved lobbies in one note: each takes 32 digits, a version and five signs.
const SAVED_PER_NOTE: usize = 100;

/// What a member or a relay says of a lobby's host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub(crate) enum Said {
    /// A guest: whether it hears the host.
    Report { lobby: LobbyId, from: ConnectionId, epoch: HostEpoch, hears_host: bool },
    /// A host that was challenged: whom it hears.
    Hears { lobby: LobbyId, from: ConnectionId, epoch: HostEpoch, guests: Vec<ConnectionId> },
    /// A relay: whether it hears the host.
    Sound { lobby: LobbyId, epoch: HostEpoch, heard: bool },
}

impl Said {
    /// Of which lobby.
    pub(crate) const fn lobby(&self) -> LobbyId {
        match self {
            Self::Report { lobby, .. } | Self::Hears { lobby, .. } | Self::Sound { lobby, .. } => *lobby,
        }
    }

    /// At least as many as it takes in a note, with its age.
    fn bytes(&self) -> usize {
        match self {
            Self::Hears { guests, .. } => WORD_BYTES + GUEST_BYTES * guests.len(),
            Self::Report { .. } | Self::Sound { .. } => WORD_BYTES,
        }
    }

    /// The guest in whose name it is said again, for those who missed it. What is not repeated is over soon, or told by relays to
    /// each instance.
    pub(crate) const fn is_repeated_for(&self) -> Option<ConnectionId> {
        match self {
            Self::Report { from, .. } => Some(*from),
            Self::Hears { .. } | Self::Sound { .. } => None,
        }
    }
}

/// What one instance tells all others.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    from: InstanceId,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    saved: Vec<(LobbyId, u64)>,
    /// With its age in milliseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    told: Vec<(Said, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    signals: Vec<Forward>,
}

impl Note {
    const fn new(from: InstanceId) -> Self {
        Self { from, saved: Vec::new(), told: Vec::new(), signals: Vec::new() }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    saved: BTreeMap<LobbyId, Version>,
    said: VecDeque<(Said, Instant)>,
    signals: VecDeque<Forward>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.saved.is_empty() && self.said.is_empty() && self.signals.is_empty()
    }
}

/// What is to be told.
#[derive(Debug)]
pub(crate) struct News {
    /// Whether there can be others.
    is_shared: bool,
    waiting: Mutex<Waiting>,
    more: Notify,
}

impl News {
    /// Nothing to tell yet.
    pub(crate) fn new(is_shared: bool) -> Self {
        Self { is_shared, waiting: Mutex::default(), more: Notify::new() }
    }

    /// A lobby was saved here.
    pub(crate) fn saved(&self, lobby: LobbyId, version: Version) {
        self.add(|waiting| {
            if waiting.saved.len() < SAVED_MAX || waiting.saved.contains_key(&lobby) {
                waiting.saved.insert(lobby, version);
            }
        });
    }

    /// Something was said here at that time.
    pub(crate) fn said(&self, said: Said, at: Instant) {
        self.add(|waiting| {
            if waiting.said.len() >= SAID_MAX {
                waiting.said.pop_front();
            }
            waiting.said.push_back((said, at));
        });
    }

    /// A signal is for a process that is not connected here.
    pub(crate) fn signalled(&self, forward: Forward) {
        self.add(|waiting| {
            if waiting.signals.len() >= SIGNALS_MAX {
                waiting.signals.pop_front();
            }
            waiting.signals.push_back(forward);
        });
    }

    fn add(&self, add: impl FnOnce(&mut Waiting)) {
        if self.is_shared {
            add(&mut self.lock());
            self.more.notify_one();
        }
    }

    /// Waits until there is something, and takes all of it, but of signals only some.
    async fn take(&self) -> Waiting {
        loop {
            let waiting = self.take_now();
            if !waiting.is_empty() {
                return waiting;
            }
            self.more.notified().await;
        }
    }

    fn take_now(&self) -> Waiting {
        let mut all = self.lock();
        let at_once = all.signals.len().min(SIGNALS_AT_ONCE);
        let signals = all.signals.split_off(at_once);
        std::mem::replace(&mut *all, Waiting { signals, ..Waiting::default() })
    }

    /// Nothing in here panics half way, so that a poisoned lock guards whole news.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the others what happens here. What gathers while one note is on its way goes into the next ones.
pub(crate) async fn tell(service: Arc<Service>) {
    // The others know of this one from now on.
    let greeting = Note::new(service.leases.instance());
    send(&service, &write(&greeting)).await;
    loop {
        let waiting = service.news.take().await;
        if !service.instances.has_others() {
            continue;
        }
        for note in notes(service.leases.instance(), waiting) {
            send(&service, &note).await;
        }
    }
}

async fn send(service: &Service, note: &str) {
    if let Err(error) = service.store.notify(note).await {
        tracing::debug!(%error, "the other instances were not told; they compare versions");
    }
}

fn write(note: &Note) -> String {
    serde_json::to_string(note).expect("a note holds only what JSON can")
}

/// Notes that are small enough.
fn notes(from: InstanceId, waiting: Waiting) -> Vec<String> {
    let mut notes = Vec::new();
    let saved: Vec<_> = waiting.saved.into_iter().map(|(lobby, version)| (lobby, version.0)).collect();
    for saved in saved.chunks(SAVED_PER_NOTE) {
        notes.push(write(&Note { saved: saved.to_vec(), ..Note::new(from) }));
    }
    let said = waiting.said.into_iter().map(|(said, at)| (said, at.elapsed().as_millis() as u64));
    for told in packed(said, |(said, _)| said.bytes()) {
        notes.push(write(&Note { told, ..Note::new(from) }));
    }
    for signals in packed(waiting.signals.into_iter(), Forward::bytes) {
        notes.push(write(&Note { signals, ..Note::new(from) }));
    }
    // The answer of a host of a thousand guests may be too long: the others will judge without it.
    notes.retain(|note| note.len() <= NOTE_BYTES_MAX);
    notes
}

/// Parts of what is to be told, in its order, each as much as fits into a note, or one that does not fit.
fn packed<T>(all: impl Iterator<Item = T>, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for one in all {
        let needed = bytes(&one);
        match parts.last_mut() {
            Some(part) if needed <= room => part.push(one),
            Some(_) | None => {
                room = NOTE_BYTES_MAX - ENVELOPE_BYTES;
                parts.push(vec![one]);
            }
        }
        room = room.saturating_sub(needed);
    }
    parts
}

/// Hears what happens elsewhere, until the service stops.
pub(crate) async fn hear(service: Arc<Service>) {
    loop {
        match service.store.listen().await {
            Ok(Some(listener)) => {
                if let Err(error) = listen(&service, listener).await {
                    tracing::warn!(%error, "other instances are not heard; versions are compared meanwhile");
                }
            }
            Ok(None) => std::future::pending().await,
            Err(error) => tracing::debug!(%error, "other instances cannot be heard"),
        }
        compare(&service).await;
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn listen(service: &Arc<Service>, mut listener: Box<dyn Listener>) -> Result<(), StoreError> {
    // What was told before somebody listened.
    let mut next = Instant::now();
    loop {
        tokio::select! {
            note = listener.next() => handle(service, &note?).await,
            () = tokio::time::sleep_until(next.into()) => {
                compare(service).await;
                repeat(service);
                next = Instant::now() + COMPARE_INTERVAL;
            }
        }
    }
}

async fn handle(service: &Arc<Service>, note: &str) {
    match serde_json::from_str::<Note>(note) {
        Ok(note) if note.from == service.leases.instance() => {}
        Ok(Note { saved, told, signals, .. }) => {
            // One that has just started says so before this one's next renewal.
            service.instances.heard_of_others();
            let saved: Vec<_> = saved.into_iter().map(|(lobby, version)| (lobby, Version(version))).collect();
            for &(lobby, version) in &saved {
                service.heads.saved_elsewhere(lobby, version);
            }
            read(service, &saved).await;
            let now = Instant::now();
            for (said, age_ms) in told {
                service.told(said, now.checked_sub(Duration::from_millis(age_ms)).unwrap_or(now));
            }
            for forward in signals {
                // Whom it is for may be connected to a third one, or not any more.
                let _ = service.deliver(forward);
            }
        }
        Err(error) => tracing::warn!(%error, "another instance says what this build does not understand"),
    }
}

/// Says again what was said here, if somebody doubts a host: a majority is made of what all instances have heard.
fn repeat(service: &Service) {
    if service.instances.has_others() {
        service.rooms.words(service.leases.instance()).into_iter().for_each(|(said, at)| service.news.said(said, at));
    }
}

/// Looks for lobbies that were saved elsewhere without this instance being told.
async fn compare(service: &Arc<Service>) {
    for known in service.rooms.versions().chunks(COMPARED_AT_ONCE) {
        let ids: Vec<_> = known.iter().map(|&(lobby, _)| lobby).collect();
        match service.store.versions(&ids).await {
            Ok(newest) => {
                read(service, &newest).await;
                let there: BTreeSet<_> = newest.iter().map(|&(lobby, _)| lobby).collect();
                ids.iter().filter(|id| !there.contains(id)).for_each(|&id| service.leases.close_lobby(id));
            }
            Err(error) => {
                tracing::debug!(%error, "versions could not be compared");
                return;
            }
        }
    }
}

/// Reads those lobbies that are newer than what those who listen here know.
async fn read(service: &Arc<Service>, newest: &[(LobbyId, Version)]) {
    let is_newer =
        |&&(lobby, version): &&(LobbyId, Version)| service.rooms.known(lobby).is_some_and(|(known, _)| known < version);
    let newer: Vec<_> = newest.iter().filter(is_newer).map(|&(lobby, _)| lobby).collect();
    stream::iter(newer)
        .for_each_concurrent(READ_AT_ONCE, |lobby| async move {
            if let Err(error) = service.look_again(lobby).await {
                tracing::debug!(%lobby, %error, "a lobby could not be read again yet");
            }
        })
        .await;
}

#[cfg(test)]
mod tests {
    use protocol::id::PeerKey;
    use protocol::signal::Signal;

    use super::*;
    use crate::signalling::Process;

    #[test]
    fn whatever_waits_is_told_in_notes_that_are_small_enough() {
        let news = News::new(true);
        let lobby = |number: u32| LobbyId::from_bytes([number.to_be_bytes(); 4].concat().try_into().unwrap());
        for number in 0..10_000 {
            news.saved(lobby(number), Version(u64::MAX));
        }
        news.saved(lobby(1), Version(9));
        let said = Said::Sound { lobby: lobby(1), epoch: HostEpoch(u64::MAX), heard: false };
        (0..2 * SAID_MAX).for_each(|_| news.said(said.clone(), Instant::now()));
        let hears = |guests: u32| {
            let guests = (0..guests).map(|guest| ConnectionId(u32::MAX - guest)).collect();
            Said::Hears { lobby: lobby(1), from: ConnectionId(u32::MAX), epoch: HostEpoch(1), guests }
        };
        (0..4).for_each(|_| news.said(hears(500), Instant::now()));
        news.said(hears(1000), Instant::now());
        let from = InstanceId::from_bytes([1; 8]);
        let notes = notes(from, std::mem::take(&mut news.lock()));
        assert!(notes.iter().all(|note| note.len() <= NOTE_BYTES_MAX));
        let read: Vec<Note> = notes.iter().map(|note| serde_json::from_str(note).unwrap()).collect();
        let saved: BTreeMap<_, _> = read.iter().flat_map(|note| note.saved.clone()).collect();
        assert_eq!((saved.len(), saved[&lobby(1)]), (SAVED_MAX, 9));
        let told: Vec<_> = read.into_iter().flat_map(|note| note.told).map(|(said, _)| said).collect();
        assert_eq!(told.iter().filter(|one| **one == said).count(), SAID_MAX - 5);
        assert_eq!(told.iter().filter(|one| **one == hears(500)).count(), 4);
        assert_eq!(told.len(), SAID_MAX - 1, "all but the one that is too long for any note");
    }

    #[tokio::test]
    async fn signals_are_told_in_their_order_and_a_flood_of_them_delays_no_news_of_lobbies() {
        let news = News::new(true);
        let process = |number| Process { connection: ConnectionId(number), peer_key: PeerKey::from_bytes([7; 32]) };
        let candidate = format!("candidate:{} 1 udp 1 192.0.2.7 4000 typ relay", "f".repeat(32));
        let forward = |attempt| Forward {
            lobby: LobbyId::from_bytes([1; 16]),
            from: process(u32::MAX),
            to: process(u32::MAX - 1),
            signal: Signal::Candidates { attempt, candidates: vec![candidate.clone(); 16] },
        };
        (0..SIGNALS_MAX as u32 + 9).for_each(|attempt| news.signalled(forward(attempt)));
        let from = InstanceId::from_bytes([1; 8]);
        let mut told = Vec::new();
        while told.len() < SIGNALS_MAX {
            news.saved(LobbyId::from_bytes([1; 16]), Version(1));
            let notes = notes(from, news.take().await);
            assert!(notes.len() <= SIGNALS_AT_ONCE + 1 && notes[0].contains("saved"));
            for note in notes {
                assert!(note.len() <= NOTE_BYTES_MAX);
                let note: Note = serde_json::from_str(&note).unwrap();
                assert!(
                    note.signals.len() != 1 || note.signals == [forward(SIGNALS_MAX as u32 + 8)],
                    "they are packed"
                );
                told.extend(note.signals.into_iter().map(|forward| forward.signal.attempt()));
            }
        }
        assert_eq!(told, (9..SIGNALS_MAX as u32 + 9).collect::<Vec<_>>());
        assert!(news.lock().is_empty());
    }

    #[test]
    fn an_instance_that_is_alone_has_nothing_to_tell() {
        let news = News::new(false);
        news.saved(LobbyId::from_bytes([1; 16]), Version(1));
        assert!(news.lock().saved.is_empty());
    }
}
