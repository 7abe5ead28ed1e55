//! What a process uses, as the kernel reports it in `/proc`.

use std::fmt;
use std::path::PathBuf;

use super::Process;

/// Resident memory in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

/// How many of each kind a process holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resources {
    pub(crate) memory_maps: usize,
    pub(crate) threads: usize,
    pub(crate) open_files: usize,
}

impl Process {
    pub(crate) fn memory(&self) -> Memory {
        let bytes = |key| self.status(key).trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") * 1024;
        Memory { now: bytes("VmRSS:"), peak: bytes("VmHWM:") }
    }

    /// From now on, the peak is that of the time since.
    pub(crate) fn reset_peak(&self) {
        std::fs::write(self.file("clear_refs"), "5").expect("the process runs");
    }

    pub(crate) fn resources(&self) -> Resources {
        let maps = std::fs::read_to_string(self.file("maps")).expect("the process runs");
        Resources {
            memory_maps: maps.lines().count(),
            threads: self.status("Threads:").parse().expect("a number"),
            open_files: std::fs::read_dir(self.file("fd")).expect("the process runs").count(),
        }
    }

    fn status(&self, key: &str) -> String {
        let status = std::fs::read_to_string(self.file("status")).expect("the process runs");
        status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel reports it").trim().to_owned()
    }

    fn file(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.id().as_raw_nonzero()).into()
    }
}

impl Resources {
    /// The larger number of each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            memory_maps: self.memory_maps.max(other.memory_maps),
            threads: self.threads.max(other.threads),
            open_files: self.open_files.max(other.open_files),
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1024 * 1024;
        write!(f, "{} MiB resident, {} MiB at its peak", self.now / MIB, self.peak / MIB)
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory_maps, threads, open_files } = self;
        write!(f, "{memory_maps} memory maps, {threads} threads, {open_files} open files")
    }
}
