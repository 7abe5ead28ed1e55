//! `[ledger]` of the configuration.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{OpenError, Retention};
use crate::bounded::bounded;
use crate::coupon::GroupNo;
use crate::secret::redact;

/// A process keeps up to 27 connections to each database, and polls each four times a second.
const GROUPS_MAX: usize = 64;

/// `[ledger]` of the configuration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a section")]
pub struct Options {
    /// `sqlite:PATH` keeps the ledger in a local file,
    /// `mysql://user[:password]@host[:port]/database[?ssl-mode=…]` on a MySQL or MariaDB server.
    pub url: String,
    /// Instead of `url`: one database for each ledger group, such as `["mysql://…", "mysql://…"]`. New ones are appended
    /// at the end; their order never changes.
    pub urls: Vec<String>,
    /// The file's first line is the password, of all databases. It takes precedence over a password in the URL.
    pub password_file: Option<PathBuf>,
    /// A PEM file with the certificate of the authority that signed the server's. It sets `ssl-mode` to
    /// `VERIFY_IDENTITY`, unless the URL says `VERIFY_CA`.
    pub tls_ca_file: Option<PathBuf>,
    /// Days that the outcomes of a campaign are kept after it closed; 0 keeps them for ever.
    #[serde(deserialize_with = "bounded::<_, _, 0, 36_500>")]
    pub keep_days: u32,
    /// Hours that rejections are kept after their campaign closed; 0 keeps them as long as the other outcomes.
    #[serde(deserialize_with = "bounded::<_, _, 0, 876_000>")]
    pub keep_rejections_hours: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "sqlite:data/ledger.db".to_owned(),
            urls: Vec::new(),
            password_file: None,
            tls_ca_file: None,
            keep_days: 90,
            keep_rejections_hours: 7 * 24,
        }
    }
}

impl Options {
    /// A copy without passwords, for `sluice config show`.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let urls = self.urls.iter().map(|url| redact(url)).collect();
        Self { url: redact(&self.url), urls, ..self.clone() }
    }

    #[must_use]
    pub fn retention(&self) -> Retention {
        let hours = |hours: u32| (hours > 0).then(|| Duration::from_hours(hours.into()));
        Retention { outcomes: hours(self.keep_days * 24), rejections: hours(self.keep_rejections_hours) }
    }

    /// The number of ledger groups.
    #[must_use]
    pub fn groups(&self) -> u32 {
        u32::try_from(self.urls.len()).unwrap_or(u32::MAX).max(1)
    }

    /// The options of each group's database, in order.
    #[must_use]
    pub fn of_groups(&self) -> Vec<Self> {
        if self.urls.is_empty() {
            return vec![self.clone()];
        }
        self.urls.iter().map(|url| Self { url: url.clone(), urls: Vec::new(), ..self.clone() }).collect()
    }

    /// Checks the list of databases.
    pub(super) fn check_list(&self) -> Result<(), OpenError> {
        if self.urls.len() > GROUPS_MAX {
            return Err(OpenError::TooMany { found: self.urls.len(), groups_max: GROUPS_MAX });
        }
        let twice = (1..self.urls.len()).find(|index| self.urls[..*index].contains(&self.urls[*index]));
        match twice {
            Some(index) => Err(OpenError::Twice(redact(&self.urls[index]))),
            None => Ok(()),
        }
    }

    /// Whether both keys of the databases are set.
    #[must_use]
    pub fn has_both_keys(&self) -> bool {
        !self.urls.is_empty() && self.url != Self::default().url
    }

    /// In a message about one of several databases, its place in the list.
    #[must_use]
    pub fn label(&self, group: GroupNo) -> String {
        if self.urls.is_empty() { String::new() } else { format!("ledger group {group}: ") }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, urls, password_file, tls_ca_file, keep_days, keep_rejections_hours } = self.redacted();
        f.debug_struct("Options")
            .field("url", &url)
            .field("urls", &urls)
            .field("password_file", &password_file)
            .field("tls_ca_file", &tls_ca_file)
            .field("keep_days", &keep_days)
            .field("keep_rejections_hours", &keep_rejections_hours)
            .finish()
    }
}
