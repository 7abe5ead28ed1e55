//! What each hook sees besides the request and its measures, as a value that can be made up, recorded and replayed.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wasmtime::component::Lower;

use super::instance::Verdict;
use super::wire::{LimitVerdict, Load, Rejection, Shaping, Shard, Usage, shard_exists};
use crate::counters::Hook;

const STOCK_PER_SHARD: u64 = 100;

/// The load, the usage or the shards. It determines the hook and the type of its verdict.
pub trait OwnedContext: Serialize + DeserializeOwned + Debug + Clone + PartialEq + Send + Sync + 'static {
    /// What a call of the policy gets.
    type Lent: Lower + Debug + ?Sized + 'static;
    type Verdict: Verdict + Serialize + DeserializeOwned + Clone + PartialEq;

    const HOOK: Hook;

    fn lend(&self) -> &Self::Lent;

    /// Of a campaign that was just opened, with this number of shards, on an idle gateway.
    fn made_up(shards: u32) -> Self;

    /// Whether a verdict can be carried out.
    fn is_valid(&self, verdict: &Self::Verdict) -> bool;

    /// The verdict in one word.
    fn word(verdict: &Self::Verdict) -> &'static str;

    /// Why a verdict refuses the request; `None` if the request goes on.
    fn rejection(verdict: &Self::Verdict) -> Option<&Rejection>;

    /// The shard that a verdict picks.
    fn shard_no(_: &Self::Verdict) -> Option<u32> {
        None
    }
}

impl OwnedContext for Load {
    type Lent = Self;
    type Verdict = Shaping;

    const HOOK: Hook = Hook::RateShaper;

    fn lend(&self) -> &Self {
        self
    }

    fn made_up(_: u32) -> Self {
        Self::default()
    }

    fn is_valid(&self, verdict: &Shaping) -> bool {
        verdict.is_valid()
    }

    fn word(verdict: &Shaping) -> &'static str {
        match verdict {
            Shaping::Pass => "pass",
            Shaping::Delay(_) => "delay",
            Shaping::Shed(_) => "shed",
        }
    }

    fn rejection(verdict: &Shaping) -> Option<&Rejection> {
        match verdict {
            Shaping::Shed(rejection) => Some(rejection),
            Shaping::Pass | Shaping::Delay(_) => None,
        }
    }
}

impl OwnedContext for Usage {
    type Lent = Self;
    type Verdict = LimitVerdict;

    const HOOK: Hook = Hook::UserLimit;

    fn lend(&self) -> &Self {
        self
    }

    fn made_up(shards: u32) -> Self {
        let total = u64::from(shards) * STOCK_PER_SHARD;
        Self { per_user_limit: 1, total, remaining: total }
    }

    fn is_valid(&self, verdict: &LimitVerdict) -> bool {
        verdict.is_valid()
    }

    fn word(verdict: &LimitVerdict) -> &'static str {
        match verdict {
            LimitVerdict::Admit => "admit",
            LimitVerdict::Refuse(_) => "refuse",
        }
    }

    fn rejection(verdict: &LimitVerdict) -> Option<&Rejection> {
        match verdict {
            LimitVerdict::Admit => None,
            LimitVerdict::Refuse(rejection) => Some(rejection),
        }
    }
}

impl OwnedContext for Vec<Shard> {
    type Lent = [Shard];
    type Verdict = u32;

    const HOOK: Hook = Hook::ShardPicker;

    fn lend(&self) -> &[Shard] {
        self
    }

    fn made_up(shards: u32) -> Self {
        let shard = |shard_no| Shard { shard_no, remaining: STOCK_PER_SHARD, unsettled: 0, lag_records: 0 };
        (0..shards).map(shard).collect()
    }

    fn is_valid(&self, verdict: &u32) -> bool {
        shard_exists(self, *verdict)
    }

    fn word(_: &u32) -> &'static str {
        "pick"
    }

    fn rejection(_: &u32) -> Option<&Rejection> {
        None
    }

    fn shard_no(verdict: &u32) -> Option<u32> {
        Some(*verdict)
    }
}
