//! `sluice rollout watch`

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::Value;

use super::field::word;
use super::history;
use super::status;
use crate::cli::admin_client::{AdminArgs, AdminClient};
use crate::cli::common::{Failure, Reader, print_bytes, warn};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Moves to the top left of the terminal, and clears it.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows the rollout until it is over. After the first look, a gateway may be away for a while, such as for a restart.
pub(super) async fn watch(admin: &AdminArgs, client: &AdminClient, path: &str) -> Result<(), Failure> {
    let mut view = View::new(admin);
    let mut rollout = client.get(path).await.map_err(Failure::run)?;
    loop {
        if print_bytes(view.render(&rollout).as_bytes())? == Reader::Closed {
            return Ok(());
        }
        if let Some(end) = end(&rollout) {
            return end;
        }
        rollout = next(client, path).await;
    }
}

async fn next(client: &AdminClient, path: &str) -> Value {
    let mut is_warned = false;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match client.get(path).await {
            Ok(rollout) => return rollout,
            Err(error) if !is_warned => {
                is_warned = true;
                warn(&format!("{error}; tried again"));
            }
            Err(_) => {}
        }
    }
}

/// `None` while it is running.
fn end(rollout: &Value) -> Option<Result<(), Failure>> {
    match word(&rollout["status"]["state"]) {
        "running" | "promoting" => None,
        "promoted" => Some(Ok(())),
        _ => Some(Err(Failure::run(format!("rollout {}: {}", rollout["id"], status::state(rollout))))),
    }
}

/// How a rollout is shown again and again.
enum View {
    /// On a terminal.
    Page,
    /// The steps since the last look.
    Steps(Seen),
    /// All of it as JSON, on one line, when there is a new step.
    Json(Seen),
}

/// The newest step that was shown.
#[derive(Default)]
struct Seen(Option<Value>);

impl View {
    fn new(admin: &AdminArgs) -> Self {
        if admin.json(&Value::Null).is_some() {
            Self::Json(Seen::default())
        } else if std::io::stdout().is_terminal() {
            Self::Page
        } else {
            Self::Steps(Seen::default())
        }
    }

    fn render(&mut self, rollout: &Value) -> String {
        match self {
            Self::Page => format!("{CLEAR}{}", status::page(rollout)),
            Self::Steps(seen) => seen.new_steps(rollout).iter().map(history::step).collect(),
            Self::Json(seen) => {
                let is_new = !seen.new_steps(rollout).is_empty();
                if is_new { format!("{rollout}\n") } else { String::new() }
            }
        }
    }
}

impl Seen {
    /// A step in the middle of a long history may be missing, so steps have no numbers.
    fn new_steps<'a>(&mut self, rollout: &'a Value) -> &'a [Value] {
        let steps = rollout["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        let last = self.0.as_ref().and_then(|seen| steps.iter().rposition(|step| step == seen));
        self.0 = steps.last().cloned();
        &steps[last.map_or(0, |place| place + 1)..]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(steps: &[&str]) -> Value {
        let history: Value = steps.iter().map(|what| json!({ "atMs": 0, "who": "ada", "what": what })).collect();
        json!({ "id": 3, "status": { "state": "running" }, "history": history })
    }

    #[test]
    fn without_a_terminal_each_step_is_printed_once() {
        let mut view = View::Steps(Seen::default());
        assert_eq!(view.render(&rollout(&["started"])), "1970-01-01T00:00:00Z  ada: started\n");
        assert_eq!(view.render(&rollout(&["started"])), "");
        let more = view.render(&rollout(&["started", "10 %", "50 %"]));
        assert_eq!(more, "1970-01-01T00:00:00Z  ada: 10 %\n1970-01-01T00:00:00Z  ada: 50 %\n");
    }

    #[test]
    fn as_json_the_whole_rollout_is_printed_at_each_step() {
        let mut view = View::Json(Seen::default());
        let first = rollout(&["started"]);
        assert_eq!(view.render(&first), format!("{first}\n"));
        assert_eq!(view.render(&first), "");
    }

    #[test]
    fn only_a_promotion_is_a_success() {
        let ended = |status: Value| {
            end(&json!({ "id": 3, "status": status })).map(|end| end.map_err(|failure| failure.message))
        };
        assert_eq!(ended(json!({ "state": "promoting" })), None);
        assert_eq!(ended(json!({ "state": "promoted", "generation": 2 })), Some(Ok(())));
        let rolled_back = ended(json!({ "state": "rolled-back", "reason": "it traps" }));
        assert_eq!(rolled_back, Some(Err("rollout 3: rolled back: it traps".to_owned())));
        assert_eq!(
            ended(json!({ "state": "aborted", "by": "ada" })),
            Some(Err("rollout 3: aborted by ada".to_owned()))
        );
    }
}
