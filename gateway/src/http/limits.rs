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

/// What a connection holds of a request's head. Larger than the limit on headers, so that headers beyond the limit are
/// read to their end and answered 431. With a smaller buffer, hyper would close the connection.
pub(super) const RECEIVE_BYTES_MAX: usize = 64 * 1024;

/// Requests in progress on one HTTP/2 connection. The least that RFC 9113 recommends, and enough for browsers.
pub(super) const HTTP2_STREAMS_MAX: u32 = 100;

/// Requests that an HTTP/2 client has reset before the gateway looked at them. One more closes the connection: a client
/// that resets its requests at once (CVE-2023-44487) would otherwise not be held back by [`HTTP2_STREAMS_MAX`].
pub(super) const HTTP2_RESETS_MAX: usize = 20;

/// Requests that the gateway has reset for an error of the HTTP/2 client. One more closes the connection: a client can
/// cause such resets at will (CVE-2025-8671).
pub(super) const HTTP2_ERRORS_MAX: usize = 100;

/// What one HTTP/2 request holds of an answer that its client does not read.
pub(super) const HTTP2_SEND_BYTES_MAX: usize = 64 * 1024;

/// The time between two pings to an HTTP/2 client, which is disconnected if it does not answer within
/// [`READ_TIMEOUT`].
pub(super) const HTTP2_PING_EVERY: Duration = Duration::from_secs(20);
