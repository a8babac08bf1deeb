//! The browser package's own checks and tests, and games of real browsers with native processes. What they need is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use xtask::network_tools::ensure_turn_server;
use xtask::postgres::{can_install, install_package};

use crate::steps::{Steps, is_there, root, target};

/// Debian's.
const CHROMIUM: &str = "/usr/bin/chromium";
/// The oldest Node.js that runs the package's tools.
const NODE_MAJOR_MIN: u32 = 20;

/// Files of tests that need a browser.
const GAMES: [&str; 3] = ["page.test.mjs", "migration.test.mjs", "relay_only.test.mjs"];

/// Runs everything. Native programs are built before.
pub(crate) fn test(steps: &mut Steps) {
    let began = Instant::now();
    if let Err(missing) = need_node().and_then(|()| need_chromium()).and_then(|()| need_turn_server()) {
        println!("── browser: {missing}");
        steps.note("browser", began, false);
        return;
    }
    if !packages_are_installed() {
        let install = ["ci", "--no-audit", "--no-fund"];
        steps.run("browser: packages", &mut npm(&install));
        if steps.last_failed() {
            return;
        }
    }
    let binaries = target().join("debug");
    steps.run("browser: bundles are up to date", &mut npm(&["run", "--silent", "check"]));
    steps.run("browser: package", npm(&["test", "--silent"]).env("UNDERSTUDY_BINARIES", &binaries));
    steps.run("browser: sessions", npm(&["run", "--silent", "test:service"]).env("UNDERSTUDY_BINARIES", &binaries));
    let mut games = Command::new("node");
    games.args(["--test", "--test-reporter=spec", "--test-concurrency=1"]);
    games.args(GAMES.map(|file| folder().join("test/browser").join(file)));
    games.env("UNDERSTUDY_BINARIES", &binaries).env("UNDERSTUDY_ARTEFACTS", target().join("browser"));
    steps.run("browser: games", &mut games);
}

fn folder() -> PathBuf {
    root().join("peer-client/web")
}

/// `npm`, for the package.
fn npm(arguments: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.arg("--prefix").arg(folder()).args(arguments);
    command
}

/// Whether what the lock file names is there. npm keeps a copy of it beside what it has installed.
fn packages_are_installed() -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let installed = changed(&folder().join("node_modules/.package-lock.json"));
    installed.is_some() && installed >= changed(&folder().join("package-lock.json"))
}

fn need_node() -> Result<(), String> {
    let version = Command::new("node").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= NODE_MAJOR_MIN) && is_there(Command::new("npm").arg("--version")) {
        return Ok(());
    }
    Err(format!("Node.js {NODE_MAJOR_MIN} or later with npm is missing: install it, and put it on the path"))
}

fn need_turn_server() -> Result<(), String> {
    ensure_turn_server().map_err(|error| error.to_string())
}

/// Chromium, installed if it is not there and this is root on a machine with `apt-get`.
fn need_chromium() -> Result<(), String> {
    if Path::new(CHROMIUM).is_file() {
        return Ok(());
    }
    if !can_install() {
        return Err(format!("{CHROMIUM} is missing: install it (Debian, as root: `apt-get install chromium`)"));
    }
    println!("Chromium is not installed: `apt-get install chromium`");
    install_package("chromium").map_err(|error| error.to_string())
}
