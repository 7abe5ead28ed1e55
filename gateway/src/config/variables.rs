//! A variable overrides a key.

use serde::Deserialize;

use super::{Config, VARIABLE_PREFIX, message};
use crate::policy::is_same_policy;
use crate::secret::redact;

impl Config {
    /// Applies `SLUICE__SECTION__KEY`.
    pub(super) fn with_variable(&self, variable: &str, value: &str) -> Result<Self, String> {
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
        // Only the policy knows the keys of its own configuration.
        let is_free = sections.last().is_some_and(|name| name.eq_ignore_ascii_case("config"));
        let key = match find(section, last) {
            Some(key) => key,
            None if is_free || is_optional_text(last) || is_without_default(last) => last.to_ascii_lowercase(),
            None => return Err(no_such_key(section, last)),
        };
        let value = match section.get(&key) {
            Some(toml::Value::String(_)) => toml::Value::String(value.to_owned()),
            // A user name or a path may look like a number.
            None if !is_free && is_optional_text(last) => toml::Value::String(value.to_owned()),
            _ => parse(value),
        };
        let is_policy = !is_free && key == "policy";
        let is_other_policy = is_policy && !is_same(section.get(&key), &value);
        if is_other_policy {
            section.clear();
        }
        section.insert(key, value);
        let config = Self::deserialize(table).map_err(|error| redact(&message::of(&error)))?;
        Ok(Self { role: self.role, file: self.file.clone(), is_from_file: self.is_from_file, ..config })
    }
}

/// Finds a key as a variable spells it: in upper case, with `_` for `-`.
fn find(section: &toml::Table, name: &str) -> Option<String> {
    let plain = |key: &str| key.to_ascii_lowercase().replace('-', "_");
    section.keys().find(|key| plain(key) == plain(name)).cloned()
}

/// Whether both name the same policy, in whichever version.
fn is_same(one: Option<&toml::Value>, other: &toml::Value) -> bool {
    let names = one.and_then(toml::Value::as_str).zip(other.as_str());
    names.is_some_and(|(one, other)| is_same_policy(one, other))
}

/// Keys of text without a default. The serialized defaults do not contain them.
fn is_optional_text(name: &str) -> bool {
    ["token_file", "username", "password_file", "tls_ca_file", "tls_certificate_file", "tls_key_file"]
        .iter()
        .any(|key| key.eq_ignore_ascii_case(name))
}

/// Other keys that the serialized defaults do not contain.
fn is_without_default(name: &str) -> bool {
    ["enabled", "budget_fuel"].iter().any(|key| key.eq_ignore_ascii_case(name))
}

fn no_such_key(section: &toml::Table, name: &str) -> String {
    let keys: Vec<&str> = section.keys().map(String::as_str).collect();
    format!("unknown key `{}`; expected one of {}", name.to_ascii_lowercase(), keys.join(", "))
}

/// Parses a TOML value. Text that is not TOML is a string.
fn parse(value: &str) -> toml::Value {
    let line = format!("value = {value}");
    toml::from_str::<toml::Table>(&line)
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()))
}
