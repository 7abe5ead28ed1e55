//! A log that acknowledges nothing until a test tells it to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use sluice::app::Ports;
use sluice::coupon::{LogId, Offset, PartitionNo};
use sluice::log::{Ack, AckSender, AppendError, Assignment, DeadLetter, Gap, Log, LogError, Record};
use tokio::sync::mpsc;

/// Refuses or panics if told to.
pub(crate) struct StuckLog {
    pub(crate) end_offset_panics: AtomicBool,
    /// Appends are refused at once.
    pub(crate) is_full: AtomicBool,
    waiting: Mutex<Vec<AckSender>>,
    identity: Mutex<Option<LogId>>,
    /// Kept, so that settlement sees a log that assigns nothing yet.
    assignments: Mutex<Vec<mpsc::Sender<Assignment>>>,
}

impl StuckLog {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            end_offset_panics: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            waiting: Mutex::default(),
            identity: Mutex::default(),
            assignments: Mutex::default(),
        })
    }

    /// In place of the embedded log and its writer.
    pub(crate) fn replace(self: &Arc<Self>, ports: Ports) -> Ports {
        Ports { log: Arc::clone(self) as Arc<dyn Log>, background: Vec::new(), ..ports }
    }

    /// How many records wait for their acknowledgement.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.lock().expect("not poisoned").len()
    }

    /// Acknowledges all of them.
    pub(crate) fn acknowledge(&self) {
        for (offset, waiting) in (0..).zip(self.waiting.lock().expect("not poisoned").drain(..)) {
            // A client that is gone needs no answer.
            let _ = waiting.send(Ok(offset));
        }
    }

    /// Acknowledges the one that was appended last.
    pub(crate) fn acknowledge_newest(&self) {
        let newest = self.waiting.lock().expect("not poisoned").pop().expect("a record waits");
        newest.send(Ok(0)).expect("the client waits");
    }

    /// Fails all of them.
    pub(crate) fn fail(&self, error: &AppendError) {
        for waiting in self.waiting.lock().expect("not poisoned").drain(..) {
            // A client that is gone needs no answer.
            let _ = waiting.send(Err(error.clone()));
        }
    }

    /// Stops assigning partitions to those who wait for some; answers with their number.
    pub(crate) fn stop_assigning(&self) -> usize {
        std::mem::take(&mut *self.assignments.lock().expect("not poisoned")).len()
    }
}

impl Log for StuckLog {
    fn partitions(&self) -> u32 {
        1
    }

    fn append(&self, _: PartitionNo, _: Record) -> Result<Ack, AppendError> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(AppendError::Full);
        }
        let (sender, ack) = Ack::pair();
        self.waiting.lock().expect("not poisoned").push(sender);
        Ok(ack)
    }

    fn end_offset(&self, _: PartitionNo) -> Offset {
        assert!(!self.end_offset_panics.load(Ordering::Relaxed), "the log is cursed");
        0
    }

    fn fresh_end_offset(&self, partition: PartitionNo) -> BoxFuture<'_, Option<Offset>> {
        Box::pin(std::future::ready(Some(self.end_offset(partition))))
    }

    fn assignments(&self) -> mpsc::Receiver<Assignment> {
        let (sender, receiver) = mpsc::channel(1);
        self.assignments.lock().expect("not poisoned").push(sender);
        receiver
    }

    fn dead_letter<'a>(&'a self, _: PartitionNo, _: &'a [DeadLetter<'a>]) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn gap(&self, _: PartitionNo, _: Offset) -> BoxFuture<'_, Result<Option<Gap>, LogError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<LogId>, LogError>> {
        Box::pin(std::future::ready(Ok(*self.identity.lock().expect("not poisoned"))))
    }

    fn set_identity(&self, log_id: LogId) -> BoxFuture<'_, Result<(), LogError>> {
        *self.identity.lock().expect("not poisoned") = Some(log_id);
        Box::pin(std::future::ready(Ok(())))
    }

    fn trim(&self, _: PartitionNo, _: Offset) {}

    fn accepts(&self, _: PartitionNo) -> Result<(), Arc<str>> {
        Ok(())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.acknowledge();
        Box::pin(std::future::ready(()))
    }
}
