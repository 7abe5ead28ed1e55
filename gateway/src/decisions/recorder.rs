//! The request path's end of the recording: which requests are sampled, and the queue to the writer.

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::decision::{Decision, Outcome};
use super::options::Options;
use super::segments::Segments;
use super::trace::Trace;
use super::writer;
use crate::background::Background;
use crate::coupon::{DecidedBy, RequestId, mix64};
use crate::policy::Request;
use crate::telemetry::{DecisionsLost, Loss, Telemetry};

/// While the disk is slow, this many decisions wait, a few kilobytes each. Later ones are lost.
const QUEUED_MAX: usize = 4096;
/// Policies choose by the entropy of a request, so a sample that is taken by it would favour some of their choices.
const SALT: u64 = 0x5851_f42d_4c95_7f2d;

/// Takes decisions from requests.
pub struct Recorder {
    sample: f64,
    sample_refusals: f64,
    queue: Sender<Decision>,
    telemetry: Telemetry,
}

impl Recorder {
    /// A recorder, and the task that writes what it takes.
    #[must_use]
    pub fn open(options: &Options, telemetry: &Telemetry) -> (Self, Background) {
        let segments = Segments::new(&options.dir, options.bytes_max(), options.keep());
        let (recorder, queue) = Self::new(options, telemetry);
        let write = writer::write(queue, segments, telemetry.clone());
        (recorder, Background::new("decision writer", write))
    }

    pub(super) fn new(options: &Options, telemetry: &Telemetry) -> (Self, Receiver<Decision>) {
        let (queue, decisions) = mpsc::channel(QUEUED_MAX);
        let Options { sample, sample_refusals, .. } = *options;
        (Self { sample, sample_refusals, queue, telemetry: telemetry.clone() }, decisions)
    }

    /// The trace of a request that is going to be decided.
    #[must_use]
    pub fn trace(&self, request: RequestId) -> Trace {
        let place = place(request);
        Trace::new(|outcome| place < self.rate(outcome))
    }

    /// Records a request after its last hook, if it is sampled.
    pub fn record(&self, request_id: RequestId, decided_by: DecidedBy, request: &Request, trace: Trace) {
        let Some(outcome) = trace.outcome() else { return };
        let DecidedBy { generation, arm } = decided_by;
        let decision = Decision { request_id, outcome, generation, arm, request: *request, steps: trace.steps };
        if let Err(TrySendError::Full(_) | TrySendError::Closed(_)) = self.queue.try_send(decision) {
            self.telemetry.emit(DecisionsLost { because: Loss::QueueFull, decisions: 1 });
        }
    }

    fn rate(&self, outcome: Outcome) -> f64 {
        match outcome {
            Outcome::Accepted => self.sample,
            Outcome::Refused => self.sample_refusals,
        }
    }
}

/// Where a request is among all: uniform in [0, 1), and the same on every gateway.
fn place(request: RequestId) -> f64 {
    // A float has 53 bits.
    (mix64(request.entropy() ^ SALT) >> 11) as f64 / (1_u64 << 53) as f64
}
