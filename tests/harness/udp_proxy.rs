//! The path of one peer to a relay, which can fall silent without either end being told.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the threads look whether they should end.
const LOOK: Duration = Duration::from_millis(50);
/// No datagram is larger.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// Forwards datagrams between one peer and a relay.
#[derive(Debug)]
pub struct UdpProxy {
    address: SocketAddr,
    path: Arc<Path>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Path {
    near: UdpSocket,
    far: UdpSocket,
    peer: Mutex<Option<SocketAddr>>,
    is_cut: AtomicBool,
    ends: AtomicBool,
}

impl UdpProxy {
    /// Starts to forward to this relay.
    ///
    /// # Errors
    /// Those of the sockets.
    pub fn to(relay: SocketAddr) -> io::Result<Self> {
        let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        far.connect(relay)?;
        near.set_read_timeout(Some(LOOK))?;
        far.set_read_timeout(Some(LOOK))?;
        let address = near.local_addr()?;
        let (is_cut, ends) = (AtomicBool::new(false), AtomicBool::new(false));
        let path = Arc::new(Path { near, far, peer: Mutex::new(None), is_cut, ends });
        let (outward, inward) = (path.clone(), path.clone());
        let threads = vec![
            std::thread::spawn(move || outward.forward_outward()),
            std::thread::spawn(move || inward.forward_inward()),
        ];
        Ok(Self { address, path, threads })
    }

    /// Where the peer finds its relay.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forwards nothing from now on, in either direction.
    pub fn cut(&self) {
        self.path.is_cut.store(true, Ordering::SeqCst);
    }
}

impl Drop for UdpProxy {
    fn drop(&mut self) {
        self.path.ends.store(true, Ordering::SeqCst);
        // A thread that panicked has been reported by its panic.
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Path {
    fn forward_outward(&self) {
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        while !self.ends.load(Ordering::SeqCst) {
            let Ok((length, peer)) = self.near.recv_from(&mut datagram) else { continue };
            *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = Some(peer);
            if !self.is_cut.load(Ordering::SeqCst) {
                // A datagram may be lost.
                drop(self.far.send(&datagram[..length]));
            }
        }
    }

    fn forward_inward(&self) {
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        while !self.ends.load(Ordering::SeqCst) {
            let Ok(length) = self.far.recv(&mut datagram) else { continue };
            let peer = *self.peer.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(peer) = peer.filter(|_| !self.is_cut.load(Ordering::SeqCst)) {
                drop(self.near.send_to(&datagram[..length], peer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_stays_silent_both_ways() {
        let relay = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for socket in [&relay, &peer] {
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        }
        let proxy = UdpProxy::to(relay.local_addr().unwrap()).unwrap();
        let mut bytes = [0; 8];
        peer.send_to(b"there", proxy.address()).unwrap();
        let (_, from) = relay.recv_from(&mut bytes).unwrap();
        relay.send_to(b"back", from).unwrap();
        assert_eq!(peer.recv(&mut bytes).unwrap(), 4);
        proxy.cut();
        peer.send_to(b"there", proxy.address()).unwrap();
        relay.send_to(b"back", from).unwrap();
        for socket in [&relay, &peer] {
            socket.set_read_timeout(Some(4 * LOOK)).unwrap();
            assert!(socket.recv(&mut bytes).is_err());
        }
    }
}
