//! Components are built from the text of a contract, as the SDK of that contract would build them.

use std::path::Path;

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::super::component::ComponentBytes;
use super::super::pack::pack;
use super::*;

const V0_1: &str = include_str!("../../../../wit/0.1/policy.wit");
const V0_2: &str = include_str!("../../../../wit/policy.wit");
const PICK: &str = "(param i64 i64 i64 i64 i64 i32 i32 i32 i32) (result i32) i32.const 0";

/// A shard picker of the contract in this text. `functions` are the names and the code of its core functions.
fn built(contract: &str, world: &str, functions: &[(&str, &str)]) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_source("policy.wit", contract).expect("a valid contract");
    let world = resolve.packages[package].worlds[world];
    let functions = functions.iter().map(|(name, code)| format!("(func (export \"{name}\") {code})"));
    let realloc = "(func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) i32.const 4096)";
    let text =
        format!("(module (memory (export \"memory\") 1) {realloc} {})", functions.collect::<Vec<_>>().join("\n"));
    let mut module = wat::parse_str(text).expect("valid WebAssembly text");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embeds the world");
    pack(&module).expect("implements the world")
}

const CONFIGURE: &str = "(param i32 i32) (result i32) i32.const 16";

/// A picker of another contract than 0.2.0.
fn of_contract(contract: &str, version: &str) -> Vec<u8> {
    let name = |function: &str| format!("sluice:policy/shard-picker@{version}#{function}");
    let mut functions = Vec::new();
    for (function, code) in [("configure", CONFIGURE), ("pick", PICK)] {
        if contract.contains(&format!("\n  {function}: func(")) {
            functions.push((name(function), code));
        }
    }
    let functions: Vec<_> = functions.iter().map(|(name, code)| (name.as_str(), *code)).collect();
    built(contract, "shard-picker-policy", &functions)
}

fn of_version(version: &str) -> Vec<u8> {
    of_contract(&V0_2.replace("sluice:policy@0.2.0", &format!("sluice:policy@{version}")), version)
}

/// The contract without the lines that begin so.
fn without(line: &str) -> String {
    let kept = V0_2.lines().filter(|text| !text.starts_with(line));
    kept.collect::<Vec<_>>().join("\n")
}

fn check(bytes: Vec<u8>) -> Result<Contract, String> {
    contract_of(&ComponentBytes::unsigned(bytes)).map_err(|error| error.to_string())
}

fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("valid WebAssembly text")
}

#[test]
fn a_built_policy_is_of_the_newest_version_and_its_hook() {
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    for (policy, hook) in
        [("token-bucket", Hook::RateShaper), ("quota", Hook::UserLimit), ("weighted", Hook::ShardPicker)]
    {
        let bytes = std::fs::read(policies.join(format!("{policy}.wasm"))).expect("built with policies/build");
        assert_eq!(check(bytes), Ok(Contract { hook, version: Version::V0_2 }), "{policy}");
    }
}

#[test]
fn components_of_both_versions_are_policies() {
    let picker = |version| Ok(Contract { hook: Hook::ShardPicker, version });
    assert_eq!(check(of_version("0.2.0")), picker(Version::V0_2));
    let before = built(V0_1, "shard-picker", &[("configure", CONFIGURE), ("pick", PICK)]);
    assert_eq!(check(before), picker(Version::V0_1));
}

#[test]
fn the_names_of_parameters_do_not_matter() {
    let renamed = V0_2.replace("pick: func(r: request", "pick: func(one: request");
    assert_eq!(check(of_contract(&renamed, "0.2.0")).map(|contract| contract.version), Ok(Version::V0_2));
}

#[test]
fn a_component_that_is_no_policy_is_refused_with_what_was_found_and_expected_and_what_to_do() {
    let other_version = |found: &str| {
        format!(
            "expected version 0.2.0 or 0.1.0 of sluice:policy, found `sluice:policy/shard-picker@{found}`: build the \
             policy with the policies/sdk of this gateway, or install the gateway that the policy was built for"
        )
    };
    let picker = |found: &str| format!("expected the world shard-picker of sluice:policy: {found}");
    let lacks =
        |function: &str| picker(&format!("it exports no function `{function}`: export it, as policies/sdk does"));
    let clock = r#"(component (import "wasi:clocks/monotonic-clock@0.2.0"
        (instance (export "now" (func (result u64))))))"#;
    let import = "a policy must not import anything: found `wasi:clocks/monotonic-clock@0.2.0`; build it for \
                  wasm32-unknown-unknown, and take the time and randomness from the request";
    let no_policy = "expected the world rate-shaper, user-limit or shard-picker of sluice:policy: it exports none of \
                     their interfaces: build it with policies/sdk";
    let invalid = check(b"\0asm\x0d\0\x01\0\xff".to_vec()).expect_err("is refused");
    assert!(invalid.starts_with("not a valid component: "), "{invalid}");
    for (component, message) in [
        (b"a text".to_vec(), "not a WebAssembly component: build it with `policies/build`".to_owned()),
        (
            text("(module)"),
            "expected a component, found a core module: convert it with `sluice policy pack`".to_owned(),
        ),
        (text("(component)"), no_policy.to_owned()),
        (text(clock), import.to_owned()),
        (of_version("1.0.0"), other_version("1.0.0")),
        (of_version("0.3.0"), other_version("0.3.0")),
        (of_version("0.1.0"), other_version("0.1.0")),
        (of_version("0.2.1"), other_version("0.2.1")),
        (of_contract(&without("  pick: func"), "0.2.0"), lacks("pick")),
        (of_contract(&without("  configure: func"), "0.2.0"), lacks("configure")),
    ] {
        assert_eq!(check(component), Err(message));
    }
}

#[test]
fn a_function_of_another_type_is_named() {
    let picks_a_text = r#"(component
        (core module $m (func (export "f") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $f (result u32) (canon lift (core func $i "f")))
        (export "configure" (func $f))
        (export "pick" (func $f)))"#;
    let interface = r#"(component
        (core module $m (func (export "f") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $f (result u32) (canon lift (core func $i "f")))
        (instance $picker (export "configure" (func $f)) (export "pick" (func $f)))
        (export "sluice:policy/shard-picker@0.2.0" (instance $picker)))"#;
    for component in [picks_a_text, interface] {
        let error = check(text(component)).expect_err("is refused");
        assert!(error.starts_with("expected the world shard-picker of sluice:policy: "), "{error}");
        assert!(error.contains("configure") || error.contains("pick"), "{error}");
    }
}
