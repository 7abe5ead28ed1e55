//! Bad candidates on two gateways under load: how soon each is rolled back, as a shadow and as a canary of 10 %, and how
//! many requests it decided until then. The guards have their defaults.
//!
//! The gateways record no decisions: a replay of them would refuse some of the candidates before they start. The servers
//! are those of `infra/native/services up kafka mariadb`.

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../../tests/common/candidates.rs"]
mod candidates;
#[path = "../common/mod.rs"]
mod common;
mod requests;

use std::time::{Duration, Instant};

use common::backlog::{Backlog, COUPON, Ids};
use common::distributed::Stage;
use common::{Server, results};
use futures_util::future::join_all;
use requests::{PER_SECOND, Requests, Tally};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

const WARM_UP: Duration = Duration::from_secs(3);
/// How long the same load is measured without a rollout.
const WITHOUT: Duration = Duration::from_secs(5);
const POLL_EVERY: Duration = Duration::from_millis(20);
/// Every candidate is rolled back sooner.
const PATIENCE: Duration = Duration::from_secs(60);
/// After a rollout, so that requests under way are answered before the next one.
const PAUSE: Duration = Duration::from_secs(2);
const HEADER: [&str; 9] = [
    "candidate",
    "as",
    "both gateways are back after, s",
    "requests until then",
    "decided by the canary",
    "refused",
    "failed",
    "call p99, times the active one's",
    "reason",
];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stage = Stage::create().await;
        measure(&stage).await;
        stage.delete().await;
    });
}

async fn measure(stage: &Stage) {
    let pair = Pair::start(stage).await;
    sleep(WARM_UP).await;
    let mut rows = vec![pair.without_rollout().await];
    for candidate in bad_candidates() {
        for (arm, rollout) in [("shadow", json!({})), ("canary", json!({ "shadow": false, "canaryPercent": 10 }))] {
            println!("{}, as a {arm}", candidate.what);
            rows.push(pair.roll_out(&candidate, arm, rollout).await);
        }
    }
    println!("\n{PER_SECOND} requests a second; `a + b` are the two gateways");
    println!("{}", results::table(&HEADER, &rows));
}

struct Candidate {
    what: &'static str,
    /// The newest version of the policy `candidate`, if the candidate is not one of Sluice's policies.
    component: Option<Vec<u8>>,
    hooks: Value,
}

fn bad_candidates() -> [Candidate; 5] {
    let picker = |what, component| Candidate {
        what,
        component: Some(component),
        hooks: json!({ "shard-picker": { "policy": "candidate" } }),
    };
    let lottery = |what, ratio: f64| Candidate {
        what,
        component: None,
        hooks: json!({ "rate-shaper": { "policy": "lottery", "config": { "ratio": ratio } } }),
    };
    [
        picker("traps in 2 % of its calls", candidates::traps_sometimes()),
        picker("takes a millisecond or two for a call", candidates::slow(1_000_000)),
        lottery("decides differently: refuses 30 %", 0.7),
        lottery("refuses everybody", 0.0),
        picker("always picks shard 0", candidates::always_shard_0()),
    ]
}

/// Two gateways on one ledger, under load.
struct Pair {
    requests: Requests,
    gateways: [Server; 2],
    client: Client,
}

impl Pair {
    async fn start(stage: &Stage) -> Self {
        let campaign =
            Backlog { records: 0, first_coupon: COUPON, coupons: 1, stock: 1_000_000_000, ids: Ids::OrderedByTime };
        campaign.create_campaigns_on(stage).await;
        let variables = stage.variables(None);
        let mut variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        variables.extend([("DECISIONS__SAMPLE", "0"), ("DECISIONS__SAMPLE_REFUSALS", "0")]);
        let gateways = [(); 2].map(|()| Server::sluice("gateway", &variables));
        Self { requests: Requests::send(&gateways), gateways, client: Client::new() }
    }

    async fn without_rollout(&self) -> Vec<String> {
        let before = self.requests.tallies();
        sleep(WITHOUT).await;
        let after = self.requests.tallies();
        let cells = ["none".to_owned(), String::new(), String::new()];
        let none = [String::new(), String::new()];
        [&cells[..], &counts(before, after, after), &none].concat()
    }

    /// Rolls a candidate out until both gateways have returned to the active policies. Returns a row of the table.
    async fn roll_out(&self, candidate: &Candidate, arm: &str, mut rollout: Value) -> Vec<String> {
        if let Some(component) = &candidate.component {
            self.gateways[0].upload("candidate", component.clone()).await;
        }
        rollout["hooks"] = candidate.hooks.clone();
        let (begun, before) = (Instant::now(), self.requests.tallies());
        let id = self.start_rollout(&rollout).await;
        let over = timeout(PATIENCE, self.until_over(id)).await.expect("the candidate is rolled back");
        let durations = join_all(self.gateways.iter().map(|gateway| until_back(gateway, begun))).await;
        let until_back = self.requests.tallies();
        sleep(PAUSE).await;
        let seconds = durations.into_iter().max().expect("two").as_secs_f64();
        let cells = [candidate.what.to_owned(), arm.to_owned(), format!("{seconds:.1}")];
        let reason = over["status"]["reason"].as_str().expect("a reason").to_owned();
        [&cells[..], &counts(before, until_back, self.requests.tallies()), &[call_p99_ratio(&over), reason]].concat()
    }

    /// Returns its number.
    async fn start_rollout(&self, rollout: &Value) -> u64 {
        let url = self.gateways[0].admin_url("/admin/rollouts");
        let answer = self.client.post(url).json(rollout).send().await.expect("answers");
        let (status, body) = (answer.status(), answer.json::<Value>().await.expect("JSON"));
        assert_eq!(status, 201, "{body}");
        body["id"].as_u64().expect("a number")
    }

    /// Returns the rollout as it ended.
    async fn until_over(&self, id: u64) -> Value {
        let url = self.gateways[1].admin_url(&format!("/admin/rollouts/{id}"));
        loop {
            let answer = self.client.get(&url).send().await.expect("answers");
            let rollout: Value = answer.json().await.expect("JSON");
            if rollout["status"]["state"] != "running" {
                assert_eq!(rollout["status"]["state"], "rolled-back", "{rollout}");
                return rollout;
            }
            sleep(POLL_EVERY).await;
        }
    }
}

/// How long it takes until a gateway takes part in no rollout.
async fn until_back(gateway: &Server, begun: Instant) -> Duration {
    while gateway.rollouts_running().await > 0.0 {
        sleep(POLL_EVERY).await;
    }
    begun.elapsed()
}

/// Of each gateway: the requests until both are back, and what became of all, those that were under way then included.
fn counts(before: [Tally; 2], until_back: [Tally; 2], later: [Tally; 2]) -> [String; 4] {
    let cell = |after: [Tally; 2], count: fn(Tally) -> u64| {
        let [one, other] = [0, 1].map(|gateway| count(after[gateway]) - count(before[gateway]));
        format!("{one} + {other}")
    };
    [
        cell(until_back, |tally| tally.answered),
        cell(later, |tally| tally.by_canary),
        cell(later, |tally| tally.refused),
        cell(later, |tally| tally.failed),
    ]
}

/// As the guards found it when they rolled the candidate back.
fn call_p99_ratio(over: &Value) -> String {
    let last = over["history"].as_array().and_then(|events| events.last()).expect("a step");
    let readings = last["measured"].as_array().into_iter().flatten();
    let call_p99 =
        readings.filter(|reading| reading["guard"] == "call-p99").find_map(|reading| reading["found"].as_f64());
    call_p99.map_or_else(String::new, |ratio| format!("{ratio:.1}"))
}
