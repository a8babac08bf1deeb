//! One game, played by eight processes over many migrations: whoever was host comes back as a guest, in a new process.

use std::time::Duration;

use xtask::cluster::{Cluster, Server};
use xtask::process::Process;
use xtask::trace::{Trace, now_us};

use super::Failure;
use super::figures::Messages;
use super::row::Row;

/// Players of each game.
pub(crate) const PLAYERS: usize = 8;
/// Longest time for any one thing that is waited for.
pub(crate) const TIME_OUT: Duration = Duration::from_secs(30);

/// The processes, players first, so that they end before what they play on.
#[derive(Debug)]
pub(crate) struct Game {
    players: Vec<Process>,
    /// The seat of each.
    connections: Vec<u64>,
    pub(crate) host: usize,
    pub(crate) epoch: u64,
    /// Hosts that were lost since the last hand-over.
    pub(crate) losses: usize,
    join_code: String,
    row: Row,
    /// Receipts that processes missed, or had twice, which have ended since.
    ended: Messages,
    started: u64,
    coins: u64,
    service: Server,
    cluster: Cluster,
}

impl Game {
    /// Starts the service and all players.
    pub(crate) fn start(row: Row) -> Result<Self, Failure> {
        let program = std::env::current_exe()?;
        let binaries = program.parent().ok_or("a program lies in a folder")?;
        let cluster = Cluster::of(binaries, &["lobby-service", "examples/arena"])?;
        let service = cluster.service_without_limits()?;
        let mut game = Self {
            players: Vec::new(),
            connections: Vec::new(),
            host: 0,
            epoch: 1,
            losses: 0,
            join_code: String::new(),
            row,
            ended: Messages::default(),
            started: 0,
            coins: 0,
            service,
            cluster,
        };
        for number in 0..PLAYERS {
            let player = game.process(number)?;
            let (connection, joined) = seat(&player)?;
            if number == 0 {
                game.join_code = joined.text("join_code").ok_or("a lobby has a join code")?.to_owned();
            }
            game.players.push(player);
            game.connections.push(connection);
        }
        Ok(game)
    }

    /// Starts a player's process: the same player in a new process, if it was there before.
    fn process(&mut self, number: usize) -> Result<Process, Failure> {
        self.started += 1;
        let name = format!("P{}", number + 1);
        let identity = self.cluster.file(&format!("{name}.identity"));
        let mut arguments = vec!["--line".to_owned(), "--identity".to_owned(), identity.display().to_string()];
        if self.join_code.is_empty() {
            arguments.extend(["--host", "--election-delay-ms", "0"].map(str::to_owned));
        } else {
            arguments.extend(["--join".to_owned(), self.join_code.clone()]);
        }
        arguments.extend(self.row.arguments(self.started));
        Ok(self.cluster.arena(&name, self.service.address("http"), &arguments, false)?)
    }

    /// Waits until everybody is in the game, the successor holds a state, and one is durable.
    pub(crate) fn wait_ready(&mut self) -> Result<(), Failure> {
        let since = now_us();
        let host = &self.players[self.host];
        let everybody = host.wait(since, TIME_OUT, "all players in their places", |trace| {
            trace.is("status") && trace.text("role") == Some("host") && enabled(trace) == PLAYERS
        })?;
        let since = everybody.at_us();
        host.wait(since, TIME_OUT, "that its successor is warm", |trace| {
            trace.is_event("migratability")
                && trace.value("is_warm") == true
                && trace.number("durable_age_us").is_some()
        })?;
        let coins = everybody.number("coins").unwrap_or_default();
        if self.coins != 0 && coins != self.coins {
            return Err(format!("there were {} coins, now there are {coins}", self.coins).into());
        }
        self.coins = coins;
        Ok(())
    }

    pub(crate) fn player_mut(&mut self, number: usize) -> &mut Process {
        &mut self.players[number]
    }

    pub(crate) fn player(&self, number: usize) -> &Process {
        &self.players[number]
    }

    /// Which player sits at this seat.
    pub(crate) fn at(&self, connection: u64) -> Option<usize> {
        self.connections.iter().position(|&other| other == connection)
    }

    /// Ends a player's process, if it has not ended, and starts another one for the same player.
    pub(crate) fn replace(&mut self, number: usize) -> Result<(), Failure> {
        self.players[number].kill();
        self.count_ended(number)?;
        self.players[number] = self.process(number)?;
        let (connection, _) = seat(&self.players[number])?;
        if connection != self.connections[number] {
            return Err(format!("P{} is back at another seat: {connection}", number + 1).into());
        }
        Ok(())
    }

    fn count_ended(&mut self, number: usize) -> Result<(), Failure> {
        self.check(number)?;
        let last = self.players[number].log().look(|traces| traces.iter().rev().find(|t| t.is("status")).cloned());
        self.ended.add_receipts(&last.unwrap_or_default());
        Ok(())
    }

    /// A player that panicked, or could not read a state, makes every figure worthless.
    fn check(&self, number: usize) -> Result<(), Failure> {
        let player = &self.players[number];
        let panics = player.log().panics();
        let unread =
            player.log().look(|traces| traces.iter().find(|t| t.is("unrestored") || t.is("malformed")).cloned());
        match (panics.first(), unread) {
            (Some(panic), _) => Err(format!("{} panicked: {panic}", player.name()).into()),
            (None, Some(_)) => {
                Err(format!("{} could not read something:\n  {}", player.name(), player.log().last_words()).into())
            }
            (None, None) => Ok(()),
        }
    }

    /// Waits until all that guests have said has come, and all receipts are there; then sums up.
    pub(crate) fn settle(&mut self) -> Result<Messages, Failure> {
        let since = now_us();
        let is_status = |trace: &Trace| trace.is("status");
        let mut said = Vec::new();
        for number in (0..PLAYERS).filter(|&number| number != self.host) {
            let status = self.players[number].wait(since, TIME_OUT, "its status", is_status)?;
            said.push((number, status.number("said").unwrap_or_default()));
        }
        let host = &self.players[self.host];
        let mut last = Trace::default();
        for &(number, said) in &said {
            let seat = self.connections[number].to_string();
            let what = format!("that it has all {said} operations of {}", self.players[number].name());
            last = host.wait(since, TIME_OUT, &what, |trace| {
                is_status(trace) && trace.value("accounts")[&seat].as_u64() >= Some(said)
            })?;
        }
        let mut messages = self.ended;
        for (number, said) in said {
            let what = format!("all {said} receipts");
            let status = self.players[number]
                .wait(since, TIME_OUT, &what, |trace| is_status(trace) && trace.number("receipts") >= Some(said))?;
            messages.add_receipts(&status);
        }
        for number in 0..PLAYERS {
            self.check(number)?;
        }
        let counted = |field| last.number(field).unwrap_or_default();
        messages.banked = counted("banked");
        messages.lost += counted("lost");
        messages.twice += counted("twice");
        Ok(messages)
    }
}

impl Messages {
    fn add_receipts(&mut self, status: &Trace) {
        self.lost += status.number("receipts_lost").unwrap_or_default();
        self.twice += status.number("receipts_twice").unwrap_or_default();
    }
}

/// Waits until a player has its seat. Returns its connection id, and all that it told of its seat.
fn seat(player: &Process) -> Result<(u64, Trace), Failure> {
    let joined = player.wait(0, TIME_OUT, "that it joined", |trace| trace.is("joined"))?;
    Ok((joined.number("connection").ok_or("a seat has a number")?, joined))
}

fn enabled(status: &Trace) -> usize {
    let players = status.value("players").as_array().into_iter().flatten();
    players.filter(|player| player["enabled"] == true).count()
}
