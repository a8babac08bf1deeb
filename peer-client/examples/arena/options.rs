//! What the arena is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use peer_client::protocol::lobby::Settings;
use peer_client::{Client, ClientBuilder, LobbyOptions, Path, SimulatedNetwork, Strategy};

use crate::game::Setup;

/// A small game that outlives its host: collect coins, shoot, and kill the host's process to see what happens.
///
/// Arrows or wasd turn and walk, x stops, space shoots, q leaves. With --line, lines on standard input are commands: `leave`
/// leaves, `quit` ends the process as a crash would, `hand-over` has a host hand the game over, `say TEXT` shows a text among the
/// events. Standard error carries one JSON object a line for machines.
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
    /// How other players are reached, where they do not listen.
    #[arg(long, value_enum, default_value_t = PathName::Auto, conflicts_with = "direct")]
    path: PathName,
    /// In a new lobby, nobody learns another player's address.
    #[arg(long)]
    relay_only: bool,
    /// Take this long to restore the game, in milliseconds: a game that is slow to load.
    #[arg(long, default_value_t = 0)]
    restore_delay_ms: u64,
    /// Text that a host's game is told when this player arrives.
    #[arg(long, default_value = "")]
    return_payload: String,
    /// Seed of a new arena; random by default.
    #[arg(long)]
    seed: Option<u64>,
    /// Bytes of a new arena's state: what the game does not need is ballast.
    #[arg(long, default_value_t = 0)]
    state_bytes: usize,
    /// Part of the ballast that changes with each tick, in percent.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=100))]
    churn: u8,
    /// How a host keeps the state safe.
    #[arg(long, value_enum, default_value_t = StrategyName::Automatic)]
    strategy: StrategyName,
    /// How often a host stores its state, in milliseconds.
    #[arg(long)]
    snapshot_interval_ms: Option<u64>,
    /// A bad network for what this process sends: any of `delay_ms`, `jitter_ms`, `loss`, `duplication` (both 0 to 1) and `seed`, as in
    /// `delay_ms=25,loss=0.01`.
    #[arg(long, value_name = "NAME=VALUE,…", value_parser = network)]
    network: Option<SimulatedNetwork>,
}

/// [`Strategy`], as it is written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StrategyName {
    Automatic,
    Replica,
    Deltas,
    Snapshot,
}

/// [`Path`], as it is written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PathName {
    Auto,
    Relay,
    WebRtc,
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
        } else {
            builder = builder.path(match self.path {
                PathName::Auto => Path::Auto,
                PathName::Relay => Path::Relay,
                PathName::WebRtc => Path::WebRtc,
            });
        }
        if let Some(interval) = self.snapshot_interval_ms {
            builder = builder.snapshot_interval(Duration::from_millis(interval));
        }
        if let Some(network) = self.network {
            builder = builder.simulated_network(network);
        }
        builder.strategy(self.strategy.into())
    }

    /// The lobby to open.
    pub(crate) fn lobby(&self) -> LobbyOptions {
        let defaults = Settings::default();
        let settings = Settings {
            election_delay_ms: self.election_delay_ms.unwrap_or(defaults.election_delay_ms),
            removal_delay_ms: self.removal_delay_ms.unwrap_or(defaults.removal_delay_ms),
            ready_timeout_ms: self.ready_timeout_ms.unwrap_or(defaults.ready_timeout_ms),
            relay_only: self.relay_only,
            ..defaults
        };
        LobbyOptions { name: self.lobby_name.clone(), settings }
    }

    /// What the game is started with.
    pub(crate) fn setup(&self) -> Setup {
        Setup {
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..)),
            state_bytes: self.state_bytes,
            churn: self.churn,
            restore_delay: Duration::from_millis(self.restore_delay_ms),
        }
    }
}

impl From<StrategyName> for Strategy {
    fn from(name: StrategyName) -> Self {
        match name {
            StrategyName::Automatic => Self::Automatic,
            StrategyName::Replica => Self::Replica,
            StrategyName::Deltas => Self::BaseAndDeltas,
            StrategyName::Snapshot => Self::Snapshot,
        }
    }
}

/// Reads a network. Without a seed each process has its own.
fn network(text: &str) -> Result<SimulatedNetwork, String> {
    let (mut seed, mut changes) = (fastrand::u64(..), Vec::new());
    for setting in text.split(',') {
        let (name, value) = setting.split_once('=').ok_or_else(|| format!("{setting} has no value"))?;
        match name {
            "seed" => seed = value.parse().map_err(|error| format!("{setting}: {error}"))?,
            "delay_ms" | "jitter_ms" | "loss" | "duplication" => {
                let number: f64 = value.parse().map_err(|error| format!("{setting}: {error}"))?;
                if !(0.0..=60_000.0).contains(&number) {
                    return Err(format!("{setting} is out of range"));
                }
                changes.push((name, number));
            }
            other => return Err(format!("a network has no {other}")),
        }
    }
    let ms = |number: f64| Duration::from_secs_f64(number / 1000.0);
    Ok(changes.into_iter().fold(SimulatedNetwork::new(seed), |network, (name, number)| match name {
        "delay_ms" => network.delay(ms(number)),
        "jitter_ms" => network.jitter(ms(number)),
        "loss" => network.loss(number),
        _ => network.duplication(number),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_what_was_asked_for_and_anything_else_is_refused() {
        let expected = SimulatedNetwork::new(7).delay(Duration::from_millis(25)).loss(0.01);
        assert_eq!(network("delay_ms=25,loss=0.01,seed=7"), Ok(expected));
        for wrong in ["", "delay_ms", "delay_ms=-1", "delay_ms=x", "loss=NaN", "speed=3"] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }
}
