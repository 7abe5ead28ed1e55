//! How long the files and functions are.

use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, ItemFn, Signature};

/// Lines and names, longest first.
pub(super) struct Lengths {
    pub(super) files: Vec<(usize, String)>,
    pub(super) functions: Vec<(usize, String)>,
}

pub(super) fn of(folder: &Path) -> Lengths {
    let mut lengths = Lengths { files: Vec::new(), functions: Vec::new() };
    for path in rust_files(folder) {
        let text = std::fs::read_to_string(&path).expect("a source file is UTF-8");
        let name = path.strip_prefix(folder).expect("the file is in the folder").display().to_string();
        let source = syn::parse_file(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        lengths.files.push((text.lines().count(), name.clone()));
        Functions { file: &name, found: &mut lengths.functions }.visit_file(&source);
    }
    lengths.files.sort_by(|a, b| b.cmp(a));
    lengths.functions.sort_by(|a, b| b.cmp(a));
    lengths
}

struct Functions<'a> {
    file: &'a str,
    found: &'a mut Vec<(usize, String)>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &Signature, body: &Block) {
        let begin = signature.fn_token.span.start().line;
        let end = body.brace_token.span.close().end().line;
        self.found.push((end - begin + 1, format!("{} in {}:{begin}", signature.ident, self.file)));
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of sources").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .collect()
}
