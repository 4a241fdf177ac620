//! Processes and their time, memory, medians, and the machine it is measured on.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What a piece says of its memory, in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Before the work begins.
    pub(crate) idle: u64,
    /// At most while it went on.
    pub(crate) peak: u64,
}

impl Memory {
    /// What the work took above idle, in MiB.
    pub(crate) fn above(self) -> f64 {
        self.peak.saturating_sub(self.idle) as f64 / 1024.0
    }
}

/// Resident memory of this process (`VmRSS`) or its peak (`VmHWM`), in KiB (proc(5)).
fn resident(field: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?)
}

/// The work begins: forgets the peak so far; gives the memory now.
pub(crate) fn begin() -> Result<u64> {
    fs::write("/proc/self/clear_refs", "5").context("reset the peak of memory")?;
    resident("VmRSS")
}

/// Says what [`run_piece`] reads; `after` is how long the piece went on when its work was done.
pub(crate) fn report(idle: u64, after: Duration) -> Result<()> {
    crate::say(&format!("{idle} {} {}", resident("VmHWM")?, after.as_micros()));
    Ok(())
}

/// Runs a piece of this program to its end: how long it took, how much of that came after its work, its memory.
pub(crate) fn run_piece(arguments: &[&str]) -> Result<(Duration, Duration, Memory)> {
    let begun = Instant::now();
    let output = Command::new(std::env::current_exe()?).args(arguments).stderr(Stdio::inherit()).output()?;
    let took = begun.elapsed();
    if !output.status.success() {
        bail!("{arguments:?} failed");
    }
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse);
    let mut next = || numbers.next().context("the piece says less than it should")?.context("no number");
    let (idle, peak, after) = (next()?, next()?, next()?);
    Ok((took, Duration::from_micros(after), Memory { idle, peak }))
}

/// Runs a foreign program to its end.
pub(crate) fn run_peer(command: &mut Command) -> Result<Duration> {
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    let took = begun.elapsed();
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(took)
}

/// The one in the middle, in seconds.
pub(crate) fn median(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64()
}

/// `1.2 x as fast: kept`.
pub(crate) fn ratio(ours: f64, peer: f64) -> String {
    let times = peer / ours;
    format!("{times:.2} x as fast: {}", if times >= 1.0 { "kept" } else { "missed" })
}

/// `12 MiB above idle, below 64: kept`.
pub(crate) fn below(memory: Memory, limit: f64) -> String {
    format!("below {limit} MiB: {}", if memory.above() < limit { "kept" } else { "missed" })
}

/// The machine, and what else it does.
pub(crate) fn conditions() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("\t: unknown");
    let load = fs::read_to_string("/proc/loadavg")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let folder = std::env::temp_dir();
    let disk = Command::new("df").arg("--output=fstype").arg(&folder).output()?;
    let disk = String::from_utf8(disk.stdout)?;
    Ok(format!(
        "{cores} cores of {}; Linux {}; {} on {}; load at the start {}",
        model.trim_start_matches(['\t', ':', ' ']),
        kernel.trim(),
        folder.display(),
        disk.lines().last().unwrap_or_default().trim(),
        load.split(' ').next().unwrap_or_default(),
    ))
}
