//! A log whose partitions are revoked or accept no records, and whose dead letters fail, when a test says so.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use sluice::app::Ports;
use sluice::coupon::{LogId, Offset, PartitionNo};
use sluice::log::{Ack, AppendError, Assignment, DeadLetter, Gap, Log, LogError, ReadError, Reader, Record, Stored};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What a [`FaultyLog`] does wrong, and what it saw.
#[derive(Default)]
pub(crate) struct LogFaults {
    /// Revokes every partition.
    pub(crate) revoked: CancellationToken,
    pub(crate) dead_letters_fail: AtomicBool,
    /// The number of records in each call.
    pub(crate) dead_letters: Mutex<Vec<usize>>,
    /// How many records settlement has read.
    pub(crate) records_read: AtomicU64,
    /// Partitions that accept no records.
    pub(crate) refusing: Mutex<BTreeSet<PartitionNo>>,
    /// The known end offsets are those of an empty log, as if another gateway had appended all records just now.
    pub(crate) ends_are_stale: AtomicBool,
    /// No end offset can be read, as if no partition had a leader.
    pub(crate) ends_are_unknown: AtomicBool,
}

impl LogFaults {
    pub(crate) fn refuse(&self, partitions: impl IntoIterator<Item = u32>) {
        self.refusing.lock().expect("not poisoned").extend(partitions.into_iter().map(PartitionNo));
    }
}

pub(crate) struct FaultyLog {
    inner: Arc<dyn Log>,
    faults: Arc<LogFaults>,
}

impl FaultyLog {
    pub(crate) fn replace(ports: Ports, faults: &Arc<LogFaults>) -> Ports {
        let log = Self { inner: Arc::clone(&ports.log), faults: Arc::clone(faults) };
        Ports { log: Arc::new(log), ..ports }
    }
}

impl Log for FaultyLog {
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    /// A partition that accepts no records never acknowledges one.
    fn append(&self, partition: PartitionNo, record: Record) -> Result<Ack, AppendError> {
        if self.accepts(partition).is_err() {
            let (sender, ack) = Ack::pair();
            std::mem::forget(sender);
            return Ok(ack);
        }
        self.inner.append(partition, record)
    }

    fn end_offset(&self, partition: PartitionNo) -> Offset {
        if self.faults.ends_are_stale.load(Ordering::Relaxed) { 0 } else { self.inner.end_offset(partition) }
    }

    fn fresh_end_offset(&self, partition: PartitionNo) -> BoxFuture<'_, Option<Offset>> {
        if self.faults.ends_are_unknown.load(Ordering::Relaxed) {
            return Box::pin(std::future::ready(None));
        }
        self.inner.fresh_end_offset(partition)
    }

    fn assignments(&self) -> mpsc::Receiver<Assignment> {
        let mut inner = self.inner.assignments();
        let (sender, receiver) = mpsc::channel(self.partitions() as usize);
        let faults = Arc::clone(&self.faults);
        tokio::spawn(async move {
            while let Some(Assignment { partition, reader, .. }) = inner.recv().await {
                let reader = Box::new(CountingReader { inner: reader, faults: Arc::clone(&faults) });
                // Fails once settlement has ended.
                let _ = sender.send(Assignment { partition, reader, revoked: faults.revoked.clone() }).await;
            }
        });
        receiver
    }

    fn dead_letter<'a>(
        &'a self,
        partition: PartitionNo,
        letters: &'a [DeadLetter<'a>],
    ) -> BoxFuture<'a, Result<(), LogError>> {
        self.faults.dead_letters.lock().expect("not poisoned").push(letters.len());
        if self.faults.dead_letters_fail.load(Ordering::Relaxed) {
            let error = LogError { step: "write dead letters", source: "there is no topic".into() };
            return Box::pin(std::future::ready(Err(error)));
        }
        self.inner.dead_letter(partition, letters)
    }

    fn gap(&self, partition: PartitionNo, next_offset: Offset) -> BoxFuture<'_, Result<Option<Gap>, LogError>> {
        self.inner.gap(partition, next_offset)
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<LogId>, LogError>> {
        self.inner.identity()
    }

    fn set_identity(&self, log_id: LogId) -> BoxFuture<'_, Result<(), LogError>> {
        self.inner.set_identity(log_id)
    }

    fn trim(&self, partition: PartitionNo, offset: Offset) {
        self.inner.trim(partition, offset);
    }

    fn accepts(&self, partition: PartitionNo) -> Result<(), Arc<str>> {
        if self.faults.refusing.lock().expect("not poisoned").contains(&partition) {
            return Err("no leader".into());
        }
        self.inner.accepts(partition)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

struct CountingReader {
    inner: Box<dyn Reader>,
    faults: Arc<LogFaults>,
}

impl Reader for CountingReader {
    fn read(&mut self, from: Offset, records_max: usize) -> BoxFuture<'_, Result<Option<Vec<Stored>>, ReadError>> {
        Box::pin(async move {
            let read = self.inner.read(from, records_max).await;
            if let Ok(Some(records)) = &read {
                self.faults.records_read.fetch_add(records.len() as u64, Ordering::Relaxed);
            }
            read
        })
    }
}
