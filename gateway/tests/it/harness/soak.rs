//! Long tests have a short form, which runs every time, and a long one for `SLUICE_SOAK=1`.

/// The second value when the variable is `1`.
pub(crate) fn short_or_long<T>(short: T, long: T) -> T {
    if std::env::var_os("SLUICE_SOAK").is_some_and(|value| value == "1") { long } else { short }
}

/// The number in an environment variable, or the default.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}: a number")))
}
