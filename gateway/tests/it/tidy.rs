//! The style guide that is a test.

use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of sources").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .collect()
}

/// The modules as `lib.rs` lists them.
fn modules(map: &str) -> Vec<&str> {
    map.lines()
        .filter_map(|line| line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "))?.strip_suffix(';'))
        .collect()
}

/// The top-level modules that a source names as `crate::module`.
fn uses(text: &str) -> Vec<String> {
    let flat = text.replace("crate::{", "crate::");
    let name = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    flat.split("crate::").skip(1).map(name).collect()
}

#[test]
fn no_module_uses_one_that_stands_before_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let map = std::fs::read_to_string(root.join("lib.rs")).expect("the map");
    let order = modules(&map);
    assert!(order.len() > 10, "{order:?}");
    let place = |module: &str| order.iter().position(|listed| *listed == module);
    let mut arrows = 0;
    for path in sources(&root) {
        let relative = path.strip_prefix(&root).expect("below the root").to_str().expect("utf-8");
        let module = relative.split('/').next().expect("a name").trim_end_matches(".rs");
        let Some(from) = place(module) else { continue };
        for used in uses(&std::fs::read_to_string(&path).expect("a source")) {
            let Some(to) = place(&used) else { continue };
            arrows += 1;
            assert!(to >= from, "{relative} uses crate::{used}, which stands before {module} in lib.rs");
        }
    }
    assert!(arrows > 50, "only {arrows} uses were found: the test looks in the wrong place");
}
