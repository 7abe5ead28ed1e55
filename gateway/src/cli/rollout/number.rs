//! Which rollout a command is about.

use serde_json::Value;

use crate::cli::admin_client::AdminClient;
use crate::cli::common::Failure;

/// Of the rollout that the operator names, or of the only one that is running.
pub(super) async fn path(client: &AdminClient, id: Option<u64>) -> Result<String, Failure> {
    let id = match id {
        Some(id) => id,
        None => only_running(&client.get("/admin/rollouts").await.map_err(Failure::run)?).map_err(Failure::run)?,
    };
    Ok(path_of(id))
}

pub(super) fn path_of(id: u64) -> String {
    format!("/admin/rollouts/{id}")
}

fn only_running(newest_first: &Value) -> Result<u64, String> {
    let rollouts = newest_first.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_running = |rollout: &&Value| matches!(rollout["status"]["state"].as_str(), Some("running" | "promoting"));
    let running: Vec<u64> = rollouts.iter().filter(is_running).filter_map(|rollout| rollout["id"].as_u64()).collect();
    match (&running[..], rollouts.first()) {
        ([id], _) => Ok(*id),
        ([], None) => Err("there is no rollout: start one, see `sluice rollout start --help`".to_owned()),
        ([], Some(newest)) => {
            let id = &newest["id"];
            Err(format!("no rollout is running: give the number of one that is over; {id} is the newest"))
        }
        (several, _) => {
            let numbers: Vec<String> = several.iter().map(u64::to_string).collect();
            Err(format!("several rollouts are running: give the number of one, {}", numbers.join(" or ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chosen(rollouts: &[(u64, &str)]) -> Result<u64, String> {
        only_running(&rollouts.iter().map(|(id, state)| json!({ "id": id, "status": { "state": state } })).collect())
    }

    #[test]
    fn the_only_rollout_that_is_running_needs_no_number() {
        assert_eq!(chosen(&[(3, "aborted"), (2, "running"), (1, "promoted")]), Ok(2));
        assert_eq!(chosen(&[(1, "promoting")]), Ok(1));
    }

    #[test]
    fn otherwise_the_message_names_numbers() {
        let error = |rollouts| chosen(rollouts).expect_err("is ambiguous");
        assert_eq!(
            error(&[(3, "running"), (2, "running")]),
            "several rollouts are running: give the number of one, 3 or 2"
        );
        assert_eq!(
            error(&[(3, "aborted"), (2, "promoted")]),
            "no rollout is running: give the number of one that is over; 3 is the newest"
        );
        assert!(error(&[]).contains("sluice rollout start --help"));
    }
}
