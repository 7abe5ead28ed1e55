//! Compiling: what the gateway's process uses meanwhile, what is left of the compiler, and what a restart compiles.

use std::time::{Duration, Instant};

use crate::bomb::bomb;
use crate::crowd::Crowd;
use crate::harness::{Gateway, eventually, machine, soak};
use crate::load::Latencies;

/// Restarts with the cache, and as many without it.
const RESTARTS: (usize, usize) = (2, 20);
/// The example campaign of a new ledger.
const COUPON: u64 = 104;
/// Takes longer than any test waits.
const ENDLESS: usize = 60_000;
const STARTED_WITHIN: Duration = Duration::from_mins(2);
/// Less than the minute of processor time after which a compiler ends by itself.
const ENDED_WITHIN: Duration = Duration::from_secs(40);

impl Gateway {
    /// The processes that compile for this gateway: they run in its folder.
    fn compilers(&self) -> usize {
        let is_compiler = |process: &std::path::Path| {
            let command = std::fs::read(process.join("cmdline")).unwrap_or_default();
            let is_here = std::fs::read_link(process.join("cwd")).is_ok_and(|folder| folder == self.home.path());
            is_here && command.windows(14).any(|word| word == b"compile-policy")
        };
        let processes = std::fs::read_dir("/proc").expect("reads").flatten();
        processes.filter(|process| is_compiler(&process.path())).count()
    }

    /// It was killed, but with its low priority it may not have run since.
    async fn wait_for_no_compiler(&self) {
        eventually("the compiler ends", ENDED_WITHIN, async || (self.compilers() == 0).then_some(())).await;
    }

    /// Components that this process has compiled, and those whose code it has read from the disk.
    async fn compilations(&self) -> [f64; 2] {
        let metrics = self.metrics().await;
        ["compiled", "cached"].map(|outcome| metrics.value("sluice_policy_compilations_total", &[("outcome", outcome)]))
    }

    /// Returns the time until the first request is accepted.
    async fn restart_and_accept(&mut self, user: u64) -> Duration {
        self.stop().await;
        let begun = Instant::now();
        self.restart().await;
        assert!(Crowd::at(self, COUPON).request(user).await.is_accepted());
        begun.elapsed()
    }

    /// Replaces an active policy in the folder, and waits until it is being compiled.
    async fn drop_bomb(&self) {
        self.home.install("random", &bomb(ENDLESS));
        eventually("it is compiled", STARTED_WITHIN, async || (self.compilers() == 1).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compiling_takes_no_memory_of_the_gateway_and_ends_with_it() {
    const GROWTH_MAX: u64 = 16 * 1024 * 1024;
    let mut gateway = Gateway::start().await;
    let before = gateway.memory().now;
    gateway.drop_bomb().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let memory = gateway.memory();
    assert!(memory.now < before + GROWTH_MAX, "{before} bytes before, {memory}");
    let begun = Instant::now();
    gateway.stop().await;
    assert!(begun.elapsed() < ENDED_WITHIN, "stopped after {:?}", begun.elapsed());
    gateway.wait_for_no_compiler().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_compiler_ends_when_the_gateway_is_killed() {
    let mut gateway = Gateway::start().await;
    gateway.drop_bomb().await;
    gateway.kill().await;
    gateway.wait_for_no_compiler().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_three_policies_compiles_nothing_and_without_the_cache_each_once() {
    machine::exclusive();
    let mut gateway = Gateway::start().await;
    let restarts = soak::short_or_long(RESTARTS.0, RESTARTS.1);
    let (mut cached, mut compiled) = (Vec::new(), Vec::new());
    for user in (1..).step_by(2).take(restarts) {
        cached.push(gateway.restart_and_accept(user).await);
        assert_eq!(gateway.compilations().await, [0.0, 3.0]);
        std::fs::remove_dir_all(gateway.home.path().join("data/compiled")).expect("there is a cache");
        compiled.push(gateway.restart_and_accept(user + 1).await);
        assert_eq!(gateway.compilations().await, [3.0, 0.0]);
    }
    let (cached, compiled) = (Latencies::of(cached), Latencies::of(compiled));
    println!("from the start to the first 202, {restarts} times: with the cache {cached}; without it {compiled}");
}
