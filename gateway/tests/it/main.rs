//! The gateway from outside: its structure, and the real binary over HTTP.
//!
//! Apart from `tidy`, nothing here knows the gateway's code: what is expected stands in the design's
//! HTTP contract, and what is found out comes from answers, logs and `/proc`.

mod bad_config;
mod bad_http;
mod bad_policies;
mod bounds;
mod chaos;
mod checker;
mod client;
mod command_line;
mod crash;
mod crowd;
mod dashboards;
mod distributed;
mod drop;
mod examples;
mod faults;
mod harness;
mod load;
mod main_job;
mod memory;
mod operators;
mod shared_counters;
mod swap;
mod tidy;
mod wrong_logins;
