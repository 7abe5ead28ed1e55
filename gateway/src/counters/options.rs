//! `[counters]` of the configuration.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use super::redis::Server;

/// `[counters]` of the configuration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `local:` keeps the counters in this process; `redis://[user@]host:port[/db]` in a Redis that
    /// several gateways share, and `rediss://…` the same over TLS.
    #[serde(serialize_with = "serialize_url")]
    pub url: String,
    /// A file that holds the password for Redis.
    pub password_file: Option<PathBuf>,
    /// A file of certificates (PEM) that vouch for Redis, in place of those the system trusts.
    pub tls_ca_file: Option<PathBuf>,
    /// What becomes of requests while the counters are out of reach.
    pub on_unavailable: OnUnavailable,
}

/// What becomes of requests while the counters are out of reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnavailable {
    /// Each is measured as if it were the first. The ledger still holds the limit of a campaign.
    #[default]
    Pass,
    /// Each hook does what its `on_failure` says, and no more traffic is wanted.
    Refuse,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "local:".to_owned(),
            password_file: None,
            tls_ca_file: None,
            on_unavailable: OnUnavailable::default(),
        }
    }
}

/// Why counters were not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No adapter knows the scheme.
    #[error("counters.url: expected `local:`, `redis://[user@]host:port[/db]` or `rediss://…`, found `{0}`")]
    UnknownUrl(String),
    /// The URL is not one of Redis.
    #[error("counters.url: {0}")]
    Url(String),
    /// The URL holds a password, and URLs are shown.
    #[error("counters.url: a password is not to be written here; put it in a file that counters.password_file names")]
    PasswordInUrl,
    /// The URL names a user who cannot log in.
    #[error("counters.password_file: expected a file with the password of the user in counters.url")]
    NoPassword,
    /// The certificates cannot be used.
    #[error("counters.tls_ca_file: {0}")]
    Certificates(String),
    /// A file cannot be used.
    #[error("{key}: {}: {message}", path.display())]
    File {
        /// Which key of the configuration names it.
        key: &'static str,
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Redis does not let this gateway in.
    #[error("counters.url: {server} refuses the login: {reason}; mend the user there or counters.password_file")]
    LoginRefused {
        /// Which one.
        server: String,
        /// Its words.
        reason: String,
    },
    /// The certificate of Redis does not do.
    #[error(
        "counters.tls_ca_file: {server} shows a certificate that is not trusted: {reason}; name the authority that \
         signed it there, and in counters.url the host that it is for"
    )]
    Untrusted {
        /// Which one.
        server: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Redis answers, but the other way.
    #[error(
        "counters.url: {server} {}; say `{}://…`, or give it the other port",
        if *with_tls { "speaks TLS only" } else { "speaks no TLS" },
        if *with_tls { "rediss" } else { "redis" }
    )]
    OtherWay {
        /// Which one.
        server: String,
        /// Whether it answers with TLS, or without.
        with_tls: bool,
    },
    /// Redis is out of reach, and the gateway may not do without.
    #[error(
        "counters.url: {server} is out of reach: {reason}; start it, or go on without shared counters by \
         counters.on_unavailable = \"pass\""
    )]
    Unreachable {
        /// Which one.
        server: String,
        /// What went wrong.
        reason: String,
    },
}

impl Options {
    /// Where Redis is; nowhere when the counters are kept in this process.
    pub(super) fn server(&self) -> Result<Option<Server>, OpenError> {
        let (scheme, rest) = self.url.split_once(':').unwrap_or((&self.url, ""));
        match scheme {
            "local" if rest.is_empty() && self.url.ends_with(':') => Ok(None),
            "redis" | "rediss" => self.redis_server().map(Some),
            _ if rest.is_empty() => Err(OpenError::UnknownUrl(self.url.clone())),
            _ => Err(OpenError::UnknownUrl(format!("{scheme}:…"))),
        }
    }

    fn redis_server(&self) -> Result<Server, OpenError> {
        if self.tls_ca_file.is_some() && !self.url.starts_with("rediss:") {
            return Err(OpenError::Certificates("only a `rediss://…` as counters.url has a use for it".to_owned()));
        }
        let password = self.password_file.as_deref().map(password).transpose()?;
        let certificates = self.tls_ca_file.as_deref().map(|path| read("counters.tls_ca_file", path)).transpose()?;
        Server::new(&self.url, password, certificates)
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path).map_err(|error| OpenError::File { key, path: path.to_owned(), message: error.to_string() })
}

fn password(path: &Path) -> Result<String, OpenError> {
    let key = "counters.password_file";
    let wrong = |message: &str| OpenError::File { key, path: path.to_owned(), message: message.to_owned() };
    let text = String::from_utf8(read(key, path)?).map_err(|_| wrong("expected text"))?;
    match text.trim() {
        "" => Err(wrong("expected a password, found nothing")),
        password => Ok(password.to_owned()),
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("url", &without_password(&self.url))
            .field("password_file", &self.password_file)
            .field("tls_ca_file", &self.tls_ca_file)
            .field("on_unavailable", &self.on_unavailable)
            .finish()
    }
}

fn serialize_url<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&without_password(url))
}

/// A URL with a password is refused, but may be shown before it is.
fn without_password(url: &str) -> Cow<'_, str> {
    let hidden = || {
        let (scheme, rest) = url.split_once("://")?;
        let (login, place) = rest.rsplit_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:***@{place}"))
    };
    hidden().map_or(Cow::Borrowed(url), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Options {
        Options { url: url.to_owned(), ..Options::default() }
    }

    fn refused(options: &Options) -> String {
        options.server().expect_err("refused").to_string()
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        for url in ["redis://user:s3cret@host:1", "redis://:s3cret@host", "rediss://u:s3cret@x@h:1/2", "x://u:s3cret@h"]
        {
            let options = of(url);
            let shown = format!("{options:?} {} {}", toml::to_string(&options).expect("TOML"), refused(&options));
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        let url = "redis://user@host:6379/3";
        assert_eq!(without_password(url), url);
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_its_place_named() {
        assert!(refused(&of("redis://user:s3cret@host:1")).contains("counters.password_file"));
        assert!(refused(&of("redis://user@host:1")).starts_with("counters.password_file: "));
    }

    #[test]
    fn a_url_of_no_adapter_is_refused() {
        for (url, found) in [("fingers:", "fingers:"), ("local", "local"), ("local:x", "local:…"), ("", "")] {
            assert!(refused(&of(url)).ends_with(&format!("or `rediss://…`, found `{found}`")), "{}", refused(&of(url)));
        }
    }

    #[test]
    fn a_url_that_redis_would_read_otherwise_is_refused() {
        for url in ["redis://", "redis://host/x", "rediss://host#insecure", "redis://host?protocol=resp3"] {
            assert!(refused(&of(url)).starts_with("counters.url: "), "{url}");
        }
    }

    #[test]
    fn certificates_without_tls_are_refused() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let options = Options { tls_ca_file: Some(file.path().to_owned()), ..of("redis://host:1") };
        assert!(refused(&options).contains("rediss://"), "{}", refused(&options));
    }

    #[test]
    fn certificates_that_are_none_are_refused() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let options = Options { tls_ca_file: Some(file.path().to_owned()), ..of("rediss://host:1") };
        assert!(refused(&options).starts_with("counters.tls_ca_file: "), "{}", refused(&options));
    }

    #[test]
    fn a_password_is_read_without_the_end_of_its_line() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), " s3cret\n").expect("writes");
        assert_eq!(password(file.path()).expect("a password"), "s3cret");
        std::fs::write(file.path(), "\n").expect("writes");
        assert!(password(file.path()).expect_err("refused").to_string().ends_with("found nothing"));
    }
}
