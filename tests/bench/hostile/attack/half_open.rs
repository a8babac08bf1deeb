//! Slow-loris: requests whose header comes line by line and never ends. Each that is closed is followed by another one.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::{Held, Notes};
use crate::scale::Scale;

pub(super) fn begin(server: SocketAddr, scale: &Scale, notes: &Notes) {
    for _ in 0..scale.half_open {
        spawn_local(go_on(server, *scale, Notes::clone(notes)));
    }
}

async fn go_on(server: SocketAddr, scale: Scale, notes: Notes) {
    loop {
        let held = Held::new(&notes);
        // A refused one counts as closed.
        let _ = drip(server, scale).await;
        held.cut();
    }
}

/// Returns when the service closes the connection.
async fn drip(server: SocketAddr, scale: Scale) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(b"GET /v1/lobbies HTTP/1.1\r\nhost: test\r\n").await?;
    let mut line = tokio::time::interval(scale.line);
    loop {
        tokio::select! {
            ready = stream.readable() => {
                ready?;
                if !matches!(stream.try_read(&mut [0; 256]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock) {
                    return Ok(());
                }
            }
            _ = line.tick() => stream.write_all(b"x-more: y\r\n").await?,
        }
    }
}
