//! Components in WebAssembly text: a core module with a few instructions of its own, in the world of a hook.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    RateShaper,
    UserLimit,
    ShardPicker,
}

/// What differs between one component and the next. Instructions run before the function returns a valid result.
#[derive(Clone)]
pub(crate) struct Text {
    /// The one that is exported as `memory` is the one of the contract.
    pub(crate) memories: String,
    /// More fields of the core module.
    pub(crate) fields: String,
    pub(crate) realloc: String,
    pub(crate) configure: String,
    /// May use `$user`, `$entropy` and the free local `$n`.
    pub(crate) decide: String,
    /// More options of the export that decides.
    pub(crate) lift: String,
    /// More of the component.
    pub(crate) more: String,
}

impl Default for Text {
    fn default() -> Self {
        let (memories, realloc) = ("(memory (export \"memory\") 1)".to_owned(), "i32.const 4096".to_owned());
        let [fields, configure, decide, lift, more] = [const { String::new() }; 5];
        Self { memories, fields, realloc, configure, decide, lift, more }
    }
}

impl Hook {
    pub(crate) const ALL: [Self; 3] = [Self::RateShaper, Self::UserLimit, Self::ShardPicker];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RateShaper => "rate-shaper",
            Self::UserLimit => "user-limit",
            Self::ShardPicker => "shard-picker",
        }
    }

    /// The policy that the default pipeline has here.
    pub(crate) const fn default_policy(self) -> &'static str {
        match self {
            Self::RateShaper => "token-bucket",
            Self::UserLimit => "quota",
            Self::ShardPicker => "random",
        }
    }

    /// The export that decides, the name and the core types of its last argument, and a valid result.
    const fn function(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::RateShaper => ("shape", "l", "(param i32 f64 f64 i64 f64)", "i32.const 64"),
            Self::UserLimit => ("admit", "u", "(param i32 i64 i64)", "i32.const 64"),
            Self::ShardPicker => ("pick", "shards", "(param i32 i32)", "i32.const 0"),
        }
    }

    /// Names the types of the hook, and `$argument` and `$verdict`.
    const fn types(self) -> &'static str {
        match self {
            Self::RateShaper => SHAPER_TYPES,
            Self::UserLimit => LIMIT_TYPES,
            Self::ShardPicker => PICKER_TYPES,
        }
    }
}

impl Text {
    /// Runs these instructions at every decision.
    pub(crate) fn deciding(decide: &str) -> Self {
        Self { decide: decide.to_owned(), ..Self::default() }
    }

    pub(crate) fn component(&self, hook: Hook) -> Vec<u8> {
        let Self { memories, fields, realloc, configure, decide, lift, more } = self;
        let (export, name, argument, result) = hook.function();
        let types = hook.types();
        let text = format!(
            r#"(component
            (core module $m
                {memories} {fields}
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $n i64) {realloc})
                (func (export "configure") (param i32 i32) (result i32) (local $n i64) {configure} i32.const 16)
                (func (export "decide") (param $coupon i64) (param $terms i64) (param $user i64) (param $arrived i64)
                    (param $entropy i64) (param $measured i32) (param $measures i32) {argument} (result i32)
                    (local $n i64) {decide} {result}))
            (core instance $i (instantiate $m))
            (alias core export $i "memory" (core memory $memory))
            (alias core export $i "realloc" (core func $realloc))
            {COMMON_TYPES} {types}
            (func $configure (param "config" string) (result $configured)
                (canon lift (core func $i "configure") (memory $memory) (realloc $realloc)))
            (func $decide (param "r" $request) (param "m" $results) (param "{name}" $argument) (result $verdict)
                (canon lift (core func $i "decide") (memory $memory) (realloc $realloc) {lift}))
            (export "configure" (func $configure))
            (export "{export}" (func $decide))
            {more})"#
        );
        wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Trial calls come from user 0: a component that passes them becomes active.
pub(crate) fn on_requests(instructions: &str) -> String {
    format!("(if (i64.ne (local.get $user) (i64.const 0)) (then {instructions}))")
}

/// Takes time in proportion to `rounds`: about a nanosecond for each.
pub(crate) fn spin(rounds: u64) -> String {
    format!(
        "(local.set $n (i64.const {rounds}))
        (loop $again (br_if $again (i32.eqz (i64.eqz (local.tee $n (i64.sub (local.get $n) (i64.const 1)))))))"
    )
}

/// These 32-bit numbers in the memory at this address.
pub(crate) fn data(address: u32, numbers: &[u32]) -> String {
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
    let hex: String = bytes.map(|byte| format!("\\{byte:02x}")).collect();
    format!("(data (i32.const {address}) \"{hex}\")")
}

const COMMON_TYPES: &str = r#"
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
    (type $rejection' (record (field "code" string) (field "retry-after-ms" (option u32))))
    (export $rejection "rejection" (type $rejection'))
    (type $measures (list $measure))
    (type $results (list $measured))
    (type $configured (result $measures (error string)))
"#;

const SHAPER_TYPES: &str = r#"
    (type $load' (record (field "in-flight" u32) (field "arrivals-per-second" f64) (field "grants-per-second" f64)
        (field "lag-records" u64) (field "lag-seconds" f64)))
    (export $argument "load" (type $load'))
    (type $shaping' (variant (case "pass") (case "delay" u32) (case "shed" $rejection)))
    (export $verdict "shaping" (type $shaping'))
"#;

const LIMIT_TYPES: &str = r#"
    (type $usage' (record (field "per-user-limit" u32) (field "total" u64) (field "remaining" u64)))
    (export $argument "usage" (type $usage'))
    (type $admission' (variant (case "admit") (case "refuse" $rejection)))
    (export $verdict "admission" (type $admission'))
"#;

const PICKER_TYPES: &str = r#"
    (type $shard' (record (field "shard-no" u32) (field "remaining" u64) (field "unsettled" u64)
        (field "lag-records" u64)))
    (export $shard "shard" (type $shard'))
    (type $argument (list $shard))
    (type $verdict u32)
"#;
