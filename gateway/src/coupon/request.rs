//! What a client sends, and what the log carries of it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{CouponId, GenerationNo, PolicyId, RequestId, ShardNo, UnixMs, UserId};

/// What a client asks for: the body of `POST /coupon/issue`, checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssueRequest {
    /// Who asks.
    pub user_id: UserId,
    /// For which coupon.
    pub coupon_id: CouponId,
    /// The coupon policy that the coupon belongs to.
    pub policy_id: PolicyId,
    /// What the coupon is worth, as the client saw it.
    pub terms: Terms,
}

/// The coupon's terms at issue time. They are stored with the grant as given, and judged nowhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// The kind of discount, such as `FIXED`.
    pub type_snapshot: String,
    /// Percent.
    pub discount_rate_snapshot: Option<f64>,
    /// In the shop's currency.
    pub discount_amount_snapshot: Option<u64>,
    /// In the shop's currency.
    pub minimum_order_amount_snapshot: Option<u64>,
    /// Days.
    pub usage_period_snapshot: Option<u32>,
    /// Carries no zone and may lie in the past.
    pub expired_at: Option<jiff::civil::DateTime>,
}

/// 64 bits of the SHA-256 of a request: tells two bodies under one Idempotency-Key apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub i64);

impl Fingerprint {
    /// The fingerprint of a request, which spacing and the order of its fields do not change.
    #[must_use]
    pub fn of(request: &IssueRequest) -> Self {
        let canonical = serde_json::to_vec(request).expect("a request is always JSON");
        let digest = Sha256::digest(canonical);
        Self(i64::from_be_bytes(digest[..8].try_into().expect("eight of 32 bytes")))
    }
}

/// A request that admission let through: the value of a log record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// Its name.
    pub request_id: RequestId,
    /// When it arrived.
    pub arrived_at_ms: UnixMs,
    /// The shard that the policy picked.
    pub shard_no: ShardNo,
    /// Which generation decided.
    pub generation: GenerationNo,
    /// Given when the client sent an Idempotency-Key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// What was asked for.
    pub request: IssueRequest,
}

impl Accepted {
    /// The wire form: JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an accepted request is always JSON")
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// Says what is wrong with bytes that are not an accepted request.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn terms()(
            type_snapshot in "[A-Z_]{1,32}",
            discount_rate_snapshot in proptest::option::of(0.0..100.0_f64),
            discount_amount_snapshot in proptest::option::of(any::<u64>()),
            minimum_order_amount_snapshot in proptest::option::of(any::<u64>()),
            usage_period_snapshot in proptest::option::of(any::<u32>()),
            second in proptest::option::of(0_i8..60),
        ) -> Terms {
            Terms {
                type_snapshot, discount_rate_snapshot, discount_amount_snapshot,
                minimum_order_amount_snapshot, usage_period_snapshot,
                expired_at: second.map(|second| jiff::civil::date(2025, 12, 31).at(23, 59, second, 0)),
            }
        }
    }

    prop_compose! {
        fn accepted()(
            id in any::<[u8; 16]>(),
            arrived_at_ms in any::<i64>(),
            shard in any::<u32>(),
            generation in any::<u64>(),
            fingerprint in proptest::option::of(any::<i64>()),
            ids in (1..i64::MAX, 1..i64::MAX, 1..i64::MAX),
            terms in terms(),
        ) -> Accepted {
            Accepted {
                request_id: id.into(), arrived_at_ms, shard_no: ShardNo(shard), generation,
                fingerprint: fingerprint.map(Fingerprint),
                request: IssueRequest {
                    user_id: ids.0.try_into().expect("positive"),
                    coupon_id: ids.1.try_into().expect("positive"),
                    policy_id: ids.2.try_into().expect("positive"),
                    terms,
                },
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(accepted in accepted()) {
            prop_assert_eq!(Accepted::decode(&accepted.encode()).expect("decodes"), accepted);
        }

        #[test]
        fn no_prefix_of_a_record_decodes(accepted in accepted(), cut in 0.0..1.0_f64) {
            let bytes = accepted.encode();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let length = (bytes.len() as f64 * cut) as usize;
            prop_assert!(Accepted::decode(&bytes[..length]).is_err());
        }
    }
}
