//! The files of recorded decisions: `0000000000000001.ndjson` and so on, with a decision a line.
//!
//! A process never appends to a file of an earlier one. So only the last line of a file can be torn, by a crash.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file is read and deleted as a whole.
const SEGMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Smaller files if all together may not be large, so that deleting one loses a small part of them.
const SEGMENTS_MIN: u64 = 8;
/// A file is not written for longer, so that the oldest decisions expire in time.
const SEGMENT_AGE_MAX: Duration = Duration::from_hours(1);

/// Writes decisions, and deletes old ones.
pub(super) struct Segments {
    dir: PathBuf,
    bytes_max: u64,
    segment_bytes_max: u64,
    keep: Duration,
    /// Oldest first.
    closed: VecDeque<Closed>,
    /// Of `closed`.
    closed_bytes: u64,
    open: Option<Open>,
    /// Whether the files of earlier processes are in `closed`.
    is_scanned: bool,
    next_no: u64,
}

struct Closed {
    path: PathBuf,
    bytes: u64,
    written_at: SystemTime,
}

struct Open {
    path: PathBuf,
    file: File,
    /// Of whole lines.
    bytes: u64,
    created_at: SystemTime,
    written_at: SystemTime,
}

impl Closed {
    fn find(path: PathBuf) -> io::Result<Self> {
        let metadata = std::fs::metadata(&path)?;
        Ok(Self { path, bytes: metadata.len(), written_at: metadata.modified()? })
    }
}

impl Open {
    fn is_old(&self, now: SystemTime) -> bool {
        age(now, self.created_at) > SEGMENT_AGE_MAX
    }

    fn write(&mut self, line: &[u8], now: SystemTime) -> io::Result<()> {
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        self.written_at = now;
        Ok(())
    }

    /// Removes what was written of a line. Whether that succeeded.
    fn cut_off(&self) -> bool {
        self.file.set_len(self.bytes).is_ok()
    }
}

impl Segments {
    /// Nothing is read or created before the first decision.
    pub(super) fn new(dir: &Path, bytes_max: u64, keep: Duration) -> Self {
        Self {
            dir: dir.to_owned(),
            bytes_max,
            segment_bytes_max: SEGMENT_BYTES_MAX.min(bytes_max / SEGMENTS_MIN),
            keep,
            closed: VecDeque::new(),
            closed_bytes: 0,
            open: None,
            is_scanned: false,
            next_no: 1,
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends one line. After an error, the file is as before.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.append_at(line, SystemTime::now())
    }

    pub(super) fn append_at(&mut self, line: &[u8], now: SystemTime) -> io::Result<()> {
        self.expire_at(now)?;
        let bytes = line.len() as u64;
        if self.open.as_ref().is_some_and(|open| open.bytes + bytes > self.segment_bytes_max) {
            self.close();
        }
        self.make_room(bytes, now);
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.create(now)?,
        };
        let written = open.write(line, now);
        // A part of the line may be there. If it cannot be removed, nothing must follow it.
        let is_whole = written.is_ok() || open.cut_off();
        self.open = Some(open);
        if !is_whole {
            self.close();
        }
        written
    }

    /// Deletes what is too old.
    pub(super) fn expire(&mut self) -> io::Result<()> {
        self.expire_at(SystemTime::now())
    }

    pub(super) fn expire_at(&mut self, now: SystemTime) -> io::Result<()> {
        self.scan()?;
        if self.open.as_ref().is_some_and(|open| open.is_old(now)) {
            self.close();
        }
        self.make_room(0, now);
        Ok(())
    }

    fn create(&mut self, now: SystemTime) -> io::Result<Open> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        loop {
            let path = self.dir.join(format!("{:016}.{EXTENSION}", self.next_no));
            self.next_no += 1;
            match OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => return Ok(Open { path, file, bytes: 0, created_at: now, written_at: now }),
                // Another gateway has the same folder.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn close(&mut self) {
        let Some(Open { path, bytes, written_at, .. }) = self.open.take() else { return };
        self.closed_bytes += bytes;
        self.closed.push_back(Closed { path, bytes, written_at });
    }

    /// Deletes what is too old, and the oldest files while there is no room for this many bytes more.
    fn make_room(&mut self, bytes: u64, now: SystemTime) {
        let open = self.open.as_ref().map_or(0, |open| open.bytes);
        while let Some(oldest) = self.closed.front()
            && (age(now, oldest.written_at) > self.keep || self.closed_bytes + open + bytes > self.bytes_max)
        {
            // An operator may have deleted it.
            let _ = std::fs::remove_file(&oldest.path);
            self.closed_bytes -= oldest.bytes;
            self.closed.pop_front();
        }
    }

    /// Learns which files earlier processes have left.
    fn scan(&mut self) -> io::Result<()> {
        if self.is_scanned {
            return Ok(());
        }
        let found = paths(&self.dir)?.into_iter().map(Closed::find).collect::<io::Result<Vec<_>>>()?;
        self.next_no += found.last().and_then(|newest| number(&newest.path)).unwrap_or(0);
        self.closed_bytes = found.iter().map(|closed| closed.bytes).sum();
        self.closed = found.into();
        self.is_scanned = true;
        Ok(())
    }
}

const EXTENSION: &str = "ndjson";

/// The files of a folder, oldest first. A folder that does not exist has none.
pub(super) fn paths(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    let mut paths: Vec<_> = paths.into_iter().filter(|path| number(path).is_some()).collect();
    paths.sort_unstable();
    Ok(paths)
}

/// `None` for a file of somebody else.
fn number(path: &Path) -> Option<u64> {
    let is_own = path.extension().is_some_and(|extension| extension == EXTENSION);
    if is_own { path.file_stem()?.to_str()?.parse().ok() } else { None }
}

/// 0 if the clock was set back.
fn age(now: SystemTime, then: SystemTime) -> Duration {
    now.duration_since(then).unwrap_or_default()
}
