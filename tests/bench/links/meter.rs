//! What this process uses, and what else runs.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::Failure;

/// CPU time that all threads of this process have used so far.
pub(crate) fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Bytes of memory that it has now.
pub(crate) fn resident_bytes() -> Result<u64, Failure> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("a process without memory")?;
    let kibibytes: u64 = line.split_whitespace().next().ok_or("no number")?.parse()?;
    Ok(kibibytes * 1024)
}

/// Processes that wanted to run in the last minute, all of the machine.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
