//! An elected member finds the newest state: its own, the lobby's, or another member's.

use std::time::Instant;

use bytes::Bytes;
use protocol::frame::PeerBody;
use protocol::id::{ConnectionId, HostEpoch};
use protocol::limits;
use protocol::lobby::Presence;
use protocol::migration::{Role as Part, Stage};
use protocol::snapshot::{DeltaHeader, Generation, Header, Image, Snapshot, SnapshotError};
use protocol::takeover::{LobbyHas, Source, Step, Takeover};

use crate::driver::{Driver, Input};
use crate::saving::{Durable, SharedSeal, borrowed};
use crate::service::Newest;
use crate::timeline::StateSource;

/// The search of an elected member.
#[derive(Debug)]
pub(crate) struct Search {
    takeover: Takeover,
    lobbys: Option<Durable>,
    /// Another member has sent what is held here by now.
    from_member: bool,
    /// The lobby did not answer: it is asked again then.
    again_at: Option<Instant>,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) snapshot: Box<Snapshot>,
    /// The lobby has it too.
    pub(crate) is_durable: bool,
}

impl Driver {
    /// Looks for the newest state, or goes on looking.
    pub(crate) fn search(&mut self, epoch: HostEpoch, now: Instant) {
        if self.search.as_ref().is_none_or(|search| search.takeover.epoch() != epoch) {
            let warm = self.held.is_successor || self.planned;
            let mut takeover = Takeover::new(epoch, self.held.generation(), warm, self.holders(), now);
            if self.planned && self.held.is_complete() {
                // The host stood still since.
                takeover.handle_lobby(LobbyHas::NothingNewer);
            }
            self.search = Some(Search { takeover, lobbys: None, from_member: false, again_at: None });
        }
        self.go_on_searching(now);
    }

    /// Members that may hold a state: all that are there.
    fn holders(&self) -> Vec<ConnectionId> {
        let me = self.migration.me();
        let there = |presence: Presence| matches!(presence, Presence::Connected { .. });
        let members = self.migration.lobby().members.iter();
        members.filter(|member| member.connection != me && there(member.presence)).map(|m| m.connection).collect()
    }

    pub(crate) fn go_on_searching(&mut self, now: Instant) {
        let poll = |search: &mut Search| {
            search.again_at.take_if(|at| *at <= now);
            if search.again_at.is_some() { None } else { search.takeover.poll(now) }
        };
        while let Some(step) = self.search.as_mut().and_then(poll) {
            match step {
                Step::AskLobby { newer_than } => self.ask_lobby(newer_than),
                Step::AskMember { member, generation } => self.ask_member(member, generation),
                Step::Use(source) => self.go_on_from(source, now),
            }
        }
    }

    pub(crate) fn search_due_at(&self) -> Option<Instant> {
        self.search.as_ref().and_then(|search| search.again_at.or_else(|| search.takeover.poll_timeout()))
    }

    fn ask_lobby(&mut self, newer_than: Option<Generation>) {
        let (service, lobby, build_id) = (self.service.clone(), self.lobby, self.settings.build_id.clone());
        let (epoch, sealer) = (self.migration.epoch(), self.sealer.clone());
        self.spawn(async move {
            let result = match service.newest_state(lobby, newer_than).await {
                Ok(Newest::NotNewer) => Ok(None),
                Ok(Newest::Chain(chain)) => read_chain(chain, build_id, sealer).await.map(Some),
                Err(error) => Err(error.to_string()),
            };
            Input::LobbyHas { epoch, result }
        });
    }

    pub(crate) fn lobby_has(&mut self, epoch: HostEpoch, result: Result<Option<Durable>, String>, now: Instant) {
        let Some(search) = self.search.as_mut().filter(|search| search.takeover.epoch() == epoch) else { return };
        match result {
            Ok(durable) => {
                let has = durable.as_ref().map(|durable| durable.image.generation());
                search.takeover.handle_lobby(has.map_or(LobbyHas::NothingNewer, LobbyHas::Newer));
                search.lobbys = durable;
                self.go_on_searching(now);
            }
            Err(error) => {
                tracing::warn!(error, "the lobby could not be asked for its state");
                search.takeover.handle_lobby_failed();
                search.again_at = Some(now + limits::DIAL_RETRY);
            }
        }
    }

    fn ask_member(&self, member: ConnectionId, generation: Generation) {
        if let Some(link) = self.shared.lock().links.get(&member) {
            link.want_states();
            link.tell(PeerBody::StateAsked { generation });
        }
    }

    /// A member's answer is held here now.
    pub(crate) fn found_state(&mut self, from: ConnectionId, generation: Generation, now: Instant) {
        if let Some(search) = &mut self.search {
            search.takeover.handle_state(from, generation);
            search.from_member = true;
            self.go_on_searching(now);
        }
    }

    /// A member has arrived, and says what it holds.
    pub(crate) fn holds(&mut self, member: ConnectionId, generation: Option<Generation>, now: Instant) {
        if let Some(search) = &mut self.search {
            search.takeover.handle_hello(member, generation);
            self.go_on_searching(now);
        }
    }

    pub(crate) fn is_gone(&mut self, member: ConnectionId, now: Instant) {
        if let Some(search) = &mut self.search {
            search.takeover.handle_gone(member);
            self.go_on_searching(now);
        }
    }

    fn go_on_from(&mut self, source: Source, now: Instant) {
        let Some(Search { takeover, lobbys, from_member, .. }) = self.search.take() else { return };
        let epoch = takeover.epoch();
        if *self.migration.role() != (Part::Becoming { epoch, stage: Stage::Fetching { again_at: None } }) {
            return;
        }
        let (image, name) = match source {
            Source::Own if from_member => (self.held.image().cloned(), StateSource::Member),
            Source::Own => (self.held.image().cloned(), StateSource::Warm),
            Source::Lobby => (lobbys.as_ref().map(|durable| durable.image.clone()), StateSource::Lobby),
            Source::Nothing => (None, StateSource::Nothing),
        };
        let is_durable = source == Source::Lobby;
        let snapshot = match image.as_ref().map(Image::decode).transpose() {
            Ok(snapshot) => snapshot,
            Err(error) => {
                tracing::error!(%error, "a checked state cannot be read");
                return self.migration.handle_fetch_failed(epoch, now);
            }
        };
        let generation = snapshot.as_ref().map(|snapshot| snapshot.generation);
        self.timeline.found(name, generation, now);
        self.timeline.ticks_lost =
            snapshot.as_ref().map_or(0, |snapshot| self.announced_tick.saturating_sub(snapshot.tick));
        self.snapshots.go_on_from(generation, lobbys);
        let seats = snapshot.iter().flat_map(|snapshot| &snapshot.body.seats);
        let played: Vec<_> = seats.filter(|seat| seat.played).map(|seat| seat.connection).collect();
        self.found = snapshot.map(|snapshot| Found { snapshot: Box::new(snapshot), is_durable });
        self.migration.handle_fetched(epoch, played);
    }
}

/// Reads a snapshot and the deltas after it, off the driver's thread: it may be large.
async fn read_chain(chain: Bytes, build_id: String, seal: SharedSeal) -> Result<Durable, String> {
    let read = tokio::task::spawn_blocking(move || {
        let durable = apply_chain(&chain, &seal).map_err(|error| error.to_string())?;
        let snapshot = durable.image.decode().map_err(|error| error.to_string())?;
        if snapshot.body.build_id == build_id { Ok(durable) } else { Err("the state is of another build".to_owned()) }
    });
    read.await.map_err(|error| error.to_string())?
}

fn apply_chain(mut chain: &[u8], seal: &SharedSeal) -> Result<Durable, SnapshotError> {
    let base = first(&mut chain, Header::record_bytes)?;
    let mut durable = Durable { image: Image::from_record(base, borrowed(seal))?, deltas: 0, delta_bytes: 0 };
    while !chain.is_empty() {
        let delta = first(&mut chain, DeltaHeader::record_bytes)?;
        durable.image = durable.image.apply(delta, borrowed(seal))?;
        durable.deltas += 1;
        durable.delta_bytes += delta.len();
    }
    Ok(durable)
}

/// Takes the first record from a chain.
fn first<'a>(
    chain: &mut &'a [u8],
    length: impl Fn(&[u8]) -> Result<usize, SnapshotError>,
) -> Result<&'a [u8], SnapshotError> {
    let (record, rest) = chain.split_at_checked(length(chain)?).ok_or(SnapshotError::Truncated)?;
    *chain = rest;
    Ok(record)
}
