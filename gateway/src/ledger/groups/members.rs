//! The databases of the groups, and the group of each coupon that was seen.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use futures_util::future::BoxFuture;

use crate::coupon::{Campaign, CouponId, GroupLayout, GroupNo, PartitionNo};
use crate::ledger::{Ledger, LedgerError, OpenError};

/// Opens the database of a group.
pub type Opener = Box<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Ledger>, OpenError>> + Send + Sync>;

pub(super) struct Members {
    layout: GroupLayout,
    first: Arc<dyn Ledger>,
    /// Those after the first one.
    others: Vec<Member>,
    /// Assignments never change. At 16 bytes each, a million campaigns take about 32 MiB.
    known: RwLock<HashMap<CouponId, GroupNo>>,
}

struct Member {
    open: Opener,
    /// Absent until the group has joined.
    joined: OnceLock<Arc<dyn Ledger>>,
}

impl Members {
    /// Opens the first one.
    pub(super) async fn new(openers: Vec<Opener>, layout: GroupLayout) -> Result<Self, OpenError> {
        let mut openers = openers.into_iter();
        let first = openers.next().expect("there is a first group");
        let others = openers.map(|open| Member { open, joined: OnceLock::new() }).collect();
        Ok(Self { layout, first: first().await?, others, known: RwLock::default() })
    }

    pub(super) fn layout(&self) -> GroupLayout {
        self.layout
    }

    pub(super) fn first(&self) -> &dyn Ledger {
        &*self.first
    }

    /// The database of a group that has joined.
    pub(super) fn get(&self, group: GroupNo) -> Result<&dyn Ledger, LedgerError> {
        let problem =
            |problem: String| LedgerError::Transient { step: "reach the ledger group", source: problem.into() };
        if group == GroupNo::FIRST {
            return Ok(&*self.first);
        }
        let member = self.others.get(group.index() - 1);
        let member = member.ok_or_else(|| problem(format!("ledger.urls does not list group {group}")))?;
        let joined = member.joined.get().ok_or_else(|| problem(format!("group {group} has not been reached yet")))?;
        Ok(&**joined)
    }

    pub(super) fn of_partition(&self, partition: PartitionNo) -> Result<&dyn Ledger, LedgerError> {
        match self.layout.group_of(partition) {
            Some(group) => self.get(group),
            // Not permanent, which would say that a record is the cause.
            None => Err(LedgerError::Transient {
                step: "find the ledger group",
                source: format!("no group has partition {partition}").into(),
            }),
        }
    }

    /// The group of a coupon, and its database. `None` if the coupon has no campaign.
    pub(super) async fn of_coupon(&self, coupon: CouponId) -> Result<Option<(GroupNo, &dyn Ledger)>, LedgerError> {
        match self.group_of(coupon).await? {
            Some(group) => Ok(Some((group, self.get(group)?))),
            None => Ok(None),
        }
    }

    pub(super) async fn group_of(&self, coupon: CouponId) -> Result<Option<GroupNo>, LedgerError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&coupon).copied();
        if known.is_some() {
            return Ok(known);
        }
        let assigned = self.first.group_of(coupon).await?;
        if let Some(group) = assigned {
            self.get(group)?;
            self.learn([coupon], group);
        }
        Ok(assigned)
    }

    pub(super) fn learn(&self, coupons: impl IntoIterator<Item = CouponId>, group: GroupNo) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(coupons.into_iter().map(|coupon| (coupon, group)));
    }

    /// Notes the group from whose database the campaigns were read.
    pub(super) fn note(&self, group: GroupNo, campaigns: &mut [Campaign]) {
        campaigns.iter_mut().for_each(|campaign| campaign.group = group);
        self.learn(campaigns.iter().map(|campaign| campaign.coupon_id), group);
    }

    /// The database of a group, opened if it has not joined.
    pub(super) async fn open(&self, group: GroupNo) -> Result<Arc<dyn Ledger>, OpenError> {
        let Some(index) = group.index().checked_sub(1) else { return Ok(Arc::clone(&self.first)) };
        let member = &self.others[index];
        match member.joined.get() {
            Some(joined) => Ok(Arc::clone(joined)),
            None => (member.open)().await,
        }
    }

    /// From now on, calls that concern the group reach its database.
    pub(super) fn join(&self, group: GroupNo, opened: Arc<dyn Ledger>) {
        if let Some(index) = group.index().checked_sub(1) {
            // A group that joins again has the same database.
            let _ = self.others[index].joined.set(opened);
        }
    }

    /// The databases of the groups that have joined.
    pub(super) fn joined(&self) -> impl Iterator<Item = &dyn Ledger> {
        let others = self.others.iter().filter_map(|member| member.joined.get());
        std::iter::once(&*self.first).chain(others.map(|joined| &**joined))
    }
}
