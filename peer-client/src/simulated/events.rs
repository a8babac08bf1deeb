//! The event socket to the lobby, late in both directions.

use futures_util::{SinkExt, StreamExt};
use protocol::limits;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::NetworkControl;

/// Messages that are under way in one direction. Above it the lobby has to wait, as TCP would let it; what this peer says fails.
const UNDER_WAY_MAX: usize = 1024;

/// A socket as it was opened.
pub(crate) type Wire = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The event socket, over the real network or over a simulated one.
pub(crate) enum EventSocket {
    /// As it is.
    Real(Box<Wire>),
    /// Late.
    Simulated(LateSocket),
}

impl EventSocket {
    /// The next message; `None`: there is none any more. May be dropped while it waits: nothing is lost.
    pub(crate) async fn next(&mut self) -> Option<Result<Message, Error>> {
        match self {
            Self::Real(socket) => socket.next().await,
            Self::Simulated(socket) => socket.next().await,
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) async fn send(&mut self, message: Message) -> Result<(), Error> {
        match self {
            Self::Real(socket) => socket.send(message).await,
            Self::Simulated(socket) => socket.send(message),
        }
    }
}

/// When it is there, and what.
type Due<T> = (Instant, T);

/// A socket whose messages are late. Dropped: what was said still arrives, and then the end of it, unless a partition is longer than the
/// service waits for a member.
pub(crate) struct LateSocket {
    control: NetworkControl,
    incoming: mpsc::Receiver<Due<Result<Message, Error>>>,
    /// Read, but not yet there.
    front: Option<Due<Result<Message, Error>>>,
    outgoing: mpsc::Sender<Due<Message>>,
    _in_use: oneshot::Sender<()>,
}

impl LateSocket {
    /// Serves the socket from a task of its own, so that many messages are under way at once.
    pub(crate) fn new(socket: Wire, control: NetworkControl) -> Self {
        let (said, outgoing) = mpsc::channel(UNDER_WAY_MAX);
        let (arrived, incoming) = mpsc::channel(UNDER_WAY_MAX);
        let (in_use, dropped) = oneshot::channel();
        let carried = carry(socket, control.clone(), outgoing, arrived);
        tokio::spawn(async move {
            let given_up = async {
                // It is only ever dropped.
                let _ = dropped.await;
                sleep(limits::LEASE).await;
            };
            tokio::select! {
                () = carried => {}
                () = given_up => {}
            }
        });
        Self { control, incoming, front: None, outgoing: said, _in_use: in_use }
    }

    async fn next(&mut self) -> Option<Result<Message, Error>> {
        let at = match &self.front {
            Some((at, _)) => *at,
            None => self.front.insert(self.incoming.recv().await?).0,
        };
        sleep_until(at).await;
        self.control.healed().await;
        self.front.take().map(|(_, message)| message)
    }

    fn send(&self, message: Message) -> Result<(), Error> {
        self.outgoing.try_send((self.control.arrival(), message)).map_err(|_| Error::ConnectionClosed)
    }
}

/// Passes messages both ways until there is nobody to pass them to.
async fn carry(
    socket: Wire,
    control: NetworkControl,
    mut outgoing: mpsc::Receiver<Due<Message>>,
    arrived: mpsc::Sender<Due<Result<Message, Error>>>,
) {
    let (mut sink, mut stream) = socket.split();
    let writing = {
        let control = control.clone();
        async move {
            while let Some((at, message)) = outgoing.recv().await {
                sleep_until(at).await;
                control.healed().await;
                if sink.send(message).await.is_err() {
                    return;
                }
            }
            control.pass().await;
        }
    };
    let reading = async move {
        loop {
            control.healed().await;
            // In a partition at most one more is read, and held with the others; its ping, if it is one, would be answered with the next.
            let message = tokio::select! {
                () = arrived.closed() => return,
                message = stream.next() => message,
            };
            let Some(message) = message else { return };
            let is_last = message.is_err();
            if arrived.send((control.arrival(), message)).await.is_err() || is_last {
                return;
            }
        }
    };
    tokio::join!(writing, reading);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;
    use tokio_tungstenite::{accept_async, client_async};

    use super::*;
    use crate::simulated::SimulatedNetwork;

    const MS: Duration = Duration::from_millis(1);

    /// Both ends of a socket; the first is late.
    async fn ends(control: &NetworkControl) -> (LateSocket, WebSocketStream<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let (client, service) =
            tokio::join!(client_async("ws://127.0.0.1/", MaybeTlsStream::Plain(dialled)), accept_async(accepted));
        (LateSocket::new(client.unwrap().0, control.clone()), service.unwrap())
    }

    fn text(number: u32) -> Message {
        Message::text(number.to_string())
    }

    #[tokio::test]
    async fn messages_are_late_in_both_directions_and_keep_their_order() {
        let control = NetworkControl::new(SimulatedNetwork::new(7).delay(60 * MS).jitter(60 * MS).loss(1.0));
        let (mut socket, mut service) = ends(&control).await;
        let sent_at = Instant::now();
        for number in 0..200 {
            socket.send(text(number)).unwrap();
            service.send(text(number)).await.unwrap();
        }
        for number in 0..200 {
            let to_lobby = async { (service.next().await.unwrap().unwrap(), sent_at.elapsed()) };
            let from_lobby = async { (socket.next().await.unwrap().unwrap(), sent_at.elapsed()) };
            for (message, late) in <[_; 2]>::from(tokio::join!(to_lobby, from_lobby)) {
                assert_eq!(message, text(number));
                assert!(late >= 60 * MS, "{late:?}");
            }
        }
        // One after the other they would have taken 12 s each way.
        assert!(sent_at.elapsed() < Duration::from_secs(6), "{:?}", sent_at.elapsed());
    }

    #[tokio::test]
    async fn a_partition_holds_messages_both_ways_and_answers_no_ping_until_it_is_healed() {
        let control = NetworkControl::new(SimulatedNetwork::new(7));
        let (mut socket, mut service) = ends(&control).await;
        control.partition(true);
        socket.send(text(1)).unwrap();
        service.send(Message::Ping("there?".into())).await.unwrap();
        service.send(text(2)).await.unwrap();
        let nothing =
            tokio::time::timeout(100 * MS, futures_util::future::select(Box::pin(socket.next()), service.next()));
        assert!(nothing.await.is_err());
        control.partition(false);
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Ping("there?".into()));
        assert_eq!(socket.next().await.unwrap().unwrap(), text(2));
        let mut received = [service.next().await.unwrap().unwrap(), service.next().await.unwrap().unwrap()];
        received.sort_by_key(|message| message.is_text());
        assert_eq!(received, [Message::Pong("there?".into()), text(1)]);
    }

    #[tokio::test]
    async fn what_is_under_way_when_the_plug_is_pulled_is_held() {
        let control = NetworkControl::new(SimulatedNetwork::new(7).delay(20 * MS));
        let (mut socket, mut service) = ends(&control).await;
        service.send(text(1)).await.unwrap();
        while socket.incoming.is_empty() {
            tokio::task::yield_now().await;
        }
        control.partition(true);
        assert!(tokio::time::timeout(100 * MS, socket.next()).await.is_err());
        control.partition(false);
        assert_eq!(socket.next().await.unwrap().unwrap(), text(1), "and was not lost with the wait for it");
    }

    #[tokio::test]
    async fn what_was_said_arrives_though_the_socket_is_gone_and_then_its_end() {
        let control = NetworkControl::new(SimulatedNetwork::new(7).delay(20 * MS));
        let (socket, mut service) = ends(&control).await;
        socket.send(text(1)).unwrap();
        drop(socket);
        assert_eq!(service.next().await.unwrap().unwrap(), text(1));
        assert!(service.next().await.is_none_or(|end| end.is_err()));
    }

    #[tokio::test]
    async fn the_end_of_the_service_is_noticed_after_what_it_said() {
        let control = NetworkControl::new(SimulatedNetwork::new(7).delay(20 * MS));
        let (mut socket, mut service) = ends(&control).await;
        service.send(text(1)).await.unwrap();
        drop(service);
        assert_eq!(socket.next().await.unwrap().unwrap(), text(1));
        assert!(socket.next().await.is_none_or(|end| end.is_err()));
    }
}
