//! The relays that peers are sent to, and the orders that go to all of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::id::{ConnectionId, LobbyId};
use protocol::limits;
pub(crate) use relay::Order;
use tokio::sync::mpsc;

/// Relays of one service.
const RELAYS_MAX: usize = 64;
/// Seats that were given up lately, for relays that come later. Past it any other is forgotten.
const REVOKED_MAX: usize = 65_536;
/// After this long no token of a seat that was given up is valid.
const REVOKED_FOR: Duration = limits::RELAY_TOKEN_LIFE.saturating_add(limits::CLOCK_LEEWAY);

#[derive(Debug)]
struct Relay {
    address: String,
    orders: mpsc::Sender<Order>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    relays: BTreeMap<u64, Relay>,
    revoked: BTreeMap<(LobbyId, ConnectionId), Instant>,
    /// Where the members of a lobby meet, until it closes or the relay is gone.
    meeting: BTreeMap<LobbyId, String>,
}

/// All relays.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    state: Mutex<State>,
}

impl Relays {
    /// Adds a relay and sends it what it must know. Returns its number; `None` if there are too many.
    pub(crate) fn add(&self, address: String, orders: mpsc::Sender<Order>) -> Option<u64> {
        let mut state = self.lock();
        if state.relays.len() >= RELAYS_MAX {
            return None;
        }
        state.forget_expired();
        for &(lobby, connection) in state.revoked.keys() {
            // What does not fit is refused by the token's end at the latest.
            if orders.try_send(Order::Revoke { lobby, connection }).is_err() {
                tracing::warn!("a new relay could not be told of all seats that were given up");
                break;
            }
        }
        let id = state.next;
        state.next += 1;
        state.relays.insert(id, Relay { address, orders });
        Some(id)
    }

    /// A relay is gone.
    pub(crate) fn remove(&self, id: u64) {
        self.lock().relays.remove(&id);
    }

    /// Where the members of a lobby reach the relays, best first. All are told the same one, for as long as it is there, however
    /// many others come and go: members at different relays would not find each other.
    pub(crate) fn addresses(&self, lobby: LobbyId) -> Vec<String> {
        let mut state = self.lock();
        let mut addresses: Vec<_> = state.relays.values().map(|relay| relay.address.clone()).collect();
        let met = state.meeting.get(&lobby).cloned();
        // Ranked by a hash, so that lobbies are spread, and a service that was restarted ranks as it did before.
        addresses.sort_by_cached_key(|address| (Some(address) != met.as_ref(), rank(lobby, address)));
        addresses.dedup();
        if let Some(first) = addresses.first() {
            state.meeting.insert(lobby, first.clone());
        }
        addresses
    }

    /// Sends an order to all relays. One that does not take it is dropped, and registers anew.
    pub(crate) fn order(&self, order: Order) {
        let mut state = self.lock();
        state.remember(order);
        state.relays.retain(|_, relay| match relay.orders.try_send(order) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "a relay takes no orders and is not used any more");
                false
            }
        });
    }

    /// Nothing in here panics half way, so that a poisoned lock guards a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_expired(&mut self) {
        let now = Instant::now();
        self.revoked.retain(|_, &mut at| now - at < REVOKED_FOR);
    }

    fn remember(&mut self, order: Order) {
        match order {
            Order::Revoke { lobby, connection } => {
                self.forget_expired();
                if self.revoked.len() >= REVOKED_MAX {
                    self.revoked.pop_first();
                }
                self.revoked.insert((lobby, connection), Instant::now());
            }
            Order::Reinstate { lobby, connection } => {
                self.revoked.remove(&(lobby, connection));
            }
            Order::Close { lobby } => {
                self.meeting.remove(&lobby);
            }
        }
    }
}

/// Rendezvous hashing: each lobby has its own order of the relays.
fn rank(lobby: LobbyId, address: &str) -> [u8; 32] {
    *blake3::Hasher::new().update(lobby.as_bytes()).update(address.as_bytes()).finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOBBIES: u8 = 64;

    fn relays(addresses: &[&str]) -> (Relays, Vec<mpsc::Receiver<Order>>) {
        let relays = Relays::default();
        let orders = addresses.iter().map(|address| {
            let (sender, receiver) = mpsc::channel(1);
            relays.add((*address).to_owned(), sender);
            receiver
        });
        let orders = orders.collect();
        (relays, orders)
    }

    fn lobby(number: u8) -> LobbyId {
        LobbyId::from_bytes([number; 16])
    }

    #[test]
    fn the_members_of_a_lobby_meet_at_one_relay_while_others_come_and_go() {
        let (relays, _orders) = relays(&["a:1", "b:1"]);
        let before: Vec<_> = (0..LOBBIES).map(|number| relays.addresses(lobby(number))).collect();
        assert!(before.iter().any(|order| order[0] == "a:1") && before.iter().any(|order| order[0] == "b:1"));
        let (sender, _orders) = mpsc::channel(1);
        let third = relays.add("c:1".to_owned(), sender).unwrap();
        let after: Vec<_> = (0..LOBBIES).map(|number| relays.addresses(lobby(number))).collect();
        assert!(before.iter().zip(&after).all(|(before, after)| before[0] == after[0]));
        relays.remove(third);
        assert!((0..LOBBIES).all(|number| relays.addresses(lobby(number)) == before[usize::from(number)]));
    }

    #[test]
    fn a_relay_that_is_gone_is_replaced_by_the_same_one_for_everybody() {
        let (relays, _orders) = relays(&["a:1", "b:1"]);
        let first = relays.addresses(lobby(1))[0].clone();
        relays.remove(if first == "a:1" { 0 } else { 1 });
        let second = relays.addresses(lobby(1));
        assert_eq!(second.len(), 1);
        assert_ne!(second[0], first);
    }
}
