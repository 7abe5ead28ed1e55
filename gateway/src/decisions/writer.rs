//! The task that writes decisions.

use std::time::Duration;

use tokio::sync::mpsc::Receiver;

use super::decision::Decision;
use super::segments::Segments;
use crate::telemetry::{DecisionsLost, DecisionsRecorded, Loss, Telemetry};

/// One batch holds a thread for some milliseconds of a healthy disk.
const BATCH_DECISIONS_MAX: usize = 256;
/// While nothing is recorded. Files are kept for hours.
const EXPIRE_EVERY: Duration = Duration::from_mins(10);

/// Writes until the recorder is dropped. A slow disk holds up nothing but this task.
pub(super) async fn write(mut queue: Receiver<Decision>, mut segments: Segments, telemetry: Telemetry) {
    let mut batch = Vec::new();
    let mut is_failing = false;
    loop {
        // After the timeout, the batch is empty, and old files expire.
        let received = queue.recv_many(&mut batch, BATCH_DECISIONS_MAX);
        if let Ok(0) = tokio::time::timeout(EXPIRE_EVERY, received).await {
            return;
        }
        let decisions = std::mem::take(&mut batch);
        let written = tokio::task::spawn_blocking(move || {
            let written = write_batch(&mut segments, &decisions);
            (segments, written)
        });
        let written = match written.await {
            Ok((returned, written)) => {
                segments = returned;
                written
            }
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime ends.
            Err(_) => return,
        };
        telemetry.emit(DecisionsRecorded(written.recorded));
        telemetry.emit(DecisionsLost { because: Loss::WriteFailed, decisions: written.lost });
        match written.error {
            // The same failure is logged once, and the rest is counted.
            Some(error) if !is_failing => {
                tracing::error!(folder = %segments.dir().display(), %error, "decisions not recorded: they are lost");
                is_failing = true;
            }
            Some(_) => {}
            None => is_failing = false,
        }
    }
}

struct Written {
    recorded: u64,
    lost: u64,
    /// The last one.
    error: Option<std::io::Error>,
}

fn write_batch(segments: &mut Segments, decisions: &[Decision]) -> Written {
    let error = if decisions.is_empty() { segments.expire().err() } else { None };
    let mut written = Written { recorded: 0, lost: 0, error };
    for decision in decisions {
        let mut line = serde_json::to_vec(decision).expect("numbers and strings are JSON");
        line.push(b'\n');
        match segments.append(&line) {
            Ok(()) => written.recorded += 1,
            Err(error) => {
                written.lost += 1;
                written.error = Some(error);
            }
        }
    }
    written
}
