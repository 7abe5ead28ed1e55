//! Shard pickers in WebAssembly text, so that a test says in two lines how one misbehaves.

use crate::policy::component::ComponentBytes;

/// A picker whose `configure` and `pick` run these instructions first. `pick` then answers with shard 0; its local 2
/// is the user.
pub(super) fn picker(configure: &str, pick: &str) -> ComponentBytes {
    with_memories("(memory (export \"memory\") 1)", configure, pick)
}

/// As [`picker`], with these memories. The one that is exported as `memory` is the one of the contract.
pub(super) fn with_memories(memories: &str, configure: &str, pick: &str) -> ComponentBytes {
    let core = format!(
        r#"(core module $m
            {memories}
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
            (func (export "configure") (param i32 i32) (result i32) (local $n i64) {configure} i32.const 16)
            (func (export "pick") (param i64 i64 i64 i64 i64 i32 i32 i32 i32) (result i32) (local $n i64)
                {pick} i32.const 0))"#
    );
    ComponentBytes::new(wat::parse_str(format!("(component {core} {WORLD})")).expect("valid WebAssembly text"))
}

/// Instructions that take time in proportion to `rounds`.
pub(super) fn spin(rounds: u64) -> String {
    format!(
        "i64.const {rounds} local.set $n
        (loop $again (br_if $again (i32.eqz (i64.eqz (local.tee $n (i64.sub (local.get $n) (i64.const 1)))))))"
    )
}

const WORLD: &str = r#"
    (core instance $i (instantiate $m))
    (alias core export $i "memory" (core memory $memory))
    (alias core export $i "realloc" (core func $realloc))
    (alias core export $i "configure" (core func $core-configure))
    (alias core export $i "pick" (core func $core-pick))
    (type $request' (record (field "coupon-id" u64) (field "policy-id" u64) (field "user-id" u64)
        (field "arrived-at-ms" u64) (field "entropy" u64)))
    (export $request "request" (type $request'))
    (type $scope' (enum "user-of-coupon" "user" "coupon" "gateway"))
    (export $scope "scope" (type $scope'))
    (type $window' (record (field "scope" $scope) (field "length-ms" u64)))
    (export $window "window" (type $window'))
    (type $rate' (record (field "scope" $scope) (field "requests" u32) (field "per-ms" u32) (field "burst" u32)))
    (export $rate "rate" (type $rate'))
    (type $measure' (variant (case "count" $window) (case "bucket" $rate) (case "sequence" $scope)))
    (export $measure "measure" (type $measure'))
    (type $bucket' (variant (case "conforming") (case "conforming-in-ms" u32)))
    (export $bucket "bucket-state" (type $bucket'))
    (type $measured' (variant (case "count" u64) (case "bucket" $bucket) (case "sequence" u64)))
    (export $measured "measured" (type $measured'))
    (type $shard' (record (field "shard-no" u32) (field "remaining" u64) (field "unsettled" u64)
        (field "lag-records" u64)))
    (export $shard "shard" (type $shard'))
    (type $measures (list $measure))
    (type $results (list $measured))
    (type $shards (list $shard))
    (type $configured (result $measures (error string)))
    (func $configure (param "config" string) (result $configured)
        (canon lift (core func $core-configure) (memory $memory) (realloc $realloc)))
    (func $pick (param "r" $request) (param "m" $results) (param "shards" $shards) (result u32)
        (canon lift (core func $core-pick) (memory $memory) (realloc $realloc)))
    (export "configure" (func $configure))
    (export "pick" (func $pick))
"#;
