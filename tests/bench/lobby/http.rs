//! The least HTTP client: one connection, one request at a time. What the generator takes of the machine, the servers lack.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Failure;
use super::player::Player;

/// Longest wait for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    server: SocketAddr,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(server: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, server, request: Vec::new(), answer: Vec::new() })
    }

    /// Posts JSON. Returns the body of the answer, if it is a good one.
    pub(crate) async fn post(&mut self, player: &Player, path: &str, body: &str) -> Result<&[u8], Failure> {
        self.send("POST", player, path, "application/json", body.as_bytes()).await
    }

    /// Puts bytes.
    pub(crate) async fn put(&mut self, player: &Player, path: &str, body: &[u8]) -> Result<&[u8], Failure> {
        self.send("PUT", player, path, "application/octet-stream", body).await
    }

    /// Patches with bytes.
    pub(crate) async fn patch(&mut self, player: &Player, path: &str, body: &[u8]) -> Result<&[u8], Failure> {
        self.send("PATCH", player, path, "application/octet-stream", body).await
    }

    /// Sends any request.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        player: &Player,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<&[u8], Failure> {
        self.request.clear();
        write!(
            self.request,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n",
            self.server,
            player.token,
            body.len()
        )?;
        if !body.is_empty() {
            write!(self.request, "content-type: {content_type}\r\n")?;
        }
        self.request.extend_from_slice(b"\r\n");
        self.request.extend_from_slice(body);
        self.stream.write_all(&self.request).await?;
        let (status, body) = tokio::time::timeout(PATIENCE, self.read()).await.map_err(|_| "no answer in time")??;
        let body = &self.answer[body..];
        if (200..300).contains(&status) {
            return Ok(body);
        }
        Err(format!("{method} {path}: {status} {}", String::from_utf8_lossy(body)).into())
    }

    /// Reads one answer. Returns its status and where its body begins.
    async fn read(&mut self) -> Result<(u16, usize), Failure> {
        self.answer.clear();
        let head = loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the connection was closed".into());
            }
            let end = self.answer.windows(END_OF_HEAD.len()).position(|bytes| bytes == END_OF_HEAD);
            if let Some(end) = end {
                break end;
            }
        };
        let (status, length) = parse(&self.answer[..head])?;
        let body = head + END_OF_HEAD.len();
        while self.answer.len() < body + length {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the connection was closed within an answer".into());
            }
        }
        Ok((status, body))
    }
}

/// The status, and the bytes of the body.
fn parse(head: &[u8]) -> Result<(u16, usize), Failure> {
    let head = std::str::from_utf8(head)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).ok_or("no status")?.parse()?;
    let mut fields = lines.filter_map(|line| line.split_once(": "));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    Ok((status, length.map_or(Ok(0), |(_, length)| length.parse())?))
}
