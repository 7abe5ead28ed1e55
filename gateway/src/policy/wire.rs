//! The types of `wit/policy.wit`, as they cross into a guest and back.

pub(super) mod v0_1;

use axum::http::Uri;
use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::reserved::is_reserved;
use crate::counters::{Measure, Measured, Scope};

/// One request for a coupon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ComponentType, Lower)]
#[serde(rename_all = "camelCase")]
#[component(record)]
pub struct Request {
    #[component(name = "coupon-id")]
    pub coupon_id: u64,
    /// Names the coupon's terms, not a WebAssembly policy.
    #[component(name = "policy-id")]
    pub policy_id: u64,
    #[component(name = "user-id")]
    pub user_id: u64,
    /// Milliseconds since 1970.
    #[component(name = "arrived-at-ms")]
    pub arrived_at_ms: u64,
    /// 64 uniform bits, the same for a retry.
    pub entropy: u64,
}

/// How busy this gateway is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ComponentType, Lower)]
#[serde(rename_all = "camelCase")]
#[component(record)]
pub struct Load {
    #[component(name = "in-flight")]
    pub in_flight: u32,
    #[component(name = "arrivals-per-second")]
    pub arrivals_per_second: f64,
    #[component(name = "grants-per-second")]
    pub grants_per_second: f64,
    /// Accepted records that are not settled.
    #[component(name = "lag-records")]
    pub lag_records: u64,
    /// The age of the oldest such record.
    #[component(name = "lag-seconds")]
    pub lag_seconds: f64,
}

/// The campaign as this gateway last read it from the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ComponentType, Lower)]
#[serde(rename_all = "camelCase")]
#[component(record)]
pub struct Usage {
    /// Enforced by the ledger, whatever the policy decides.
    #[component(name = "per-user-limit")]
    pub per_user_limit: u32,
    pub total: u64,
    pub remaining: u64,
}

/// A shard as this gateway last read it from the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ComponentType, Lower)]
#[serde(rename_all = "camelCase")]
#[component(record)]
pub struct Shard {
    #[component(name = "shard-no")]
    pub shard_no: u32,
    /// After the last settled batch.
    pub remaining: u64,
    /// Requests accepted for this shard and not settled.
    pub unsettled: u64,
    /// Records in the shard's partition that are not settled; other shards share it.
    #[component(name = "lag-records")]
    pub lag_records: u64,
}

pub(super) fn shard_exists(shards: &[Shard], picked: u32) -> bool {
    shards.iter().any(|shard| shard.shard_no == picked)
}

/// Why a policy refuses a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ComponentType, Lift)]
#[serde(rename_all = "camelCase")]
#[component(record)]
pub struct Rejection {
    /// Upper case, such as `RATE_LIMITED`.
    pub code: String,
    #[component(name = "retry-after-ms")]
    pub retry_after_ms: Option<u32>,
    /// Plain text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The `http` or `https` address of a page for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// Enough for a paragraph. A larger one would cost each refusal of a flood.
const MESSAGE_BYTES_MAX: usize = 512;
const LINK_BYTES_MAX: usize = 1024;

impl Rejection {
    pub(super) fn new(code: &str, retry_after_ms: Option<u32>) -> Self {
        Self { code: code.to_owned(), retry_after_ms, message: None, link: None }
    }

    /// Clients tell the gateway's own reasons by the code, so it must be none of them.
    pub(super) fn is_valid(&self) -> bool {
        is_code(&self.code)
            && !is_reserved(&self.code)
            && self.message.as_deref().is_none_or(is_message)
            && self.link.as_deref().is_none_or(is_link)
    }
}

fn is_message(text: &str) -> bool {
    !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains(char::is_control)
}

/// A page may show it as a link: no other scheme than these, and nothing that ends an attribute of HTML.
fn is_link(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !br#"<>"'`\"#.contains(&byte);
    let has_scheme = text.starts_with("https://") || text.starts_with("http://");
    let has_host = || text.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    text.len() <= LINK_BYTES_MAX && text.bytes().all(is_allowed) && has_scheme && has_host()
}

/// Whether a policy may reject with this code, if it is not reserved. It goes into a header and into log lines, so it is
/// one short word.
#[must_use]
pub fn is_code(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_letter_or_digit = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    bytes.len() <= 64 && bytes.first().is_some_and(u8::is_ascii_uppercase) && bytes.iter().all(is_letter_or_digit)
}

/// The arguments of a hook's function, lent for the call: the request, one value for each measure, and what else the
/// hook sees. The call copies them once, into the guest's memory.
pub(super) type Facts<'a, C> = (&'a Request, &'a [WireMeasured], &'a C);

/// A rate shaper's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ComponentType, Lift)]
#[serde(rename_all = "camelCase")]
#[component(variant)]
pub enum Shaping {
    #[component(name = "pass")]
    Pass,
    /// Pass after this many milliseconds.
    #[component(name = "delay")]
    Delay(u32),
    #[component(name = "shed")]
    Shed(Rejection),
}

impl Shaping {
    /// How long a request waits before it goes on, in milliseconds.
    #[must_use]
    pub const fn delay_ms(&self) -> u32 {
        match self {
            Self::Delay(delay_ms) => *delay_ms,
            Self::Pass | Self::Shed(_) => 0,
        }
    }

    pub(super) fn is_valid(&self) -> bool {
        !matches!(self, Self::Shed(rejection) if !rejection.is_valid())
    }
}

/// A user limit's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ComponentType, Lift)]
#[serde(rename_all = "camelCase")]
#[component(variant)]
pub enum LimitVerdict {
    #[component(name = "admit")]
    Admit,
    #[component(name = "refuse")]
    Refuse(Rejection),
}

impl LimitVerdict {
    pub(super) fn is_valid(&self) -> bool {
        !matches!(self, Self::Refuse(rejection) if !rejection.is_valid())
    }
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "only guests create them; they are lifted by their number")]
pub(super) enum WireScope {
    #[component(name = "user-of-coupon")]
    UserOfCoupon,
    #[component(name = "user")]
    User,
    #[component(name = "coupon")]
    Coupon,
    #[component(name = "gateway")]
    Gateway,
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(record)]
pub(super) struct Window {
    scope: WireScope,
    #[component(name = "length-ms")]
    length_ms: u64,
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(record)]
pub(super) struct Rate {
    scope: WireScope,
    requests: u32,
    #[component(name = "per-ms")]
    per_ms: u32,
    burst: u32,
}

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(variant)]
pub(super) enum WireMeasure {
    #[component(name = "count")]
    Count(Window),
    #[component(name = "bucket")]
    Bucket(Rate),
    #[component(name = "sequence")]
    Sequence(WireScope),
}

impl WireMeasure {
    /// `None` if a number of a bucket is 0.
    pub(super) fn to_measure(self) -> Option<Measure> {
        Some(match self {
            Self::Count(window) => Measure::Count { scope: window.scope.into(), window_ms: window.length_ms },
            Self::Bucket(rate) => Measure::Bucket {
                scope: rate.scope.into(),
                requests: rate.requests.try_into().ok()?,
                per_ms: rate.per_ms.try_into().ok()?,
                burst: rate.burst.try_into().ok()?,
            },
            Self::Sequence(scope) => Measure::Sequence { scope: scope.into() },
        })
    }
}

impl From<WireScope> for Scope {
    fn from(scope: WireScope) -> Self {
        match scope {
            WireScope::UserOfCoupon => Self::UserOfCoupon,
            WireScope::User => Self::User,
            WireScope::Coupon => Self::Coupon,
            WireScope::Gateway => Self::Gateway,
        }
    }
}

#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(variant)]
pub(super) enum BucketState {
    #[component(name = "conforming")]
    Conforming,
    #[component(name = "conforming-in-ms")]
    ConformingInMs(u32),
}

#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(variant)]
pub(super) enum WireMeasured {
    #[component(name = "count")]
    Count(u64),
    #[component(name = "bucket")]
    Bucket(BucketState),
    #[component(name = "sequence")]
    Sequence(u64),
}

impl WireMeasured {
    /// What the first request of a campaign would be given.
    pub(super) fn first(measure: &Measure) -> Self {
        match measure {
            Measure::Count { .. } => Self::Count(1),
            Measure::Bucket { .. } => Self::Bucket(BucketState::Conforming),
            Measure::Sequence { .. } => Self::Sequence(0),
        }
    }
}

impl From<&Measured> for WireMeasured {
    fn from(measured: &Measured) -> Self {
        match *measured {
            Measured::Count(count) => Self::Count(count),
            Measured::Conforming => Self::Bucket(BucketState::Conforming),
            Measured::ConformingInMs(ms) => Self::Bucket(BucketState::ConformingInMs(ms)),
            Measured::Sequence(number) => Self::Sequence(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_valid(code: &str) -> bool {
        Rejection::new(code, None).is_valid()
    }

    #[test]
    fn a_code_is_one_short_word_that_the_gateway_does_not_use_itself() {
        for code in ["RATE_LIMITED", "USER_LIMIT", "COOLDOWN", "A1_"] {
            assert!(is_valid(code), "{code}");
        }
        for code in ["", "cooldown", "1A", "_A", "A B", &"A".repeat(65), "SOLD_OUT", "CLOSED", "LOG_UNAVAILABLE"] {
            assert!(!is_valid(code), "{code}");
        }
    }

    #[test]
    fn a_message_is_a_short_text_without_control_characters() {
        let is_valid =
            |message: &str| Rejection { message: Some(message.to_owned()), ..Rejection::new("CODE", None) }.is_valid();
        for message in ["one each", "<b>eins</b> für & \"alle\"", &"x".repeat(MESSAGE_BYTES_MAX)] {
            assert!(is_valid(message), "{message}");
        }
        for message in ["", "two\nlines", "\u{1b}[31m", "\u{85}", &"é".repeat(MESSAGE_BYTES_MAX / 2 + 1)] {
            assert!(!is_valid(message), "{message}");
        }
    }

    #[test]
    fn a_link_is_a_short_http_address() {
        let is_valid =
            |link: &str| Rejection { link: Some(link.to_owned()), ..Rejection::new("CODE", None) }.is_valid();
        let with_bytes = |bytes: usize| format!("https://example.com/{}", "x".repeat(bytes - 20));
        for link in ["https://example.com", "http://[::1]:8080/a?b=c&d=%20", &with_bytes(LINK_BYTES_MAX)] {
            assert!(is_valid(link), "{link}");
        }
        for link in [
            "",
            "javascript:alert(1)",
            "data:text/html,x",
            "/relative",
            "//example.com",
            "https://",
            "https:///path",
            "https://:80/",
            "HTTPS://example.com",
            " https://example.com",
            "https://example.com/a b",
            "https://example.com/\"onclick=",
            "https://example.com/'",
            "https://example.com/<script>",
            "https://example.com\\@evil.example",
            "https://example.com/\r\nset-cookie:a",
            "https://exämple.com",
            &with_bytes(LINK_BYTES_MAX + 1),
        ] {
            assert!(!is_valid(link), "{link}");
        }
    }
}
