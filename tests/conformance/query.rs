//! Finding lobbies.

pub(super) mod random;

use std::sync::Arc;

use lobby_service::store::{Store, Written};
use protocol::id::ConnectionId;
use protocol::lobby::data::{DataPatch, DataValue, DataVisibility, Index};
use protocol::lobby::listing::{Field, Filter, Operator, Order, Query};
use protocol::lobby::{Actor, Command, Lobby, NewLobby, Newcomer, PasswordHash, Settings};
use protocol::time::Timestamp;

use super::{HOST, NOW, apply, creation, disconnect, join, join_code, leave, lobby_id, newcomer, private, write};

const TEXTS: [(Field, Index); 5] = [
    (Field::S1, Index::S1),
    (Field::S2, Index::S2),
    (Field::S3, Index::S3),
    (Field::S4, Index::S4),
    (Field::S5, Index::S5),
];
const NUMBERS: [(Field, Index); 5] = [
    (Field::N1, Index::N1),
    (Field::N2, Index::N2),
    (Field::N3, Index::N3),
    (Field::N4, Index::N4),
    (Field::N5, Index::N5),
];

/// Values that lobbies are found by, each under a key of its own.
fn indexed<'a>(values: impl IntoIterator<Item = (Index, &'a str)>) -> DataPatch {
    let value = |value: &str, index| DataValue {
        value: value.to_owned(),
        visibility: DataVisibility::Public,
        index: Some(index),
    };
    values.into_iter().map(|(index, text)| (format!("{index:?}"), Some(value(text, index)))).collect()
}

/// Makes a lobby, created as many seconds after the first as its number says.
async fn made(store: &dyn Store, number: u8, adjust: impl FnOnce(&mut NewLobby, &mut Newcomer)) -> Lobby {
    let mut new = NewLobby::new(lobby_id(number), join_code(number), format!("arena {number}"), Settings::default());
    let mut creator = newcomer(1);
    adjust(&mut new, &mut creator);
    let change = creation(new, creator, Timestamp(NOW.0 + 1000 * u64::from(number)));
    assert_eq!(write(store, change.clone()).await, Written::Done);
    Lobby::clone(&change.lobby)
}

fn query(filters: &[(Field, Operator, &str)], order: &[(Field, bool)]) -> Query {
    let filter = |&(field, op, value): &(Field, Operator, &str)| Filter { field, op, value: value.to_owned() };
    let order = order.iter().map(|&(field, ascending)| Order { field, ascending }).collect();
    Query::new(&filters.iter().map(filter).collect::<Vec<_>>(), order, None).unwrap()
}

/// The numbers of the lobbies that are found.
async fn found(store: &dyn Store, query: &Query) -> Vec<u8> {
    store.query(query).await.unwrap().iter().map(|lobby| lobby.id().as_bytes()[0]).collect()
}

/// The lobbies that fulfil one condition, by id.
async fn with(store: &dyn Store, field: Field, operator: Operator, value: &str) -> Vec<u8> {
    found(store, &query(&[(field, operator, value)], &[])).await
}

pub(super) async fn listed(store: Arc<dyn Store>) {
    assert!(found(&*store, &query(&[], &[])).await.is_empty());
    for number in 1..=6 {
        made(&*store, number, |_, _| {}).await;
    }
    made(&*store, 7, |new, _| new.settings = private()).await;
    apply(&*store, lobby_id(1), Command::Close { by: Actor::Server }, NOW).await;
    apply(&*store, lobby_id(2), disconnect(1, HOST), NOW).await;
    apply(&*store, lobby_id(3), leave(1, HOST), NOW).await;
    apply(&*store, lobby_id(4), join(2), NOW).await;
    apply(&*store, lobby_id(4), disconnect(1, HOST), NOW).await;
    assert_eq!(found(&*store, &query(&[], &[])).await, [4, 5, 6], "by id, where nothing else is said");
    apply(&*store, lobby_id(4), disconnect(2, ConnectionId(1)), NOW).await;
    let back = Command::Connect {
        connection: HOST,
        player: super::player(1),
        peer_key: super::key(1),
        holder: super::instance(1),
    };
    apply(&*store, lobby_id(2), back, NOW).await;
    assert_eq!(found(&*store, &query(&[], &[])).await, [2, 5, 6]);
    assert!(found(&*store, &query(&[(Field::Name, Operator::Eq, "nowhere")], &[])).await.is_empty());
}

pub(super) async fn operators(store: Arc<dyn Store>) {
    // In each field the values of the first three ascend, and the fourth has that of the third, or none.
    let texts = ["B", "a", "b"];
    let numbers = ["-1.5", "2", "10"];
    for number in 1..=4 {
        let rank = usize::from(number.min(3)) - 1;
        let adjust = |new: &mut NewLobby, creator: &mut Newcomer| {
            new.settings.max_members = 2 + rank as u32;
            new.name = ["alpha", "Beta", "gamma"][rank].to_owned();
            creator.build_id = texts[rank].to_owned();
            if number < 4 {
                let texts = TEXTS.map(|(_, index)| (index, texts[rank]));
                new.data = indexed(texts.into_iter().chain(NUMBERS.map(|(_, index)| (index, numbers[rank]))));
            }
        };
        let lobby = made(&*store, number, adjust).await;
        assert_eq!(lobby.created_at().0, NOW.0 + 1000 * u64::from(number));
    }
    let second = (NOW.0 + 2000).to_string();
    let own = [
        (Field::MaxMembers, "3"),
        (Field::AvailableSeats, "2"),
        (Field::Name, "BETA"),
        (Field::BuildId, "a"),
        (Field::CreatedAt, &second),
        (Field::UpdatedAt, &second),
    ];
    for (field, value) in own {
        compares(&*store, field, value, true).await;
    }
    for ((text, _), (number, _)) in TEXTS.into_iter().zip(NUMBERS) {
        compares(&*store, text, "a", false).await;
        compares(&*store, number, "2", false).await;
        compares(&*store, number, "2e0", false).await;
        assert_eq!(with(&*store, number, Operator::Gt, "1.999").await, [2, 3]);
    }
    assert_eq!(with(&*store, Field::MaxMembers, Operator::Gt, "2.5").await, [2, 3, 4], "between whole numbers");
    assert_eq!(with(&*store, Field::CreatedAt, Operator::Lt, "1e300").await, [1, 2, 3, 4]);
    let both = query(&[(Field::N1, Operator::Ge, "2"), (Field::S1, Operator::Ne, "b")], &[]);
    assert_eq!(found(&*store, &both).await, [2], "all of them hold");
}

async fn compares(store: &dyn Store, field: Field, second: &str, fourth_has_one: bool) {
    for (operator, expected) in [
        (Operator::Eq, vec![2]),
        (Operator::Ne, vec![1, 3, 4]),
        (Operator::Lt, vec![1]),
        (Operator::Le, vec![1, 2]),
        (Operator::Gt, vec![3, 4]),
        (Operator::Ge, vec![2, 3, 4]),
    ] {
        let expected: Vec<u8> = expected.into_iter().filter(|&number| number != 4 || fourth_has_one).collect();
        assert_eq!(with(store, field, operator, second).await, expected, "{field:?} {operator:?} {second}");
    }
}

pub(super) async fn truths(store: Arc<dyn Store>) {
    made(&*store, 1, |_, _| {}).await;
    made(&*store, 2, |new, _| new.settings.locked = true).await;
    made(&*store, 3, |new, _| new.password = Some(PasswordHash("hash".into()))).await;
    for (field, truth, lie) in [(Field::Locked, vec![2], vec![1, 3]), (Field::HasPassword, vec![3], vec![1, 2])] {
        assert_eq!(with(&*store, field, Operator::Eq, "true").await, truth);
        assert_eq!(with(&*store, field, Operator::Ne, "false").await, truth);
        assert_eq!(with(&*store, field, Operator::Gt, "false").await, truth);
        assert_eq!(with(&*store, field, Operator::Lt, "true").await, lie);
        assert_eq!(with(&*store, field, Operator::Le, "false").await, lie);
        assert_eq!(with(&*store, field, Operator::Ge, "false").await, [1, 2, 3]);
    }
    assert_eq!(found(&*store, &query(&[], &[(Field::Locked, true)])).await, [1, 3, 2]);
    assert_eq!(found(&*store, &query(&[], &[(Field::HasPassword, false)])).await, [3, 1, 2]);
}

pub(super) async fn names(store: Arc<dyn Store>) {
    for (number, name) in (1..).zip(["100%", "1000", "a_b", "aXb", "ÄPFEL 玩家", "Straße", "it's \"\\"]) {
        made(&*store, number, |new, _| new.name = name.to_owned()).await;
    }
    for (part, expected) in [
        ("%", vec![1]),
        ("100%", vec![1]),
        ("1%0", vec![]),
        ("_", vec![3]),
        ("A_B", vec![3]),
        ("äpfel", vec![5]),
        ("PFEL 玩", vec![5]),
        ("家", vec![5]),
        ("STRAßE", vec![6]),
        ("strasse", vec![]),
        ("it's \"\\", vec![7]),
        ("", vec![1, 2, 3, 4, 5, 6, 7]),
        ("1000 and more than that", vec![]),
    ] {
        assert_eq!(with(&*store, Field::Name, Operator::Contains, part).await, expected, "{part}");
    }
    assert_eq!(with(&*store, Field::Name, Operator::Eq, "äpfel 玩家").await, [5]);
    apply(&*store, lobby_id(2), rename("Äpfel"), NOW).await;
    assert_eq!(with(&*store, Field::Name, Operator::Contains, "äpfel").await, [2, 5], "as it is called now");
}

fn rename(name: &str) -> Command {
    let patch = protocol::lobby::LobbyPatch { name: Some(name.to_owned()), ..Default::default() };
    Command::Update { by: Actor::Server, patch }
}

fn set(data: DataPatch) -> Command {
    let patch = protocol::lobby::LobbyPatch { data, ..Default::default() };
    Command::Update { by: Actor::Server, patch }
}

pub(super) async fn order(store: Arc<dyn Store>) {
    for (number, n1, s1) in [
        (1, Some("2"), None),
        (2, None, Some("b")),
        (3, Some("-10"), Some("é")),
        (4, Some("2"), Some("B")),
        (5, None, None),
    ] {
        let values = n1.map(|value| (Index::N1, value)).into_iter().chain(s1.map(|value| (Index::S1, value)));
        made(&*store, number, |new, _| new.data = indexed(values)).await;
    }
    let (n1, s1) = (Field::N1, Field::S1);
    for (order, expected) in [
        (vec![(Field::CreatedAt, false)], [5, 4, 3, 2, 1]),
        (vec![(Field::CreatedAt, true)], [1, 2, 3, 4, 5]),
        (vec![(n1, true)], [3, 1, 4, 2, 5]),
        (vec![(n1, false)], [1, 4, 3, 2, 5]),
        (vec![(s1, true)], [4, 2, 3, 1, 5]),
        (vec![(s1, false)], [3, 2, 4, 1, 5]),
        (vec![(n1, true), (s1, true)], [3, 4, 1, 2, 5]),
        (vec![(n1, false), (Field::CreatedAt, false)], [4, 1, 3, 5, 2]),
        (vec![(Field::MaxMembers, true), (s1, false), (n1, true), (Field::Name, false)], [3, 2, 4, 1, 5]),
    ] {
        let mut query = query(&[], &order);
        assert_eq!(found(&*store, &query).await, expected, "{order:?}");
        // The same, page by page.
        query.count = 2;
        assert_eq!(all_pages(&*store, query.clone()).await.concat(), expected, "{order:?}");
        query.skip = 1;
        assert_eq!(found(&*store, &query).await, expected[1..3], "{order:?}");
    }
    // A value that is gone, and another.
    apply(&*store, lobby_id(3), set([("N1".to_owned(), None)].into()), NOW).await;
    apply(&*store, lobby_id(5), set(indexed([(Index::N1, "0.5")])), NOW).await;
    assert_eq!(found(&*store, &query(&[], &[(n1, true)])).await, [5, 1, 4, 2, 3]);
}

/// Follows the pages to their end.
async fn all_pages(store: &dyn Store, mut query: Query) -> Vec<Vec<u8>> {
    let mut pages = Vec::new();
    loop {
        let page = store.query(&query).await.unwrap();
        pages.push(page.iter().map(|lobby| lobby.id().as_bytes()[0]).collect());
        match page.last() {
            Some(last) if page.len() == query.count as usize => {
                query.after = Some(query.position(last.id(), &last.listing()));
            }
            Some(_) | None => return pages,
        }
    }
}

pub(super) async fn pages(store: Arc<dyn Store>) {
    let level = |number: u8| (number / 2).to_string();
    for number in 1..=9 {
        made(&*store, number, |new, _| new.data = indexed([(Index::N1, &*level(number))])).await;
    }
    // By level downwards: 8 9, 6 7, 4 5, 2 3, 1.
    let mut query = query(&[], &[(Field::N1, false)]);
    query.count = 3;
    let first = store.query(&query).await.unwrap();
    assert_eq!(first.iter().map(|lobby| lobby.id().as_bytes()[0]).collect::<Vec<_>>(), [8, 9, 6]);
    query.after = Some(query.position(first[2].id(), &first[2].listing()));

    apply(&*store, lobby_id(6), Command::Close { by: Actor::Server }, NOW).await;
    apply(&*store, lobby_id(8), set(indexed([(Index::N1, "-1")])), NOW).await;
    made(&*store, 10, |new, _| new.data = indexed([(Index::N1, "100")])).await;
    made(&*store, 11, |new, _| new.data = indexed([(Index::N1, "2")])).await;
    made(&*store, 12, |_, _| {}).await;
    assert_eq!(all_pages(&*store, query.clone()).await, [vec![7, 4, 5], vec![11, 2, 3], vec![1, 8, 12], vec![]]);

    query.skip = 4;
    assert_eq!(found(&*store, &query).await, [2, 3, 1], "skipped after the position");
    query.skip = 99;
    assert!(found(&*store, &query).await.is_empty());
    query.count = 0;
    assert!(found(&*store, &query).await.is_empty());
}
