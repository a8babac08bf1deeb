//! Everything that can be wrong with a change: `test`, `lint`, and what belongs to them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use xtask::network_tools::ensure_network_tools;
use xtask::postgres::{Postgres, TEST_SERVER};

use crate::steps::{Steps, cargo, is_there, root, target};
use crate::{api_fuzz, browser};

/// Builds what the demo and the tests start. The whole workspace, so that nothing is built twice with different features.
pub(crate) const BUILD: [&str; 4] = ["build", "--workspace", "--bins", "--examples"];

/// Builds everything and runs the tests; with filters, only those whose names contain one of them.
pub(crate) fn test(filters: &[&str]) -> Result<(), String> {
    need_compilers()?;
    let mut steps = Steps::default();
    steps.run("build", &mut cargo(&BUILD));
    if steps.last_failed() {
        return steps.finish();
    }
    // Without it the tests that need it start one each, or fail and say what is missing.
    let postgres = start_postgres(&mut steps);
    // The same holds for the tests of real networks.
    find_network_tools(&mut steps);
    let server = postgres.as_ref().map(|server| (TEST_SERVER, server.url("")));
    if is_there(&mut cargo(&["nextest", "--version"])) {
        let mut nextest = cargo(&["nextest", "run", "--workspace", "--all-targets"]);
        steps.run("tests", nextest.args(filters).envs(server));
    } else {
        println!("cargo-nextest is not installed (`cargo install cargo-nextest --locked`): cargo's own runner is used");
        let mut runner = cargo(&["test", "--workspace", "--all-targets", "--no-fail-fast", "--"]);
        steps.run("tests", runner.args(filters).envs(server));
    }
    drop(postgres);
    if filters.is_empty() {
        let planted =
            ["test", "-p", "tests", "--features", "planted-bugs", "--test", "planted_bugs", "--", "--nocapture"];
        api_fuzz::test(&mut steps);
        browser::test(&mut steps);
        steps.run("planted bugs", &mut cargo(&planted));
        steps.run("examples in the documentation", &mut cargo(&["test", "--workspace", "--doc"]));
    }
    steps.finish()
}

/// Builds what browsers play with, and runs only their tests.
pub(crate) fn test_in_browsers() -> Result<(), String> {
    need_compilers()?;
    let mut steps = Steps::default();
    steps.run("build", &mut cargo(&BUILD));
    if !steps.last_failed() {
        browser::test(&mut steps);
    }
    steps.finish()
}

/// One database server for all tests.
fn start_postgres(steps: &mut Steps) -> Option<Postgres> {
    println!("── Postgres: a private server for the tests");
    let began = Instant::now();
    let started = Postgres::start();
    match &started {
        Ok(server) => println!("it listens at {}, and {TEST_SERVER} names it to the tests", server.url("")),
        Err(error) => println!("{error}"),
    }
    steps.note("Postgres", began, started.is_ok());
    started.ok()
}

/// What makes networks on this machine, and a TURN server.
fn find_network_tools(steps: &mut Steps) {
    println!("── network tools: for the tests in network namespaces");
    let began = Instant::now();
    let found = ensure_network_tools();
    if let Err(error) = &found {
        println!("{error}");
    }
    steps.note("network tools", began, found.is_ok());
}

/// Formatting, clippy, documentation and dependencies, all without a warning.
pub(crate) fn lint() -> Result<(), String> {
    need_compilers()?;
    let mut steps = Steps::default();
    steps.run("formatting", &mut cargo(&["fmt", "--all", "--check"]));
    let clippy = ["clippy", "--workspace", "--all-targets"];
    steps.run("clippy", cargo(&clippy).args(["--", "-D", "warnings"]));
    let planted = ["clippy", "-p", "tests", "--all-targets", "--features", "planted-bugs", "--", "-D", "warnings"];
    steps.run("clippy, planted bugs", &mut cargo(&planted));
    let documentation = ["doc", "--workspace", "--no-deps"];
    steps.run("documentation", cargo(&documentation).env("RUSTDOCFLAGS", "-D warnings"));
    if let Some(deny) = cargo_deny(&mut steps) {
        steps.run("dependencies", Command::new(deny).args(["check", "licenses", "bans", "sources"]));
    }
    steps.finish()
}

/// Replays one simulated history.
pub(crate) fn simulate(seed: &str) -> Result<(), String> {
    seed.parse::<u64>().map_err(|error| format!("a seed is a number: {error}"))?;
    let mut steps = Steps::default();
    let replay = ["test", "-p", "tests", "--test", "simulation", "--", "--nocapture"];
    steps.run("simulation", cargo(&replay).env("UNDERSTUDY_SEED", seed));
    steps.finish()
}

/// Kills the service and its database for minutes, and checks what clients saw.
pub(crate) fn chaos_store(options: &[&str]) -> Result<(), String> {
    need_compilers()?;
    let mut steps = Steps::default();
    steps.run("build", &mut cargo(&BUILD));
    if !steps.last_failed() {
        steps.run("chaos", Command::new(target().join("debug/chaos-store")).args(options));
    }
    steps.finish()
}

/// Writes what is generated from the service anew: the descriptions of its APIs, and the file with all its options.
pub(crate) fn openapi() -> Result<(), String> {
    need_compilers()?;
    describe("--print-openapi", "openapi/lobby-service.json")?;
    describe("--print-admin-openapi", "openapi/admin.json")?;
    describe("--print-example-config", "deploy/understudy.example.toml")
}

fn describe(flag: &str, file: &str) -> Result<(), String> {
    let print = ["run", "--quiet", "-p", "lobby-service", "--", flag];
    let output = cargo(&print).current_dir(root()).stderr(std::process::Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("the lobby service did not print {file}"));
    }
    std::fs::write(root().join(file), &output.stdout).map_err(|error| format!("cannot write {file}: {error}"))?;
    println!("{file}: {} bytes", output.stdout.len());
    Ok(())
}

/// The cryptography and the database are C: without a compiler the build ends in a long message.
pub(crate) fn need_compilers() -> Result<(), String> {
    if is_there(Command::new("cc").arg("--version")) {
        return Ok(());
    }
    Err("no C compiler: install one as `cc` (Debian: `apt-get install build-essential`, macOS: `xcode-select --install`)"
        .to_owned())
}

/// Where cargo-deny is: installed, or put into the output folder now.
fn cargo_deny(steps: &mut Steps) -> Option<PathBuf> {
    let installed = PathBuf::from("cargo-deny");
    let folder = target().join("tools");
    let own = folder.join("bin/cargo-deny");
    if let Some(found) = [installed, own.clone()].into_iter().find(|deny| is_there(Command::new(deny).arg("--version")))
    {
        return Some(found);
    }
    println!("cargo-deny is not installed: it is built into {} once, which takes some minutes", folder.display());
    let install = ["install", "cargo-deny", "--locked", "--debug", "--root"];
    steps.run("install cargo-deny", cargo(&install).arg(&folder));
    (!steps.last_failed()).then_some(own)
}
