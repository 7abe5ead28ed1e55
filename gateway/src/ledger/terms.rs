//! The terms of grants: each distinct set is stored once, and outcomes refer to it by its digest.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Mutex;

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::coupon::Terms;

/// Some MiB. Past it the set starts again: terms that are inserted a second time change nothing.
const KNOWN_MAX: usize = 65_536;

/// The first 128 bits of the SHA-256 of the terms' JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TermsDigest([u8; 16]);

/// In hexadecimal.
impl fmt::Display for TermsDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).simple().fmt(f)
    }
}

impl Serialize for TermsDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The terms of a grant, as stored.
pub(super) struct StoredTerms {
    pub(super) digest: TermsDigest,
    json: String,
}

impl StoredTerms {
    pub(super) fn of(terms: &Terms) -> Self {
        let json = serde_json::to_string(terms).expect("terms serialize to JSON");
        let mut digest = [0; 16];
        digest.copy_from_slice(&Sha256::digest(&json)[..16]);
        Self { digest: TermsDigest(digest), json }
    }
}

/// The terms that this process has seen stored. They are never deleted.
#[derive(Default)]
pub(super) struct KnownTerms(Mutex<HashSet<TermsDigest>>);

impl KnownTerms {
    /// Those that may not be stored yet, each once, in the order in which every settlement inserts them.
    pub(super) fn unknown<'a>(&self, terms: impl Iterator<Item = &'a StoredTerms>) -> BTreeMap<TermsDigest, String> {
        let known = self.0.lock().expect("not poisoned");
        terms.filter(|terms| !known.contains(&terms.digest)).map(|terms| (terms.digest, terms.json.clone())).collect()
    }

    /// Call it only after the commit: a transaction that is rolled back stores nothing.
    pub(super) fn add(&self, stored: Vec<TermsDigest>) {
        let mut known = self.0.lock().expect("not poisoned");
        if known.len() + stored.len() > KNOWN_MAX {
            known.clear();
        }
        known.extend(stored);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(days: u32) -> StoredTerms {
        StoredTerms::of(&Terms {
            type_snapshot: "FIXED".into(),
            discount_rate_snapshot: None,
            discount_amount_snapshot: None,
            minimum_order_amount_snapshot: None,
            usage_period_snapshot: Some(days),
            expired_at: None,
        })
    }

    #[test]
    fn terms_are_unknown_until_they_are_committed() {
        let known = KnownTerms::default();
        let batch = [terms(1), terms(2), terms(1)];
        let unknown = known.unknown(batch.iter());
        assert_eq!(unknown.len(), 2);
        known.add(vec![terms(1).digest]);
        assert_eq!(known.unknown(batch.iter()).into_keys().collect::<Vec<_>>(), [terms(2).digest]);
    }

    #[test]
    fn the_number_of_known_terms_is_bounded() {
        let known = KnownTerms::default();
        let digests = |from: u128, to: u128| (from..to).map(|number| TermsDigest(number.to_be_bytes())).collect();
        known.add(digests(0, KNOWN_MAX as u128));
        known.add(digests(KNOWN_MAX as u128, KNOWN_MAX as u128 + 1));
        assert_eq!(known.0.lock().expect("not poisoned").len(), 1);
    }
}
