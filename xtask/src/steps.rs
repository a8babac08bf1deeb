//! Parts of a command: each is named when it starts, and its seconds are printed when it is done.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The parts of one command with the seconds they took.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    taken: Vec<(String, Duration, bool)>,
}

impl Steps {
    /// Runs one part; the ones after a failed part run too, so that one look shows everything that is wrong.
    pub(crate) fn run(&mut self, name: &str, command: &mut Command) {
        println!("── {name}: {}", shown(command));
        let began = Instant::now();
        let passed = match command.current_dir(root()).status() {
            Ok(status) => status.success(),
            Err(error) => {
                println!("{}: {error}", command.get_program().display());
                false
            }
        };
        self.note(name, began, passed);
    }

    /// Notes a part that is no command of its own.
    pub(crate) fn note(&mut self, name: &str, began: Instant, passed: bool) {
        self.taken.push((name.to_owned(), began.elapsed(), passed));
    }

    /// Whether the last part failed.
    pub(crate) fn last_failed(&self) -> bool {
        self.taken.last().is_some_and(|(_, _, passed)| !passed)
    }

    /// Prints the seconds of each part.
    ///
    /// # Errors
    /// The names of the parts that failed.
    pub(crate) fn finish(self) -> Result<(), String> {
        println!();
        for (name, duration, passed) in &self.taken {
            println!("{:>7.1} s  {name}{}", duration.as_secs_f64(), if *passed { "" } else { "  FAILED" });
        }
        let failed: Vec<_> = self.taken.iter().filter(|(_, _, passed)| !passed).map(|(name, ..)| &**name).collect();
        if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
    }
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// Cargo's output folder, in which this very program lies.
pub(crate) fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.ancestors().nth(2).map_or_else(|| root().join("target"), Path::to_owned)
}

/// The cargo that started this program, with these arguments.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Whether a program is there and runs.
pub(crate) fn is_there(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
