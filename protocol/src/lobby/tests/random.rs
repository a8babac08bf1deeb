//! Whatever is asked of a lobby, in whatever order, its promises hold.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use fastrand::Rng;

const PLAYERS: u8 = 6;

/// What has been seen of a lobby so far.
struct History {
    lobby: Lobby,
    view: LobbyView,
    now: Timestamp,
    seats: BTreeMap<ConnectionId, PlayerId>,
    kinds: BTreeSet<String>,
}

#[test]
fn promises_hold_after_every_step_of_any_history() {
    let mut kinds = BTreeSet::new();
    for seed in 0..2_000 {
        let mut rng = Rng::with_seed(seed);
        let mut history = History::new(&mut rng);
        for _ in 0..60 {
            history.step(&mut rng);
        }
        kinds.append(&mut history.kinds);
    }
    assert_eq!(kinds.len(), 16, "these histories show every kind of event: {kinds:?}");
}

impl History {
    fn new(rng: &mut Rng) -> Self {
        let mut lobby = lobby();
        lobby.settings.election_delay_ms = rng.choice([0, 1, 1_000]).unwrap();
        lobby.settings.removal_delay_ms = rng.choice([1_001, 60_000]).unwrap();
        lobby.settings.max_members = rng.u32(2..=6);
        let view = lobby.view(Viewer::Server);
        Self { lobby, view, now: NOW, seats: BTreeMap::new(), kinds: BTreeSet::new() }
    }

    fn step(&mut self, rng: &mut Rng) {
        self.now = Timestamp(self.now.0 + time_step(rng));
        let command = self.command(rng);
        let stale = command.epoch().is_some_and(|epoch| epoch != self.lobby.epoch);
        let told = format!("{command:?} at {:?}", self.now);
        let Ok((lobby, events)) = self.lobby.clone().apply(command, self.now) else { return };
        assert!(!stale, "P4: {told}");
        self.check_events(&events);
        assert_eq!(lobby.last_event, self.view.seq, "P7: each event has the next number: {told}");
        self.lobby = lobby;
        self.check_lobby();
        self.check_view();
    }

    /// P2 and P7.
    fn check_events(&mut self, events: &[Event]) {
        for event in events {
            let elected = matches!(event.body, EventBody::HostElected { .. });
            assert_eq!(event.epoch.0, self.view.epoch.0 + u64::from(elected), "P2: only an election moves the epoch");
            assert!(self.view.apply(event), "P7: {event:?} after {:?}", self.view.seq);
            let json = serde_json::to_value(event).unwrap();
            self.kinds.extend(json["kind"].as_str().map(String::from));
            if let EventBody::MemberJoined { member } = &event.body {
                let owner = *self.seats.entry(member.connection).or_insert(member.player);
                assert_eq!(owner, member.player, "P6: a seat of another");
                let seats = self.seats.values().filter(|&&player| player == member.player).count();
                assert_eq!(seats, 1, "P6: a second seat");
            }
        }
    }

    fn check_lobby(&self) {
        let lobby = &self.lobby;
        assert!(lobby.host.host().is_none_or(|host| lobby.members.contains_key(&host)), "P3: {:?}", lobby.host);
        assert!(lobby.members.len() <= lobby.settings.max_members as usize);
        assert!(lobby.due_at().is_none_or(|due| due > self.now), "what is due by now has been done");
        if let Some(due) = lobby.due_at() {
            let after = lobby.clone().apply(Command::Due, due).unwrap().0;
            assert_ne!(after, *lobby, "a deadline has its effect");
            assert!(after.due_at().is_none_or(|next| next > due), "a deadline is past once it was served");
        }
        let json = serde_json::to_string(lobby).unwrap();
        assert_eq!(serde_json::from_str::<Lobby>(&json).unwrap(), *lobby);
    }

    /// A peer that has followed the events knows what one that asks now is told.
    fn check_view(&self) {
        let told = self.lobby.view(Viewer::Server);
        let summary = |view: &LobbyView| {
            let members: Vec<_> =
                view.members.iter().map(|member| (member.connection, member.peer_key, member.presence)).collect();
            (
                view.epoch,
                members,
                view.host.host(),
                view.successor,
                view.hand_over.map(|asked| asked.to),
                view.seq,
                view.closed,
            )
        };
        assert_eq!(summary(&self.view), summary(&told));
    }

    fn command(&self, rng: &mut Rng) -> Command {
        let player = rng.u8(..PLAYERS);
        let id = newcomer(player).player;
        let peer_key = PeerKey::from_bytes([player + if rng.u8(..4) == 0 { 100 } else { 0 }; 32]);
        // Mostly its own seat, sometimes somebody else's or nobody's.
        let own = self.lobby.seat_of(id).filter(|_| rng.u8(..10) > 0);
        let connection = own.unwrap_or(ConnectionId(rng.u32(..8)));
        let epoch = match rng.u8(..10) {
            0 => HostEpoch(self.lobby.epoch.0.saturating_sub(1)),
            1 => self.lobby.epoch.next(),
            _ => self.lobby.epoch,
        };
        match rng.u8(..17) {
            0..3 => {
                let build_id = if rng.u8(..10) == 0 { "2" } else { "1" }.into();
                Command::Join(Newcomer { peer_key, build_id, can_host: rng.u8(..5) > 0, ..newcomer(player) })
            }
            3..6 => Command::Connect { connection, player: id, peer_key, holder: HOLDER },
            6..9 => Command::Disconnect { connection, peer_key, holder: HOLDER },
            9 => Command::Leave { connection, player: id },
            10..12 => Command::Ready { connection: self.lobby.host.host().unwrap_or(connection), epoch },
            12 => Command::Ready { connection, epoch },
            13 => Command::HostSilent { epoch },
            14 => Command::HostHeard { epoch },
            15 => Command::AskHandOver { by: Actor::Server, to: own },
            _ => Command::Due,
        }
    }
}

fn time_step(rng: &mut Rng) -> u64 {
    match rng.u8(..20) {
        0..6 => 0,
        6..14 => rng.u64(..1_500),
        14..18 => rng.u64(..6_000),
        18 => rng.u64(..70_000),
        _ => rng.u64(..700_000),
    }
}
