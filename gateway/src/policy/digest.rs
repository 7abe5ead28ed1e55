//! The identity of a component.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

const BYTES: usize = 32;
/// Enough to tell versions apart in a metric's label and in a log line.
const VERSION_CHARACTERS: usize = 12;

/// The SHA-256 of a component's bytes, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
pub struct Digest([u8; BYTES]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a digest of 64 hexadecimal digits, found `{0}`")]
pub struct InvalidDigest(String);

impl Digest {
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The beginning of the digest, which names the version of a policy.
    #[must_use]
    pub fn version(&self) -> String {
        let mut hex = self.to_string();
        hex.truncate(VERSION_CHARACTERS);
        hex
    }
}

impl From<[u8; BYTES]> for Digest {
    fn from(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let invalid = || InvalidDigest(text.to_owned());
        // Parsing a byte would also accept a sign.
        if text.len() != 2 * BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let mut bytes = [0; BYTES];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).map_err(|_| invalid())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_is_the_sha_256_in_hexadecimal() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), OF_ABC);
        assert_eq!(digest.version(), "ba7816bf8f01");
    }

    #[test]
    fn a_digest_reads_back_from_text_and_from_json() {
        let digest = Digest::of(b"abc");
        assert_eq!(OF_ABC.parse::<Digest>(), Ok(digest));
        let json = serde_json::to_string(&digest).expect("JSON");
        assert_eq!(json, format!("\"{OF_ABC}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).expect("reads back"), digest);
    }

    #[test]
    fn text_that_is_no_digest_is_refused_and_quoted() {
        let signed = format!("+{}", &OF_ABC[1..]);
        let wide = "é".repeat(32);
        for text in ["", "ba78", &signed, &wide] {
            assert_eq!(text.parse::<Digest>(), Err(InvalidDigest(text.to_owned())), "{text}");
        }
    }
}
