//! One control socket after another: what must be said again on each is kept here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use protocol::id::LobbyId;
use protocol::limits;
use protocol::relay::HostSound;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{REQUEST_TIMEOUT, ServiceError};
use crate::control::{FromRelay, Order, ToRelay};

/// Silent hosts that are told again on a new socket. One beyond it is told once only.
const SILENT_MAX: usize = 4096;

/// An open control socket.
pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a control socket.
pub(super) async fn open(base: &str, authorization: &HeaderValue) -> Result<Socket, ServiceError> {
    // "http" becomes "ws", and "https" becomes "wss".
    let address = format!("{}/v1/relays/control", base.replacen("http", "ws", 1));
    let mut request = address.into_client_request().map_err(Box::new)?;
    request.headers_mut().insert(AUTHORIZATION, authorization.clone());
    let config = WebSocketConfig::default().max_message_size(Some(limits::SOCKET_MESSAGE_BYTES_MAX));
    let connect = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
    let connected = tokio::time::timeout(REQUEST_TIMEOUT, connect).await.map_err(|_late| ServiceError::Closed)?;
    Ok(connected.map_err(Box::new)?.0)
}

/// The relay's side of the control socket, over any number of connections.
pub(super) struct ControlLink {
    advertised: SocketAddr,
    orders: mpsc::Sender<Order>,
    sounds: mpsc::Receiver<HostSound>,
    /// Hosts that are silent now: a service that has restarted does not know of them.
    silent: BTreeMap<LobbyId, HostSound>,
}

impl ControlLink {
    pub(super) fn new(advertised: SocketAddr, orders: mpsc::Sender<Order>, sounds: mpsc::Receiver<HostSound>) -> Self {
        Self { advertised, orders, sounds, silent: BTreeMap::new() }
    }

    pub(super) fn relay_has_stopped(&self) -> bool {
        self.orders.is_closed()
    }

    /// Notes the sounds that come while something is done without a socket.
    pub(super) async fn remember_during<T>(&mut self, done: impl Future<Output = T>) -> T {
        let mut done = std::pin::pin!(done);
        loop {
            tokio::select! {
                done = &mut done => return done,
                Some(sound) = self.sounds.recv() => self.remember(sound),
            }
        }
    }

    /// Registers, and carries sounds and orders until the socket is lost. Returns why it ended.
    pub(super) async fn serve(&mut self, mut socket: Socket) -> ServiceError {
        match self.pump(&mut socket).await {
            Ok(()) => ServiceError::Closed,
            Err(error) => error,
        }
    }

    async fn pump(&mut self, socket: &mut Socket) -> Result<(), ServiceError> {
        send(socket, &FromRelay::Register { address: self.advertised }).await?;
        for sound in self.silent.values() {
            send(socket, &(*sound).into()).await?;
        }
        tracing::info!("registered with the lobby service");
        let mut ping = tokio::time::interval(limits::SOCKET_PING);
        let mut heard_at = Instant::now();
        loop {
            tokio::select! {
                message = socket.next() => {
                    let message = message.ok_or(ServiceError::Closed)?.map_err(Box::new)?;
                    heard_at = Instant::now();
                    self.pass_on(message).await?;
                }
                sound = self.sounds.recv() => {
                    let Some(sound) = sound else { return Ok(()) };
                    self.remember(sound);
                    send(socket, &sound.into()).await?;
                }
                _ = ping.tick() => {
                    if heard_at.elapsed() >= limits::LEASE {
                        return Ok(());
                    }
                    send_message(socket, Message::Ping(Vec::new().into())).await?;
                }
            }
        }
    }

    fn remember(&mut self, sound: HostSound) {
        if sound.heard {
            self.silent.remove(&sound.lobby);
        } else if self.silent.len() < SILENT_MAX {
            self.silent.insert(sound.lobby, sound);
        }
    }

    /// Passes an order on to the relay.
    async fn pass_on(&mut self, message: Message) -> Result<(), ServiceError> {
        match message {
            Message::Text(text) => match serde_json::from_str::<ToRelay>(&text) {
                Ok(order) => {
                    if let ToRelay::Close { lobby } = order {
                        self.silent.remove(&lobby);
                    }
                    self.orders.send(order.into()).await.map_err(|_stopped| ServiceError::Closed)
                }
                Err(error) => {
                    tracing::warn!(%error, "an order of the service is not understood");
                    Ok(())
                }
            },
            Message::Close(_) => Err(ServiceError::Closed),
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }
}

async fn send(socket: &mut Socket, message: &FromRelay) -> Result<(), ServiceError> {
    send_message(socket, Message::text(serde_json::to_string(message)?)).await
}

/// A socket that takes nothing for the length of a lease is lost.
async fn send_message(socket: &mut Socket, message: Message) -> Result<(), ServiceError> {
    let sent = tokio::time::timeout(limits::LEASE, socket.send(message)).await;
    Ok(sent.map_err(|_late| Error::ConnectionClosed).flatten().map_err(Box::new)?)
}
