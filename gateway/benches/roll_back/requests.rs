//! An open load on both gateways: requests are due at a fixed rate, whether earlier ones are answered or not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, RequestBuilder, StatusCode};
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::common::Server;
use crate::common::crowd::Crowd;

/// To both gateways in turn.
pub(crate) const PER_SECOND: u32 = 1000;

/// Requests from new users, which are sent until this is dropped.
pub(crate) struct Requests {
    tallies: Arc<Mutex<[Tally; 2]>>,
    sending: JoinHandle<()>,
}

/// What one gateway has answered so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) answered: u64,
    pub(crate) by_canary: u64,
    /// By a policy.
    pub(crate) refused: u64,
    /// With an error, or not at all.
    pub(crate) failed: u64,
}

struct Answer {
    status: StatusCode,
    is_by_canary: bool,
}

impl Requests {
    pub(crate) fn send(gateways: &[Server; 2]) -> Self {
        let urls = gateways.each_ref().map(|gateway| gateway.http_url("/coupon/issue"));
        let tallies = Arc::default();
        let sending = tokio::spawn(send(urls, Arc::clone(&tallies)));
        Self { tallies, sending }
    }

    pub(crate) fn tallies(&self) -> [Tally; 2] {
        *self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

async fn send(urls: [String; 2], tallies: Arc<Mutex<[Tally; 2]>>) {
    let (client, mut crowd) = (Client::new(), Crowd::strangers());
    // A tick that comes late delays none of the others.
    let mut due = interval(Duration::from_secs(1) / PER_SECOND);
    for gateway in (0..urls.len()).cycle() {
        due.tick().await;
        let mut body = Vec::new();
        crowd.write_next(&mut body);
        let request = client.post(&urls[gateway]).header(CONTENT_TYPE, "application/json").body(body);
        let tallies = Arc::clone(&tallies);
        tokio::spawn(async move {
            let answer = ask(request).await;
            tallies.lock().unwrap_or_else(PoisonError::into_inner)[gateway].add(answer.ok());
        });
    }
}

async fn ask(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let answer = Answer { status: response.status(), is_by_canary: is_by_canary(response.headers()) };
    // Only then is the connection free for another request.
    response.bytes().await?;
    Ok(answer)
}

fn is_by_canary(headers: &HeaderMap) -> bool {
    headers.get("sluice-generation").is_some_and(|value| value.as_bytes().ends_with(b";arm=canary"))
}

impl Tally {
    fn add(&mut self, answer: Option<Answer>) {
        self.answered += 1;
        self.by_canary += u64::from(answer.as_ref().is_some_and(|answer| answer.is_by_canary));
        match answer.map(|answer| answer.status) {
            Some(StatusCode::ACCEPTED) => {}
            Some(StatusCode::TOO_MANY_REQUESTS) => self.refused += 1,
            _ => self.failed += 1,
        }
    }
}
