//! `api-fuzz`: requests that the API's description allows, and others that it does not, thousands of them, against the service as it
//! runs. schemathesis makes them and judges the answers; what it needs to know beside the description stands in `xtask/api-fuzz`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::cluster::{Cluster, Server};
use xtask::port::free_port;
use xtask::postgres::{self, Postgres};

use crate::checks::{BUILD, need_compilers};
use crate::steps::{Steps, cargo, root, target};

/// Examples of each operation and phase, where nothing else is asked for.
const EXAMPLES: u32 = 200;
/// What `cargo xtask test` can afford.
const EXAMPLES_OF_TEST: u32 = 10;
/// The longest run: nothing of it waits for anything but the service.
const TIMEOUT: Duration = Duration::from_secs(45 * 60);
/// Where the service keeps the token of its admin API, with which a key of a game server is made.
const ADMIN_TOKEN: &str = "understudy-admin-token";
const SEED: &str = "1";

/// What is asked for.
struct Options {
    examples: u32,
    databases: Vec<&'static str>,
    seed: String,
}

impl Options {
    fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut options = Self { examples: EXAMPLES, databases: vec!["sqlite", "postgres"], seed: SEED.to_owned() };
        for pair in arguments.chunks(2) {
            match pair {
                ["--examples", number] => {
                    options.examples = number.parse().map_err(|error| format!("--examples: {error}"))?
                }
                ["--seed", seed] => {
                    seed.parse::<u64>().map_err(|error| format!("a seed is a number: {error}"))?;
                    options.seed = (*seed).to_owned();
                }
                ["--database", "both"] => options.databases = vec!["sqlite", "postgres"],
                ["--database", "sqlite"] => options.databases = vec!["sqlite"],
                ["--database", "postgres"] => options.databases = vec!["postgres"],
                ["--database", "memory"] => options.databases = vec!["memory"],
                other => return Err(format!("api-fuzz: not with these arguments: {}", other.join(" "))),
            }
        }
        Ok(options)
    }
}

/// Builds the service and tries it on each database.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    let options = Options::parse(arguments)?;
    need_compilers()?;
    let mut steps = Steps::default();
    steps.run("build", &mut cargo(&BUILD));
    if !steps.last_failed() {
        for database in &options.databases {
            note(&mut steps, database, &options);
        }
    }
    steps.finish()
}

/// A short run, on SQLite, as part of the tests.
pub(crate) fn test(steps: &mut Steps) {
    let options = Options { examples: EXAMPLES_OF_TEST, databases: vec!["sqlite"], seed: SEED.to_owned() };
    note(steps, "sqlite", &options);
}

fn note(steps: &mut Steps, database: &str, options: &Options) {
    let name = format!("API fuzzing, {database}");
    println!("── {name}: {} examples of each operation, seed {}", options.examples, options.seed);
    let began = Instant::now();
    let passed = match fuzz(database, options) {
        Ok(passed) => passed,
        Err(message) => {
            println!("{message}");
            false
        }
    };
    steps.note(&name, began, passed);
}

fn fuzz(database: &str, options: &Options) -> Result<bool, String> {
    let program = ensure_installed()?;
    let said = |error: &dyn std::error::Error| error.to_string();
    let cluster = Cluster::of(&target().join("debug"), &["lobby-service"]).map_err(|error| said(&error))?;
    let postgres = if database == "postgres" { Some(Postgres::start().map_err(|error| said(&error))?) } else { None };
    let url = match (&postgres, database) {
        (Some(server), _) => {
            server.create_database("fuzz").map_err(|error| said(&error))?;
            server.url("fuzz")
        }
        (None, "memory") => "memory:".to_owned(),
        (None, _) => format!("sqlite://{}", cluster.file("fuzz.db").display()),
    };
    let port = free_port().map_err(|error| said(&error))?;
    let mut service = cluster.service_at("lobby-service", port, &url).map_err(|error| said(&error))?;
    let folder = target().join("api-fuzz").join(database);
    let token =
        std::fs::read_to_string(cluster.file(ADMIN_TOKEN)).map_err(|error| format!("{ADMIN_TOKEN}: {error}"))?;
    let passed = schemathesis(&program, &service, token.trim(), &folder, options)?;
    if service.process.has_ended().map_err(|error| said(&error))? {
        return Err("the service has ended".to_owned());
    }
    Ok(passed)
}

/// Runs it, with its reports in this folder, and says what it found.
fn schemathesis(
    program: &Path,
    service: &Server,
    admin_token: &str,
    folder: &Path,
    options: &Options,
) -> Result<bool, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(failed)?;
    }
    std::fs::create_dir_all(folder).map_err(failed)?;
    let (log, own) = (folder.join("output.txt"), root().join("xtask/api-fuzz"));
    let output = std::fs::File::create(&log).map_err(failed)?;
    let url = format!("http://{}", service.address("http"));
    let mut command = Command::new("timeout");
    command.arg(TIMEOUT.as_secs().to_string()).arg(program).arg("--no-color");
    command.arg("--config-file").arg(own.join("schemathesis.toml"));
    command.args(["run", &format!("{url}/openapi.json"), "--seed", &options.seed]);
    command.args(["--max-examples", &options.examples.to_string(), "--generation-database", "none"]);
    command.args(["--report", "ndjson,json", "--report-json-path"]).arg(folder.join("report.json"));
    command.env("SCHEMATHESIS_HOOKS", own.join("hooks.py")).env("UNDERSTUDY_URL", &url);
    command.env("UNDERSTUDY_ADMIN", service.address("admin")).env("UNDERSTUDY_ADMIN_TOKEN", admin_token);
    command.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(folder);
    let began = Instant::now();
    let errors = output.try_clone().map_err(failed)?;
    let status = command.stdin(std::process::Stdio::null()).stdout(output).stderr(errors).status().map_err(failed)?;
    if !status.success() {
        println!("{}", std::fs::read_to_string(&log).map_err(failed)?);
    }
    let is_good = judge(&folder.join("report.json"))?;
    println!("in {} s; {} says more", began.elapsed().as_secs(), folder.display());
    Ok(status.success() && is_good)
}

/// Says how much was tried, and whether all of it was as it should be.
fn judge(report: &Path) -> Result<bool, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", report.display());
    let text = std::fs::read_to_string(report).map_err(|error| failed(&error))?;
    let report: Value = serde_json::from_str(&text).map_err(|error| failed(&error))?;
    let number = |path: &str| report.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let (tested, all) = (number("/operations/tested"), number("/operations/total"));
    let (cases, failures) = (number("/test_cases/generated"), number("/test_cases/unique_failures"));
    let errors = number("/test_cases/errored");
    println!("{tested} of {all} operations, {cases} cases, {failures} failures, {errors} errors");
    Ok(tested == all && tested > 0 && failures == 0 && errors == 0 && report["complete"] == true)
}

/// Where schemathesis is: in a virtual environment of this repository's output folder, at the versions of `requirements.txt`. It is made
/// there if it is not, or not at these versions.
fn ensure_installed() -> Result<PathBuf, String> {
    let (folder, wanted) = (target().join("tools/schemathesis"), root().join("xtask/api-fuzz/requirements.txt"));
    let (program, mark) = (folder.join("bin/schemathesis"), folder.join("requirements.txt"));
    let versions = std::fs::read(&wanted).map_err(|error| format!("{}: {error}", wanted.display()))?;
    if program.is_file() && std::fs::read(&mark).is_ok_and(|installed| installed == versions) {
        return Ok(program);
    }
    println!("schemathesis is not installed, or at other versions: it goes into {}", folder.display());
    make_environment(&folder)?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
    succeed(Command::new(folder.join("bin/python")).args(pip).arg(&wanted))?;
    std::fs::write(&mark, versions).map_err(|error| format!("{}: {error}", mark.display()))?;
    Ok(program)
}

fn make_environment(folder: &Path) -> Result<(), String> {
    let make = || succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder));
    let Err(message) = make() else { return Ok(()) };
    // Debian has the module that makes environments in a package of its own.
    if !postgres::can_install() {
        return Err(format!(
            "{message}\npython3 with its module venv is needed (Debian, as root: `apt-get install python3-venv`)"
        ));
    }
    println!("python3 cannot make a virtual environment: `apt-get install python3-venv`");
    postgres::install_package("python3-venv").map_err(|error| error.to_string())?;
    make()
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().display().to_string();
    let status = command.status().map_err(|error| format!("{name}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} ended with {status}")) }
}
