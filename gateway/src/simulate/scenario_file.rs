//! The scenarios of the load tests, `k6/scenarios.json`: load and crowd of each, by name.

mod load;
mod number;

use serde::Deserialize;
use serde_json::{Map, Value};

use self::load::{FieldError, WrittenLoad};
use self::number::{exponent, not_negative, share};
use super::crowd::Crowd;
use super::profile::Profile;
use super::scenario::{Demand, REQUESTS_MAX, Scenario};
use crate::bounded::bounded;
use crate::coupon::{CouponId, NewCampaign, PartitionNo, PolicyId, ShardNo};

/// A chain of scenarios that extend each other.
const EXTENDS_MAX: usize = 8;
/// What only the load test reads.
const LOAD_TEST_FIELDS: [&str; 3] = ["about", "compares", "waitingOneOf"];
/// Other requests keep their partition busy as long as they last, so their coupons never run out.
const FLOOD_TOTAL: u64 = 1_000_000_000;
/// As in the load test. No decision of a shipped policy depends on it.
const POLICY_ID: u64 = 21;

/// Scenarios by name.
#[derive(Debug)]
pub struct ScenarioFile(Map<String, Value>);

/// Why there is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("expected a JSON object with a scenario for each name: {0}")]
    Json(#[from] serde_json::Error),
    #[error("unknown scenario `{name}`: expected one of {known}")]
    Unknown { name: String, known: String },
    #[error("several scenarios: choose one with --scenario: {0}")]
    NotChosen(String),
    #[error("no scenario in the file")]
    Empty,
    #[error("{place}: {message}")]
    Field { place: String, message: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a scenario")]
struct Written {
    load: WrittenLoad,
    flood: Option<WrittenLoad>,
    crowd: WrittenCrowd,
    #[serde(deserialize_with = "bounded::<_, _, 1, 1_000_000_000_000>")]
    total: u64,
    #[serde(deserialize_with = "bounded::<_, _, 1, 256>")]
    shards: u32,
    #[serde(default = "one", deserialize_with = "bounded::<_, _, 1, 4_294_967_295>")]
    per_user_limit: u32,
    #[serde(default = "one", deserialize_with = "bounded::<_, _, 1, 10_000>")]
    campaigns: u32,
    /// Between two requests of a virtual user of k6.
    #[serde(default, deserialize_with = "not_negative")]
    think_seconds: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", expecting = "a crowd")]
struct WrittenCrowd {
    #[serde(deserialize_with = "bounded::<_, _, 1, 1_000_000_000>")]
    users: u64,
    #[serde(default, deserialize_with = "exponent")]
    zipf: Option<f64>,
    #[serde(default, deserialize_with = "share")]
    retries: f64,
    #[serde(default, deserialize_with = "bounded::<_, _, 0, 1_000_000>")]
    bots: u64,
    #[serde(default, deserialize_with = "share")]
    bot_share: f64,
}

const fn one() -> u32 {
    1
}

impl ScenarioFile {
    /// # Errors
    /// When the text is not a JSON object.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        Ok(Self(serde_json::from_str(text)?))
    }

    /// The scenario of this name, or the only one of the file. With `full`, in its long form. `partitions` are those of
    /// the log: a flood goes to the one of the first shard.
    ///
    /// # Errors
    /// Which scenarios there are, or which field is wrong and what was expected.
    pub fn scenario(
        &self,
        name: Option<&str>,
        full: bool,
        partitions: u32,
    ) -> Result<(String, Scenario), ScenarioError> {
        let name = self.choose(name)?;
        let mut fields = self.fields(name, full, EXTENDS_MAX)?;
        fields.retain(|field, _| !LOAD_TEST_FIELDS.contains(&&**field));
        let written: Written = serde_path_to_error::deserialize(Value::from(fields)).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { String::new() } else { format!(".{path}") };
            ScenarioError::Field { place: format!("{name}{field}"), message: error.into_inner().to_string() }
        })?;
        let scenario = written.scenario(partitions).map_err(|FieldError { field, message }| ScenarioError::Field {
            place: format!("{name}.{field}"),
            message,
        })?;
        Ok((name.to_owned(), scenario))
    }

    fn choose<'a>(&'a self, name: Option<&'a str>) -> Result<&'a str, ScenarioError> {
        let known = || self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        match name {
            Some(name) if self.0.contains_key(name) => Ok(name),
            Some(name) => Err(ScenarioError::Unknown { name: name.to_owned(), known: known() }),
            None if self.0.len() > 1 => Err(ScenarioError::NotChosen(known())),
            None => self.0.keys().next().map(String::as_str).ok_or(ScenarioError::Empty),
        }
    }

    /// The fields of the scenario that it extends, then its own, then those of its long form.
    fn fields(&self, name: &str, full: bool, extends_max: usize) -> Result<Map<String, Value>, ScenarioError> {
        let wrong = |field: &str, message: &str| ScenarioError::Field {
            place: format!("{name}{field}"),
            message: message.to_owned(),
        };
        let Some(Value::Object(own)) = self.0.get(name) else { return Err(wrong("", "expected a scenario")) };
        let mut own = own.clone();
        let mut fields = match own.remove("extends") {
            None => Map::new(),
            Some(Value::String(base)) if extends_max > 0 && self.0.contains_key(&base) => {
                self.fields(&base, full, extends_max - 1)?
            }
            Some(_) => return Err(wrong(".extends", "expected another scenario of the file, without a cycle")),
        };
        let long = own.remove("full");
        fields.extend(own);
        match long {
            Some(Value::Object(long)) if full => fields.extend(long),
            Some(Value::Object(_)) | None => {}
            Some(_) => return Err(wrong(".full", "expected fields of a scenario")),
        }
        Ok(fields)
    }
}

impl Written {
    fn scenario(self, partitions: u32) -> Result<Scenario, FieldError> {
        let profile = self.load.profile("load", self.think_seconds)?;
        let flood = self.flood.as_ref().map(|flood| flood.profile("flood", self.think_seconds)).transpose()?;
        let requests = profile.requests() + flood.as_ref().map_or(0.0, Profile::requests);
        if !requests.is_finite() || requests > REQUESTS_MAX as f64 {
            return Err(FieldError::new("load", format!("expected at most {REQUESTS_MAX} requests, found {requests}")));
        }
        let mut campaigns: Vec<_> = (1..=u64::from(self.campaigns)).map(|coupon| self.campaign(coupon)).collect();
        if flood.is_some() {
            campaigns.push(flooded(&campaigns, partitions));
        }
        let WrittenCrowd { users, zipf, retries, bots, bot_share } = self.crowd;
        let crowd = Crowd { users, zipf, retries, bots, bot_share };
        Ok(Scenario { campaigns, demand: Demand::Crowd { profile, crowd, flood } })
    }

    fn campaign(&self, coupon: u64) -> NewCampaign {
        NewCampaign {
            coupon_id: coupon_id(coupon),
            policy_id: PolicyId::try_from(POLICY_ID).expect("positive"),
            total: self.total,
            shards: self.shards,
            per_user_limit: self.per_user_limit,
            opens_at_ms: None,
            closes_at_ms: None,
        }
    }
}

/// A campaign with one shard, in the partition of the first shard of the first campaign.
fn flooded(campaigns: &[NewCampaign], partitions: u32) -> NewCampaign {
    let first = &campaigns[0];
    let partition = |coupon| PartitionNo::of(coupon, ShardNo(0), partitions);
    let mut others = (campaigns.len() as u64 + 1..).map(coupon_id);
    let coupon_id = others.find(|coupon| partition(*coupon) == partition(first.coupon_id)).expect("ids spread evenly");
    NewCampaign { coupon_id, total: FLOOD_TOTAL, shards: 1, per_user_limit: 1, ..first.clone() }
}

fn coupon_id(number: u64) -> CouponId {
    CouponId::try_from(number).expect("small and positive")
}

#[cfg(test)]
mod tests;
