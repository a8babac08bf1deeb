//! What the service's tokens claim, and the checks that need no key. Shells verify the signatures (EdDSA) first.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{ConnectionId, HostEpoch, LobbyId, PlayerId};
use crate::limits;
use crate::time::Timestamp;

/// Who issues all tokens, unless the operator says otherwise.
pub const ISSUER: &str = "understudy";

/// Whom a token is for. A token for one is refused by all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "&str", try_from = "String")]
pub enum Audience {
    /// The REST API and the event socket.
    Api,
    /// A relay: a member binds its address.
    Relay,
    /// A relay: a host says that it is host now.
    Grant,
    /// The event socket, once: a browser cannot send a header with it.
    Socket,
}

impl Audience {
    /// The `aud` claim.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "understudy:api",
            Self::Relay => "understudy:relay",
            Self::Grant => "understudy:grant",
            Self::Socket => "understudy:socket",
        }
    }

    /// The `typ` header: what kind of token is for it (RFC 8725 section 3.11).
    #[must_use]
    pub const fn token_type(self) -> &'static str {
        match self {
            Self::Api => "understudy-access+jwt",
            Self::Relay => "understudy-relay+jwt",
            Self::Grant => "understudy-grant+jwt",
            Self::Socket => "understudy-ticket+jwt",
        }
    }

    /// How long such a token lives.
    #[must_use]
    pub const fn token_life(self) -> Duration {
        match self {
            Self::Api => limits::ACCESS_TOKEN_LIFE,
            Self::Relay => limits::RELAY_TOKEN_LIFE,
            Self::Grant => limits::HOST_GRANT_LIFE,
            Self::Socket => limits::SOCKET_TICKET_LIFE,
        }
    }
}

impl From<Audience> for &'static str {
    fn from(audience: Audience) -> Self {
        audience.as_str()
    }
}

impl TryFrom<String> for Audience {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let all = [Self::Api, Self::Relay, Self::Grant, Self::Socket];
        all.into_iter().find(|audience| audience.as_str() == text).ok_or("nobody is called so")
    }
}

/// The registered claims (RFC 7519 section 4.1) that every token of ours has. Times are seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Issuer.
    pub iss: String,
    /// Audience.
    pub aud: Audience,
    /// Subject: the player.
    pub sub: PlayerId,
    /// Expiry.
    pub exp: u64,
    /// Not before.
    pub nbf: u64,
    /// Issued at.
    pub iat: u64,
    /// A number for this token alone.
    pub jti: String,
}

/// Claims of an access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// The registered ones; `sub` is the player.
    #[serde(flatten)]
    pub registered: Registered,
}

/// Claims of a member's relay token: this player sits at this connection of this lobby.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayClaims {
    /// The registered ones.
    #[serde(flatten)]
    pub registered: Registered,
    /// The lobby, and so the relay session.
    pub lobby: LobbyId,
    /// The member's seat.
    pub connection: ConnectionId,
}

/// Claims of a ticket: this player opens the event socket of this lobby, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketClaims {
    /// The registered ones.
    #[serde(flatten)]
    pub registered: Registered,
    /// The lobby.
    pub lobby: LobbyId,
}

/// Claims of a host grant: this connection is host of this lobby at this epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantClaims {
    /// The registered ones.
    #[serde(flatten)]
    pub registered: Registered,
    /// The lobby.
    pub lobby: LobbyId,
    /// The host.
    pub connection: ConnectionId,
    /// Its epoch.
    pub epoch: HostEpoch,
}

/// Why claims are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Another issuer's.
    #[error("the token's issuer is not this service")]
    Issuer,
    /// For somebody else.
    #[error("the token is meant for another audience")]
    Audience,
    /// Over.
    #[error("the token has expired")]
    Expired,
    /// Not yet.
    #[error("the token is not valid yet")]
    NotYet,
    /// It lives longer than any of its kind, or has no number.
    #[error("no such token was ever issued")]
    NeverIssued,
}

impl Registered {
    /// Checks issuer, audience and times, with [`limits::CLOCK_LEEWAY`], and that it lives no longer than its kind does.
    ///
    /// # Errors
    /// The first check that fails, as a [`ClaimError`].
    pub fn check(&self, issuer: &str, audience: Audience, now: Timestamp) -> Result<(), ClaimError> {
        let now_s = now.0 / 1000;
        let leeway_s = limits::CLOCK_LEEWAY.as_secs();
        if self.iss != issuer {
            Err(ClaimError::Issuer)
        } else if self.aud != audience {
            Err(ClaimError::Audience)
        } else if self.exp.saturating_add(leeway_s) <= now_s {
            Err(ClaimError::Expired)
        } else if self.nbf.max(self.iat) > now_s.saturating_add(leeway_s) {
            Err(ClaimError::NotYet)
        } else if self.exp.saturating_sub(self.iat) > audience.token_life().as_secs() || self.jti.is_empty() {
            Err(ClaimError::NeverIssued)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Registered {
        let sub = PlayerId::from_bytes([1; 16]);
        Registered { iss: ISSUER.into(), aud: Audience::Api, sub, exp: 100, nbf: 50, iat: 50, jti: "x".into() }
    }

    #[test]
    fn a_token_is_refused_outside_its_time_its_issuer_and_its_audience() {
        let at = |s: u64| Timestamp(s * 1000);
        assert_eq!(claims().check(ISSUER, Audience::Api, at(60)), Ok(()));
        assert_eq!(claims().check("other", Audience::Api, at(60)), Err(ClaimError::Issuer));
        assert_eq!(claims().check(ISSUER, Audience::Relay, at(60)), Err(ClaimError::Audience));
        assert_eq!(claims().check(ISSUER, Audience::Api, at(105)), Err(ClaimError::Expired));
        assert_eq!(claims().check(ISSUER, Audience::Api, at(44)), Err(ClaimError::NotYet));
        assert_eq!(claims().check(ISSUER, Audience::Api, at(104)), Ok(()), "leeway");
        let check = |claims: Registered| claims.check(ISSUER, Audience::Api, at(60));
        assert_eq!(check(Registered { iat: 66, ..claims() }), Err(ClaimError::NotYet));
        assert_eq!(check(Registered { exp: u64::MAX, ..claims() }), Err(ClaimError::NeverIssued));
        assert_eq!(check(Registered { jti: String::new(), ..claims() }), Err(ClaimError::NeverIssued));
    }
}
