//! The contract of the policies: `wit/policy.wit`, and the version before it in `wit/0.1`. Which of the two a component
//! was built for, and for which hook, is told by the names of its exports.

#[cfg(test)]
mod tests;
mod world;

use super::error::LoadError;
use crate::counters::Hook;

pub(super) use world::contract_of;

/// A policy may import the types of the contract, and nothing else.
const PACKAGE: &str = "sluice:policy/";

/// A version that the gateway runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// A component exports the functions of a hook.
    V0_1,
    /// A component exports the interface of a hook. A rejection may have a message and a link.
    V0_2,
}

impl Version {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1 => "0.1.0",
            Self::V0_2 => "0.2.0",
        }
    }
}

/// What a component implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contract {
    pub(super) hook: Hook,
    pub(super) version: Version,
}

impl Contract {
    /// # Errors
    /// When a component with these exports is for another version, or is no policy.
    pub(super) fn of_exports(exports: &[&str]) -> Result<Self, LoadError> {
        for hook in Hook::ALL {
            let contract = |version| Ok(Self { hook, version });
            if exports.contains(&&*interface(hook, Version::V0_2)) {
                return contract(Version::V0_2);
            }
            if exports.contains(&function(hook)) {
                return contract(Version::V0_1);
            }
        }
        match exports.iter().find(|name| is_of_a_hook(name)) {
            Some(found) => Err(LoadError::Version((*found).to_owned())),
            None => Err(LoadError::World {
                expected: "rate-shaper, user-limit or shard-picker",
                found: "it exports none of their interfaces: build it with policies/sdk".to_owned(),
            }),
        }
    }

    /// The exported interface that has the functions; `None` if the component itself exports them.
    pub(super) fn interface(self) -> Option<String> {
        match self.version {
            Version::V0_1 => None,
            Version::V0_2 => Some(interface(self.hook, self.version)),
        }
    }

    /// The functions that the component must export.
    pub(super) const fn functions(self) -> [&'static str; 2] {
        ["configure", function(self.hook)]
    }

    /// The error for one that it does not.
    pub(super) fn lacks(self, function: &str) -> LoadError {
        self.differs(format!("it exports no function `{function}`: export it, as policies/sdk does"))
    }

    pub(super) fn differs(self, found: String) -> LoadError {
        LoadError::World { expected: self.hook.as_str(), found }
    }
}

/// The function of a hook that decides.
pub(super) const fn function(hook: Hook) -> &'static str {
    match hook {
        Hook::RateShaper => "shape",
        Hook::UserLimit => "admit",
        Hook::ShardPicker => "pick",
    }
}

fn interface(hook: Hook, version: Version) -> String {
    format!("{PACKAGE}{}@{}", hook.as_str(), version.as_str())
}

/// Whether an export is the interface of a hook, in any version.
fn is_of_a_hook(export: &str) -> bool {
    let Some(interface) = export.strip_prefix(PACKAGE) else { return false };
    let name = interface.split('@').next();
    Hook::ALL.into_iter().any(|hook| name == Some(hook.as_str()))
}
