//! A host's part: restore the game, let guests in, keep what they own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::frame::{PeerBody, Welcome};
use protocol::id::{ConnectionId, HostEpoch};
use protocol::limits;
use protocol::lobby::Presence;
use protocol::message::MemberView;
use protocol::migration::{ReadyAnswer, Role as Part, Stage};
use protocol::objects::{Change, ObjectTable};
use protocol::snapshot::{Body, Snapshot};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::driver::{Arrived, Driver, Input};
use crate::error::Error;
use crate::event::Event;
use crate::link::{GUEST_FRAME_BYTES_MAX, LinkHandle, LinkId, Running};
use crate::queue::Queue;
use crate::request::{AcceptPlayer, Request, RestoreState, Restored, Saved, SavedState};
use crate::saving::micros;
use crate::transport::relay::RelayCommand;

/// A guest that knows a newer epoch than this peer waits for the lobby to tell this peer too.
const EARLY_GUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Guests that wait so.
const EARLY_GUESTS_MAX: usize = limits::MEMBERS_MAX as usize;
/// A grant that could not be had is asked for again after this long.
const GRANT_RETRY: Duration = Duration::from_millis(250);

// Becoming host.
impl Driver {
    pub(crate) fn fetch(&mut self, epoch: HostEpoch) {
        let (service, lobby, settings) = (self.service.clone(), self.lobby, self.settings.clone());
        self.spawn(async move {
            let result = match service.snapshot(lobby).await {
                Ok(Some(record)) => read_snapshot(record, &settings.build_id).await.map(Some),
                Ok(None) => Ok(None),
                Err(error) => Err(error.to_string()),
            };
            Input::Fetched { epoch, result }
        });
    }

    pub(crate) fn fetched(&mut self, epoch: HostEpoch, result: Result<Option<Box<Snapshot>>, String>, now: Instant) {
        let stage = Stage::Fetching { again_at: None };
        if *self.migration.role() != (Part::Becoming { epoch, stage }) {
            return;
        }
        match result {
            Ok(snapshot) => {
                let seats = snapshot.iter().flat_map(|snapshot| &snapshot.body.seats);
                let played: Vec<_> = seats.filter(|seat| seat.played).map(|seat| seat.connection).collect();
                self.snapshots.go_on_from(snapshot.as_ref().map(|snapshot| snapshot.generation));
                self.fetched = snapshot;
                self.migration.handle_fetched(epoch, played);
            }
            Err(error) => {
                tracing::warn!(error, "the snapshot could not be fetched");
                self.migration.handle_fetch_failed(epoch, now);
            }
        }
    }

    /// Restores seats and objects, then asks the game to restore the rest.
    pub(crate) fn restore(&mut self, epoch: HostEpoch) {
        let snapshot = self.fetched.take().map(|snapshot| Box::new(self.restore_table(*snapshot)));
        if snapshot.is_none() {
            self.shared.lock().start_anew();
        }
        let (reply, answer) = oneshot::channel();
        self.request(Request::RestoreState(RestoreState { snapshot, reply }));
        self.spawn(async move {
            let result = answer.await.unwrap_or_else(|_| Err("the request was dropped".to_owned()));
            Input::Restored { epoch, result }
        });
    }

    fn restore_table(&mut self, snapshot: Snapshot) -> Restored {
        let Snapshot { generation, tick, elapsed_us, body } = snapshot;
        let Body { scene, seats, mut objects, state, .. } = body;
        let elapsed = Duration::from_micros(elapsed_us);
        let lobby = self.migration.lobby();
        let gone: std::collections::BTreeSet<_> = objects
            .iter()
            .filter_map(|(_, object)| object.owner)
            .filter(|owner| lobby.member(*owner).is_none())
            .collect();
        let orphans: Vec<_> = gone.into_iter().flat_map(|owner| objects.orphan(owner)).collect();
        objects.disable_all_but(self.migration.me());
        {
            let mut shared = self.shared.lock();
            let members = seats.iter().filter(|seat| lobby.member(seat.connection).is_some());
            shared.seats = members.map(|seat| (seat.connection, seat.host_data.clone())).collect();
            shared.objects = objects.clone();
            shared.tick = tick;
            let saved = SavedState { tick, elapsed, scene: scene.clone(), state: state.clone() };
            shared.last_saved = Some(Arc::new(shared.with_tables(saved)));
        }
        orphans.into_iter().for_each(|object| self.event(Event::AuthorityChanged { object, owner: None }));
        Restored { generation, tick, elapsed, scene, seats, objects, state }
    }

    pub(crate) fn confirm_ready(&mut self, epoch: HostEpoch) {
        let (service, lobby) = (self.service.clone(), self.lobby);
        self.spawn(async move {
            let answer = match service.ready(lobby, epoch).await {
                Ok(()) => ReadyAnswer::Confirmed,
                Err(Error::Refused { status: 404 | 409, code, .. }) => {
                    tracing::info!(code, %epoch, "the lobby has another host by now");
                    ReadyAnswer::Refused
                }
                Err(error) => {
                    tracing::debug!(%error, "ready was not answered");
                    ReadyAnswer::Unknown
                }
            };
            Input::Ready { epoch, answer }
        });
    }

    pub(crate) fn present_grant(&mut self, epoch: HostEpoch) {
        let (service, lobby, relay) = (self.service.clone(), self.lobby, self.relay.clone());
        self.tasks.spawn(async move {
            loop {
                match service.host_grant(lobby, epoch).await {
                    Ok(token) => {
                        // The session has ended if nobody takes it.
                        let _ = relay.send(RelayCommand::Grant { epoch, token }).await;
                        return;
                    }
                    Err(Error::Refused { status, code, .. }) if status < 500 && status != 429 => {
                        return tracing::info!(code, %epoch, "no host grant");
                    }
                    Err(error) => tracing::debug!(%error, "the host grant could not be had"),
                }
                sleep(GRANT_RETRY).await;
            }
        });
    }
}

// Letting guests in.
impl Driver {
    pub(crate) fn arrived(&mut self, arrived: Box<Arrived>, now: Instant) {
        let member = self.migration.lobby().member(arrived.peer);
        let is_proven = member.is_some_and(|member| member.peer_key == arrived.peer_key);
        if !is_proven || self.tells_of_leaving() {
            tracing::debug!(peer = %arrived.peer, is_proven, "a guest was sent away");
            return arrived.link.close();
        }
        if arrived.epoch > self.migration.epoch() && self.early.len() < EARLY_GUESTS_MAX {
            self.early.push((arrived, now + EARLY_GUEST_TIMEOUT));
            return;
        }
        let Arrived { peer, epoch, hello, link, stream, .. } = *arrived;
        if self.is_host_or_elected(epoch) && self.shared.lock().links.contains_key(&peer) {
            // A guest that dials anew has lost its old link, whether this side has noticed or not.
            self.hang_up(peer);
            self.migration.handle_link_down(peer, now);
        }
        if !self.migration.handle_hello(peer, epoch, now) {
            tracing::debug!(%peer, %epoch, "a guest was sent away: not host of its epoch");
            return link.close();
        }
        let (id, queue) = (self.next_link(), Arc::new(Queue::default()));
        let running = Running {
            peer,
            id,
            link: link.clone(),
            stream,
            queue: queue.clone(),
            unread: self.unread.of(peer),
            frame_bytes_max: GUEST_FRAME_BYTES_MAX,
            inputs: self.inputs.clone(),
        };
        let task = self.tasks.spawn(running.run());
        let mut handle = LinkHandle::new(id, epoch, false, queue, Some(link), task, now);
        handle.extra = hello.extra;
        let replaced = self.shared.lock().links.insert(peer, handle);
        drop(replaced);
    }

    /// Lets guests try again that were ahead of this peer; sends those away that waited in vain.
    pub(crate) fn admit_early(&mut self, now: Instant) {
        let epoch = self.migration.epoch();
        for (arrived, until) in std::mem::take(&mut self.early) {
            if arrived.epoch <= epoch {
                self.arrived(arrived, now);
            } else if until > now {
                self.early.push((arrived, until));
            }
        }
    }

    /// Lets go of guests that the lobby has lost and that are not heard here either: their links would only end by time-out. A guest
    /// that is heard has lost the lobby alone, and stays.
    pub(crate) fn let_silent_guests_go(&mut self, now: Instant) {
        if !matches!(self.migration.role(), Part::Host { .. } | Part::Becoming { .. }) {
            return;
        }
        let lost = |member: &&MemberView| matches!(member.presence, Presence::Disconnected { .. });
        let silent: Vec<_> = {
            let state = self.shared.lock();
            let is_silent = |guest: &ConnectionId| state.links.get(guest).is_some_and(|link| link.is_silent(now));
            let lost = self.migration.lobby().members.iter().filter(lost);
            lost.map(|member| member.connection).filter(is_silent).collect()
        };
        for guest in silent {
            tracing::debug!(%guest, "neither the lobby nor this host hears a guest: its link is closed");
            self.hang_up(guest);
            self.migration.handle_link_down(guest, now);
        }
    }

    pub(crate) fn admit(&mut self, guest: ConnectionId, returning: bool) {
        if self.tells_of_leaving() {
            return;
        }
        let Some(member) = self.migration.lobby().member(guest) else { return };
        let (player, name) = (member.player, member.name.clone());
        let (id, extra) = match self.shared.lock().links.get_mut(&guest) {
            Some(link) => (link.id, std::mem::take(&mut link.extra)),
            None => return,
        };
        let (reply, answer) = oneshot::channel();
        let request = AcceptPlayer { connection: guest, player, name, returning, extra, reply };
        self.request(Request::AcceptPlayer(request));
        self.spawn(async move {
            let result = answer.await.unwrap_or_else(|_| Err("the game did not answer".to_owned()));
            Input::Decided { guest, id, result }
        });
    }

    /// The game has decided: the guest is welcomed with the table as it is now, and told all changes from then on.
    pub(crate) fn decided(&mut self, guest: ConnectionId, id: LinkId, result: Result<(), String>, now: Instant) {
        if self.tells_of_leaving() {
            return;
        }
        let reconnected = {
            let mut state = self.shared.lock();
            let state = &mut *state;
            let Some(link) = state.links.get_mut(&guest).filter(|link| link.id == id) else { return };
            if let Err(reason) = result {
                let reason = rmp_serde::to_vec(&reason).unwrap_or_default();
                link.tell(PeerBody::Refused(&reason));
                link.finish();
                self.migration.handle_link_down(guest, now);
                return;
            }
            let (back, change) = state.objects.enable(guest, true);
            state.tell_changes(change.as_slice());
            let Some(link) = state.links.get_mut(&guest) else { return };
            match rmp_serde::to_vec_named(&welcome(state.tick, state.last_saved.as_deref(), &state.objects)) {
                Ok(welcome) => link.tell(PeerBody::Welcome(&welcome)),
                Err(error) => return tracing::error!(%error, "a welcome cannot be encoded"),
            }
            link.in_game = true;
            back
        };
        self.migration.handle_admitted(guest);
        self.do_effects();
        for object in reconnected {
            self.event(Event::ObjectReconnected { object, owner: guest });
        }
    }

    /// What an event means for what players own.
    pub(crate) fn keep_objects(&mut self, event: &Event) {
        if !matches!(self.migration.role(), Part::Host { .. } | Part::Becoming { .. }) {
            return;
        }
        if let Event::PlayerLeft { connection, .. } = *event {
            self.orphan(connection);
        } else if let Event::PlayerDisconnected { connection } = *event {
            let mut state = self.shared.lock();
            let (_, change) = state.objects.enable(connection, false);
            state.tell_changes(change.as_slice());
        }
    }

    fn orphan(&mut self, connection: ConnectionId) {
        let orphans = {
            let mut state = self.shared.lock();
            state.seats.remove(&connection);
            let orphans = state.objects.orphan(connection);
            let changes: Vec<_> = orphans
                .iter()
                .filter_map(|&id| Some(Change::Placed { id, object: state.objects.object(id)?.clone() }))
                .collect();
            state.tell_changes(&changes);
            orphans
        };
        orphans.into_iter().for_each(|object| self.event(Event::AuthorityChanged { object, owner: None }));
    }
}

fn welcome(tick: u64, saved: Option<&Saved>, objects: &ObjectTable) -> Welcome {
    let saved = saved.map(|saved| &saved.state);
    Welcome {
        tick,
        elapsed_us: saved.map_or(0, |saved| micros(saved.elapsed)),
        scene: saved.map(|saved| saved.scene.clone()).unwrap_or_default(),
        objects: objects.clone(),
    }
}

/// Reads a snapshot off the driver's thread: it may be large.
async fn read_snapshot(record: Bytes, build_id: &str) -> Result<Box<Snapshot>, String> {
    let decoded = tokio::task::spawn_blocking(move || Snapshot::decode(&record)).await;
    let snapshot = decoded.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    if snapshot.body.build_id != build_id {
        return Err("the snapshot is of another build".to_owned());
    }
    Ok(Box::new(snapshot))
}
