//! The versions of the policies.

use crate::coupon::UnixMs;

/// Older versions are deleted, unless a stored generation names them. Enough to return to an earlier version of any
/// policy, few enough that frequent uploads do not fill the database.
pub(super) const POLICY_VERSIONS_MAX: u32 = 200;

/// A version of a policy: the name and the digest, which never change, and where it came from. Only the policy host
/// interprets the texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyVersion {
    pub name: String,
    pub digest: String,
    pub world: String,
    /// The version of the contract.
    pub contract: String,
    /// The size of the component.
    pub bytes: u64,
    /// Of the component.
    pub signature: Option<String>,
    pub source: String,
    /// Who uploaded it last; `None` if it came from a folder, or before the ledger recorded that.
    pub registered_by: Option<String>,
    /// When it was registered last.
    pub registered_at_ms: UnixMs,
}

/// What is stored of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredComponent {
    pub bytes: Vec<u8>,
    pub signature: Option<String>,
}
