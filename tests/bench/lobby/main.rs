//! Measures the lobby service beside the least that an axum program can do with the same requests: `cargo xtask bench lobby`.
//!
//! Every measurement has a fresh server, and each round goes over all servers before the next one begins, so that whatever
//! disturbs the machine disturbs all of them. The generator, the servers and the database share the machine: what is to be
//! trusted are the figures of CPU time, which are the server's own.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to the terminal")]

mod clients;
mod creating;
mod durable;
mod events;
mod figures;
mod filling;
mod http;
mod pace;
mod player;
mod scale;
mod seat;
mod server;
mod socket;
mod table;
mod uploading;
mod usage;

use std::process::ExitCode;
use std::time::Instant;

use player::players;
use scale::Scale;
use server::{Servers, Target};
use table::Table;

const HELP: &str =
    "usage: bench-lobby [--database sqlite|postgres|both|memory] [--quick | --tiny] [--only MEASUREMENT]";

/// Whatever ends the benchmark.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One of the measurements.
#[derive(Debug, Clone, Copy)]
enum Measure {
    Filling,
    Creating,
    Events,
    Uploading,
    Durable,
}

/// All of them, and how they are called.
const MEASURES: [(&str, Measure); 5] = [
    ("filling", Measure::Filling),
    ("creating", Measure::Creating),
    ("events", Measure::Events),
    ("uploading", Measure::Uploading),
    ("durable", Measure::Durable),
];

/// What was asked for.
#[derive(Debug)]
struct Options {
    targets: Vec<Target>,
    scale: Scale,
    measures: Vec<(&'static str, Measure)>,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    // One thread: the servers need the rest of the machine.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let run = || runtime?.block_on(run(&Options::parse(&arguments)?));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self, Failure> {
        let targets = vec![Target::Bare, Target::Sqlite, Target::Postgres];
        let mut options = Self { targets, scale: Scale::FULL, measures: MEASURES.to_vec() };
        let mut left = arguments.iter();
        while let Some(&argument) = left.next() {
            match (argument, left.as_slice().first()) {
                ("--quick", _) => options.scale = Scale::QUICK,
                ("--tiny", _) => options.scale = Scale::TINY,
                ("--database", Some(&name)) => {
                    options.targets = self::targets(name)?;
                    left.next();
                }
                ("--only", Some(&name)) => {
                    options.measures.retain(|(its, _)| *its == name);
                    left.next();
                }
                (other, _) => return Err(format!("{other} is not known, or not without a value\n{HELP}").into()),
            }
        }
        Ok(options)
    }
}

fn targets(database: &str) -> Result<Vec<Target>, Failure> {
    match database {
        "memory" => Ok(vec![Target::Bare, Target::Memory]),
        "sqlite" => Ok(vec![Target::Bare, Target::Sqlite]),
        "postgres" => Ok(vec![Target::Bare, Target::Postgres]),
        "both" => Ok(vec![Target::Bare, Target::Sqlite, Target::Postgres]),
        other => Err(format!("no database {other}\n{HELP}").into()),
    }
}

async fn run(options: &Options) -> Result<(), Failure> {
    let began = Instant::now();
    let mut servers = Servers::new()?;
    let mut table = Table::new(options.targets.clone());
    for round in 0..options.scale.rounds {
        for (name, measure) in &options.measures {
            for &target in &options.targets {
                eprintln!("round {} of {}: {name}, {}", round + 1, options.scale.rounds, target.name());
                // Tokens live for a quarter of an hour.
                let players = players(&servers.auth, options.scale.players())?;
                let server = servers.start(target)?;
                let figures = match measure {
                    Measure::Durable => {
                        let database = servers.database(target)?;
                        durable::measure(&server, &database, &players, &options.scale).await?
                    }
                    Measure::Filling => filling::measure(&server, &players, &options.scale).await?,
                    Measure::Creating => creating::measure(&server, &players, &options.scale).await?,
                    Measure::Events => events::measure(&server, &players, &options.scale).await?,
                    Measure::Uploading => uploading::measure(&server, &players, &options.scale).await?,
                };
                table.add(target, figures);
            }
        }
    }
    print(options, &table);
    println!("\n{:.0} s in all", began.elapsed().as_secs_f64());
    Ok(())
}

fn print(options: &Options, table: &Table) {
    let Scale { rounds, filled, idle, created, lively, events_a_second, .. } = options.scale;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "\nThe lobby service beside a bare axum server: {rounds} round(s), medians (least–greatest), on {processors} processors\n\
         that servers, databases and the generator share.\n\
         {} seats in {filled} lobbies; {created} lobbies created; {idle} idle sockets; {events_a_second} events a second in {lively} lobbies,\n\
         each delivered three times. CPU of the server is its own process's: SQLite runs inside it, Postgres does not.\n",
        scale::MEMBERS * filled,
    );
    print!("{table}");
}
