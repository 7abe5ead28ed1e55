//! Finds rejected requests again that the counters may not have forgotten: because the process crashed after their
//! commit, the answer to the commit was lost, or the counters were down for long.

use std::error::Error;
use std::ops::Range;

use super::context::Settlement;
use super::record::{decode, subject};
use super::releases::{Rejected, Releases};
use crate::coupon::{Accepted, Offset, PartitionNo, RequestId};
use crate::log::{Gap, ReadError, Reader};

type CatchUpError = Box<dyn Error + Send + Sync>;

/// Bounds how long settlement waits for a turn.
const BATCHES_PER_TURN: usize = 8;

/// Reads records again from where the releases end up to `to`, for one turn.
///
/// # Errors
/// The log or the ledger cannot be read. The next turn continues there.
pub(super) async fn catch_up(
    settlement: &Settlement,
    partition: PartitionNo,
    releases: &Releases,
    reader: &mut dyn Reader,
    to: Offset,
) -> Result<(), CatchUpError> {
    for _ in 0..BATCHES_PER_TURN {
        let from = releases.reached();
        if from >= to || !releases.has_room_for(settlement.batch_records_max as usize) {
            break;
        }
        add_next_batch(settlement, partition, releases, reader, from..to).await?;
    }
    Ok(())
}

async fn add_next_batch(
    settlement: &Settlement,
    partition: PartitionNo,
    releases: &Releases,
    reader: &mut dyn Reader,
    missing: Range<Offset>,
) -> Result<(), CatchUpError> {
    let records_max = (missing.end - missing.start).min(settlement.batch_records_max.into());
    let records_max = usize::try_from(records_max).unwrap_or(usize::MAX);
    let read = match reader.read(missing.start, records_max).await {
        Err(ReadError::Gap(Gap::Missing { from, to })) => {
            tracing::warn!(from, to, "rejected requests among missing records stay counted until the counters expire");
            releases.add(from, missing.end.min(to), &[]);
            return Ok(());
        }
        read => read?.ok_or("the partition is revoked")?,
    };
    let end = read.last().map_or(missing.end, |last| missing.end.min(last.offset + 1));
    let requests: Vec<(Offset, Accepted)> = read
        .iter()
        .filter(|stored| stored.offset < missing.end)
        .filter_map(|stored| Some((stored.offset, decode(stored).ok()?)))
        .collect();
    let names: Vec<RequestId> = requests.iter().map(|(_, accepted)| accepted.request_id).collect();
    let names = settlement.ledger.rejections(partition, &names).await?;
    let rejected: Vec<Rejected> = requests
        .iter()
        .filter(|(_, accepted)| names.contains(&accepted.request_id))
        .map(|(offset, accepted)| Rejected { offset: *offset, subject: subject(accepted) })
        .collect();
    releases.add(missing.start, end, &rejected);
    Ok(())
}
