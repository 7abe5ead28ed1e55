//! What a process does. Each role builds its own tasks.

mod common;
mod config_file;
pub(super) mod consumer;
pub(super) mod gateway;
