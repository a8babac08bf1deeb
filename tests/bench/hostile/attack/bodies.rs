//! Bodies that are too large, declared and chunked, sent on whatever is answered until the service closes the connection.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::interval;

use super::{Held, Notes};
use crate::scale::Scale;

/// A thousand times the limit.
const BODY_BYTES: usize = 16 * 1024 * 1024;
const PIECE_BYTES: usize = 16 * 1024;

pub(super) fn begin(server: SocketAddr, scale: &Scale, notes: &Notes) {
    for number in 0..scale.senders {
        spawn_local(go_on(server, *scale, number % 2 == 0, Notes::clone(notes)));
    }
}

async fn go_on(server: SocketAddr, scale: Scale, is_chunked: bool, notes: Notes) {
    let mut bodies = interval(scale.body);
    loop {
        bodies.tick().await;
        let held = Held::new(&notes);
        // Closed is what is waited for; a whole body was taken by somebody.
        if send(server, is_chunked).await.is_err() {
            held.cut();
        }
    }
}

async fn send(server: SocketAddr, is_chunked: bool) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(server).await?;
    let framing =
        if is_chunked { "transfer-encoding: chunked".into() } else { format!("content-length: {BODY_BYTES}") };
    let head =
        format!("POST /v1/players HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n{framing}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let (size, end) = if is_chunked { (format!("{PIECE_BYTES:x}\r\n"), "\r\n") } else { (String::new(), "") };
    let piece = [size.as_bytes(), &vec![b' '; PIECE_BYTES], end.as_bytes()].concat();
    for _ in 0..BODY_BYTES / PIECE_BYTES {
        stream.write_all(&piece).await?;
    }
    Ok(())
}
