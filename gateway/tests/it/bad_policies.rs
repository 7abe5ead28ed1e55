//! Unusable components are refused, and hostile policies fail only their own decisions.

mod components;
mod hostile;
mod loops;
mod others;
mod unusable;
mod watcher;
