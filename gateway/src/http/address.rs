//! The address of a listener in the configuration.

use std::fmt;
use std::net::SocketAddr;

use serde::de::{Deserializer, Error, Expected, Visitor};

/// Deserializes an address. Host names are refused: they may stand for several addresses.
///
/// # Errors
/// If the value is not an IP address with a port.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    deserializer.deserialize_str(Address)
}

struct Address;

impl Visitor<'_> for Address {
    type Value = SocketAddr;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an IP address and port, such as 127.0.0.1:8080")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SocketAddr, E> {
        let wrong = |_| E::custom(format_args!("expected {}, found `{text}`", &self as &dyn Expected));
        text.parse().map_err(wrong)
    }
}
