//! What must never be seen, whatever goes wrong. Each check names the promise of DESIGN.md section 10 that it holds to account.

#![expect(clippy::wildcard_enum_match_arm, reason = "each check looks for a few events among many")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use protocol::id::{ConnectionId, HostEpoch, ObjectId, PlayerId};
use protocol::limits;
use protocol::lobby::{HostState, LeaveReason, Lobby, LossCause, ParkReason, Presence, Settings, Viewer};
use protocol::message::{Event, EventBody};
use protocol::migration::{GuestLink, Role};
use protocol::snapshot::{Seat, Snapshot};

use super::instance::COMPARE;
use super::network::Node;
use super::peer::Life;
use super::{Sim, TICK, Violation};

/// A host that has been there for this long must not be replaced: reports of the time before are through by then.
pub(super) const SETTLED: Duration = Duration::from_millis(1500);
/// An election delay (with several instances: beside the way between them, there and back) within which guests can hear of the loss, hear the host again and say so.
const VOUCHED_WITHIN: Duration = Duration::from_secs(1);

/// What has been seen so far.
#[derive(Default)]
pub(super) struct Checker {
    violation: Option<Violation>,
    /// Found while looking at a saved lobby.
    broken: Option<(&'static str, String)>,
    hosts: BTreeMap<HostEpoch, (PlayerId, u32)>,
    seat_of: BTreeMap<PlayerId, ConnectionId>,
    player_of: BTreeMap<ConnectionId, PlayerId>,
    in_game: BTreeSet<(HostEpoch, ConnectionId)>,
    there_since: Option<(ConnectionId, Instant)>,
    /// Of each seat, what acknowledged snapshots held.
    secrets: BTreeMap<ConnectionId, Vec<u8>>,
    heard_since: Option<(ConnectionId, Instant)>,
    elected: BTreeMap<HostEpoch, ConnectionId>,
    /// Time that the service was up while the lobby had no host though somebody could have been it.
    without_host: Duration,
}

impl Checker {
    pub(super) fn report(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    pub(super) fn take_violation(&mut self) -> Option<Violation> {
        self.violation.take()
    }

    /// Another process that hosts at this epoch, if there is one (P1): a restarted one has nothing of the old one's game.
    pub(super) fn hosts_at(&mut self, epoch: HostEpoch, player: PlayerId, process: u32) -> Option<(PlayerId, u32)> {
        let known = *self.hosts.entry(epoch).or_insert((player, process));
        (known != (player, process)).then_some(known)
    }

    /// The seat that a player has or had.
    pub(super) fn seat_of(&self, player: PlayerId) -> Option<ConnectionId> {
        self.seat_of.get(&player).copied()
    }

    /// A snapshot was acknowledged. P13: whatever an acknowledged one held of a seat that is still taken, each later one holds.
    pub(super) fn stored(&mut self, lobby: &Lobby, snapshot: &Snapshot) {
        for member in lobby.view(Viewer::Members).members {
            let seat = member.connection;
            let joined = member.joined_at.0.to_be_bytes();
            let is_of_it = |held: &&Seat| held.connection == seat && held.host_data.starts_with(&joined);
            let held = snapshot.body.seats.iter().find(is_of_it);
            let known = self.secrets.get(&seat).filter(|known| known.starts_with(&joined));
            let object = snapshot.body.objects.object(ObjectId(u64::from(seat.0)));
            let owned = object.is_some_and(|object| object.owner == Some(seat));
            match (held, known) {
                (None, None) => {}
                (Some(held), None) => {
                    self.secrets.insert(seat, held.host_data.clone());
                }
                (Some(held), Some(known)) if held.host_data == *known && owned => {}
                (held, Some(_)) => {
                    let what = format!("seat {seat}: its data {}, its object {owned}", held.is_some());
                    self.broken.get_or_insert(("P13", what));
                }
            }
        }
    }

    /// The seat that a player is known to have, if it is another one.
    pub(super) fn seat_differs(&self, player: PlayerId, seat: ConnectionId) -> Option<ConnectionId> {
        self.seat_of.get(&player).copied().filter(|&known| known != seat)
    }

    pub(super) fn in_game(&mut self, epoch: HostEpoch, guest: ConnectionId) {
        self.in_game.insert((epoch, guest));
    }

    /// A lobby was saved.
    pub(super) fn saved(&mut self, before: Option<&Lobby>, after: &Lobby, events: &[Event]) {
        if let Err(broken) = self.check_saved(before, after, events) {
            self.broken.get_or_insert(broken);
        }
    }

    fn check_saved(
        &mut self,
        before: Option<&Lobby>,
        after: &Lobby,
        events: &[Event],
    ) -> Result<(), (&'static str, String)> {
        let (epoch, seq) = before.map_or((HostEpoch::NONE, 0), |lobby| (lobby.epoch(), lobby.last_event().0));
        if after.epoch() < epoch {
            return Err(("P2", format!("the lobby went from epoch {epoch} to {}", after.epoch())));
        }
        let view = after.view(Viewer::Members);
        if let Some(host) = after.host().host()
            && view.member(host).is_none()
        {
            return Err(("P3", format!("{host} is host and not a member")));
        }
        let numbers = events.iter().map(|event| event.seq.0).collect::<Vec<_>>();
        if numbers != (seq + 1..=seq + events.len() as u64).collect::<Vec<_>>()
            || after.last_event().0 != seq + events.len() as u64
        {
            return Err(("P7", format!("events {numbers:?} were saved after {seq}")));
        }
        for event in events {
            if let EventBody::HostElected { host, .. } = event.body
                && *self.elected.entry(event.epoch).or_insert(host) != host
            {
                return Err(("P1", format!("{host} and another one were elected for epoch {}", event.epoch)));
            }
        }
        for member in &view.members {
            let seat = *self.seat_of.entry(member.player).or_insert(member.connection);
            let player = *self.player_of.entry(member.connection).or_insert(member.player);
            if seat != member.connection || player != member.player {
                return Err((
                    "P6",
                    format!("seat {} of player {:?} went to {:?}", member.connection, player, member.player),
                ));
            }
        }
        before.map_or(Ok(()), |before| check_departures(before, after, events))?;
        before.map_or(Ok(()), |before| check_replacement(before, events))
    }
}

/// P13: who is gone has left, or was away for the removal delay.
fn check_departures(before: &Lobby, after: &Lobby, events: &[Event]) -> Result<(), (&'static str, String)> {
    let (was, is) = (before.view(Viewer::Members), after.view(Viewer::Members));
    let delay = Duration::from_millis(before.settings().removal_delay_ms);
    for member in was.members.iter().filter(|member| is.member(member.connection).is_none()) {
        let left = events.iter().find_map(|event| match event.body {
            EventBody::MemberLeft { connection, reason, .. } if connection == member.connection => {
                Some((event.at, reason))
            }
            _ => None,
        });
        let fair = match (left, member.presence) {
            (Some((_, LeaveReason::Left)), _) => true,
            (Some((at, LeaveReason::Removed)), Presence::Disconnected { since }) => at.since(since) >= delay,
            (Some((_, LeaveReason::Removed)), Presence::Connected { .. })
            | (Some((_, LeaveReason::Kicked | LeaveReason::Banned)) | None, _) => false,
        };
        if !fair {
            return Err(("P13", format!("seat {} was lost: {left:?} {:?}", member.connection, member.presence)));
        }
    }
    Ok(())
}

/// P10: a host that is connected again, with the game in its memory, stays.
fn check_replacement(before: &Lobby, events: &[Event]) -> Result<(), (&'static str, String)> {
    let HostState::Lost { host, cause: LossCause::Disconnected, .. } = *before.host() else { return Ok(()) };
    let elected = events.iter().any(|event| matches!(event.body, EventBody::HostElected { .. }));
    let gone = events.iter().any(|event| match event.body {
        EventBody::MemberDisconnected { connection } | EventBody::MemberLeft { connection, .. } => connection == host,
        EventBody::MemberConnected { connection, restarted, .. } => connection == host && restarted,
        _ => false,
    });
    if elected && !gone && before.is_connected(host) {
        return Err(("P10", format!("host {host} was replaced although it had come back")));
    }
    Ok(())
}

impl Sim {
    /// Looks at the whole system now and then: is the host there, and since when?
    pub(super) fn checker_sample(&mut self) {
        if let Some((promise, what)) = self.checker.broken.take() {
            self.violation(promise, what);
        }
        let now = self.now;
        let since = |host: Option<ConnectionId>, before: Option<(ConnectionId, Instant)>| {
            host.map(|host| before.filter(|(known, _)| *known == host).unwrap_or((host, now)))
        };
        self.checker.there_since = since(self.host_that_is_there(true), self.checker.there_since);
        self.checker.heard_since = since(self.host_that_is_there(false), self.checker.heard_since);
    }

    /// P9: with somebody there who may host, there is a host within the election delay and a ready time-out for each of them.
    pub(super) fn check_waiting(&mut self) {
        let Some((lobby, _)) = self.service.row() else { return };
        let somebody = lobby.ranking().first().is_some();
        let waiting = match lobby.host() {
            HostState::Present { .. } | HostState::Vouched { .. } => false,
            HostState::Lost { .. } | HostState::Elected { .. } => somebody,
            HostState::Parked { reason, .. } => somebody && *reason == ParkReason::NobodyEligible,
        };
        // Who has just come, or was away, has to hear of it first.
        let up = self.service.is_up(self.now) && self.now - self.service.steady_since > SETTLED;
        self.checker.without_host = match (waiting, up) {
            (true, true) => self.checker.without_host + TICK,
            // After an absence every deadline begins anew.
            (true, false) | (false, _) => Duration::ZERO,
        };
        let Settings { election_delay_ms, ready_timeout_ms, .. } = *lobby.settings();
        let candidates = lobby.member_count() as u64;
        let bound = Duration::from_millis(election_delay_ms + ready_timeout_ms * candidates) + SETTLED;
        if self.checker.without_host > bound {
            let (waited, host) = (self.checker.without_host, lobby.host().clone());
            self.violation("P9", format!("no host for {waited:?} though somebody could be it: {host:?}"));
        }
    }

    /// The host, if its process runs, a majority of its guests hears it and can say so, and, if asked for, its socket is open.
    fn host_that_is_there(&self, with_socket: bool) -> Option<ConnectionId> {
        let (lobby, _) = self.service.row()?;
        let epoch = lobby.epoch();
        let index = (0..self.peers.len()).find(|&index| self.peers[index].hosts() == Some(epoch))?;
        let running = matches!(self.peers[index].life, Life::Running);
        if !running || (with_socket && !self.reaches_lobby(index)) {
            return None;
        }
        let host = self.peers[index].seat()?;
        let guests: Vec<_> = lobby
            .connected()
            .map(|(seat, ..)| seat)
            .filter(|&seat| seat != host && self.checker.in_game.contains(&(epoch, seat)))
            .collect();
        let hearing = guests.iter().filter(|&&guest| self.hears(guest, host, epoch)).count();
        // Where what one instance says to the other is lost, a guest that fell silent for a moment may be silent for longer there.
        let may_miss = self.service.instances.len() > 1 && self.faults.bus_loss > 0.0;
        let is_heard = if may_miss { hearing == guests.len() } else { 2 * hearing > guests.len() };
        ((is_heard && !guests.is_empty()) || (guests.is_empty() && with_socket)).then_some(host)
    }

    /// Whether its process has a socket at an instance that serves.
    pub(super) fn reaches_lobby(&self, index: usize) -> bool {
        let peer = &self.peers[index];
        let node = Node::Peer(index, peer.process);
        let Some((instance, _)) = peer.open_socket() else { return false };
        let open = self.network.cut_until(node, Node::Service(instance), self.now).is_none()
            && self.network.cut_until(Node::Service(instance), node, self.now).is_none();
        let socket = peer.seat().is_some_and(|seat| self.service.has_socket(instance, seat, peer.key));
        let stored = !self.service.store_fails(instance, self.now);
        matches!(peer.life, Life::Running) && open && socket && stored
    }

    fn hears(&self, guest: ConnectionId, host: ConnectionId, epoch: HostEpoch) -> bool {
        (0..self.peers.len()).filter(|&index| self.peers[index].seat() == Some(guest)).any(|index| {
            let heard = match self.peers[index].role() {
                Some(&Role::Guest { host: its, epoch: at, link: GuestLink::InGame { heard_at, .. } }) => {
                    its == host && at == epoch && self.now - heard_at < limits::SUSPICION
                }
                _ => false,
            };
            heard && self.reaches_lobby(index)
        })
    }

    /// P10: whoever is replaced was not there, nor heard by those who could say so within the delay.
    pub(super) fn check_host_was_gone(&mut self, host: ConnectionId, epoch: HostEpoch) {
        let up = self.now - self.service.steady_since > SETTLED;
        let delay = Duration::from_millis(self.settings.election_delay_ms);
        let for_longer_than = |seen: Option<(ConnectionId, Instant)>, time: Duration| {
            up && seen.is_some_and(|(there, since)| there == host && self.now - since > time)
        };
        // What one instance missed the other one says again.
        let settled = if self.service.instances.len() > 1 { SETTLED + COMPARE } else { SETTLED };
        let there = for_longer_than(self.checker.there_since, settled);
        // With a short delay there is no time to say so; nor where what one instance says to the other is lost.
        let vouched_within = match self.service.instances.len() {
            1 => Some(VOUCHED_WITHIN),
            _ if self.faults.bus_loss > 0.0 => None,
            _ => Some(VOUCHED_WITHIN + Duration::from_millis(2 * self.faults.bus_late_ms)),
        };
        let heard = vouched_within.is_some_and(|within| delay >= within)
            && for_longer_than(self.checker.heard_since, delay + settled);
        if there || heard {
            self.violation("P10", format!("host {host} of epoch {epoch} was replaced: there {there}, heard {heard}"));
        }
    }

    /// P9, after twenty seconds without faults: everybody plays, with one host.
    pub(super) fn check_end(&mut self) {
        let Some((lobby, _)) = self.service.row() else { return };
        if matches!(lobby.host(), HostState::Parked { reason: ParkReason::TooManyFailedElections, .. }) {
            return;
        }
        let HostState::Present { host, .. } = *lobby.host() else {
            return self.violation("P9", format!("no host after all faults are over: {:?}", lobby.host()));
        };
        for index in 0..self.peers.len() {
            let peer = &self.peers[index];
            let playing = match peer.role() {
                Some(Role::Host { epoch }) => *epoch == lobby.epoch() && peer.seat() == Some(host),
                Some(Role::Guest { host: its, epoch, link: GuestLink::InGame { .. } }) => {
                    *its == host && *epoch == lobby.epoch()
                }
                _ => false,
            };
            if !playing {
                let role = peer.role().cloned();
                return self.violation(
                    "P9",
                    format!("peer {index} does not play: {role:?}, the lobby has {:?}", lobby.host()),
                );
            }
        }
        self.stats.ends_in_one_game += 1;
        self.check_complete();
    }
}
