//! Reads that confirm in the ledger that a coupon is sold out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as SyncMutex, MutexGuard as SyncMutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Mutex;

use crate::coupon::CouponId;
use crate::ledger::{LedgerError, ReadBreaker};

/// Concurrent requests for a coupon share one read. It waits for the lock of a change too, so all of it has the
/// deadline of the breaker.
#[derive(Default)]
pub(super) struct StockReads {
    breaker: ReadBreaker,
    /// The last read of each coupon that requests found sold out. Locked while the coupon is read again.
    last: SyncMutex<HashMap<CouponId, Arc<LastRead>>>,
}

type LastRead = Mutex<Option<StockRead>>;

#[derive(Clone, Copy)]
struct StockRead {
    began_at: Instant,
    is_sold_out: bool,
}

impl StockReads {
    /// The result of a read that began after this call.
    pub(super) async fn is_sold_out(
        &self,
        coupon: CouponId,
        read: impl Future<Output = Result<bool, LedgerError>>,
    ) -> Result<bool, LedgerError> {
        let called_at = Instant::now();
        let last = self.last(coupon);
        let shared = async {
            let mut last = last.lock().await;
            if let Some(known) = last.filter(|known| known.began_at >= called_at) {
                return Ok(known.is_sold_out);
            }
            let began_at = Instant::now();
            let is_sold_out = read.await?;
            *last = Some(StockRead { began_at, is_sold_out });
            Ok(is_sold_out)
        };
        self.breaker.read(shared).await
    }

    /// Drops what was read of a coupon whose campaign is over: no request asks for its stock again.
    pub(super) fn forget(&self, coupon: CouponId) {
        self.lock().remove(&coupon);
    }

    #[cfg(test)]
    pub(super) fn knows(&self, coupon: CouponId) -> bool {
        self.lock().contains_key(&coupon)
    }

    fn last(&self, coupon: CouponId) -> Arc<LastRead> {
        Arc::clone(self.lock().entry(coupon).or_default())
    }

    fn lock(&self) -> SyncMutexGuard<'_, HashMap<CouponId, Arc<LastRead>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
