//! Polls the status of every accepted request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{History, Observed, Receipt};
use crate::client::{Client, SendError};
use crate::load;

/// Status calls at once: enough to keep two cores busy.
const CONCURRENCY: usize = 64;
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a 503 is repeated, which asks for that: it says nothing about the request.
const UNAVAILABLE_MAX: Duration = Duration::from_secs(20);

impl History {
    /// Polls every accepted request until it has an outcome or the timeout passes.
    pub(crate) async fn collect_outcomes(self: &Arc<Self>, client: &Arc<Client>, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        self.poll_until(client, self.receipts(), deadline).await;
    }

    pub(crate) async fn poll_once(self: &Arc<Self>, client: &Arc<Client>, receipts: Vec<Receipt>) {
        self.poll_until(client, receipts, Instant::now()).await;
    }

    async fn poll_until(self: &Arc<Self>, client: &Arc<Client>, receipts: Vec<Receipt>, deadline: Instant) {
        let (history, client) = (Arc::clone(self), Arc::clone(client));
        let follow = move |receipt| follow(Arc::clone(&history), Arc::clone(&client), receipt, deadline);
        load::run_closed(CONCURRENCY, receipts, follow).await;
    }
}

async fn follow(history: Arc<History>, client: Arc<Client>, receipt: Receipt, deadline: Instant) {
    // Those before this one may have taken longer than the deadline.
    let unavailable_until = Instant::now().max(deadline) + UNAVAILABLE_MAX;
    loop {
        let seen = poll_status(&client, &receipt, deadline).await;
        if is_unavailable(&seen) && Instant::now() < unavailable_until {
            tokio::time::sleep(POLL_INTERVAL).await;
            continue;
        }
        let is_over = matches!(seen, Observed::Final(_) | Observed::Unknown) || Instant::now() >= deadline;
        history.observe(&receipt.request_id, seen);
        if is_over {
            return;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn poll_status(client: &Client, receipt: &Receipt, deadline: Instant) -> Observed {
    let wait_ms = deadline.saturating_duration_since(Instant::now()).as_millis().min(10_000);
    let path = format!("{}&wait={wait_ms}ms", receipt.status_url);
    let request = hyper::Request::get(path).body(http_body_util::Full::default()).expect("a request");
    match client.send(request).await {
        Ok(answer) if answer.status == 200 => of_status(&answer.json(), &receipt.request_id),
        Ok(answer) if answer.status == 404 => Observed::Unknown,
        Ok(answer) => Observed::NoStatus(format!("{} {}", answer.status, answer.text())),
        Err(SendError::NotSent(error) | SendError::Unanswered(error)) => Observed::NoStatus(error),
    }
}

fn is_unavailable(seen: &Observed) -> bool {
    matches!(seen, Observed::NoStatus(answer) if answer.starts_with("503 "))
}

fn of_status(status: &Value, request_id: &str) -> Observed {
    if status["requestId"] != request_id {
        return Observed::NoStatus(format!("the status of another request: {status}"));
    }
    match status["status"].as_str() {
        Some("PENDING") => Observed::Pending,
        Some("ISSUED" | "REJECTED") => serde_json::from_value(status.clone())
            .map_or_else(|error| Observed::NoStatus(error.to_string()), Observed::Final),
        _ => Observed::NoStatus(status.to_string()),
    }
}
