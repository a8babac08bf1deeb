//! What the arena is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};
use peer_client::protocol::lobby::Settings;
use peer_client::{Client, ClientBuilder, LobbyOptions, Path};

/// A small game that outlives its host: collect coins, shoot, and kill the host's process to see what happens.
///
/// Arrows or wasd turn and walk, x stops, space shoots, q leaves. With --line, lines on standard input are commands: `leave`
/// leaves, `quit` ends the process as a crash would, `say TEXT` shows a text among the events. Standard error carries one JSON
/// object a line for machines.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Address of the lobby service.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    service: String,
    /// The player's name.
    #[arg(long, default_value = "player")]
    pub(crate) name: String,
    /// File that keeps who the player is. Without it the player is new each time.
    #[arg(long)]
    identity: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) seat: Seat,
    /// Name of the new lobby.
    #[arg(long, default_value = "arena")]
    lobby_name: String,
    /// Time from losing the host to electing another, in milliseconds.
    #[arg(long)]
    election_delay_ms: Option<u64>,
    /// Time that a player who is away keeps its seat, in milliseconds.
    #[arg(long)]
    removal_delay_ms: Option<u64>,
    /// Time that an elected host has to restore the game, in milliseconds.
    #[arg(long)]
    ready_timeout_ms: Option<u64>,
    /// Write a line of text a second instead of drawing on the terminal.
    #[arg(long)]
    pub(crate) line: bool,
    /// Let the machine play.
    #[arg(long)]
    pub(crate) bot: bool,
    /// End when standard input ends: for a program that starts this one and may die.
    #[arg(long)]
    pub(crate) until_stdin_ends: bool,
    /// Reach the relay by this address instead of the announced one.
    #[arg(long)]
    relay: Option<SocketAddr>,
    /// Listen here for other players, and do without the relay where they do too. Port 0 takes a free one.
    #[arg(long)]
    direct: Option<SocketAddr>,
    /// Take this long to restore the game, in milliseconds: a game that is slow to load.
    #[arg(long, default_value_t = 0)]
    restore_delay_ms: u64,
    /// Text that a host's game is told when this player arrives.
    #[arg(long, default_value = "")]
    return_payload: String,
    /// Seed of a new arena; random by default.
    #[arg(long)]
    seed: Option<u64>,
}

/// How the player comes to its seat.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Seat {
    /// Open a lobby and run its game.
    #[arg(long)]
    pub(crate) host: bool,
    /// Join the lobby with this code.
    #[arg(long, value_name = "CODE")]
    pub(crate) join: Option<String>,
}

impl Options {
    /// The client to sign in with.
    pub(crate) fn client(&self) -> ClientBuilder {
        let mut builder = Client::builder(&self.service)
            .player_name(&self.name)
            .build_id(concat!("arena ", env!("CARGO_PKG_VERSION")))
            .return_payload(self.return_payload.clone().into_bytes());
        if let Some(file) = &self.identity {
            builder = builder.identity_file(file);
        }
        if let Some(address) = self.relay {
            builder = builder.relay_address(address);
        }
        if let Some(listen) = self.direct {
            builder = builder.path(Path::Direct { listen });
        }
        builder
    }

    /// The lobby to open.
    pub(crate) fn lobby(&self) -> LobbyOptions {
        let defaults = Settings::default();
        let settings = Settings {
            election_delay_ms: self.election_delay_ms.unwrap_or(defaults.election_delay_ms),
            removal_delay_ms: self.removal_delay_ms.unwrap_or(defaults.removal_delay_ms),
            ready_timeout_ms: self.ready_timeout_ms.unwrap_or(defaults.ready_timeout_ms),
            ..defaults
        };
        LobbyOptions { name: self.lobby_name.clone(), settings }
    }

    /// How slow this game is to load.
    pub(crate) const fn restore_delay(&self) -> Duration {
        Duration::from_millis(self.restore_delay_ms)
    }

    /// What a new arena is made from.
    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| fastrand::u64(..))
    }
}
