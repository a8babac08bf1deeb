//! One suite over all stores: what holds for the one in memory holds for the others.

#![expect(clippy::unwrap_used, reason = "tests")]

mod api_keys;
mod deltas;
mod instances;
mod lobbies;
mod memberships;
mod opening;
mod overview;
mod players;
mod query;
mod races;
mod snapshots;
mod upgrade;
mod uses;
mod writing;

use std::sync::Arc;

use lobby_service::store::memory::MemoryStore;
use lobby_service::store::postgres::{Options, PostgresStore};
use lobby_service::store::sqlite::SqliteStore;
use lobby_service::store::{Change, NewSnapshot, SnapshotRefusal, Store, Written};
use protocol::commit::Version;
use protocol::id::{ConnectionId, InstanceId, JoinCode, LobbyId, PeerKey, PlayerId};
use protocol::lobby::{Command, Lobby, NewLobby, Newcomer, Settings, Visibility};
use protocol::message::Event;
use protocol::snapshot::Header;
use protocol::time::Timestamp;
use tests::postgres::{TestDatabase, database};

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const HOST: ConnectionId = ConnectionId(0);

/// A store with what it lives in.
struct Stage {
    store: Arc<dyn Store>,
    _folder: Option<tempfile::TempDir>,
    database: Option<TestDatabase>,
}

impl Stage {
    fn memory(store: MemoryStore) -> Self {
        Self { store: Arc::new(store), _folder: None, database: None }
    }

    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("store.db")).await.unwrap();
        Self { store: Arc::new(store), _folder: Some(folder), database: None }
    }

    async fn postgres() -> Self {
        let database = database();
        let store = PostgresStore::open(&database.url(), Options::default()).await.unwrap();
        Self { store: Arc::new(store), _folder: None, database: Some(database) }
    }

    async fn end(self) {
        self.store.close().await;
        if let Some(database) = &self.database {
            let deadlocks = database.query("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
            assert_eq!(deadlocks.trim(), "0", "nobody ever waits in a circle");
        }
    }
}

/// Runs each function on every store of a list.
macro_rules! suite {
    ([$($store:ident: $stage:expr;)*] on [$($test:path as $name:ident),* $(,)?]) => {
        suite!(@ [$($store: $stage;)*] [$($test as $name),*]);
    };
    (@ [] $tests:tt) => {};
    (@ [$store:ident: $stage:expr; $($rest:tt)*] [$($test:path as $name:ident),*]) => {
        mod $store {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                let stage = $stage;
                $test(Arc::clone(&stage.store)).await;
                stage.end().await;
            })*
        }
        suite!(@ [$($rest)*] [$($test as $name),*]);
    };
}

mod every {
    use super::*;

    suite! {
        [
            memory: Stage::memory(MemoryStore::default());
            sqlite: Stage::sqlite().await;
            postgres: Stage::postgres().await;
        ] on [
            lobbies::read_back as a_lobby_is_read_back_as_it_was_saved,
            lobbies::newer as what_became_of_a_lobby_is_told_by_its_version,
            lobbies::all as all_lobbies_are_read_page_by_page_also_closed_ones,
            lobbies::events as events_are_read_from_any_number_and_only_the_newest_are_kept,
            lobbies::due as deadlines_come_earliest_first,
            lobbies::connected as lobbies_with_connected_members_are_found,
            lobbies::deleted as a_closed_lobby_is_deleted_with_its_events_and_frees_its_code,
            lobbies::deleted_at_once as many_closed_lobbies_are_deleted_a_few_at_a_time,
            query::listed as public_open_lobbies_with_somebody_connected_are_found,
            query::operators as each_operator_compares_each_field_by_its_kind,
            query::truths as a_truth_is_compared_as_false_before_true,
            query::names as a_name_is_found_by_any_part_of_it_without_regard_to_case,
            query::order as the_order_goes_field_by_field_with_the_absent_last_either_way,
            query::pages as pages_follow_each_other_while_lobbies_change,
            query::random::same as whatever_is_asked_of_whatever_lobbies_is_answered_as_the_definition_says,
            memberships::one_by_one as a_player_has_a_seat_from_its_join_to_whatever_ends_it,
            memberships::at_once as of_many_moves_in_one_change_the_last_counts,
            memberships::closed as in_a_closed_lobby_nobody_has_a_seat,
            memberships::host as the_member_that_may_write_as_host_is_told,
            memberships::requests as a_seat_is_told_with_the_key_of_the_request_that_took_it,
            memberships::batch as seats_of_a_refused_change_are_not_taken,
            uses::once as what_is_used_up_is_used_up_until_its_time_is_over,
            uses::at_once as of_many_who_use_it_at_once_exactly_one_does,
            uses::many as whatever_has_expired_can_be_used_again_and_is_forgotten,
            overview::snapshots as operators_see_which_snapshots_are_kept_and_how_large_they_are,
            overview::instances as operators_see_the_instances_with_their_leases,
            writing::codes as a_join_code_belongs_to_one_lobby_and_so_does_an_id,
            writing::rotation as a_lobby_is_found_by_its_new_join_code_and_the_old_one_is_free,
            writing::rotation_batch as a_new_join_code_that_is_taken_disturbs_none_of_its_neighbours,
            writing::stale as a_stale_change_writes_nothing,
            writing::batch as a_refused_change_disturbs_none_of_its_neighbours,
            writing::nothing as nothing_to_write_is_written,
            writing::many_events as of_more_events_than_are_kept_the_newest_are_kept,
            snapshots::order as a_snapshot_is_never_replaced_by_an_older_one_nor_taken_from_an_older_host,
            snapshots::batch as a_refused_snapshot_disturbs_none_of_its_neighbours,
            snapshots::parked as while_nobody_is_host_the_last_one_may_still_save,
            snapshots::closed as a_closed_lobby_keeps_no_snapshot,
            snapshots::large as a_snapshot_of_the_largest_size_is_read_back,
            deltas::order as a_delta_is_taken_if_it_leads_from_the_newest_and_comes_from_the_host,
            deltas::older_epoch as a_new_host_goes_on_where_the_old_one_was,
            deltas::bounded as so_many_deltas_follow_a_snapshot_and_no_more,
            deltas::bytes as the_bytes_of_the_deltas_on_a_snapshot_are_bounded,
            deltas::batch as a_refused_delta_disturbs_none_of_its_neighbours,
            deltas::kept as a_snapshot_that_is_kept_keeps_its_deltas_and_the_next_one_takes_their_place,
            deltas::closed as a_closed_lobby_keeps_no_delta_and_takes_none,
            deltas::election as a_delta_and_an_election_at_once_leave_a_delta_that_was_allowed,
            deltas::one_chain as of_many_deltas_at_once_those_that_were_acknowledged_are_one_chain,
            players::rotation as a_refresh_secret_works_until_the_next_one_was_used_and_then_ends_its_family,
            players::lost as who_uses_an_answer_that_was_thought_lost_ends_the_family,
            players::again as a_player_who_signs_in_again_is_the_same_with_a_few_families,
            players::at_once as of_many_who_come_back_at_once_nobody_is_forgotten,
            api_keys::kept as a_key_of_a_game_server_is_kept_until_it_is_removed,
            api_keys::bounded as there_are_so_many_keys_and_no_more,
            players::expiry as an_expired_refresh_secret_is_refused,
            players::forgotten as a_player_whose_refresh_secret_has_expired_is_forgotten,
            players::both as of_two_uses_of_one_secret_at_once_both_are_answered_and_one_goes_on,
            instances::one as the_lease_of_an_instance_is_its_own_until_it_is_taken_over,
            races::one_winner as of_many_changes_of_one_version_exactly_one_is_done,
            races::overlapping as overlapping_batches_in_any_order_end_with_one_winner_a_version,
            races::one_new_code as of_many_lobbies_that_get_one_new_code_exactly_one_does,
            races::one_code as of_many_lobbies_with_one_code_exactly_one_is_made,
            races::same_creations as of_the_same_batch_of_new_lobbies_at_once_each_lobby_is_made_once,
            races::election as a_snapshot_and_an_election_at_once_leave_a_snapshot_that_was_allowed,
            races::one_number as of_two_snapshots_with_one_number_one_is_stored,
            races::snapshots_in_order as however_snapshots_come_the_newest_that_was_acknowledged_is_there,
            races::closing as whatever_comes_while_a_lobby_closes_it_keeps_no_snapshot,
            races::deleting as several_who_delete_closed_lobbies_delete_each_once,
        ]
    }
}

mod shared {
    use super::*;

    suite! {
        [
            memory: Stage::memory(MemoryStore::shared());
            postgres: Stage::postgres().await;
        ] on [
            instances::live as a_live_instance_is_never_inherited,
            instances::expired as the_next_who_renews_inherits_what_has_expired,
            instances::late as a_late_renewal_keeps_a_lease_that_nobody_has_taken,
            instances::retired as a_retired_instance_is_inherited_at_once,
            instances::inheritance as an_heir_that_dies_is_inherited_with_what_it_had,
            instances::one_heir as of_many_who_renew_at_once_exactly_one_inherits,
            instances::storm as whoever_dies_or_comes_back_every_dead_instance_has_one_live_heir,
            instances::come_and_go as instances_that_start_and_are_buried_meanwhile_disturb_no_inheritance,
        ]
    }
}

mod alone {
    use super::*;

    suite! {
        [
            memory: Stage::memory(MemoryStore::default());
            sqlite: Stage::sqlite().await;
        ] on [instances::last as who_registers_ends_all_others]
    }
}

fn player(number: u8) -> PlayerId {
    PlayerId::from_bytes([number; 16])
}

fn key(number: u8) -> PeerKey {
    PeerKey::from_bytes([number; 32])
}

fn instance(number: u8) -> InstanceId {
    InstanceId::from_bytes([number; 8])
}

fn lobby_id(number: u8) -> LobbyId {
    LobbyId::from_bytes([number; 16])
}

fn join_code(number: u8) -> JoinCode {
    JoinCode::from_entropy(u64::from(number))
}

fn newcomer(number: u8) -> Newcomer {
    Newcomer {
        name: "é \" \\ 玩家".into(),
        build_id: "1".into(),
        direct_address: Some("192.0.2.1:4000".into()),
        ..Newcomer::new(player(number), key(number), instance(1))
    }
}

fn private() -> Settings {
    Settings { visibility: Visibility::Private, ..Settings::default() }
}

fn new_lobby(number: u8, code: u8, settings: Settings) -> Change {
    creation(NewLobby::new(lobby_id(number), join_code(code), "arena 'é'".into(), settings), newcomer(1), NOW)
}

fn creation(new: NewLobby, creator: Newcomer, now: Timestamp) -> Change {
    let (lobby, events) = Lobby::create(new, creator, now).unwrap();
    Change { expected: None, lobby: Arc::new(lobby), events }
}

async fn write(store: &dyn Store, change: Change) -> Written {
    store.write(&[change]).await.unwrap().pop().unwrap()
}

async fn created(store: &dyn Store, number: u8, settings: Settings) -> Lobby {
    let change = new_lobby(number, number, settings);
    assert_eq!(write(store, change.clone()).await, Written::Done);
    Lobby::clone(&change.lobby)
}

/// What a command makes of a lobby.
fn changed(lobby: &Lobby, version: Version, command: Command, now: Timestamp) -> Change {
    let (lobby, events) = lobby.clone().apply(command, now).unwrap();
    Change { expected: Some(version), lobby: Arc::new(lobby), events }
}

/// Loads, decides and saves, as the service does.
async fn apply(store: &dyn Store, id: LobbyId, command: Command, now: Timestamp) -> Lobby {
    let (lobby, version) = store.load(id).await.unwrap().unwrap();
    let change = changed(&lobby, version, command, now);
    assert_eq!(write(store, change.clone()).await, Written::Done);
    Lobby::clone(&change.lobby)
}

fn join(number: u8) -> Command {
    Command::Join(newcomer(number))
}

fn disconnect(number: u8, connection: ConnectionId) -> Command {
    Command::Disconnect { connection, peer_key: key(number), holder: instance(1) }
}

fn leave(number: u8, connection: ConnectionId) -> Command {
    Command::Leave { connection, player: player(number) }
}

/// Empties a lobby and closes it. Returns when.
async fn close(store: &dyn Store, id: LobbyId) -> Timestamp {
    apply(store, id, leave(1, HOST), NOW).await;
    let at = NOW.after(protocol::limits::EMPTY_LOBBY_KEPT);
    assert!(apply(store, id, Command::Due, at).await.is_closed());
    at
}

fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.seq.0).collect()
}

fn snapshot(lobby: LobbyId, connection: u32, epoch: u64, seq: u64, state: &[u8]) -> NewSnapshot {
    let record = tests::service::record(epoch, seq, state);
    let header = Header::check(&record).unwrap();
    NewSnapshot { lobby, connection: ConnectionId(connection), header, record: record.into() }
}

async fn put(store: &dyn Store, new: NewSnapshot) -> Result<(), SnapshotRefusal> {
    store.put_snapshots(&[new]).await.unwrap().pop().unwrap()
}
