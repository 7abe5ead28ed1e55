//! `sluice.toml`: one section for the `Options` of each module.
//!
//! Every key has a default, and the variable `SLUICE__SECTION__KEY` overrides any key. An error names the file, the
//! line and the column, or the variable.

mod message;
#[cfg(test)]
mod tests;
mod unused;
mod variables;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::secret::redact;
use crate::{counters, decisions, http, ledger, log, policy, settlement, telemetry};

/// Read from the working directory if no file is named.
pub const DEFAULT_FILE: &str = "sluice.toml";

const VARIABLE_PREFIX: &str = "SLUICE__";

const SECTIONS: [&str; 10] =
    ["http", "admin", "log", "ledger", "counters", "policies", "decisions", "settlement", "telemetry", "pipeline"];

/// The whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "sections")]
pub struct Config {
    /// The public listener, which takes requests for coupons.
    pub http: http::Options,
    /// The admin listener: operator calls, metrics and probes.
    pub admin: http::AdminOptions,
    /// The log, which makes accepted requests durable.
    pub log: log::Options,
    /// The ledger, which holds campaigns, stock and outcomes.
    pub ledger: ledger::Options,
    /// The counters that measure requests for the policies.
    pub counters: counters::Options,
    /// The policy components.
    pub policies: policy::Options,
    /// The recorded decisions of the policies.
    pub decisions: decisions::Options,
    /// The settlement of accepted requests.
    pub settlement: settlement::Options,
    /// Logging.
    pub telemetry: telemetry::Options,
    /// The initial pipeline. The active pipeline is kept in the ledger; a later change of this section changes it. If a
    /// hook names another policy than the default one, `config` is empty by default.
    pub pipeline: policy::Pipeline,
    /// Set by `--role`, or by the deprecated keys `http.enabled` and `settlement.enabled`.
    #[serde(skip)]
    pub role: Role,
    /// The file that the gateway watches for pipeline changes, whether it exists or not. Absent if it watches none.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// Whether the file was there to be read.
    #[serde(skip)]
    pub is_from_file: bool,
    /// How many public connections this process has file descriptors for. No limit if absent.
    #[serde(skip)]
    pub connections_room: Option<usize>,
}

/// What a process does. Gateways and consumers that share a log, a ledger and counters form one system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Accepts requests for coupons.
    Gateway,
    /// Settles accepted requests.
    Consumer,
    /// Both roles in one process.
    #[default]
    All,
}

/// Why a configuration is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file is invalid. The message has the line, the column and the text of the line.
    #[error("{}: {message}", path.display())]
    File { path: PathBuf, message: String },
    #[error("{variable}: {message}")]
    Variable { variable: String, message: String },
    /// Each value is valid, but their combination is not.
    #[error("{0}")]
    Conflict(String),
}

impl Config {
    /// Reads the file, then applies the variables.
    ///
    /// Without `path`, reads [`DEFAULT_FILE`] if it exists, and uses the defaults if it does not.
    ///
    /// # Errors
    /// [`ConfigError`] names the place, what was expected and what was found.
    pub fn load(
        path: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let config = match path {
            Some(path) => Self::read(path)?,
            None if Path::new(DEFAULT_FILE).exists() => Self::read(Path::new(DEFAULT_FILE))?,
            None => Self { file: Some(DEFAULT_FILE.into()), ..Self::default() },
        };
        config.with_variables(variables)
    }

    /// As [`load`](Self::load), with the text that was read from the file.
    ///
    /// # Errors
    /// As `load`.
    pub fn parse(
        path: &Path,
        text: &str,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        Self::of_file(path, text)?.with_variables(variables)
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::of_file(path, &text)
    }

    fn of_file(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let invalid = |message| ConfigError::File { path: path.to_owned(), message };
        // The message quotes the line, which may contain a password.
        let config: Self = toml::from_str(text).map_err(|error| invalid(redact(&message::of_file(&error))))?;
        Ok(Self { file: Some(path.to_owned()), is_from_file: true, ..config })
    }

    fn with_variables(self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        let of_sluice =
            |(name, _): &(OsString, OsString)| name.as_encoded_bytes().starts_with(VARIABLE_PREFIX.as_bytes());
        let mut variables: Vec<_> = variables.into_iter().filter(of_sluice).collect();
        // The policy first: its name resets the other keys of its hook.
        variables.sort_by_key(|(name, _)| {
            (!name.as_encoded_bytes().to_ascii_uppercase().ends_with(b"__POLICY"), name.clone())
        });
        let mut config = variables.iter().try_fold(self, |config, (name, value)| {
            let variable = name.to_string_lossy().into_owned();
            let applied = text_of(name).and_then(|name| config.with_variable(name, text_of(value)?));
            applied.map_err(|message| ConfigError::Variable { variable, message })
        })?;
        config.role = config.deprecated_role()?;
        config.pipeline.check().map_err(ConfigError::Conflict)?;
        if config.ledger.has_both_keys() {
            let conflict =
                "ledger.url and ledger.urls are both set: remove ledger.url, and its variable, or ledger.urls";
            return Err(ConfigError::Conflict(conflict.into()));
        }
        Ok(config)
    }

    /// The sections in which another configuration differs, in their order.
    #[must_use]
    pub fn sections_unlike(&self, other: &Self) -> Vec<&'static str> {
        let table = |config| toml::Table::try_from(config).expect("a configuration serializes");
        let (mine, others) = (table(self), table(other));
        SECTIONS.into_iter().filter(|section| mine.get(*section) != others.get(*section)).collect()
    }

    /// The options of the log, which has partitions for every ledger group.
    #[must_use]
    pub fn whole_log(&self) -> log::Options {
        log::Options { groups: self.ledger.groups(), ..self.log.clone() }
    }

    /// What the keys that `--role` has replaced say.
    fn deprecated_role(&self) -> Result<Role, ConfigError> {
        match (self.http.enabled, self.settlement.enabled) {
            (Some(false), Some(false)) => Err(ConfigError::Conflict(
                "http.enabled and settlement.enabled: expected one of them to be true".into(),
            )),
            (Some(false), _) => Ok(Role::Consumer),
            (_, Some(false)) => Ok(Role::Gateway),
            _ => Ok(Role::All),
        }
    }

    /// The configuration as a file that can be read back. Passwords in URLs are redacted.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let shown = Self { ledger: self.ledger.redacted(), ..self.clone() };
        toml::to_string(&shown).expect("a configuration serializes")
    }
}

fn text_of(text: &OsStr) -> Result<&str, String> {
    text.to_str().ok_or_else(|| "expected UTF-8".to_owned())
}
