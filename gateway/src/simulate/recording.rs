//! A campaign of the past: the requests that `sluice coupon export` printed, and what became of them.

use std::io::BufRead;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;

use super::scenario::{Arrival, Attempt, Demand, REQUESTS_MAX, Scenario};
use super::tally::{Outcomes, SettledRequest, Tally};
use crate::coupon::{CouponId, NewCampaign, Outcome, PolicyId, Reason, RequestId, ShardNo, UserId};

/// An export does not have the `policyId`.
const POLICY_ID: u64 = 1;

/// The requests of a campaign that were accepted, and their outcomes.
#[derive(Debug)]
pub struct Recording {
    lines: Vec<Line>,
}

/// Why an export cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    #[error("read the export: {0}")]
    Read(#[from] std::io::Error),
    #[error("line {line}: {message}; expected a line of `sluice coupon export`")]
    Line { line: usize, message: String },
    #[error("line {line}: expected coupon {expected}, found {found}: give one campaign")]
    OtherCoupon { line: usize, expected: CouponId, found: CouponId },
    #[error("the export has no outcomes")]
    Empty,
    #[error("expected at most {REQUESTS_MAX} outcomes")]
    TooLong,
    #[error("expected at least {found} shards: the export has requests for shard {}", found - 1)]
    MissingShards { found: u32 },
}

/// What an export does not say. The default of each is what its outcomes show.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// Coupons. By default as many as were issued.
    pub total: Option<u64>,
    /// By default up to the highest number.
    pub shards: Option<NonZeroU32>,
    /// By default the most coupons that a user got.
    pub per_user_limit: Option<NonZeroU32>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an outcome")]
struct Line {
    request_id: RequestId,
    coupon_id: CouponId,
    user_id: UserId,
    reason: Option<Reason>,
    shard_no: Option<ShardNo>,
    grant_no: Option<u32>,
    picked_shard_no: ShardNo,
    arrived_at: jiff::Timestamp,
    settled_at: jiff::Timestamp,
}

impl Line {
    fn outcome(&self) -> Outcome {
        match (self.shard_no, self.grant_no) {
            (Some(shard), Some(grant_no)) => Outcome::Issued { shard, grant_no },
            _ => Outcome::Rejected(self.reason.unwrap_or(Reason::Invalid)),
        }
    }

    fn highest_shard(&self) -> ShardNo {
        self.shard_no.map_or(self.picked_shard_no, |shard_no| shard_no.max(self.picked_shard_no))
    }
}

fn since(start: jiff::Timestamp, time: jiff::Timestamp) -> Duration {
    Duration::try_from(time.duration_since(start)).unwrap_or_default()
}

impl Recording {
    /// # Errors
    /// Which line is wrong, and why.
    pub fn read(text: impl BufRead) -> Result<Self, RecordingError> {
        let mut lines: Vec<Line> = Vec::new();
        for (number, text) in (1..).zip(text.lines()) {
            let wrong = |error: serde_json::Error| RecordingError::Line { line: number, message: error.to_string() };
            let line: Line = serde_json::from_str(&text?).map_err(wrong)?;
            if line.highest_shard().0 >= NewCampaign::SHARDS_MAX {
                let message = format!("expected shards below {}", NewCampaign::SHARDS_MAX);
                return Err(RecordingError::Line { line: number, message });
            }
            let (expected, found) = (lines.first().map_or(line.coupon_id, |first| first.coupon_id), line.coupon_id);
            if found != expected {
                return Err(RecordingError::OtherCoupon { line: number, expected, found });
            }
            if lines.len() as u64 == REQUESTS_MAX {
                return Err(RecordingError::TooLong);
            }
            lines.push(line);
        }
        lines.sort_by_key(|line| line.arrived_at);
        if lines.is_empty() { Err(RecordingError::Empty) } else { Ok(Self { lines }) }
    }

    /// The scenario in which the same requests arrive, and what came of them.
    ///
    /// # Errors
    /// When `terms` has too few shards.
    pub fn replay(&self, terms: &Terms) -> Result<(Scenario, Outcomes), RecordingError> {
        let campaign = self.campaign(terms)?;
        let measured = self.outcomes(campaign.shards);
        Ok((Scenario { campaigns: vec![campaign], demand: Demand::Recorded(self.arrivals()) }, measured))
    }

    fn campaign(&self, terms: &Terms) -> Result<NewCampaign, RecordingError> {
        let found = self.lines.iter().map(|line| line.highest_shard().0 + 1).max().unwrap_or(1);
        let shards = terms.shards.map_or(found, NonZeroU32::get);
        if shards < found {
            return Err(RecordingError::MissingShards { found });
        }
        let grants = self.lines.iter().filter_map(|line| line.grant_no);
        let issued = grants.clone().count() as u64;
        Ok(NewCampaign {
            coupon_id: self.lines[0].coupon_id,
            policy_id: PolicyId::try_from(POLICY_ID).expect("positive"),
            total: terms.total.unwrap_or(issued),
            shards,
            per_user_limit: terms.per_user_limit.map_or_else(|| grants.max().unwrap_or(1), NonZeroU32::get),
            opens_at_ms: None,
            closes_at_ms: None,
        })
    }

    fn arrivals(&self) -> Vec<Arrival> {
        let start = self.lines[0].arrived_at;
        let arrival = |line: &Line| Arrival {
            at: since(start, line.arrived_at),
            campaign: 0,
            user: line.user_id,
            request_id: line.request_id,
            attempt: Attempt::Only,
        };
        self.lines.iter().map(arrival).collect()
    }

    fn outcomes(&self, shards: u32) -> Outcomes {
        let start = self.lines[0].arrived_at;
        let mut tally = Tally::new(1, shards);
        for line in &self.lines {
            let (arrived, at) = (since(start, line.arrived_at), since(start, line.settled_at));
            tally.ask(0, line.user_id, arrived);
            tally.answer(arrived);
            let (user, picked, outcome) = (line.user_id, line.picked_shard_no, line.outcome());
            tally.settle(&SettledRequest { campaign: 0, user, picked, outcome, at });
        }
        tally.outcomes()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn issued(id: u8, user: u64, picked: u32, shard: u32, arrived_at: &str) -> Value {
        json!({
            "requestId": format!("00000000-0000-4000-8000-0000000000{id:02x}"), "couponId": 104, "userId": user,
            "status": "ISSUED", "shardNo": shard, "grantNo": 1, "pickedShardNo": picked, "generation": 1,
            "partition": 0, "offset": 0, "arrivedAt": arrived_at, "settledAt": "2026-01-01T00:00:01Z",
        })
    }

    fn sold_out(id: u8, user: u64, arrived_at: &str) -> Value {
        let mut line = issued(id, user, 0, 0, arrived_at);
        let fields = line.as_object_mut().expect("an object");
        fields.retain(|name, _| name != "shardNo" && name != "grantNo");
        fields.insert("reason".to_owned(), json!("SOLD_OUT"));
        line
    }

    fn read(lines: &[Value]) -> Result<Recording, String> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        Recording::read(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_export_is_replayed_in_the_order_of_arrival_and_its_outcomes_are_measured() {
        let recording = read(&[
            issued(1, 7, 1, 1, "2026-01-01T00:00:00.300Z"),
            issued(2, 8, 0, 1, "2026-01-01T00:00:00.100Z"),
            sold_out(3, 9, "2026-01-01T00:00:00.200Z"),
        ]);
        let (scenario, measured) = recording.expect("valid").replay(&Terms::default()).expect("valid");
        let arrivals: Vec<_> = scenario.arrivals(1).map(|next| (next.user.get(), next.at.as_millis())).collect();
        assert_eq!(arrivals, [(8, 0), (9, 100), (7, 200)]);
        let NewCampaign { total, shards, per_user_limit, .. } = scenario.campaigns[0];
        assert_eq!((total, shards, per_user_limit), (2, 2, 1));
        assert_eq!((measured.accepted, measured.granted, measured.steals), (3, 2, 1));
        assert_eq!((measured.inverted_users, measured.inversion_max_ms), (1, 100));
        assert_eq!(measured.drain_ms, 700);
    }

    #[test]
    fn an_export_that_cannot_be_simulated_is_explained() {
        assert_eq!(read(&[]).expect_err("empty"), "the export has no outcomes");
        let mut other = issued(1, 7, 0, 0, "2026-01-01T00:00:00Z");
        other["couponId"] = json!(105);
        let error = read(&[issued(1, 7, 0, 0, "2026-01-01T00:00:00Z"), other]).expect_err("two campaigns");
        assert_eq!(error, "line 2: expected coupon 104, found 105: give one campaign");
        let error = read(&[json!({ "couponId": 104 })]).expect_err("no outcome");
        assert!(error.starts_with("line 1: missing field `requestId`"), "{error}");
        let recording = read(&[issued(1, 7, 3, 3, "2026-01-01T00:00:00Z")]).expect("valid");
        let terms = Terms { shards: NonZeroU32::new(2), ..Terms::default() };
        let error = recording.replay(&terms).expect_err("two shards").to_string();
        assert_eq!(error, "expected at least 4 shards: the export has requests for shard 3");
    }
}
