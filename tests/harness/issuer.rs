//! An issuer of tokens for tests: publishes its keys on loopback, rotates them, is slow, or breaks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use lobby_service::auth::issuers::{IssuerSettings, KeySource};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::signer::Signer;

/// Whom its tokens are for.
pub const AUDIENCE: &str = "duel";

/// How it answers who asks for its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// With its keys.
    Well,
    /// Not before it is in another mood; then as if it had always been well.
    Silent,
    /// With a status of 500.
    Broken,
    /// With something else than keys.
    Confused,
    /// With more bytes than anybody should read.
    Endless,
    /// With the address of its keys elsewhere.
    Elsewhere,
}

#[derive(Debug)]
struct Desk {
    mood: watch::Sender<Mood>,
    keys: Value,
    asked: usize,
}

/// An issuer.
#[derive(Debug)]
pub struct TestIssuer {
    /// What it signs with.
    pub signer: Signer,
    name: String,
    address: String,
    desk: Arc<Mutex<Desk>>,
    serving: JoinHandle<()>,
}

impl Drop for TestIssuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl TestIssuer {
    /// Starts one that signs with EdDSA, ES256 or RS256.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(name: &str, algorithm: &str) -> Self {
        let signer = Signer::generate("key-1", algorithm);
        let desk = Desk { mood: watch::Sender::new(Mood::Well), keys: key_set(&[&signer]), asked: 0 };
        let desk = Arc::new(Mutex::new(desk));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}/keys", listener.local_addr().expect("it is bound"));
        let router =
            Router::new().route("/keys", get(answer)).route("/elsewhere", get(elsewhere)).with_state(Arc::clone(&desk));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { signer, name: name.to_owned(), address, desk, serving }
    }

    /// How a service is told of it.
    ///
    /// # Panics
    /// Never: its parts are well-formed.
    #[must_use]
    pub fn settings(&self) -> IssuerSettings {
        let Self { name, address, signer, .. } = self;
        let (issuer, algorithm) = (self.issuer(), signer.algorithm());
        let text = format!("name={name},issuer={issuer},audience={AUDIENCE},jwks={address},algorithm={algorithm}");
        text.parse().expect("well-formed settings")
    }

    /// The same with its keys in a file.
    #[must_use]
    pub fn settings_with_file(&self, file: &std::path::Path) -> IssuerSettings {
        IssuerSettings { keys: KeySource::File(file.to_owned()), ..self.settings() }
    }

    /// What its tokens name as their issuer.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("https://{}.example", self.name)
    }

    /// The keys that it publishes.
    #[must_use]
    pub fn keys(&self) -> Value {
        self.desk().keys.clone()
    }

    /// Signs with another key from now on, and publishes only that.
    pub fn rotate(&mut self, kid: &str) {
        self.signer = Signer::generate(kid, self.signer.algorithm());
        let keys = key_set(&[&self.signer]);
        self.desk().keys = keys;
    }

    /// Changes how it answers.
    pub fn set_mood(&self, mood: Mood) {
        self.desk().mood.send_replace(mood);
    }

    /// How often it was asked for its keys.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.desk().asked
    }

    /// The claims of an honest token.
    #[must_use]
    pub fn claims(&self, subject: &str) -> Value {
        let now_s = now_s();
        json!({"iss": self.issuer(), "sub": subject, "aud": [AUDIENCE, "another"], "exp": now_s + 300, "nbf": now_s, "iat": now_s})
    }

    /// An honest token.
    #[must_use]
    pub fn token(&self, subject: &str) -> String {
        self.signer.sign(&self.signer.header("JWT").to_string(), &self.claims(subject).to_string())
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds since the Unix epoch.
#[must_use]
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A key set as it is published.
#[must_use]
pub fn key_set(signers: &[&Signer]) -> Value {
    json!({"keys": signers.iter().map(|signer| signer.public()).collect::<Vec<_>>()})
}

async fn answer(State(desk): State<Arc<Mutex<Desk>>>) -> Response {
    let (mut moods, keys) = {
        let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.asked += 1;
        (desk.mood.subscribe(), desk.keys.clone())
    };
    let mood = *moods.borrow_and_update();
    match mood {
        Mood::Well => axum::Json(keys).into_response(),
        Mood::Silent => {
            // An error means that the issuer is gone.
            let _ = moods.wait_for(|mood| *mood != Mood::Silent).await;
            axum::Json(keys).into_response()
        }
        Mood::Broken => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Mood::Confused => "{\"keys\": 7}".into_response(),
        Mood::Endless => vec![b' '; 8 << 20].into_response(),
        Mood::Elsewhere => (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")]).into_response(),
    }
}

/// Where nobody should be sent.
async fn elsewhere(State(desk): State<Arc<Mutex<Desk>>>) -> Response {
    let keys = desk.lock().unwrap_or_else(PoisonError::into_inner).keys.clone();
    axum::Json(keys).into_response()
}
