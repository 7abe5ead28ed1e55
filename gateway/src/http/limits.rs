//! The bounds on what a client sends.

use std::time::Duration;

/// An issue request takes under 1 KiB; the rest is room for long admin bodies, such as a pipeline.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024;

/// For an uploaded policy component. Components that carry a language runtime take 12 to 18 MB.
pub(super) const COMPONENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// For all headers of a request together, names included.
pub(super) const HEADER_BYTES_MAX: usize = 16 * 1024;

/// For the first bytes of a connection, again for the headers, and again for the body. Without it, a client that sends
/// nothing would hold its connection.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// For a client that does not read its answers. A slow reader of a long answer takes something all the time.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
