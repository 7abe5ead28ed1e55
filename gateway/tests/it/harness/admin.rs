//! Operator calls, and the body of an issue request.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Gateway, eventually};
use crate::checker::{Audit, ExportLine};
use crate::client::Answer;

/// Ten times the interval, because the machine may be busy.
const SAMPLED_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Campaign {
    pub(crate) coupon: u64,
    pub(crate) total: u64,
    pub(crate) shards: u32,
    pub(crate) per_user_limit: u32,
}

impl Campaign {
    /// The `policyId` of every campaign in these tests.
    pub(crate) const POLICY: u64 = 21;

    pub(crate) const fn of(total: u64, shards: u32) -> Self {
        Self { coupon: 7_001, total, shards, per_user_limit: 1 }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "couponId": self.coupon, "policyId": Self::POLICY, "total": self.total,
            "shards": self.shards, "perUserLimit": self.per_user_limit,
        })
    }
}

/// The body of `POST /coupon/issue` with all fields, as from a shop that counts the expiry from the request: each user
/// sees other terms.
pub(crate) fn payload(user: u64, coupon: u64) -> String {
    let (hour, minute, second) = (user / 3600 % 24, user / 60 % 60, user % 60);
    format!(
        r#"{{"userId":{user},"couponId":{coupon},"policyId":{},"typeSnapshot":"FIXED","discountRateSnapshot":10.0,"discountAmountSnapshot":1000,"minimumOrderAmountSnapshot":5000,"usagePeriodSnapshot":30,"expiredAt":"2025-12-31T{hour:02}:{minute:02}:{second:02}"}}"#,
        Campaign::POLICY
    )
}

impl Gateway {
    pub(crate) async fn create(&self, campaign: Campaign) -> u64 {
        let answer = self.operator.post("/admin/coupons", campaign.json().to_string()).await;
        assert_eq!(answer.status, 201, "{answer}");
        campaign.coupon
    }

    /// `pause`, `resume`, `close`, `top-up` or `reshard`.
    pub(crate) async fn change(&self, coupon: u64, action: &str, body: Value) -> Answer {
        self.operator.post(&format!("/admin/coupons/{coupon}/{action}"), body.to_string()).await
    }

    pub(crate) async fn audit(&self, coupon: u64) -> Audit {
        let answer = self.operator.get(&format!("/admin/coupons/{coupon}/audit?recount=true")).await;
        assert_eq!(answer.status, 200, "{answer}");
        serde_json::from_value(answer.json()).expect("an audit")
    }

    pub(crate) async fn export(&self, coupon: u64) -> Vec<ExportLine> {
        let ended = self.run(&["coupon", "export", &coupon.to_string()]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of the export")).collect()
    }

    pub(crate) async fn pipeline(&self) -> Value {
        self.operator.get("/admin/pipeline").await.json()
    }

    pub(crate) async fn put_pipeline(&self, patch: Value) -> Answer {
        self.operator.put("/admin/pipeline", patch.to_string()).await
    }

    /// Returns the number of the new generation.
    pub(crate) async fn change_pipeline(&self, patch: Value) -> u64 {
        let answer = self.put_pipeline(patch).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()["generation"].as_u64().expect("a generation")
    }

    pub(crate) async fn set_shard_picker(&self, policy: &str) -> u64 {
        self.change_pipeline(json!({ "shard-picker": { "policy": policy } })).await
    }

    /// Activates a hostile policy in the hook that it implements.
    pub(crate) async fn activate_hostile(&self, hook: &str, guest: &str) -> u64 {
        self.home.install_hostile(guest);
        self.change_pipeline(json!({ hook: { "policy": guest } })).await
    }

    /// Raises the limit of the policy, so that the ledger's limit decides.
    pub(crate) async fn set_request_limit(&self, limit: u32) -> u64 {
        self.change_pipeline(json!({ "user-limit": { "policy": "quota", "config": { "limit": limit } } })).await
    }

    pub(crate) async fn lag(&self) -> f64 {
        self.metrics().await.sum("sluice_log_lag_records", &[])
    }

    pub(crate) async fn wait_until_drained(&self, within: Duration) {
        // The gateway samples its lag: one from before the last request does not count.
        tokio::time::sleep(SAMPLED_WITHIN).await;
        eventually("all records are settled", within, async || (self.lag().await == 0.0).then_some(())).await;
    }
}
