//! Measures what snapshots and their deltas take, beside plain zstd and a copy: `cargo xtask bench snapshot`.
//!
//! Everything runs in one thread and is timed by that thread's own CPU clock, so that whatever else runs on the machine counts for
//! little. Each round goes over all that is measured before the next one begins, so that what disturbs one disturbs its rivals too.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to the terminal")]

mod case;
mod meter;
mod state;
mod table;
mod work;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use case::Case;
use meter::Scale;
use table::Table;
use work::{Inputs, Work};

const HELP: &str = "usage: bench-snapshot [--quick | --tiny]";

/// Whatever ends the benchmark.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The figures that are compared.
const FULL: Scale = Scale { rounds: 15, batch: Duration::from_millis(20) };
/// Less of everything.
const QUICK: Scale = Scale { rounds: 7, batch: Duration::from_millis(4) };
/// Everything once, to see that the benchmark works. Its times mean nothing; its bytes are those of the others.
const TINY: Scale = Scale { rounds: 1, batch: Duration::ZERO };

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match scale(&arguments).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn scale(arguments: &[&str]) -> Result<Scale, Failure> {
    match arguments {
        [] => Ok(FULL),
        ["--quick"] => Ok(QUICK),
        ["--tiny"] => Ok(TINY),
        _ => Err(HELP.into()),
    }
}

fn run(scale: Scale) -> Result<(), Failure> {
    let began = Instant::now();
    println!(
        "Snapshots and deltas: microseconds of this thread's CPU time, median (least–greatest) of {} batch(es) of {} ms;\n\
         bytes of what comes out. Rivals take the same plain bytes, in the same rounds. zstd is at level 1.",
        scale.rounds,
        scale.batch.as_millis(),
    );
    for case in Case::ALL {
        eprintln!("{}", case.title());
        let inputs = Inputs::of(case)?;
        let mut table = Table::new(case, &inputs);
        for _ in 0..scale.rounds {
            for work in Work::ALL {
                table.add(work, meter::batch(|| work.run(&inputs), &scale)?);
            }
        }
        println!("\n{table}");
    }
    println!("\n{:.0} s in all", began.elapsed().as_secs_f64());
    Ok(())
}
