//! A component that is hard to compile: what the gateway's process uses meanwhile, and what is left of the compiler.

use std::time::{Duration, Instant};

use crate::bomb::bomb;
use crate::harness::{Gateway, eventually};

/// Takes longer than any test waits.
const ENDLESS: usize = 60_000;
const STARTED_WITHIN: Duration = Duration::from_mins(1);
const ENDED_WITHIN: Duration = Duration::from_secs(20);

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
    assert_eq!(gateway.compilers(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_compiler_ends_when_the_gateway_is_killed() {
    let mut gateway = Gateway::start().await;
    gateway.drop_bomb().await;
    gateway.kill().await;
    eventually("the compiler ends", ENDED_WITHIN, async || (gateway.compilers() == 0).then_some(())).await;
}
