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

    /// Where peers reach the relays.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.lock().relays.values().map(|relay| relay.address.clone()).collect()
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
            Order::Close { .. } => {}
        }
    }
}
