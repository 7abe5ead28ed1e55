//! `docs/configuration.md`: every key, from the documentation of the structs that read it and from the defaults.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sluice::config::Config;
use syn::{Attribute, Fields, Item, ItemEnum, ItemStruct, Lit, Meta, Type};

const INTRODUCTION: &str = "\
# Configuration

Sluice reads `sluice.toml` from the working folder, or the file that `--config` names. Every key has a default. The
environment overrides any key: `SLUICE__SECTION__KEY`, in capitals, with `_` for `-`, as in
`SLUICE__HTTP__LISTEN=0.0.0.0:80`.

`sluice config check` says whether a configuration is valid, and if not, which key is wrong and what was expected.
`sluice config show` prints all keys with the values that apply.

This page is generated from the sources. `UPDATE_DOCS=1 cargo test -p sluice --test it tidy::` writes it again.
";

/// The page as the sources say it now.
pub(super) fn page(sources: &Path) -> String {
    let sources = Sources::read(sources);
    let defaults: toml::Table = toml::from_str(&Config::default().to_toml()).expect("a configuration is TOML");
    let mut page = INTRODUCTION.to_owned();
    for field in &sources.structure("config", "Config").fields {
        if is_skipped(&field.attrs) {
            continue;
        }
        let section = field.ident.as_ref().expect("a named field").to_string();
        let path = path_of(&field.ty);
        let [module, name] = &path[..] else { panic!("`{section}`: expected a type such as http::Options") };
        let default = defaults.get(&section).and_then(toml::Value::as_table);
        let default = default.unwrap_or_else(|| panic!("no defaults of `{section}`"));
        sources.section(&section, &docs(&field.attrs), sources.structure(module, name), default, &mut page);
    }
    page
}

/// All structs and enums of the library, with the file each is in.
struct Sources {
    items: Vec<(PathBuf, Item)>,
}

impl Sources {
    fn read(folder: &Path) -> Self {
        let mut items = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(&next).expect("a folder of sources") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    let text = std::fs::read_to_string(&path).expect("a source");
                    let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                    let relative = path.strip_prefix(folder).expect("below the folder").to_owned();
                    items.extend(file.items.into_iter().map(|item| (relative.clone(), item)));
                }
            }
        }
        Self { items }
    }

    /// A struct of a top-level module, in whichever of its files it stands.
    fn structure(&self, module: &str, name: &str) -> &ItemStruct {
        let is_in_module =
            |path: &Path| path.iter().next().is_some_and(|first| Path::new(first).file_stem() == Some(module.as_ref()));
        let found = self.items.iter().find_map(|(path, item)| match item {
            Item::Struct(item) if item.ident == name && is_in_module(path) => Some(item),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no struct {name} in the module {module}"))
    }

    fn enumeration(&self, name: &str) -> Option<&ItemEnum> {
        self.items.iter().find_map(|(_, item)| match item {
            Item::Enum(item) if item.ident == name && is_read(&item.attrs) => Some(item),
            _ => None,
        })
    }

    fn section(&self, name: &str, doc: &str, item: &ItemStruct, defaults: &toml::Table, page: &mut String) {
        let _ = write!(page, "\n## `[{name}]`\n\n{doc}\n");
        let is_kebab = has_serde(&item.attrs, "kebab-case");
        let Fields::Named(fields) = &item.fields else { panic!("[{name}]: expected named fields") };
        let mut rows = String::new();
        let mut sections = Vec::new();
        for field in fields.named.iter().filter(|field| !is_skipped(&field.attrs)) {
            let mut key = field.ident.as_ref().expect("a named field").to_string();
            if is_kebab {
                key = key.replace('_', "-");
            }
            let default = defaults.get(&key);
            let ty = match path_of(&field.ty).pop().unwrap_or_default() {
                // It is read as a patch of its defaults.
                ty if ty == "HookSpec" => "HookPatch".to_owned(),
                ty => ty,
            };
            let nested = self.items.iter().find_map(|(_, item)| match item {
                Item::Struct(item) if item.ident == ty && is_read(&item.attrs) => Some(item),
                _ => None,
            });
            match (nested, default) {
                (Some(nested), Some(toml::Value::Table(table))) => {
                    sections.push((format!("{name}.{key}"), docs(&field.attrs), nested, table));
                }
                _ => {
                    let default = default.map_or_else(|| "none".to_owned(), |value| format!("`{}`", inline(value)));
                    let values = self.values(&ty, &field.attrs);
                    let _ = writeln!(rows, "| `{key}` | {default} | {values} | {} |", docs(&field.attrs));
                }
            }
        }
        if !rows.is_empty() {
            let _ = write!(page, "\n| key | default | values | meaning |\n| --- | --- | --- | --- |\n{rows}");
        }
        for (name, doc, item, defaults) in sections {
            self.section(&name, &doc, item, defaults, page);
        }
    }

    /// What a key may hold.
    fn values(&self, ty: &str, attributes: &[Attribute]) -> String {
        if let Some((min, max)) = bounds(attributes) {
            return format!("{min} to {}", max.replace('_', ","));
        }
        if let Some(item) = self.enumeration(ty) {
            let words: Vec<String> = item.variants.iter().map(|variant| format!("`{}`", word(item, variant))).collect();
            return words.join(", ");
        }
        match ty {
            "String" => "text",
            "[String]" => "a list of texts",
            "TrustedKeys" => "a list of public keys",
            "[TokenOptions]" => "a list of tables",
            "PathBuf" => "a path",
            "SocketAddr" => "an address and port",
            "f64" => "a number",
            "bool" => "`true`, `false`",
            "Map" => "a table",
            other => panic!("no words for values of type {other}"),
        }
        .to_owned()
    }
}

/// The word of a variant in the file.
fn word(item: &ItemEnum, variant: &syn::Variant) -> String {
    serde_value(&variant.attrs, "rename").unwrap_or_else(|| {
        let name = variant.ident.to_string();
        match serde_value(&item.attrs, "rename_all").as_deref() {
            Some("lowercase") => name.to_lowercase(),
            other => panic!("{}: no words for the serde attribute rename_all = {other:?}", item.ident),
        }
    })
}

/// The path of a type, without `Option`. A `Vec` is `[ITEM]`.
fn path_of(ty: &Type) -> Vec<String> {
    let Type::Path(path) = ty else { panic!("expected a path") };
    let last = path.path.segments.last().expect("a path has segments");
    let argument = match &last.arguments {
        syn::PathArguments::AngleBracketed(arguments) => arguments.args.first(),
        _ => None,
    };
    match argument {
        Some(syn::GenericArgument::Type(inner)) if last.ident == "Option" => path_of(inner),
        Some(syn::GenericArgument::Type(item)) if last.ident == "Vec" => {
            vec![format!("[{}]", path_of(item).pop().unwrap_or_default())]
        }
        _ => path.path.segments.iter().map(|segment| segment.ident.to_string()).collect(),
    }
}

/// The documentation, as one line of Markdown.
fn docs(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            syn::Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    let text = lines.collect::<Vec<_>>().join(" ");
    assert!(!text.is_empty(), "a key or section of the configuration has no documentation");
    assert!(!text.contains('|'), "a table cannot hold `|`: {text}");
    text
}

/// The text of all serde attributes.
fn serde_text(attributes: &[Attribute]) -> String {
    let lists = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("serde") => Some(list.tokens.to_string()),
        _ => None,
    });
    lists.collect::<Vec<_>>().join(", ")
}

fn has_serde(attributes: &[Attribute], word: &str) -> bool {
    serde_text(attributes).contains(word)
}

/// Whether serde reads values of the type.
fn is_read(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("derive") => list.tokens.to_string().contains("Deserialize"),
        _ => false,
    })
}

fn is_skipped(attributes: &[Attribute]) -> bool {
    serde_text(attributes).split(',').any(|word| word.trim() == "skip")
}

/// The string of `key = "…"` in a serde attribute.
fn serde_value(attributes: &[Attribute], key: &str) -> Option<String> {
    let text = serde_text(attributes);
    let (_, rest) = text.split_once(&format!("{key} = \""))?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

/// The two numbers of `deserialize_with = "bounded::<_, _, MIN, MAX>"`, or of `some_bounded`.
fn bounds(attributes: &[Attribute]) -> Option<(String, String)> {
    let with = serde_value(attributes, "deserialize_with")?;
    let (_, list) = with.split_once("bounded::<_, _, ")?;
    let (min, max) = list.trim_end_matches('>').split_once(", ")?;
    Some((min.to_owned(), max.to_owned()))
}

/// A value on one line, as the file would say it.
fn inline(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(table) if table.is_empty() => "{}".to_owned(),
        toml::Value::Table(table) => {
            let pairs: Vec<String> = table.iter().map(|(key, value)| format!("{key} = {}", inline(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}
