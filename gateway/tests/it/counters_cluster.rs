//! A gateway that counts in a Redis Cluster, and loses one of its nodes.

use std::ops::RangeInclusive;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{Campaign, Gateway, Launch, eventually, free_address, machine, payload};

const TIMEOUT: Duration = Duration::from_secs(120);
const NODES: usize = 3;

/// Three nodes without replicas.
struct RedisCluster {
    nodes: Vec<Child>,
    ports: Vec<String>,
    _folder: TempDir,
}

impl RedisCluster {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let ports: Vec<_> = (0..NODES).map(|_| free_address().port().to_string()).collect();
        let nodes = ports.iter().map(|port| {
            let (bus_port, configuration) = (free_address().port().to_string(), format!("{port}.conf"));
            let server = Command::new("redis-server")
                .args(["--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no"])
                .args(["--cluster-enabled", "yes", "--cluster-port", &bus_port, "--cluster-node-timeout", "1000"])
                .args(["--cluster-config-file", &configuration, "--cluster-require-full-coverage", "no", "--dir"])
                .arg(folder.path())
                .stdout(Stdio::null())
                .spawn();
            server.expect("redis-server is installed")
        });
        let cluster = Self { nodes: nodes.collect(), ports, _folder: folder };
        let all = async |words: &[&str], expected: &str| {
            let answers = cluster.ports.iter().map(|port| cli(port, words));
            answers.into_iter().all(|answer| answer.contains(expected)).then_some(())
        };
        eventually("the nodes answer", TIMEOUT, async || all(&["ping"], "PONG").await).await;
        let addresses: Vec<_> = cluster.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let create =
            [&["--cluster", "create", "--cluster-yes"][..], &addresses.iter().map(String::as_str).collect::<Vec<_>>()];
        cli(&cluster.ports[0], &create.concat());
        let info = ["cluster", "info"];
        eventually("the nodes know all slots", TIMEOUT, async || all(&info, "cluster_slots_ok:16384").await).await;
        eventually("the nodes accept writes", TIMEOUT, async || all(&info, "cluster_state:ok").await).await;
        cluster
    }

    fn url(&self) -> String {
        let nodes: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }

    fn kill(&mut self, node: usize) {
        self.nodes[node].kill().expect("it runs");
        self.nodes[node].wait().expect("it ends");
    }
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // It may have ended already.
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

fn cli(port: &str, words: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-p", port]).args(words).output();
    String::from_utf8_lossy(&output.expect("redis-cli is installed").stdout).into_owned()
}

/// One user after the other: the gateway waits 50 ms for the counters, and passes a request that they do not answer by
/// then.
async fn issue(gateway: &Gateway, users: RangeInclusive<u64>, coupon: u64) -> Vec<u16> {
    let mut statuses = Vec::new();
    for user in users {
        statuses.push(gateway.client.post("/coupon/issue", payload(user, coupon)).await.status);
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn losing_a_node_of_the_counters_refuses_nobody_and_lets_nobody_exceed_the_limit() {
    const USERS: u64 = 60;
    machine::exclusive();
    let mut redis = RedisCluster::start().await;
    let gateway = Gateway::launch(Launch::with(&[("COUNTERS__URL", &redis.url())])).await;
    let coupon = gateway.create(Campaign::of(1_000, 4)).await;
    assert_eq!(issue(&gateway, 1..=USERS, coupon).await, [202; USERS as usize]);
    let refused = issue(&gateway, 1..=USERS, coupon).await;
    assert_eq!(refused, [429; USERS as usize], "every user's count is known");

    redis.kill(0);
    eventually("the loss is noticed", TIMEOUT, async || {
        (gateway.metrics().await.value("sluice_counters_up", &[]) == 0.0).then_some(())
    })
    .await;
    assert_eq!(gateway.operator.get("/readyz").await.status, 200);
    let again = issue(&gateway, 1..=USERS, coupon).await;
    let accepted = again.iter().filter(|status| **status == 202).count();
    assert!((1..USERS as usize).contains(&accepted), "{accepted}: only the counts of the lost node are unknown");
    assert!(again.iter().all(|status| [202, 429].contains(status)), "{again:?}");
    let new_users = issue(&gateway, USERS + 1..=2 * USERS, coupon).await;
    assert_eq!(new_users, [202; USERS as usize]);

    gateway.wait_until_drained(TIMEOUT).await;
    let audit = gateway.audit(coupon).await;
    assert_eq!(audit.granted, 2 * USERS, "one coupon for each user");
}
