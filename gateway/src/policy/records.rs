//! What the ledger stores about each generation of the default pipeline, and how that is restored from it.

use serde::{Deserialize, Serialize};

use super::author::Author;
use super::component::{ComponentBytes, ResolvedPipeline};
use super::digest::Digest;
use super::error::{ChangeError, NotLoaded};
use super::history::{HISTORY_MAX, HistoryEntry};
use super::registry::read_component;
use super::rollback::RollbackStack;
use super::spec::Pipeline;
use crate::counters::PerHook;
use crate::coupon::{GenerationNo, UnixMs, now_ms};
use crate::ledger::{GenerationRow, Ledger, LedgerError};

/// Stored as JSON with each generation of the default pipeline. Earlier versions wrote the same form without who made
/// the change, and ignore that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct GenerationRecord {
    pub(super) pipeline: Pipeline,
    #[serde(with = "hook_list")]
    pub(super) digests: PerHook<Digest>,
    #[serde(rename = "seen")]
    pub(super) observed: ObservedFiles,
    #[serde(flatten)]
    pub(super) author: Author,
}

/// What the files of the machine that published contained when they were last read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ObservedFiles {
    /// The pipeline of `sluice.toml`.
    pub(super) file: Pipeline,
    /// Of each hook's component in the folder; `None` if there is none.
    #[serde(with = "optional_hook_list")]
    pub(super) folder: PerHook<Option<Digest>>,
}

/// A pipeline whose components are in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RecordedPipeline {
    pub(super) pipeline: Pipeline,
    pub(super) digests: PerHook<Digest>,
}

impl RecordedPipeline {
    pub(super) fn of(resolved: &ResolvedPipeline) -> Self {
        Self { pipeline: resolved.pipeline.clone(), digests: resolved.digests() }
    }

    /// Reads the components; `None` if the ledger no longer has one of them.
    ///
    /// # Errors
    /// [`ChangeError::Damaged`] if the bytes of one have another digest.
    pub(super) async fn resolve(self, ledger: &dyn Ledger) -> Result<Option<ResolvedPipeline>, ChangeError> {
        let Self { pipeline, digests } = self;
        let rate_shaper = read_component(ledger, digests.rate_shaper).await?;
        let user_limit = read_component(ledger, digests.user_limit).await?;
        let shard_picker = read_component(ledger, digests.shard_picker).await?;
        let (Some(rate_shaper), Some(user_limit), Some(shard_picker)) = (rate_shaper, user_limit, shard_picker) else {
            return Ok(None);
        };
        Ok(Some(ResolvedPipeline { pipeline, components: PerHook { rate_shaper, user_limit, shard_picker } }))
    }
}

/// The newest generations of the default pipeline in the ledger.
#[derive(Debug)]
pub(super) struct Recorded {
    /// Of the newest generation; 0 if there is none.
    pub(super) number: GenerationNo,
    /// Without those that cannot be read.
    pub(super) newest_first: Vec<RecordedGeneration>,
    pub(super) rollback: RollbackStack<RecordedPipeline>,
}

#[derive(Debug, Clone)]
pub(super) struct RecordedGeneration {
    pub(super) number: GenerationNo,
    pub(super) published_at_ms: UnixMs,
    pub(super) record: GenerationRecord,
}

impl RecordedGeneration {
    pub(super) fn pipeline(&self) -> RecordedPipeline {
        RecordedPipeline { pipeline: self.record.pipeline.clone(), digests: self.record.digests }
    }
}

/// A rollback takes a pipeline off the stack, so that more records are read than can be rolled back.
const RECORDS_MAX: u32 = 3 * HISTORY_MAX;

impl Recorded {
    pub(super) async fn read(ledger: &dyn Ledger) -> Result<Self, LedgerError> {
        let rows = ledger.generations(None, RECORDS_MAX).await?;
        let newest_first: Vec<_> = rows.iter().filter_map(parse).collect();
        let oldest_first = newest_first.iter().rev();
        let rollback = RollbackStack::replay(oldest_first.map(|old| (old.record.author.source, old.pipeline())));
        Ok(Self { number: rows.first().map_or(0, |row| row.number), newest_first, rollback })
    }

    /// Newest first.
    pub(super) fn history(&self) -> impl Iterator<Item = HistoryEntry> {
        self.newest_first.iter().map(|recorded| HistoryEntry {
            at_ms: recorded.published_at_ms,
            author: recorded.record.author.clone(),
            result: Ok(recorded.number),
        })
    }

    /// The newest generation, if its record cannot be read.
    pub(super) fn unreadable(&self) -> Option<NotLoaded> {
        let is_read = self.newest_first.first().map_or(0, |newest| newest.number) == self.number;
        let error = ChangeError::IncompleteRecord.to_string();
        (!is_read).then_some(NotLoaded { generation: self.number, error })
    }
}

fn parse(row: &GenerationRow) -> Option<RecordedGeneration> {
    // Earlier versions had a third isolation, for benchmarks. Without this, its records could not be read.
    let pipeline = row.pipeline.replace(r#""isolation":"native""#, r#""isolation":"warm""#);
    let record = serde_json::from_str(&pipeline);
    let record =
        record.inspect_err(|error| tracing::warn!(generation = row.number, %error, "recorded generation unreadable"));
    Some(RecordedGeneration { number: row.number, published_at_ms: row.published_at_ms, record: record.ok()? })
}

/// The number of the newest generation of all pipelines. `known` is that of an earlier one.
pub(super) async fn newest(ledger: &dyn Ledger, known: GenerationNo) -> Result<GenerationNo, LedgerError> {
    let mut newest = known;
    while let Some(row) = ledger.newest_generations(newest, RECORDS_MAX).await?.last() {
        newest = row.number;
    }
    Ok(newest)
}

/// Records a generation of the default pipeline with its components.
///
/// # Errors
/// [`ChangeError::Conflict`] if another process recorded this number first.
pub(super) async fn publish(
    ledger: &dyn Ledger,
    number: GenerationNo,
    resolved: &ResolvedPipeline,
    observed: ObservedFiles,
    author: &Author,
) -> Result<(), ChangeError> {
    let record = GenerationRecord {
        pipeline: resolved.pipeline.clone(),
        digests: resolved.digests(),
        observed,
        author: author.clone(),
    };
    let pipeline = serde_json::to_string(&record).expect("a record is JSON");
    let row = GenerationRow { number, coupon: None, pipeline, published_at_ms: now_ms() };
    let components = <[ComponentBytes; 3]>::from(resolved.components.clone())
        .map(|component| (component.digest.to_string(), component.bytes));
    if ledger.publish_generation(&row, &components).await? { Ok(()) } else { Err(ChangeError::Conflict) }
}

/// One value a hook, stored as a list in the order of the hooks.
mod hook_list {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::counters::PerHook;

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        values: &PerHook<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        <[&T; 3]>::from(values.as_ref()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<PerHook<T>, D::Error> {
        <[T; 3]>::deserialize(deserializer).map(PerHook::from)
    }
}

/// An absent digest is stored as an empty string.
mod optional_hook_list {
    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    use super::super::digest::Digest;
    use super::hook_list;
    use crate::counters::PerHook;

    pub(super) fn serialize<S: Serializer>(
        digests: &PerHook<Option<Digest>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let texts = digests.map(|digest| digest.map_or_else(String::new, |digest| digest.to_string()));
        hook_list::serialize(&texts, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PerHook<Option<Digest>>, D::Error> {
        let texts: PerHook<String> = hook_list::deserialize(deserializer)?;
        PerHook::try_from_fn(|hook| match texts[hook].as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(D::Error::custom),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 0.1.0 wrote it.
    const OLD: &str = r#"{
        "pipeline": {
            "rate-shaper": {
                "policy": "token-bucket", "on_failure": "fallback", "deadline_ms": 5, "isolation": "warm",
                "config": { "burst": 10000, "per_second": 50000 }
            },
            "user-limit": {
                "policy": "quota", "on_failure": "refuse", "deadline_ms": 5, "isolation": "fresh",
                "config": { "limit": 1 }
            },
            "shard-picker": {
                "policy": "hash-user", "on_failure": "fallback", "deadline_ms": 20, "isolation": "warm", "config": {}
            }
        },
        "digests": [
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        ],
        "seen": {
            "file": {
                "rate-shaper": {
                    "policy": "token-bucket", "on_failure": "fallback", "deadline_ms": 5, "isolation": "warm",
                    "config": { "burst": 10000, "per_second": 50000 }
                },
                "user-limit": {
                    "policy": "quota", "on_failure": "refuse", "deadline_ms": 5, "isolation": "warm",
                    "config": { "limit": 1 }
                },
                "shard-picker": {
                    "policy": "random", "on_failure": "fallback", "deadline_ms": 5, "isolation": "warm", "config": {}
                }
            },
            "folder": ["ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "", ""]
        },
        "source": "admin"
    }"#;

    fn recorded(picker: &str, author: Author) -> RecordedGeneration {
        let mut pipeline = Pipeline::default();
        pipeline.shard_picker.policy = picker.to_owned();
        let record = GenerationRecord {
            pipeline,
            digests: PerHook::from([Digest::of(b"abc"); 3]),
            observed: ObservedFiles { file: Pipeline::default(), folder: PerHook::default() },
            author,
        };
        RecordedGeneration { number: 1, published_at_ms: 0, record }
    }

    #[test]
    fn a_record_of_version_0_1_0_loads_and_is_written_in_the_same_form() {
        let record: GenerationRecord = serde_json::from_str(OLD).expect("loads");
        assert_eq!(record.pipeline.shard_picker.policy, "hash-user");
        assert_eq!(record.digests, PerHook::from([Digest::of(b"abc"), Digest::of(b""), Digest::of(b"abc")]));
        assert_eq!(record.observed.file.user_limit.config["limit"], 1);
        assert_eq!(record.observed.file.shard_picker, Pipeline::default().shard_picker);
        assert_eq!(record.observed.folder, PerHook::from([Some(Digest::of(b"abc")), None, None]));
        assert_eq!(record.author, Author { who: None, ..Author::admin("anna") });
        let old: serde_json::Value = serde_json::from_str(OLD).expect("JSON");
        assert_eq!(serde_json::to_value(&record).expect("JSON"), old);
    }

    #[test]
    fn a_record_says_who_made_the_change_and_which_rollout_was_promoted() {
        for author in [Author::FOLDER, Author::rollback("anna"), Author::rollout(7, "local")] {
            let written = serde_json::to_string(&recorded("random", author.clone()).record).expect("JSON");
            let read: GenerationRecord = serde_json::from_str(&written).expect("loads");
            assert_eq!(read.author, author, "{written}");
        }
    }

    #[test]
    fn a_record_with_the_removed_isolation_still_loads() {
        let pipeline = serde_json::to_string(&recorded("random", Author::FILE).record).expect("JSON");
        let pipeline = pipeline.replace(r#""isolation":"warm""#, r#""isolation":"native""#);
        assert!(pipeline.contains("native"), "{pipeline}");
        let row = GenerationRow { number: 1, coupon: None, pipeline, published_at_ms: 0 };
        assert_eq!(parse(&row).expect("loads").record.pipeline, Pipeline::default());
    }
}
