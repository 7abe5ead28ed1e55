//! The events of recorded decisions.

use super::event::Event;
use super::metrics::Metrics;

/// Decisions were written to a file.
#[derive(Debug, Clone, Copy)]
pub struct DecisionsRecorded(pub u64);

impl Event for DecisionsRecorded {
    fn record(self, metrics: &Metrics) {
        metrics.decisions_recorded.inc_by(self.0);
    }
}

/// Sampled decisions were not recorded.
#[derive(Debug, Clone, Copy)]
pub struct DecisionsLost {
    pub because: Loss,
    pub decisions: u64,
}

/// Why decisions are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The disk is too slow.
    QueueFull,
    /// The disk is full, or fails.
    WriteFailed,
}

impl Event for DecisionsLost {
    fn record(self, metrics: &Metrics) {
        let reason = match self.because {
            Loss::QueueFull => "queue_full",
            Loss::WriteFailed => "write_failed",
        };
        metrics.decisions_lost.with_label_values(&[reason]).inc_by(self.decisions);
    }
}
