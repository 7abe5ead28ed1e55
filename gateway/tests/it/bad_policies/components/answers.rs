//! Components that answer nonsense, or break the rules of the canonical ABI.

use super::guest::Expected::{self, Decides, Fails};
use super::guest::Guest;
use super::text::Hook::{RateShaper, ShardPicker, UserLimit};
use super::text::{Text, data, on_requests};

const INVALID: Expected = Fails(&["answer"]);
const INVALID_OR_TRAP: Expected = Fails(&["answer", "trap", "busy"]);

/// A verdict in memory, and the text of a code.
const VERDICT_AT: u32 = 128;
const CODE_AT: u32 = 256;
/// The case of each variant that holds a rejection.
const REFUSE: u32 = 1;
const SHED: u32 = 2;

/// Answers with this verdict, but for trial calls.
fn answers(verdict: &[u32], code: &str) -> Text {
    Text {
        fields: format!("{} (data (i32.const {CODE_AT}) \"{code}\")", data(VERDICT_AT, verdict)),
        decide: on_requests(&format!("(return (i32.const {VERDICT_AT}))")),
        ..Text::default()
    }
}

/// A rejection with a code of this many bytes.
fn rejects(case: u32, code: &str, bytes: u32) -> Text {
    answers(&[case, CODE_AT, bytes, 0, 0], code)
}

fn picks(number: &str) -> Text {
    Text { decide: on_requests(&format!("(return (i32.const {number}))")), ..Text::default() }
}

/// The host passes the shards through it. It stays correct until the first request, because the host may not call it
/// for trial calls alone.
fn reallocates(instructions: &str) -> Text {
    Text {
        fields: "(global $called (mut i64) (i64.const 0))".to_owned(),
        decide: "(global.set $called (i64.add (global.get $called) (i64.const 1)))".to_owned(),
        realloc: format!("(if (i64.ne (global.get $called) (i64.const 0)) (then {instructions})) i32.const 4096"),
        ..Text::default()
    }
}

fn returns(then: &str) -> Text {
    Text {
        fields: format!("(func (export \"after\") (param i32) {then})"),
        lift: "(post-return (core func $i \"after\"))".to_owned(),
        ..Text::default()
    }
}

fn in_utf_16() -> Text {
    let rejects = rejects(REFUSE, "\\00\\d8\\00\\d8", 2);
    Text { lift: "string-encoding=utf16".to_owned(), ..rejects }
}

pub(super) fn guests() -> Vec<Guest> {
    let longest = "A".repeat(65);
    let mut guests = vec![
        Guest::new("no-such-shard", ShardPicker, &picks("4000000000"), INVALID),
        Guest::new("last-shard-and-one", ShardPicker, &picks("12"), INVALID),
        Guest::new("stall", RateShaper, &answers(&[1, u32::MAX], ""), Decides),
        Guest::new("realloc-outside", ShardPicker, &reallocates("(return (i32.const -16))"), INVALID_OR_TRAP),
        Guest::new("realloc-unaligned", ShardPicker, &reallocates("(return (i32.const 4099))"), INVALID_OR_TRAP),
        Guest::new("realloc-traps", ShardPicker, &reallocates("unreachable"), INVALID_OR_TRAP),
        Guest::new("realloc-loops", ShardPicker, &reallocates("(loop $a (br $a))"), Fails(&["deadline"])),
        Guest::new("return-traps", ShardPicker, &returns("unreachable"), Expected::Refused("trial")),
        Guest::new("return-loops", ShardPicker, &returns("(loop $a (br $a))"), Expected::Refused("trial")),
        Guest::new("code-in-utf-16", UserLimit, &in_utf_16(), INVALID_OR_TRAP),
    ];
    for (hook, case) in [(UserLimit, REFUSE), (RateShaper, SHED)] {
        let rejection = |name, code, bytes| Guest::new(name, hook, &rejects(case, code, bytes), INVALID_OR_TRAP);
        guests.extend([
            rejection("code-of-two-headers", "A\\0d\\0aset-cookie: b=c", 17),
            rejection("code-sold-out", "SOLD_OUT", 8),
            rejection("code-empty", "", 0),
            rejection("code-too-long", &longest, 65),
            rejection("code-of-a-page", "", 0xff00),
            rejection("code-past-the-end", "", u32::MAX),
            rejection("code-not-utf-8", "\\ff\\fe\\fd", 3),
            Guest::new("no-such-case", hook, &answers(&[7, CODE_AT, 1], "A"), INVALID_OR_TRAP),
            Guest::new("verdict-outside", hook, &picks("-4"), INVALID_OR_TRAP),
            Guest::new("verdict-unaligned", hook, &picks("129"), INVALID_OR_TRAP),
        ]);
    }
    guests
}
