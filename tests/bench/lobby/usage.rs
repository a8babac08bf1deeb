//! What a process uses, as Linux counts it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::Failure;

/// Ticks of `/proc/PID/stat` in a second: Linux tells all programs 100, whatever it uses itself.
const TICKS_A_SECOND: u64 = 100;
// In `/proc/PID/stat`, counted from the third field.
const PARENT: usize = 1;
const OWN_TIMES: Range<usize> = 11..13;
const CHILDREN_TIMES: Range<usize> = 13..15;

/// CPU time of a process, read at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Cpu {
    /// Nanoseconds of each thread that lives.
    threads: BTreeMap<u64, u64>,
    /// Of all threads, those that have ended too, to a hundredth of a second.
    ticks: u64,
}

impl Cpu {
    /// What the process has used so far.
    pub(crate) fn of(process: u32) -> Result<Self, Failure> {
        let mut threads = BTreeMap::new();
        for entry in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let path = entry?.path();
            let thread: Option<u64> =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            // A thread may end while the others are read.
            let Ok(text) = std::fs::read_to_string(path.join("schedstat")) else { continue };
            let nanoseconds: Option<u64> = text.split_whitespace().next().and_then(|number| number.parse().ok());
            threads.extend(thread.zip(nanoseconds));
        }
        Ok(Self { threads, ticks: ticks(process)? })
    }

    /// What was used since then.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let nanoseconds = |cpu: &Self| cpu.threads.values().sum::<u64>();
        let are_all_here = before.threads.keys().all(|thread| self.threads.contains_key(thread));
        if are_all_here && !self.threads.is_empty() {
            Duration::from_nanos(nanoseconds(self).saturating_sub(nanoseconds(before)))
        } else {
            Duration::from_millis((self.ticks - before.ticks) * 1000 / TICKS_A_SECOND)
        }
    }
}

/// CPU time of a process and of all that it has started: those that run, and those whose end it has seen.
pub(crate) fn family(parent: u32) -> Result<Duration, Failure> {
    let ended = Duration::from_millis(sum(&fields(parent)?, CHILDREN_TIMES)? * 1000 / TICKS_A_SECOND);
    let mut nanoseconds = 0;
    for entry in std::fs::read_dir("/proc")? {
        let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end while the others are read.
        let Ok(fields) = fields(process) else { continue };
        if process == parent || fields.get(PARENT).is_some_and(|its| *its == parent.to_string()) {
            nanoseconds += Cpu::of(process).map_or(0, |cpu| cpu.threads.values().sum());
        }
    }
    Ok(ended + Duration::from_nanos(nanoseconds))
}

/// User and system time of the whole process.
fn ticks(process: u32) -> Result<u64, Failure> {
    sum(&fields(process)?, OWN_TIMES)
}

/// The fields of `/proc/PID/stat` after the second, which is a name and can hold blanks.
fn fields(process: u32) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = text.rsplit_once(')').ok_or("a process without a name")?;
    Ok(fields.split_whitespace().map(ToOwned::to_owned).collect())
}

fn sum(fields: &[String], which: Range<usize>) -> Result<u64, Failure> {
    let times = fields.get(which).ok_or("a process without times")?.iter().map(|time| time.parse::<u64>());
    Ok(times.sum::<Result<u64, _>>()?)
}

/// Bytes of memory that the process has now.
pub(crate) fn resident_bytes(process: u32) -> Result<u64, Failure> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("a process without memory")?;
    let kibibytes: u64 = line.split_whitespace().next().ok_or("no number")?.parse()?;
    Ok(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_busy_process_grows_and_its_memory_is_seen() {
        let own = std::process::id();
        let before = Cpu::of(own).unwrap();
        let mut number = 1_u64;
        while Cpu::of(own).unwrap().since(&before) < Duration::from_millis(30) {
            number = number.wrapping_mul(31) + 7;
        }
        assert_ne!(number, 0);
        assert!(ticks(own).unwrap() > before.ticks);
        assert!(family(own).unwrap() >= Duration::from_millis(30));
        assert!(resident_bytes(own).unwrap() > 100_000);
    }
}
