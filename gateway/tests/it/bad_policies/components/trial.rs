//! One gateway on which the components are tried, and the table of what happened.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::json;

use super::guest::Guest;
use crate::bad_policies::others::latencies_during;
use crate::client::post;
use crate::crowd::Crowd;
use crate::harness::{Campaign, Gateway, Memory, soak};
use crate::load::Latencies;

const CAMPAIGN: Campaign = Campaign::of(1_000_000, 12);
const REQUESTS_PER_SECOND: f64 = 100.0;
/// Requests before and after a change. In the long form, breakers and budgets close and open again meanwhile.
const REQUESTS: (usize, usize) = (30, 200);
/// Other work on the machine only makes answers slower, so one attempt within the limit is enough.
const ATTEMPTS: usize = 3;
/// A moment of other work on a slow processor. A call that waits for a policy would wait for much longer.
const SLACK: Duration = Duration::from_millis(50);
/// The largest component has 32 MiB. While it is read from the folder, compiled, stored and loaded, there are several copies
/// of it, and twice as many if the watcher of the folder and the change do that at the same moment.
const MEMORY_MAX_BYTES: u64 = 500 << 20;
/// A change compiles, configures and tries three policies, which takes long on a slow machine.
const RECOVERED_WITHIN: Duration = Duration::from_secs(15);

pub(super) struct Ground {
    gateway: Gateway,
    crowd: Crowd,
    users: std::ops::RangeFrom<u64>,
}

/// What happened with one component.
struct Row {
    name: String,
    result: String,
    memory: Memory,
    /// Of calls that no policy decides about: before, during the change to the component, and while it decides.
    before: Latencies,
    change: Latencies,
    calls: Option<Latencies>,
    recovery: Duration,
    violations: Vec<String>,
}

impl Ground {
    pub(super) async fn prepare() -> Self {
        let gateway = Gateway::start().await;
        let crowd = Crowd::at(&gateway, gateway.create(CAMPAIGN).await);
        Self { gateway, crowd, users: 1.. }
    }

    pub(super) async fn try_all(mut self, guests: Vec<Guest>) {
        println!(
            "{:36} {:>9} {:>8} {:>8} {:>8} {:>9}  result",
            "component", "peak", "before", "change", "calls", "recovery"
        );
        let mut violations = Vec::new();
        for guest in guests {
            violations.extend(self.attempt(&guest).await);
        }
        assert!(violations.is_empty(), "{violations:#?}");
        self.crowd.verify(&self.gateway, CAMPAIGN).await.assert_holds();
    }

    async fn attempt(&mut self, guest: &Guest) -> Vec<String> {
        let mut violations = Vec::new();
        for attempt in 1..=ATTEMPTS {
            let row = self.try_one(guest).await;
            println!("{row}");
            violations.extend(row.violations.iter().map(|limit| format!("{}: {limit}", row.name)));
            if row.is_within() {
                break;
            }
            if attempt == ATTEMPTS {
                violations.push(format!("{}: latency of others in {ATTEMPTS} attempts", row.name));
            }
        }
        violations
    }

    async fn try_one(&mut self, guest: &Guest) -> Row {
        let before = self.others_during_requests().await;
        self.gateway.reset_peak_memory();
        self.gateway.home.install(&guest.name, &guest.component);
        let (change, refusal) = latencies_during(&self.gateway, self.activate(guest)).await;
        let calls = if refusal.is_none() { Some(self.others_during_requests().await) } else { None };
        let memory = self.gateway.memory();
        let failures = self.failures(guest).await;
        let recovery = self.recover(guest).await;
        let result = match &refusal {
            Some(reason) => format!("refused: {reason}"),
            None => format!("active, failures: {failures:?}"),
        };
        let name = guest.name.clone();
        let limits = [
            (guest.expected.includes(refusal.as_deref(), &failures), format!("expected {:?}", guest.expected)),
            (memory.peak < MEMORY_MAX_BYTES, format!("{memory}")),
            (recovery < RECOVERED_WITHIN, format!("recovered after {recovery:?}")),
        ];
        let violations = limits.into_iter().filter(|(holds, _)| !holds).map(|(_, found)| found).collect();
        Row { name, result, memory, before, change, calls, recovery, violations }
    }

    /// Why the change was refused, if it was.
    async fn activate(&self, guest: &Guest) -> Option<String> {
        let spec = json!({ "policy": guest.name, "deadline_ms": guest.deadline_ms, "on_failure": "fallback" });
        let mut change = post("/admin/pipeline", json!({ guest.hook.name(): spec }).to_string());
        *change.method_mut() = hyper::Method::PUT;
        match self.gateway.operator.send(change).await {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(answer.json()["detail"].as_str().unwrap_or_default().to_owned()),
            Err(error) => Some(format!("{error:?}")),
        }
    }

    async fn others_during_requests(&mut self) -> Latencies {
        let users: Vec<_> = self.users.by_ref().take(soak::short_or_long(REQUESTS.0, REQUESTS.1)).collect();
        let requests = self.crowd.send_at_rate(REQUESTS_PER_SECOND, users);
        latencies_during(&self.gateway, requests).await.0
    }

    /// Calls that failed, by reason.
    async fn failures(&self, guest: &Guest) -> Vec<(&'static str, f64)> {
        const REASONS: [&str; 8] =
            ["trap", "deadline", "memory", "answer", "busy", "counters", "circuit_open", "over_budget"];
        let metrics = self.gateway.metrics().await;
        let count = |reason| {
            let labels = [("hook", guest.hook.name()), ("policy", &*guest.name), ("reason", reason)];
            (reason, metrics.sum("sluice_policy_failures_total", &labels))
        };
        REASONS.map(count).into_iter().filter(|(_, calls)| *calls > 0.0).collect()
    }

    /// How long it takes to replace the policy and to accept a request with the new pipeline.
    async fn recover(&mut self, guest: &Guest) -> Duration {
        let begun = Instant::now();
        let patch = json!({ guest.hook.name(): { "policy": guest.hook.default_policy() } });
        let generation = self.gateway.change_pipeline(patch).await;
        let user = self.users.next().expect("there is another user");
        let reply = self.crowd.request(user).await;
        assert_eq!(reply.receipt().generation, Some(generation), "{}", guest.name);
        begun.elapsed()
    }
}

impl Row {
    fn is_within(&self) -> bool {
        let limit = self.before.quantile(0.99) * 2 + SLACK;
        [Some(&self.change), self.calls.as_ref()].into_iter().flatten().all(|others| others.quantile(0.99) <= limit)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, result, memory, before, change, calls, recovery, .. } = self;
        let p99 = |latencies: &Latencies| format!("{:.1?}", latencies.quantile(0.99));
        let calls = calls.as_ref().map_or("-".to_owned(), p99);
        let (before, change, peak) = (p99(before), p99(change), format!("{} MiB", memory.peak >> 20));
        let result: String = result.chars().take(160).collect();
        write!(f, "{name:36} {peak:>9} {before:>8} {change:>8} {calls:>8} {recovery:>9.1?}  {result}")
    }
}
