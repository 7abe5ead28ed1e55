//! The gateway from outside: its structure, and the real binary over HTTP.
#![allow(clippy::unwrap_used)]

mod main_job;
mod tidy;
