//! What the parser says about a wrong value, in the words of all other messages.

/// Describes an error in a file: the place, its line, and the message.
pub(super) fn of_file(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let text = text.trim_end();
    text.strip_suffix(error.message()).map_or_else(|| text.to_owned(), |place| format!("{place}{}", of(error)))
}

/// Describes an error: what was expected, then what was found.
pub(super) fn of(error: &toml::de::Error) -> String {
    in_order(error.message())
}

/// The parser says it the other way round.
fn in_order(message: &str) -> String {
    let wrong = ["invalid type: ", "invalid value: ", "unknown variant "];
    let wrong = wrong.iter().find_map(|words| message.strip_prefix(words)?.rsplit_once(", expected "));
    wrong.map_or_else(|| message.to_owned(), |(found, expected)| format!("expected {expected}, found {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_expected_comes_before_what_was_found() {
        for (message, expected) in [
            (
                "invalid type: string \"a, expected b\", expected a boolean",
                "expected a boolean, found string \"a, expected b\"",
            ),
            ("unknown variant `xml`, expected `text` or `json`", "expected `text` or `json`, found `xml`"),
            ("unknown field `lisen`, expected `listen`", "unknown field `lisen`, expected `listen`"),
            ("expected a whole number from 1 to 256, found 0", "expected a whole number from 1 to 256, found 0"),
        ] {
            assert_eq!(in_order(message), expected);
        }
    }
}
