//! Random lobbies and random queries: every store answers as the definition does.

use std::sync::Arc;

use fastrand::Rng;
use lobby_service::store::memory::MemoryStore;
use lobby_service::store::{Change, Store};
use protocol::commit::Version;
use protocol::id::{ConnectionId, JoinCode, LobbyId};
use protocol::limits;
use protocol::lobby::listing::{Field, Filter, Operator, Order, Query};
use protocol::lobby::{Actor, Command, Lobby, NewLobby, Newcomer, PasswordHash, Settings, Visibility};
use protocol::time::Timestamp;

use super::super::{NOW, creation, disconnect, join, newcomer};
use super::{NUMBERS, TEXTS, indexed, rename, set};

const LOBBIES: u32 = 300;
const QUERIES: u32 = 400;
/// Pages of one query that are looked at.
const PAGES_MAX: u32 = 6;

const NAMES: [&str; 8] = ["arena", "ARENA", "Äpfel", "äPFEL 2", "100%", "a_b", "玩家", "z"];
const SOME_TEXTS: [&str; 8] = ["", "a", "B", "b", "ä", "é", "10", "9"];
const SOME_NUMBERS: [&str; 10] =
    ["0", "-0", "1", "1.5", "-2", "1e3", "1e-300", "9007199254740993", "-1.7976931348623157e308", "3"];

fn pick<T: Copy>(rng: &mut Rng, values: &[T]) -> T {
    values[rng.usize(..values.len())]
}

/// Values with about half of the indexes.
fn data(rng: &mut Rng) -> protocol::lobby::data::DataPatch {
    let mut values = Vec::new();
    for (_, index) in TEXTS {
        values.push((index, pick(rng, &SOME_TEXTS)));
    }
    for (_, index) in NUMBERS {
        values.push((index, pick(rng, &SOME_NUMBERS)));
    }
    values.retain(|_| rng.bool());
    indexed(values)
}

fn lobby(rng: &mut Rng, number: u32) -> Change {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&rng.u32(..).to_be_bytes());
    id[12..].copy_from_slice(&number.to_be_bytes());
    let settings = Settings {
        max_members: rng.u32(1..5),
        visibility: if rng.u8(..8) == 0 { Visibility::Private } else { Visibility::Public },
        locked: rng.bool(),
        ..Settings::default()
    };
    let code = JoinCode::from_entropy(number.into());
    let new = NewLobby {
        password: rng.bool().then(|| PasswordHash("hash".into())),
        data: data(rng),
        ..NewLobby::new(LobbyId::from_bytes(id), code, pick(rng, &NAMES).to_owned(), settings)
    };
    let creator = Newcomer { build_id: pick(rng, &SOME_TEXTS).to_owned(), ..newcomer(1) };
    creation(new, creator, Timestamp(NOW.0 + rng.u64(..20)))
}

/// One command, or another; what is refused changes nothing.
fn changed(rng: &mut Rng, lobby: &Lobby, version: Version) -> Change {
    let command = match rng.u8(..6) {
        0 => Command::Close { by: Actor::Server },
        1 => disconnect(1, ConnectionId(0)),
        2 => rename(pick(rng, &NAMES)),
        3 | 4 => set(data(rng)),
        _ => join(2),
    };
    let now = Timestamp(NOW.0 + 20 + rng.u64(..20));
    let (lobby, events) = lobby.clone().apply(command, now).unwrap_or_else(|_| (lobby.clone(), Vec::new()));
    Change { expected: Some(version), lobby: Arc::new(lobby), events }
}

fn field(rng: &mut Rng) -> Field {
    let own = [
        Field::MaxMembers,
        Field::AvailableSeats,
        Field::Name,
        Field::BuildId,
        Field::CreatedAt,
        Field::UpdatedAt,
        Field::Locked,
        Field::HasPassword,
    ];
    match rng.u8(..3) {
        0 => pick(rng, &own),
        1 => pick(rng, &TEXTS).0,
        _ => pick(rng, &NUMBERS).0,
    }
}

fn filter(rng: &mut Rng) -> Filter {
    use Operator::{Contains, Eq, Ge, Gt, Le, Lt, Ne};
    let field = field(rng);
    let value = match field {
        Field::Name => pick(rng, &NAMES).chars().take(rng.usize(1..4)).collect(),
        Field::MaxMembers | Field::AvailableSeats => pick(rng, &["0", "1", "1.5", "2", "3", "-1", "1e30"]).to_owned(),
        Field::CreatedAt | Field::UpdatedAt => (NOW.0 + rng.u64(..40)).to_string(),
        Field::Locked | Field::HasPassword => rng.bool().to_string(),
        Field::BuildId | Field::S1 | Field::S2 | Field::S3 | Field::S4 | Field::S5 => pick(rng, &SOME_TEXTS).to_owned(),
        Field::N1 | Field::N2 | Field::N3 | Field::N4 | Field::N5 => pick(rng, &SOME_NUMBERS).to_owned(),
    };
    let op = pick(rng, &[Eq, Ne, Lt, Le, Gt, Ge]);
    let op = if field == Field::Name && rng.bool() { Contains } else { op };
    Filter { field, op, value }
}

fn query(rng: &mut Rng) -> Query {
    let filters: Vec<_> = (0..pick(rng, &[0, 1, 1, 1, 2, 3])).map(|_| filter(rng)).collect();
    let order = (0..rng.usize(..=limits::ORDERS_MAX)).map(|_| Order { field: field(rng), ascending: rng.bool() });
    let mut query = Query::new(&filters, order.collect(), None).unwrap();
    query.count = rng.u32(1..40);
    query.skip = if rng.u8(..4) == 0 { rng.u32(..10) } else { 0 };
    query
}

pub(in super::super) async fn same(store: Arc<dyn Store>) {
    let mut rng = Rng::with_seed(4);
    let definition = MemoryStore::default();
    fill(&mut rng, &*store, &definition).await;
    let mut found = 0;
    for _ in 0..QUERIES {
        let mut query = query(&mut rng);
        for _ in 0..PAGES_MAX {
            let page = store.query(&query).await.unwrap();
            assert_eq!(page, definition.query(&query).await.unwrap(), "{query:?}");
            found += page.len();
            let Some(last) = page.last() else { break };
            query.after = Some(query.position(last.id(), &last.listing()));
        }
    }
    assert!(found > 5000, "{found}: most queries find something");
}

/// The same lobbies in both, most of them changed once or more.
async fn fill(rng: &mut Rng, store: &dyn Store, definition: &MemoryStore) {
    let mut changes: Vec<_> = (0..LOBBIES).map(|number| lobby(rng, number)).collect();
    for version in 1..=4 {
        for batch in changes.chunks(50) {
            assert_eq!(store.write(batch).await.unwrap(), definition.write(batch).await.unwrap());
        }
        changes = changes.iter().map(|change| changed(rng, &change.lobby, Version(version))).collect();
        changes.retain(|_| rng.u8(..3) > 0);
    }
}
