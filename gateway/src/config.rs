//! `sluice.toml`: the product of each module's `Options`.
//!
//! Every key has a default, and every key is overridden by `SLUICE__SECTION__KEY`. An error names
//! the file, line and column, or the variable.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::secret::redact;
use crate::{counters, http, ledger, log, policy, settlement, telemetry};

/// Read from the working folder when no file is named.
pub const DEFAULT_FILE: &str = "sluice.toml";

const VARIABLE_PREFIX: &str = "SLUICE__";

/// All of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The public listener.
    pub http: http::Options,
    /// The admin listener.
    pub admin: http::AdminOptions,
    /// What makes requests durable.
    pub log: log::Options,
    /// The authority on stock.
    pub ledger: ledger::Options,
    /// What is measured.
    pub counters: counters::Options,
    /// Where the policies lie.
    pub policies: policy::Options,
    /// How accepted requests are settled.
    pub settlement: settlement::Options,
    /// What the gateway says of itself.
    pub telemetry: telemetry::Options,
    /// The three policies that decide. The ledger remembers the one in force; this is where it
    /// starts from, and a change here is a change of it.
    pub pipeline: policy::Pipeline,
    /// Given by `--role`, not by the file.
    #[serde(skip)]
    pub role: Role,
    /// The file this was read from, watched for changes of the pipeline; absent where there is none.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

/// What a process does. Gateways and consumers that share a log, a ledger and counters form one system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// Takes requests.
    Gateway,
    /// Settles accepted requests.
    Consumer,
    /// Both.
    #[default]
    All,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be. The message carries line, column and the line itself.
    #[error("{}: {message}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong, where, and what was expected.
        message: String,
    },
    /// A variable is not what it should be.
    #[error("{variable}: {message}")]
    Variable {
        /// Which one.
        variable: String,
        /// What is wrong and what was expected.
        message: String,
    },
    /// Each value is right, but they do not go together.
    #[error("{0}")]
    Conflict(String),
}

impl Config {
    /// Reads the file, if there is one, and then the variables.
    ///
    /// Without `path`, [`DEFAULT_FILE`] is read where it exists, and defaults hold where it does not.
    ///
    /// # Errors
    /// [`ConfigError`] says where, what was expected, and what was found.
    pub fn load(
        path: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let config = match path {
            Some(path) => Self::read(path)?,
            None if Path::new(DEFAULT_FILE).exists() => Self::read(Path::new(DEFAULT_FILE))?,
            None => Self::default(),
        };
        let mut variables: Vec<_> =
            variables.into_iter().filter(|(name, _)| name.starts_with(VARIABLE_PREFIX)).collect();
        variables.sort();
        let config = variables.iter().try_fold(config, |config, (name, value)| {
            config.overridden(name, value).map_err(|message| ConfigError::Variable { variable: name.clone(), message })
        })?;
        config.pipeline.check().map_err(ConfigError::Conflict)?;
        Ok(config)
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        // The message quotes the line, which may hold a password.
        let told = |error: toml::de::Error| redact(error.to_string().trim());
        let config: Self =
            toml::from_str(&text).map_err(|error| ConfigError::File { path: path.to_owned(), message: told(error) })?;
        Ok(Self { file: Some(path.to_owned()), ..config })
    }

    fn overridden(&self, variable: &str, value: &str) -> Result<Self, String> {
        let mut table = toml::Table::try_from(self).map_err(|error| error.to_string())?;
        let keys: Vec<&str> = variable.trim_start_matches(VARIABLE_PREFIX).split("__").collect();
        let (last, sections) = keys.split_last().ok_or("expected SLUICE__SECTION__KEY")?;
        let mut section = &mut table;
        for name in sections {
            let key = find(section, name).ok_or_else(|| no_such_key(section, name))?;
            section = section
                .get_mut(&key)
                .and_then(toml::Value::as_table_mut)
                .ok_or_else(|| format!("`{key}` is a value, not a section"))?;
        }
        // A policy's own keys are known to the policy alone; those of a section are known here.
        let free = sections.last().is_some_and(|name| name.eq_ignore_ascii_case("config"));
        let key = match find(section, last) {
            Some(key) => key,
            None if free || is_optional(last) => last.to_ascii_lowercase(),
            None => return Err(no_such_key(section, last)),
        };
        let value = match section.get(&key) {
            Some(toml::Value::String(_)) => toml::Value::String(value.to_owned()),
            _ => parse(value),
        };
        section.insert(key, value);
        let config = Self::deserialize(table).map_err(|error| error.message().to_owned())?;
        Ok(Self { role: self.role, file: self.file.clone(), ..config })
    }

    /// The configuration as a file would say it, but for passwords in URLs.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let shown = Self { ledger: self.ledger.redacted(), ..self.clone() };
        toml::to_string(&shown).expect("a configuration is TOML")
    }
}

/// Finds a key as a variable may spell it: in capitals, with `_` for `-`.
fn find(section: &toml::Table, name: &str) -> Option<String> {
    let plain = |key: &str| key.to_ascii_lowercase().replace('-', "_");
    section.keys().find(|key| plain(key) == plain(name)).cloned()
}

/// Keys that have no default, and so are absent from the defaults.
fn is_optional(name: &str) -> bool {
    ["token_file", "username", "password_file", "tls_ca_file"].iter().any(|key| key.eq_ignore_ascii_case(name))
}

fn no_such_key(section: &toml::Table, name: &str) -> String {
    let keys: Vec<&str> = section.keys().map(String::as_str).collect();
    format!("no such key `{}`; expected one of {}", name.to_ascii_lowercase(), keys.join(", "))
}

/// A TOML value, or else a string.
fn parse(value: &str) -> toml::Value {
    let line = format!("value = {value}");
    toml::from_str::<toml::Table>(&line)
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("sluice.toml");
        std::fs::write(&path, "").expect("writes");
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(Some(&path), variables)
    }

    fn of_file(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("sluice.toml");
        std::fs::write(&path, text).expect("writes");
        Config::load(Some(&path), [])
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(of_file("").expect("loads"), Config::default());
    }

    #[test]
    fn what_show_prints_reads_back_as_the_same() {
        assert_eq!(of_file(&Config::default().to_toml()).expect("loads"), Config::default());
    }

    #[test]
    fn a_password_is_used_and_never_shown() {
        let secret = [("SLUICE__LEDGER__URL", "mysql://u:secret@db/s"), ("SLUICE__LEDGER__PASSWORD_FILE", "pass")];
        let config = with(&secret).expect("loads");
        assert_eq!(config.ledger.url, "mysql://u:secret@db/s");
        assert_eq!(config.ledger.password_file, Some("pass".into()));
        assert!(config.to_toml().contains("mysql://u:***@db/s"), "{}", config.to_toml());
        let error = of_file("[ledger]\nurl = \"mysql://u:secret@db/s\n").expect_err("refused").to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_variable_overrides_a_key() {
        let config = with(&[
            ("SLUICE__HTTP__LISTEN", "127.0.0.1:0"),
            ("SLUICE__LOG__PARTITIONS", "3"),
            ("SLUICE__ADMIN__TOKEN_FILE", "token"),
            ("SLUICE__PIPELINE__SHARD_PICKER__POLICY", "hash-user"),
            ("SLUICE__PIPELINE__USER_LIMIT__CONFIG__LIMIT", "7"),
        ])
        .expect("loads");
        assert_eq!(config.http.listen.port(), 0);
        assert_eq!(config.log.partitions, 3);
        assert_eq!(config.admin.token_file, Some("token".into()));
        assert_eq!(config.pipeline.shard_picker.policy, "hash-user");
    }

    #[test]
    fn an_error_names_line_column_key_and_what_was_expected() {
        let error = of_file("[log]\npartitions = \"many\"\n").expect_err("refused").to_string();
        for part in ["sluice.toml", "line 2, column 14", "invalid type: string \"many\"", "expected"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn an_unknown_variable_names_the_keys_there_are() {
        let error = with(&[("SLUICE__LOG__PARTITION", "3")]).expect_err("refused").to_string();
        assert!(error.starts_with("SLUICE__LOG__PARTITION: no such key `partition`; expected one of"), "{error}");
        assert!(error.contains("partitions"), "{error}");
    }

    #[test]
    fn a_variable_out_of_range_is_refused_by_name() {
        let error = with(&[("SLUICE__LOG__PARTITIONS", "0")]).expect_err("refused").to_string();
        assert_eq!(error, "SLUICE__LOG__PARTITIONS: expected an integer from 1 to 256, found 0");
    }
}
