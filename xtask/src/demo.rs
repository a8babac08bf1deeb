//! The demo: five processes play, the host's is killed, another goes on, and the old one comes back.

mod report;
mod run;
mod stay;

use std::io::IsTerminal;
use std::time::Instant;

use crate::checks::{BUILD, need_compilers};
use crate::steps::{cargo, root, target};

use report::summary;
use run::Failure;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    quiet: bool,
    /// The game stays, to be joined from a browser.
    stays: bool,
    election_delay_ms: u64,
    runs: u32,
}

/// Runs the demo.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let options = Options::parse(arguments)?;
    build(options.quiet)?;
    let folder = target().join("debug");
    if options.stays {
        return stay::stay(&folder, &options).map_err(|failure| failure.to_string());
    }
    let mut reports = Vec::new();
    for number in 1..=options.runs {
        let report = match run::play(&folder, &options) {
            Ok(report) => report,
            Err(Failure::EndedByViewer) => {
                println!("demo: ended by you");
                return Ok(());
            }
            Err(failure @ (Failure::Cluster(_) | Failure::NoAgreedCount(..))) => {
                println!("demo: survived=false");
                return Err(failure.to_string());
            }
        };
        if options.runs > 1 {
            println!("run {number} of {}: {}", options.runs, report.phases());
        } else if !options.quiet {
            println!("{report}");
            println!("to play         cargo xtask demo --stay keeps such a game running, for you and your browser");
        }
        println!("{}", report.last_line());
        if let Some(what) = report.lost() {
            return Err(what.to_owned());
        }
        reports.push(report);
    }
    if options.runs > 1 {
        println!("{}", summary(&reports, &options));
    }
    Ok(())
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut options = Self { quiet: false, stays: false, election_delay_ms: 0, runs: 1 };
        let mut left = arguments.iter();
        while let Some(&argument) = left.next() {
            let mut number = || {
                let text = left.next().ok_or_else(|| format!("{argument} needs a number"))?;
                text.parse::<u32>().map_err(|error| format!("{argument} {text}: {error}"))
            };
            match argument {
                "--quiet" => options.quiet = true,
                "--stay" => options.stays = true,
                "--election-delay-ms" => options.election_delay_ms = number()?.into(),
                "--runs" => options.runs = number()?.max(1),
                other => return Err(format!("demo does not know {other}")),
            }
        }
        options.quiet |= options.runs > 1;
        Ok(options)
    }

    /// Whether a player may draw on the terminal.
    fn draws(&self) -> bool {
        !self.quiet && !self.stays && std::io::stdout().is_terminal()
    }
}

fn build(quiet: bool) -> Result<(), String> {
    need_compilers()?;
    let began = Instant::now();
    let status = cargo(&BUILD).arg("--quiet").current_dir(root()).status();
    if !status.map_err(|error| format!("cannot run cargo: {error}"))?.success() {
        return Err("the build failed".to_owned());
    }
    if !quiet {
        println!("built in {:.1} s", began.elapsed().as_secs_f64());
    }
    Ok(())
}
