//! Measures links between peers, through the relay, direct and over WebRTC: `cargo xtask bench links`.
//!
//! Real sessions, the lobby service and its relay are all in this process, on loopback. Each round goes over all paths before the next
//! one begins, so that what disturbs one disturbs the others too.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to the terminal")]

mod cold;
mod loss;
mod memory;
mod meter;
mod moves;
mod payload;
mod rates;
mod rival;
mod round_trips;
mod scale;
mod seat;
mod table;
mod way;

use std::process::ExitCode;
use std::time::Instant;

use scale::Scale;
use table::Table;
use tests::service::TestService;

const HELP: &str = "usage: bench-links [--quick | --tiny] [--only cold|round-trips|rates|memory|loss|moves]";

/// Whatever ends the benchmark.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One part of what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Cold,
    RoundTrips,
    Rates,
    Memory,
    Loss,
    Moves,
}

/// What was asked for.
#[derive(Debug)]
struct Options {
    scale: Scale,
    only: Option<Part>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        [memory::CHILD, way, guests] => memory::child(way, guests).await,
        arguments => match Options::parse(arguments) {
            Ok(options) => run(&options).await,
            Err(failure) => Err(failure),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

impl Part {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Cold, "cold"),
        (Self::RoundTrips, "round-trips"),
        (Self::Rates, "rates"),
        (Self::Memory, "memory"),
        (Self::Loss, "loss"),
        (Self::Moves, "moves"),
    ];

    async fn measure(self, service: &TestService, scale: &Scale) -> Result<Vec<Table>, Failure> {
        match self {
            Self::Cold => cold::measure(service, scale).await,
            Self::RoundTrips => round_trips::measure(service, scale).await,
            Self::Rates => rates::measure(service, scale).await,
            Self::Memory => memory::measure(scale),
            Self::Loss => loss::measure(service, scale).await,
            Self::Moves => moves::measure(service, scale).await,
        }
    }
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self, Failure> {
        let (mut options, mut left) = (Self { scale: Scale::FULL, only: None }, arguments.iter());
        while let Some(&argument) = left.next() {
            match argument {
                "--quick" => options.scale = Scale::QUICK,
                "--tiny" => options.scale = Scale::TINY,
                "--only" => {
                    let name = left.next().ok_or(HELP)?;
                    let part = Part::ALL.iter().find(|(_, other)| other == name).ok_or(HELP)?;
                    options.only = Some(part.0);
                }
                _ => return Err(HELP.into()),
            }
        }
        Ok(options)
    }
}

async fn run(options: &Options) -> Result<(), Failure> {
    let began = Instant::now();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "Links between sessions of one process, over loopback; the lobby service and its relay are in it too, and all share {processors} processors\n\
         with whatever else runs (load average {}). Medians of all rounds, in brackets the least and the greatest.",
        meter::load_average()
    );
    let service = TestService::in_memory().await;
    for (part, name) in Part::ALL {
        if options.only.is_none_or(|only| only == part) {
            eprintln!("{name}");
            for table in part.measure(&service, &options.scale).await? {
                println!("\n{table}");
            }
        }
    }
    service.stop().await;
    println!("\n{:.0} s in all; load average {}", began.elapsed().as_secs_f64(), meter::load_average());
    Ok(())
}
