//! Shard pickers in WebAssembly text that misbehave in one way.

const WORLD: &str = include_str!("shard_picker.wat");

/// Picks a shard by the entropy, which is local 4. The list of shards is at local 7, and its length in local 8; a shard
/// has 32 bytes and begins with its number.
const BY_ENTROPY: &str = "(i32.load (i32.add (local.get 7) (i32.mul (i32.const 32)
    (i32.wrap_i64 (i64.rem_u (local.get 4) (i64.extend_i32_u (local.get 8)))))))";

/// A picker that runs these instructions first.
fn picker(first: &str, pick: &str) -> Vec<u8> {
    let core = format!(
        r#"(core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
            (func (export "configure") (param i32 i32) (result i32) i32.const 16)
            (func (export "pick") (param i64 i64 i64 i64 i64 i32 i32 i32 i32) (result i32) (local $n i64)
                {first} {pick}))"#
    );
    wat::parse_str(format!("(component {core} {WORLD})")).expect("valid WebAssembly text")
}

pub(super) fn good() -> Vec<u8> {
    picker("", BY_ENTROPY)
}

/// In two of a hundred calls. The trial calls have small entropies.
pub(super) fn traps_sometimes() -> Vec<u8> {
    let is_chosen = "(i64.eq (i64.rem_u (i64.shr_u (local.get 4) (i64.const 8)) (i64.const 50)) (i64.const 7))";
    picker(&format!("(if {is_chosen} (then unreachable))"), BY_ENTROPY)
}

/// Takes a millisecond or two for a million turns, where a good one takes microseconds.
pub(super) fn slow(turns: u32) -> Vec<u8> {
    let spin = format!(
        "(local.set $n (i64.const {turns}))
        (loop $again (br_if $again (i32.eqz (i64.eqz (local.tee $n (i64.sub (local.get $n) (i64.const 1)))))))"
    );
    picker(&spin, BY_ENTROPY)
}

pub(super) fn always_shard_0() -> Vec<u8> {
    picker("", "(i32.const 0)")
}
