//! The contract, `wit/policy.wit`, as Rust: one module per world, and the types that the worlds share.

#![allow(
    clippy::too_many_arguments,
    missing_docs,
    unreachable_pub,
    reason = "generated; the contract documents its types itself"
)]
#![allow(unsafe_code, reason = "generated: the canonical ABI passes raw pointers")]

pub use rate_shaper::sluice;

pub mod rate_shaper {
    wit_bindgen::generate!({
        world: "rate-shaper",
        path: "../../wit",
        pub_export_macro: true,
        disable_run_ctors_once_workaround: true,
        additional_derives: [PartialEq],
        additional_type_attributes: {
            "sluice:policy/types@0.1.0/scope": [
                #[derive(serde::Deserialize)]
                #[serde(rename_all = "kebab-case")]
            ],
        },
    });
}

pub mod user_limit {
    wit_bindgen::generate!({
        world: "user-limit",
        path: "../../wit",
        pub_export_macro: true,
        disable_run_ctors_once_workaround: true,
        additional_derives: [PartialEq],
        with: { "sluice:policy/types@0.1.0": super::sluice::policy::types },
    });
}

pub mod shard_picker {
    wit_bindgen::generate!({
        world: "shard-picker",
        path: "../../wit",
        pub_export_macro: true,
        disable_run_ctors_once_workaround: true,
        additional_derives: [PartialEq],
        with: { "sluice:policy/types@0.1.0": super::sluice::policy::types },
    });
}
