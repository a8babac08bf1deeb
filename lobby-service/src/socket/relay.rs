//! The control socket of a relay in another process: sounds in, orders out.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use protocol::limits;
use protocol::relay::HostSound;
use relay::Order;
use relay::control::{FromRelay, ToRelay};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, timeout};

use crate::service::Service;

/// Orders that wait for a relay: as many as its own queue takes.
const ORDERS_MAX: usize = 4096;
/// A relay that does not read for this long is dropped, and registers anew.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves one relay to its end.
pub(crate) async fn serve(mut socket: WebSocket, service: Arc<Service>) {
    let first = timeout(limits::HELLO_TIMEOUT, socket.recv()).await;
    let Ok(Some(Ok(Message::Text(text)))) = first else { return };
    let Ok(FromRelay::Register { address }) = serde_json::from_str(&text) else { return };
    let (orders, waiting) = mpsc::channel(ORDERS_MAX);
    let Some(id) = service.relays.add(address.to_string(), orders, std::time::Instant::now()) else {
        tracing::warn!("there are too many relays; one was not taken");
        return;
    };
    tracing::info!(relay = id, "a relay has registered");
    talk(&mut socket, &service, waiting).await;
    service.relays.remove(id, std::time::Instant::now());
    tracing::info!(relay = id, "a relay is gone");
}

/// Returns when either side ends it, or the relay was not heard for a lease.
async fn talk(socket: &mut WebSocket, service: &Arc<Service>, mut waiting: mpsc::Receiver<Order>) {
    let mut ping = interval_at(Instant::now() + limits::SOCKET_PING, limits::SOCKET_PING);
    let mut heard = Instant::now();
    loop {
        let sent = tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(message)) if hear(service, &message) => {
                    heard = Instant::now();
                    true
                }
                Some(Ok(_) | Err(_)) | None => false,
            },
            order = waiting.recv() => match order {
                Some(order) => send(socket, order_text(order)).await,
                None => false,
            },
            _ = ping.tick() => heard.elapsed() < limits::LEASE && send(socket, Message::Ping("".into())).await,
        };
        if !sent {
            return;
        }
    }
}

/// Returns false for what ends the socket.
fn hear(service: &Arc<Service>, message: &Message) -> bool {
    match message {
        Message::Text(text) => match serde_json::from_str(text) {
            Ok(FromRelay::Sound { lobby, host, epoch, heard }) => {
                service.told_by_relay(HostSound { lobby, host, epoch, heard });
                true
            }
            Ok(FromRelay::Register { .. }) | Err(_) => false,
        },
        Message::Ping(_) | Message::Pong(_) => true,
        Message::Binary(_) | Message::Close(_) => false,
    }
}

fn order_text(order: Order) -> Message {
    Message::Text(serde_json::to_string(&ToRelay::from(order)).expect("an order holds only what JSON can").into())
}

async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(SEND_TIMEOUT, socket.send(message)).await, Ok(Ok(())))
}
