//! The two files of a listener's TLS.

use std::path::{Path, PathBuf};

use crate::regular_file;

/// Far more than a certificate with its chain takes.
const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Windows editors put it at the start of a text file. OpenSSL would not find the first certificate after it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An option, what is wrong with it, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{section}.{key}: {problem}")]
pub struct TlsError {
    section: &'static str,
    key: &'static str,
    problem: String,
}

pub(super) struct Files {
    pub(super) section: &'static str,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// The bytes of both files.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pem {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

const CERTIFICATE: &str = "tls_certificate_file";
const KEY: &str = "tls_key_file";

impl Files {
    pub(super) fn new(
        section: &'static str,
        certificate: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<Option<Self>, TlsError> {
        let missing = |key, problem: String| Err(TlsError { section, key, problem });
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => {
                Ok(Some(Self { section, certificate: certificate.to_owned(), key: key.to_owned() }))
            }
            (Some(_), None) => {
                missing(KEY, format!("required by {section}.{CERTIFICATE}: name the file of the certificate's key"))
            }
            (None, Some(_)) => {
                missing(CERTIFICATE, format!("required by {section}.{KEY}: name the file of the key's certificate"))
            }
        }
    }

    pub(super) fn read(&self) -> Result<Pem, TlsError> {
        let read = |key, path: &Path| {
            let bytes = regular_file::read(path, FILE_BYTES_MAX);
            let bytes = bytes.map_err(|error| self.error(key, format!("read {}: {error}", path.display())))?;
            Ok(bytes.strip_prefix(BYTE_ORDER_MARK).map_or_else(|| bytes.clone(), <[u8]>::to_vec))
        };
        Ok(Pem { certificate: read(CERTIFICATE, &self.certificate)?, key: read(KEY, &self.key)? })
    }

    pub(super) fn certificate_error(&self, problem: impl std::fmt::Display) -> TlsError {
        self.error(CERTIFICATE, format!("{}: {problem}", self.certificate.display()))
    }

    pub(super) fn key_error(&self, problem: impl std::fmt::Display) -> TlsError {
        self.error(KEY, format!("{}: {problem}", self.key.display()))
    }

    fn error(&self, key: &'static str, problem: String) -> TlsError {
        TlsError { section: self.section, key, problem }
    }
}
