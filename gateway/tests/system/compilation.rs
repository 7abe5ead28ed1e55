//! Compiling a policy: in a process of its own, within limits, and only once.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;
use sluice::config::Config;

use crate::bomb::bomb;
use crate::harness::{Answer, Files, Fixture, eventually};

/// Takes seconds, and more than 64 MiB.
const LARGE: usize = 20_000;
/// Takes longer than [`ENDS_WITHIN`], and the slower the machine, the longer.
const ENDLESS: usize = 120_000;
const ENDS_WITHIN: Duration = Duration::from_secs(45);

/// With a folder of policies and a cache of its own.
fn on_own_folders(files: &Files) -> impl FnOnce(&mut Config) + use<> {
    let (policies, cache) = (files.path("policies"), files.path("compiled"));
    if !policies.exists() {
        std::fs::create_dir(&policies).expect("creates a folder");
        for policy in ["token-bucket", "quota", "random"] {
            std::fs::copy(built(policy), policies.join(format!("{policy}.wasm"))).expect("copies a policy");
        }
    }
    |config| {
        config.policies.dir = policies;
        config.policies.cache_dir = Some(cache);
    }
}

fn built(policy: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(format!("{policy}.wasm"))
}

async fn start(files: Files, limit: impl FnOnce(&mut Config)) -> Fixture {
    let own = on_own_folders(&files);
    let configure = |config: &mut Config| {
        own(config);
        limit(config);
    };
    Fixture::with(files, configure, |ports| ports).await
}

impl Fixture {
    fn install(&self, policy: &str, component: &[u8]) {
        std::fs::write(self.files.path("policies").join(format!("{policy}.wasm")), component).expect("writes");
    }

    /// How a component that takes too much to compile is refused, and how often it was compiled. A busy machine may reach
    /// the limit on the time that passes first, and is then to be asked again.
    async fn refusal_of(&self, policy: &str) -> (Answer, u64) {
        let mut compilations = 0;
        let answer = eventually("the compiler reaches its own limit", async || {
            compilations += 1;
            let answer = self.pick_with(policy).await;
            let is_busy = answer.body["detail"].as_str().is_some_and(|detail| detail.contains("the machine is busy"));
            (!is_busy).then_some(answer)
        })
        .await;
        (answer, compilations)
    }

    /// Of `sluice_policy_compilations_total`.
    async fn compilations(&self, outcome: &str) -> u64 {
        let metrics = self.metrics().await;
        let name = format!("sluice_policy_compilations_total{{outcome=\"{outcome}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(name.as_str()));
        value.and_then(|value| value.parse().ok()).expect("a number")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_takes_too_much_to_compile_is_refused_with_the_limit_and_delays_no_request() {
    let too_much = bomb(LARGE);
    let memory: fn(&mut Config) = |config| config.policies.compile_memory_mib_max = 64;
    let time: fn(&mut Config) = |config| {
        config.policies.compile_memory_mib_max = 4096;
        config.policies.compile_seconds_max = 1;
    };
    for (limit, expected) in [
        (memory, "it takes more than 64 MiB of memory: split its large functions"),
        (time, "it takes more than 1 s of processor time: split its large functions"),
    ] {
        let system = start(Files::new(), limit).await;
        let requests = async {
            for user in 1..=20 {
                let begun = Instant::now();
                system.accepted(user).await;
                assert!(begun.elapsed() < Duration::from_secs(5), "a request waited for {:?}", begun.elapsed());
            }
        };
        system.install("bomb", &too_much);
        let ((answer, compilations), ()) = tokio::join!(system.refusal_of("bomb"), requests);
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.body);
        let detail = answer.body["detail"].as_str().expect("a detail");
        assert!(detail.starts_with(&format!("shard-picker: compile the component: {expected}")), "{detail}");
        assert_eq!(system.pick_with("bomb").await.body, answer.body);
        assert_eq!(system.compilations("failed").await, compilations, "it is not compiled again");
        system.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disconnects_stops_the_compiler() {
    let system = start(Files::new(), |_| {}).await;
    system.install("bomb", &bomb(ENDLESS));
    let change = tokio::time::timeout(Duration::from_secs(1), system.pick_with("bomb")).await;
    assert!(change.is_err(), "the client has given up");
    // One component is compiled at a time, so the next one shows that the compiler has ended.
    system.install("next", &std::fs::read(built("weighted")).expect("reads"));
    let next = tokio::time::timeout(ENDS_WITHIN, system.pick_with("next")).await;
    let next = next.expect("the next component is compiled");
    assert_eq!(next.status, StatusCode::OK, "{}", next.body);
    assert_eq!(system.compilations("failed").await, 0, "no limit ended it");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_does_not_wait_for_the_compiler() {
    let system = start(Files::new(), |_| {}).await;
    system.install("bomb", &bomb(ENDLESS));
    let url = format!("http://{}/admin/pipeline", system.running.admin);
    let patch = json!({ "shard-picker": { "policy": "bomb" } });
    let change = tokio::spawn(reqwest::Client::new().put(url).json(&patch).send());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    system.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(8), "stopped after {:?}", begun.elapsed());
    let answer = change.await.expect("does not panic").expect("is answered");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_compiles_nothing() {
    let system = start(Files::new(), |_| {}).await;
    assert_eq!(system.compilations("compiled").await, 3);
    let system = start(system.stop().await, |_| {}).await;
    assert_eq!((system.compilations("compiled").await, system.compilations("cached").await), (0, 3));
    system.outcome(&system.accepted(1).await).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_truncated_file_of_the_cache_is_compiled_again() {
    let system = start(Files::new(), |_| {}).await;
    let files = system.stop().await;
    let cached = std::fs::read_dir(files.path("compiled")).expect("a folder").map(|file| file.expect("a file").path());
    for (number, path) in cached.enumerate() {
        let mut bytes = std::fs::read(&path).expect("reads");
        let middle = bytes.len() / 2;
        match number {
            0 => bytes.truncate(middle),
            1 => bytes[middle] ^= 1,
            _ => bytes.clear(),
        }
        std::fs::write(&path, bytes).expect("writes");
    }
    let system = start(files, |_| {}).await;
    assert_eq!((system.compilations("compiled").await, system.compilations("cached").await), (3, 0));
    system.outcome(&system.accepted(1).await).await;
    system.stop().await;
}
