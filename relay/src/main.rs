//! A relay in a process of its own.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};
use protocol::limits;
use relay::config::WebSocketLimits;
use relay::service::{Service, ServiceError};
use relay::{Config, Running, Verifier, VerifierError};

/// Forwards datagrams between the members of lobbies, without being able to read them.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// UDP address to listen on, and TCP address for WebSockets; port 0 lets the system choose.
    #[arg(long, env = "UNDERSTUDY_RELAY_LISTEN", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// UDP address at which peers reach this relay; needed where it listens on all addresses or behind a translator.
    #[arg(long, env = "UNDERSTUDY_RELAY_ADVERTISE")]
    advertise: Option<SocketAddr>,
    /// Base address of the lobby service. Where several instances run: of each of them, separated by commas.
    #[arg(long, env = "UNDERSTUDY_RELAY_SERVICE", default_value = "http://127.0.0.1:8080", value_delimiter = ',')]
    service: Vec<String>,
    /// Issuer that tokens must name.
    #[arg(long, env = "UNDERSTUDY_RELAY_ISSUER", default_value = protocol::token::ISSUER)]
    issuer: String,
    #[command(flatten)]
    secret: SecretSource,
    /// WebSockets in all.
    #[arg(long, env = "UNDERSTUDY_RELAY_WEBSOCKETS_MAX", default_value_t = limits::RELAY_WEBSOCKETS_MAX)]
    websockets_max: usize,
    /// WebSockets of one address, or one IPv6 /64. Behind a proxy all come from one.
    #[arg(long, env = "UNDERSTUDY_RELAY_WEBSOCKETS_PER_ADDRESS_MAX", default_value_t = limits::RELAY_WEBSOCKETS_PER_ADDRESS_MAX)]
    websockets_per_address_max: usize,
}

/// Where the secret comes from: never from the command line, which everybody on the machine can read.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SecretSource {
    /// Name of the environment variable that holds the secret which the service gave to its relays.
    #[arg(long, env = "UNDERSTUDY_RELAY_SECRET_ENV")]
    secret_env: Option<String>,
    /// File that holds the secret which the service gave to its relays.
    #[arg(long, env = "UNDERSTUDY_RELAY_SECRET_FILE")]
    secret_file: Option<PathBuf>,
}

/// Why the relay ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the secret could not be read from the file")]
    SecretFile(#[source] std::io::Error),
    #[error("the secret could not be read from the environment")]
    SecretEnvironment(#[source] std::env::VarError),
    #[error("the secret is empty")]
    SecretEmpty,
    #[error("--advertise is needed where --listen names no single address")]
    Advertise,
    #[error("the lobby service cannot be used")]
    Service(#[from] ServiceError),
    #[error("the lobby service published no usable keys")]
    Keys(#[from] VerifierError),
    #[error("the operating system refused")]
    System(#[from] std::io::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_unset| "info".into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!(error = &failure as &dyn std::error::Error, "the relay could not run");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    if arguments.advertise.is_none() && arguments.listen.ip().is_unspecified() {
        return Err(Failure::Advertise);
    }
    let service = Service::new(&arguments.service, &arguments.secret.read()?)?;
    let mut stop = std::pin::pin!(stop_signal());
    let keys = tokio::select! {
        keys = service.keys() => keys,
        signal = &mut stop => return Ok(signal?),
    };
    let verifier = Verifier::from_jwks(&keys, &arguments.issuer)?;
    let (connections, per_address) = (arguments.websockets_max, arguments.websockets_per_address_max);
    let websockets = WebSocketLimits { connections, per_address };
    let config = Config { listen: arguments.listen, websockets, ..Config::default() };
    let mut running = relay::start(config, verifier.clone()).await?;
    announce(&running)?;
    let advertised = arguments.advertise.unwrap_or(running.address);
    let sounds = running.take_sounds().expect("nobody has taken the sounds of a relay that has just started");
    let signal = tokio::select! {
        signal = &mut stop => signal,
        () = service.keep_keys(&verifier) => Ok(()),
        () = service.keep_control(advertised, running.orders(), sounds) => Ok(()),
    };
    running.stop().await;
    Ok(signal?)
}

/// The one line on standard output, for whoever started this process and waits for it.
fn announce(running: &Running) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "relay: listening udp={}", running.address)?;
    out.flush()
}

#[cfg(unix)]
async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

#[cfg(not(unix))]
async fn stop_signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

impl SecretSource {
    fn read(&self) -> Result<String, Failure> {
        let text = match (&self.secret_file, &self.secret_env) {
            (Some(path), _) => std::fs::read_to_string(path).map_err(Failure::SecretFile)?,
            (None, Some(name)) => std::env::var(name).map_err(Failure::SecretEnvironment)?,
            (None, None) => String::new(),
        };
        let secret = text.trim();
        if secret.is_empty() { Err(Failure::SecretEmpty) } else { Ok(secret.to_owned()) }
    }
}
