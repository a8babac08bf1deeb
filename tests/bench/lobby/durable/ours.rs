//! Our way: hosts of many lobbies that the store guards, each of which saves a delta as soon as its last one is on disk.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::try_join_all;
use lobby_service::auth::Auth;
use lobby_service::limits::Limits;
use lobby_service::service::Service;
use lobby_service::store::memory::MemoryStore;
use lobby_service::store::postgres::{Options, PostgresStore};
use lobby_service::store::sqlite::SqliteStore;
use lobby_service::store::{Change, NewDelta, NewSnapshot, Store};
use protocol::id::{ConnectionId, InstanceId, JoinCode, LobbyId, PeerKey, PlayerId};
use protocol::lobby::{Lobby, NewLobby, Newcomer, Settings};
use protocol::snapshot::{DeltaHeader, Header};
use protocol::time::Timestamp;

use super::super::Failure;
use super::super::scale::Scale;
use super::{Game, Meter, Next, Saved};

/// Lobbies that are made in one transaction.
const MADE_AT_ONCE: usize = 250;
const HOST: ConnectionId = ConnectionId(0);
const HOLDER: InstanceId = InstanceId::from_bytes([1; 8]);

/// Measures the service's own way to the store, without a socket before it.
pub(super) async fn measure(url: &str, process: Option<u32>, scale: &Scale) -> Result<Saved, Failure> {
    let store: Arc<dyn Store> = match url.split_once("://") {
        Some(("sqlite", place)) => Arc::new(SqliteStore::open(format!("{place}-ours").as_ref()).await?),
        Some(_) => Arc::new(PostgresStore::open(url, Options::default()).await?),
        None => Arc::new(MemoryStore::default()),
    };
    let lobbies = lobbies(&*store, scale.durable).await?;
    let service = Service::new(Arc::clone(&store), Auth::ephemeral()?, Limits::off());
    let mut games = Vec::with_capacity(lobbies.len());
    for (number, lobby) in lobbies.into_iter().enumerate() {
        let (game, whole) = Game::later(number);
        save(&service, lobby, whole).await?;
        games.push((lobby, game));
    }
    let meter = Meter::start(process)?;
    let until = Instant::now() + scale.uploading;
    let saved = try_join_all(games.iter_mut().map(async |(lobby, game)| {
        let mut count = 0;
        while count == 0 || Instant::now() < until {
            save(&service, *lobby, game.next()).await?;
            count += 1;
        }
        Ok::<_, Failure>(count)
    }));
    let count: usize = saved.await?.into_iter().sum();
    let saved = meter.saved(count)?;
    store.close().await;
    Ok(saved)
}

async fn save(service: &Service, lobby: LobbyId, next: Next) -> Result<(), Failure> {
    match next {
        Next::Whole(record) => {
            let header = Header::check(&record)?;
            let snapshot = NewSnapshot { lobby, connection: HOST, header, record: record.into() };
            service.save_snapshot(snapshot).await?;
        }
        Next::Delta(record) => {
            let header = DeltaHeader::check(&record)?;
            service.save_delta(NewDelta { lobby, connection: HOST, header, record: record.into() }).await?;
        }
    }
    Ok(())
}

/// So many lobbies with a host each.
async fn lobbies(store: &dyn Store, count: usize) -> Result<Vec<LobbyId>, Failure> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut changes = Vec::new();
    for number in 0..count {
        let id = LobbyId::from_bytes(random.u128(..).to_be_bytes());
        let code = JoinCode::from_entropy(random.u64(..));
        let key = random.u128(..).to_be_bytes();
        let host = Newcomer::new(PlayerId::from_bytes(key), PeerKey::from_bytes([number as u8; 32]), HOLDER);
        let new = NewLobby::new(id, code, format!("arena {number}"), Settings::default());
        let (lobby, events) = Lobby::create(new, host, Timestamp(1_790_000_000_000))?;
        changes.push(Change { expected: None, lobby: Arc::new(lobby), events });
    }
    for together in changes.chunks(MADE_AT_ONCE) {
        store.write(together).await?;
    }
    Ok(changes.iter().map(|change| change.lobby.id()).collect())
}
