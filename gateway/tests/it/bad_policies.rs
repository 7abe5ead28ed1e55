//! Bad policies: what cannot be used changes nothing, and what misbehaves costs its own decision.

mod hostile;
mod useless;
mod watched;
