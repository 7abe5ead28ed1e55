//! Users who request one coupon, and the history of their requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::checker::{Body, Books, CampaignLimits, Exchange, History, Receipt, Reply, Report};
use crate::client::{Answer, Client, SendError, post};
use crate::hang_ups::post_and_hang_up;
use crate::harness::{Campaign, Gateway, payload};
use crate::load::{self, Latencies};

/// All accepted requests must settle within this time after the last one. After faults, a partition may wait half a
/// minute for its takeover.
const TIMEOUT: Duration = Duration::from_secs(180);

#[derive(Clone)]
pub(crate) struct Crowd {
    client: Arc<Client>,
    pub(crate) coupon: u64,
    pub(crate) history: Arc<History>,
}

impl Crowd {
    pub(crate) fn at(gateway: &Gateway, coupon: u64) -> Self {
        Self { client: Arc::clone(&gateway.client), coupon, history: Arc::default() }
    }

    /// The same history, but requests go to another gateway.
    pub(crate) fn through(&self, gateway: &Gateway) -> Self {
        Self { client: Arc::clone(&gateway.client), ..self.clone() }
    }

    pub(crate) async fn request(&self, user: u64) -> Reply {
        self.request_with_key(user, None).await
    }

    pub(crate) async fn request_with_key(&self, user: u64, key: Option<String>) -> Reply {
        self.send(user, key, Body::One).await
    }

    /// Asks for something else, under a key of the user.
    pub(crate) async fn request_other(&self, user: u64, key: String) -> Reply {
        self.send(user, Some(key), Body::Other).await
    }

    async fn send(&self, user: u64, key: Option<String>, body: Body) -> Reply {
        let mut request = post("/coupon/issue", body.of(user, self.coupon));
        if let Some(key) = &key {
            request.headers_mut().insert("idempotency-key", key.parse().expect("a header"));
        }
        let sent_at = Instant::now();
        let reply = reply(self.client.send(request).await);
        self.record(user, key, body, sent_at, reply.clone());
        reply
    }

    /// Closes the connection without reading an answer.
    pub(crate) async fn request_and_hang_up(&self, user: u64, after: Duration) {
        let sent_at = Instant::now();
        let sent = post_and_hang_up(self.client.address(), user, self.coupon, after).await;
        let reply = if sent.is_ok() { Reply::Unanswered } else { Reply::NotSent };
        self.record(user, None, Body::One, sent_at, reply);
    }

    fn record(&self, user: u64, key: Option<String>, body: Body, sent_at: Instant, reply: Reply) {
        let (coupon, took) = (self.coupon, sent_at.elapsed());
        self.history.record(Exchange { user, coupon, key, body, sent_at, took, reply });
    }

    /// One request per user, as fast as the connections allow (a closed model).
    pub(crate) async fn send_burst(
        &self,
        connections: usize,
        users: impl IntoIterator<Item = u64, IntoIter: Send + 'static>,
    ) {
        let this = self.clone();
        let request = move |user| {
            let this = this.clone();
            async move { drop(this.request(user).await) }
        };
        load::run_closed(connections, users, request).await;
    }

    /// Starts requests at a fixed rate, whatever their latency (an open model).
    pub(crate) async fn send_at_rate(&self, per_second: f64, users: impl IntoIterator<Item = u64>) {
        let request = |user| {
            let this = self.clone();
            async move { drop(this.request(user).await) }
        };
        load::run_open(per_second, users, request).await;
    }

    /// Waits for every outcome, reads each a second time to see that it does not change, and checks all against the
    /// audit and the export.
    pub(crate) async fn verify(&self, gateway: &Gateway, campaign: Campaign) -> Report {
        let Campaign { total, per_user_limit, .. } = campaign;
        self.verify_against(gateway, CampaignLimits { total, per_user_limit, was_topped_up: false }).await
    }

    pub(crate) async fn verify_against(&self, gateway: &Gateway, limits: CampaignLimits) -> Report {
        self.history.collect_outcomes(&self.client, TIMEOUT).await;
        // A request without an answer has no receipt to wait for.
        gateway.wait_until_drained(TIMEOUT).await;
        self.history.poll_once(&self.client, self.history.receipts()).await;
        let (audit, export) = (gateway.audit(self.coupon).await, gateway.export(self.coupon).await);
        self.history.check(limits, Books { audit, export })
    }

    /// Users whose request was refused before it reached the log.
    pub(crate) fn refused_users(&self) -> Vec<u64> {
        let is_refused = |exchange: &Exchange| matches!(exchange.reply, Reply::Refused { .. });
        self.history.exchanges().iter().filter(|exchange| is_refused(exchange)).map(|exchange| exchange.user).collect()
    }

    pub(crate) fn latencies(&self) -> Latencies {
        Latencies::of(self.history.exchanges().iter().map(|exchange| exchange.took))
    }
}

impl Body {
    fn of(self, user: u64, coupon: u64) -> String {
        match self {
            Self::One => payload(user, coupon),
            Self::Other => payload(user, coupon).replace("FIXED", "RATE"),
        }
    }
}

fn reply(answer: Result<Answer, SendError>) -> Reply {
    match answer {
        Ok(answer) if answer.status == 202 => accepted(&answer),
        Ok(answer) => {
            Reply::Refused { status: answer.status, reason: answer.reason(), generation: generation(&answer) }
        }
        Err(SendError::Unanswered(_)) => Reply::Unanswered,
        Err(SendError::NotSent(_)) => Reply::NotSent,
    }
}

fn accepted(answer: &Answer) -> Reply {
    let body = answer.json();
    let text = |key: &str| body[key].as_str().unwrap_or_else(|| panic!("{key} is missing: {body}")).to_owned();
    let receipt =
        Receipt { request_id: text("requestId"), status_url: text("statusUrl"), generation: generation(answer) };
    Reply::Accepted(receipt)
}

/// Without the arm of a rollout, which is a parameter of the header.
fn generation(answer: &Answer) -> Option<u64> {
    answer.header("sluice-generation")?.split(';').next()?.parse().ok()
}

impl Reply {
    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted(_))
    }

    pub(crate) fn receipt(&self) -> &Receipt {
        match self {
            Self::Accepted(receipt) => receipt,
            other => panic!("not accepted: {other:?}"),
        }
    }

    pub(crate) fn refusal(&self) -> (u16, &str) {
        match self {
            Self::Refused { status, reason, .. } => (*status, reason),
            other => panic!("not refused: {other:?}"),
        }
    }
}
