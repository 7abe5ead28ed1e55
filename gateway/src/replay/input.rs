//! A recording, read in chunks.

use std::io::{self, BufRead};

use serde::de::IgnoredAny;

/// Lines of a chunk. Each chunk begins with an instance of its own, so the size is part of what makes a replay repeat.
const LINES: usize = 1024;

/// The recording. It is shared by the threads of a replay.
pub(super) struct Input<R> {
    recording: R,
    /// The number of the next line, from 1.
    line: u64,
}

impl<R: BufRead> Input<R> {
    pub(super) fn new(recording: R) -> Self {
        Self { recording, line: 1 }
    }

    /// Reads the lines of the next chunk, none at the end. Returns the number of the first one.
    pub(super) fn next(&mut self, lines: &mut Vec<Vec<u8>>) -> io::Result<u64> {
        lines.clear();
        let first = self.line;
        while lines.len() < LINES {
            let mut line = Vec::new();
            self.recording.read_until(b'\n', &mut line)?;
            // At the end, or a last line that a crash has cut off.
            if !line.ends_with(b"\n") && serde_json::from_slice::<IgnoredAny>(&line).is_err() {
                break;
            }
            self.line += 1;
            lines.push(line);
        }
        Ok(first)
    }
}
