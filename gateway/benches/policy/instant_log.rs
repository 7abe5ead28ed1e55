//! A log that acknowledges every record at once and keeps none.

use std::future::ready;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sluice::coupon::{LogId, Offset, PartitionNo};
use sluice::log::{Ack, AppendError, Assignment, DeadLetter, Gap, Log, LogError, Record};
use tokio::sync::mpsc;

pub(crate) const PARTITIONS: u32 = 12;

pub(crate) struct InstantLog;

impl Log for InstantLog {
    fn partitions(&self) -> u32 {
        PARTITIONS
    }

    fn append(&self, _: PartitionNo, _: Record) -> Result<Ack, AppendError> {
        let (sender, ack) = Ack::pair();
        sender.send(Ok(0)).expect("the receiver is in the ack");
        Ok(ack)
    }

    fn end_offset(&self, _: PartitionNo) -> Offset {
        0
    }

    fn fresh_end_offset(&self, _: PartitionNo) -> BoxFuture<'_, Option<Offset>> {
        Box::pin(ready(Some(0)))
    }

    fn assignments(&self) -> mpsc::Receiver<Assignment> {
        mpsc::channel(1).1
    }

    fn dead_letter<'a>(&'a self, _: PartitionNo, _: &'a [DeadLetter<'a>]) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(ready(Ok(())))
    }

    fn gap(&self, _: PartitionNo, _: Offset) -> BoxFuture<'_, Result<Option<Gap>, LogError>> {
        Box::pin(ready(Ok(None)))
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<LogId>, LogError>> {
        Box::pin(ready(Ok(None)))
    }

    fn set_identity(&self, _: LogId) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(ready(Ok(())))
    }

    fn trim(&self, _: PartitionNo, _: Offset) {}

    fn accepts(&self, _: PartitionNo) -> Result<(), Arc<str>> {
        Ok(())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}
