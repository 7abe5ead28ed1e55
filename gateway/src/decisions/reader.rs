//! Reads recorded decisions, while they are written and deleted.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::decision::Decision;
use super::filter::Filter;
use super::segments::paths;
use crate::coupon::RequestId;

/// A part holds the lines of about this many bytes of a file, so that a reader with a few matches still makes progress.
const PART_BYTES: u64 = 1024 * 1024;

/// Reads the decisions that this process, and earlier ones with the same folder, have recorded.
#[derive(Debug, Clone)]
pub struct Reader {
    dir: PathBuf,
}

/// Where a reader continues.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The file that is read. `None` before the oldest.
    path: Option<PathBuf>,
    offset: u64,
}

impl Reader {
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The newest decision about a request: a retry has the id of the first attempt.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn find(&self, request: RequestId) -> io::Result<Option<Decision>> {
        // Every line begins with its id, and reading all of it would take much longer.
        let beginning = format!("{{\"requestId\":\"{request}\"");
        for path in paths(&self.dir)?.iter().rev() {
            let mut found = None;
            for_each_line(path, 0, u64::MAX, |line| {
                if line.starts_with(beginning.as_bytes()) {
                    found = serde_json::from_slice(line).ok();
                }
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Behind the newest decision.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn end(&self) -> io::Result<Cursor> {
        let Some(path) = paths(&self.dir)?.pop() else { return Ok(Cursor::default()) };
        let offset = std::fs::metadata(&path)?.len();
        Ok(Cursor { path: Some(path), offset })
    }

    /// The next lines that the filter selects, oldest first, and where to continue. Both are as before when all is read.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn next(&self, filter: &Filter, cursor: &Cursor) -> io::Result<(Vec<u8>, Cursor)> {
        let mut lines = Vec::new();
        let mut next = cursor.clone();
        let unread = paths(&self.dir)?.into_iter().filter(|path| cursor.path.as_ref() <= Some(path));
        for path in unread {
            let begin = if cursor.path.as_ref() == Some(&path) { cursor.offset } else { 0 };
            let end = for_each_line(&path, begin, PART_BYTES, |line| {
                if filter.selects(line) {
                    lines.extend_from_slice(line);
                }
            })?;
            next = Cursor { path: Some(path), offset: end };
            if end > begin {
                break;
            }
        }
        Ok((lines, next))
    }
}

/// Reads whole lines from an offset, up to about `bytes_max` bytes. Returns the offset after them.
fn for_each_line(path: &Path, offset: u64, bytes_max: u64, mut use_line: impl FnMut(&[u8])) -> io::Result<u64> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        // Deleted, because it is old.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(offset),
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(offset))?;
    let mut file = BufReader::new(file);
    let (mut end, mut line) = (offset, Vec::new());
    while end - offset < bytes_max {
        line.clear();
        file.read_until(b'\n', &mut line)?;
        // The last line is torn, or is just being written.
        if !line.ends_with(b"\n") {
            break;
        }
        use_line(&line);
        end += line.len() as u64;
    }
    Ok(end)
}
