//! The terms of grants: each distinct set of a campaign is stored once, and outcomes refer to it by its digest.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Mutex;

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::coupon::{CouponId, Terms};

/// Some MiB. Past it the set starts again: terms that are inserted a second time change nothing.
const KNOWN_MAX: usize = 65_536;

/// The first 128 bits of the SHA-256 of the coupon and the terms' JSON. With the coupon, no two campaigns share a row, so
/// the row can be deleted with its campaign's outcomes.
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

/// The terms of a grant, and the digest that names them.
#[derive(Clone, Copy)]
pub(super) struct GrantTerms<'a> {
    pub(super) digest: TermsDigest,
    coupon_id: CouponId,
    terms: &'a Terms,
}

impl<'a> GrantTerms<'a> {
    pub(super) fn of(coupon_id: CouponId, terms: &'a Terms) -> Self {
        let mut hash = Sha256::new_with_prefix(coupon_id.get().to_be_bytes());
        serde_json::to_writer(&mut hash, terms).expect("terms serialize to JSON");
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash.finalize()[..16]);
        Self { digest: TermsDigest(digest), coupon_id, terms }
    }

    fn stored(&self) -> StoredTerms {
        let json = serde_json::to_string(self.terms).expect("terms serialize to JSON");
        StoredTerms { digest: self.digest, coupon_id: self.coupon_id, json }
    }
}

/// A row of `issue_terms`.
pub(super) struct StoredTerms {
    pub(super) digest: TermsDigest,
    pub(super) coupon_id: CouponId,
    pub(super) json: String,
}

/// The terms that this process has seen stored.
///
/// The retention, perhaps of another process, deletes terms while they are known here. No later grant refers to them: a
/// digest belongs to one campaign, whose terms are deleted only after the campaign has closed and every record that it
/// may still have had is settled. A closed campaign never opens again.
#[derive(Default)]
pub(super) struct KnownTerms(Mutex<HashSet<TermsDigest>>);

impl KnownTerms {
    /// Those that may not be stored yet, each once, in the order in which every settlement inserts them.
    pub(super) fn unknown<'a>(
        &self,
        terms: impl IntoIterator<Item = GrantTerms<'a>>,
    ) -> BTreeMap<TermsDigest, StoredTerms> {
        let known = self.0.lock().expect("not poisoned");
        let mut unknown = BTreeMap::new();
        for terms in terms.into_iter().filter(|terms| !known.contains(&terms.digest)) {
            unknown.entry(terms.digest).or_insert_with(|| terms.stored());
        }
        unknown
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

    fn terms(days: u32) -> Terms {
        Terms {
            type_snapshot: "FIXED".into(),
            discount_rate_snapshot: None,
            discount_amount_snapshot: None,
            minimum_order_amount_snapshot: None,
            usage_period_snapshot: Some(days),
            expired_at: None,
        }
    }

    fn of(coupon: u64, terms: &Terms) -> GrantTerms<'_> {
        GrantTerms::of(coupon.try_into().expect("in range"), terms)
    }

    #[test]
    fn campaigns_with_the_same_terms_do_not_share_a_row() {
        let terms = terms(1);
        assert_eq!(of(104, &terms).digest, of(104, &terms).digest);
        assert_ne!(of(104, &terms).digest, of(105, &terms).digest);
    }

    #[test]
    fn a_digest_is_that_of_earlier_releases() {
        assert_eq!(of(104, &terms(1)).digest.to_string(), "e656282db9112e0a5033a71bcd632acd");
    }

    #[test]
    fn terms_are_unknown_until_they_are_committed() {
        let known = KnownTerms::default();
        let (one, two) = (terms(1), terms(2));
        let batch = [of(104, &one), of(104, &two), of(104, &one)];
        let unknown = known.unknown(batch);
        assert_eq!(unknown.len(), 2);
        known.add(vec![batch[0].digest]);
        assert_eq!(known.unknown(batch).into_keys().collect::<Vec<_>>(), [batch[1].digest]);
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
