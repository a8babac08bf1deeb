//! Kills a service and its database for minutes, and checks what its clients saw. `cargo xtask chaos-store` starts it.

#![expect(clippy::print_stdout, reason = "a command talks to the terminal")]

use std::process::ExitCode;

use tests::chaos::{Database, Options, run};

const USAGE: &str = "chaos-store [--kills N] [--seconds N] [--seed N] [--database sqlite|postgres]";

fn main() -> Result<ExitCode, String> {
    let options = parse(std::env::args().skip(1))?;
    println!("{options:?}");
    let program = std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
    let binaries = program.parent().ok_or("this program is in no folder")?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let report = runtime.block_on(run(binaries, &options))?;
    println!("{report}");
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let seed = fastrand::u64(..1 << 32);
    let database = Database::Postgres;
    let mut options = Options { database, kills: 100, least_kills: 100, seconds: 540, seed, is_told: true };
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value: {USAGE}"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("{argument} {value}: {error}"));
        match (argument.as_str(), value.as_str()) {
            ("--kills", _) => options.kills = u32::try_from(number()?).map_err(|error| error.to_string())?,
            ("--seconds", _) => options.seconds = number()?,
            ("--seed", _) => options.seed = number()?,
            ("--database", "sqlite") => options.database = Database::Sqlite,
            ("--database", "postgres") => options.database = Database::Postgres,
            _ => return Err(format!("{argument} {value} is not understood: {USAGE}")),
        }
    }
    options.least_kills = options.kills;
    Ok(options)
}
