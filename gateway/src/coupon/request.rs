//! The request as the client sends it, and as the log stores it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{Arm, CouponId, GenerationNo, PolicyId, RequestId, ShardNo, UnixMs, UserId};

/// The validated body of `POST /coupon/issue`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssueRequest {
    pub user_id: UserId,
    pub coupon_id: CouponId,
    pub policy_id: PolicyId,
    pub terms: Terms,
}

impl IssueRequest {
    /// The id of the request under an Idempotency-Key: a hash of user, key and body, so that every gateway gives a retry
    /// the same id, and two bodies or two users never share an outcome. White space and field order of the client's JSON
    /// do not matter. Ids of one coupon begin with the same bits.
    #[must_use]
    pub fn id_under(&self, key: &[u8]) -> RequestId {
        let body = serde_json::to_vec(self).expect("a request serializes to JSON");
        let hash = Sha256::new_with_prefix(b"sluice request\0");
        let hash = hash.chain_update(self.user_id.get().to_be_bytes());
        let hash = hash.chain_update((key.len() as u64).to_be_bytes()).chain_update(key);
        RequestId::from_hash_of_coupon(self.coupon_id, hash.chain_update(body))
    }
}

/// The coupon's terms as the client saw them. They are stored with the grant; no decision depends on them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// The discount type, such as `FIXED`.
    pub type_snapshot: String,
    /// In percent.
    pub discount_rate_snapshot: Option<f64>,
    /// In the shop's currency.
    pub discount_amount_snapshot: Option<u64>,
    /// In the shop's currency.
    pub minimum_order_amount_snapshot: Option<u64>,
    /// In days.
    pub usage_period_snapshot: Option<u32>,
    /// Has no time zone, and may be in the past.
    #[schema(value_type = Option<String>, format = "date-time-local")]
    pub expired_at: Option<jiff::civil::DateTime>,
}

/// 64 bits of the SHA-256 of an Idempotency-Key: it finds the request that uses the key. Should two keys ever have the
/// same fingerprint, the second is refused as a conflict; they never share an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub i64);

impl Fingerprint {
    #[must_use]
    pub fn of_key(key: &[u8]) -> Self {
        let digest = Sha256::digest(key);
        Self(i64::from_be_bytes(digest[..8].try_into().expect("8 of 32 bytes")))
    }
}

/// Which whole-campaign counts hold a request: a bit for each, all by default. The counters number them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CampaignCounts(pub u16);

impl Default for CampaignCounts {
    fn default() -> Self {
        Self(u16::MAX)
    }
}

/// A request that passed admission: the value of a log record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    pub request_id: RequestId,
    pub arrived_at_ms: UnixMs,
    /// The shard that the policy picked.
    pub shard_no: ShardNo,
    /// The pipeline generation that admitted the request.
    pub generation: GenerationNo,
    /// The arm whose policies admitted it. Records of the active arm, and of earlier versions, do not name it.
    #[serde(default, skip_serializing_if = "Arm::is_active")]
    pub arm: Arm,
    /// Only with an Idempotency-Key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// A record of an earlier version does not name them.
    #[serde(default)]
    pub campaign_counts: CampaignCounts,
    pub request: IssueRequest,
}

impl Accepted {
    /// As JSON, the wire format.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an accepted request serializes to JSON")
    }

    /// # Errors
    /// When the bytes are not an accepted request in JSON.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(user: u64, coupon: u64) -> IssueRequest {
        let body = serde_json::json!({
            "userId": user, "couponId": coupon, "policyId": 21, "terms": { "typeSnapshot": "FIXED" },
        });
        serde_json::from_value(body).expect("a request")
    }

    #[test]
    fn a_retry_has_the_same_id_and_another_key_user_or_body_another_id() {
        let id = |key: &[u8], user, coupon| request(user, coupon).id_under(key);
        let ids =
            std::collections::BTreeSet::from([id(b"a", 1, 104), id(b"b", 1, 104), id(b"a", 2, 104), id(b"a", 1, 105)]);
        assert_eq!(ids.len(), 4);
        assert!(ids.contains(&id(b"a", 1, 104)));
    }

    #[test]
    fn keyed_requests_for_one_coupon_are_neighbours_in_the_order_of_ids() {
        let ids_of = |coupon| (1..=100).map(move |user| request(user, coupon).id_under(b"a"));
        let mut ids: Vec<_> = (101..=110).flat_map(|coupon| ids_of(coupon).map(move |id| (id, coupon))).collect();
        ids.sort();
        assert_eq!(ids.chunk_by(|(_, one), (_, next)| one == next).count(), 10);
    }

    #[test]
    fn the_id_of_a_retry_is_stable_across_releases() {
        let id = request(1, 104).id_under(b"a");
        assert_eq!(id.to_string(), "4778b103-56eb-8341-bd10-5a8bea5465c6");
    }

    #[test]
    fn the_wire_form_is_stable_and_names_only_the_canary_arm() {
        let of = |arm| Accepted {
            request_id: RequestId::from([1; 16]),
            arrived_at_ms: 5,
            shard_no: ShardNo(2),
            generation: 7,
            arm,
            fingerprint: Some(Fingerprint(-3)),
            campaign_counts: CampaignCounts(1),
            request: request(1, 104),
        };
        let head = r#"{"requestId":"01010101-0101-0101-0101-010101010101","arrivedAtMs":5,"shardNo":2,"generation":7,"#;
        let tail = concat!(
            r#""fingerprint":-3,"campaignCounts":1,"request":{"userId":1,"couponId":104,"policyId":21,"terms":{"#,
            r#""typeSnapshot":"FIXED","discountRateSnapshot":null,"discountAmountSnapshot":null,"#,
            r#""minimumOrderAmountSnapshot":null,"usagePeriodSnapshot":null,"expiredAt":null}}}"#,
        );
        for (arm, named) in [(Arm::Active, ""), (Arm::Canary, r#""arm":"canary","#)] {
            let wire = format!("{head}{named}{tail}");
            assert_eq!(String::from_utf8(of(arm).encode()).expect("JSON"), wire);
            assert_eq!(Accepted::decode(wire.as_bytes()).expect("decodes"), of(arm));
        }
    }

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
            arm in proptest::sample::select(vec![Arm::Active, Arm::Canary]),
            fingerprint in proptest::option::of(any::<i64>()),
            campaign_counts in any::<u16>(),
            ids in (1..i64::MAX, 1..i64::MAX, 1..i64::MAX),
            terms in terms(),
        ) -> Accepted {
            Accepted {
                request_id: id.into(), arrived_at_ms, shard_no: ShardNo(shard), generation, arm,
                fingerprint: fingerprint.map(Fingerprint),
                campaign_counts: CampaignCounts(campaign_counts),
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
        fn a_record_decodes_to_what_was_encoded(accepted in accepted()) {
            prop_assert_eq!(Accepted::decode(&accepted.encode()).expect("decodes"), accepted);
        }

        #[test]
        fn a_truncated_record_does_not_decode(accepted in accepted(), cut in 0.0..1.0_f64) {
            let bytes = accepted.encode();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let length = (bytes.len() as f64 * cut) as usize;
            prop_assert!(Accepted::decode(&bytes[..length]).is_err());
        }
    }
}
