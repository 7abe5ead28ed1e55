//! The limit of open files: every connection takes a file descriptor.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For all but the connections to the public listener: the admin listener has 64, and there are those to databases and
/// brokers, files, and pipes to the compiler.
const OTHERS: usize = 200;

/// Raises the soft limit, usually 1024, to the hard limit. Returns how many connections to the public listener it leaves
/// room for.
pub(super) fn raise_limit() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "limit of open files not raised");
    }
    let Some(limit) = getrlimit(Resource::Nofile).current else { return usize::MAX };
    usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(OTHERS).max(1)
}
