//! Versions of one policy that decide in the same way.

use std::path::Path;

/// The id of a custom section, which the runtime ignores.
const CUSTOM: u8 = 0;

/// A shard picker whose digest no other number has.
pub(crate) fn version(number: u64) -> Vec<u8> {
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/weighted.wasm");
    let mut component = std::fs::read(policy).expect("run policies/build first");
    let name = format!("version-{number}");
    // Both lengths are below 128, so each is one byte in LEB128.
    let length = u8::try_from(name.len()).expect("short");
    component.extend([CUSTOM, length + 1, length]);
    component.extend(name.into_bytes());
    component
}
