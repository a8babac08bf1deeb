//! Signals to processes, and who is whose child, by the programs that every Unix has.

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::LOOK_INTERVAL;
use crate::process::{ClusterError, io_error};
use crate::trace::Missing;

/// Sends a signal to all of them.
pub(super) fn send(signal: &str, ids: &[u32]) -> Result<(), ClusterError> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    // The shell's own `kill`: a small system may have no program of that name.
    let mut command = Command::new("sh");
    let status = command.args(["-c", r#"kill "$@""#, "kill", signal]).args(&ids).stderr(Stdio::null()).status();
    status
        .and_then(|status| status.success().then_some(()).ok_or(io::ErrorKind::NotFound.into()))
        .map_err(io_error(format!("send {signal} to {}", ids.join(", "))))
}

/// The processes that a process has started, and that run.
pub(super) fn children(parent: u32) -> Result<Vec<u32>, ClusterError> {
    Ok(running()?.into_iter().filter(|(_, its)| *its == parent).map(|(id, _)| id).collect())
}

/// Waits until none of them runs.
pub(super) fn wait_until_gone(ids: &[u32], time_out: Duration) -> Result<(), Missing> {
    let deadline = Instant::now() + time_out;
    loop {
        let left = running().is_ok_and(|all| all.iter().any(|(id, _)| ids.contains(id)));
        if !left {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Missing::TimedOut);
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// All processes with their parents, but those that have ended and were not yet asked why.
fn running() -> Result<Vec<(u32, u32)>, ClusterError> {
    if let Ok(entries) = std::fs::read_dir("/proc") {
        let stat = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("stat")).ok();
        // Linux has /proc and may lack `ps`: `123 (any ) name) S 1 …`.
        let process = |stat: String| {
            let (id, rest) = (stat.split(' ').next()?.parse().ok()?, stat.rsplit_once(") ")?.1);
            let mut words = rest.split(' ');
            let (state, parent) = (words.next()?, words.next()?.parse().ok()?);
            (state != "Z").then_some((id, parent))
        };
        return Ok(entries.flatten().filter_map(stat).filter_map(process).collect());
    }
    let what = || io_error("list the processes with ps");
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid=,stat="]).stdin(Stdio::null()).output();
    let output = output.map_err(what())?;
    if !output.status.success() {
        return Err(what()(io::Error::other("it failed")));
    }
    let process = |line: &str| {
        let mut words = line.split_whitespace();
        let (id, parent) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        (!words.next()?.starts_with('Z')).then_some((id, parent))
    };
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(process).collect())
}
