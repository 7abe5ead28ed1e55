//! What decided about a request: a generation of the pipeline, and the arm of a rollout.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::GenerationNo;

/// Which pipeline decided about a request, while a rollout gives some users another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// The active pipeline. Without a rollout it decides about every request.
    #[default]
    Active,
    /// The candidate of a rollout.
    Canary,
}

impl Arm {
    /// The name in HTTP answers and log records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Canary => "canary",
        }
    }

    #[must_use]
    pub const fn is_active(&self) -> bool {
        matches!(self, Self::Active)
    }
}

/// What decided about a request. Its text form is an item of RFC 8941: `7`, or `7;arm=canary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct DecidedBy {
    pub generation: GenerationNo,
    pub arm: Arm,
}

impl fmt::Display for DecidedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.arm {
            Arm::Active => self.generation.fmt(f),
            Arm::Canary => write!(f, "{};arm={}", self.generation, self.arm.as_str()),
        }
    }
}

/// Other parameters are ignored: a later version may add some.
impl FromStr for DecidedBy {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let mut parts = text.split(';').map(str::trim);
        let generation = parts.next().unwrap_or_default().parse()?;
        let is_canary = parts.any(|parameter| parameter.strip_prefix("arm=") == Some(Arm::Canary.as_str()));
        Ok(Self { generation, arm: if is_canary { Arm::Canary } else { Arm::Active } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canary_arm_has_a_parameter() {
        for (arm, text) in [(Arm::Active, "7"), (Arm::Canary, "7;arm=canary")] {
            let decided_by = DecidedBy { generation: 7, arm };
            assert_eq!(decided_by.to_string(), text);
            assert_eq!(text.parse(), Ok(decided_by));
        }
    }

    #[test]
    fn unknown_parameters_are_ignored_and_a_generation_is_needed() {
        let canary = DecidedBy { generation: 7, arm: Arm::Canary };
        assert_eq!("7; step=2; arm=canary".parse(), Ok(canary));
        assert_eq!("7;arm=other".parse(), Ok(DecidedBy { arm: Arm::Active, ..canary }));
        for wrong in ["", ";arm=canary", "canary", "-1"] {
            assert!(wrong.parse::<DecidedBy>().is_err(), "{wrong}");
        }
    }
}
