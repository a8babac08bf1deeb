//! Measures what well-behaved clients notice of an attack: `cargo xtask bench hostile`.
//!
//! A mix of requests at a steady pace, and the events of it, is timed while nothing else happens, and while attackers do what the
//! listener is to bear. Quiet rounds and attacks take turns, so that whatever disturbs the machine disturbs both. The service has
//! its defaults, but counts neither the connections nor the requests of an address: all clients and attackers have this machine's,
//! and it is the listener that is measured.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to the terminal")]

mod attack;
mod mix;
mod report;
mod scale;
mod service;
mod watch;

// The same clients as in the other benchmark.
#[path = "../lobby/clients.rs"]
#[expect(dead_code, reason = "here each client has its own work")]
mod clients;
#[path = "../lobby/http.rs"]
#[expect(dead_code, reason = "nothing is uploaded here")]
mod http;
#[path = "../lobby/player.rs"]
mod player;
#[path = "../lobby/seat.rs"]
mod seat;
#[path = "../lobby/socket.rs"]
#[expect(dead_code, reason = "whether a socket is closed shows in what it hears")]
mod socket;
#[path = "../lobby/usage.rs"]
#[cfg_attr(not(test), expect(dead_code, reason = "the service has no processes of its own here"))]
mod usage;

use std::process::ExitCode;
use std::time::Instant;

use attack::{Attack, Kind};
use mix::Mix;
use report::{Attacked, Observed, Report};
use scale::Scale;
use service::{Held, Service};
use watch::Watch;

const HELP: &str = "usage: bench-hostile [--quick]";

/// Whatever ends the benchmark.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    // One thread for the clients, one for the attackers: the service needs the rest of the machine.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let run = || runtime?.block_on(run(scale(&arguments)?));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn scale(arguments: &[&str]) -> Result<Scale, Failure> {
    match arguments {
        [] => Ok(Scale::FULL),
        ["--quick"] => Ok(Scale::QUICK),
        _ => Err(HELP.into()),
    }
}

async fn run(scale: Scale) -> Result<(), Failure> {
    let began = Instant::now();
    let service = Service::start(&scale)?;
    let mut mix = Mix::begin(&service).await?;
    // Before anything counts: caches fill, connections open.
    mix.play(&scale).await?;
    let mut report = Report::default();
    for round in 1..=scale.rounds {
        for kind in Kind::ALL {
            eprintln!("round {round} of {}: quiet, then {}", scale.rounds, kind.name());
            let (quiet, _) = observe(&service, &mut mix, &scale).await?;
            report.quiet(kind, quiet);
            let before = service.held()?;
            let attack = Attack::begin(kind, &service, &scale)?;
            let (observed, peak) = observe(&service, &mut mix, &scale).await?;
            let cut = attack.end()?;
            let after = watch::settle(&service, before).await?;
            report.attacked(kind, Attacked { observed, held: [before, peak, after], cut });
        }
    }
    print!("{}", report.shown(&scale));
    println!("\n{:.0} s in all", began.elapsed().as_secs_f64());
    Ok(())
}

/// What clients and the service's process show for a while.
async fn observe(service: &Service, mix: &mut Mix, scale: &Scale) -> Result<(Observed, Held), Failure> {
    let watch = Watch::begin(service);
    let meter = service.cpu()?;
    let began = Instant::now();
    let times = mix.play(scale).await?;
    let cpu = service.cpu()?.since(&meter).as_secs_f64() / began.elapsed().as_secs_f64();
    Ok((Observed { times, cpu: vec![cpu] }, watch.end()?))
}
