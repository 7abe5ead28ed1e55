//! Signatures of components: which keys this gateway trusts, and whether one of them signed a component.
//!
//! A signature is over the digest of a component, which is compared with the bytes wherever they are read. So a large
//! component is hashed once, and a signer needs only its digest.

mod keys;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use openssl::base64;
use serde::{Deserialize, Serialize};

use super::digest::Digest;

pub use keys::{InvalidKey, KeyId, PrivateKey, PublicKey};

/// Precedes the digest in what is signed: a key that also signs something else cannot be made to sign a component by it.
const DOMAIN: &[u8] = b"sluice:policy component signature 1\n";
/// A signature has 105 characters. More of a wrong text says nothing more.
const QUOTED_CHARACTERS_MAX: usize = 40;

/// Who signed a component, and the signature. Written as the id of the key and, after a space, base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    pub key: KeyId,
    bytes: [u8; Self::BYTES],
}

/// Why a component is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error(
        "the component is not signed, and policies.trusted_keys requires it: sign it with `sluice policy sign`, and give \
         the signature with it"
    )]
    Unsigned,
    #[error(
        "the component is signed by the key {0}, which is not in policies.trusted_keys: sign it with a key of the list, \
         or add the public key"
    )]
    UnknownKey(KeyId),
    #[error(
        "the signature by the key {0} is not of this component: one of the two was changed; get both again from whoever \
         signed the component"
    )]
    Mismatch(KeyId),
    #[error("expected a signature as `sluice policy sign` writes it, found `{0}`: sign the component again")]
    Malformed(String),
}

/// The keys of which one must have signed a component. Without any, no signature is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrustedKeys(Arc<[PublicKey]>);

impl TrustedKeys {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the component with this digest may run.
    ///
    /// # Errors
    /// Why none of the keys vouches for it.
    pub fn check(&self, digest: Digest, signature: Option<&Signature>) -> Result<(), SignatureError> {
        if self.is_empty() {
            return Ok(());
        }
        let signature = signature.ok_or(SignatureError::Unsigned)?;
        let key = self.0.iter().find(|key| key.id() == signature.key);
        let key = key.ok_or(SignatureError::UnknownKey(signature.key))?;
        let is_valid = key.is_signed(&signed_text(digest), &signature.bytes);
        if is_valid { Ok(()) } else { Err(SignatureError::Mismatch(signature.key)) }
    }
}

impl From<Vec<PublicKey>> for TrustedKeys {
    fn from(keys: Vec<PublicKey>) -> Self {
        Self(keys.into())
    }
}

impl Signature {
    const BYTES: usize = 64;

    /// Signs the component with this digest.
    #[must_use]
    pub fn sign(key: &PrivateKey, digest: Digest) -> Self {
        Self { key: key.public().id(), bytes: key.sign(&signed_text(digest)) }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, base64::encode_block(&self.bytes))
    }
}

impl FromStr for Signature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let parse = || {
            let (key, signature) = text.trim().split_once(' ')?;
            let bytes = base64::decode_block(signature).ok()?.try_into().ok()?;
            Some(Self { key: KeyId::parse(key)?, bytes })
        };
        parse().ok_or_else(|| SignatureError::Malformed(text.trim().chars().take(QUOTED_CHARACTERS_MAX).collect()))
    }
}

/// The file with the signature of a component, beside it.
#[must_use]
pub fn signature_file(component: &Path) -> PathBuf {
    let mut path = component.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

fn signed_text(digest: Digest) -> Vec<u8> {
    [DOMAIN, digest.as_bytes()].concat()
}
