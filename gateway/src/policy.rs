//! The policy host (to be written).
