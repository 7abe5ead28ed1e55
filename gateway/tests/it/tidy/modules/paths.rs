//! The paths in code and in `use`.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, UseTree, Visibility};

use super::items::is_test_only;
use super::{Kind, Names, Reference};

/// Collects the paths in code.
pub(super) struct Paths<'a> {
    pub(super) found: &'a mut Vec<Reference>,
    pub(super) in_test: bool,
}

impl Paths<'_> {
    fn push<'i>(&mut self, names: impl IntoIterator<Item = &'i Ident>) {
        let names: Vec<&Ident> = names.into_iter().collect();
        let Some(first) = names.first() else { return };
        let path = names.iter().map(ToString::to_string).collect();
        let line = first.span().start().line;
        self.found.push(Reference { path, line, in_test: self.in_test, kind: Kind::Code });
    }

    /// A macro's arguments need not be Rust, so their paths are looked for among the tokens.
    fn scan(&mut self, tokens: TokenStream) {
        let mut path: Vec<Ident> = Vec::new();
        let mut before = String::new();
        for tree in tokens {
            match tree {
                TokenTree::Ident(name) => {
                    if before != "::" {
                        self.push(&std::mem::take(&mut path));
                    }
                    // Neither a field, nor a method, nor a lifetime.
                    if !matches!(before.as_str(), "." | "'") {
                        path.push(name);
                    }
                    before.clear();
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' && before == ":" => before.push(':'),
                TokenTree::Punct(mark) => before = mark.as_char().to_string(),
                TokenTree::Literal(_) => before.clear(),
                TokenTree::Group(group) => {
                    self.push(&std::mem::take(&mut path));
                    before.clear();
                    self.scan(group.stream());
                }
            }
        }
        self.push(&path);
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.push(path.segments.iter().map(|segment| &segment.ident));
        visit::visit_path(self, path);
    }

    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        let leaves = leaves(&import.tree).into_iter();
        self.found.extend(leaves.map(|leaf| Reference {
            path: leaf.path,
            line: leaf.line,
            in_test: self.in_test,
            kind: Kind::Import,
        }));
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if call.path.is_ident("macro_rules") {
            return;
        }
        visit::visit_macro(self, call);
        self.scan(call.tokens.clone());
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        let in_test = self.in_test || is_test_only(&function.attrs);
        visit::visit_impl_item_fn(&mut Paths { found: &mut *self.found, in_test }, function);
    }

    /// `pub(in crate::log)` uses nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

/// One name that a `use` brings into scope.
pub(super) struct Leaf {
    pub(super) path: Names,
    pub(super) line: usize,
    /// `None` for a glob.
    pub(super) name: Option<String>,
}

pub(super) fn leaves(tree: &UseTree) -> Vec<Leaf> {
    fn walk(tree: &UseTree, path: &[String], leaves: &mut Vec<Leaf>) {
        let with = |name: &Ident| [path, &[name.to_string()]].concat();
        let mut leaf = |line: &Ident, path: Names, name: Option<String>| {
            leaves.push(Leaf { path, line: line.span().start().line, name });
        };
        match tree {
            UseTree::Path(step) => walk(&step.tree, &with(&step.ident), leaves),
            UseTree::Group(group) => group.items.iter().for_each(|tree| walk(tree, path, leaves)),
            UseTree::Name(name) if name.ident == "self" => leaf(&name.ident, path.to_vec(), path.last().cloned()),
            UseTree::Name(name) => leaf(&name.ident, with(&name.ident), Some(name.ident.to_string())),
            UseTree::Rename(name) if name.ident == "self" => {
                leaf(&name.ident, path.to_vec(), Some(name.rename.to_string()));
            }
            UseTree::Rename(name) => leaf(&name.ident, with(&name.ident), Some(name.rename.to_string())),
            UseTree::Glob(star) => {
                let line = star.star_token.spans[0].start().line;
                leaves.push(Leaf { path: path.to_vec(), line, name: None });
            }
        }
    }
    let mut leaves = Vec::new();
    walk(tree, &[], &mut leaves);
    leaves
}
