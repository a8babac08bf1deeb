//! A host's part: restore the game, let guests in, keep what they own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::frame::{Hello, PeerBody, Welcome};
use protocol::id::{ConnectionId, HostEpoch, PeerKey};
use protocol::journal::{Class, HostStreams, Missing, Offer, Position};
use protocol::limits;
use protocol::lobby::Presence;
use protocol::message::MemberView;
use protocol::migration::{ReadyAnswer, Role as Part};
use protocol::objects::{Change, ObjectTable};
use protocol::snapshot::{Body, Snapshot};
use serde_bytes::ByteBuf;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::driver::{Arrived, Driver, Input, new_feed};
use crate::error::Error;
use crate::event::{Delivery, Event, Message};
use crate::link::{GUEST_FRAME_BYTES_MAX, LinkHandle, LinkId, Opening, Running, queues};
use crate::outbox::Up;
use crate::request::{AcceptPlayer, Request, RestoreState, Restored, Saved, SavedState};
use crate::saving::micros;
use crate::state::State;
use crate::transport::link::{Link, LinkStream};
use crate::transport::relay::RelayCommand;

/// A guest that knows a newer epoch than this peer waits for the lobby to tell this peer too.
const EARLY_GUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Guests that wait so.
const EARLY_GUESTS_MAX: usize = limits::MEMBERS_MAX as usize;
/// A grant that could not be had is asked for again after this long.
const GRANT_RETRY: Duration = Duration::from_millis(250);

// Becoming host.
impl Driver {
    /// Restores seats and objects, then asks the game to restore the rest.
    pub(crate) fn restore(&mut self, epoch: HostEpoch) {
        let found = self.found.take();
        self.went_on_from_durable = found.as_ref().is_some_and(|found| found.is_durable);
        let snapshot = found.map(|found| Box::new(self.restore_table(*found.snapshot, epoch)));
        if snapshot.is_none() {
            self.shared.lock().start_anew(epoch);
        }
        let (reply, answer) = oneshot::channel();
        self.request(Request::RestoreState(RestoreState { snapshot, reply }));
        self.spawn(async move {
            let result = answer.await.unwrap_or_else(|_| Err("the request was dropped".to_owned()));
            Input::Restored { epoch, result }
        });
    }

    fn restore_table(&mut self, snapshot: Snapshot, epoch: HostEpoch) -> Restored {
        let Snapshot { generation, tick, elapsed_us, body } = snapshot;
        let Body { scene, seats, mut objects, ledger, state, changes, .. } = body;
        let elapsed = Duration::from_micros(elapsed_us);
        let lobby = self.migration.lobby();
        let gone: BTreeSet<_> = objects
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
            shared.streams = HostStreams::restore(ledger, epoch);
            for gone in seats.iter().filter(|seat| lobby.member(seat.connection).is_none()) {
                shared.streams.forget(gone.connection);
            }
            let saved = SavedState { tick, elapsed, scene: scene.clone(), state: state.clone() };
            let saved = Saved { changes: changes.clone(), ..shared.with_tables(saved) };
            shared.last_saved = Some(Arc::new(saved));
        }
        orphans.into_iter().for_each(|object| self.event(Event::AuthorityChanged { object, owner: None }));
        let changes = changes.into_iter().map(ByteBuf::into_vec).collect();
        Restored { generation, tick, elapsed, scene, seats, objects, state, changes }
    }

    /// The game runs: what this peer had still to say to its host, and to hear from it, is the game's now.
    pub(crate) fn restored(&mut self, epoch: HostEpoch, now: Instant) {
        self.timeline.restored(now);
        self.migration.handle_restored(epoch);
        if *self.migration.role() != (Part::Host { epoch }) {
            return;
        }
        self.show_role();
        let me = self.migration.me();
        let (own, stream) = {
            let mut state = self.shared.lock();
            let state = &mut *state;
            state.away = self.expected_guests(&state.streams);
            if self.went_on_from_durable {
                let ledger = state.streams.ledger();
                state.streams.handle_durable(&ledger);
            }
            (state.streams.take_own(me, &mut state.own), state.own.offer().stream)
        };
        self.do_effects();
        self.timeline.said_again = own.inputs.len() as u64;
        self.resumed(me, &own.resumed);
        for (class, payload) in own.told {
            let delivery = match class {
                Class::Reliable => Delivery::Reliable,
                Class::AfterStable => Delivery::AfterStable,
            };
            self.own_message(Message { from: me, delivery, payload }, None);
        }
        for (number, payload) in own.inputs {
            let message = Message { from: me, delivery: Delivery::Reliable, payload };
            self.own_message(message, Some(Up { epoch, from: me, stream, number }));
        }
        if let Some(trace) = self.timeline.finish(me, epoch, now) {
            self.event(Event::Migrated(Box::new(trace)));
        }
    }

    /// This peer hosts from now on.
    pub(crate) fn runs_the_game(&mut self, epoch: HostEpoch) {
        self.feed = new_feed();
        self.snapshots.start(epoch);
        self.held.forget();
        self.shared.lock().has_played = true;
    }

    /// Guests of the game that are there for the lobby, and will come: what is said meanwhile is kept for them.
    fn expected_guests(&self, streams: &HostStreams) -> BTreeSet<ConnectionId> {
        let me = self.migration.me();
        let members = self.migration.lobby().members.iter();
        let there = members.filter(|member| matches!(member.presence, Presence::Connected { .. }));
        there.map(|member| member.connection).filter(|&guest| guest != me && streams.knows(guest)).collect()
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
        if self.is_second_link(&arrived) {
            return self.take_second_link(*arrived, now);
        }
        let Arrived { peer, peer_key, epoch, hello, link, stream } = *arrived;
        let standby = hello.standby;
        if self.is_host_or_elected(epoch) && self.shared.lock().links.contains_key(&peer) {
            // A guest that dials anew has lost its old link, whether this side has noticed or not.
            self.hang_up_guest(peer);
            self.lost_link(peer, now);
        }
        let is_taken = if standby { self.takes_standby(peer) } else { self.migration.handle_hello(peer, epoch, now) };
        if !is_taken {
            tracing::debug!(%peer, %epoch, standby, "a guest was sent away: not host of its epoch");
            return link.close();
        }
        let mut handle = self.run_arrived(peer, peer_key, epoch, link, stream, now);
        handle.standby = standby;
        (handle.extra, handle.offer) = (hello.extra, Some(hello.offer));
        let replaced = self.shared.lock().links.insert(peer, handle);
        drop(replaced);
        if !standby {
            self.holds(peer, hello.holds, now);
        }
    }

    /// A link that a peer has opened, from here on in a task of its own.
    pub(crate) fn run_arrived(
        &mut self,
        peer: ConnectionId,
        peer_key: PeerKey,
        epoch: HostEpoch,
        link: Link,
        stream: LinkStream,
        now: Instant,
    ) -> LinkHandle {
        let (id, (ends, task_ends)) = (self.next_link(), queues());
        let running = Running {
            peer,
            id,
            link: link.clone(),
            stream,
            ends: task_ends,
            unread: self.unread.of(peer),
            frame_bytes_max: GUEST_FRAME_BYTES_MAX,
            inputs: self.inputs.clone(),
        };
        let task = self.tasks.spawn(running.run());
        let opening = Opening { id, epoch, relayed: false, standby: false, peer_key, ends };
        LinkHandle::new(opening, Some(link), task, now)
    }

    /// A member opens a link for later. It may not take the place of the one to this peer's own host.
    fn takes_standby(&self, peer: ConnectionId) -> bool {
        self.migration.takes_standby(peer) && self.shared.lock().links.get(&peer).is_none_or(|link| link.standby)
    }

    /// A member whose link was for later comes in now, or comes in anew on the link that it has.
    pub(crate) fn said_hello_again(
        &mut self,
        peer: ConnectionId,
        id: LinkId,
        epoch: HostEpoch,
        hello: &[u8],
        now: Instant,
    ) {
        let Ok(hello) = rmp_serde::from_slice::<Hello>(hello) else { return self.fail(peer, "a hello that is none") };
        if hello.extra.len() > limits::EXTRA_BYTES_MAX {
            return self.fail(peer, "a hello that is too large");
        }
        if self.says_that_it_moves(peer, epoch, &hello) {
            return self.go_on_with_guest(peer, id, &hello, now);
        }
        if epoch > self.migration.epoch() {
            self.early_hellos.retain(|(earlier, _)| earlier.peer != peer);
            if self.early_hellos.len() >= EARLY_GUESTS_MAX {
                return self.fail(peer, "one early hello too many");
            }
            self.early_hellos.push((EarlyHello { peer, id, epoch, hello }, now + EARLY_GUEST_TIMEOUT));
            return;
        }
        self.comes_in(EarlyHello { peer, id, epoch, hello }, now);
    }

    fn comes_in(&mut self, early: EarlyHello, now: Instant) {
        let EarlyHello { peer, id, epoch, hello } = early;
        if self.tells_of_leaving() || !self.migration.handle_hello(peer, epoch, now) {
            tracing::debug!(%peer, %epoch, "a guest was not taken: not host of its epoch");
            return self.fail(peer, "a hello to one that is not its host");
        }
        if let Some(link) = self.shared.lock().links.get_mut(&peer).filter(|link| link.id == id) {
            (link.standby, link.in_game, link.epoch) = (false, false, epoch);
            (link.extra, link.offer) = (hello.extra, Some(hello.offer));
        }
        self.holds(peer, hello.holds, now);
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
        for (early, until) in std::mem::take(&mut self.early_hellos) {
            let is_there = self.shared.lock().links.get(&early.peer).is_some_and(|link| link.id == early.id);
            if early.epoch <= epoch && is_there {
                self.comes_in(early, now);
            } else if is_there && until > now {
                self.early_hellos.push((early, until));
            } else if is_there {
                // It waits for a welcome on this link, and dials anew once it is down.
                self.fail(early.peer, "a hello of an epoch that did not come");
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
            let is_silent = |guest: &ConnectionId| {
                let link = state.links.get(guest);
                link.is_some_and(|link| link.is_silent(now) && link.spare.iter().all(|spare| spare.is_silent(now)))
            };
            let lost = self.migration.lobby().members.iter().filter(lost);
            lost.map(|member| member.connection).filter(is_silent).collect()
        };
        for guest in silent {
            tracing::debug!(%guest, "neither the lobby nor this host hears a guest: its link is closed");
            self.hang_up_guest(guest);
            self.lost_link(guest, now);
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
        let inputs_lost;
        let reconnected = {
            let mut state = self.shared.lock();
            let state = &mut *state;
            let epoch = state.epoch;
            let Some(link) = state.links.get_mut(&guest).filter(|link| link.id == id && link.epoch == epoch) else {
                return;
            };
            if let Err(reason) = result {
                let reason = rmp_serde::to_vec(&reason).unwrap_or_default();
                link.tell(PeerBody::Refused(&reason));
                link.finish();
                self.migration.handle_link_down(guest, now);
                return;
            }
            let Some(offer) = link.offer.take() else { return };
            let (back, change) = state.objects.enable(guest, true);
            state.tell_changes(change.as_slice());
            inputs_lost = match state.welcome(guest, &offer) {
                Some(lost) => lost,
                None => return,
            };
            back
        };
        self.migration.handle_admitted(guest);
        if let Some(numbers) = inputs_lost {
            self.event(Event::InputsLost { who: guest, numbers });
        }
        self.feed_successor(now);
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
            let mut state = self.shared.lock();
            state.streams.forget(connection);
            state.away.remove(&connection);
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

impl State {
    /// Welcomes a guest on its primary link, and says what it has not heard. Returns what it said and this host will never hear; `None`:
    /// it has no link.
    pub(crate) fn welcome(&mut self, guest: ConnectionId, offer: &Offer) -> Option<Option<Missing>> {
        let answer = self.streams.handle_hello(guest, offer);
        let link = self.links.get_mut(&guest)?;
        let welcome = welcome(self.tick, self.last_saved.as_deref(), &self.objects, answer.position);
        let welcome = rmp_serde::to_vec_named(&welcome);
        let welcome = welcome.inspect_err(|error| tracing::error!(%error, "a welcome cannot be encoded")).ok()?;
        link.tell(PeerBody::Welcome(&welcome));
        for (class, number, payload) in self.streams.to_say(guest) {
            link.say(class, number, payload);
        }
        link.in_game = true;
        self.away.remove(&guest);
        Some(answer.inputs_lost)
    }
}

/// A hello on a link that was there.
#[derive(Debug)]
pub(crate) struct EarlyHello {
    peer: ConnectionId,
    id: LinkId,
    epoch: HostEpoch,
    hello: Hello,
}

fn welcome(tick: u64, saved: Option<&Saved>, objects: &ObjectTable, position: Position) -> Welcome {
    let saved = saved.map(|saved| &saved.state);
    Welcome {
        tick,
        elapsed_us: saved.map_or(0, |saved| micros(saved.elapsed)),
        scene: saved.map(|saved| saved.scene.clone()).unwrap_or_default(),
        objects: objects.clone(),
        position,
    }
}
