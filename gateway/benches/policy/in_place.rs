//! Requests through admission, which calls the hooks between its other steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::future::join_all;
use sluice::admission::{Admission, Dependencies, EarlierRequests, LoadGauge, Submission};
use sluice::campaign_cache::CampaignCache;
use sluice::counters::Counters;
use sluice::counters::local::Local;
use sluice::coupon::{GroupLayout, IssueRequest, NewCampaign, Terms, now_ms};
use sluice::decisions::{self, Recorder};
use sluice::log::Log;
use sluice::policy::Isolation;
use sluice::rollout::{self, Rollouts};
use sluice::settlement::Progress;
use sluice::telemetry::Telemetry;
use tempfile::TempDir;

use super::instant_log::{InstantLog, PARTITIONS};
use super::{ROUND, SHARDS, open_ledger, report_rounds, runtime, start};

const COUPON: u64 = 7;
const TERMS: u64 = 21;
const CLIENTS: u64 = 32;
/// Of one client in one round. It asks once for each.
const USERS_PER_CLIENT: u64 = 1 << 32;

struct Gateway {
    admission: Arc<Admission>,
    telemetry: Telemetry,
    next_user: AtomicU64,
    accepted: AtomicU64,
    _folder: TempDir,
}

pub(crate) fn report(workers: usize) {
    let runtime = runtime(workers);
    let (wasm, native) = (runtime.block_on(Gateway::start(false)), runtime.block_on(Gateway::start(true)));
    report_rounds(workers, || runtime.block_on(wasm.run()), || runtime.block_on(native.run()));
    println!("            of a request, sluice_policy_call_seconds counts {:.0} ns", wasm.policy_ns());
}

impl Gateway {
    async fn start(native: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ledger = open_ledger(&folder).await;
        ledger.create_campaign(&campaign()).await.expect("creates the campaign");
        let telemetry = Telemetry::new();
        let pipelines = start(Arc::clone(&ledger), Isolation::Warm, native, &telemetry).await;
        let layout = GroupLayout::new(1, PARTITIONS);
        let campaigns = CampaignCache::load(Arc::clone(&ledger), layout, telemetry.clone()).await.expect("reads");
        let (counters, log): (Arc<dyn Counters>, Arc<dyn Log>) = (Arc::new(Local::new()), Arc::new(InstantLog));
        let progress = Arc::new(Progress::new(vec![0; PARTITIONS as usize]));
        let (rollouts, _) = Rollouts::open(rollout::Dependencies {
            pipelines,
            ledger: Arc::clone(&ledger),
            shadow_counters: Arc::new(Local::new()),
            decisions: decisions::Reader::new(folder.path()),
            telemetry: telemetry.clone(),
        })
        .await;
        let dependencies = Dependencies {
            campaigns: Arc::new(campaigns),
            counters: Arc::clone(&counters),
            log: Arc::clone(&log),
            earlier: EarlierRequests::new(ledger, counters, log, progress, layout),
            rollouts,
            load: Arc::new(LoadGauge::new(layout)),
            decisions: Recorder::open(&decisions::Options { sample: 0.0, ..decisions::Options::default() }, &telemetry)
                .0,
        };
        let admission = Admission::new(dependencies, CLIENTS as usize);
        Self {
            admission: Arc::new(admission),
            telemetry,
            next_user: AtomicU64::new(1),
            accepted: AtomicU64::new(0),
            _folder: folder,
        }
    }

    /// One round.
    async fn run(&self) -> u64 {
        let begun = Instant::now();
        let clients = (0..CLIENTS).map(|_| {
            let first_user = self.next_user.fetch_add(USERS_PER_CLIENT, Ordering::Relaxed);
            tokio::spawn(client(Arc::clone(&self.admission), first_user, begun))
        });
        let accepted = join_all(clients).await.into_iter().map(|accepted| accepted.expect("does not panic"));
        let accepted: u64 = accepted.sum();
        self.accepted.fetch_add(accepted, Ordering::Relaxed);
        accepted
    }

    /// What the metric counts of a request: the time by the clock, also while the thread does not run.
    fn policy_ns(&self) -> f64 {
        let metrics = String::from_utf8(self.telemetry.render()).expect("text");
        let sums = metrics.lines().filter(|line| line.starts_with("sluice_policy_call_seconds_sum"));
        let seconds: f64 = sums.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        seconds * 1e9 / self.accepted.load(Ordering::Relaxed) as f64
    }
}

/// Asks for coupons until the round is over; returns how many requests were accepted.
async fn client(admission: Arc<Admission>, first_user: u64, begun: Instant) -> u64 {
    let mut user = first_user;
    while begun.elapsed() < ROUND {
        admission.admit(submission(user)).await.1.expect("is accepted");
        user += 1;
    }
    user - first_user
}

fn submission(user: u64) -> Submission {
    let request = IssueRequest {
        user_id: user.try_into().expect("in range"),
        coupon_id: COUPON.try_into().expect("in range"),
        policy_id: TERMS.try_into().expect("in range"),
        terms: Terms {
            type_snapshot: "FIXED".to_owned(),
            discount_rate_snapshot: Some(10.0),
            discount_amount_snapshot: Some(1000),
            minimum_order_amount_snapshot: Some(5000),
            usage_period_snapshot: Some(30),
            expired_at: None,
        },
    };
    Submission { request, idempotency_key: None, traceparent: None, arrived_at_ms: now_ms() }
}

fn campaign() -> NewCampaign {
    NewCampaign {
        coupon_id: COUPON.try_into().expect("in range"),
        policy_id: TERMS.try_into().expect("in range"),
        total: 1_000_000_000,
        shards: SHARDS,
        per_user_limit: 1,
        opens_at_ms: None,
        closes_at_ms: None,
    }
}
