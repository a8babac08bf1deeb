//! A member that holds a state for its host, and one that is elected and looks for the newest.

use std::collections::VecDeque;
use std::time::Instant;

use protocol::frame::{PeerBody, PeerFrame};
use protocol::id::{ConnectionId, HostEpoch};
use protocol::journal::{Class, HostStreams, Ledger};
use protocol::limits;
use protocol::lobby::Presence;
use protocol::migration::Role;
use protocol::snapshot::{Generation, Image, Snapshot};
use protocol::takeover::{LobbyHas, Source, Step, Takeover};

use super::game::Game;
use super::hosting::Hosting;
use super::peer::PeerItem;
use super::service::{Answer, Call};
use super::{Item, Sim};

/// What an elected member looks for.
pub(super) struct Search {
    pub(super) takeover: Takeover,
    lobbys: Option<Image>,
    /// The lobby could not be asked: it is asked again then.
    again_at: Option<Instant>,
    is_warm: bool,
    asked: bool,
}

impl Sim {
    /// A state comes: to a successor from its host, or to an elected member from another.
    pub(super) fn state_comes(&mut self, index: usize, from: ConnectionId, epoch: HostEpoch, record: &[u8]) {
        let Some(session) = &mut self.peers[index].session else { return };
        let held = session.held.as_ref().and_then(|held| held.apply(record, None).ok());
        let Some(image) = held.or_else(|| Image::from_record(record, None).ok()) else {
            return self.send_on_link(index, from, PeerFrame { epoch, body: PeerBody::StateWanted });
        };
        let generation = image.generation();
        if session.search.is_some() {
            if session.held.as_ref().is_none_or(|held| held.generation() < generation) {
                session.held = Some(image);
            }
            if let Some(search) = &mut session.search {
                search.takeover.handle_state(from, generation);
            }
        } else if matches!(*session.migration.role(), Role::Guest { host, .. } if host == from) {
            session.held = Some(image);
            self.send_on_link(index, from, PeerFrame { epoch, body: PeerBody::StateTaken { generation } });
        }
    }

    /// An elected member asks for what is held here.
    pub(super) fn state_asked(&mut self, index: usize, from: ConnectionId) {
        let Some(session) = &self.peers[index].session else { return };
        let epoch = session.migration.epoch();
        let record = session.held.as_ref().and_then(|held| held.to_record(None).ok());
        if let Some(record) = record {
            self.send_on_link(index, from, PeerFrame { epoch, body: PeerBody::State(&record) });
        }
    }

    /// Elected: which state is the newest?
    pub(super) fn search(&mut self, index: usize, epoch: HostEpoch) {
        let now = self.now;
        let Some(session) = &mut self.peers[index].session else { return };
        let me = session.me;
        let own = session.held.as_ref().map(Image::generation);
        let is_warm = own.is_some_and(|own| own.epoch.next() == epoch);
        let members = session.migration.lobby().members.iter();
        let members = members.filter(|m| m.connection != me && matches!(m.presence, Presence::Connected { .. }));
        let takeover = Takeover::new(epoch, own, is_warm, members.map(|member| member.connection), now);
        session.search = Some(Search { takeover, lobbys: None, again_at: None, is_warm, asked: false });
    }

    pub(super) fn keep_searching(&mut self, index: usize) {
        let now = self.now;
        loop {
            let Some(session) = &mut self.peers[index].session else { return };
            let epoch = session.migration.epoch();
            let Some(search) = &mut session.search else { return };
            if search.again_at.is_some_and(|at| at > now) {
                return;
            }
            match search.takeover.poll(now) {
                Some(Step::AskLobby { newer_than }) => {
                    search.again_at = None;
                    self.request(index, Call::Fetch { epoch, newer_than }, Answer::FetchFailed { epoch });
                }
                Some(Step::AskMember { member, generation }) => {
                    search.asked = true;
                    self.send_on_link(index, member, PeerFrame { epoch, body: PeerBody::StateAsked { generation } });
                }
                Some(Step::Use(source)) => return self.found(index, epoch, source),
                None => return,
            }
        }
    }

    /// The lobby's answer, if this is still about the same election.
    pub(super) fn lobby_has(&mut self, index: usize, epoch: HostEpoch, record: Option<&[u8]>) {
        let Some(session) = &mut self.peers[index].session else { return };
        let Some(search) = session.search.as_mut().filter(|search| search.takeover.epoch() == epoch) else { return };
        search.lobbys = record.and_then(|record| Image::from_record(record, None).ok());
        let newer = search.lobbys.as_ref().map(Image::generation);
        search.takeover.handle_lobby(newer.map_or(LobbyHas::NothingNewer, LobbyHas::Newer));
    }

    pub(super) fn lobby_failed(&mut self, index: usize, epoch: HostEpoch) {
        let again_at = self.now + limits::DIAL_RETRY;
        let Some(session) = &mut self.peers[index].session else { return };
        if let Some(search) = session.search.as_mut().filter(|search| search.takeover.epoch() == epoch) {
            search.takeover.handle_lobby_failed();
            search.again_at = Some(again_at);
        }
    }

    fn found(&mut self, index: usize, epoch: HostEpoch, source: Source) {
        let Some(session) = &mut self.peers[index].session else { return };
        let Some(search) = session.search.take() else { return };
        let (image, count) = match source {
            Source::Own if search.asked => (session.held.clone(), &mut self.stats.takeovers_from_members),
            Source::Own if search.is_warm => (session.held.clone(), &mut self.stats.takeovers_warm),
            Source::Own => (session.held.clone(), &mut self.stats.takeovers_from_own),
            Source::Lobby => (search.lobbys, &mut self.stats.takeovers_from_lobby),
            Source::Nothing => (None, &mut 0),
        };
        *count += 1;
        let snapshot = image.as_ref().and_then(|image| image.decode().ok());
        let seats: Vec<_> = snapshot.iter().flat_map(|snapshot| &snapshot.body.seats).cloned().collect();
        session.found = image.zip(snapshot);
        let played = seats.iter().filter(|seat| seat.played).map(|seat| seat.connection);
        session.migration.handle_fetched(epoch, played);
        seats.iter().for_each(|seat| self.check_seat(seat.player, seat.connection));
    }

    /// The game goes on from what was found, a moment later.
    pub(super) fn restore(&mut self, index: usize, epoch: HostEpoch) {
        let slow = !self.healed() && self.faults.slow_restore && self.rng.u8(0..3) == 0;
        self.stats.slow_restores += u64::from(slow);
        let found = self.peers[index].session.as_mut().and_then(|session| session.found.take());
        let game = found.as_ref().and_then(|(_, snapshot)| Game::read(&snapshot.body.state)).unwrap_or_default();
        if let Some((image, _)) = &found {
            self.check_restored(index, epoch, image, &game);
        }
        let (process, now) = (self.peers[index].process, self.now);
        let Some(session) = &mut self.peers[index].session else { return };
        let body = found.as_ref().map(|(_, snapshot)| &snapshot.body);
        let seats = body.iter().flat_map(|body| &body.seats).filter(|seat| !seat.host_data.is_empty());
        session.secrets = seats.map(|seat| (seat.connection, seat.host_data.clone())).collect();
        session.objects = body.map(|body| body.objects.clone()).unwrap_or_default();
        session.objects.disable_all_but(session.me);
        let at = found.as_ref().map(|(image, _)| image.generation());
        let next_seq = at.filter(|at| at.epoch == epoch).map_or(0, |Generation { seq, .. }| seq + 1);
        let ledger = found.map(|(_, Snapshot { body, .. })| body.ledger).unwrap_or_default();
        self.host(index, epoch, game, ledger, next_seq, now);
        let delay = if slow { 400..6000 } else { 1..40 };
        self.soon(delay, Item::Peer { peer: index, process, item: PeerItem::Restored { epoch } });
    }

    /// A game that this peer is to host: it takes what it had to say to, and to hear from, whoever hosts.
    pub(super) fn host(
        &mut self,
        index: usize,
        epoch: HostEpoch,
        game: Game,
        ledger: Ledger,
        next_seq: u64,
        now: Instant,
    ) {
        let Some(session) = &mut self.peers[index].session else { return };
        let me = session.me;
        let mut streams = HostStreams::restore(ledger, epoch);
        let lobby = session.migration.lobby();
        let known: Vec<_> = streams.ledger().0.iter().map(|entry| entry.connection).collect();
        known.into_iter().filter(|seat| lobby.member(*seat).is_none()).for_each(|seat| streams.forget(seat));
        let own = streams.take_own(me, &mut session.streams);
        let stream = session.streams.offer().stream;
        let mut hosting = Hosting::new(epoch, game, streams, next_seq, now);
        own.inputs.into_iter().for_each(|(number, payload)| hosting.receives(me, stream, number, payload));
        session.hosting = Some(hosting);
        self.resumed(index, &own.resumed);
        let told: VecDeque<(Class, _)> = own.told.into();
        for (class, payload) in told {
            let number = self.peers[index].view_mut().map_or(0, |view| view.heard() + 1);
            self.check_heard(index, class, number, &payload);
        }
    }
}
