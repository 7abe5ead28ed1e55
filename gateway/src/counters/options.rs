//! `[counters]` in `sluice.toml`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use super::open_error::OpenError;
use super::redis::Server;
use crate::secret::{read_secret, redact};

/// It is stored with every key.
const KEY_PREFIX_BYTES_MAX: usize = 32;
/// Ends the prefix of the shadows' keys.
const SHADOW_SUFFIX: &str = ".shadow";

/// `[counters]` in `sluice.toml`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section")]
pub struct Options {
    /// `local:` keeps the counters in this process. `redis://[user@]host:port[/db]` keeps them in a Redis that several
    /// gateways share, `redis+cluster://[user@]host:port,host:port,…` in a Redis Cluster, of which some nodes are
    /// enough. `rediss://…` and `rediss+cluster://…` use TLS.
    #[serde(serialize_with = "serialize_url")]
    pub url: String,
    /// Begins the name of every key in Redis. Systems that share a Redis need different prefixes; the gateways of one
    /// system need the same. After a change, counts start at zero, and the ledger still enforces the campaign's limit.
    pub key_prefix: String,
    /// File with the Redis password.
    pub password_file: Option<PathBuf>,
    /// PEM file of a private CA. Without it, the system trust store is used.
    pub tls_ca_file: Option<PathBuf>,
    /// While Redis is unavailable: `pass` measures each request as if it were the first (the ledger still enforces the
    /// campaign's limit), `refuse` lets each hook apply its `on_failure` and fails readiness.
    pub on_unavailable: OnUnavailable,
    /// Counts for policies that are only tried, apart from all others.
    #[serde(skip)]
    pub is_for_shadows: bool,
}

/// How requests are treated while Redis is unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnavailable {
    /// Each is measured as if it were the first. The ledger still enforces the campaign's limit.
    #[default]
    Pass,
    /// Each hook applies its `on_failure`, and the gateway is not ready.
    Refuse,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "local:".to_owned(),
            key_prefix: "sluice".to_owned(),
            password_file: None,
            tls_ca_file: None,
            on_unavailable: OnUnavailable::default(),
            is_for_shadows: false,
        }
    }
}

impl Options {
    /// The same counters under other keys, for policies that are only tried. Without them, nothing is refused.
    #[must_use]
    pub fn for_shadows(&self) -> Self {
        Self { is_for_shadows: true, on_unavailable: OnUnavailable::Pass, ..self.clone() }
    }

    /// `None` for `local:`.
    pub(super) fn server(&self) -> Result<Option<Server>, OpenError> {
        let (scheme, rest) = self.url.split_once(':').unwrap_or((&self.url, ""));
        match scheme {
            "local" if rest.is_empty() && self.url.ends_with(':') => Ok(None),
            "redis" | "rediss" | "redis+cluster" | "rediss+cluster" => self.redis_server().map(Some),
            _ if rest.is_empty() => Err(OpenError::UnknownUrl(self.url.clone())),
            _ => Err(OpenError::UnknownUrl(format!("{scheme}:…"))),
        }
    }

    fn redis_server(&self) -> Result<Server, OpenError> {
        if self.tls_ca_file.is_some() && !self.url.starts_with("rediss") {
            return Err(OpenError::Certificates(
                "counters.url does not use TLS: use `rediss://`, or remove this option".to_owned(),
            ));
        }
        if !is_key_prefix(&self.key_prefix) {
            return Err(OpenError::KeyPrefix(self.key_prefix.clone()));
        }
        let password = self.password_file.as_deref().map(read_secret).transpose();
        let password = password.map_err(|error| OpenError::PasswordFile(error.to_string()))?;
        let certificates = self.tls_ca_file.as_deref().map(|path| read("counters.tls_ca_file", path)).transpose()?;
        let suffix = if self.is_for_shadows { SHADOW_SUFFIX } else { "" };
        Server::new(&self.url, &format!("{}{suffix}", self.key_prefix), password, certificates)
    }
}

/// Braces would change the slots of the keys, and a colon could make the keys of two systems equal.
fn is_key_prefix(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=KEY_PREFIX_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path).map_err(|error| OpenError::File { key, path: path.to_owned(), message: error.to_string() })
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("url", &redact(&self.url))
            .field("key_prefix", &self.key_prefix)
            .field("password_file", &self.password_file)
            .field("tls_ca_file", &self.tls_ca_file)
            .field("on_unavailable", &self.on_unavailable)
            .finish()
    }
}

/// A URL with a password is refused, but may be shown before it is.
fn serialize_url<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&redact(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_url(url: &str) -> Options {
        Options { url: url.to_owned(), ..Options::default() }
    }

    fn error_for(options: &Options) -> String {
        options.server().expect_err("an error").to_string()
    }

    #[test]
    fn passwords_are_redacted_in_debug_output_toml_and_errors() {
        for url in [
            "redis://user:s3cret@host:1",
            "redis://:s3cret@host",
            "rediss://u:s3cret@x@h:1/2",
            "redis+cluster://u:s3cret@a:1,b:2",
            "redis+cluster:u:s3cret@a:1,b:2",
            "x://u:s3cret@h",
        ] {
            let options = with_url(url);
            let shown = format!("{options:?} {} {}", toml::to_string(&options).expect("TOML"), error_for(&options));
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }

    #[test]
    fn a_password_in_the_url_is_rejected_in_favour_of_password_file() {
        assert!(error_for(&with_url("redis://user:s3cret@host:1")).contains("counters.password_file"));
        assert!(error_for(&with_url("redis+cluster://user:s3cret@a:1,b:2")).contains("counters.password_file"));
        assert!(error_for(&with_url("redis://user@host:1")).starts_with("counters.password_file: "));
    }

    #[test]
    fn a_url_with_an_unknown_scheme_is_rejected() {
        for (url, found) in [("memcached:", "memcached:"), ("local", "local"), ("local:x", "local:…"), ("", "")] {
            assert!(
                error_for(&with_url(url)).ends_with(&format!("(`rediss` with TLS), found `{found}`")),
                "{}",
                error_for(&with_url(url))
            );
        }
    }

    #[test]
    fn redis_url_options_and_malformed_redis_urls_are_rejected() {
        for url in [
            "redis://",
            "redis://host/x",
            "rediss://host#insecure",
            "redis://host?protocol=resp3",
            "redis+cluster://",
            "redis+cluster://a:1,,b:2",
            "redis+cluster://a:1/2",
        ] {
            assert!(error_for(&with_url(url)).starts_with("counters.url: "), "{url}");
        }
    }

    #[test]
    fn a_cluster_is_named_by_some_of_its_nodes() {
        for url in ["redis+cluster://a:1,b:2,c:3", "rediss+cluster://a:1", "redis+cluster://[::1]:6379,localhost"] {
            assert!(with_url(url).server().is_ok_and(|server| server.is_some()), "{url}");
        }
    }

    #[test]
    fn a_key_prefix_that_could_collide_or_move_keys_to_other_slots_is_rejected() {
        for key_prefix in ["", "a b", "{a}", "a:b", "é", "0123456789012345678901234567890123456789"] {
            let options = Options { key_prefix: key_prefix.to_owned(), ..with_url("redis://host:1") };
            assert!(error_for(&options).starts_with("counters.key_prefix: "), "{}", error_for(&options));
        }
    }

    #[test]
    fn a_ca_file_without_tls_is_rejected() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let options = Options { tls_ca_file: Some(file.path().to_owned()), ..with_url("redis://host:1") };
        assert!(error_for(&options).contains("rediss://"), "{}", error_for(&options));
    }

    #[test]
    fn a_ca_file_without_certificates_is_rejected() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let options = Options { tls_ca_file: Some(file.path().to_owned()), ..with_url("rediss://host:1") };
        assert!(error_for(&options).starts_with("counters.tls_ca_file: "), "{}", error_for(&options));
    }

    #[test]
    fn an_empty_password_file_is_refused_and_its_option_named() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let options = Options { password_file: Some(file.path().to_owned()), ..with_url("redis://host:1") };
        assert!(error_for(&options).starts_with("counters.password_file: "), "{}", error_for(&options));
    }
}
