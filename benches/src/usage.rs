//! What a process has cost so far: processor time and the most memory it ever had.

use std::fs;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// What a process has cost since it began.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time of all threads, user and system, in seconds.
    pub cpu_seconds: f64,
    /// The most memory it ever had resident (VmHWM), in MiB; shared pages of files count.
    pub peak_mib: f64,
    /// The memory it has resident now (VmRSS), in MiB.
    pub resident_mib: f64,
}

impl Usage {
    /// Looks at a process that is running; to 10 ms.
    ///
    /// # Errors
    /// If it has ended.
    pub fn of(process: u32) -> Result<Self> {
        let read = |name| fs::read_to_string(format!("/proc/{process}/{name}")).context("the process has ended");
        // The name comes second, in brackets, and may hold anything.
        let stat = read("stat")?;
        let (_, stat) = stat.rsplit_once(')').context("an unknown shape of /proc/PID/stat")?;
        let ticks = stat.split_whitespace().skip(TICKS_AT).take(2).map(|ticks| ticks.parse::<f64>().unwrap_or(0.0));
        Self::with(ticks.sum::<f64>() / TICKS_A_SECOND, &read("status")?)
    }

    /// Looks at this process; exactly.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn here() -> Result<Self> {
        Self::with(process_cpu_seconds(), &fs::read_to_string("/proc/self/status")?)
    }

    /// Adds the processor time to what `/proc/PID/status` says.
    fn with(cpu_seconds: f64, status: &str) -> Result<Self> {
        let mib = |name: &str| -> Result<f64> {
            let kib = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
            Ok(kib.with_context(|| format!("no {name} in /proc/PID/status"))?.parse::<f64>()? / 1024.0)
        };
        Ok(Self { cpu_seconds, peak_mib: mib("VmHWM:")?, resident_mib: mib("VmRSS:")? })
    }
}

/// Returns the processor time of all threads of this process, in seconds.
pub fn process_cpu_seconds() -> f64 {
    seconds(ClockId::ProcessCPUTime)
}

/// Returns the processor time of this thread, in seconds.
pub fn thread_cpu_seconds() -> f64 {
    seconds(ClockId::ThreadCPUTime)
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Words before user and system time, counted behind the name.
const TICKS_AT: usize = 11;
/// What Linux tells processor time in, on every architecture.
const TICKS_A_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn this_process_is_seen_alike_from_inside_and_outside() {
        let mut bytes = vec![1u8; 32 << 20];
        for turn in 0..20 {
            bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(31).wrapping_add(turn));
            black_box(&bytes);
        }
        let (outside, inside) = (Usage::of(std::process::id()).unwrap(), Usage::here().unwrap());
        assert!(inside.peak_mib >= 32.0 && inside.peak_mib >= outside.peak_mib, "{inside:?} {outside:?}");
        assert!(outside.cpu_seconds <= inside.cpu_seconds + 0.02, "{inside:?} {outside:?}");
        assert!(thread_cpu_seconds() <= process_cpu_seconds());
    }
}
