//! Lobbies that are created and then left alone: the request, and what a lobby takes of the server's memory.

use super::Failure;
use super::clients::by_clients;
use super::figures::{Figures, Row};
use super::player::Player;
use super::scale::Scale;
use super::seat;
use super::server::Server;

/// Measures a fresh server.
pub(crate) async fn measure(server: &Server, players: &[Player], scale: &Scale) -> Result<Figures, Failure> {
    let create = async |client: &mut _, number: usize| seat::create(client, &players[number % players.len()]).await;
    by_clients(server.address, scale.warm_up, create).await?;
    let (meter, memory) = (server.meter()?, server.resident_bytes()?);
    let created = by_clients(server.address, scale.created, create).await?.len();
    let used = server.used(&meter)?;
    let memory = server.resident_bytes()?.saturating_sub(memory);
    let mut figures = Figures::default();
    figures.add(Row::CreatesPerSecond, created as f64 / used.took.as_secs_f64());
    figures.add_cpu(Row::CreateCpu, Some(used.cpu), created);
    figures.add_cpu(Row::CreateDatabase, used.database, created);
    figures.add(Row::LobbyMemory, memory as f64 / created as f64);
    Ok(figures)
}
