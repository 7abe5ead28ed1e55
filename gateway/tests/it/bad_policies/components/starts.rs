//! Components that misbehave before their first decision.

use super::guest::Expected::{self, Decides, Fails, Refused};
use super::guest::Guest;
use super::text::Hook::{self, ShardPicker};
use super::text::{Text, data, on_requests, spin};

const TRIAL: Expected = Refused("the policy failed its trial");
const INVALID: Expected = Refused("not a valid component");
/// Behind the configuration, which the host writes to 4096.
const LIST_AT: u32 = 8192;
const EXPORTED: &str = "(memory (export \"memory\") 1)";

fn configures(instructions: &str) -> Text {
    Text { configure: instructions.to_owned(), ..Text::default() }
}

/// `configure` returns these numbers: 0 and a list of measures, or 1 and the text of an error.
fn declares(numbers: &[u32], more: &str) -> Text {
    Text { fields: format!("{} {more}", data(16, numbers)), ..Text::default() }
}

fn list(bytes: &str) -> String {
    format!("(data (i32.const {LIST_AT}) \"{bytes}\")")
}

fn has(fields: &str) -> Text {
    Text { fields: fields.to_owned(), ..Text::default() }
}

fn remembers(memories: &str) -> Text {
    Text { memories: memories.to_owned(), ..Text::default() }
}

fn contains(more: &str) -> Text {
    Text { more: more.to_owned(), ..Text::default() }
}

fn instances(count: usize) -> String {
    format!("(core module $empty) {}", "(core instance (instantiate $empty))".repeat(count))
}

/// Fills its memory to the limit of 16 MiB, in every instance.
fn fills_its_memory() -> Text {
    Text {
        memories: "(memory (export \"memory\") 255)".to_owned(),
        configure: "(memory.fill (i32.const 4096) (i32.const 1) (i32.const 0xfe0000))".to_owned(),
        ..Text::default()
    }
}

/// It takes a while to configure, and loses an instance for one user in ten.
fn starts_slowly_and_traps() -> Text {
    Text {
        // A slow machine must do it within the second that a policy has for this.
        configure: spin(100_000_000),
        decide: on_requests("(if (i64.eqz (i64.rem_u (local.get $user) (i64.const 10))) (then unreachable))"),
        ..Text::default()
    }
}

fn picker(name: &str, text: &Text, expected: Expected) -> Guest {
    Guest::new(name, ShardPicker, text, expected)
}

pub(super) fn guests() -> Vec<Guest> {
    let full_memory = Hook::ALL.map(|hook| Guest::new("full-memory", hook, &fills_its_memory(), Decides));
    let slow = picker("slow-start-and-traps", &starts_slowly_and_traps(), Fails(&["trap", "busy"]));
    [configurations(), too_large(), foreign(), full_memory.into(), vec![slow, large_section()]].concat()
}

fn configurations() -> Vec<Guest> {
    vec![
        picker("configure-traps", &configures("unreachable"), TRIAL),
        picker("configure-loops", &configures("(loop $a (br $a))"), TRIAL),
        picker("configure-hoards", &configures("(drop (memory.grow (i32.const 300)))"), TRIAL),
        picker("configure-outside", &configures("(return (i32.const -4))"), TRIAL),
        picker("configure-no-such-case", &declares(&[9], ""), TRIAL),
        picker("measures-17", &declares(&[0, LIST_AT, 17], ""), Refused("at most 16 measures")),
        picker("measures-4-million", &declares(&[0, LIST_AT, 4_000_000], ""), TRIAL),
        picker("measures-outside", &declares(&[0, u32::MAX - 7, 1], ""), TRIAL),
        picker("measure-of-rate-0", &declares(&[0, LIST_AT, 1], &list("\\01")), Refused("from 1 up")),
        picker("measure-no-such-case", &declares(&[0, LIST_AT, 1], &list("\\09")), TRIAL),
        picker("error-of-a-page", &declares(&[1, LIST_AT, 0xd000], ""), Refused("shard-picker")),
        picker("error-not-utf-8", &declares(&[1, LIST_AT, 2], &list("\\ff\\ff")), TRIAL),
        picker("start-traps", &has("(func $s unreachable) (start $s)"), TRIAL),
        picker("start-loops", &has("(func $s (loop $a (br $a))) (start $s)"), TRIAL),
        picker("data-outside", &has("(data (i32.const 65535) \"ab\")"), Refused("")),
    ]
}

fn too_large() -> Vec<Guest> {
    vec![
        picker("memories-5", &remembers(&format!("{EXPORTED}{}", "(memory 1)".repeat(4))), Refused("memor")),
        picker("memories-91", &remembers(&format!("{EXPORTED}{}", "(memory 1)".repeat(90))), Refused("memor")),
        picker("memories-of-17-mib", &remembers(&format!("{EXPORTED}{}", "(memory 90)".repeat(3))), Refused("memor")),
        picker("memory-of-4-gib", &remembers("(memory (export \"memory\") 65536)"), Refused("memor")),
        picker("tables-9", &has(&"(table 1 funcref)".repeat(9)), Refused("table")),
        picker("table-of-10-million", &has("(table 10000000 funcref)"), Refused("table")),
        picker("instances-17", &contains(&instances(16)), Refused("instance")),
        picker("instances-900", &contains(&instances(900)), Refused("")),
    ]
}

/// They use what no policy may use.
fn foreign() -> Vec<Guest> {
    vec![
        picker("memory-64", &remembers(&format!("{EXPORTED}(memory i64 1)")), INVALID),
        picker("memory-shared", &remembers(&format!("{EXPORTED}(memory 1 2 shared)")), Refused("")),
        picker(
            "objects",
            &has("(type $s (struct (field i64))) (func (result (ref $s)) (struct.new_default $s))"),
            INVALID,
        ),
        picker("exceptions", &has("(tag $e) (func (throw $e))"), Refused("")),
        picker("imports-a-clock", &contains(IMPORTS_A_CLOCK), Refused("must not import anything")),
    ]
}

const IMPORTS_A_CLOCK: &str =
    r#"(import "wasi:clocks/monotonic-clock@0.2.0" (instance (export "now" (func (result u64)))))"#;

/// 30 MiB that mean nothing, just below the largest component.
fn large_section() -> Guest {
    const BYTES: usize = 30 << 20;
    let mut component = Text::default().component(ShardPicker);
    // A custom section: the number 0, then its length in LEB128. Its name is empty.
    component.extend([0, 0x80, 0x80, 0x80, 0x0f]);
    component.resize(component.len() + BYTES, 0);
    Guest::of("large-section", ShardPicker, component, Decides)
}
