//! What the ledger stores about each generation of a coupon.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::author::Author;
use super::component::ComponentBytes;
use super::digest::Digest;
use super::error::ChangeError;
use super::history::{HISTORY_MAX, HistoryEntry};
use super::pinned::{OwnHooks, PinnedHook};
use super::spec::{HookPatch, HookSpec};
use crate::counters::{Hook, PerHook};
use crate::coupon::{CouponId, GenerationNo, UnixMs, now_ms};
use crate::ledger::{GenerationRow, Ledger, LedgerError};

/// Stored as JSON. It has other keys than a record of the default pipeline, so that an earlier version of the gateway,
/// which knows no pipelines of coupons, takes it for unreadable.
#[derive(Serialize)]
struct Record<'a> {
    hooks: &'a OwnHooks,
    #[serde(flatten)]
    author: &'a Author,
}

/// A [`Record`], in which keys may be missing that later versions add.
#[derive(Deserialize)]
struct ReadRecord {
    hooks: PerHook<Option<ReadHook>>,
    #[serde(flatten)]
    author: Author,
}

#[derive(Deserialize)]
struct ReadHook {
    digest: Digest,
    spec: HookPatch,
}

/// The hooks that a coupon set at some time.
#[derive(Debug)]
pub(super) struct RecordedHooks {
    pub(super) number: GenerationNo,
    published_at_ms: UnixMs,
    pub(super) hooks: OwnHooks,
    pub(super) author: Author,
}

impl RecordedHooks {
    pub(super) fn history_entry(&self) -> HistoryEntry {
        HistoryEntry { at_ms: self.published_at_ms, author: self.author.clone(), result: Ok(self.number) }
    }
}

/// Newest first, without those that cannot be read.
pub(super) async fn read(ledger: &dyn Ledger, coupon: CouponId) -> Result<Vec<RecordedHooks>, LedgerError> {
    let rows = ledger.generations(Some(coupon), HISTORY_MAX).await?;
    Ok(rows.iter().filter(|row| !row.has_ended()).filter_map(parse).collect())
}

pub(super) fn parse(row: &GenerationRow) -> Option<RecordedHooks> {
    let record = serde_json::from_str::<ReadRecord>(&row.pipeline);
    let record =
        record.inspect_err(|error| tracing::warn!(generation = row.number, %error, "recorded generation unreadable"));
    let ReadRecord { hooks, author } = record.ok()?;
    let hooks = PerHook::try_from_fn(|hook| match &hooks[hook] {
        Some(read) => read.pinned(hook).map(Some).ok_or(()),
        None => Ok(None),
    });
    let (number, published_at_ms) = (row.number, row.published_at_ms);
    Some(RecordedHooks { number, published_at_ms, hooks: hooks.ok()?, author })
}

impl ReadHook {
    fn pinned(&self, hook: Hook) -> Option<PinnedHook> {
        Some(PinnedHook { digest: self.digest, spec: HookSpec::complete(hook, &self.spec)? })
    }
}

/// Records a generation of a coupon, with the components that are at hand.
///
/// # Errors
/// [`ChangeError::Conflict`] if another process recorded this number first.
pub(super) async fn publish(
    ledger: &dyn Ledger,
    number: GenerationNo,
    coupon: CouponId,
    hooks: &OwnHooks,
    components: &PerHook<Option<ComponentBytes>>,
    author: &Author,
) -> Result<(), ChangeError> {
    let pipeline = serde_json::to_string(&Record { hooks, author }).expect("a record is JSON");
    let row = GenerationRow { number, coupon: Some(coupon), pipeline, published_at_ms: now_ms() };
    let components: Vec<(String, Arc<[u8]>)> = components
        .iter()
        .filter_map(|(_, component)| component.as_ref())
        .map(|component| (component.digest.to_string(), Arc::clone(&component.bytes)))
        .collect();
    if ledger.publish_generation(&row, &components).await? { Ok(()) } else { Err(ChangeError::Conflict) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::records::GenerationRecord;

    /// As it is written.
    fn record() -> String {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let spec = json!({
            "policy": "weighted", "on_failure": "refuse", "deadline_ms": 20, "isolation": "fresh", "config": { "a": 1 },
        });
        let hooks = json!({
            "rate-shaper": null, "user-limit": null, "shard-picker": { "digest": digest, "spec": spec },
        });
        json!({ "hooks": hooks, "source": "admin", "who": "anna" }).to_string()
    }

    fn row(pipeline: String) -> GenerationRow {
        let coupon = CouponId::try_from(104_u64).ok();
        GenerationRow { number: 7, coupon, pipeline, published_at_ms: 5 }
    }

    #[test]
    fn a_record_loads_and_is_written_in_the_same_form() {
        let recorded = parse(&row(record())).expect("is read");
        assert_eq!((recorded.number, recorded.published_at_ms), (7, 5));
        assert_eq!(recorded.author, Author::admin("anna"));
        let [None, None, Some(picker)] = <[_; 3]>::from(recorded.hooks.clone()) else { panic!("{recorded:?}") };
        assert_eq!((picker.digest, picker.spec.policy.as_str()), (Digest::of(b"abc"), "weighted"));
        assert_eq!((picker.spec.deadline_ms, &picker.spec.config["a"]), (20, &1.into()));
        let written = Record { hooks: &recorded.hooks, author: &recorded.author };
        let written = serde_json::to_value(written).expect("JSON");
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(&record()).expect("JSON"));
    }

    #[test]
    fn a_record_of_an_earlier_version_does_not_say_who_made_the_change() {
        let without = record().replace(r#","who":"anna""#, "");
        let author = parse(&row(without)).expect("is read").author;
        assert_eq!(author, Author { who: None, ..Author::admin("anna") });
    }

    #[test]
    fn a_key_that_was_added_later_has_the_default_of_its_hook() {
        let without = record().replace(r#""deadline_ms":20,"#, "");
        let hooks = parse(&row(without)).expect("is read").hooks;
        assert_eq!(hooks.shard_picker.expect("is set").spec.deadline_ms, 5);
    }

    #[test]
    fn a_record_of_a_coupon_is_none_of_the_default_pipeline_and_the_other_way_round() {
        assert!(serde_json::from_str::<GenerationRecord>(&record()).is_err());
        assert!(parse(&row(record().replace("hooks", "pipeline"))).is_none());
    }
}
