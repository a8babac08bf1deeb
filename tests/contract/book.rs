//! Sends requests, and keeps a book of what was answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use reqwest::header::{HeaderName, HeaderValue};
use serde_json::Value;
use tests::service::{Answer, TestPlayer, TestService};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::description::{Description, Operation, Outcome};

/// A request of an operation.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    operation: String,
    token: Option<String>,
    /// What stands in the path for each parameter.
    path: BTreeMap<&'static str, String>,
    query: Option<String>,
    headers: Vec<(&'static str, String)>,
    body: Option<(String, Vec<u8>)>,
}

impl Ask {
    pub(crate) fn of(operation: &str) -> Self {
        let (path, headers) = (BTreeMap::new(), Vec::new());
        Self { operation: operation.to_owned(), token: None, path, query: None, headers, body: None }
    }

    pub(crate) fn by(self, player: &TestPlayer) -> Self {
        self.with_token(&player.token)
    }

    pub(crate) fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// In this lobby.
    pub(crate) fn at(self, lobby: impl Display) -> Self {
        self.with_part("id", lobby)
    }

    pub(crate) fn seat(self, connection: u32) -> Self {
        self.with_part("connection", connection)
    }

    pub(crate) fn player(self, player: impl Display) -> Self {
        self.with_part("player", player)
    }

    fn with_part(mut self, name: &'static str, value: impl Display) -> Self {
        self.path.insert(name, value.to_string());
        self
    }

    /// As the host of this epoch.
    pub(crate) fn epoch(self, epoch: u64) -> Self {
        self.query(&format!("epoch={epoch}"))
    }

    pub(crate) fn query(self, query: &str) -> Self {
        Self { query: Some(query.to_owned()), ..self }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.bytes("application/json", body.to_string().into_bytes())
    }

    pub(crate) fn bytes(self, kind: &str, body: Vec<u8>) -> Self {
        Self { body: Some((kind.to_owned(), body)), ..self }
    }

    /// As a browser or a library asks for a WebSocket.
    pub(crate) fn upgrade(self) -> Self {
        self.header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    fn target(&self, template: &str) -> String {
        let path = self
            .path
            .iter()
            .fold(template.to_owned(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value));
        match &self.query {
            Some(query) => format!("{path}?{query}"),
            None => path,
        }
    }
}

/// What was answered, and what of it the description does not say.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) description: Description,
    answered: BTreeSet<(String, Outcome)>,
    wrong: Vec<String>,
}

impl Book {
    pub(crate) fn new() -> Self {
        Self { description: Description::read(), answered: BTreeSet::new(), wrong: Vec::new() }
    }

    /// What a request asks for.
    pub(crate) fn operation_of(&self, ask: &Ask) -> &Operation {
        &self.description.operations[&ask.operation]
    }

    /// Sends a request that is to be answered with this status, or with the problem of this code. Returns the answer's JSON.
    pub(crate) async fn expect(&mut self, service: &TestService, wanted: &str, ask: Ask) -> Value {
        let asked = format!("{} {:?} {:?}", ask.operation, ask.path, ask.query);
        let answer = self.send(service, ask).await;
        self.compare(&asked, wanted, &answer);
        answer.json()
    }

    fn compare(&mut self, asked: &str, wanted: &str, answer: &Answer) {
        let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
        if wanted != answer.status.as_str() && wanted != code {
            let body = String::from_utf8_lossy(&answer.bytes);
            self.wrong.push(format!("{asked}: {wanted} expected, but it was {}: {body:.300}", answer.status));
        }
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, service: &TestService, ask: Ask) -> Answer {
        let Some(operation) = self.description.operations.get(&ask.operation) else {
            panic!("the description has no operation {}", ask.operation);
        };
        let (method, target) = (operation.method.clone(), ask.target(&operation.path));
        let answer = service.send(|client, service| {
            let mut request = client.request(method, service.url("http", &target));
            if let Some(token) = &ask.token {
                request = request.bearer_auth(token);
            }
            for (name, value) in &ask.headers {
                request = request.header(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
            }
            match ask.body {
                Some((kind, body)) => request.header("content-type", kind).body(body),
                None => request,
            }
        });
        let answer = answer.await;
        self.note(&ask.operation, &answer);
        answer
    }

    /// Sends a request that announces so many bytes, and none of them; is to be answered with the problem of this code.
    pub(crate) async fn expect_unsent(&mut self, service: &TestService, wanted: &str, ask: Ask, bytes: usize) {
        let operation = &self.description.operations[&ask.operation];
        let (method, target) = (&operation.method, ask.target(&operation.path));
        let kind = operation.takes.as_deref().unwrap();
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {bytes}\r\n",
            service.address()
        );
        if let Some(token) = &ask.token {
            head += &format!("authorization: Bearer {token}\r\n");
        }
        let mut stream = TcpStream::connect(service.address()).await.unwrap();
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(std::time::Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        read.expect("the service answers in time").expect("the answer is whole");
        let answer = parsed(&answer);
        self.note(&ask.operation, &answer);
        self.compare(&format!("{} unsent", ask.operation), wanted, &answer);
    }

    /// Every answer passes here.
    pub(crate) fn note(&mut self, operation: &str, answer: &Answer) {
        let status = answer.status.as_u16();
        if let Err(why) = self.description.check(operation, status, &answer.content_type, &answer.bytes) {
            let body = String::from_utf8_lossy(&answer.bytes);
            self.wrong.push(format!("{operation} answered {status}: {why}: {body:.600}"));
        }
        let code = answer.json()["code"].as_str().filter(|_| status >= 400).map(ToOwned::to_owned);
        self.answered.insert((operation.to_owned(), (status, code)));
    }

    /// Fails if something was answered that is not as it is described.
    pub(crate) fn expect_no_difference(&self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }

    #[expect(clippy::print_stdout, reason = "the matrix is for whoever runs the test")]
    /// Prints what was answered; fails unless that is what is documented, all of it and nothing else.
    pub(crate) fn close(self) {
        println!("{}", matrix(&self.answered));
        let documented = self.description.outcomes();
        let missing: Vec<_> = documented.difference(&self.answered).map(|one| format!("{one:?}")).collect();
        let more: Vec<_> = self.answered.difference(&documented).map(|one| format!("{one:?}")).collect();
        let is_true = self.wrong.is_empty() && missing.is_empty() && more.is_empty();
        assert!(
            is_true,
            "wrong:\n{}\n\ndocumented, but not provoked:\n{}\n\nanswered, but not documented:\n{}",
            self.wrong.join("\n"),
            missing.join("\n"),
            more.join("\n")
        );
        println!("{} operations, {} answers", self.description.operations.len(), self.answered.len());
    }
}

/// One line for each operation and status.
fn matrix(answered: &BTreeSet<(String, Outcome)>) -> String {
    let mut rows: BTreeMap<(&str, u16), Vec<&str>> = BTreeMap::new();
    for (operation, (status, code)) in answered {
        rows.entry((operation, *status)).or_default().extend(code.as_deref());
    }
    let rows = rows.iter().map(|((operation, status), codes)| format!("{operation:<16} {status}  {}", codes.join(" ")));
    rows.collect::<Vec<_>>().join("\n")
}

fn parsed(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.trim().to_owned())
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer {
        status,
        content_type: header("content-type").unwrap_or_default(),
        etag: header("etag"),
        retry_after: None,
        headers: reqwest::header::HeaderMap::default(),
        bytes: answer[end + 4..].to_vec(),
    }
}
