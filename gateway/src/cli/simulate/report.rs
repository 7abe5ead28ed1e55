//! The predictions of all pickers, as JSON or as tables.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::cli::table::aligned;
use crate::counters::Hook;
use crate::simulate::{Cost, Outcomes, Prediction, Scenario, System};

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) scenario: String,
    pub(super) seed: u64,
    pub(super) pickers: Vec<Run>,
    /// What really happened to the requests of an export.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) measured: Option<Outcomes>,
}

#[derive(Serialize)]
pub(super) struct Run {
    pub(super) picker: String,
    pub(super) prediction: Prediction,
    /// In real time, so it differs from run to run.
    pub(super) cost: Cost,
}

const MEASURED: &str = "measured";

impl Report {
    pub(super) fn json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("numbers and strings are JSON");
        format!("{json}\n")
    }

    pub(super) fn table(&self, scenario: &Scenario, system: &System) -> String {
        let mut text = format!("{}: {}\n\n", self.scenario, describe(scenario, system));
        text.push_str(&self.outcomes());
        let reasons = self.reasons();
        if reasons.len() > 1 {
            text.push_str("\nnot granted, by reason\n");
            text.push_str(&aligned(&reasons));
        }
        text.push_str("\ncost of the simulation\n");
        text.push_str(&self.costs());
        text
    }

    fn outcomes(&self) -> String {
        let heading = [
            "picker",
            "accepted",
            "granted",
            "unsold",
            "skew %",
            "steals",
            "inverted users",
            "median ms",
            "max ms",
            "displaced",
            "drain ms",
            "peak lag",
        ];
        let mut lines = vec![heading.map(str::to_owned).to_vec()];
        for Run { picker, prediction, .. } in &self.pickers {
            let (unsold, lag) = (prediction.unsold_coupons, prediction.peak_lag_records);
            lines.push(outcome_cells(picker, &prediction.outcomes, &unsold.to_string(), &lag.to_string()));
        }
        lines.extend(self.measured.as_ref().map(|measured| outcome_cells(MEASURED, measured, "", "")));
        aligned(&lines)
    }

    fn reasons(&self) -> Vec<Vec<String>> {
        let runs = self.pickers.iter().map(|run| (run.picker.as_str(), not_granted(&run.prediction)));
        let measured = self.measured.iter().map(|measured| (MEASURED, rejected(measured)));
        let runs: Vec<_> = runs.chain(measured).collect();
        let reasons: BTreeSet<&str> = runs.iter().flat_map(|(_, counts)| counts.keys().copied()).collect();
        let heading: Vec<String> =
            std::iter::once("picker").chain(reasons.iter().copied()).map(str::to_owned).collect();
        let cells = |(name, counts): &(&str, BTreeMap<&str, u64>)| {
            let counts = reasons.iter().map(|reason| counts.get(reason).copied().unwrap_or(0).to_string());
            std::iter::once((*name).to_owned()).chain(counts).collect()
        };
        if reasons.is_empty() { Vec::new() } else { std::iter::once(heading).chain(runs.iter().map(cells)).collect() }
    }

    fn costs(&self) -> String {
        let hooks = Hook::ALL.map(|hook| format!("{} µs", hook.as_str()));
        let heading: Vec<String> = ["picker".to_owned(), "requests/s".to_owned()].into_iter().chain(hooks).collect();
        let cells = |Run { picker, cost, .. }: &Run| {
            let calls = Hook::ALL.map(|hook| format!("{:.2}", cost.policy_us[hook]));
            [picker.clone(), cost.requests_per_second.to_string()].into_iter().chain(calls).collect()
        };
        aligned(&std::iter::once(heading).chain(self.pickers.iter().map(cells)).collect::<Vec<_>>())
    }
}

fn describe(scenario: &Scenario, system: &System) -> String {
    let first = &scenario.campaigns[0];
    format!(
        "requests {}, campaigns {}, coupons each {}, shards {}, partitions {}",
        scenario.requests(),
        scenario.measured(),
        first.total,
        first.shards,
        system.partitions
    )
}

fn outcome_cells(name: &str, outcomes: &Outcomes, unsold: &str, lag: &str) -> Vec<String> {
    let Outcomes { accepted, granted, skew_percent, steals, inverted_users, .. } = outcomes;
    let Outcomes { inversion_median_ms, inversion_max_ms, displaced_coupons, drain_ms, .. } = outcomes;
    vec![
        name.to_owned(),
        accepted.to_string(),
        granted.to_string(),
        unsold.to_owned(),
        format!("{skew_percent:.2}"),
        steals.to_string(),
        inverted_users.to_string(),
        inversion_median_ms.to_string(),
        inversion_max_ms.to_string(),
        displaced_coupons.to_string(),
        drain_ms.to_string(),
        lag.to_owned(),
    ]
}

/// Refusals and rejections together, as the clients see them.
fn not_granted(prediction: &Prediction) -> BTreeMap<&str, u64> {
    let mut counts = rejected(&prediction.outcomes);
    for (reason, count) in &prediction.refused {
        *counts.entry(reason).or_default() += count;
    }
    counts
}

fn rejected(outcomes: &Outcomes) -> BTreeMap<&str, u64> {
    outcomes.rejected.iter().map(|(reason, count)| (*reason, *count)).collect()
}
