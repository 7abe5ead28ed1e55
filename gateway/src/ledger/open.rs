//! Opening a ledger: which adapter the URL names, and what to do when it does not open.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;

use super::{Ledger, Options, mysql, sqlite};

/// Opening the ledger failed. No message shows a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No adapter knows the scheme.
    #[error("ledger.url: expected `sqlite:PATH` or `mysql://user@host:3306/database`, found `{0}`")]
    UnknownUrl(String),
    /// The scheme is known, and the rest is not as it should be.
    #[error("ledger.url: {what}; expected `mysql://user@host:3306/database`, found `{url}`")]
    BadUrl {
        /// All of it but the password.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// A file that the options name.
    #[error("ledger.{key}: read {}: {source}", path.display())]
    File {
        /// Which option.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("another sluice already runs on `{0}`; stop it first, or give this one a ledger.url of its own")]
    InUse(String),
    /// The server does not answer.
    #[error("no database server answers at {server}: {source}; start it, or mend ledger.url")]
    Unreachable {
        /// Its host and port.
        server: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server does not let the user in.
    #[error(
        "the database server at {server} turns away the user `{user}`: {says}; \
         mend the user or the password (ledger.url, ledger.password_file), or grant it the database{}",
        if *in_plain_text { "; it may ask for TLS, which ssl-mode=DISABLED in ledger.url rules out" } else { "" }
    )]
    Denied {
        /// Its host and port.
        server: String,
        /// Who.
        user: String,
        /// The server's own words.
        says: String,
        /// Whether it was asked without TLS. A user who must use it is turned away in the same words.
        in_plain_text: bool,
    },
    /// The server's certificate does not do, or the two have no other way to TLS in common.
    #[error(
        "ledger.tls_ca_file: the database server at {server} is not trusted: {says}; name the authority that signed \
         its certificate there, and in ledger.url the host that it is for"
    )]
    Untrusted {
        /// Its host and port.
        server: String,
        /// What is wrong with it.
        says: String,
    },
    /// The server does not know TLS.
    #[error(
        "ledger.url: the database server at {server} speaks no TLS; set it up there, or do without ssl-mode and \
         ledger.tls_ca_file"
    )]
    NoTls {
        /// Its host and port.
        server: String,
    },
    /// The server has no such database.
    #[error("the database server at {server} has no database `{database}`; create it, then run `sluice migrate`")]
    NoDatabase {
        /// Its host and port.
        server: String,
        /// Which one.
        database: String,
    },
    /// The tables are older than this binary, or not there yet.
    #[error("the ledger `{place}` is at version {found} and this sluice needs {needed}: run `sluice migrate`")]
    Behind {
        /// Where it lies.
        place: String,
        /// The version of its tables; 0 when there are none.
        found: i64,
        /// That of this binary.
        needed: i64,
    },
    /// The tables are newer than this binary.
    #[error("the ledger `{place}` is of a newer sluice (version {found}, this one knows {known}): run that version")]
    Ahead {
        /// Where it lies.
        place: String,
        /// The version of its tables.
        found: i64,
        /// That of this binary.
        known: i64,
    },
    /// Anything else.
    #[error("open the ledger `{path}`: {source}")]
    Failed {
        /// Where it lies.
        path: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    /// Whether waiting may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// What [`migrate`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations that were missing, in their order; none when there was nothing to do.
    pub applied: Vec<String>,
}

enum Adapter<'a> {
    Sqlite(&'a str),
    Mysql(Box<mysql::Server>),
}

/// Looks whether an adapter knows the URL, and opens nothing but the files that the options name.
///
/// # Errors
/// [`OpenError`] says which key to mend.
pub fn check(options: &Options) -> Result<(), OpenError> {
    adapter(options).map(|_| ())
}

/// Opens the ledger that the URL names, at the version of this binary. One in a file is brought to it;
/// of one on a server others may depend, so that is left to [`migrate`].
///
/// # Errors
/// [`OpenError`] says what to do about it.
pub async fn open(options: &Options) -> Result<Arc<dyn Ledger>, OpenError> {
    Ok(match adapter(options)? {
        Adapter::Sqlite(path) => Arc::new(sqlite::Sqlite::open(path).await?),
        Adapter::Mysql(server) => Arc::new(mysql::Mysql::open(&server).await?),
    })
}

/// Brings the ledger that the URL names to this binary's version. Safe to repeat, and to run twice at once.
///
/// # Errors
/// [`OpenError`] says what to do about it.
pub fn migrate(options: &Options) -> LocalBoxFuture<'_, Result<Migrated, OpenError>> {
    Box::pin(async {
        let applied = match adapter(options)? {
            Adapter::Sqlite(path) => sqlite::migrate(path).await?,
            Adapter::Mysql(server) => mysql::migrate(&server).await?,
        };
        Ok(Migrated { applied })
    })
}

fn adapter(options: &Options) -> Result<Adapter<'_>, OpenError> {
    if let Some(path) = options.url.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
        Ok(Adapter::Sqlite(path))
    } else if options.url.starts_with("mysql:") {
        Ok(Adapter::Mysql(Box::new(mysql::Server::of(options)?)))
    } else {
        Err(OpenError::UnknownUrl(redacted(&options.url)))
    }
}

/// A URL, or a text with one in it, as it may be shown: without the password.
#[must_use]
pub fn redacted(text: &str) -> String {
    let after = |mark: &str| text.find(mark).map(|place| place + mark.len());
    let hidden = after("://").or_else(|| after("mysql:")).and_then(|start| {
        // A password may hold what should have been escaped, so the last @ counts.
        let end = start + text[start..].rfind('@')?;
        let colon = start + text[start..end].find(':')?;
        Some((colon + 1, end))
    });
    hidden.map_or_else(|| text.to_owned(), |(start, end)| format!("{}***{}", &text[..start], &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("mysql://sluice:secret@db:3306/sluice", "mysql://sluice:***@db:3306/sluice"),
            ("mysql://sluice:se/c#r@t@db/sluice?ssl-mode=REQUIRED", "mysql://sluice:***@db/sluice?ssl-mode=REQUIRED"),
            ("mysql:sluice:secret@db/sluice", "mysql:sluice:***@db/sluice"),
            ("mariadb://sluice:secret@db", "mariadb://sluice:***@db"),
            ("1 | url = \"mysql://sluice:secret@db", "1 | url = \"mysql://sluice:***@db"),
            ("mysql://sluice@db:3306/sluice", "mysql://sluice@db:3306/sluice"),
            ("sqlite:data/a@b:c.db", "sqlite:data/a@b:c.db"),
        ] {
            assert_eq!(redacted(url), shown);
            let options = Options { url: url.to_owned(), ..Options::default() };
            let error = check(&options).err();
            assert!(!format!("{options:?} {error:?}").contains("secret"), "{options:?} {error:?}");
        }
    }

    #[test]
    fn a_url_is_looked_at_without_opening_anything() {
        let check = |url: &str| check(&Options { url: url.to_owned(), ..Options::default() });
        check("mysql://sluice:secret@no.such.host:3306/sluice?ssl-mode=VERIFY_IDENTITY").expect("is right");
        for (url, says) in [
            ("mysql://db:3306/sluice", "it names no user"),
            ("mysql://sluice:secret@db:3306", "it names no database"),
            ("mysql://sluice:secret@db:port/sluice", "invalid port number"),
            ("mysql://sluice:secret@db/sluice?sslmode=REQUIRED", "`sslmode` is unknown; there is `ssl-mode` only"),
            ("mysql://sluice:secret@db/sluice?ssl-mode=maybe", "unknown value \"maybe\" for `ssl_mode`"),
            ("paper:book", "expected `sqlite:PATH` or `mysql://user@host:3306/database`, found `paper:book`"),
        ] {
            let error = check(url).expect_err("is wrong");
            let told = error.to_string();
            assert!(told.starts_with("ledger.url: ") && told.contains(says), "{told}");
            assert!(!format!("{told} {error:?}").contains("secret"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn migrating_a_file_twice_does_nothing_the_second_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options =
            Options { url: format!("sqlite:{}", folder.path().join("ledger.db").display()), ..Options::default() };
        assert_eq!(migrate(&options).await.expect("migrates").applied, ["0001_ledger", "0002_pipeline"]);
        assert!(migrate(&options).await.expect("migrates").applied.is_empty());
    }
}
