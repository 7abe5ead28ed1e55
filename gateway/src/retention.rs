//! Deletes the outcomes of campaigns that have been closed for long enough, and their terms, while settlement goes on.
//!
//! A request whose outcome is deleted must not be granted again. Its campaign is closed, so no gateway accepts it. And
//! before anything is deleted, every partition is settled past the end that it had long after the campaign closed, so no
//! record of it is left to be settled. Several processes may delete at the same time: each row is deleted once. Each
//! ledger group has a task of its own, which waits for no other group.
//!
//! With the last outcome of a campaign, the pipeline of its coupon ends: it decides nothing any more, and would keep its
//! components for ever. Pipelines are in the first group: while that is down, other groups attempt this step again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::background::{Background, fault_point};
use crate::coupon::{CouponId, GroupLayout, GroupNo, RequestId, UnixMs, now_ms};
use crate::ledger::{self, Deletion, Ledger, LedgerError};
use crate::log::Log;
use crate::settlement::Progress;

/// Interval between sweeps. No client waits for a deletion.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// One transaction deletes at most this many rows: it delays a settlement about as long as a batch does.
const CHUNK_ROWS_MAX: u32 = 1000;
/// Pause between chunks. Most of the time belongs to settlement.
const CHUNK_PAUSE: Duration = Duration::from_millis(50);
/// Campaigns of one sweep. The next one continues.
const CAMPAIGNS_MAX: u32 = 100;

/// Sweeps one group of the ledger.
pub struct Retention {
    pub log: Arc<dyn Log>,
    pub ledger: Arc<dyn Ledger>,
    pub progress: Arc<Progress>,
    pub keep: ledger::Retention,
    pub layout: GroupLayout,
    pub group: GroupNo,
}

impl Retention {
    #[must_use]
    pub fn background(self) -> Background {
        Background::new(self.group.task("retention"), async move {
            let mut is_logged = false;
            let mut logged = BTreeSet::new();
            loop {
                fault_point("retention");
                match self.sweep().await {
                    Ok(failed) => {
                        is_logged = false;
                        for (coupon, error) in failed.iter().filter(|(coupon, _)| !logged.contains(*coupon)) {
                            tracing::warn!(%coupon, %error, "old outcomes of a campaign not deleted, retrying every minute");
                        }
                        logged = failed.into_keys().collect();
                    }
                    Err(error) if !is_logged => {
                        tracing::warn!(group = %self.group, %error, "old outcomes not deleted, retrying every minute");
                        is_logged = true;
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(SWEEP_EVERY).await;
            }
        })
    }

    /// Deletes what is due. Returns the campaigns whose deletion failed: the next sweep attempts them again.
    ///
    /// # Errors
    /// The ledger does not tell what is due.
    pub async fn sweep(&self) -> Result<BTreeMap<CouponId, LedgerError>, LedgerError> {
        let mut failed = BTreeMap::new();
        for (deletion, keep) in [(Deletion::Rejections, self.keep.rejections), (Deletion::All, self.keep.outcomes)] {
            let Some(keep) = keep else { continue };
            let keep_ms = UnixMs::try_from(keep.as_millis()).unwrap_or(UnixMs::MAX);
            let closed_before_ms = now_ms().saturating_sub(keep_ms);
            let expired = self.ledger.expired_campaigns(self.group, deletion, closed_before_ms, CAMPAIGNS_MAX).await?;
            let partitions = self.layout.partitions_of(self.group);
            if expired.is_empty() || !self.progress.settled_to_end(&*self.log, partitions).await {
                continue;
            }
            for coupon in expired {
                // Each sweep begins with the same campaigns: one that always fails must not hold up the others.
                if let Err(error) = self.delete(coupon, deletion).await {
                    failed.insert(coupon, error);
                }
            }
        }
        Ok(failed)
    }

    async fn delete(&self, coupon: CouponId, deletion: Deletion) -> Result<(), LedgerError> {
        let rows = self.delete_outcomes(coupon, deletion).await?;
        if deletion == Deletion::All {
            self.delete_terms(coupon).await?;
            self.ledger.end_pipeline(coupon).await?;
            tokio::time::sleep(CHUNK_PAUSE).await;
        }
        // Last: until then, each sweep attempts all of this again.
        self.ledger.record_deletion(coupon, deletion).await?;
        if rows > 0 {
            tracing::info!(%coupon, rows, ?deletion, "old outcomes deleted");
        }
        Ok(())
    }

    /// Returns how many were deleted.
    async fn delete_outcomes(&self, coupon: CouponId, deletion: Deletion) -> Result<usize, LedgerError> {
        let mut rows = 0;
        let mut last = None;
        loop {
            let page = self.ledger.outcomes(coupon, last.as_ref(), CHUNK_ROWS_MAX).await?;
            let Some(end) = page.last() else { return Ok(rows) };
            let expired = page.iter().filter(|listed| deletion.includes(listed.outcome));
            let expired: BTreeSet<RequestId> = expired.map(|listed| listed.request_id).collect();
            if !expired.is_empty() {
                self.ledger.delete_outcomes(coupon, &expired).await?;
                rows += expired.len();
            }
            last = Some(*end);
            tokio::time::sleep(CHUNK_PAUSE).await;
        }
    }

    /// After the outcomes that refer to them: an outcome never lacks its terms.
    async fn delete_terms(&self, coupon: CouponId) -> Result<(), LedgerError> {
        while self.ledger.delete_terms(coupon, CHUNK_ROWS_MAX).await? > 0 {
            tokio::time::sleep(CHUNK_PAUSE).await;
        }
        Ok(())
    }
}
