//! What the lobby's news, and the passing of time, mean beside the part that this peer plays.

use std::time::{Duration, Instant};

use protocol::frame::PeerBody;
use protocol::id::ConnectionId;
use protocol::lobby::LossCause;
use protocol::message::{Event as LobbyEvent, EventBody};
use protocol::migration::Role as Part;

use crate::driver::{Driver, new_feed};
use crate::event::Event;
use crate::link::LinkId;
use crate::paths::Place;
use crate::report::{self, Known, Migratability};
use crate::transport::link::Link;

impl Driver {
    /// Notes when this peer learnt what, before it acts on it.
    pub(crate) fn note_event(&mut self, event: &LobbyEvent, now: Instant) {
        if event.seq <= self.migration.lobby().seq {
            return;
        }
        if let EventBody::HostLost { host, cause, .. } = event.body {
            if let Part::Host { .. } = self.migration.role() {
                self.timeline.heard(host, now);
            }
            self.timeline.noticed(now);
            self.loss = Some(cause);
        } else if let EventBody::HostElected { .. } = event.body {
            self.planned = self.loss.take() == Some(LossCause::Replaced);
            self.timeline.elected(self.planned, now);
        }
    }

    /// What a changed lobby means to a host.
    pub(crate) fn follow_lobby(&mut self, now: Instant) {
        self.do_effects();
        if matches!(self.migration.role(), Part::Host { .. }) {
            self.forget_the_absent();
            self.feed_successor(now);
            self.heed_lobbys_wish(now);
            self.act_on_hand_over(now);
            return;
        }
        self.feed = new_feed();
        if self.hand_over.under_way().is_some() {
            self.end_hand_over();
            self.show_role();
        }
    }

    /// For those that the lobby has lost nothing is kept: they get the game anew when they are back.
    fn forget_the_absent(&self) {
        let lobby = self.migration.lobby();
        let is_there = |guest: &ConnectionId| {
            lobby.member(*guest).is_some_and(|m| matches!(m.presence, protocol::lobby::Presence::Connected { .. }))
        };
        self.shared.lock().away.retain(is_there);
    }

    pub(crate) fn link_up(&mut self, peer: ConnectionId, id: LinkId, link: Link) {
        let now = Instant::now();
        let place = match self.shared.lock().link_mut(peer, id) {
            Some((handle, place)) => {
                handle.opened(link, now);
                place
            }
            None => return,
        };
        if place == Place::Spare {
            return self.second_up(peer, now);
        }
        let standby = place == Place::Standby;
        // As it stands now: meanwhile more may have been heard of the host before.
        if let Some(hello) = self.hello(standby, false) {
            self.tell(peer, PeerBody::Hello(&hello));
        }
        if standby {
            self.migration.handle_standby_up(peer);
        }
    }

    /// A host tells its game how well it would survive, and chooses how its state is kept.
    pub(crate) fn report(&mut self, now: Instant) {
        if !matches!(self.migration.role(), Part::Host { .. }) {
            return;
        }
        if let Some((strategy, reason)) =
            self.chooser.choose(protocol::limits::HEARTBEAT, protocol::limits::FEED_BYTES_PER_SECOND)
        {
            self.event(Event::StrategyChosen { strategy, reason });
        }
        if self.report_at > now {
            return;
        }
        self.report_at = now + report::INTERVAL;
        let report = self.migratability(now);
        self.event(Event::Migratability(report));
    }

    fn migratability(&self, now: Instant) -> Migratability {
        let lobby = self.migration.lobby();
        let lag = self.feed.lag(now).filter(|_| self.feed.successor() == lobby.successor);
        let durable_age = self.snapshots.durable_given_at.map(|at| now.saturating_duration_since(at));
        let round_trip = lobby
            .successor
            .and_then(|successor| self.shared.lock().links.get(&successor).and_then(|link| link.round_trip()));
        let known = Known {
            election_delay: Duration::from_millis(lobby.settings.election_delay_ms),
            round_trip: round_trip.unwrap_or_default(),
            is_warm: lag.is_some(),
        };
        Migratability {
            successor: lobby.successor,
            is_warm: lag.is_some(),
            lag_ticks: lag.map_or(0, |lag| lag.ticks),
            lag: lag.map_or_else(Default::default, |lag| lag.time),
            durable_age,
            predicted_loss: lag.map(|lag| lag.time).or(durable_age),
            predicted_pause: lobby.successor.map(|_| report::predicted_pause(known)),
            strategy: self.chooser.strategy(),
        }
    }
}
