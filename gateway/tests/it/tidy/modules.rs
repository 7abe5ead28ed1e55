//! The module tree of a crate, and where each path in it leads.
//!
//! It resolves paths as far as the compiler does without types: through re-exports, renames, globs and nested
//! groups to the file that defines the item. A method call names no path, so it is not seen.

mod items;
mod paths;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use syn::visit::Visit;
use syn::{Item, ItemMod, Visibility};

use self::items::{absolute, attributes, defined_name, is_test_only, path_attribute};
use self::paths::{Paths, leaves};

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
