//! What the key `policy` of a hook names: a policy, or one version of it.

const DIGEST: &str = "@sha256:";
/// As many as the metrics show. With fewer, two versions of a policy might begin in the same way.
const DIGITS_MIN: usize = 12;
const DIGITS_MAX: usize = 64;

/// `random`, or `random@sha256:ba7816bf8f01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PolicyRef<'a> {
    pub(super) name: &'a str,
    /// The beginning of a version's digest; `None` is the newest version.
    pub(super) digits: Option<&'a str>,
}

impl<'a> PolicyRef<'a> {
    pub(super) fn of(policy: &'a str) -> Self {
        match policy.split_once(DIGEST) {
            Some((name, digits)) => Self { name, digits: Some(digits) },
            None => Self { name: policy, digits: None },
        }
    }

    /// # Errors
    /// What was expected and what was found.
    pub(super) fn check(policy: &str) -> Result<(), String> {
        let PolicyRef { name, digits } = PolicyRef::of(policy);
        check_policy_name(name)?;
        let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        let is_digest =
            |digits: &str| (DIGITS_MIN..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(is_digit);
        if digits.is_none_or(is_digest) {
            Ok(())
        } else {
            Err(format!("expected {DIGITS_MIN} to {DIGITS_MAX} of 0-9 and a-f after {DIGEST}, found `{policy}`"))
        }
    }
}

/// The name becomes a file's name, so it must not be a path.
pub(super) fn check_policy_name(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=64).contains(&name.len()) && name.bytes().all(is_plain) {
        Ok(())
    } else {
        Err(format!("expected 1 to 64 of a-z, 0-9 and -, found `{name}`"))
    }
}

/// Whether two values of the key name versions of one policy.
pub(crate) fn is_same_policy(one: &str, other: &str) -> bool {
    PolicyRef::of(one).name == PolicyRef::of(other).name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_named_with_or_without_the_beginning_of_a_digest() {
        let digest = "0123456789abcdef".repeat(4);
        for digits in ["0123456789ab", &digest] {
            let policy = format!("random@sha256:{digits}");
            assert_eq!(PolicyRef::check(&policy), Ok(()));
            assert_eq!(PolicyRef::of(&policy), PolicyRef { name: "random", digits: Some(digits) });
            assert!(is_same_policy(&policy, "random") && !is_same_policy(&policy, "random-2"));
        }
        assert_eq!(PolicyRef::of("random"), PolicyRef { name: "random", digits: None });
    }

    #[test]
    fn a_digest_that_is_too_short_too_long_or_none_is_refused() {
        let long = "0".repeat(65);
        for digits in ["", "0123456789a", "0123456789AB", "0123456789xy", &long] {
            let policy = format!("random@sha256:{digits}");
            let expected = format!("expected 12 to 64 of 0-9 and a-f after @sha256:, found `{policy}`");
            assert_eq!(PolicyRef::check(&policy), Err(expected));
        }
        let error = PolicyRef::check("random@md5:0123456789ab").expect_err("is refused");
        assert_eq!(error, "expected 1 to 64 of a-z, 0-9 and -, found `random@md5:0123456789ab`");
    }
}
