//! Options about TURN servers.

use std::path::PathBuf;
use std::time::Duration;

use protocol::limits;

use super::{Unusable, read};
use crate::auth::{Turn, TurnUrl};
use crate::config::Secret;

/// The environment variable that may hold the secret of the TURN servers.
const TURN_SECRET: &str = "UNDERSTUDY_TURN_SECRET";
/// Shorter than this they would run out while a link is being made; longer than a day is no time limit.
const CREDENTIAL_LIFE_S: std::ops::RangeInclusive<u64> = 60..=24 * 3600;

/// The choices, as flags.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "TURN servers")]
pub(super) struct TurnArguments {
    /// TURN server through which WebRTC links go where nothing better does: turn:HOST:PORT?transport=udp, or tcp, or turns: for TLS.
    /// May be repeated; in the environment separated by commas. It takes credentials that are good for a time (coturn:
    /// use-auth-secret, and the secret as static-auth-secret).
    #[arg(long, value_name = "URL", env = "UNDERSTUDY_TURN_URL", value_delimiter = ',')]
    turn_url: Vec<TurnUrl>,
    /// File that holds the secret of the TURN servers. Without it UNDERSTUDY_TURN_SECRET counts, if it is set.
    #[arg(long, value_name = "FILE", env = "UNDERSTUDY_TURN_SECRET_FILE")]
    turn_secret_file: Option<PathBuf>,
    /// Seconds for which credentials for TURN servers are good. A link that is up does not need them any more.
    #[arg(long, value_name = "SECONDS", env = "UNDERSTUDY_TURN_CREDENTIAL_LIFE_S")]
    #[arg(default_value_t = limits::TURN_CREDENTIAL_LIFE.as_secs(), value_parser = life)]
    turn_credential_life_s: u64,
}

fn life(text: &str) -> Result<u64, String> {
    let refused = || format!("{} to {} seconds", CREDENTIAL_LIFE_S.start(), CREDENTIAL_LIFE_S.end());
    text.parse().ok().filter(|life_s| CREDENTIAL_LIFE_S.contains(life_s)).ok_or_else(refused)
}

impl TurnArguments {
    /// The servers, if any.
    ///
    /// # Errors
    /// [`Unusable::File`]; [`Unusable::TurnSecret`] if there is no secret for them.
    pub(super) fn turn(&self) -> Result<Option<Turn>, Unusable> {
        let secret = match &self.turn_secret_file {
            Some(path) => read("turn-secret-file", path)?,
            None => std::env::var(TURN_SECRET).unwrap_or_default(),
        };
        if self.turn_url.is_empty() {
            return Ok(None);
        }
        if secret.trim().is_empty() {
            return Err(Unusable::TurnSecret);
        }
        let credential_life = Duration::from_secs(self.turn_credential_life_s);
        let turn = Turn::new(self.turn_url.clone(), Secret::from(secret.trim()));
        Ok(Some(Turn { credential_life, ..turn }))
    }
}
