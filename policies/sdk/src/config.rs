//! From the `config` of a pipeline to the one configuration that an instance decides by.

use std::sync::OnceLock;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Measure;

/// A policy's `config` in the pipeline.
///
/// Let the types of the fields refuse what they can (`NonZeroU32`), give every field a default
/// (`#[serde(default)]`) and accept no others (`#[serde(deny_unknown_fields)]`).
pub trait Configuration: DeserializeOwned {
    /// Refuses what the types of the fields cannot. The error begins with the name of the field,
    /// as those of the types do: `limit: expected …, got …`.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    /// What the host is to measure before every decision.
    fn measures(&self) -> Vec<Measure> {
        Vec::new()
    }
}

/// The configuration of a policy that takes none.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

impl Configuration for NoConfig {}

/// Reads a configuration; nothing, `null` and `{}` are all defaults.
///
/// # Errors
///
/// One line that names the field, what was expected there and what was found.
pub fn parse<C: Configuration>(json: &str) -> Result<C, String> {
    let json = match json.trim() {
        "" | "null" => "{}",
        json => json,
    };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let config: C = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    config.validate()?;
    Ok(config)
}

/// Where an instance keeps its configuration, so that a decision reads it and never parses it.
pub struct Configured<C>(OnceLock<C>);

impl<C: Configuration> Configured<C> {
    /// Not configured yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "for a static, where only `const` will do")]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Takes the configuration and answers what to measure: the `configure` of every world.
    ///
    /// # Errors
    ///
    /// Those of [`parse`], and a second call.
    pub fn configure(&self, json: &str) -> Result<Vec<Measure>, String> {
        let config: C = parse(json)?;
        let measures = config.measures();
        match self.0.set(config) {
            Ok(()) => Ok(measures),
            Err(_) => Err("this instance is configured already".to_owned()),
        }
    }

    /// The configuration.
    ///
    /// # Panics
    ///
    /// Before a [`configure`](Self::configure) that succeeded; the host promises that it comes first.
    pub fn get(&self) -> &C {
        self.0.get().expect("configure is called first")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Scope, Window};

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Config {
        limit: u32,
        scope: Option<Scope>,
    }

    impl Configuration for Config {
        fn validate(&self) -> Result<(), String> {
            match self.limit {
                13 => Err("limit: expected luck, got 13".to_owned()),
                _ => Ok(()),
            }
        }

        fn measures(&self) -> Vec<Measure> {
            vec![Measure::Count(Window { scope: Scope::User, length_ms: 0 })]
        }
    }

    #[test]
    fn nothing_and_null_and_an_empty_object_are_all_defaults() {
        for json in ["", "  ", "null", " null\n", "{}"] {
            assert_eq!(parse(json), Ok(Config::default()), "{json:?}");
            assert_eq!(parse(json), Ok(NoConfig {}), "{json:?}");
        }
    }

    #[test]
    fn an_error_names_the_field_and_what_was_expected() {
        let error = |json| parse::<Config>(json).expect_err(json);
        for (json, message) in [
            (r#"{"limit": "1"}"#, r#"limit: invalid type: string "1", expected u32"#),
            (r#"{"limit": -1}"#, "limit: invalid value: integer `-1`, expected u32"),
            (r#"{"limit": null}"#, "limit: invalid type: null, expected u32"),
            (r#"{"limit": 13}"#, "limit: expected luck, got 13"),
            (r#"{"scope": "userOfCoupon"}"#, "scope: unknown variant `userOfCoupon`, expected one of"),
            (r#"{"limits": 1}"#, "limits: unknown field `limits`, expected `limit` or `scope`"),
            ("7", "invalid type: integer `7`, expected struct Config"),
            ("{} {}", "trailing characters"),
            ("{", "EOF while parsing an object"),
        ] {
            assert!(error(json).starts_with(message), "{json}: {}", error(json));
        }
    }

    #[test]
    fn scopes_are_spelt_as_in_the_contract() {
        for (json, scope) in [
            (r#"{"scope": "gateway"}"#, Scope::Gateway),
            (r#"{"scope": "coupon"}"#, Scope::Coupon),
            (r#"{"scope": "user"}"#, Scope::User),
            (r#"{"scope": "user-of-coupon"}"#, Scope::UserOfCoupon),
        ] {
            assert_eq!(parse::<Config>(json).map(|config| config.scope), Ok(Some(scope)));
        }
    }

    #[test]
    fn an_instance_is_configured_once() {
        let configured = Configured::<Config>::new();
        assert!(configured.configure(r#"{"limit": 13}"#).is_err());
        assert_eq!(configured.configure(r#"{"limit": 2}"#).map(|measures| measures.len()), Ok(1));
        assert_eq!(configured.configure("{}"), Err("this instance is configured already".to_owned()));
        assert_eq!(configured.get().limit, 2);
    }
}
