//! The codes that a policy must not use.

/// The gateway's own reasons, but for `RATE_LIMITED` and `USER_LIMIT`. A client that receives one must be able to rely
/// on it: `SOLD_OUT` is final. `wit/policy.wit` and `policies/README.md` list them too.
pub const RESERVED_CODES: [&str; 31] = [
    "BODY_TOO_LARGE",
    "CLOSED",
    "COUPON_EXISTS",
    "COUPON_NOT_FOUND",
    "FORBIDDEN",
    "HEADERS_TOO_LARGE",
    "IDEMPOTENCY_CONFLICT",
    "INTERNAL",
    "INVALID",
    "LEDGER_UNAVAILABLE",
    "LOG_UNAVAILABLE",
    "MALFORMED",
    "METHOD_NOT_ALLOWED",
    "NOTHING_TO_ROLL_BACK",
    "NOT_A_GAP",
    "NOT_FOUND",
    "NOT_OPEN",
    "OVERLOADED",
    "PAUSED",
    "PIPELINE_CHANGED",
    "POLICY_REFUSED",
    "POLICY_UNAVAILABLE",
    "REQUEST_NOT_FOUND",
    "ROLLOUT_NOT_FOUND",
    "ROLLOUT_OVER",
    "ROLLOUT_RUNNING",
    "SOLD_OUT",
    "TIMEOUT",
    "TLS_REQUIRED",
    "UNAUTHORIZED",
    "UNSUPPORTED_MEDIA_TYPE",
];

pub(super) fn is_reserved(code: &str) -> bool {
    RESERVED_CODES.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes between two phrases of a text.
    fn codes<'a>(text: &'a str, from: &str, to: &str) -> Vec<&'a str> {
        let (_, rest) = text.split_once(from).expect("the list begins");
        let (list, _) = rest.split_once(to).expect("the list ends");
        list.split('`').filter(|word| word.starts_with(|letter: char| letter.is_ascii_uppercase())).collect()
    }

    #[test]
    fn the_contract_and_the_guide_list_the_reserved_codes() {
        let contract = include_str!("../../../wit/policy.wit");
        assert_eq!(codes(contract, "codes are reserved:", "code: string"), RESERVED_CODES);
        let guide = include_str!("../../../policies/README.md");
        assert_eq!(codes(guide, "are reserved:", "## Limits"), RESERVED_CODES);
    }
}
