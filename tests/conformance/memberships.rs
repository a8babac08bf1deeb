//! Where players have seats.

use std::sync::Arc;

use lobby_service::store::{Change, Membership, Store, Written};
use protocol::commit::Version;
use protocol::id::{ConnectionId, LobbyId, RequestKey};
use protocol::limits;
use protocol::lobby::{Actor, Ban, Bulk, Command, Lobby, NewLobby, Newcomer, Reservation, Settings};

use super::{
    HOST, NOW, apply, changed, close, created, creation, join, join_code, leave, lobby_id, newcomer, player, private,
    write,
};

const BY: Actor = Actor::Server;

/// The lobbies, by their numbers, in which a player has a seat, and which.
async fn seats(store: &dyn Store, number: u8) -> Vec<(u8, u32)> {
    let seats = store.memberships(player(number)).await.unwrap();
    seats.iter().map(|seat| (seat.lobby.as_bytes()[0], seat.connection.0)).collect()
}

fn ban(number: u8) -> Command {
    Command::Ban { by: BY, player: player(number), ban: Ban { since: NOW, until: None, reason: String::new() } }
}

fn kick(connection: u32) -> Command {
    Command::Kick { by: BY, connection: ConnectionId(connection) }
}

pub(super) async fn one_by_one(store: Arc<dyn Store>) {
    created(&*store, 3, private()).await;
    let lobby = created(&*store, 1, Settings::default()).await.id();
    assert_eq!(seats(&*store, 1).await, [(1, 0), (3, 0)], "its creator has one");
    assert_eq!(seats(&*store, 2).await, []);
    for number in 2..=5 {
        apply(&*store, lobby, join(number), NOW).await;
    }
    apply(&*store, lobby, leave(2, ConnectionId(1)), NOW).await;
    apply(&*store, lobby, kick(2), NOW).await;
    apply(&*store, lobby, ban(4), NOW).await;
    for (number, expected) in [(2, vec![]), (3, vec![]), (4, vec![]), (5, vec![(1, 4)])] {
        assert_eq!(seats(&*store, number).await, expected, "player {number}");
    }
    apply(&*store, lobby, join(3), NOW).await;
    assert_eq!(seats(&*store, 3).await, [(1, 2)], "it has come back to its seat");
    apply(&*store, lobby, super::disconnect(3, ConnectionId(2)), NOW).await;
    assert_eq!(seats(&*store, 3).await, [(1, 2)], "it is away, its seat is kept");
    let removed = apply(&*store, lobby, Command::Due, NOW.after(limits::REMOVAL_DELAY)).await;
    assert_eq!(removed.seat_of(player(3)), None);
    assert_eq!(seats(&*store, 3).await, []);
    assert_eq!(seats(&*store, 1).await, [(1, 0), (3, 0)], "the others are untouched");
}

/// What several commands make of a lobby, as one change.
fn after_all(lobby: Lobby, version: u64, commands: Vec<Command>) -> Change {
    let mut events = Vec::new();
    let lobby = commands.into_iter().fold(lobby, |lobby, command| {
        let (lobby, some) = lobby.apply(command, NOW).unwrap();
        events.extend(some);
        lobby
    });
    Change { expected: Some(Version(version)), lobby: Arc::new(lobby), events }
}

pub(super) async fn at_once(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await;
    let moves = vec![join(2), join(3), leave(2, ConnectionId(1)), join(4), kick(3), join(2), ban(3), join(4)];
    let change = after_all(lobby, 1, moves);
    assert_eq!(write(&*store, change.clone()).await, Written::Done);
    for (number, expected) in [(1, vec![(1, 0)]), (2, vec![(1, 1)]), (3, vec![]), (4, vec![(1, 3)])] {
        assert_eq!(seats(&*store, number).await, expected, "player {number}");
    }
    // Seats that were there, given up and taken again; and those that somebody else gives.
    let reservation = Reservation { player: player(5), name: String::new(), data: Default::default() };
    let bulk = Bulk { add: vec![reservation], remove: vec![player(4)], ..Bulk::default() };
    let moves = vec![leave(2, ConnectionId(1)), Command::Bulk(bulk), join(2)];
    let change = after_all(Lobby::clone(&change.lobby), 2, moves);
    assert_eq!(write(&*store, change).await, Written::Done);
    for (number, expected) in [(1, vec![(1, 0)]), (2, vec![(1, 1)]), (4, vec![]), (5, vec![(1, 4)])] {
        assert_eq!(seats(&*store, number).await, expected, "player {number}");
    }
}

pub(super) async fn closed(store: Arc<dyn Store>) {
    for number in 1..=4 {
        let lobby = created(&*store, number, Settings::default()).await.id();
        apply(&*store, lobby, join(2), NOW).await;
    }
    apply(&*store, lobby_id(1), Command::Close { by: BY }, NOW).await;
    let (lobby, _) = store.load(lobby_id(2)).await.unwrap().unwrap();
    let moves = vec![join(3), leave(2, ConnectionId(1)), Command::Close { by: BY }];
    assert_eq!(write(&*store, after_all(lobby, 2, moves)).await, Written::Done);
    apply(&*store, lobby_id(3), leave(2, ConnectionId(1)), NOW).await;
    let closed_at = close(&*store, lobby_id(3)).await;
    let new = NewLobby::new(lobby_id(5), join_code(5), "x".into(), Settings::default());
    let creation = creation(new, newcomer(1), NOW);
    let closing =
        Change { expected: None, ..after_all(Lobby::clone(&creation.lobby), 0, vec![Command::Close { by: BY }]) };
    let events = [creation.events, closing.events].concat();
    assert_eq!(write(&*store, Change { events, ..closing }).await, Written::Done, "made and closed at once");
    assert_eq!(seats(&*store, 1).await, [(4, 0)]);
    assert_eq!(seats(&*store, 2).await, [(4, 1)]);
    assert_eq!(seats(&*store, 3).await, []);
    while store.delete_closed(closed_at).await.unwrap() > 0 {}
    assert_eq!(seats(&*store, 2).await, [(4, 1)]);
}

pub(super) async fn host(store: Arc<dyn Store>) {
    let lobby = created(&*store, 1, Settings::default()).await.id();
    apply(&*store, lobby, join(2), NOW).await;
    let hosts = async || {
        let mut hosts = Vec::new();
        for number in [1, 2] {
            let seats = store.memberships(player(number)).await.unwrap();
            hosts.extend(seats.iter().map(|seat| (number, seat.is_host)));
        }
        hosts
    };
    assert_eq!(hosts().await, [(1, true), (2, false)]);
    apply(&*store, lobby, super::disconnect(1, HOST), NOW).await;
    assert_eq!(hosts().await, [(1, true), (2, false)], "nobody else is elected yet");
    apply(&*store, lobby, Command::Due, NOW.after(limits::ELECTION_DELAY)).await;
    assert_eq!(hosts().await, [(1, false), (2, true)]);
    apply(&*store, lobby, leave(2, ConnectionId(1)), NOW.after(limits::ELECTION_DELAY)).await;
    assert_eq!(hosts().await, [(1, false)], "nobody hosts");
}

pub(super) async fn requests(store: Arc<dyn Store>) {
    let with = |number: u8, key: u8| Newcomer { request: Some(RequestKey::from_bytes([key; 16])), ..newcomer(number) };
    let new = NewLobby::new(lobby_id(1), join_code(1), "x".into(), Settings::default());
    assert_eq!(write(&*store, creation(new, with(1, 0xA1), NOW)).await, Written::Done);
    apply(&*store, lobby_id(1), Command::Join(with(2, 0xA2)), NOW).await;
    apply(&*store, lobby_id(1), join(3), NOW).await;
    let request = async |number| {
        let seats = store.memberships(player(number)).await.unwrap();
        seats.first().map(|seat: &Membership| seat.request.map(|key| key.as_bytes()[0]))
    };
    for (number, expected) in [(1, Some(0xA1)), (2, Some(0xA2)), (3, None)] {
        assert_eq!(request(number).await, Some(expected), "player {number}");
    }
    apply(&*store, lobby_id(1), Command::Join(with(2, 0xB2)), NOW).await;
    assert_eq!(request(2).await, Some(Some(0xA2)), "it was a member already");
    apply(&*store, lobby_id(1), leave(2, ConnectionId(1)), NOW).await;
    apply(&*store, lobby_id(1), Command::Join(with(2, 0xC2)), NOW).await;
    assert_eq!(request(2).await, Some(Some(0xC2)));
}

pub(super) async fn batch(store: Arc<dyn Store>) {
    let mut lobbies = Vec::new();
    for number in 1..=3 {
        lobbies.push(created(&*store, number, Settings::default()).await);
    }
    let joined = |index: usize, version: u64| changed(&lobbies[index], Version(version), join(2), NOW);
    let unknown = NewLobby::new(lobby_id(9), join_code(1), "x".into(), Settings::default());
    let batch = [joined(2, 1), joined(1, 7), creation(unknown, newcomer(2), NOW), joined(0, 1)];
    use Written::{Done, Stale, Taken};
    assert_eq!(store.write(&batch).await.unwrap(), [Done, Stale, Taken, Done]);
    assert_eq!(seats(&*store, 2).await, [(1, 1), (3, 1)]);
    let left = |number: u8, version: u64| {
        let (index, connection) = (usize::from(number) - 1, ConnectionId(1));
        let (lobby, _) = lobbies[index].clone().apply(join(2), NOW).unwrap();
        changed(&lobby, Version(version), leave(2, connection), NOW)
    };
    assert_eq!(store.write(&[left(1, 1), left(3, 2)]).await.unwrap(), [Stale, Done]);
    assert_eq!(seats(&*store, 2).await, [(1, 1)]);
    let expected: Vec<LobbyId> = (1..=3).map(lobby_id).collect();
    let told = store.memberships(player(1)).await.unwrap();
    assert_eq!(told.iter().map(|seat| seat.lobby).collect::<Vec<_>>(), expected);
}
