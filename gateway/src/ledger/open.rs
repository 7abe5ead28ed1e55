//! Opens and migrates the ledger: the scheme of the URL selects the adapter.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;

use super::{Groups, Ledger, OpenError, Opener, Options, mysql, sqlite};
use crate::secret::redact;

enum Adapter<'a> {
    Sqlite(&'a str),
    Mysql(Box<mysql::Server>),
}

/// Validates the options without connecting. Only the files that they name are read.
///
/// # Errors
/// [`OpenError`] names the option to fix.
pub fn check(options: &Options) -> Result<(), OpenError> {
    options.check_list()?;
    options.of_groups().iter().try_for_each(|options| adapter(options).map(|_| ()))
}

/// Whether opening the ledger would create it. A database on a server is never created.
#[must_use]
pub fn is_new(options: &Options) -> bool {
    options.of_groups().first().is_some_and(is_new_file)
}

fn is_new_file(options: &Options) -> bool {
    matches!(adapter(options), Ok(Adapter::Sqlite(path)) if !Path::new(path).exists())
}

/// Whether a URL names a server, which several processes can use.
#[must_use]
pub fn is_shared(options: &Options) -> bool {
    options.of_groups().iter().any(|options| options.url.starts_with("mysql:"))
}

/// Opens the first group of the ledger; the others are opened when they [join](Ledger::join). `partitions_each` is the
/// number of partitions of each group. A file is migrated to this binary's version; a server is not, because other
/// gateways may still need the old version: that is left to [`migrate`].
///
/// # Errors
/// [`OpenError`] says what to do.
pub async fn open(options: &Options, partitions_each: u32) -> Result<Arc<dyn Ledger>, OpenError> {
    Ok(Arc::new(open_first(options, partitions_each).await?))
}

/// Opens all groups without verifying that their databases belong together.
///
/// # Errors
/// As [`open`].
pub async fn open_unverified(options: &Options, partitions_each: u32) -> Result<Arc<dyn Ledger>, OpenError> {
    Ok(Arc::new(open_first(options, partitions_each).await?.open_unverified().await?))
}

async fn open_first(options: &Options, partitions_each: u32) -> Result<Groups, OpenError> {
    check(options)?;
    let openers = options.of_groups().into_iter().map(|options| {
        let opener: Opener = Box::new(move || Box::pin(open_one(options.clone())));
        opener
    });
    Groups::open(openers.collect(), partitions_each).await
}

async fn open_one(options: Options) -> Result<Arc<dyn Ledger>, OpenError> {
    Ok(match adapter(&options)? {
        Adapter::Sqlite(path) => Arc::new(sqlite::Sqlite::open(path).await?),
        Adapter::Mysql(server) => Arc::new(mysql::Mysql::open(&server).await?),
    })
}

/// Migrates the database of one group to this binary's version. Safe to repeat, also concurrently. Returns the names of
/// the applied migrations, in their order: none when the database was up to date.
///
/// # Errors
/// [`OpenError`] says what to do.
pub fn migrate(options: &Options) -> LocalBoxFuture<'_, Result<Vec<String>, OpenError>> {
    Box::pin(async {
        match adapter(options)? {
            Adapter::Sqlite(path) => sqlite::migrate(path).await,
            Adapter::Mysql(server) => mysql::migrate(&server).await,
        }
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

    #[test]
    fn a_list_of_databases_is_checked_and_shows_no_password() {
        let check = |urls: &[&str]| {
            let options = Options { urls: urls.iter().map(|url| (*url).to_owned()).collect(), ..Options::default() };
            check(&options).map_err(|error| format!("{error} {options:?}"))
        };
        check(&["mysql://sluice:secret@one/sluice", "sqlite:two.db"]).expect("is valid");
        for (urls, expected) in [
            (
                &["mysql://sluice:secret@db/a", "mysql://sluice:secret@db/a"][..],
                "`mysql://sluice:***@db/a` is listed twice",
            ),
            (&["mysql://sluice:secret@db/a", "paper:book"][..], "expected `sqlite:PATH` or"),
            (&["sqlite:a"; 65][..], "expected at most 64 databases, found 65"),
        ] {
            let error = check(urls).expect_err("is refused");
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn migrating_an_up_to_date_file_applies_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options =
            Options { url: format!("sqlite:{}", folder.path().join("ledger.db").display()), ..Options::default() };
        let all = migrations::missing(&migrations::SQLITE, &[]);
        assert_eq!(migrate(&options).await.expect("migrates"), all);
        assert!(migrate(&options).await.expect("migrates").is_empty());
    }
}
