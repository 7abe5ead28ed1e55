//! People who ask for one coupon, and the memory of what they were told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::checker::{Exchange, History, Promised, Receipt, Reply, Report, check};
use crate::client::{Answer, Client, Lost, post};
use crate::harness::{Campaign, Gateway, payload};
use crate::load::{self, Latencies};

/// Everything that was accepted is settled within this time after the last request.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Crowd {
    client: Arc<Client>,
    coupon: u64,
    pub(crate) history: Arc<History>,
}

impl Crowd {
    pub(crate) fn before(gateway: &Gateway, coupon: u64) -> Self {
        Self { client: Arc::clone(&gateway.client), coupon, history: Arc::default() }
    }

    /// The same people before another gateway.
    pub(crate) fn through(&self, gateway: &Gateway) -> Self {
        Self { client: Arc::clone(&gateway.client), ..self.clone() }
    }

    /// One person asks, once.
    pub(crate) async fn ask(&self, user: u64) -> Reply {
        self.ask_under(user, None).await
    }

    /// One person asks, perhaps under an Idempotency-Key.
    pub(crate) async fn ask_under(&self, user: u64, key: Option<String>) -> Reply {
        let mut request = post("/coupon/issue", payload(user, self.coupon));
        if let Some(key) = &key {
            request.headers_mut().insert("idempotency-key", key.parse().expect("a header"));
        }
        let begun = Instant::now();
        let reply = reply(self.client.send(request).await);
        let exchange = Exchange { user, coupon: self.coupon, key, took: begun.elapsed(), reply: reply.clone() };
        self.history.record(exchange);
        reply
    }

    /// They ask as fast as so many connections go.
    pub(crate) async fn rush(
        &self,
        connections: usize,
        users: impl IntoIterator<Item = u64, IntoIter: Send + 'static>,
    ) {
        let this = self.clone();
        let ask = move |user| {
            let this = this.clone();
            async move { drop(this.ask(user).await) }
        };
        load::closed(connections, users, ask).await;
    }

    /// So many of them ask a second.
    pub(crate) async fn stream(&self, per_second: f64, users: impl IntoIterator<Item = u64>) {
        let ask = |user| {
            let this = self.clone();
            async move { drop(this.ask(user).await) }
        };
        load::open(per_second, users, ask).await;
    }

    /// Waits for every outcome, asks for each a second time, and holds all against the audit.
    pub(crate) async fn verdict(&self, gateway: &Gateway, campaign: Campaign) -> Report {
        let Campaign { total, per_user_limit, .. } = campaign;
        self.verdict_as(gateway, Promised { total, per_user_limit, was_topped_up: false }).await
    }

    pub(crate) async fn verdict_as(&self, gateway: &Gateway, promised: Promised) -> Report {
        self.history.gather(&self.client, PATIENCE).await;
        // A request without an answer has no receipt to wait for.
        gateway.drained(PATIENCE).await;
        self.history.glance(&self.client, self.history.receipts()).await;
        let audit = gateway.audit(self.coupon).await;
        check(&self.history.exchanges(), &self.history.sightings(), promised, audit)
    }

    /// Who was turned away at once.
    pub(crate) fn refused_users(&self) -> Vec<u64> {
        let is_refused = |exchange: &Exchange| matches!(exchange.reply, Reply::Refused { .. });
        self.history.exchanges().iter().filter(|exchange| is_refused(exchange)).map(|exchange| exchange.user).collect()
    }

    pub(crate) fn latencies(&self) -> Latencies {
        Latencies::of(self.history.exchanges().iter().map(|exchange| exchange.took))
    }
}

fn reply(answer: Result<Answer, Lost>) -> Reply {
    match answer {
        Ok(answer) if answer.status == 202 => accepted(&answer),
        Ok(answer) => {
            Reply::Refused { status: answer.status, reason: answer.reason(), generation: generation(&answer) }
        }
        Err(Lost::Unanswered(_)) => Reply::Unanswered,
        Err(Lost::NotSent(_)) => Reply::NotSent,
    }
}

fn accepted(answer: &Answer) -> Reply {
    let body = answer.json();
    let text = |key: &str| body[key].as_str().unwrap_or_else(|| panic!("{key} is missing: {body}")).to_owned();
    let receipt =
        Receipt { request_id: text("requestId"), status_url: text("statusUrl"), generation: generation(answer) };
    Reply::Accepted(receipt)
}

fn generation(answer: &Answer) -> Option<u64> {
    answer.header("sluice-generation")?.parse().ok()
}

impl Reply {
    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted(_))
    }

    /// The receipt of a request that must have been accepted.
    pub(crate) fn receipt(&self) -> &Receipt {
        match self {
            Self::Accepted(receipt) => receipt,
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// The status and reason of a request that must have been refused.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        match self {
            Self::Refused { status, reason, .. } => (*status, reason),
            other => panic!("not refused: {other:?}"),
        }
    }
}
