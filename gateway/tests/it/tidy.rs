//! Rules about the source text that neither the compiler nor Clippy can check.

mod configuration;
mod cycles;
mod lengths;
mod modules;
mod phrases;

use std::path::Path;

use modules::Modules;

fn sources() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

#[test]
fn modules_use_only_modules_that_lib_rs_lists_after_them() {
    let library = Modules::read(&sources().join("lib.rs"));
    let order = library.listed();
    assert!(order.len() > 10, "{order:?}");
    let position = |module: &str| order.iter().position(|listed| *listed == module);
    let named = library.named_modules();
    let upwards: Vec<String> = named
        .iter()
        .filter(|named| position(&named.to) < position(&named.from))
        .map(|named| format!("{}:{} uses crate::{}", named.file, named.line, named.to))
        .collect();
    assert!(named.len() > 50, "only {} uses of other modules were found", named.len());
    assert!(upwards.is_empty(), "lib.rs lists these modules before the module that uses them:\n{}", upwards.join("\n"));
}

#[test]
fn files_do_not_import_each_other_in_a_cycle() {
    let mut report = Vec::new();
    for root in ["lib.rs", "main.rs"] {
        let modules = Modules::read(&sources().join(root));
        report.extend(cycles::among(&modules.uses()));
    }
    assert!(
        report.is_empty(),
        "{} import cycles. Move what both files need into a file of its own. A re-export in a parent is no import, \
         and a parent may call functions of its own children by path.\n\n{}",
        report.len(),
        report.join("\n")
    );
}

#[test]
fn unclear_phrases_do_not_come_back() {
    let found = phrases::found_in(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")));
    assert!(
        found.is_empty(),
        "{} unclear phrases; tests/it/tidy/phrases.rs says what to write instead:\n{}",
        found.len(),
        found.join("\n")
    );
}

/// Length is a hint to a reviewer, not a limit: `cargo test --test it tidy::prints -- --nocapture`.
#[test]
fn prints_the_longest_files_and_functions() {
    let lengths = lengths::of(sources());
    assert!(lengths.functions.len() > 100, "only {} functions were found", lengths.functions.len());
    for (what, list) in [("file", &lengths.files), ("function", &lengths.functions)] {
        for (lines, name) in list.iter().take(5) {
            println!("{what} of {lines} lines: {name}");
        }
    }
}

#[test]
fn the_configuration_reference_is_current() {
    assert_current("configuration.md", &configuration::page(sources()));
}

#[test]
fn the_descriptions_of_the_listeners_are_current() {
    for (name, document) in
        [("openapi.json", sluice::http::public_document()), ("openapi-admin.json", sluice::http::admin_document())]
    {
        assert_current(name, &(document.to_pretty_json().expect("a document is JSON") + "\n"));
    }
}

#[test]
fn the_page_of_reasons_is_current() {
    assert_current("reasons.md", &sluice::http::reasons_page());
}

/// Compares a generated file in `docs/` with what the sources say, or writes it if `UPDATE_DOCS` is set.
fn assert_current(name: &str, generated: &str) {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, generated).expect("the file is written");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == generated,
        "docs/{name} is out of date: run `UPDATE_DOCS=1 cargo test -p sluice --test it tidy::`"
    );
}
