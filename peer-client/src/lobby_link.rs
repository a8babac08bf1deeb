//! The event socket to the lobby: opened, resumed after the last event, opened again.

use std::sync::Arc;
use std::time::Duration;

use protocol::id::{ConnectionId, EventSeq, LobbyId, PeerKey};
use protocol::limits;
use protocol::message::{ClientMessage, CloseReason, NewsForm, ServerMessage};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_tungstenite::connect_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::driver::Input;
use crate::error::Error;
use crate::service::Service;
use crate::simulated::EventSocket;

/// First pause between two attempts; doubled each time.
const RETRY: Duration = Duration::from_millis(50);
/// Longest pause between two attempts, where the service names none.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Longest pause that the service may ask for.
const ASKED_PAUSE_MAX: Duration = Duration::from_secs(60);
/// An attempt that takes longer has failed.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages to the lobby that wait for the socket. They are soft state, repeated while they matter.
pub(crate) const MESSAGES_MAX: usize = 64;
/// Signals that wait for it.
pub(crate) const SIGNALS_MAX: usize = 256;

/// What the event socket works with.
pub(crate) struct LobbyLink {
    pub(crate) service: Arc<Service>,
    pub(crate) lobby: LobbyId,
    pub(crate) me: ConnectionId,
    pub(crate) peer_key: PeerKey,
    /// The newest event that the driver has been given.
    pub(crate) after: EventSeq,
    pub(crate) messages: mpsc::Receiver<ClientMessage>,
    pub(crate) signals: mpsc::Receiver<ClientMessage>,
    pub(crate) inputs: mpsc::Sender<Input>,
}

/// Why a socket ended.
enum End {
    /// It is opened again.
    Lost,
    /// It makes no sense to open it again; the driver was told.
    Over,
}

impl LobbyLink {
    /// Runs until the lobby says that this peer has no seat, or it is dropped.
    pub(crate) async fn run(mut self) {
        let mut pause = Pause::default();
        let mut last_report = None;
        loop {
            match self.open().await {
                Ok(mut socket) => {
                    if self.tell(Input::LobbyReachable).await {
                        return;
                    }
                    if let End::Over = self.serve(&mut socket, &mut last_report, &mut pause).await {
                        return;
                    }
                }
                Err(End::Over) => return,
                Err(End::Lost) => {}
            }
            if self.tell(Input::LobbyUnreachable).await {
                return;
            }
            sleep(pause.next(random_byte())).await;
        }
    }

    async fn open(&self) -> Result<EventSocket, End> {
        let opened = timeout(OPEN_TIMEOUT, self.try_open()).await;
        let error = match opened {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(Opening::NoSeat)) => {
                let reason = CloseReason::NotMember;
                self.tell(Input::Lobby(ServerMessage::Closing { reason, retry_after_ms: None })).await;
                return Err(End::Over);
            }
            Ok(Err(Opening::Failed(error))) => error,
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::debug!(error, "the event socket could not be opened");
        Err(End::Lost)
    }

    async fn try_open(&self) -> Result<EventSocket, Opening> {
        let (url, access) = self.service.events(self.lobby).await?;
        let mut request = url.into_client_request().map_err(|error| Opening::Failed(error.to_string()))?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {access}"))
            .map_err(|_| Opening::Failed("the token cannot stand in a header".to_owned()))?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        let config = WebSocketConfig::default()
            .max_message_size(Some(limits::SOCKET_ANSWER_BYTES_MAX))
            .max_frame_size(Some(limits::SOCKET_ANSWER_BYTES_MAX));
        let mut socket = match self.connect(request, config).await {
            Ok(socket) => socket,
            Err(tungstenite::Error::Http(response)) => return Err(self.refused(response.status(), &access).await),
            Err(error) => return Err(Opening::Failed(error.to_string())),
        };
        let hello = ClientMessage::Hello { peer_key: self.peer_key, after: Some(self.after), form: NewsForm::Events };
        send(&mut socket, &hello).await.map_err(|error| Opening::Failed(error.to_string()))?;
        Ok(socket)
    }

    async fn connect(&self, request: Request, config: WebSocketConfig) -> Result<EventSocket, tungstenite::Error> {
        let connecting = connect_async_with_config(request, Some(config), true);
        match self.service.network() {
            None => Ok(EventSocket::Real(Box::new(connecting.await?.0))),
            Some(network) => network.open(async { Ok(connecting.await?.0) }).await.map(EventSocket::Simulated),
        }
    }

    async fn refused(&self, status: StatusCode, access: &str) -> Opening {
        match status {
            // One answer on the way in may be another's than the service's.
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => match self.service.has_seat(self.lobby, self.me).await {
                Ok(false) => Opening::NoSeat,
                Ok(true) => Opening::Failed(status.to_string()),
                Err(error) => Opening::from(error),
            },
            StatusCode::UNAUTHORIZED => match self.service.renew(access).await {
                Ok(()) => Opening::Failed("the access token was renewed".to_owned()),
                Err(error) => Opening::from(error),
            },
            _ => Opening::Failed(status.to_string()),
        }
    }

    /// Passes messages both ways until the socket ends.
    async fn serve(
        &mut self,
        socket: &mut EventSocket,
        last_report: &mut Option<ClientMessage>,
        pause: &mut Pause,
    ) -> End {
        for message in still_to_say(&mut self.messages, last_report) {
            if send(socket, &message).await.is_err() {
                return End::Lost;
            }
        }
        let mut heard_at = Instant::now();
        loop {
            tokio::select! {
                message = timeout_at(heard_at + limits::LEASE, socket.next()) => {
                    let Ok(Some(Ok(message))) = message else { return End::Lost };
                    heard_at = Instant::now();
                    match message {
                        Message::Text(text) => {
                            if let Some(end) = self.take(text.as_str(), pause).await {
                                return end;
                            }
                        }
                        Message::Close(_) => return End::Lost,
                        // Reading answers pings.
                        Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => pause.served(),
                    }
                }
                message = self.messages.recv() => match message {
                    Some(message) => {
                        let sent = send(socket, &message).await;
                        if matches!(message, ClientMessage::Report { .. }) {
                            *last_report = Some(message);
                        }
                        if sent.is_err() {
                            return End::Lost;
                        }
                    }
                    None => return End::Over,
                },
                Some(signal) = self.signals.recv() => {
                    if send(socket, &signal).await.is_err() {
                        return End::Lost;
                    }
                }
            }
        }
    }

    async fn take(&mut self, text: &str, pause: &mut Pause) -> Option<End> {
        let message: ServerMessage = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%error, "the lobby said something that this version does not understand");
                return None;
            }
        };
        match &message {
            ServerMessage::Closing { retry_after_ms, .. } => pause.asked(*retry_after_ms),
            ServerMessage::Event(_)
            | ServerMessage::Resync { .. }
            | ServerMessage::Challenge { .. }
            | ServerMessage::Signal { .. } => pause.served(),
        }
        let end = match &message {
            ServerMessage::Event(event) => {
                self.after = self.after.max(event.seq);
                None
            }
            ServerMessage::Resync { lobby } => {
                self.after = lobby.seq;
                None
            }
            ServerMessage::Challenge { .. } | ServerMessage::Signal { .. } => None,
            ServerMessage::Closing { reason, .. } => Some(match reason {
                CloseReason::NotMember
                | CloseReason::Kicked
                | CloseReason::Banned
                | CloseReason::LobbyClosed
                | CloseReason::Replaced => End::Over,
                CloseReason::TooManyMessages
                | CloseReason::MessageTooLarge
                | CloseReason::Malformed
                | CloseReason::NoHello
                | CloseReason::LeaseExpired
                | CloseReason::TooSlow
                | CloseReason::GoingAway => End::Lost,
            }),
        };
        if self.tell(Input::Lobby(message)).await { Some(End::Over) } else { end }
    }

    /// Returns true if the driver is gone.
    async fn tell(&self, input: Input) -> bool {
        self.inputs.send(input).await.is_err()
    }
}

enum Opening {
    NoSeat,
    Failed(String),
}

impl From<Error> for Opening {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

async fn send(socket: &mut EventSocket, message: &ClientMessage) -> Result<(), tungstenite::Error> {
    let text = serde_json::to_string(message).map_err(|error| tungstenite::Error::Io(error.into()))?;
    socket.send(Message::text(text)).await
}

/// What is to be said on a new socket: the newest report, which the service may have forgotten, and what waits beside reports.
fn still_to_say(
    messages: &mut mpsc::Receiver<ClientMessage>,
    last_report: &mut Option<ClientMessage>,
) -> Vec<ClientMessage> {
    let mut others = Vec::new();
    while let Ok(message) = messages.try_recv() {
        match message {
            ClientMessage::Report { .. } => *last_report = Some(message),
            ClientMessage::Hello { .. } | ClientMessage::Hears { .. } | ClientMessage::Signal { .. } => {
                others.push(message)
            }
        }
    }
    last_report.iter().cloned().chain(others).collect()
}

/// How long to wait until the next attempt. The peers of a service that restarts do not come in step.
#[derive(Debug, Default)]
struct Pause {
    /// Of the last attempt.
    last: Duration,
    /// The service asked for it.
    asked: Duration,
}

impl Pause {
    /// The service serves this peer: the next attempt may come soon.
    const fn served(&mut self) {
        self.last = Duration::ZERO;
    }

    fn asked(&mut self, retry_after_ms: Option<u64>) {
        self.asked = Duration::from_millis(retry_after_ms.unwrap_or(0)).min(ASKED_PAUSE_MAX);
    }

    /// Three quarters to five quarters of this peer's own pause, but not before the time that the service asked for, spread over
    /// half as much again.
    fn next(&mut self, random: u8) -> Duration {
        let random = u32::from(random);
        self.last = (2 * self.last).clamp(RETRY, RETRY_MAX);
        let asked = std::mem::take(&mut self.asked);
        (self.last * (192 + random / 2) / 256).max(asked + asked * random / 512)
    }
}

fn random_byte() -> u8 {
    let mut random = [0];
    // Without randomness all peers come in step.
    let _ = getrandom::fill(&mut random);
    random[0]
}

#[cfg(test)]
mod tests {
    use protocol::id::HostEpoch;

    use super::*;

    #[test]
    fn pauses_grow_until_the_service_has_served_this_peer() {
        let mut pause = Pause::default();
        let pauses: Vec<_> = (0..8).map(|_| pause.next(128).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        pause.served();
        assert_eq!(pause.next(128), RETRY);
    }

    #[test]
    fn a_service_that_asks_for_time_gets_it_once_and_no_more_than_is_sensible() {
        let mut pause = Pause::default();
        pause.asked(Some(1000));
        assert_eq!(pause.next(0).as_millis(), 1000);
        assert!(pause.next(0) < Duration::from_secs(1));
        pause.asked(Some(1000));
        assert_eq!(pause.next(255).as_millis(), 1498);
        pause.asked(Some(u64::MAX));
        assert_eq!(pause.next(0), ASKED_PAUSE_MAX);
    }

    #[test]
    fn a_new_socket_is_told_the_newest_report_and_none_before_it() {
        let (sender, mut messages) = mpsc::channel(MESSAGES_MAX);
        let report = |hears_host| ClientMessage::Report { epoch: HostEpoch(4), hears_host };
        let hears = ClientMessage::Hears { epoch: HostEpoch(4), guests: Vec::new() };
        for message in [report(true), hears.clone(), report(false)] {
            sender.try_send(message).unwrap();
        }
        let mut last_report = Some(report(true));
        assert_eq!(still_to_say(&mut messages, &mut last_report), [report(false), hears]);
        assert_eq!(still_to_say(&mut messages, &mut last_report), [report(false)]);
    }
}
