//! Frames: what goes through the relay, and what peers say to each other inside. All integers are big-endian.
//!
//! Decoding never panics, whatever the bytes are, and borrows its payloads.

use crate::id::{ConnectionId, HostEpoch, SessionTag};
use crate::journal::{Offer, Position};
use crate::limits;
use crate::snapshot::Generation;

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It ends too early.
    #[error("the frame is cut short")]
    Truncated,
    /// It is longer than its kind allows.
    #[error("the frame is longer than its kind allows")]
    TooLong,
    /// Of another version of the protocol.
    #[error("the frame is of another protocol version")]
    Version,
    /// No such kind.
    #[error("the frame is of no known kind")]
    Kind,
}

/// Reads big-endian fields from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(FrameError::Truncated)?;
        self.0 = tail;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, FrameError> {
        self.array::<1>().map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Result<u32, FrameError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, FrameError> {
        self.array().map(u64::from_be_bytes)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn end(&self) -> Result<(), FrameError> {
        if self.0.is_empty() { Ok(()) } else { Err(FrameError::TooLong) }
    }
}

/// A relay frame: one datagram between a peer and its relay.
///
/// ```text
/// 0        1                 5                  9
/// +--------+-----------------+------------------+---------------
/// | 0x1k   | session tag u32 | connection u32   | …
/// +--------+-----------------+------------------+---------------
///   version 1, kind k
/// ```
///
/// Whatever the relay sends to an address that has not proven itself is not longer than what came from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayFrame<'a> {
    /// `10 tag peer ciphertext`: to `peer` on the way in, from `peer` on the way out.
    Data {
        /// The session.
        session: SessionTag,
        /// Destination on the way in, source on the way out.
        peer: ConnectionId,
        /// What the relay cannot read.
        payload: &'a [u8],
    },
    /// `11 token`: a member asks to bind its address.
    BindRequest {
        /// Its relay token.
        token: &'a [u8],
    },
    /// `12 cookie[16]`: prove that you receive what is sent to this address.
    Challenge {
        /// To be returned with the bind.
        cookie: [u8; 16],
    },
    /// `13 cookie[16] token`: a member binds its address.
    Bind {
        /// From the challenge.
        cookie: [u8; 16],
        /// Its relay token.
        token: &'a [u8],
    },
    /// `14 tag connection host epoch`: bound.
    Bound {
        /// How the session is named from now on.
        session: SessionTag,
        /// The seat that the address is bound to.
        connection: ConnectionId,
        /// Who is host, as far as the relay knows.
        host: HostHint,
    },
    /// `15 tag padding[12]`: I am here.
    KeepAlive {
        /// The session.
        session: SessionTag,
        /// Makes the question as long as its answer.
        padding: [u8; 12],
    },
    /// `16 tag host epoch`: the answer to a keep-alive. As long as the question.
    Alive {
        /// The session.
        session: SessionTag,
        /// Who is host, as far as the relay knows.
        host: HostHint,
    },
    /// `17 tag token`: the sender is host now; the token says so.
    Grant {
        /// The session.
        session: SessionTag,
        /// The host grant.
        token: &'a [u8],
    },
    /// `18 tag host epoch`: the host moved. A hint that saves time; receivers fence by the epoch inside the traffic.
    HostMoved {
        /// The session.
        session: SessionTag,
        /// Who is host.
        host: HostHint,
    },
    /// `19 tag host epoch`: you were host and are not any more.
    Demoted {
        /// The session.
        session: SessionTag,
        /// Who is host.
        host: HostHint,
    },
    /// `1a tag`: the sender gives up its binding.
    Unbind {
        /// The session.
        session: SessionTag,
    },
    /// `1b reason`: a bind or a grant is refused. Sent only to an address that has proven itself.
    Refused {
        /// Why.
        reason: RefusedReason,
    },
}

/// Host and epoch as a relay knows them; epoch 0 means that nobody has presented a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostHint {
    /// The host.
    pub host: ConnectionId,
    /// Its epoch.
    pub epoch: HostEpoch,
}

impl HostHint {
    /// Nobody yet.
    pub const NONE: Self = Self { host: ConnectionId(0), epoch: HostEpoch::NONE };
}

/// Why a relay refuses a bind or a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedReason {
    /// 1: the token is not valid: ask the lobby service for another.
    Token,
    /// 2: the seat was given up or the player removed.
    Revoked,
    /// 3: the relay is full: ask for another.
    Busy,
    /// 4: a grant of an older epoch than the relay knows.
    StaleGrant,
}

impl RefusedReason {
    const ALL: [Self; 4] = [Self::Token, Self::Revoked, Self::Busy, Self::StaleGrant];

    const fn code(self) -> u8 {
        match self {
            Self::Token => 1,
            Self::Revoked => 2,
            Self::Busy => 3,
            Self::StaleGrant => 4,
        }
    }
}

/// Bytes of a data frame before its payload.
pub const RELAY_DATA_HEADER_BYTES: usize = 9;
/// Bytes of payload that a data frame can carry.
pub const RELAY_PAYLOAD_BYTES_MAX: usize = limits::RELAY_FRAME_BYTES_MAX - RELAY_DATA_HEADER_BYTES;

impl<'a> RelayFrame<'a> {
    /// Reads one datagram.
    ///
    /// # Errors
    /// [`FrameError`], by which the relay counts what it drops.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, FrameError> {
        if datagram.len() > limits::RELAY_FRAME_BYTES_MAX {
            return Err(FrameError::TooLong);
        }
        let mut reader = Reader(datagram);
        let kind = reader.u8()?;
        if kind >> 4 != 1 {
            return Err(FrameError::Version);
        }
        let frame = match kind & 0xF {
            0 => Self::Data { session: tag(&mut reader)?, peer: ConnectionId(reader.u32()?), payload: reader.rest() },
            1 => Self::BindRequest { token: reader.rest() },
            2 => Self::Challenge { cookie: reader.array()? },
            3 => Self::Bind { cookie: reader.array()?, token: reader.rest() },
            4 => Self::Bound {
                session: tag(&mut reader)?,
                connection: ConnectionId(reader.u32()?),
                host: hint(&mut reader)?,
            },
            5 => Self::KeepAlive { session: tag(&mut reader)?, padding: reader.array()? },
            6 => Self::Alive { session: tag(&mut reader)?, host: hint(&mut reader)? },
            7 => Self::Grant { session: tag(&mut reader)?, token: reader.rest() },
            8 => Self::HostMoved { session: tag(&mut reader)?, host: hint(&mut reader)? },
            9 => Self::Demoted { session: tag(&mut reader)?, host: hint(&mut reader)? },
            10 => Self::Unbind { session: tag(&mut reader)? },
            11 => {
                let code = reader.u8()?;
                let reason = RefusedReason::ALL.into_iter().find(|reason| reason.code() == code);
                Self::Refused { reason: reason.ok_or(FrameError::Kind)? }
            }
            _ => return Err(FrameError::Kind),
        };
        reader.end()?;
        Ok(frame)
    }

    /// Appends the frame to `buffer`.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        match *self {
            Self::Data { session, peer, payload } => {
                buffer.extend_from_slice(&Self::data_header(session, peer));
                buffer.extend_from_slice(payload);
            }
            Self::BindRequest { token } => put(buffer, 0x11, &[token]),
            Self::Challenge { cookie } => put(buffer, 0x12, &[&cookie]),
            Self::Bind { cookie, token } => put(buffer, 0x13, &[&cookie, token]),
            Self::Bound { session, connection, host } => {
                put(buffer, 0x14, &[&session.0.to_be_bytes(), &connection.0.to_be_bytes(), &host.bytes()]);
            }
            Self::KeepAlive { session, padding } => put(buffer, 0x15, &[&session.0.to_be_bytes(), &padding]),
            Self::Alive { session, host } => put(buffer, 0x16, &[&session.0.to_be_bytes(), &host.bytes()]),
            Self::Grant { session, token } => put(buffer, 0x17, &[&session.0.to_be_bytes(), token]),
            Self::HostMoved { session, host } => put(buffer, 0x18, &[&session.0.to_be_bytes(), &host.bytes()]),
            Self::Demoted { session, host } => put(buffer, 0x19, &[&session.0.to_be_bytes(), &host.bytes()]),
            Self::Unbind { session } => put(buffer, 0x1a, &[&session.0.to_be_bytes()]),
            Self::Refused { reason } => put(buffer, 0x1b, &[&[reason.code()]]),
        }
    }

    /// The frame as a datagram of its own.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut buffer = Vec::new();
        self.encode(&mut buffer);
        buffer
    }

    /// The first bytes of a data frame, for those who have the payload in place already.
    #[must_use]
    pub fn data_header(session: SessionTag, peer: ConnectionId) -> [u8; RELAY_DATA_HEADER_BYTES] {
        let mut header = [0x10; RELAY_DATA_HEADER_BYTES];
        header[1..5].copy_from_slice(&session.0.to_be_bytes());
        header[5..9].copy_from_slice(&peer.0.to_be_bytes());
        header
    }
}

impl HostHint {
    fn bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.host.0.to_be_bytes());
        bytes[4..].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes
    }
}

fn put(buffer: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    buffer.push(kind);
    parts.iter().for_each(|part| buffer.extend_from_slice(part));
}

fn tag(reader: &mut Reader<'_>) -> Result<SessionTag, FrameError> {
    reader.u32().map(SessionTag)
}

fn hint(reader: &mut Reader<'_>) -> Result<HostHint, FrameError> {
    Ok(HostHint { host: ConnectionId(reader.u32()?), epoch: HostEpoch(reader.u64()?) })
}

/// What peers say on a link. Each frame names the epoch of its sender, and the receiver looks at it first (P4).
///
/// ```text
/// 0        1             9
/// +--------+-------------+-----------
/// | kind   | epoch u64   | …
/// +--------+-------------+-----------
/// ```
///
/// On a stream each frame has its length before it, as a u32. A datagram is one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerFrame<'a> {
    /// The sender's epoch.
    pub epoch: HostEpoch,
    /// What it says.
    pub body: PeerBody<'a>,
}

/// What a peer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerBody<'a> {
    /// `1`: guest to host, first on the stream. MessagePack: [`Hello`].
    Hello(&'a [u8]),
    /// `2`: host to guest, the answer once the game runs. MessagePack: [`Welcome`].
    Welcome(&'a [u8]),
    /// `3`: host to guest: it may not come in. MessagePack: a reason as text.
    Refused(&'a [u8]),
    /// `4 number u64`: a message of the game, reliable and in order, numbered as [`crate::journal`] tells.
    Reliable {
        /// Its number.
        number: u64,
        /// The game's bytes.
        payload: &'a [u8],
    },
    /// `5`: a message of the game that may be lost.
    Unreliable(&'a [u8]),
    /// `6 tick u64 received u64 received-stable u64`: I am here, and have heard this much.
    Heartbeat {
        /// The newest tick that the game gave.
        tick: u64,
        /// The newest reliable message that a guest has; 0 from a host.
        received: u64,
        /// The same, of those after stable.
        received_stable: u64,
    },
    /// `7`: host to guests: the ownership table changed. MessagePack: `Vec<`[`crate::objects::Change`]`>`.
    Objects(&'a [u8]),
    /// `8`: the sender leaves.
    Goodbye,
    /// `9 number u64`: host to guest: as [`Self::Reliable`], of those that are said once their state is durable.
    AfterStable {
        /// Its number, of a sequence of its own.
        number: u64,
        /// The game's bytes.
        payload: &'a [u8],
    },
    /// `10`: a state, whole or as a difference: a record of [`crate::snapshot`]. From a host to its successor, or from a member to the
    /// elected one that asked for it; on a stream of its own.
    State(&'a [u8]),
    /// `11 epoch u64 number u64`: the sender holds this state, checked.
    StateTaken {
        /// Which.
        generation: Generation,
    },
    /// `12`: the sender wants a whole state: it has none, or a difference did not fit.
    StateWanted,
    /// `13 number u64`: host to guest: what you said up to here is in a durable state.
    Durable {
        /// The number.
        number: u64,
    },
    /// `14 epoch u64 number u64`: an elected member asks another for the state that it holds.
    StateAsked {
        /// What it said that it holds.
        generation: Generation,
    },
    /// `15 epoch u64 number u64`: host to successor: this state, which you hold, is my last; you are about to be host.
    LastState {
        /// Which.
        generation: Generation,
    },
    /// `16 number u64`: how long is the way there and back? In a datagram.
    Ping {
        /// The sender's own.
        number: u64,
    },
    /// `17 number u64`: the answer, at once and on the same link.
    Pong {
        /// That of the ping.
        number: u64,
    },
}

/// What a guest says first; and again on a link that it has, when the member at its other end becomes its host.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hello {
    /// For the game: what it wants to tell the host when it returns.
    #[serde(with = "serde_bytes")]
    pub extra: Vec<u8>,
    /// The link is for later: the other side is only the successor, or is the guest's host on another link already.
    #[serde(default)]
    pub standby: bool,
    /// The guest is in the game on another link, and goes on on this one: the game is not asked again.
    #[serde(default)]
    pub moves: bool,
    /// Where its streams are.
    pub offer: Offer,
    /// The newest state that it holds for the host.
    #[serde(default)]
    pub holds: Option<Generation>,
}

/// What a host answers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Welcome {
    /// The tick at which it goes on.
    pub tick: u64,
    /// The game's time in microseconds; the pause of a migration is not counted.
    pub elapsed_us: u64,
    /// The scene that is loaded.
    pub scene: String,
    /// The ownership table.
    pub objects: crate::objects::ObjectTable,
    /// Where the guest's streams are.
    pub position: Position,
}

/// Bytes of a peer frame before its payload, at most.
pub const PEER_HEADER_BYTES_MAX: usize = 17;

fn generation(reader: &mut Reader<'_>) -> Result<Generation, FrameError> {
    Ok(Generation { epoch: HostEpoch(reader.u64()?), seq: reader.u64()? })
}

impl<'a> PeerFrame<'a> {
    /// Reads one frame.
    ///
    /// # Errors
    /// [`FrameError`]; the link is closed with it.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader(bytes);
        let kind = reader.u8()?;
        let epoch = HostEpoch(reader.u64()?);
        let body = match kind {
            1 => PeerBody::Hello(reader.rest()),
            2 => PeerBody::Welcome(reader.rest()),
            3 => PeerBody::Refused(reader.rest()),
            4 => PeerBody::Reliable { number: reader.u64()?, payload: reader.rest() },
            5 => PeerBody::Unreliable(reader.rest()),
            6 => PeerBody::Heartbeat { tick: reader.u64()?, received: reader.u64()?, received_stable: reader.u64()? },
            7 => PeerBody::Objects(reader.rest()),
            8 => PeerBody::Goodbye,
            9 => PeerBody::AfterStable { number: reader.u64()?, payload: reader.rest() },
            10 => PeerBody::State(reader.rest()),
            11 => PeerBody::StateTaken { generation: generation(&mut reader)? },
            12 => PeerBody::StateWanted,
            13 => PeerBody::Durable { number: reader.u64()? },
            14 => PeerBody::StateAsked { generation: generation(&mut reader)? },
            15 => PeerBody::LastState { generation: generation(&mut reader)? },
            16 => PeerBody::Ping { number: reader.u64()? },
            17 => PeerBody::Pong { number: reader.u64()? },
            _ => return Err(FrameError::Kind),
        };
        reader.end()?;
        Ok(Self { epoch, body })
    }

    /// Appends the frame to `buffer`.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        let (kind, numbers, payload): (u8, &[u64], &[u8]) = match &self.body {
            PeerBody::Hello(payload) => (1, &[], payload),
            PeerBody::Welcome(payload) => (2, &[], payload),
            PeerBody::Refused(payload) => (3, &[], payload),
            PeerBody::Reliable { number, payload } => (4, &[*number], payload),
            PeerBody::Unreliable(payload) => (5, &[], payload),
            PeerBody::Heartbeat { tick, received, received_stable } => (6, &[*tick, *received, *received_stable], &[]),
            PeerBody::Objects(payload) => (7, &[], payload),
            PeerBody::Goodbye => (8, &[], &[]),
            PeerBody::AfterStable { number, payload } => (9, &[*number], payload),
            PeerBody::State(payload) => (10, &[], payload),
            PeerBody::StateTaken { generation } => (11, &[generation.epoch.0, generation.seq], &[]),
            PeerBody::StateWanted => (12, &[], &[]),
            PeerBody::Durable { number } => (13, &[*number], &[]),
            PeerBody::StateAsked { generation } => (14, &[generation.epoch.0, generation.seq], &[]),
            PeerBody::LastState { generation } => (15, &[generation.epoch.0, generation.seq], &[]),
            PeerBody::Ping { number } => (16, &[*number], &[]),
            PeerBody::Pong { number } => (17, &[*number], &[]),
        };
        buffer.push(kind);
        buffer.extend_from_slice(&self.epoch.0.to_be_bytes());
        numbers.iter().for_each(|number| buffer.extend_from_slice(&number.to_be_bytes()));
        buffer.extend_from_slice(payload);
    }

    /// The frame in bytes of its own.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut buffer = Vec::new();
        self.encode(&mut buffer);
        buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay_frames() -> Vec<RelayFrame<'static>> {
        let session = SessionTag(0xDEAD_BEEF);
        let host = HostHint { host: ConnectionId(3), epoch: HostEpoch(9) };
        vec![
            RelayFrame::Data { session, peer: ConnectionId(7), payload: b"ciphertext" },
            RelayFrame::BindRequest { token: b"token" },
            RelayFrame::Challenge { cookie: [5; 16] },
            RelayFrame::Bind { cookie: [5; 16], token: b"token" },
            RelayFrame::Bound { session, connection: ConnectionId(7), host },
            RelayFrame::KeepAlive { session, padding: [8; 12] },
            RelayFrame::Alive { session, host },
            RelayFrame::Grant { session, token: b"grant" },
            RelayFrame::HostMoved { session, host },
            RelayFrame::Demoted { session, host },
            RelayFrame::Unbind { session },
            RelayFrame::Refused { reason: RefusedReason::StaleGrant },
        ]
    }

    fn peer_frames() -> Vec<PeerFrame<'static>> {
        [
            PeerBody::Hello(b"hello"),
            PeerBody::Welcome(b"welcome"),
            PeerBody::Refused(b"no"),
            PeerBody::Reliable { number: 4, payload: b"move" },
            PeerBody::Unreliable(b"input"),
            PeerBody::Heartbeat { tick: 12, received: 7, received_stable: 1 },
            PeerBody::Objects(b"objects"),
            PeerBody::Goodbye,
            PeerBody::AfterStable { number: 4, payload: b"loot" },
            PeerBody::State(b"record"),
            PeerBody::StateTaken { generation: Generation { epoch: HostEpoch(5), seq: 9 } },
            PeerBody::StateWanted,
            PeerBody::Durable { number: 3 },
            PeerBody::StateAsked { generation: Generation { epoch: HostEpoch(5), seq: 9 } },
            PeerBody::LastState { generation: Generation { epoch: HostEpoch(5), seq: 9 } },
            PeerBody::Ping { number: 3 },
            PeerBody::Pong { number: 3 },
        ]
        .map(|body| PeerFrame { epoch: HostEpoch(6), body })
        .to_vec()
    }

    #[test]
    fn every_frame_reads_back_as_it_was_written() {
        for frame in relay_frames() {
            assert_eq!(RelayFrame::decode(&frame.to_vec()), Ok(frame));
        }
        for frame in peer_frames() {
            assert_eq!(PeerFrame::decode(&frame.to_vec()), Ok(frame));
        }
    }

    #[test]
    fn an_alive_is_not_longer_than_its_keep_alive() {
        let session = SessionTag(1);
        let question = RelayFrame::KeepAlive { session, padding: [0; 12] }.to_vec();
        let answer = RelayFrame::Alive { session, host: HostHint::NONE }.to_vec();
        assert!(answer.len() <= question.len());
    }

    #[test]
    fn flipped_cut_and_random_bytes_never_panic() {
        let mut rng = fastrand::Rng::with_seed(11);
        let whole: Vec<Vec<u8>> =
            relay_frames().iter().map(RelayFrame::to_vec).chain(peer_frames().iter().map(PeerFrame::to_vec)).collect();
        for _ in 0..20_000 {
            let mut bytes = match rng.u8(0..3) {
                0 => {
                    let length = rng.usize(0..64);
                    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
                }
                _ => whole[rng.usize(..whole.len())].clone(),
            };
            if !bytes.is_empty() {
                let at = rng.usize(..bytes.len());
                bytes[at] ^= 1 << rng.u8(0..8);
                bytes.truncate(rng.usize(0..=bytes.len()));
            }
            let _ = RelayFrame::decode(&bytes);
            let _ = PeerFrame::decode(&bytes);
        }
    }
}
