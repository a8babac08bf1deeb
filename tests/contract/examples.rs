//! The examples of the description are a story: every request of it is sent, in order, and every answer is as it is written.
//!
//! What differs each time is named: a scene's `binds` says where in its answer, and what stands for it in the story from then on. Times
//! (milliseconds of this century) only have to be times. To write the answers anew after a change of the API, run this test with
//! `UNDERSTUDY_WRITE_EXAMPLES=1`, and read what has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lobby_service::auth::Turn;
use lobby_service::auth::api_key::Scope;
use lobby_service::config::Config;
use lobby_service::identity::Identity;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tests::issuer::TestIssuer;
use tests::service::{Answer, TestService};

use crate::book::Book;
use crate::{api_key, config};

/// From when on a number is a time: 2020.
const TIME_MS: u64 = 1_577_836_800_000;
/// What stands in the story for what the test brings along.
const SERVER_KEY: &str = "<API key of a game server>";
const ISSUER_TOKEN: &str = "<token of the studio's issuer>";

#[derive(Serialize, Deserialize)]
pub(crate) struct Examples {
    about: Vec<String>,
    story: Vec<Scene>,
}

#[derive(Serialize, Deserialize)]
struct Scene {
    operation: String,
    about: String,
    request: Request,
    answer: Expected,
    /// By where it stands in the answer (RFC 6901): what stands for it in the story.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    binds: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Request {
    method: String,
    path: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Expected {
    status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../openapi/examples.json")
}

impl Examples {
    pub(crate) fn read() -> Self {
        serde_json::from_slice(&std::fs::read(file()).unwrap()).unwrap()
    }

    /// A body that an operation takes.
    pub(crate) fn body_of(&self, operation: &str) -> Vec<u8> {
        let scene = self.story.iter().find(|scene| scene.operation == operation);
        scene
            .unwrap_or_else(|| panic!("{operation} has no example"))
            .request
            .bytes(&Names::default())
            .unwrap_or_default()
    }
}

impl Request {
    fn bytes(&self, names: &Names) -> Option<Vec<u8>> {
        let json = self.body.as_ref().map(|body| names.real(&body.to_string()).into_bytes());
        json.or_else(|| self.body_base64.as_ref().map(|body| STANDARD.decode(body).unwrap()))
    }

    async fn send(&self, service: &TestService, names: &Names) -> Answer {
        let (method, path): (Method, _) = (self.method.parse().unwrap(), names.real(&self.path));
        service
            .send(|client, service| {
                let request = client.request(method, service.url("http", &path));
                let request =
                    self.headers.iter().fold(request, |request, (name, value)| request.header(name, names.real(value)));
                match self.bytes(names) {
                    Some(body) => request.body(body),
                    None => request,
                }
            })
            .await
    }
}

/// What stands in the story for what there really is.
#[derive(Default)]
struct Names(Vec<(String, String)>);

impl Names {
    fn add(&mut self, name: &str, real: &str) {
        assert!(!real.is_empty());
        if !self.0.iter().any(|(known, _)| known == name) {
            self.0.push((name.to_owned(), real.to_owned()));
        }
    }

    fn real(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, real)| text.replace(name, real))
    }

    /// What stands for the longest first: it may have others in it.
    fn story(&self, text: &str) -> String {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by_key(|(_, real)| std::cmp::Reverse(real.len()));
        all.into_iter().fold(text.to_owned(), |text, (name, real)| text.replace(real, name))
    }
}

fn written(answer: &Answer, names: &Names) -> Expected {
    let json = answer.content_type.ends_with("json").then(|| {
        let text = String::from_utf8(answer.bytes.clone()).unwrap();
        serde_json::from_str(&names.story(&text)).unwrap()
    });
    let is_bytes = answer.content_type == "application/octet-stream";
    Expected {
        status: answer.status.as_u16(),
        etag: answer.etag.clone(),
        body: json,
        body_base64: is_bytes.then(|| STANDARD.encode(&answer.bytes)),
    }
}

/// Whether two answers are the same but for their times.
fn is_same(one: &Value, other: &Value) -> bool {
    let is_time = |value: &Value| value.as_u64().is_some_and(|number| number >= TIME_MS);
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.keys().eq(other.keys()) && one.iter().all(|(name, value)| is_same(value, &other[name]))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        _ => one == other || is_time(one) && is_time(other),
    }
}

/// Members say that they are alive, however long the machine takes for the story.
#[derive(Default)]
struct Seats(BTreeMap<(String, String), Value>);

impl Seats {
    fn note(&mut self, request: &Request, names: &Names, answer: &Answer) {
        let (Some(token), Some(body)) = (request.headers.get("authorization"), &request.body) else { return };
        if let (Some(lobby), Some(key)) = (answer.json()["lobby"]["id"].as_str(), body.get("peer_key")) {
            self.0.insert((names.real(token), lobby.to_owned()), json!({"peer_key": key}));
        }
    }

    async fn beat(&self, service: &TestService) {
        for ((token, lobby), body) in &self.0 {
            let path = format!("/v1/lobbies/{lobby}/heartbeat");
            service
                .send(|client, service| {
                    client.post(service.url("http", &path)).header("authorization", token).json(body)
                })
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_are_what_the_service_does() {
    let issuer = TestIssuer::start("studio", "ES256").await;
    let identity = Identity { issuer: vec![issuer.settings()], ..Identity::default() };
    let turn = Turn::new(vec!["turn:turn.example:3478?transport=udp".parse().unwrap()], "hush".into());
    let service = TestService::start(Config { identity, turn: Some(turn), ..config() }).await;
    let mut names = Names::default();
    names.add(SERVER_KEY, &api_key(&service, &Scope::ALL).await);
    names.add(ISSUER_TOKEN, &issuer.token("ada"));
    let mut examples = Examples::read();
    let (mut book, mut seats, mut differences) = (Book::new(), Seats::default(), Vec::new());
    for scene in &mut examples.story {
        let answer = scene.request.send(&service, &names).await;
        book.note(&scene.operation, &answer);
        seats.note(&scene.request, &names, &answer);
        for (at, name) in &scene.binds {
            match answer.json().pointer(at).and_then(Value::as_str) {
                Some(real) => names.add(name, real),
                None => differences.push(format!("{}: nothing at {at}", scene.about)),
            }
        }
        let given = written(&answer, &names);
        let bodies = (json!([&scene.answer]), json!([&given]));
        if !is_same(&bodies.0, &bodies.1) {
            differences.push(format!("{}:\nwritten {}\nbut now {}", scene.about, bodies.0, bodies.1));
            scene.answer = given;
        }
        seats.beat(&service).await;
    }
    service.stop().await;
    if std::env::var_os("UNDERSTUDY_WRITE_EXAMPLES").is_some() {
        let text = serde_json::to_string_pretty(&examples).unwrap();
        std::fs::write(file(), text + "\n").unwrap();
    }
    assert!(differences.is_empty(), "the examples are not true any more:\n{}", differences.join("\n"));
    let told: BTreeSet<_> = examples.story.iter().map(|scene| &scene.operation).collect();
    let all: BTreeSet<_> = book.description.operations.keys().collect();
    assert_eq!(told, all, "every operation has an example, and every example is of an operation");
    book.expect_no_difference();
}

#[test]
fn an_answer_that_differs_is_noticed() {
    let is_same = |one, other| is_same(&one, &other);
    assert!(is_same(json!({"at": TIME_MS, "seq": 1}), json!({"at": TIME_MS + 5, "seq": 1})));
    assert!(!is_same(json!({"at": TIME_MS, "seq": 1}), json!({"at": TIME_MS, "seq": 2})));
    assert!(!is_same(json!({"at": TIME_MS}), json!({"at": null})));
    assert!(!is_same(json!({"a": 1}), json!({"a": 1, "b": 1})));
    assert!(!is_same(json!([1]), json!([1, 2])));
}

#[test]
fn the_description_shows_an_example_of_every_body() {
    let description = serde_json::to_value(lobby_service::http::description()).unwrap();
    for operation in
        description["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
    {
        let request = &operation["requestBody"]["content"]["application/json"];
        assert!(request.is_null() || request["example"].is_object(), "{}", operation["operationId"]);
        let answers = operation["responses"].as_object().unwrap();
        let mut good =
            answers.iter().filter(|(status, _)| status.starts_with('2')).map(|(_, answer)| &answer["content"]);
        assert!(
            good.all(
                |content| content["application/json"].is_null() || content["application/json"]["example"].is_object()
            )
        );
    }
}
