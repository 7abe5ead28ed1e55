//! Opens and migrates the ledger: the scheme of the URL selects the adapter.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;

use super::{Ledger, OpenError, Options, mysql, sqlite};
use crate::secret::redact;

/// The result of [`migrate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The names of the applied migrations, in their order. Empty when the ledger was up to date.
    pub applied: Vec<String>,
}

enum Adapter<'a> {
    Sqlite(&'a str),
    Mysql(Box<mysql::Server>),
}

/// Validates the options without connecting. Only the files that they name are read.
///
/// # Errors
/// [`OpenError`] names the option to fix.
pub fn check(options: &Options) -> Result<(), OpenError> {
    adapter(options).map(|_| ())
}

/// Whether opening the ledger would create it. A database on a server is never created.
#[must_use]
pub fn is_new(options: &Options) -> bool {
    matches!(adapter(options), Ok(Adapter::Sqlite(path)) if !Path::new(path).exists())
}

/// Whether the URL names a server, which several processes can use.
#[must_use]
pub fn is_shared(options: &Options) -> bool {
    options.url.starts_with("mysql:")
}

/// Opens the ledger. A file is migrated to this binary's version; a server is not, because other gateways may
/// still need the old version: that is left to [`migrate`].
///
/// # Errors
/// [`OpenError`] says what to do.
pub async fn open(options: &Options) -> Result<Arc<dyn Ledger>, OpenError> {
    Ok(match adapter(options)? {
        Adapter::Sqlite(path) => Arc::new(sqlite::Sqlite::open(path).await?),
        Adapter::Mysql(server) => Arc::new(mysql::Mysql::open(&server).await?),
    })
}

/// Migrates the ledger to this binary's version. Safe to repeat, also concurrently.
///
/// # Errors
/// [`OpenError`] says what to do.
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
    } else if is_shared(options) {
        Ok(Adapter::Mysql(Box::new(mysql::Server::parse(options)?)))
    } else {
        Err(OpenError::UnknownUrl(redact(&options.url)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::migrations;

    #[test]
    fn options_and_errors_contain_no_password() {
        for url in [
            "mysql://sluice:secret@db:3306/sluice",
            "mysql://sluice:se/c#r@secret@db/sluice?ssl-mode=REQUIRED",
            "mysql:sluice:secret@db/sluice",
            "mariadb://sluice:secret@db",
        ] {
            let options = Options { url: url.to_owned(), ..Options::default() };
            let shown = format!("{options:?} {:?} {:?}", options.redacted(), check(&options).err());
            assert!(!shown.contains("secret"), "{shown}");
        }
    }

    #[test]
    fn a_url_is_checked_without_connecting() {
        let check = |url: &str| check(&Options { url: url.to_owned(), ..Options::default() });
        check("mysql://sluice:secret@no.such.host:3306/sluice?ssl-mode=VERIFY_IDENTITY").expect("is valid");
        for (url, expected) in [
            ("mysql://db:3306/sluice", "the user is missing"),
            ("mysql://sluice:secret@db:3306", "the database is missing"),
            ("mysql://sluice:secret@db:port/sluice", "invalid port number"),
            (
                "mysql://sluice:secret@db/sluice?sslmode=REQUIRED",
                "unknown parameter `sslmode`, only `ssl-mode` is supported",
            ),
            ("mysql://sluice:secret@db/sluice?ssl-mode=maybe", "unknown value \"maybe\" for `ssl_mode`"),
            ("paper:book", "expected `sqlite:PATH` or `mysql://user@host:3306/database`, found `paper:book`"),
        ] {
            let error = check(url).expect_err("is invalid");
            let message = error.to_string();
            assert!(message.starts_with("ledger.url: ") && message.contains(expected), "{message}");
            assert!(!format!("{message} {error:?}").contains("secret"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn migrating_an_up_to_date_file_applies_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options =
            Options { url: format!("sqlite:{}", folder.path().join("ledger.db").display()), ..Options::default() };
        let all = migrations::missing(&migrations::SQLITE, &[]);
        assert_eq!(migrate(&options).await.expect("migrates").applied, all);
        assert!(migrate(&options).await.expect("migrates").applied.is_empty());
    }
}
