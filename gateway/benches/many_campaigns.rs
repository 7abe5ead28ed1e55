//! 10,000 campaigns, of which 100 have requests: what a gateway without requests needs, and how soon a change made
//! through another gateway reaches it. Compared with 100 campaigns.
//!
//! The servers are those of `infra/native/services`.

mod common;

use std::time::{Duration, Instant};

use common::Server;
use common::backlog::{Backlog, Ids};
use common::distributed::Stage;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::{interval, sleep};

const CAMPAIGNS: [u64; 2] = [100, 10_000];
/// Their coupons are the first ones.
const ACTIVE: u64 = 100;
const PER_SECOND: u64 = 500;
const MEASURED: Duration = Duration::from_secs(20);
const CHANGES: u64 = 20;
const POLL_EVERY: Duration = Duration::from_millis(2);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for campaigns in CAMPAIGNS {
            measure(campaigns).await;
        }
    });
}

async fn measure(campaigns: u64) {
    let stage = Stage::create().await;
    let all = Backlog { records: 0, first_coupon: 1, coupons: campaigns, stock: 1_000_000, ids: Ids::UnderKeys };
    all.create_campaigns_on(&stage).await;
    let variables = stage.variables(None);
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let start = |role| Server::sluice(role, &variables);
    let begun = Instant::now();
    let (busy, idle) = (start("gateway"), start("gateway"));
    println!("{campaigns} campaigns: two gateways started in {:.1?}", begun.elapsed());
    let _consumer = start("consumer");
    let (client, changes) = (Client::new(), Changes { busy: &busy, idle: &idle, client: Client::new() });

    sleep(Duration::from_secs(5)).await;
    let share = cpu_share(&idle, sleep(MEASURED)).await;
    println!("  no requests: {share:.1} % of a core, {} MiB", idle.resident_mib());
    let share = cpu_share(&idle, request(&client, &busy)).await;
    println!("  {ACTIVE} active, on the other gateway: {share:.1} % of a core, {} MiB", idle.resident_mib());
    changes.measure(campaigns).await;
    drop((busy, idle));
    stage.delete().await;
}

/// Processor time of the gateway in percent of one core.
async fn cpu_share(gateway: &Server, meanwhile: impl Future<Output = ()>) -> f64 {
    let (before, begun) = (gateway.cpu_seconds(), Instant::now());
    meanwhile.await;
    100.0 * (gateway.cpu_seconds() - before) / begun.elapsed().as_secs_f64()
}

/// Requests the active coupons in turn.
async fn request(client: &Client, gateway: &Server) {
    let (begun, mut ticks) =
        (Instant::now(), interval(Duration::from_secs(1) / u32::try_from(PER_SECOND).expect("few")));
    for user in 1.. {
        if begun.elapsed() > MEASURED {
            return;
        }
        ticks.tick().await;
        let answer = issue(client, gateway, user, 1 + user % ACTIVE).await;
        assert_eq!(answer.0, 202, "{answer:?}");
    }
}

async fn issue(client: &Client, gateway: &Server, user: u64, coupon: u64) -> (u16, Value) {
    let body = json!({ "userId": user, "couponId": coupon, "policyId": 21, "typeSnapshot": "FIXED" });
    let answer = client.post(gateway.http_url("/coupon/issue")).json(&body).send().await.expect("answers");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

/// Changes made through one gateway and seen on the other.
struct Changes<'a> {
    busy: &'a Server,
    idle: &'a Server,
    client: Client,
}

impl Changes<'_> {
    async fn measure(&self, campaigns: u64) {
        let (mut pauses, mut top_ups) = (Vec::new(), Vec::new());
        for coupon in campaigns + 1..=campaigns + CHANGES {
            let one = json!({ "couponId": coupon, "policyId": 21, "total": 1, "shards": 1 });
            self.operate("", &one).await;
            let mut users = 1..;
            self.until(coupon, &mut users, |(status, _)| *status == 202).await;
            self.until(coupon, &mut users, |(_, body)| body["reason"] == "SOLD_OUT").await;
            self.operate(&format!("/{coupon}/top-up"), &json!({ "amount": 1_000_000 })).await;
            top_ups.push(self.until(coupon, &mut users, |(status, _)| *status == 202).await);
            self.operate(&format!("/{coupon}/pause"), &json!({})).await;
            pauses.push(self.until(coupon, &mut users, |(_, body)| body["reason"] == "PAUSED").await);
        }
        for (what, mut took) in [("a top-up", top_ups), ("a pause", pauses)] {
            took.sort();
            let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
            println!("  {what} reached the other gateway in {median:.1?} (median), {longest:.1?} (longest)");
        }
    }

    async fn operate(&self, path: &str, body: &Value) {
        let url = self.busy.admin_url(&format!("/admin/coupons{path}"));
        let status = self.client.post(url).json(body).send().await.expect("answers").status();
        assert!(status.is_success(), "{path}: {status}");
    }

    /// Asks the idle gateway for the coupon, each time as another user.
    async fn until(
        &self,
        coupon: u64,
        users: &mut impl Iterator<Item = u64>,
        is_seen: impl Fn(&(u16, Value)) -> bool,
    ) -> Duration {
        let begun = Instant::now();
        loop {
            let user = users.next().expect("a number");
            if is_seen(&issue(&self.client, self.idle, user, coupon).await) {
                return begun.elapsed();
            }
            sleep(POLL_EVERY).await;
        }
    }
}
