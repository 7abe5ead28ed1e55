//! Small components that take gigabytes, or minutes, to compile.

use std::fmt::Write;

use super::guest::Expected::RefusedOrDecides;
use super::guest::Guest;
use super::text::Hook::ShardPicker;
use super::text::Text;

pub(super) fn guests() -> Vec<Guest> {
    let bomb = |name, fields: String, more: String| {
        let text = Text { fields, more, ..Text::default() };
        Guest::new(name, ShardPicker, &text, RefusedOrDecides)
    };
    vec![
        bomb("one-huge-function", one_huge_function(), String::new()),
        bomb("many-functions", many_functions(), String::new()),
        bomb("wide-branches", wide_branches(), String::new()),
        bomb("many-locals", many_locals(), String::new()),
        bomb("doubled-instances", String::new(), doubled_instances()),
    ]
}

/// 6 MB of instructions, all of whose values are alive until the end.
fn one_huge_function() -> String {
    const VALUES: usize = 1_000_000;
    let loads = "(i64.load (local.get 0))".repeat(VALUES);
    let sums = "i64.add ".repeat(VALUES - 1);
    format!("(func (export \"huge\") (param i32) (result i64) {loads} {sums})")
}

/// As many functions as 3 MB have room for.
fn many_functions() -> String {
    "(func (param i64) (result i64) (i64.mul (local.get 0) (local.get 0)))".repeat(300_000)
}

/// A thousand branches with a thousand targets each, and every target may see another value.
fn wide_branches() -> String {
    const BLOCKS: usize = 1000;
    let targets: Vec<_> = (1..=BLOCKS).map(|target| target.to_string()).collect();
    let step = "(local.set $v (i32.add (local.get $v) (i32.const 1)))";
    let branch = format!("{step} (if (local.get $v) (then (br_table {} (local.get $v))))", targets.join(" "));
    let ends = format!(") {step}").repeat(BLOCKS);
    let branches = branch.repeat(BLOCKS);
    format!("(func (export \"wide\") (param $v i32) {} {branches} {ends})", "(block ".repeat(BLOCKS))
}

/// Every block may change another of 40,000 variables.
fn many_locals() -> String {
    const LOCALS: usize = 40_000;
    let mut text = "(func (export \"locals\") (param $c i32)".to_owned();
    for local in 0..LOCALS {
        let _ = write!(text, "(local $l{local} i64)");
    }
    text.push_str("(loop $again ");
    for local in 1..LOCALS {
        let before = local - 1;
        let _ = write!(text, "(if (local.get $c) (then (local.set $l{local} (local.get $l{before}))))");
    }
    text + "(br_if $again (local.get $c))))"
}

/// Each component instantiates the one before twice: 2²⁰ instances in a kilobyte.
fn doubled_instances() -> String {
    (1..20).fold("(component $c0 (core module $m) (core instance (instantiate $m)))".to_owned(), |text, depth| {
        let before = depth - 1;
        let inner = format!("(alias outer 1 $c{before} (component $c))");
        format!("{text} (component $c{depth} {inner} (instance (instantiate $c)) (instance (instantiate $c)))")
    }) + "(instance (instantiate $c19))"
}
