//! Whether a database is the one of its group. Databases that change places would settle each other's records.

use crate::coupon::{GroupLayout, GroupNo, LogId};
use crate::ledger::{Ledger, LedgerError, OpenError, Place};

/// What the first group's database knows of all groups.
struct Known {
    log_id: Option<LogId>,
    groups_seen: u32,
}

/// Verifies the database of a group, and records that it is in use.
pub(super) async fn verify(
    group: GroupNo,
    database: &dyn Ledger,
    first: &dyn Ledger,
    layout: GroupLayout,
) -> Result<(), OpenError> {
    let unverified = |source: LedgerError| OpenError::Unverified { group, source };
    let known = read_known(first).await.map_err(unverified)?;
    let place = database.place().await.map_err(unverified)?;
    if group == GroupNo::FIRST && known.groups_seen > layout.number_of_groups() {
        return Err(OpenError::MissingGroups { seen: known.groups_seen, listed: layout.number_of_groups() });
    }
    check_log(group, database, &known).await?;
    match place {
        Some(place) => check_place(group, place, layout)?,
        None => check_partitions(group, database, layout).await?,
    }
    let place = Place { group, partitions_each: layout.partitions_each(), groups_seen: group.0 + 1 };
    if let Some(log_id) = known.log_id {
        database.propose_log(log_id).await.map_err(unverified)?;
    }
    database.store_place(place).await.map_err(unverified)?;
    // Last: from now on, the group's database must not be empty.
    let of_first = Place { group: GroupNo::FIRST, ..place };
    first.store_place(of_first).await.map_err(unverified)
}

async fn read_known(first: &dyn Ledger) -> Result<Known, LedgerError> {
    let identity = first.log_identity(GroupNo::FIRST).await?;
    let place = first.place().await?;
    Ok(Known {
        log_id: identity.map(|identity| identity.log_id),
        groups_seen: place.map_or(0, |place| place.groups_seen),
    })
}

/// All groups settle one log.
async fn check_log(group: GroupNo, database: &dyn Ledger, known: &Known) -> Result<(), OpenError> {
    let found = database.log_identity(group).await.map_err(|source| OpenError::Unverified { group, source })?;
    match (found.map(|found| found.log_id), known.log_id) {
        (None, _) if group.0 < known.groups_seen && known.log_id.is_some() => Err(OpenError::EmptyGroup { group }),
        (Some(found), Some(expected)) if found != expected => Err(OpenError::OtherLog { group, found, expected }),
        (Some(found), None) => Err(OpenError::OtherSystem { group, found }),
        _ => Ok(()),
    }
}

fn check_place(group: GroupNo, place: Place, layout: GroupLayout) -> Result<(), OpenError> {
    if place.group != group {
        return Err(OpenError::WrongGroup { listed: group, found: place.group });
    }
    let (found, configured) = (place.partitions_each, layout.partitions_each());
    if found == configured { Ok(()) } else { Err(OpenError::OtherPartitions { found, configured }) }
}

/// A database of an earlier version does not know its place, but has settled partitions.
async fn check_partitions(group: GroupNo, database: &dyn Ledger, layout: GroupLayout) -> Result<(), OpenError> {
    let settled = database.next_offsets(group).await.map_err(|source| OpenError::Unverified { group, source })?;
    match settled.into_keys().find(|partition| layout.group_of(*partition) != Some(group)) {
        Some(partition) => Err(OpenError::OtherGroupsPartition { group, partition }),
        None => Ok(()),
    }
}
