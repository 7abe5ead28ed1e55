//! Whole systems in this process, on embedded ports or on ports that fail when told to. Needs no server.
//!
//! The policies must be built: `policies/build`.

mod admin_tokens;
mod arms;
mod bad_input;
#[path = "../common/bomb.rs"]
mod bomb;
mod bounds;
mod campaign_cache;
#[path = "../common/certificates.rs"]
mod certificates;
mod compilation;
#[allow(dead_code, reason = "the other binary uses the rest")]
#[path = "../common/component_text.rs"]
mod component_text;
mod config_files;
mod coupon_pipelines;
mod dead_letters;
mod decisions;
mod descriptions;
mod faulty;
mod faulty_counters;
mod faulty_log;
mod hang_ups;
mod harness;
mod http2;
mod idempotency;
mod ledger_groups;
mod ledger_outage;
mod log_history;
mod log_partitions;
mod lost_files;
mod main_job;
mod operators;
mod ownership;
mod policy_contract;
mod policy_registry;
mod rejected_components;
mod releases;
mod retention;
mod retries;
mod rollout_api;
mod rollouts;
mod settlement;
mod shared_transactions;
mod signatures;
mod slow_policies;
mod starts;
mod stuck_log;
mod supervision;
mod tls;
mod tls_client;
