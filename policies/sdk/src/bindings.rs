//! The contract, `wit/policy.wit`, as Rust: one module per interface, and the types that they share.

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
        world: "rate-shaper-policy",
        path: "../../wit",
        pub_export_macro: true,
        disable_run_ctors_once_workaround: true,
        additional_derives: [PartialEq],
        additional_type_attributes: {
            "sluice:policy/types@0.2.0/scope": [
                #[derive(serde::Deserialize)]
                #[serde(rename_all = "kebab-case")]
            ],
        },
    });

    pub use exports::sluice::policy::rate_shaper::{Guest, Load, Shaping};
}

pub mod user_limit {
    wit_bindgen::generate!({
        world: "user-limit-policy",
        path: "../../wit",
        pub_export_macro: true,
        disable_run_ctors_once_workaround: true,
        additional_derives: [PartialEq],
        with: { "sluice:policy/types@0.2.0": super::sluice::policy::types },
    });

    pub use exports::sluice::policy::user_limit::{Admission, Guest, Usage};
}

pub mod shard_picker {
    wit_bindgen::generate!({
        world: "shard-picker-policy",
        path: "../../wit",
        pub_export_macro: true,
        disable_run_ctors_once_workaround: true,
        additional_derives: [PartialEq],
        with: { "sluice:policy/types@0.2.0": super::sluice::policy::types },
    });

    pub use exports::sluice::policy::shard_picker::{Guest, Shard};
}
