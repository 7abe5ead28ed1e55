//! Growth: what an accepted and settled request costs while one number grows by orders of magnitude. Flat, or not.
//!
//! Names choose dimensions: `cargo bench -p sluice --bench growth -- shards backlog`. Without a name, all are measured,
//! in about 10 minutes; `gateways` needs the servers of `infra/native/services`. How the number of outcomes matters is
//! measured by `aged_ledger`, that of retained records by `aged_log`.
//!
//! The points of a dimension take turns. `target/bench` gets the results as `growth.json`, `growth.md` and
//! `growth.html`.

#[path = "../common/mod.rs"]
mod common;
mod dimension;
mod embedded;
mod plot;
mod report;
mod stack;

use common::distributed;
use common::own_server::serve_if_asked;
use dimension::{Dimension, Growth};

const NAMES: [&str; 7] = ["shards", "users", "campaigns", "partitions", "backlog", "workers", "gateways"];

fn main() {
    serve_if_asked();
    // `cargo bench` adds `--bench`.
    let mut chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = chosen.iter().find(|name| !NAMES.contains(&name.as_str())) {
        panic!("no dimension `{unknown}`: choose from {}", NAMES.join(", "));
    }
    if chosen.is_empty() {
        chosen = NAMES.map(str::to_owned).to_vec();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    report::write(&runtime.block_on(measure(&chosen)));
}

async fn measure(names: &[String]) -> Vec<Growth> {
    let mut measured = Vec::new();
    for name in names {
        if name == "gateways" && !distributed::is_up() {
            println!("gateways: not measured. Start the servers with `infra/native/services up`.");
            continue;
        }
        println!("{name}");
        measured.push(prepare(name).await.measure().await);
    }
    measured
}

async fn prepare(name: &str) -> Dimension {
    match name {
        "shards" => embedded::shards().await,
        "users" => embedded::users().await,
        "campaigns" => embedded::campaigns().await,
        "partitions" => embedded::partitions().await,
        "backlog" => embedded::backlog().await,
        "workers" => embedded::workers().await,
        _ => stack::gateways().await,
    }
}
