//! The contract of the policies, `wit/policy.wit`: which of its worlds a component implements. Finding out compiles
//! nothing.

use std::sync::LazyLock;

use wasmparser::component_types::ComponentEntityType;
use wasmparser::types::TypesRef;
use wasmparser::{ComponentTypeRef, Parser, Payload, Validator};
use wit_parser::{CloneMaps, Resolve, WorldId, WorldItem};

use super::component::ComponentBytes;
use super::error::LoadError;
use super::instance::export;
use crate::counters::{Hook, PerHook};

/// A policy may import the types of the contract, and nothing else.
const OWN_PACKAGE: &str = "sluice:policy/";

/// A world, with the types of the others as imports: the SDK's bindings leave the types of all worlds in every policy.
struct World {
    resolve: Resolve,
    id: WorldId,
    version: String,
}

static WORLDS: LazyLock<PerHook<World>> = LazyLock::new(|| PerHook::from_fn(World::of));

impl World {
    fn of(hook: Hook) -> Self {
        let mut resolve = Resolve::default();
        let text = include_str!("../../../wit/policy.wit");
        let package = resolve.push_source("policy.wit", text).expect("the contract is valid");
        let package = &resolve.packages[package];
        let worlds = PerHook::from_fn(|hook| package.worlds[hook.as_str()]);
        let version = package.name.version.as_ref().expect("the contract has a version").to_string();
        let id = worlds[hook];
        for (_, other) in worlds.iter().filter(|(other, _)| *other != hook) {
            resolve.worlds[*other].exports.clear();
            resolve.merge_worlds(*other, id, &mut CloneMaps::default()).expect("the worlds have the same types");
        }
        Self { resolve, id, version }
    }

    /// The world with a component's names of parameters. The host passes arguments by their place, but the comparison of
    /// worlds also compares the names.
    fn with_parameters_of(&self, component: TypesRef<'_>) -> Resolve {
        let mut resolve = self.resolve.clone();
        for item in resolve.worlds[self.id].exports.values_mut() {
            let WorldItem::Function(expected) = item else { continue };
            let exported = component.component_item_for_export(&expected.name).map(|item| item.ty);
            let Some(ComponentEntityType::Func(exported)) = exported else { continue };
            for (parameter, (name, _)) in expected.params.iter_mut().zip(&component[exported].params) {
                parameter.name = name.to_string();
            }
        }
        resolve
    }
}

/// The version that [`world_of`] compares with.
pub(super) fn version() -> &'static str {
    &WORLDS.rate_shaper.version
}

/// The hook whose world a component implements.
///
/// # Errors
/// Why it is no policy.
pub(super) fn world_of(component: &ComponentBytes) -> Result<Hook, LoadError> {
    component.check_header()?;
    let bytes = &*component.bytes;
    let types = Validator::new().validate_all(bytes).map_err(|error| LoadError::Invalid(error.to_string()))?;
    if let Some(import) = foreign_import(bytes) {
        return Err(LoadError::Imports(format!("found `{import}`")));
    }
    let types = types.as_ref();
    let exports = |hook: &Hook| types.component_item_for_export(export(*hook)).is_some();
    let hook = Hook::ALL.into_iter().find(exports).ok_or_else(|| LoadError::World {
        expected: "rate-shaper, user-limit or shard-picker",
        found: "it exports no function `shape`, `admit` or `pick`".to_owned(),
    })?;
    let other_world = |found: String| LoadError::World {
        expected: hook.as_str(),
        found: found.lines().collect::<Vec<_>>().join(" "),
    };
    let world = &WORLDS[hook];
    wit_component::targets(&world.with_parameters_of(types), world.id, bytes)
        .map_err(|error| other_world(error.root_cause().to_string()))?;
    Ok(hook)
}

/// The name of an import that is neither a type nor from the contract.
fn foreign_import(bytes: &[u8]) -> Option<String> {
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(bytes).flatten() {
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(imports) if depth == 0 => {
                let mut imports = imports.into_iter().flatten();
                let is_foreign =
                    |ty, name: &str| !matches!(ty, ComponentTypeRef::Type(_)) && !name.starts_with(OWN_PACKAGE);
                if let Some(import) = imports.find(|import| is_foreign(import.ty, import.name.name)) {
                    return Some(import.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn of_text(text: &str) -> Result<Hook, String> {
        let bytes = wat::parse_str(text).expect("valid WebAssembly text");
        world_of(&ComponentBytes::new(bytes)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_world_of_a_built_policy_is_that_of_its_hook() {
        let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
        for (policy, hook) in
            [("token-bucket", Hook::RateShaper), ("quota", Hook::UserLimit), ("weighted", Hook::ShardPicker)]
        {
            let bytes = std::fs::read(policies.join(format!("{policy}.wasm"))).expect("built with policies/build");
            assert_eq!(world_of(&ComponentBytes::new(bytes)).map_err(|error| error.to_string()), Ok(hook), "{policy}");
        }
        assert_eq!(version(), "0.1.0");
    }

    #[test]
    fn a_component_with_an_import_or_another_world_is_refused_and_the_difference_is_named() {
        let clock = r#"(component (import "wasi:clocks/monotonic-clock@0.2.0"
            (instance (export "now" (func (result u64))))))"#;
        assert_eq!(
            of_text(clock),
            Err("a policy must not import anything: found `wasi:clocks/monotonic-clock@0.2.0`".to_owned())
        );
        assert_eq!(
            of_text("(component)"),
            Err("expected the world rate-shaper, user-limit or shard-picker of sluice:policy: it exports no function \
                 `shape`, `admit` or `pick`"
                .to_owned())
        );
        let picks_a_text = r#"(component
            (core module $m (func (export "f") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func $f (result u32) (canon lift (core func $i "f")))
            (export "configure" (func $f))
            (export "pick" (func $f)))"#;
        let error = of_text(picks_a_text).expect_err("is refused");
        assert!(error.starts_with("expected the world shard-picker of sluice:policy: "), "{error}");
        assert!(error.contains("configure") || error.contains("pick"), "{error}");
    }
}
