//! Members who listen and never read. They ping, so that their leases live; one that is closed comes back.

use std::net::SocketAddr;
use std::time::Duration;

use protocol::id::{JoinCode, LobbyId};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpSocket;
use tokio::task::spawn_local;
use tokio::time::{interval, sleep};

use super::{Held, Notes};
use crate::Failure;
use crate::http::Client;
use crate::player::Player;
use crate::scale::Scale;
use crate::{seat, socket};

/// Bytes that the attacker's own system takes.
const RECEIVE_BUFFER_BYTES: u32 = 4096;
/// An empty ping, as a client sends it.
const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
/// Time between two pings: three of them keep a lease.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Time before one comes back that was not let in.
const RETRY: Duration = Duration::from_millis(200);

/// Fills the lobbies, and has players come and go in them, so that there is something to hear.
pub(super) async fn begin(server: SocketAddr, scale: &Scale, players: &[Player], notes: &Notes) -> Result<(), Failure> {
    let mut client = Client::connect(server).await?;
    let (visitors, deaf) = players.split_at(scale.deaf_lobbies);
    for (visitor, members) in visitors.iter().zip(deaf.chunks(scale.deaf / scale.deaf_lobbies)) {
        let mut lobby = None;
        for member in members {
            let seat = match lobby {
                None => seat::create(&mut client, member).await?,
                Some((_, code)) => seat::join(&mut client, member, code, false).await?,
            };
            let (id, _) = *lobby.insert((seat.lobby.id, seat.lobby.join_code));
            spawn_local(go_on(server, member.clone(), id, Notes::clone(notes)));
        }
        let (id, code) = lobby.ok_or("a lobby has members")?;
        spawn_local(come_and_go(server, visitor.clone(), id, code, 1.0 / f64::from(scale.deaf_events_a_second)));
    }
    Ok(())
}

async fn go_on(server: SocketAddr, player: Player, lobby: LobbyId, notes: Notes) {
    loop {
        if listen(server, &player, lobby, &notes).await.is_err() {
            sleep(RETRY).await;
        }
    }
}

/// Returns when the service closes the socket, or opens none.
async fn listen(server: SocketAddr, player: &Player, lobby: LobbyId, notes: &Notes) -> Result<(), Failure> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    let mut stream = socket::open_on(socket.connect(server).await?, server, player, lobby).await?.into_inner();
    let (held, mut ping) = (Held::new(notes), interval(PING_INTERVAL));
    loop {
        tokio::select! {
            _ = stream.ready(Interest::ERROR) => break,
            _ = ping.tick() => if stream.write_all(&PING).await.is_err() { break },
        }
    }
    held.cut();
    Ok(())
}

/// A player who makes the events.
async fn come_and_go(server: SocketAddr, player: Player, lobby: LobbyId, code: JoinCode, pause_s: f64) {
    let mut turns = interval(Duration::from_secs_f64(pause_s));
    let Ok(mut client) = Client::connect(server).await else { return };
    loop {
        turns.tick().await;
        let joined = seat::join(&mut client, &player, code, false).await.is_ok();
        turns.tick().await;
        if !joined || seat::leave(&mut client, &player, lobby).await.is_err() {
            return;
        }
    }
}
