//! The configuration of a policy: from the pipeline's JSON to the value that every decision reads.

use std::sync::OnceLock;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Measure;

/// A policy's `config` in the pipeline.
///
/// Choose field types that reject bad values (`NonZeroU32`). Give every field a default
/// (`#[serde(default)]`): the gateway inspects an uploaded component with an empty configuration.
/// Reject unknown fields (`#[serde(deny_unknown_fields)]`), so that a misspelt key is an error.
pub trait Configuration: DeserializeOwned {
    /// Checks what the field types cannot, such as the order of two bounds.
    ///
    /// # Errors
    ///
    /// One line that starts with the field's name, like the errors of [`parse_config`]:
    /// `limit: expected …, got …`.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    /// What the host measures before every decision, at most 16 measures.
    fn measures(&self) -> Vec<Measure> {
        Vec::new()
    }
}

/// The configuration of a policy without keys.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

impl Configuration for NoConfig {}

/// Parses and validates a configuration. Empty text, `null` and `{}` all mean the defaults.
///
/// # Errors
///
/// One line with the field's name, the expected value and the actual one.
pub fn parse_config<C: Configuration>(json: &str) -> Result<C, String> {
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

/// The configuration of one instance, parsed once, so that no decision parses JSON.
pub struct ConfigCell<C>(OnceLock<C>);

impl<C: Configuration> ConfigCell<C> {
    /// An empty cell, for a `static`.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a static needs a `const` function")]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Implements `configure` of every world: stores the configuration and returns its measures. From then on the
    /// gateway can report the message of a panic.
    ///
    /// # Errors
    ///
    /// Those of [`parse_config`], and a second successful call.
    pub fn configure(&self, json: &str) -> Result<Vec<Measure>, String> {
        // A native test prints its panics itself.
        #[cfg(target_arch = "wasm32")]
        crate::panic_message::store_messages();
        let config: C = parse_config(json)?;
        let measures = config.measures();
        match self.0.set(config) {
            Ok(()) => Ok(measures),
            Err(_) => Err("the instance already has a configuration: create a new instance".to_owned()),
        }
    }

    /// The stored configuration.
    ///
    /// # Panics
    ///
    /// Before a successful [`configure`](Self::configure). The contract guarantees that it comes first.
    pub fn get(&self) -> &C {
        self.0.get().expect("the host calls `configure` first")
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
                13 => Err("limit: expected any number but 13, got 13".to_owned()),
                _ => Ok(()),
            }
        }

        fn measures(&self) -> Vec<Measure> {
            vec![Measure::Count(Window { scope: Scope::User, length_ms: 0 })]
        }
    }

    #[test]
    fn empty_text_and_null_and_an_empty_object_mean_the_defaults() {
        for json in ["", "  ", "null", " null\n", "{}"] {
            assert_eq!(parse_config(json), Ok(Config::default()), "{json:?}");
            assert_eq!(parse_config(json), Ok(NoConfig {}), "{json:?}");
        }
    }

    #[test]
    fn an_error_names_the_field_the_expected_value_and_the_actual_one() {
        let error = |json| parse_config::<Config>(json).expect_err(json);
        for (json, message) in [
            (r#"{"limit": "1"}"#, r#"limit: invalid type: string "1", expected u32"#),
            (r#"{"limit": -1}"#, "limit: invalid value: integer `-1`, expected u32"),
            (r#"{"limit": null}"#, "limit: invalid type: null, expected u32"),
            (r#"{"limit": 13}"#, "limit: expected any number but 13, got 13"),
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
    fn a_policy_without_keys_rejects_every_key() {
        let error = parse_config::<NoConfig>(r#"{"limit": 1}"#).expect_err("an unknown key");
        assert!(error.starts_with("limit: unknown field `limit`, there are no fields"), "{error}");
    }

    #[test]
    fn scopes_are_spelt_as_in_the_contract() {
        for (json, scope) in [
            (r#"{"scope": "gateway"}"#, Scope::Gateway),
            (r#"{"scope": "coupon"}"#, Scope::Coupon),
            (r#"{"scope": "user"}"#, Scope::User),
            (r#"{"scope": "user-of-coupon"}"#, Scope::UserOfCoupon),
        ] {
            assert_eq!(parse_config::<Config>(json).map(|config| config.scope), Ok(Some(scope)));
        }
    }

    #[test]
    fn an_instance_accepts_one_configuration_only() {
        let cell = ConfigCell::<Config>::new();
        assert!(cell.configure(r#"{"limit": 13}"#).is_err());
        assert_eq!(cell.configure(r#"{"limit": 2}"#).map(|measures| measures.len()), Ok(1));
        let error = cell.configure("{}").expect_err("a second configuration");
        assert_eq!(error, "the instance already has a configuration: create a new instance");
        assert_eq!(cell.get().limit, 2);
    }

    #[test]
    #[should_panic(expected = "the host calls `configure` first")]
    fn a_decision_before_configure_is_a_trap() {
        ConfigCell::<NoConfig>::new().get();
    }
}
