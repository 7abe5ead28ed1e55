//! Shard pickers in WebAssembly text, so that a test says in two lines how one misbehaves.

use crate::policy::component::ComponentBytes;

/// A picker whose `configure` and `pick` run these instructions first. `pick` then answers with shard 0; its local 2
/// is the user.
pub(super) fn picker(configure: &str, pick: &str) -> ComponentBytes {
    with_memories(MEMORY, configure, pick)
}

/// As [`picker`], with these memories. The one that is exported as `memory` is the one of the contract.
pub(super) fn with_memories(memories: &str, configure: &str, pick: &str) -> ComponentBytes {
    component(memories, configure, pick, WORLD)
}

/// A picker whose parameters have other names than in the contract.
pub(super) fn with_other_parameters() -> ComponentBytes {
    let renamed =
        |world: String, name: &str| world.replace(&format!("(param \"{name}\" "), &format!("(param \"my-{name}\" "));
    let world = ["config", "r", "m", "shards"].into_iter().fold(WORLD.to_owned(), renamed);
    component(MEMORY, "", "", &world)
}

fn component(memories: &str, configure: &str, pick: &str, world: &str) -> ComponentBytes {
    let core = format!(
        r#"(core module $m
            {memories}
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
            (func (export "configure") (param i32 i32) (result i32) (local $n i64) {configure} i32.const 16)
            (func (export "pick") (param i64 i64 i64 i64 i64 i32 i32 i32 i32) (result i32) (local $n i64)
                {pick} i32.const 0))"#
    );
    ComponentBytes::unsigned(wat::parse_str(format!("(component {core} {world})")).expect("valid WebAssembly text"))
}

/// Instructions that take time in proportion to `rounds`.
pub(super) fn spin(rounds: u64) -> String {
    format!(
        "i64.const {rounds} local.set $n
        (loop $again (br_if $again (i32.eqz (i64.eqz (local.tee $n (i64.sub (local.get $n) (i64.const 1)))))))"
    )
}

const MEMORY: &str = "(memory (export \"memory\") 1)";
const WORLD: &str = include_str!("../../../tests/common/shard_picker.wat");
