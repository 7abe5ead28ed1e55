use super::Modules;

/// A crate in a temporary folder: files by name.
fn crate_of(files: &[(&str, &str)]) -> Modules {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a source file");
    }
    Modules::read(&folder.path().join("lib.rs"))
}

#[test]
fn every_name_of_a_nested_import_is_seen() {
    let modules = crate_of(&[
        ("lib.rs", "mod user; mod a; mod b; mod c; mod d;"),
        (
            "user.rs",
            "use crate::{\n    a::{self, X as Y, deep::{Z}},\n    b,\n    c::*,\n};\nfn f() { g!(crate::d::W) }",
        ),
        ("a.rs", "pub struct X; pub mod deep { pub struct Z; }"),
        ("b.rs", ""),
        ("c.rs", ""),
        ("d.rs", "pub struct W;"),
    ]);
    let named: Vec<(String, usize)> = modules.named_modules().into_iter().map(|named| (named.to, named.line)).collect();
    let named: Vec<(&str, usize)> = named.iter().map(|(to, line)| (to.as_str(), *line)).collect();
    assert_eq!(named, [("a", 2), ("a", 2), ("a", 2), ("b", 3), ("c", 4), ("d", 6)]);
}

#[test]
fn a_use_leads_through_re_exports_to_the_file_that_defines_the_item() {
    let modules = crate_of(&[
        ("lib.rs", "mod port; mod user;"),
        ("port.rs", "mod open; mod adapter; pub use open::open; pub trait Port {} fn f() { open::log() }"),
        ("port/open.rs", "use super::adapter; pub fn open() { adapter::Adapter::new() } pub fn log() {}"),
        ("port/adapter.rs", "use crate::port::Port; pub struct Adapter; impl Port for Adapter {}"),
        ("user.rs", "use crate::port; fn start() { port::open() } #[cfg(test)] mod tests { use crate::port::Port; }"),
    ]);
    let mut uses: Vec<(String, String)> = modules.uses().into_iter().map(|edge| (edge.from, edge.to)).collect();
    uses.sort();
    uses.dedup();
    let expected = [("port/adapter.rs", "port.rs"), ("port/open.rs", "port/adapter.rs"), ("user.rs", "port/open.rs")];
    assert_eq!(uses, expected.map(|(from, to)| (from.to_owned(), to.to_owned())));
}
