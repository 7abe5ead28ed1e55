//! Compares a component with the contract, and compiles nothing.

use std::sync::LazyLock;

use wasmparser::component_types::ComponentEntityType;
use wasmparser::types::TypesRef;
use wasmparser::{ComponentTypeRef, Parser, Payload, Validator};
use wit_parser::{CloneMaps, Function, Resolve, WorldId, WorldItem};

use super::super::component::ComponentBytes;
use super::super::error::LoadError;
use super::{Contract, PACKAGE, Version};
use crate::counters::{Hook, PerHook};

/// A world, with the types of the others as imports: the SDK's bindings leave the types of all worlds in every policy.
struct World {
    resolve: Resolve,
    id: WorldId,
}

static V0_1: LazyLock<PerHook<World>> = LazyLock::new(|| {
    let text = include_str!("../../../../wit/0.1/policy.wit");
    PerHook::from_fn(|hook| World::of(text, hook, |hook| hook.as_str().to_owned()))
});

static V0_2: LazyLock<PerHook<World>> = LazyLock::new(|| {
    let text = include_str!("../../../../wit/policy.wit");
    PerHook::from_fn(|hook| World::of(text, hook, |hook| format!("{}-policy", hook.as_str())))
});

impl World {
    fn of(text: &str, hook: Hook, world: impl Fn(Hook) -> String) -> Self {
        let mut resolve = Resolve::default();
        let package = resolve.push_source("policy.wit", text).expect("the contract is valid");
        let worlds = PerHook::from_fn(|hook| resolve.packages[package].worlds[&world(hook)]);
        let id = worlds[hook];
        for (_, other) in worlds.iter().filter(|(other, _)| *other != hook) {
            resolve.worlds[*other].exports.clear();
            resolve.merge_worlds(*other, id, &mut CloneMaps::default()).expect("the worlds have the same types");
        }
        Self { resolve, id }
    }

    /// The world with a component's names of parameters. The host passes arguments by their place, but the comparison of
    /// worlds also compares the names.
    fn with_parameters_of(&self, contract: Contract, component: TypesRef<'_>) -> Resolve {
        let mut resolve = self.resolve.clone();
        for item in resolve.worlds[self.id].exports.values_mut() {
            match item {
                WorldItem::Function(expected) => rename_parameters(expected, contract, component),
                WorldItem::Interface { id, .. } => {
                    let functions = resolve.interfaces[*id].functions.values_mut();
                    functions.for_each(|expected| rename_parameters(expected, contract, component));
                }
                WorldItem::Type { .. } => {}
            }
        }
        resolve
    }
}

fn rename_parameters(expected: &mut Function, contract: Contract, component: TypesRef<'_>) {
    let Some(ComponentEntityType::Func(exported)) = exported(contract, component, &expected.name) else { return };
    for (parameter, (name, _)) in expected.params.iter_mut().zip(&component[exported].params) {
        parameter.name = name.to_string();
    }
}

/// What a component exports under the name of one of the contract's functions.
fn exported(contract: Contract, component: TypesRef<'_>, function: &str) -> Option<ComponentEntityType> {
    let Some(interface) = contract.interface() else {
        return Some(component.component_item_for_export(function)?.ty);
    };
    match component.component_item_for_export(&interface)?.ty {
        ComponentEntityType::Instance(interface) => Some(component[interface].exports.get(function)?.ty),
        _ => None,
    }
}

/// What a component implements.
///
/// # Errors
/// Why it is no policy.
pub(in super::super) fn contract_of(component: &ComponentBytes) -> Result<Contract, LoadError> {
    component.check_header()?;
    let bytes = &*component.bytes;
    let types = Validator::new().validate_all(bytes).map_err(|error| LoadError::Invalid(error.to_string()))?;
    let types = types.as_ref();
    let names = Names::of(bytes);
    if let Some(import) = names.foreign_import {
        return Err(LoadError::Imports(format!("found `{import}`")));
    }
    let contract = Contract::of_exports(&names.exports)?;
    if let Some(missing) = contract.functions().into_iter().find(|name| exported(contract, types, name).is_none()) {
        return Err(contract.lacks(missing));
    }
    let worlds = match contract.version {
        Version::V0_1 => &V0_1,
        Version::V0_2 => &V0_2,
    };
    let world = &worlds[contract.hook];
    wit_component::targets(&world.with_parameters_of(contract, types), world.id, bytes).map_err(|error| {
        let difference = error.root_cause().to_string();
        contract.differs(difference.lines().collect::<Vec<_>>().join(" "))
    })?;
    Ok(contract)
}

/// What a component imports and exports.
#[derive(Default)]
struct Names<'a> {
    /// Neither a type nor from the contract.
    foreign_import: Option<&'a str>,
    exports: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let (mut names, mut depth) = (Self::default(), 0);
        for payload in Parser::new(0).parse_all(bytes).flatten() {
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    let foreign = imports.into_iter().flatten().find(|import| {
                        !matches!(import.ty, ComponentTypeRef::Type(_)) && !import.name.name.starts_with(PACKAGE)
                    });
                    names.foreign_import = names.foreign_import.or(foreign.map(|import| import.name.name));
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    names.exports.extend(exports.into_iter().flatten().map(|export| export.name.name));
                }
                _ => {}
            }
        }
        names
    }
}
