//! The steps of a rollout, and the list of the rollouts.

use serde_json::{Value, json};

use super::arms;
use super::field::{time, word};
use super::status::state;
use crate::cli::table::table;

/// Every step, oldest first.
pub(super) fn of_rollout(rollout: &Value) -> String {
    rollout["history"].as_array().into_iter().flatten().map(step).collect()
}

/// When, who, what, and what the guards found then.
pub(super) fn step(event: &Value) -> String {
    let measured = &event["measured"];
    let measured = if measured.is_array() { arms::guards(&json!({ "guardsFound": measured })) } else { String::new() };
    format!("{}  {}: {}\n{measured}", time(&event["atMs"]), word(&event["who"]), word(&event["what"]))
}

/// One line a rollout.
pub(super) fn list(rollouts: &Value) -> String {
    let line = |rollout: &Value| {
        json!({
            "id": rollout["id"],
            "startedAt": time(&rollout["startedAtMs"]),
            "startedBy": rollout["startedBy"],
            "hooks": rollout["hooks"].as_object().map(|hooks| hooks.keys().cloned().collect::<Vec<_>>().join(", ")),
            "status": state(rollout),
        })
    };
    table(&rollouts.as_array().into_iter().flatten().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_names_who_did_what_when_and_what_was_measured() {
        let reading =
            json!({ "hook": "user-limit", "guard": "failures", "found": 0.02, "bound": 0.005, "judgement": "beyond" });
        let rollout = json!({ "history": [
            { "atMs": 0, "who": "ada", "what": "started as a shadow" },
            { "atMs": 1000, "who": "gateway 1", "what": "rolled back", "measured": [reading] },
        ] });
        let text = of_rollout(&rollout);
        assert!(
            text.starts_with(
                "1970-01-01T00:00:00Z  ada: started as a shadow\n1970-01-01T00:00:01Z  gateway 1: rolled back\n"
            ),
            "{text}"
        );
        assert!(text.contains("user-limit failures") && text.contains("400 %"), "{text}");
    }
}
