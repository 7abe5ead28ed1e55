//! Where a change came from, and who made it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a change came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// `sluice.toml`.
    File,
    /// A component in the folder.
    Folder,
    /// The admin API.
    Admin,
    Rollback,
    /// A rollout that was promoted.
    Rollout,
}

impl Source {
    /// The word that the ledger and the admin API use.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "folder",
            Self::Admin => "admin",
            Self::Rollback => "rollback",
            Self::Rollout => "rollout",
        }
    }
}

/// The source of a change, and who made it there. Records of earlier versions have only the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Author {
    pub source: Source,
    /// The name of an admin token, or `local` for a call without one. Of a rollout: who started it. A file has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// The number of the rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<u64>,
}

impl Author {
    pub(super) const FILE: Self = Self { source: Source::File, who: None, rollout: None };
    pub(super) const FOLDER: Self = Self { source: Source::Folder, who: None, rollout: None };

    pub(super) fn admin(who: &str) -> Self {
        Self { source: Source::Admin, who: Some(who.to_owned()), rollout: None }
    }

    pub(super) fn rollback(who: &str) -> Self {
        Self { source: Source::Rollback, who: Some(who.to_owned()), rollout: None }
    }

    pub(super) fn rollout(number: u64, who: &str) -> Self {
        Self { source: Source::Rollout, who: Some(who.to_owned()), rollout: Some(number) }
    }
}
