//! The lobby service as a relay in a process of its own sees it: where the keys come from and the orders.

mod control_socket;

use std::time::Duration;

use futures_util::future::join_all;
use protocol::relay::HostSound;
use tokio::sync::mpsc;

use crate::control::Order;
use crate::verifier::Verifier;
use control_socket::ControlLink;

/// How often the keys are read anew: a service publishes a key a minute before it signs with it, and one that it has removed is to
/// be forgotten soon.
const KEYS_INTERVAL: Duration = Duration::from_secs(20);
/// How soon they are read again when a token names an unknown key: anybody can make one up.
const KEYS_PAUSE: Duration = Duration::from_secs(2);
/// Time for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Sounds that wait for one control socket.
const SOUNDS_MAX: usize = 256;
/// Bytes of a key set: 16 Ed25519 keys have about 3 KB.
const KEYS_BYTES_MAX: usize = 64 * 1024;

/// Why the lobby service could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Not an `http` or `https` address.
    #[error("the address of the service must start with http:// or https://")]
    Address,
    /// The secret has characters that no header can carry.
    #[error("the secret cannot be sent in a header")]
    Secret,
    /// The keys could not be read.
    #[error("the keys could not be read")]
    Request(#[from] reqwest::Error),
    /// The answer is not a key set.
    #[error("the service published something else than keys")]
    Keys(#[from] serde_json::Error),
    /// The answer is longer than any key set.
    #[error("the service published more than {KEYS_BYTES_MAX} bytes of keys")]
    TooLong,
    /// The control socket could not be opened, or broke.
    #[error("the control socket failed")]
    Socket(#[from] Box<tokio_tungstenite::tungstenite::Error>),
    /// The control socket was closed, or nothing came on it for too long.
    #[error("the control socket was closed")]
    Closed,
}

/// The instances of the lobby service, and what the relay needs to be let in.
pub struct Service {
    bases: Vec<String>,
    authorization: reqwest::header::HeaderValue,
    client: reqwest::Client,
}

impl Service {
    /// Names the instances of the service by their base addresses, such as `http://127.0.0.1:8080`, and the secret that they gave
    /// to their relays.
    ///
    /// # Errors
    /// [`ServiceError::Address`], [`ServiceError::Secret`], or [`ServiceError::Request`] if no HTTP client could be made.
    pub fn new(bases: &[String], secret: &str) -> Result<Self, ServiceError> {
        if bases.is_empty() || !bases.iter().all(|base| base.starts_with("http://") || base.starts_with("https://")) {
            return Err(ServiceError::Address);
        }
        let mut authorization = reqwest::header::HeaderValue::try_from(format!("Bearer {secret}"))
            .map_err(|_not_a_header| ServiceError::Secret)?;
        authorization.set_sensitive(true);
        let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build()?;
        let bases = bases.iter().map(|base| base.trim_end_matches('/').to_owned()).collect();
        Ok(Self { bases, authorization, client })
    }

    /// Reads the public keys, which all instances share, again and again until one of them has answered.
    pub async fn keys(&self) -> serde_json::Value {
        let mut pause = Pause::default();
        loop {
            for base in &self.bases {
                match self.read_keys(base).await {
                    Ok(keys) => return keys,
                    Err(error) => {
                        tracing::warn!(base, error = &error as &dyn std::error::Error, "no keys there yet");
                    }
                }
            }
            pause.wait().await;
        }
    }

    /// Keeps the verifier's keys as the service publishes them. Never ends.
    pub async fn keep_keys(&self, verifier: &Verifier) {
        loop {
            tokio::time::sleep(KEYS_PAUSE).await;
            // An unknown key cuts the rest of the interval short.
            let _ = tokio::time::timeout(KEYS_INTERVAL - KEYS_PAUSE, verifier.unknown_key()).await;
            if let Err(error) = verifier.replace_keys(&self.keys().await) {
                tracing::warn!(error = &error as &dyn std::error::Error, "new keys are refused, the old ones stay");
            }
        }
    }

    /// Keeps a control socket open to each instance: registers `advertised`, sends sounds, passes orders on. Ends when the relay has
    /// stopped.
    pub async fn keep_control(
        &self,
        advertised: std::net::SocketAddr,
        orders: mpsc::Sender<Order>,
        mut sounds: mpsc::Receiver<HostSound>,
    ) {
        let (each, links): (Vec<_>, Vec<_>) = self
            .bases
            .iter()
            .map(|base| {
                let (sender, sounds) = mpsc::channel(SOUNDS_MAX);
                (sender, self.keep_link(base, ControlLink::new(advertised, orders.clone(), sounds)))
            })
            .unzip();
        let share = async {
            while let Some(sound) = sounds.recv().await {
                for link in &each {
                    // A link reads them whether its socket is open or not.
                    if link.send(sound).await.is_err() {
                        return;
                    }
                }
            }
        };
        tokio::join!(share, join_all(links));
    }

    async fn keep_link(&self, base: &str, mut link: ControlLink) {
        let mut pause = Pause::default();
        while !link.relay_has_stopped() {
            match link.remember_during(control_socket::open(base, &self.authorization)).await {
                Ok(socket) => {
                    pause = Pause::default();
                    let end = link.serve(socket).await;
                    tracing::warn!(base, error = &end as &dyn std::error::Error, "the control socket is lost");
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(base, error, "the service does not let the relay in");
                }
            }
            link.remember_during(pause.wait()).await;
        }
    }

    async fn read_keys(&self, base: &str) -> Result<serde_json::Value, ServiceError> {
        let address = format!("{base}/.well-known/jwks.json");
        let mut response = self.client.get(address).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > KEYS_BYTES_MAX {
                return Err(ServiceError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

/// Pauses between attempts: each twice as long as the one before, up to a limit.
struct Pause(Duration);

impl Pause {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(5);

    async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Self::LONGEST);
    }
}

impl Default for Pause {
    fn default() -> Self {
        Self(Self::FIRST)
    }
}
