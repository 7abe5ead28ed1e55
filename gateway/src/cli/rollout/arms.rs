//! Tables of what the arms decide and of what the guards find.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::word;
use crate::cli::table::aligned;

const ARMS: [&str; 3] = ["active", "canary", "shadow"];
/// Where there is nothing to show.
const NOTHING: &str = "–";

/// A table for each hook that changes.
pub(super) fn tallies(rollout: &Value) -> String {
    let hooks = rollout["hooks"].as_object().into_iter().flatten();
    hooks.map(|(hook, _)| format!("{}\n", aligned(&arms(hook, &rollout["tallies"])))).collect()
}

fn arms(hook: &str, tallies: &Value) -> Vec<Vec<String>> {
    let of_arms = ARMS.map(|arm| &tallies[arm][hook]);
    let row = |name: &str, cell: &dyn Fn(&Value) -> Option<String>| {
        let cells = of_arms.iter().map(|arm| cell(arm).unwrap_or_else(|| NOTHING.to_owned()));
        std::iter::once(name.to_owned()).chain(cells).collect::<Vec<_>>()
    };
    let count = |key: &'static str| move |arm: &Value| arm[key].as_u64().map(|count| count.to_string());
    let share = |key: &'static str, of: &'static str| {
        move |arm: &Value| arm[key].as_f64().filter(|_| arm[of].as_u64() > Some(0)).map(percent)
    };
    let mut rows = vec![
        [hook].into_iter().chain(ARMS).map(str::to_owned).collect(),
        row("decisions", &count("decisions")),
        row("failures", &share("failureShare", "decisions")),
        row("fallbacks", &share("fallbackShare", "decisions")),
        row("refusals", &share("refusalShare", "decisions")),
        row("call p99", &|arm| arm["callP99Us"].as_f64().map(|microseconds| format!("{microseconds:.1} µs"))),
        row("different", &share("differentShare", "compared")),
        row("lost", &count("lost")),
    ];
    for shard_no in of_arms.iter().flat_map(|arm| shards(arm)).map(|(shard_no, _)| shard_no).collect::<BTreeSet<_>>() {
        let picked = |arm: &Value| shards(arm).find(|(known, _)| *known == shard_no).map(|(_, share)| percent(share));
        rows.push(row(&format!("shard {shard_no}"), &picked));
    }
    rows
}

fn shards(arm: &Value) -> impl Iterator<Item = (u64, f64)> {
    let picked = arm["shards"].as_array().into_iter().flatten();
    picked.filter_map(|shard| Some((shard["shardNo"].as_u64()?, shard["share"].as_f64()?)))
}

/// What each guard found, and how much of its bound that is.
pub(super) fn guards(rollout: &Value) -> String {
    let heading = ["guard", "found", "bound", "used", "judgement"].map(str::to_owned).to_vec();
    let found = rollout["guardsFound"].as_array().into_iter().flatten();
    aligned(&std::iter::once(heading).chain(found.map(guard)).collect::<Vec<_>>())
}

fn guard(reading: &Value) -> Vec<String> {
    let name = word(&reading["guard"]);
    let written = |number: f64| match name {
        "spread" => format!("{number:.2}"),
        "call-p99" => format!("{number:.1} times"),
        _ => percent(number),
    };
    let (found, bound) = (reading["found"].as_f64(), reading["bound"].as_f64().unwrap_or_default());
    let used = found.filter(|_| bound > 0.0).map(|found| format!("{:.0} %", (found / bound).max(0.0) * 100.0));
    let judgement = match word(&reading["judgement"]) {
        "unknown" => "too few decisions",
        other => other,
    };
    let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
    vec![
        format!("{} {name}", word(&reading["hook"])),
        or_nothing(found.map(written)),
        written(bound),
        or_nothing(used),
        judgement.to_owned(),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Without the indentation and the width of columns.
    fn lines(table: &str) -> Vec<String> {
        table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn arms_stand_side_by_side_and_what_an_arm_lacks_is_a_dash() {
        let arm = |decisions, failure_share, shards| {
            json!({
                "decisions": decisions, "failureShare": failure_share, "fallbackShare": 0.0, "refusalShare": 0.0,
                "callP99Us": 5.25, "shards": shards,
            })
        };
        let mut shadow = arm(900, 0.0, json!([]));
        shadow["compared"] = json!(900);
        shadow["differentShare"] = json!(0.5);
        shadow["lost"] = json!(7);
        let rollout = json!({
            "hooks": { "shard-picker": {} },
            "tallies": {
                "active": { "shard-picker": arm(900, 0.0, json!([{ "shardNo": 0, "picked": 900, "share": 1.0 }])) },
                "canary": { "shard-picker": arm(100, 0.021, json!([{ "shardNo": 3, "picked": 100, "share": 1.0 }])) },
                "shadow": { "shard-picker": shadow },
            },
        });
        let expected = [
            "shard-picker active canary shadow",
            "decisions 900 100 900",
            "failures 0.00 % 2.10 % 0.00 %",
            "fallbacks 0.00 % 0.00 % 0.00 %",
            "refusals 0.00 % 0.00 % 0.00 %",
            "call p99 5.2 µs 5.2 µs 5.2 µs",
            "different – – 50.00 %",
            "lost – – 7",
            "shard 0 100.00 % – –",
            "shard 3 – 100.00 % –",
            "",
        ];
        assert_eq!(lines(&tallies(&rollout)), expected);
    }

    #[test]
    fn a_guard_shows_how_much_of_its_bound_is_used() {
        let reading = |guard: &str, found: Option<f64>, bound: f64, judgement: &str| json!({ "hook": "user-limit", "guard": guard, "found": found, "bound": bound, "judgement": judgement });
        let rollout = json!({ "guardsFound": [
            reading("failures", Some(-0.001), 0.005, "within"),
            reading("refusals", Some(0.04), 0.05, "within"),
            reading("call-p99", Some(6.0), 5.0, "beyond"),
            reading("spread", None, 0.3, "unknown"),
        ] });
        let expected = [
            "guard found bound used judgement",
            "user-limit failures -0.10 % 0.50 % 0 % within",
            "user-limit refusals 4.00 % 5.00 % 80 % within",
            "user-limit call-p99 6.0 times 5.0 times 120 % beyond",
            "user-limit spread – 0.30 – too few decisions",
        ];
        assert_eq!(lines(&guards(&rollout)), expected);
    }
}
