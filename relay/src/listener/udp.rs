//! The UDP socket: one datagram is one frame.

use std::io;
use std::net::SocketAddr;

use protocol::limits;
use tokio::net::UdpSocket;

/// One byte more than a frame may have, so that a datagram that was cut is seen to be too long.
const BUFFER_BYTES: usize = limits::RELAY_FRAME_BYTES_MAX + 1;

/// The socket and the one buffer that every datagram passes through.
#[derive(Debug)]
pub(crate) struct UdpListener {
    socket: UdpSocket,
    buffer: Box<[u8; BUFFER_BYTES]>,
}

impl UdpListener {
    pub(crate) fn new(socket: UdpSocket) -> Self {
        Self { socket, buffer: Box::new([0; BUFFER_BYTES]) }
    }

    /// Waits until a datagram may be there.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Waits until the system may take a datagram.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// Reads a datagram into the buffer, if one is there. Returns its sender and its length.
    pub(crate) fn receive(&mut self) -> io::Result<(SocketAddr, usize)> {
        let (length, source) = self.socket.try_recv_from(self.buffer.as_mut_slice())?;
        Ok((source, length))
    }

    /// The first bytes of the buffer.
    pub(crate) fn datagram(&self, length: usize) -> &[u8] {
        self.buffer.get(..length).unwrap_or_default()
    }

    /// Sends the received datagram on, with its first bytes replaced: in and out the header has the same length.
    pub(crate) fn forward<const N: usize>(
        &mut self,
        to: SocketAddr,
        header: &[u8; N],
        length: usize,
    ) -> io::Result<()> {
        if let Some(head) = self.buffer.first_chunk_mut::<N>() {
            *head = *header;
        }
        self.send(to, self.datagram(length))
    }

    /// Sends bytes if the system takes them at once.
    pub(crate) fn send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.socket.try_send_to(bytes, to).map(|_| ())
    }

    #[cfg(test)]
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket has an address")
    }
}
