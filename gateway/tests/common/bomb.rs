//! Policies that are small, and take very long to compile.

const WORLD: &str = include_str!("shard_picker.wat");
const LOCALS: usize = 200;

/// A shard picker with one function of this many statements. Each may change any of its variables, so the compiler has to
/// follow all of them through every branch.
pub(crate) fn bomb(statements: usize) -> Vec<u8> {
    let locals = "(local i64)".repeat(LOCALS);
    let statement = |number: usize| {
        let [from, to] = [number, number * 7 + 1].map(|local| local % LOCALS + 1);
        format!("local.get 0 (if (then local.get {from} local.get {to} i64.add local.set {to}))")
    };
    let body: String = (1..=statements).map(statement).collect();
    let core = format!(
        r#"(core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
            (func (export "configure") (param i32 i32) (result i32) i32.const 16)
            (func (export "pick") (param i64 i64 i64 i64 i64 i32 i32 i32 i32) (result i32) i32.const 0)
            (func (param i32) {locals} (loop {body} local.get 0 br_if 0)))"#
    );
    wat::parse_str(format!("(component {core} {WORLD})")).expect("valid WebAssembly text")
}
