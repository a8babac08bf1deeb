//! What an operator chooses about keys and tokens.

use std::path::PathBuf;
use std::time::Duration;

use crate::auth::issuers::{IssuerSettings, Refresh};

/// Seconds between a new signing key and its first signature.
const KEY_ACTIVATION_S: u64 = 60;
/// The admin token's file.
const ADMIN_TOKEN_FILE: &str = "./understudy-admin-token";

/// The choices, as flags.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Keys and tokens")]
pub struct Identity {
    /// Seconds after which a new signing key (--rotate-key) signs: by then every instance and every relay must know it.
    #[arg(long, env = "UNDERSTUDY_KEY_ACTIVATION_S", default_value_t = KEY_ACTIVATION_S)]
    pub key_activation_s: u64,
    /// Takes tokens of another issuer: name=NAME,issuer=ISS,audience=AUD,jwks=URL-OR-FILE,algorithm=EdDSA|ES256|RS256, and typ=TYP
    /// if its tokens have another type than JWT. Can be given several times; in the environment separated by semicolons.
    #[arg(long, env = "UNDERSTUDY_ISSUER", value_delimiter = ';')]
    pub issuer: Vec<IssuerSettings>,
    /// The token of the admin API (mode 0600). Made, with a random token, when the admin API is first served.
    #[arg(long, env = "UNDERSTUDY_ADMIN_TOKEN_FILE", default_value = ADMIN_TOKEN_FILE)]
    pub admin_token_file: PathBuf,
    /// When the issuers' keys are fetched.
    #[arg(skip)]
    pub issuer_keys: Refresh,
}

impl Identity {
    /// How long after it was made a signing key signs.
    #[must_use]
    pub const fn key_activation(&self) -> Duration {
        Duration::from_secs(self.key_activation_s)
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            key_activation_s: KEY_ACTIVATION_S,
            issuer: Vec::new(),
            admin_token_file: ADMIN_TOKEN_FILE.into(),
            issuer_keys: Refresh::default(),
        }
    }
}
