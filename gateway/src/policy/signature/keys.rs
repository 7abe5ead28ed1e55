//! The two halves of a key.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use openssl::{base64, rand};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::secret::read_secret;

/// Enough to tell the keys of one operator apart. A key is found by it, and then verifies the signature.
const ID_BYTES: usize = 8;
const FOR_THE_OWNER: u32 = 0o600;

/// The beginning of the SHA-256 of a public key, written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; ID_BYTES]);

/// Verifies signatures. Written as base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// Makes signatures. Stored in a file, as base64.
pub struct PrivateKey(SigningKey);

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    #[error("expected a public key as `sluice policy keygen` prints it, found `{0}`")]
    Public(String),
    /// It is not quoted.
    #[error("expected a private key as `sluice policy keygen` writes it")]
    Private,
}

impl KeyId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        // Parsing a number would also accept a sign.
        let is_id = text.len() == 2 * ID_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| u64::from_str_radix(text, 16).ok().map(|id| Self(id.to_be_bytes())))?
    }
}

impl PublicKey {
    #[must_use]
    pub fn id(&self) -> KeyId {
        let hash = Sha256::digest(self.0.as_bytes());
        KeyId(std::array::from_fn(|place| hash[place]))
    }

    /// Strict: nobody without the private key can make a second signature out of a valid one.
    pub(super) fn is_signed(&self, text: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(text, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

impl PrivateKey {
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn generate() -> std::io::Result<Self> {
        let mut seed = [0; 32];
        rand::rand_bytes(&mut seed)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// # Errors
    /// The message for whoever named the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = read_secret(path).map_err(|error| error.to_string())?;
        let seed = base64::decode_block(&text).ok().and_then(|seed| seed.try_into().ok());
        let seed: [u8; 32] = seed.ok_or_else(|| format!("{}: {}", path.display(), InvalidKey::Private))?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Creates a file that only its owner can read. One that exists stays: it may have the only copy of another key.
    ///
    /// # Errors
    /// When the file exists, or cannot be written.
    pub fn store(&self, path: &Path) -> std::io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(FOR_THE_OWNER).open(path)?;
        writeln!(file, "{}", base64::encode_block(self.0.as_bytes()))?;
        file.sync_all()
    }

    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(super) fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.0.sign(text).to_bytes()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64::encode_block(self.0.as_bytes()))
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let parse = || {
            let bytes: [u8; 32] = base64::decode_block(text).ok()?.try_into().ok()?;
            // A weak key would verify a signature of anything.
            VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak())
        };
        parse().map(Self).ok_or_else(|| InvalidKey::Public(text.to_owned()))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
