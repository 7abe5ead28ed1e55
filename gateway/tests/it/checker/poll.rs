//! Asking how each request ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{History, Receipt, Seen};
use crate::client::{Client, Lost};
use crate::load;

/// Status calls at once: enough to keep two cores busy.
const AT_ONCE: usize = 64;
const PAUSE: Duration = Duration::from_millis(50);

impl History {
    /// Asks for the outcome of every request that has a receipt, until there is one or patience ends.
    pub(crate) async fn gather(self: &Arc<Self>, client: &Arc<Client>, patience: Duration) {
        let deadline = Instant::now() + patience;
        self.look(client, self.receipts(), deadline).await;
    }

    /// Asks once for each of these.
    pub(crate) async fn glance(self: &Arc<Self>, client: &Arc<Client>, receipts: Vec<Receipt>) {
        self.look(client, receipts, Instant::now()).await;
    }

    async fn look(self: &Arc<Self>, client: &Arc<Client>, receipts: Vec<Receipt>, deadline: Instant) {
        let (history, client) = (Arc::clone(self), Arc::clone(client));
        let follow = move |receipt| follow(Arc::clone(&history), Arc::clone(&client), receipt, deadline);
        load::closed(AT_ONCE, receipts, follow).await;
    }
}

async fn follow(history: Arc<History>, client: Arc<Client>, receipt: Receipt, deadline: Instant) {
    loop {
        let seen = look_once(&client, &receipt, deadline).await;
        let is_over = matches!(seen, Seen::Ended(_)) || Instant::now() >= deadline;
        history.saw(&receipt.request_id, seen);
        if is_over {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn look_once(client: &Client, receipt: &Receipt, deadline: Instant) -> Seen {
    let wait_ms = deadline.saturating_duration_since(Instant::now()).as_millis().min(10_000);
    let path = format!("{}&wait={wait_ms}ms", receipt.status_url);
    let request = hyper::Request::get(path).body(http_body_util::Full::default()).expect("a request");
    match client.send(request).await {
        Ok(answer) if answer.status == 200 => of_status(&answer.json(), &receipt.request_id),
        Ok(answer) => Seen::Nothing(format!("{} {}", answer.status, answer.text())),
        Err(Lost::NotSent(error) | Lost::Unanswered(error)) => Seen::Nothing(error),
    }
}

fn of_status(status: &Value, request_id: &str) -> Seen {
    if status["requestId"] != request_id {
        return Seen::Nothing(format!("the status of another request: {status}"));
    }
    match status["status"].as_str() {
        Some("PENDING") => Seen::Pending,
        Some("ISSUED" | "REJECTED") => {
            serde_json::from_value(status.clone()).map_or_else(|error| Seen::Nothing(error.to_string()), Seen::Ended)
        }
        _ => Seen::Nothing(status.to_string()),
    }
}
