//! Unusable components are refused, and hostile policies fail only their own decisions.

mod hostile;
mod others;
mod unusable;
mod watcher;
