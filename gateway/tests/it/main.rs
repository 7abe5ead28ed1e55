//! Black-box tests of the real binary over HTTP, and `tidy`, which checks the sources.
//!
//! Apart from `tidy`, no test uses the gateway's code: expectations come from the HTTP contract, and observations
//! from responses, logs and `/proc`.

mod aging;
mod bad_config;
mod bad_http;
mod bad_policies;
#[path = "../common/bomb.rs"]
mod bomb;
mod bounds;
#[path = "../common/certificates.rs"]
mod certificates;
mod chaos;
mod checker;
mod client;
mod command_line;
mod compilation;
mod connections;
mod counters_cluster;
mod shutdown;
mod crowd;
mod dashboards;
mod decisions;
mod distributed;
mod drop;
mod examples;
mod faults;
mod first_policy;
mod floods;
mod habits;
mod hang_ups;
mod harness;
mod http2;
mod ledger_groups;
mod load;
mod log_history;
mod main_job;
mod memory;
mod openapi;
mod operators;
mod rollout_example;
mod rollout_faults;
mod shared_counters;
mod simulate;
mod pipeline_changes;
mod supervision;
mod tidy;
mod tls;
mod upgrade;
mod vitess;
mod wrong_logins;
