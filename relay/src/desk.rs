//! What is to be done with a frame, whichever way it came: the table's word, with signatures verified and questions counted.

use std::net::SocketAddr;
use std::time::Instant;

use protocol::frame::{HostHint, RELAY_DATA_HEADER_BYTES};
use protocol::relay::{Action, DropReason, RelayTable};
use protocol::token::{GrantClaims, RelayClaims};

use crate::rates::{self, Rates};
use crate::verifier::{TokenError, Verifier};

/// The table, and what it needs to know of tokens.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) table: RelayTable,
    verifier: Verifier,
    /// Who may have tokens verified.
    proofs: Rates,
    /// Who is told how it looks from here.
    stun: Rates,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Send it on, with its first bytes replaced.
    Forward { to: SocketAddr, header: [u8; RELAY_DATA_HEADER_BYTES] },
    /// Send this back.
    Reply(Vec<u8>),
    /// Send this back, if that can be done at once.
    Stun(Vec<u8>),
    /// Nothing.
    Nothing,
    /// Nothing: it was not accepted.
    Dropped,
}

impl Desk {
    pub(crate) fn new(table: RelayTable, verifier: Verifier, now: Instant) -> Self {
        Self { table, verifier, proofs: Rates::new(rates::PROOFS, now), stun: Rates::new(rates::STUN, now) }
    }

    /// Decides about a frame from this address.
    pub(crate) fn handle(&mut self, source: SocketAddr, frame: &[u8], now: Instant) -> Outcome {
        match self.table.handle_datagram(source, frame, now) {
            Action::Forward { to, header, payload: _ } => Outcome::Forward { to, header },
            Action::Reply(answer) => Outcome::Reply(answer),
            Action::AnswerStun(_) if !self.stun.admit(source.ip(), now) => {
                self.table.stun_dropped();
                Outcome::Dropped
            }
            Action::AnswerStun(question) => Outcome::Stun(question.answer(source)),
            Action::VerifyMember { .. } | Action::VerifyGrant { .. } if !self.proofs.admit(source.ip(), now) => {
                self.table.proof_dropped();
                Outcome::Dropped
            }
            Action::VerifyMember { token } => {
                let claims = self.verifier.verify_member(token);
                Outcome::Reply(self.bind(claims, source, now))
            }
            Action::VerifyGrant { token } => {
                let claims = self.verifier.verify_grant(token);
                Outcome::Reply(self.grant(claims, source, now))
            }
            Action::Nothing => Outcome::Nothing,
            Action::Drop(reason) => {
                tracing::trace!(reason = reason.as_str(), "dropped");
                Outcome::Dropped
            }
        }
    }

    /// Answers a member whose token was looked at.
    fn bind(&mut self, claims: Result<RelayClaims, TokenError>, source: SocketAddr, now: Instant) -> Vec<u8> {
        match claims {
            Ok(claims) => self.table.bind(source, claims.lobby, claims.connection, fresh_tag(), now),
            Err(error) => self.refuse(&error),
        }
    }

    /// Answers a host whose grant was looked at.
    fn grant(&mut self, claims: Result<GrantClaims, TokenError>, source: SocketAddr, now: Instant) -> Vec<u8> {
        match claims {
            Ok(GrantClaims { lobby, connection, epoch, .. }) => {
                self.table.grant(source, lobby, HostHint { host: connection, epoch }, now)
            }
            Err(error) => self.refuse(&error),
        }
    }

    fn refuse(&mut self, error: &TokenError) -> Vec<u8> {
        tracing::debug!(%error, "a token is refused");
        self.table.refuse(DropReason::BadToken)
    }
}

/// A random number for a new session. Where there is none the table takes the next free one: nothing rests on it alone.
fn fresh_tag() -> u32 {
    getrandom::u32().unwrap_or_default()
}
