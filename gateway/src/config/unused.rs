//! Options that have no effect: they are valid, and their operator expects something of them.

use std::ffi::OsString;

use super::{Config, SECTIONS};

impl Config {
    /// One warning for each option, or variable, that is set and has no effect.
    pub fn unused(&self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<String> {
        let mut warnings = self.unused_options();
        warnings.extend(variables.into_iter().filter_map(|(name, _)| misspelt(name.to_str()?)));
        warnings
    }

    fn unused_options(&self) -> Vec<String> {
        let Self { log, ledger, counters, .. } = self;
        let databases = ledger.of_groups();
        let ledger_url = databases.iter().map(|database| &database.url).find(|url| !url.starts_with("sqlite:"));
        let ledger_url = ledger_url.unwrap_or(&databases[0].url);
        let of_embedded = |url: &str| ["embedded:", "sqlite:", "local:"].iter().any(|scheme| url.starts_with(scheme));
        [
            ("log", &log.url, "username", log.username.is_some()),
            ("log", &log.url, "password_file", log.password_file.is_some()),
            ("log", &log.url, "tls", log.tls),
            ("log", &log.url, "tls_ca_file", log.tls_ca_file.is_some()),
            ("ledger", ledger_url, "password_file", ledger.password_file.is_some()),
            ("ledger", ledger_url, "tls_ca_file", ledger.tls_ca_file.is_some()),
            ("counters", &counters.url, "password_file", counters.password_file.is_some()),
            ("counters", &counters.url, "tls_ca_file", counters.tls_ca_file.is_some()),
        ]
        .into_iter()
        .filter(|(_, url, _, is_set)| *is_set && of_embedded(url))
        .map(|(section, url, key, _)| {
            format!("{section}.{key} has no effect with {section}.url = \"{url}\": remove it")
        })
        .collect()
    }
}

/// Options of the commands that call the admin API.
const OF_THE_CLIENT: [&str; 2] = ["SLUICE_ADMIN_TOKEN", "SLUICE_ADMIN_CA_FILE"];

/// A variable of a section, with one underscore where there must be two.
fn misspelt(name: &str) -> Option<String> {
    let rest = name.strip_prefix("SLUICE_").filter(|_| !OF_THE_CLIENT.contains(&name))?;
    let is_key = |section: &&&str| {
        rest.strip_prefix(section.to_ascii_uppercase().as_str()).is_some_and(|key| key.starts_with('_'))
    };
    let section = SECTIONS.iter().find(is_key)?.to_ascii_uppercase();
    Some(format!("{name} has no effect: use SLUICE__{section}__{}", rest[section.len()..].trim_start_matches('_')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unused(config: &Config, variables: &[&str]) -> Vec<String> {
        config.unused(variables.iter().map(|name| ((*name).into(), "1".into())))
    }

    #[test]
    fn an_option_of_a_server_has_no_effect_on_an_embedded_port() {
        let mut config = Config::default();
        assert_eq!(unused(&config, &[]), [""; 0]);
        config.ledger.password_file = Some("password".into());
        config.log.tls = true;
        let expected = [
            "log.tls has no effect with log.url = \"embedded:data/log\": remove it",
            "ledger.password_file has no effect with ledger.url = \"sqlite:data/ledger.db\": remove it",
        ];
        assert_eq!(unused(&config, &[]), expected);
        config.ledger.url = "mysql://sluice@db/sluice".to_owned();
        config.log.url = "kafka://b1:9092/coupon-issue".to_owned();
        assert_eq!(unused(&config, &[]), [""; 0]);
    }

    #[test]
    fn a_variable_with_one_underscore_is_named_with_its_correction() {
        let names = [
            "SLUICE__HTTP__LISTEN",
            "SLUICE_ADMIN",
            "SLUICE_ADMIN_TOKEN",
            "SLUICE_ADMIN_CA_FILE",
            "SLUICE_HTTP",
            "SLUICE_SERVICES",
            "HTTP_LISTEN",
            "SLUICE_HTTP_LISTEN",
            "SLUICE_ADMIN__LISTEN",
        ];
        let expected = [
            "SLUICE_HTTP_LISTEN has no effect: use SLUICE__HTTP__LISTEN",
            "SLUICE_ADMIN__LISTEN has no effect: use SLUICE__ADMIN__LISTEN",
        ];
        assert_eq!(unused(&Config::default(), &names), expected);
    }
}
