//! Components whose decisions trap, loop or take memory, each in all three hooks.

use super::guest::Expected::{self, Decides, Fails};
use super::guest::Guest;
use super::text::{Hook, Text, on_requests, spin};

const TRAPS: Expected = Fails(&["trap", "busy"]);
const LOOPS: Expected = Fails(&["deadline"]);
const HOARDS: Expected = Fails(&["memory", "deadline"]);
const FOREVER: &str = "(loop $again (br $again))";
const TABLE: &str = "(table $t 1 funcref) (type $f (func)) (type $g (func (param i64)))";

/// Name, more fields of the module, instructions of a decision, and what follows.
const CALLS: [(&str, &str, &str, Expected); 16] = [
    ("unreachable", "", "unreachable", TRAPS),
    ("divide-by-zero", "", "(drop (i64.div_u (local.get $user) (i64.const 0)))", TRAPS),
    ("no-integer", "", "(drop (i32.trunc_f64_s (f64.const nan)))", TRAPS),
    ("read-outside", "", "(drop (i64.load (i32.const 0x7fffffff)))", TRAPS),
    ("write-outside", "", "(i64.store (i32.const -8) (local.get $user))", TRAPS),
    ("call-null", TABLE, "(call_indirect $t (type $f) (i32.const 0))", TRAPS),
    ("call-outside", TABLE, "(call_indirect $t (type $f) (i32.const 99))", TRAPS),
    ("call-other-type", CALL_OTHER_TYPE, "(call_indirect $t (type $g) (i64.const 0) (i32.const 0))", TRAPS),
    ("recurse", RECURSE, "(drop (call $deep (local.get $user)))", TRAPS),
    ("tail-call", "(func $next (return_call $next))", "(call $next)", LOOPS),
    ("loop", "", FOREVER, LOOPS),
    ("fill", "", FILL, LOOPS),
    ("hoard", "", "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))", HOARDS),
    ("hoard-at-once", "", "(drop (memory.grow (i32.const 65535)))", HOARDS),
    ("hoard-table", TABLE, "(loop $again (drop (table.grow $t (ref.null func) (i32.const 999))) (br $again))", HOARDS),
    // The instance is replaced before its memory is full.
    ("leak", "", "(drop (memory.grow (i32.const 1)))", Decides),
];

const CALL_OTHER_TYPE: &str = "(type $f (func)) (type $g (func (param i64))) (func $a (type $f))
    (table $t funcref (elem $a))";
const RECURSE: &str = "(func $deep (param i64) (result i64)
    (i64.add (call $deep (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))";
/// Each round writes 8 MiB, without a check of the deadline in between.
const FILL: &str = "(if (i32.lt_u (memory.size) (i32.const 128)) (then (drop (memory.grow (i32.const 127)))))
    (loop $again (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x7fffff)) (br $again))";

pub(super) fn guests() -> Vec<Guest> {
    let of_hook = |hook| {
        let text = |fields: &str, decide: &str| Text {
            fields: fields.to_owned(),
            decide: on_requests(decide),
            ..Text::default()
        };
        let calls = CALLS
            .iter()
            .map(move |(name, fields, decide, expected)| Guest::new(name, hook, &text(fields, decide), *expected));
        let slow = Guest::new("2-ms-a-call", hook, &text("", &spin(2_000_000)), Decides);
        let long = Guest::new("1-s-deadline", hook, &text("", FOREVER), LOOPS).with_deadline_ms(1000);
        calls.chain([slow, long])
    };
    Hook::ALL.into_iter().flat_map(of_hook).collect()
}
