//! The relays that peers are sent to, and the orders that go to all of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::id::{ConnectionId, LobbyId};
use protocol::limits;
pub(crate) use relay::Order;
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;

/// Relays of one service.
const RELAYS_MAX: usize = 64;
/// Seats that were given up lately, for relays that come later. Past it any other is forgotten.
const REVOKED_MAX: usize = 65_536;
/// After this long no token of a seat that was given up is valid.
const REVOKED_FOR: Duration = limits::RELAY_TOKEN_LIFE.saturating_add(limits::CLOCK_LEEWAY);

/// A relay whose control socket ended stays listed for this long: its datagrams may well go on, and a blip is not to split a
/// lobby.
pub(crate) const GONE_KEPT: Duration = Duration::from_secs(30);

/// Where a relay's orders go.
#[derive(Debug)]
enum Link {
    /// To this process. It is never dropped; what does not fit into its queue is counted.
    Local { orders: mpsc::Sender<Order>, missed: u64 },
    /// To another process.
    Remote(mpsc::Sender<Order>),
    /// Nowhere, since then.
    Gone(Instant),
}

#[derive(Debug)]
struct Relay {
    address: String,
    link: Link,
}

/// A relay, to operators.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RelayView {
    /// Where peers reach it.
    address: String,
    /// How it is reached from here.
    link: LinkView,
    /// Orders that it has not taken yet.
    orders_waiting: usize,
}

/// How a relay is reached.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum LinkView {
    /// It runs in the process of this instance.
    Local,
    /// Its control socket is open.
    Registered,
    /// Its control socket has ended a moment ago; peers are still sent there.
    Gone,
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
    /// Adds the relay of this process.
    pub(crate) fn add_local(&self, address: String, orders: mpsc::Sender<Order>) {
        self.lock().add(address, Link::Local { orders, missed: 0 });
    }

    /// Adds a relay of another process and sends it what it must know. One that had its address before gives way to it. Returns
    /// its number; `None` if there are too many.
    pub(crate) fn add(&self, address: String, orders: mpsc::Sender<Order>, now: Instant) -> Option<u64> {
        let mut state = self.lock();
        state.relays.retain(|_, relay| relay.address != address || matches!(relay.link, Link::Local { .. }));
        state.forget_gone(now);
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
        Some(state.add(address, Link::Remote(orders)))
    }

    /// A relay's control socket has ended.
    pub(crate) fn remove(&self, id: u64, now: Instant) {
        if let Some(relay) = self.lock().relays.get_mut(&id)
            && matches!(relay.link, Link::Remote(_))
        {
            relay.link = Link::Gone(now);
        }
    }

    /// Where the members of a lobby reach the relays, best first: where they meet already, if that one is there.
    pub(crate) fn addresses(&self, lobby: LobbyId, met: Option<&str>, now: Instant) -> Vec<String> {
        let mut state = self.lock();
        state.forget_gone(now);
        let mut addresses: Vec<_> = state.relays.values().map(|relay| relay.address.clone()).collect();
        // Ranked by a hash, so that lobbies are spread, and every instance of the service ranks alike.
        addresses.sort_by_cached_key(|address| (Some(&**address) != met, rank(lobby, address)));
        addresses.dedup();
        addresses
    }

    /// All of them, as operators see them.
    pub(crate) fn list(&self) -> Vec<RelayView> {
        let waiting = |orders: &mpsc::Sender<Order>| orders.max_capacity() - orders.capacity();
        let view = |relay: &Relay| {
            let (link, orders_waiting) = match &relay.link {
                Link::Local { orders, .. } => (LinkView::Local, waiting(orders)),
                Link::Remote(orders) => (LinkView::Registered, waiting(orders)),
                Link::Gone(_) => (LinkView::Gone, 0),
            };
            RelayView { address: relay.address.clone(), link, orders_waiting }
        };
        self.lock().relays.values().map(view).collect()
    }

    /// Relays that are there.
    pub(crate) fn count(&self) -> usize {
        self.lock().relays.values().filter(|relay| !matches!(relay.link, Link::Gone(_))).count()
    }

    /// Sends an order to all relays. One of another process that does not take it has to register anew.
    pub(crate) fn order(&self, order: Order) {
        let mut state = self.lock();
        state.remember(order);
        for relay in state.relays.values_mut() {
            relay.link.send(order);
        }
    }

    /// Nothing in here panics half way, so that a poisoned lock guards a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn send(&mut self, order: Order) {
        match self {
            Self::Local { orders, missed } => {
                if let Err(error) = orders.try_send(order) {
                    *missed += 1;
                    tracing::error!(%error, missed, "the relay of this process missed an order");
                }
            }
            Self::Remote(orders) => {
                if let Err(error) = orders.try_send(order) {
                    tracing::error!(%error, "a relay takes no orders and has to register anew");
                    *self = Self::Gone(Instant::now());
                }
            }
            Self::Gone(_) => {}
        }
    }
}

impl State {
    fn add(&mut self, address: String, link: Link) -> u64 {
        let id = self.next;
        self.next += 1;
        self.relays.insert(id, Relay { address, link });
        id
    }

    fn forget_gone(&mut self, now: Instant) {
        self.relays.retain(|_, relay| match relay.link {
            Link::Gone(since) => now.saturating_duration_since(since) < GONE_KEPT,
            Link::Local { .. } | Link::Remote(_) => true,
        });
    }

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
        let orders = addresses.iter().map(|address| add(&relays, address, Instant::now()).1).collect();
        (relays, orders)
    }

    fn add(relays: &Relays, address: &str, now: Instant) -> (u64, mpsc::Receiver<Order>) {
        let (sender, receiver) = mpsc::channel(1);
        (relays.add(address.to_owned(), sender, now).unwrap(), receiver)
    }

    fn lobby(number: u8) -> LobbyId {
        LobbyId::from_bytes([number; 16])
    }

    #[test]
    fn lobbies_are_spread_over_the_relays_alike_by_every_instance_and_stay_where_they_meet() {
        let (now, (relays, _orders), (others, _others_orders)) =
            (Instant::now(), relays(&["a:1", "b:1"]), relays(&["b:1", "a:1"]));
        let orders = |relays: &Relays, met: Option<&str>| -> Vec<_> {
            (0..LOBBIES).map(|number| relays.addresses(lobby(number), met, now)).collect()
        };
        let ranked = orders(&relays, None);
        assert!(ranked.iter().any(|order| order[0] == "a:1") && ranked.iter().any(|order| order[0] == "b:1"));
        assert_eq!(ranked, orders(&others, None));
        assert!(orders(&relays, Some("b:1")).iter().all(|order| *order == ["b:1", "a:1"]));
        assert_eq!(orders(&relays, Some("gone:1")), ranked);
    }

    #[test]
    fn a_relay_whose_control_socket_ended_is_listed_on_for_a_while() {
        let (now, (relays, _orders)) = (Instant::now(), relays(&["a:1", "b:1"]));
        relays.remove(0, now);
        assert_eq!(relays.addresses(lobby(1), None, now + GONE_KEPT / 2).len(), 2, "it may come back");
        assert_eq!(relays.addresses(lobby(1), None, now + GONE_KEPT), ["b:1"]);
        let (_, _orders) = add(&relays, "a:1", now + GONE_KEPT);
        assert_eq!(relays.addresses(lobby(1), None, now + GONE_KEPT).len(), 2);
    }

    #[test]
    fn a_full_queue_of_orders_ends_no_relay_of_this_process() {
        let relays = Relays::default();
        let (sender, mut orders) = mpsc::channel(1);
        relays.add_local("a:1".to_owned(), sender);
        for number in 0..3 {
            relays.order(Order::Close { lobby: lobby(number) });
        }
        assert_eq!(orders.try_recv(), Ok(Order::Close { lobby: lobby(0) }));
        relays.order(Order::Close { lobby: lobby(9) });
        assert_eq!(orders.try_recv(), Ok(Order::Close { lobby: lobby(9) }));
        assert_eq!(relays.addresses(lobby(1), None, Instant::now()), ["a:1"]);
    }
}
