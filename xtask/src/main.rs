//! `cargo xtask`: the project's own commands. Only cargo is needed to start; each command says what else it misses.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "commands talk to the terminal")]

mod api_fuzz;
mod bench;
mod browser;
mod checks;
mod demo;
mod steps;

use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask COMMAND   (on Linux and macOS; on Windows, in WSL)

  demo [--quiet] [--election-delay-ms N] [--runs N]
                  play with five processes, kill the host's, bring it back, and say what became of the game
  demo --stay [--election-delay-ms N]
                  play with five processes until you end it, and tell where a browser joins them
  test [FILTER…]  build everything and run all tests, or those whose names contain a filter
  test browser    only the browser package, and games of browsers with native processes
  lint            formatting, clippy, documentation, licences: everything that must be without a warning
  sim SEED        replay one simulated history and print it
  chaos-store [--kills N] [--seconds N] [--seed N] [--database sqlite|postgres]
                  kill instances of the service and their database while clients use them, and check what these saw
  bench lobby [--database sqlite|postgres|both|memory] [--quick]
                  measure the lobby service beside the least that an axum program can do
  bench hostile [--quick]
                  measure what well-behaved clients notice of slow-loris, sockets that never read, and bodies over the limit
  bench snapshot [--quick]
                  measure what snapshots and deltas take, in CPU time and bytes, beside plain zstd, zstd with a dictionary, and a copy
  bench migration [--all] [--row N] [--runs N]
                  measure for how long games of eight processes stand still when their host dies, falls silent or hands over
  bench links [--quick] [--only cold|round-trips|rates|memory|loss|moves]
                  measure links through the relay, direct and over WebRTC: how soon, how fast, how much, and how they move
  api-fuzz [--examples N] [--database sqlite|postgres|both|memory] [--seed N]
                  try the API with thousands of requests that its description allows, and others that it does not
  openapi         write openapi/*.json and deploy/understudy.example.toml anew
  ci              lint, test and demo --quiet: what must pass before a change is taken";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        [] | ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            Ok(())
        }
        ["demo", options @ ..] => demo::run(options),
        ["test", "browser"] => checks::test_in_browsers(),
        ["test", filters @ ..] => checks::test(filters),
        ["lint"] => checks::lint(),
        ["sim", seed] => checks::simulate(seed),
        ["chaos-store", options @ ..] => checks::chaos_store(options),
        ["bench", name @ ("lobby" | "hostile" | "snapshot" | "migration" | "links"), options @ ..] => {
            bench::bench(name, options)
        }
        ["api-fuzz", options @ ..] => api_fuzz::run(options),
        ["openapi"] => checks::openapi(),
        ["ci"] => checks::lint().and_then(|()| checks::test(&[])).and_then(|()| demo::run(&["--quiet"])),
        [other, ..] => Err(format!("no such command, or not with these arguments: {other}\n\n{HELP}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
