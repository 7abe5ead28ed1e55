//! A rollout in words.

use serde_json::Value;

use super::arms;
use super::field::{time, word};

/// The state, then both arms side by side, then the guards.
pub(super) fn page(rollout: &Value) -> String {
    format!("{}\n{}{}", summary(rollout), arms::tallies(rollout), arms::guards(rollout))
}

/// What changes, and how far it is.
pub(super) fn summary(rollout: &Value) -> String {
    let (id, by, at) = (&rollout["id"], word(&rollout["startedBy"]), time(&rollout["startedAtMs"]));
    let changes: String = changes(rollout).iter().map(|change| format!("  {change}\n")).collect();
    format!("rollout {id} of {}, started by {by} at {at}\n{changes}  {}\n", scope(rollout), state(rollout))
}

/// One sentence a hook.
fn changes(rollout: &Value) -> Vec<String> {
    let version = |pinned: &Value| {
        let digest = word(&pinned["digest"]);
        format!("{} ({})", word(&pinned["policy"]), digest.get(..12).unwrap_or(digest))
    };
    let hooks = rollout["hooks"].as_object().into_iter().flatten();
    hooks
        .map(|(hook, change)| {
            format!("{hook}: {} instead of {}", version(&change["candidate"]), version(&change["replaced"]))
        })
        .collect()
}

fn scope(rollout: &Value) -> String {
    rollout["couponId"].as_u64().map_or_else(|| "the default pipeline".to_owned(), |coupon| format!("coupon {coupon}"))
}

/// Where it is, or how it ended.
pub(super) fn state(rollout: &Value) -> String {
    let status = &rollout["status"];
    match word(&status["state"]) {
        "running" => format!("running: {}{}", share(rollout), plan(rollout)),
        "promoting" => "being promoted: a gateway makes the candidate the pipeline".to_owned(),
        "promoted" => format!("promoted: the candidate serves all users, as generation {}", status["generation"]),
        "rolled-back" => format!("rolled back: {}", word(&status["reason"])),
        "aborted" => format!("aborted by {}", word(&status["by"])),
        other => other.to_owned(),
    }
}

fn share(rollout: &Value) -> String {
    let percent = rollout["canaryPercent"].as_f64().unwrap_or_default();
    match (percent > 0.0, rollout["shadow"] == true) {
        (false, _) => "the candidate only shadows the active policies".to_owned(),
        (true, false) => format!("the candidate serves {percent} % of the users"),
        (true, true) => format!("the candidate serves {percent} % of the users, and shadows the others"),
    }
}

fn plan(rollout: &Value) -> String {
    let auto = &rollout["auto"];
    let Some(percents) = auto["percents"].as_array() else { return String::new() };
    let percents: Vec<String> = percents.iter().filter_map(Value::as_f64).map(|percent| percent.to_string()).collect();
    let (seconds, decisions) = (&auto["seconds"], &auto["decisions"]);
    format!(
        "; it goes to {} and 100 % by itself, after {seconds} s and {decisions} decisions each",
        percents.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(status: &Value) -> Value {
        let [old, new] = ["random", "weighted"]
            .map(|policy| json!({ "policy": policy, "digest": format!("{policy:0<64}"), "config": {} }));
        json!({
            "id": 3, "status": status, "hooks": { "shard-picker": { "candidate": new, "replaced": old } },
            "canaryPercent": 2.5, "shadow": true, "startedBy": "ada", "startedAtMs": 1_800_000_000_999_u64,
        })
    }

    #[test]
    fn the_summary_says_what_changes_and_how_far_it_is() {
        let expected = "rollout 3 of the default pipeline, started by ada at 2027-01-15T08:00:00Z
  shard-picker: weighted (weighted0000) instead of random (random000000)
  running: the candidate serves 2.5 % of the users, and shadows the others
";
        assert_eq!(summary(&rollout(&json!({ "state": "running" }))), expected);
    }

    #[test]
    fn the_state_says_how_a_rollout_ended_and_why() {
        for (status, expected) in [
            (
                json!({ "state": "promoted", "generation": 7 }),
                "promoted: the candidate serves all users, as generation 7",
            ),
            (json!({ "state": "rolled-back", "reason": "it traps" }), "rolled back: it traps"),
            (json!({ "state": "aborted", "by": "ada" }), "aborted by ada"),
        ] {
            assert_eq!(state(&rollout(&status)), expected);
        }
    }

    #[test]
    fn an_automatic_rollout_names_its_steps() {
        let mut automatic = rollout(&json!({ "state": "running" }));
        automatic["auto"] = json!({ "percents": [1.0, 10.0], "seconds": 300, "decisions": 1000 });
        let expected = "; it goes to 1, 10 and 100 % by itself, after 300 s and 1000 decisions each";
        assert!(state(&automatic).ends_with(expected), "{}", state(&automatic));
    }
}
