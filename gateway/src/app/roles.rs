//! What a process does. Each role builds its own tasks.

mod common;
pub(super) mod consumer;
pub(super) mod gateway;
