use protocol::lobby::LossCause;
use protocol::lobby::election::Ranking;

use super::*;

const LOBBY: LobbyId = LobbyId::from_bytes([1; 16]);

fn event(seq: u64, at: u64, epoch: u64, body: EventBody) -> Event {
    Event { seq: EventSeq(seq), at: Timestamp(at), epoch: HostEpoch(epoch), body }
}

fn lost(seq: u64, at: u64) -> Event {
    let (cause, deadline) = (LossCause::Silent, Timestamp(at + 1));
    event(seq, at, 1, EventBody::HostLost { host: ConnectionId(0), cause, deadline })
}

fn elected(seq: u64, at: u64, epoch: u64, host: u32) -> Event {
    let ranking = Ranking { places: Vec::new(), excluded: Vec::new() };
    event(seq, at, epoch, EventBody::HostElected { host: ConnectionId(host), ready_by: Timestamp(at), ranking })
}

fn ready(seq: u64, at: u64, epoch: u64) -> Event {
    event(seq, at, epoch, EventBody::HostReady { host: ConnectionId(2) })
}

/// Lost at 1000, one failed at 3000, the next is ready at 3500; in between the loss is said again.
fn story() -> Vec<Event> {
    let failed = EventBody::ElectionFailed { host: ConnectionId(1) };
    let away = EventBody::MemberDisconnected { connection: ConnectionId(0) };
    vec![
        event(4, 1000, 1, away),
        lost(5, 1000),
        lost(6, 1500),
        elected(7, 2000, 2, 1),
        event(8, 3000, 2, failed),
        elected(9, 3000, 3, 2),
        ready(10, 3500, 3),
    ]
}

#[test]
fn a_migration_is_what_lies_between_the_loss_and_a_host_that_is_ready() {
    let migration = last(LOBBY, &story()).unwrap();
    assert_eq!((migration.cause.as_str(), migration.outcome), ("silent", Outcome::Ready));
    assert_eq!((migration.lost_at, migration.ended_at), (Timestamp(1000), Timestamp(3500)));
    assert_eq!((migration.from, migration.elections.len()), (HostEpoch(1), 2));
    assert_eq!(migration.elections[0].failed_at, Some(Timestamp(3000)));
}

#[test]
fn an_earlier_migration_is_not_part_of_the_next_and_what_began_earlier_is_not_told() {
    let mut events = story();
    let back = |seq| event(seq, 9000, 3, EventBody::HostReturned { host: ConnectionId(2) });
    events.extend([lost(11, 8000), back(12)]);
    let migration = last(LOBBY, &events).unwrap();
    assert_eq!((migration.outcome, migration.lost_at), (Outcome::Returned, Timestamp(8000)));
    assert!(migration.elections.is_empty());
    assert_eq!(last(LOBBY, &[back(12)]), None);
    assert_eq!(last(LOBBY, &events[..6]), None, "it has not ended");
    assert_eq!(last(LOBBY, &[]), None);
    let resumed = last(LOBBY, &[elected(7, 2000, 2, 1), ready(8, 2100, 2)]).unwrap();
    assert_eq!((resumed.cause.as_str(), resumed.from), (RESUMED, HostEpoch(1)));
}
