//! A Redis Cluster for one test: in memory, on free ports, killed when the test ends.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::test_server::{TestServer, free_port};
use super::*;
use crate::counters::redis::keys::Home;

pub(super) const PRIMARIES: usize = 3;

/// The first nodes are the primaries, and the others their replicas.
pub(super) struct TestCluster {
    pub(super) ports: Vec<u16>,
    servers: Vec<Option<TestServer>>,
    folder: TempDir,
}

impl TestCluster {
    /// With counters that wait long.
    pub(super) async fn with_counters(replicas_each: usize) -> (Self, Redis) {
        let cluster = Self::start(replicas_each).await;
        let counters = open(server(&cluster.url())).await.expect("opens");
        (cluster, Redis { call_max: PATIENT, ..counters })
    }

    pub(super) async fn start(replicas_each: usize) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let ports: Vec<_> = (0..PRIMARIES * (1 + replicas_each)).map(|_| free_port()).collect();
        let mut cluster = Self { servers: ports.iter().map(|_| None).collect(), ports, folder };
        (0..cluster.ports.len()).for_each(|node| cluster.start_node(node));
        until("the nodes answer", || async { cluster.ports.iter().all(|port| cli(*port, &["ping"]).trim() == "PONG") })
            .await;
        let nodes: Vec<_> = cluster.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let replicas = replicas_each.to_string();
        let words = [&["--cluster", "create"][..], &nodes.iter().map(String::as_str).collect::<Vec<_>>()].concat();
        cli(cluster.ports[0], &[&words[..], &["--cluster-replicas", &replicas, "--cluster-yes"]].concat());
        until("all nodes know each other", || async { cluster.is_complete(replicas_each) }).await;
        cluster
    }

    fn is_complete(&self, replicas_each: usize) -> bool {
        let replicas = PRIMARIES * replicas_each;
        self.ports.iter().all(|port| {
            let info = cli(*port, &["cluster", "info"]);
            // A node refuses writes for the first seconds.
            info.contains("cluster_state:ok")
                && info.contains("cluster_slots_ok:16384")
                && cli(*port, &["cluster", "nodes"]).matches("slave").count() == replicas
        }) && self.ports[PRIMARIES..].iter().all(|port| cli(*port, &["info", "replication"]).contains("link_status:up"))
    }

    pub(super) fn url(&self) -> String {
        let nodes: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }

    /// Starts a node, again with its place in the cluster.
    pub(super) fn start_node(&mut self, node: usize) {
        let (port, bus_port) = (self.ports[node], free_port().to_string());
        let configuration = format!("{port}.conf");
        let folder = self.folder.path().to_str().expect("UTF-8");
        let cluster =
            ["--cluster-enabled", "yes", "--cluster-port", &bus_port, "--cluster-config-file", &configuration];
        let faults = ["--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no", "--dir", folder];
        self.servers[node] = Some(TestServer::start(port, &[&cluster[..], &faults].concat()));
    }

    pub(super) fn kill_node(&mut self, node: usize) {
        self.servers[node] = None;
    }

    pub(super) fn node(&self, node: usize) -> &TestServer {
        self.servers[node].as_ref().expect("the node runs")
    }

    /// Moves the node's lowest slots to another. Returns when they have moved.
    pub(super) fn reshard(&self, from: usize, to: usize, slots: u16) {
        let id = |node: usize| cli(self.ports[node], &["cluster", "myid"]).trim().to_owned();
        let (from, to, slots) = (id(from), id(to), slots.to_string());
        let seed = format!("127.0.0.1:{}", self.ports[0]);
        let words = ["--cluster", "reshard", &seed, "--cluster-from", &from, "--cluster-to", &to];
        let answer = cli(self.ports[0], &[&words[..], &["--cluster-slots", &slots, "--cluster-yes"]].concat());
        assert!(!answer.contains("[ERR]"), "{answer}");
    }
}

pub(super) fn cli(port: u16, words: &[&str]) -> String {
    let answer = Command::new("redis-cli").args(["-p", &port.to_string()]).args(words).output();
    String::from_utf8_lossy(&answer.expect("redis-cli is installed").stdout).into_owned()
}

/// A new user whose keys are on the node.
pub(super) fn subject_on(counters: &Redis, port: u16) -> Subject {
    let is_on = |subject: &Subject| port_of(counters, Home::User(subject.user_id)) == port;
    std::iter::repeat_with(new_subject).find(is_on).expect("the node serves slots")
}

/// A new coupon whose keys are on the node, and a new user on another.
pub(super) fn subject_across(counters: &Redis, user_port: u16, coupon_port: u16) -> Subject {
    let is_on = |subject: &Subject| port_of(counters, Home::Coupon(subject.coupon_id)) == coupon_port;
    let coupon_id = std::iter::repeat_with(new_subject).find(is_on).expect("the node serves slots").coupon_id;
    Subject { coupon_id, ..subject_on(counters, user_port) }
}

fn port_of(counters: &Redis, home: Home) -> u16 {
    let slot = counters.nodes.server.keys.slot(home);
    counters.nodes.owner(slot).expect("every slot has a node").node.port
}

/// Waits up to 20 seconds, for a failover.
pub(super) async fn until<F: Future<Output = bool>>(expectation: &str, condition: impl Fn() -> F) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENT, met).await.unwrap_or_else(|_| panic!("{expectation}"));
}
