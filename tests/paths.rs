//! Links move between paths, and the game does not notice: real sessions in one process, a real service with its relay, and WebRTC
//! over sockets that can be cut.

use peer_client::protocol::id::ConnectionId;
use peer_client::{Event, LinkPath, Path, Role};
use tests::player::{Player, Seen, Setup};
use tests::service::TestService;

/// Things that each player does before something happens to a path, and after.
const THINGS: u64 = 200;
const STRAIGHT: LinkPath = LinkPath::WebRtc { turned: false };

fn by(path: Path, name: &'static str) -> Setup {
    Setup { path, ..Setup::new(name) }
}

/// A host and two guests in its game.
async fn three(service: &TestService, path: Path) -> [Player; 3] {
    let host = Player::host(service, by(path, "Ada")).await;
    let ben = host.join(service, by(path, "Ben")).await;
    let eve = host.join(service, by(path, "Eve")).await;
    host.until("both guests", |seen| seen.in_game.len() == 2).await;
    [host, ben, eve]
}

/// The paths by which a player was told to reach another, the newest last.
fn moves(seen: &Seen, peer: ConnectionId) -> Vec<LinkPath> {
    let to = |event: &Event| {
        let Event::PathChanged { peer: of, path, .. } = event else { return None };
        (*of == peer).then_some(*path)
    };
    seen.events.iter().filter_map(to).collect()
}

async fn moved(player: &Player, host: &Player, paths: &[LinkPath]) {
    let peer = host.me;
    player.until(&format!("the paths {paths:?}"), |seen| moves(seen, peer) == paths).await;
}

/// Each of the players has done so many things, once each and in order, and heard the answers.
async fn once_each(host: &Player, players: &[&Player], things: u64) {
    for player in players {
        let all_done = |seen: &Seen| seen.world.done.get(&player.me.0).is_some_and(|done| done.count >= things);
        let world = host.until("all that was done", all_done).await.world;
        assert!(world.has_all_of(player.me, things), "{}: {world:?}", player.me);
        let answers = world.done[&player.me.0].answers;
        player.until("all answers", |seen| seen.heard_all(answers)).await;
    }
}

/// Nothing but paths changed since they were in the game.
fn nobody_noticed(players: &[&Player]) {
    for player in players {
        let seen = player.now();
        let noticed = |event: &&Event| {
            matches!(
                event,
                Event::HostLost { .. }
                    | Event::HostElected { .. }
                    | Event::DisconnectedFromHost { .. }
                    | Event::PlayerDisconnected { .. }
                    | Event::PlayerReconnected { .. }
                    | Event::InputsLost { .. }
                    | Event::TakenBack { .. }
                    | Event::NeverHeard { .. }
            )
        };
        assert_eq!(seen.events.iter().find(noticed), None, "{}", player.me);
        assert_eq!(seen.epoch, 1);
    }
}

#[tokio::test]
async fn a_link_starts_on_the_relay_and_moves_to_the_straight_way_and_no_message_is_lost() {
    let service = TestService::in_memory().await;
    let [host, ben, eve] = three(&service, Path::Auto).await;
    [&ben, &eve].into_iter().for_each(|guest| guest.does(THINGS));
    for guest in [&ben, &eve] {
        moved(guest, &host, &[STRAIGHT]).await;
        host.until("that it moved too", |seen| moves(seen, guest.me) == [STRAIGHT]).await;
    }
    [&ben, &eve].into_iter().for_each(|guest| guest.does(THINGS));
    once_each(&host, &[&ben, &eve], 2 * THINGS).await;
    nobody_noticed(&[&host, &ben, &eve]);
    service.stop().await;
}

#[tokio::test]
async fn when_the_straight_way_is_cut_the_game_goes_on_through_the_relay_and_back_when_it_is_mended() {
    let service = TestService::in_memory().await;
    let [host, ben, eve] = three(&service, Path::Auto).await;
    moved(&ben, &host, &[STRAIGHT]).await;
    moved(&eve, &host, &[STRAIGHT]).await;
    let mut things = 0;
    let mut paths = vec![STRAIGHT];
    for is_cut in [true, false, true] {
        // In the middle of the game.
        things += THINGS;
        ben.does(THINGS);
        ben.network().cut_straight_ways(is_cut);
        ben.does(THINGS);
        things += THINGS;
        paths.push(if is_cut { LinkPath::Relay } else { STRAIGHT });
        moved(&ben, &host, &paths).await;
        once_each(&host, &[&ben], things).await;
    }
    assert_eq!(moves(&eve.now(), host.me), [STRAIGHT], "each pair chooses for itself");
    nobody_noticed(&[&host, &ben, &eve]);
    service.stop().await;
}

#[tokio::test]
async fn a_game_over_webrtc_alone_survives_its_host() {
    let service = TestService::in_memory().await;
    let players = three(&service, Path::WebRtc).await;
    players[0].until("a warm successor", |seen| seen.is_warm).await;
    let [host, ben, eve] = players;
    [&ben, &eve].into_iter().for_each(|guest| guest.does(THINGS));
    host.until("half of it", |seen| seen.world.done.values().any(|done| done.count >= THINGS / 2)).await;
    host.crashes();
    [&ben, &eve].into_iter().for_each(|guest| guest.does(THINGS));
    for player in [&ben, &eve] {
        player.until("another host", |seen| seen.epoch == 2 && seen.plays()).await;
    }
    let (host, guest) = if ben.now().role == Some(Role::Host) { (ben, eve) } else { (eve, ben) };
    once_each(&host, &[&host, &guest], 2 * THINGS).await;
    service.stop().await;
}

#[tokio::test]
async fn whoever_wants_the_relay_alone_plays_with_those_who_do_not() {
    let service = TestService::in_memory().await;
    let host = Player::host(&service, by(Path::Relay, "Ada")).await;
    let ben = host.join(&service, by(Path::Auto, "Ben")).await;
    let eve = host.join(&service, by(Path::Relay, "Eve")).await;
    [&ben, &eve].into_iter().for_each(|guest| guest.does(THINGS));
    once_each(&host, &[&ben, &eve], THINGS).await;
    assert!(moves(&eve.now(), host.me).is_empty());
    nobody_noticed(&[&host, &ben, &eve]);
    service.stop().await;
}
