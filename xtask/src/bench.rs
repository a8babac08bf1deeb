//! Benchmarks: built with optimisation, run, and what they print.

use std::process::Command;

use crate::checks::need_compilers;
use crate::steps::{cargo, root, target};

/// Gives the program as many open files as this user may have: it opens thousands of sockets.
const WITH_ALL_FILES: &str = r#"ulimit -n "$(ulimit -Hn)"; exec "$0" "$@""#;
/// Builds the servers and what measures them. The whole workspace, so that nothing is built twice with different features.
const BUILD: [&str; 3] = ["build", "--workspace", "--bins"];
/// What is needed beside them for migrations: the game.
const GAME: [&str; 2] = ["--example", "arena"];

/// Runs a benchmark. `--debug` takes the development build, to work on the benchmark itself.
pub(crate) fn bench(name: &str, options: &[&str]) -> Result<(), String> {
    need_compilers()?;
    let (debug, options): (Vec<&str>, Vec<&str>) = options.iter().partition(|&&option| option == "--debug");
    let (profile, folder) = if debug.is_empty() { (Some("--release"), "release") } else { (None, "debug") };
    let game: &[&str] = if name == "migration" { &GAME } else { &[] };
    run(cargo(&BUILD).args(game).args(profile))?;
    let program = target().join(folder).join(format!("bench-{name}"));
    run(Command::new("sh").args(["-c", WITH_ALL_FILES]).arg(program).args(options))
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().display().to_string();
    let status = command.current_dir(root()).status().map_err(|error| format!("cannot run {name}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} ended with {status}")) }
}
