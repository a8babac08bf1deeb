//! Measures for how long a game stands still when its host is lost, and what is lost with it: `cargo xtask bench migration`.
//!
//! Eight arena processes play at 30 Hz on one lobby service with its relay. Seven guests bank ten times a second, with a receipt for
//! each operation: the states count what is lost and what comes twice. The host is killed, stopped, or told to hand over; the others
//! go on, and whoever was host comes back as a guest. All share this machine.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to the terminal")]

mod figures;
mod game;
mod row;
mod run;
mod table;

use std::process::ExitCode;
use std::time::Instant;

use figures::Figures;
use game::{Game, PLAYERS};
use row::Row;

const HELP: &str = "usage: bench-migration [--all] [--row N] [--runs N] [--tiny]";

/// Whatever ends the benchmark.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What was asked for.
#[derive(Debug, Default)]
struct Options {
    all: bool,
    /// From 1.
    row: Option<usize>,
    runs: Option<usize>,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match Options::parse(&arguments).and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("bench: messages were lost, or had their effect twice");
            ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self, Failure> {
        let (mut options, mut left) = (Self::default(), arguments.iter());
        while let Some(&argument) = left.next() {
            let mut number = || left.next().and_then(|text| text.parse().ok()).filter(|&number| number > 0).ok_or(HELP);
            match argument {
                "--all" => options.all = true,
                "--row" => options.row = Some(number()?),
                "--runs" => options.runs = Some(number()?),
                "--tiny" => (options.row, options.runs) = (Some(1), Some(1)),
                _ => return Err(HELP.into()),
            }
        }
        Ok(options)
    }
}

/// Returns whether every message had its effect once.
fn run(options: &Options) -> Result<bool, Failure> {
    let began = Instant::now();
    let rows = Row::rows(options.all || options.row.is_some());
    let rows: Vec<_> = (1..).zip(rows).filter(|(number, _)| options.row.is_none_or(|row| row == *number)).collect();
    if rows.is_empty() {
        return Err("there is no such row".into());
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "Migrations of a game of {PLAYERS} processes at 30 Hz, which share {processors} processors with the service and its relay. Milliseconds:\n\
         the pause from the last tick of the old host to the first of the new one, in the process that saw the longest; the median of each phase\n\
         since the last sign of the old host, in the last process to get there. 1 % of the state changes with each tick.\n\n{}",
        table::head()
    );
    let mut once = true;
    for (number, row) in rows {
        let figures = play(number, row, options.runs.unwrap_or(row.runs()))?;
        println!("{}", table::line(number, &row, &figures));
        once &= figures.messages.lost == 0 && figures.messages.twice == 0;
    }
    println!("\n{:.0} s in all", began.elapsed().as_secs_f64());
    Ok(once)
}

fn play(number: usize, row: Row, runs: usize) -> Result<Figures, Failure> {
    let failed = |failure: Failure| format!("row {number} ({row}): {failure}");
    let mut game = Game::start(row).map_err(failed)?;
    let mut figures = Figures::default();
    for count in 1..=runs {
        let run = run::play(&mut game, row.loss).map_err(failed)?;
        eprintln!("row {number}, run {count} of {runs}: {:.1} ms", run.pause.as_secs_f64() * 1000.0);
        figures.runs.push(run);
    }
    figures.messages = game.settle().map_err(failed)?;
    Ok(figures)
}
