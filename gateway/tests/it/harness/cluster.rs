//! Gateways and consumers that share a topic, a database and counters, on real servers.
//!
//! The servers are those of `infra/native/services`; what a test makes on them is its own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Ended, Gateway, Launch, Process, eventually};

/// The script installs nothing here: it only says what is wrong, ends a server or starts it again.
const SERVICE_MAX: Duration = Duration::from_secs(90);
const COMMAND_MAX: Duration = Duration::from_secs(30);

/// A system of several processes.
pub(crate) struct Cluster {
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) consumers: Vec<Gateway>,
    name: String,
}

fn services() -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace");
    Command::new(root.join("infra/native/services"))
}

/// `kill` or `start` one of the servers, by name.
pub(crate) async fn service(action: &str, name: &str) {
    let mut command = services();
    command.args([action, name]);
    let ended = Process::run(command, SERVICE_MAX).await;
    assert_eq!(ended.code, Some(0), "infra/native/services {action} {name}: {ended}");
}

async fn run(program: &str, arguments: &[&str]) -> Ended {
    let mut command = Command::new(program);
    command.args(arguments);
    Process::run(command, COMMAND_MAX).await
}

/// One statement, as the user of the ledger.
async fn sql(statement: &str) {
    let server = ["--host=127.0.0.1", "--port=13306", "--user=sluice", "--password=sluice", "--execute", statement];
    let ended = run("mariadb", &server).await;
    assert_eq!(ended.code, Some(0), "start the servers with `infra/native/services up`: {ended}");
}

impl Cluster {
    pub(crate) async fn start(gateways: usize, consumers: usize) -> Self {
        let name = format!("sluice_it_{:08x}", rand::random::<u32>());
        let database = rand::random_range(1..16).to_string();
        sql(&format!("CREATE DATABASE {name}")).await;
        let flushed = run("redis-cli", &["-p", "16379", "-n", &database, "FLUSHDB"]).await;
        assert_eq!(flushed.code, Some(0), "start the servers with `infra/native/services up`: {flushed}");

        let log = format!("kafka://127.0.0.1:19092,127.0.0.1:19093,127.0.0.1:19094/{name}");
        let ledger = format!("mysql://sluice:sluice@127.0.0.1:13306/{name}");
        let counters = format!("redis://127.0.0.1:16379/{database}");
        let variables =
            [("LOG__URL", log.as_str()), ("LOG__GROUP", &name), ("LEDGER__URL", &ledger), ("COUNTERS__URL", &counters)];
        let folder = tempfile::tempdir().expect("a temporary folder");
        for arguments in [&["migrate"][..], &["topic", "ensure"]] {
            let ended = Process::run(Launch::with(&variables).command(folder.path(), arguments), COMMAND_MAX).await;
            assert_eq!(ended.code, Some(0), "{arguments:?}: {ended}");
        }
        let mut this = Self { gateways: Vec::new(), consumers: Vec::new(), name: name.clone() };
        for _ in 0..gateways {
            this.gateways.push(Gateway::launch(Launch::with(&variables).with_role("gateway")).await);
        }
        for _ in 0..consumers {
            this.consumers.push(Gateway::launch(Launch::with(&variables).with_role("consumer")).await);
        }
        this
    }

    /// Waits until every gateway has heard of a campaign.
    pub(crate) async fn hears_of(&self, coupon: u64) {
        for gateway in &self.gateways {
            let coupon = coupon.to_string();
            let stock = async || gateway.metrics().await.sum("sluice_shard_remaining", &[("coupon", &coupon)]);
            let has_heard = async || (stock().await > 0.0).then_some(());
            eventually("every gateway hears of the campaign", Duration::from_secs(2), has_heard).await;
        }
    }

    /// Ends all processes and takes back what was made on the servers.
    pub(crate) async fn end(self) {
        let Self { gateways, consumers, name } = self;
        drop((gateways, consumers));
        sql(&format!("DROP DATABASE {name}")).await;
    }
}
