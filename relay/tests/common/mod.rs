//! A signing service and peers with real sockets, for the tests of this crate.
#![expect(unreachable_pub, reason = "a module of two test programs, and public to them")]

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use protocol::frame::{HostHint, RelayFrame};
use protocol::id::{ConnectionId, HostEpoch, LobbyId, PlayerId, SessionTag};
use protocol::limits;
use protocol::relay::{Counters, DropReason, Limits};
use protocol::token::{Audience, GrantClaims, ISSUER, Registered, RelayClaims};
use relay::{Config, Running, Verifier};
use tokio::net::UdpSocket;

/// Far longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What signs tokens: a key and its name.
pub struct Signer {
    name: &'static str,
    key: EncodingKey,
}

impl Signer {
    pub fn new(name: &'static str) -> Self {
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let random = aws_lc_rs::rand::SystemRandom::new();
        let pair = aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8v1(&random).unwrap();
        Self { name, key: EncodingKey::from_ed_der(pair.as_ref()) }
    }

    pub fn jwks(&self) -> serde_json::Value {
        let mut key = Jwk::from_encoding_key(&self.key, Algorithm::EdDSA).unwrap();
        key.common.key_id = Some(self.name.into());
        serde_json::to_value(JwkSet { keys: vec![key] }).unwrap()
    }

    pub fn verifier(&self) -> Verifier {
        Verifier::from_jwks(&self.jwks(), ISSUER).unwrap()
    }

    pub fn sign(&self, audience: Audience, claims: &impl serde::Serialize) -> Vec<u8> {
        let typ = Some(audience.token_type().into());
        let header = Header { typ, kid: Some(self.name.into()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap().into_bytes()
    }

    pub fn member(&self, lobby: LobbyId, connection: u32) -> Vec<u8> {
        let connection = ConnectionId(connection);
        self.sign(Audience::Relay, &RelayClaims { registered: registered(Audience::Relay, 60), lobby, connection })
    }

    pub fn grant(&self, lobby: LobbyId, connection: u32, epoch: u64) -> Vec<u8> {
        let (connection, epoch) = (ConnectionId(connection), HostEpoch(epoch));
        let registered = registered(Audience::Grant, 60);
        self.sign(Audience::Grant, &GrantClaims { registered, lobby, connection, epoch })
    }
}

/// Claims that expire so many seconds from now.
pub fn registered(aud: Audience, expires_in_s: i64) -> Registered {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (sub, jti) = (PlayerId::from_bytes([9; 16]), "1".into());
    let exp = now_s.saturating_add_signed(expires_in_s);
    Registered { iss: ISSUER.into(), aud, sub, exp, nbf: exp - 60, iat: exp - 60, jti }
}

/// A running relay and the key that it trusts.
pub struct Stage {
    pub signer: Signer,
    pub relay: Running,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub async fn with(limits: Limits) -> Self {
        Self::of(Config { limits, ..Config::default() }).await
    }

    pub async fn of(config: Config) -> Self {
        let signer = Signer::new("current");
        let relay = relay::start(config, signer.verifier()).await.unwrap();
        Self { signer, relay }
    }

    pub async fn peer(&self) -> Peer {
        Peer::new(self.relay.address).await
    }

    /// A peer that is bound as this member.
    pub async fn member(&self, lobby: LobbyId, connection: u32) -> Peer {
        let mut peer = self.peer().await;
        let answer = peer.bind(&self.signer.member(lobby, connection)).await;
        assert!(matches!(decode(&answer), RelayFrame::Bound { .. }), "{:?}", decode(&answer));
        peer
    }

    pub async fn dropped(&self, reason: DropReason, times: u64) {
        let place = DropReason::ALL.iter().position(|&other| other == reason).unwrap();
        self.counted(|counters| counters.dropped[place] == times).await;
    }

    pub async fn counted(&self, wanted: impl Fn(&Counters) -> bool) {
        let counted = tokio::time::timeout(PATIENCE, self.relay.counters_when(&wanted)).await;
        counted.unwrap_or_else(|_| panic!("counted only {:?}", self.relay.counters())).expect("the relay runs");
    }
}

/// A peer's socket, and the session that it is bound in.
pub struct Peer {
    pub socket: UdpSocket,
    pub tag: SessionTag,
}

impl Peer {
    pub async fn new(relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(relay).await.unwrap();
        Self { socket, tag: SessionTag(0) }
    }

    pub async fn say(&self, frame: RelayFrame<'_>) {
        self.socket.send(&frame.to_vec()).await.unwrap();
    }

    pub async fn hear(&self) -> Vec<u8> {
        let mut buffer = vec![0; 2048];
        let length =
            tokio::time::timeout(PATIENCE, self.socket.recv(&mut buffer)).await.expect("nothing came").unwrap();
        buffer.truncate(length);
        buffer
    }

    pub async fn ask(&self, frame: RelayFrame<'_>) -> Vec<u8> {
        self.say(frame).await;
        self.hear().await
    }

    /// On loopback a datagram is there as soon as it was sent: what has not come by now was not sent.
    pub fn has_heard_nothing(&self) -> bool {
        self.socket.try_recv(&mut [0; 2048]).is_err()
    }

    pub async fn cookie(&self, token: &[u8]) -> [u8; 16] {
        let answer = self.ask(RelayFrame::BindRequest { token }).await;
        let RelayFrame::Challenge { cookie } = decode(&answer) else { panic!("no challenge") };
        cookie
    }

    /// The whole handshake. Returns the last answer.
    pub async fn bind(&mut self, token: &[u8]) -> Vec<u8> {
        let cookie = self.cookie(token).await;
        let answer = self.ask(RelayFrame::Bind { cookie, token }).await;
        if let RelayFrame::Bound { session, .. } = decode(&answer) {
            self.tag = session;
        }
        answer
    }

    pub async fn send(&self, to: u32, payload: &[u8]) {
        self.say(RelayFrame::Data { session: self.tag, peer: ConnectionId(to), payload }).await;
    }

    pub async fn hears(&self, from: u32, payload: &[u8]) {
        let expected = RelayFrame::Data { session: self.tag, peer: ConnectionId(from), payload };
        assert_eq!(decode(&self.hear().await), expected);
    }
}

pub fn decode(datagram: &[u8]) -> RelayFrame<'_> {
    RelayFrame::decode(datagram).unwrap()
}

pub fn hint(host: u32, epoch: u64) -> HostHint {
    HostHint { host: ConnectionId(host), epoch: HostEpoch(epoch) }
}

pub fn lobby(number: u8) -> LobbyId {
    LobbyId::from_bytes([number; 16])
}

/// The longest frame there is.
pub const LONGEST: usize = limits::RELAY_FRAME_BYTES_MAX;
