//! Compiled components on disk, so that a restart compiles nothing.
//!
//! The code runs in the gateway, so a file is as trusted as the program. It is read only from a folder that belongs to
//! this user alone, and its digest tells a truncated or damaged file. A digest does not tell a forged file: who can
//! write as this user can also replace the program.

use std::hash::{Hash, Hasher};
use std::io;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;

use super::super::digest::Digest;
use super::artifact::{ARTIFACT_BYTES_MAX, Artifact};
use super::private_folder::PrivateFolder;

/// Switching between the versions of a few policies compiles each of them once.
const FILES_MAX: usize = 64;
const BYTES_MAX: u64 = 512 * 1024 * 1024;
const DIGEST_BYTES: usize = 32;
/// Of the name of a file that is being written.
const UNIQUE_DIGITS: usize = 32;

pub(super) struct ArtifactCache {
    /// `None`: nothing is read or written.
    path: Option<PathBuf>,
}

/// Names compiled code by all that it depends on: the component, the compiler's version and settings, the processor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(Digest);

impl Key {
    pub(super) fn new(engine: &Engine, component: Digest) -> Self {
        let mut hasher = Hashing(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.0.update(component.as_bytes());
        Self(Digest::from(<[u8; DIGEST_BYTES]>::from(hasher.0.finalize())))
    }

    fn file_name(self) -> String {
        self.0.to_string()
    }
}

/// `Hash` with SHA-256.
struct Hashing(Sha256);

impl Hasher for Hashing {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the digest is taken instead")
    }
}

impl ArtifactCache {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self { path }
    }

    /// `None` if there is no such file, or none that can be trusted.
    pub(super) fn read(&self, key: Key) -> Option<Artifact> {
        let path = self.path.as_ref()?;
        let name = key.file_name();
        let opened = PrivateFolder::open(path)
            .and_then(|folder| Ok((folder.read(&name, DIGEST_BYTES + ARTIFACT_BYTES_MAX)?, folder)));
        match opened {
            Ok((mut bytes, folder)) => {
                let code = bytes.split_off(bytes.len().min(DIGEST_BYTES));
                if bytes == checksum(key, &code).as_bytes() {
                    return Some(Artifact::from_compiler(code));
                }
                tracing::warn!(folder = %path.display(), file = name, "compiled policy damaged: deleted and compiled again");
                let _ = folder.remove(&name);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(folder = %path.display(), file = name, %error, "compiled policy not read: compiled again");
                None
            }
        }
    }

    /// A file that cannot be written is no reason to refuse a policy.
    pub(super) fn store(&self, key: Key, artifact: &Artifact) {
        let Some(path) = &self.path else { return };
        let name = key.file_name();
        let code = artifact.bytes();
        let stored = PrivateFolder::create(path).and_then(|folder| {
            folder.write(&name, &[checksum(key, code).as_bytes(), code])?;
            folder.trim(is_own, FILES_MAX, BYTES_MAX)
        });
        if let Err(error) = stored {
            tracing::warn!(folder = %path.display(), %error, "compiled policy not stored: a restart compiles it again");
        }
    }
}

/// Also of the key: a file under another name is not what it says.
fn checksum(key: Key, code: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(key.0.as_bytes());
    hasher.update(code);
    Digest::from(<[u8; DIGEST_BYTES]>::from(hasher.finalize()))
}

/// Other files stay: the folder may have been chosen by mistake.
fn is_own(name: &str) -> bool {
    let mut parts = name.splitn(2, '.');
    let is_hexadecimal = |part: &str, length| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.next().is_some_and(|key| is_hexadecimal(key, 2 * DIGEST_BYTES))
        && parts.next().is_none_or(|unfinished| is_hexadecimal(unfinished, UNIQUE_DIGITS))
}
