//! The module tree of a crate, and where each path in it leads.
//!
//! It resolves paths as far as the compiler does without types: through re-exports, renames, globs and nested
//! groups to the file that defines the item. A method call names no path, so it is not seen.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, UseTree, Visibility};

/// Re-exports of re-exports end after a few steps; `use tracing;` would lead to itself for ever.
const RESOLVE_STEPS_MAX: usize = 16;

type Names = Vec<String>;

pub(super) struct Modules {
    /// The folder of the crate's root.
    folder: PathBuf,
    modules: Vec<Module>,
}

struct Module {
    path: Names,
    parent: Option<usize>,
    file: String,
    definitions: HashMap<String, Vec<Definition>>,
    globs: Vec<Names>,
    references: Vec<Reference>,
}

#[derive(Debug)]
enum Definition {
    Item,
    Function,
    Module(usize),
    Use(Names),
}

struct Reference {
    path: Names,
    line: usize,
    in_test: bool,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Import,
    /// `pub use`, which names an item for others.
    ReExport,
    Code,
}

#[derive(Clone, Copy)]
enum Target {
    Module(usize),
    ItemOf(usize),
    FunctionOf(usize),
}

/// A file uses an item that another file defines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Use {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) line: usize,
    pub(super) item: String,
}

/// A top-level module names another one.
pub(super) struct NamedModule {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) file: String,
    pub(super) line: usize,
}

impl Modules {
    pub(super) fn read(root: &Path) -> Self {
        let folder = root.parent().expect("a crate's root is in a folder").to_owned();
        let mut this = Self { folder: folder.clone(), modules: Vec::new() };
        this.read_file(root, &folder, &[], None, false);
        this
    }

    /// The top-level modules in the order of the root.
    pub(super) fn listed(&self) -> Vec<&str> {
        let top = self.modules.iter().filter(|module| module.parent == Some(0));
        top.map(|module| module.path[0].as_str()).collect()
    }

    /// Uses of another file's items outside tests.
    ///
    /// Not a use: a re-export, and a parent's call of a function of its own child (`issue::issue`), which is how
    /// a parent hands work down.
    pub(super) fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for (number, module) in self.modules.iter().enumerate() {
            for reference in module.references.iter().filter(|reference| !reference.in_test) {
                let owner = match (reference.kind, self.resolve(number, &reference.path, 0)) {
                    (Kind::ReExport, _) => continue,
                    (Kind::Code, Some(Target::FunctionOf(owner))) if self.modules[owner].parent == Some(number) => {
                        continue;
                    }
                    (_, Some(Target::FunctionOf(owner) | Target::ItemOf(owner))) => &self.modules[owner],
                    // Of a module, only what is used of it counts.
                    (_, Some(Target::Module(_)) | None) => continue,
                };
                if owner.file != module.file {
                    uses.push(Use {
                        from: module.file.clone(),
                        to: owner.file.clone(),
                        line: reference.line,
                        item: reference.path.last().cloned().unwrap_or_default(),
                    });
                }
            }
        }
        uses
    }

    /// Top-level modules as `crate::module` or `super::module` names them, in tests too.
    pub(super) fn named_modules(&self) -> Vec<NamedModule> {
        let listed = self.listed();
        let mut named = Vec::new();
        for module in self.modules.iter().filter(|module| !module.path.is_empty()) {
            for reference in &module.references {
                let Some(absolute) = absolute(&module.path, &reference.path) else { continue };
                let Some(to) = absolute.first().filter(|to| listed.contains(&to.as_str())) else { continue };
                if *to != module.path[0] {
                    let (from, to, file) = (module.path[0].clone(), to.clone(), module.file.clone());
                    named.push(NamedModule { from, to, file, line: reference.line });
                }
            }
        }
        named
    }

    fn read_file(
        &mut self,
        file: &Path,
        children: &Path,
        path: &[String],
        parent: Option<usize>,
        in_test: bool,
    ) -> usize {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let source = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let in_test = in_test || is_test_only(&source.attrs);
        self.read_items(source.items, file, children, path, parent, in_test)
    }

    /// `children` is the folder in which `mod child;` finds its file.
    fn read_items(
        &mut self,
        items: Vec<Item>,
        file: &Path,
        children: &Path,
        path: &[String],
        parent: Option<usize>,
        in_test: bool,
    ) -> usize {
        let number = self.modules.len();
        let shown = file.strip_prefix(&self.folder).unwrap_or(file).display().to_string();
        self.modules.push(Module {
            path: path.to_vec(),
            parent,
            file: shown,
            definitions: HashMap::new(),
            globs: Vec::new(),
            references: Vec::new(),
        });
        for item in items {
            let in_test = in_test || attributes(&item).is_some_and(is_test_only);
            if let Item::Mod(child) = item {
                let name = child.ident.to_string();
                let child = self.read_child(child, file, children, path, number, in_test);
                self.modules[number].define(name, Definition::Module(child));
            } else {
                self.modules[number].read_item(&item, in_test);
            }
        }
        number
    }

    fn read_child(
        &mut self,
        child: ItemMod,
        file: &Path,
        children: &Path,
        path: &[String],
        parent: usize,
        in_test: bool,
    ) -> usize {
        let name = child.ident.to_string();
        let path = [path, std::slice::from_ref(&name)].concat();
        let folder = children.join(&name);
        if let Some((_, items)) = child.content {
            return self.read_items(items, file, &folder, &path, Some(parent), in_test);
        }
        let beneath = [children.join(format!("{name}.rs")), folder.join("mod.rs")];
        let named = path_attribute(&child.attrs).map(|named| file.with_file_name(named));
        let found = named.into_iter().chain(beneath).find(|candidate| candidate.exists());
        let found = found.unwrap_or_else(|| panic!("{}: `mod {name};` has no file", file.display()));
        self.read_file(&found, &folder, &path, Some(parent), in_test)
    }

    fn resolve(&self, from: usize, path: &[String], steps: usize) -> Option<Target> {
        if steps > RESOLVE_STEPS_MAX {
            return None;
        }
        match path.first()?.as_str() {
            "crate" => self.descend(0, &path[1..], steps),
            "self" => self.descend(from, &path[1..], steps),
            "super" => self.descend(self.modules[from].parent?, &path[1..], steps),
            // Not a fall-back to the module itself: the name may be a local variable or another crate.
            _ => self.look_up(from, path, steps),
        }
    }

    fn descend(&self, module: usize, rest: &[String], steps: usize) -> Option<Target> {
        match rest.first().map(String::as_str) {
            None => Some(Target::Module(module)),
            Some("self") => self.descend(module, &rest[1..], steps),
            Some("super") => self.descend(self.modules[module].parent?, &rest[1..], steps),
            // A name that is not found is made by a macro there.
            Some(_) => self.look_up(module, rest, steps).or(Some(Target::ItemOf(module))),
        }
    }

    fn look_up(&self, number: usize, path: &[String], steps: usize) -> Option<Target> {
        let module = &self.modules[number];
        let mut definitions: Vec<&Definition> = module.definitions.get(&path[0]).into_iter().flatten().collect();
        // `open::open`: a module and a function may have the same name.
        let leads_on = path.len() > 1;
        definitions.sort_by_key(|definition| matches!(definition, Definition::Module(_)) != leads_on);
        let defined = definitions.into_iter().find_map(|definition| match definition {
            Definition::Item => Some(Target::ItemOf(number)),
            Definition::Function => Some(Target::FunctionOf(number)),
            Definition::Module(child) => self.descend(*child, &path[1..], steps + 1),
            Definition::Use(target) => self.resolve(number, &[target, &path[1..]].concat(), steps + 1),
        });
        defined.or_else(|| {
            module.globs.iter().find_map(|glob| match self.resolve(number, glob, steps + 1)? {
                Target::Module(found) if steps < RESOLVE_STEPS_MAX => self.look_up(found, path, steps + 1),
                _ => None,
            })
        })
    }
}

impl Module {
    fn define(&mut self, name: String, definition: Definition) {
        self.definitions.entry(name).or_default().push(definition);
    }

    fn read_item(&mut self, item: &Item, in_test: bool) {
        if let Item::Use(import) = item {
            let kind = if matches!(import.vis, Visibility::Inherited) { Kind::Import } else { Kind::ReExport };
            for leaf in leaves(&import.tree) {
                self.references.push(Reference { path: leaf.path.clone(), line: leaf.line, in_test, kind });
                match leaf.name {
                    Some(name) => self.define(name, Definition::Use(leaf.path)),
                    None => self.globs.push(leaf.path),
                }
            }
            return;
        }
        if let Some(name) = defined_name(item) {
            let is_function = matches!(item, Item::Fn(_));
            self.define(name.to_string(), if is_function { Definition::Function } else { Definition::Item });
        }
        let mut paths = Paths { found: &mut self.references, in_test };
        paths.visit_item(item);
    }
}

/// Collects the paths in code.
struct Paths<'a> {
    found: &'a mut Vec<Reference>,
    in_test: bool,
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
struct Leaf {
    path: Names,
    line: usize,
    /// `None` for a glob.
    name: Option<String>,
}

fn leaves(tree: &UseTree) -> Vec<Leaf> {
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

/// From the crate's root, if the path starts with `crate`, `self` or `super`.
fn absolute(module: &[String], path: &[String]) -> Option<Names> {
    let (mut absolute, mut rest) = match path.first()?.as_str() {
        "crate" => (Vec::new(), &path[1..]),
        "self" | "super" => (module.to_vec(), path),
        _ => return None,
    };
    while let Some("self" | "super") = rest.first().map(String::as_str) {
        if rest[0] == "super" {
            absolute.pop();
        }
        rest = &rest[1..];
    }
    absolute.extend_from_slice(rest);
    Some(absolute)
}

fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let condition = attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg") && condition.contains("test") && !condition.contains("not")
    })
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.path().is_ident("path"))?;
    match &attribute.meta.require_name_value().ok()?.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) => Some(path.value()),
        _ => None,
    }
}

fn attributes(item: &Item) -> Option<&[Attribute]> {
    Some(match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return None,
    })
}

fn defined_name(item: &Item) -> Option<&Ident> {
    Some(match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    })
}

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
