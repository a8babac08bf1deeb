//! Plain sockets that find out what a network lets through: what STUN says, and whether two of them reach each other.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// One round trip on this machine takes far less.
const PATIENCE: Duration = Duration::from_millis(100);
/// Rounds without success that are enough to say no.
const ROUNDS: u32 = 10;
const COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();

/// The address of this socket as a STUN server sees it; `None`: no answer.
///
/// # Panics
/// If the answer is no answer to the question.
#[must_use]
pub fn seen_by(server: &str, socket: &UdpSocket) -> Option<SocketAddr> {
    let transaction = *b"is it me you";
    let question = [&[0, 1, 0, 0][..], &COOKIE, &transaction].concat();
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
    (0..ROUNDS).find_map(|_| {
        socket.send_to(&question, server).ok()?;
        let mut answer = [0; 64];
        let (length, _) = socket.recv_from(&mut answer).ok()?;
        assert!(length >= 32 && answer[..2] == [1, 1] && answer[4..8] == COOKIE && answer[8..20] == transaction);
        assert_eq!(answer[20..26], [0, 0x20, 0, 8, 0, 1], "the address comes first, and is one of IPv4");
        let port = u16::from_be_bytes([answer[26] ^ COOKIE[0], answer[27] ^ COOKIE[1]]);
        let ip: [u8; 4] = std::array::from_fn(|at| answer[28 + at] ^ COOKIE[at]);
        Some((Ipv4Addr::from(ip), port).into())
    })
}

/// Whether two sockets hear each other, when each writes to where the other is said to be, and then to where it was heard from.
///
/// # Panics
/// If a socket takes no time-out.
#[must_use]
pub fn reach_each_other(sockets: [&UdpSocket; 2], seen_at: [SocketAddr; 2]) -> bool {
    let [first, second] = sockets;
    let mut ends = [End::new(first, seen_at[1]), End::new(second, seen_at[0])];
    (0..ROUNDS).any(|_| {
        ends.iter().for_each(End::say);
        ends.iter_mut().for_each(End::listen);
        ends.iter().all(|end| end.was_heard)
    })
}

struct End<'a> {
    socket: &'a UdpSocket,
    other: SocketAddr,
    was_heard: bool,
}

impl<'a> End<'a> {
    fn new(socket: &'a UdpSocket, other: SocketAddr) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        Self { socket, other, was_heard: false }
    }

    fn say(&self) {
        // What cannot be sent does not arrive.
        let _ = self.socket.send_to(b"hello", self.other);
    }

    fn listen(&mut self) {
        if let Ok((_, source)) = self.socket.recv_from(&mut [0; 64]) {
            (self.other, self.was_heard) = (source, true);
        }
    }
}
