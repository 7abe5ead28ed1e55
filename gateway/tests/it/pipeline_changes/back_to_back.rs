//! Changes one after the other, as fast as the gateway makes them.

use std::time::Instant;

use serde_json::json;

use crate::harness::{Gateway, Resources, machine, soak};
use crate::load;

/// The short form detects a leak of 42 KiB per change, the long form one of 2 KiB.
const CHANGES: (usize, usize) = (500, 10_000);
/// Memory is first measured after a fifth of the changes, when caches and pools are full.
const WARM_UP_SHARE: usize = 5;
/// An allocator may keep this much of its largest use.
const FLAT_WITHIN_BYTES: u64 = 16 << 20;
/// How many more than during the warm-up. A leak of one in ten changes is more, also in the short form.
const MORE_MAX: usize = 40;

/// Returns the most that the gateway held after any of the changes.
async fn change(gateway: &Gateway, pickers: impl Iterator<Item = &'static str>) -> Resources {
    let mut most = gateway.resources();
    for picker in pickers {
        gateway.set_shard_picker(picker).await;
        most = most.max(gateway.resources());
    }
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_back_to_back_leave_memory_maps_threads_and_files_flat() {
    machine::exclusive();
    let gateway = Gateway::start().await;
    let changes = soak::short_or_long(CHANGES.0, CHANGES.1);
    let warm_up = changes / WARM_UP_SHARE;
    let mut pickers = ["hash-user", "random", "weighted"].into_iter().cycle().take(changes);
    let begun = Instant::now();
    let first = change(&gateway, pickers.by_ref().take(warm_up)).await;
    let after_warm_up = gateway.memory();
    println!("at most {first} during {warm_up} changes; {after_warm_up} then");
    let rest = change(&gateway, pickers).await;
    let at_the_end = gateway.memory();
    println!("at most {rest} during the rest of {changes}; {at_the_end} then");
    println!("{:.0} changes/s", load::per_second(changes, begun));
    assert!(at_the_end.now < after_warm_up.now + FLAT_WITHIN_BYTES, "{after_warm_up}, then {at_the_end}");
    for (name, first, rest) in [
        ("memory maps", first.memory_maps, rest.memory_maps),
        ("threads", first.threads, rest.threads),
        ("open files", first.open_files, rest.open_files),
    ] {
        assert!(rest <= first + MORE_MAX, "{rest} {name}, after {first}");
    }
    assert_eq!(gateway.pipeline().await["generation"], json!(changes + 1));
}
