//! Passwords and tokens: how they are read from files, and how they stay out of logs and errors.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A longer line is not a password: the option names the wrong file.
const SECRET_BYTES_MAX: usize = 4096;

/// Windows editors put it at the start of a text file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// What precedes user and password in a URL. The names cover a URL whose `//` was forgotten.
const URL_STARTS: [&str; 7] = ["://", "mysql:", "mariadb:", "redis:", "rediss:", "+cluster:", "kafka:"];

/// The caller adds the option that names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {problem}; write the secret on the first line of a text file", path.display())]
    Unusable { path: PathBuf, problem: &'static str },
}

/// Reads the first line of a file, without the white space around it.
///
/// # Errors
/// When the path is not a readable regular file, or its first line is empty, longer than
/// [`SECRET_BYTES_MAX`] or not UTF-8.
pub(crate) fn read_secret(path: &Path) -> Result<String, SecretError> {
    let failed = |source| SecretError::Read { path: path.to_owned(), source };
    let unusable = |problem| SecretError::Unusable { path: path.to_owned(), problem };
    // To open a FIFO without a writer would block the start for ever.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(unusable("not a regular file"));
    }
    let mut line = Vec::new();
    let file = BufReader::new(File::open(path).map_err(failed)?);
    file.take(SECRET_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line).map_err(failed)?;
    if line.len() > SECRET_BYTES_MAX {
        return Err(unusable("the first line is longer than 4096 bytes"));
    }
    let line = String::from_utf8(line).map_err(|_| unusable("the first line is not UTF-8"))?;
    match line.trim_start_matches(BYTE_ORDER_MARK).trim() {
        "" => Err(unusable("the first line is empty")),
        secret => Ok(secret.to_owned()),
    }
}

/// Replaces the password of a URL by `***`, also within a longer text such as a quoted line of a file.
///
/// It hides too much rather than too little: a password may hold characters that should have been
/// escaped, so everything from the first colon after the scheme to the last `@` of the text is hidden.
pub(crate) fn redact(text: &str) -> String {
    let start = URL_STARTS.iter().filter_map(|mark| Some(text.find(mark)? + mark.len())).min();
    let password = start.and_then(|start| {
        let end = start + text[start..].rfind('@')?;
        let colon = start + text[start..end].find(':')?;
        Some((colon + 1, end))
    });
    password.map_or_else(|| text.to_owned(), |(start, end)| format!("{}***{}", &text[..start], &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: impl AsRef<[u8]>) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), bytes).expect("writes");
        read_secret(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_line_is_the_secret_without_the_space_around_it() {
        for text in ["s3cret", "s3cret\n", "s3cret\r\n", " \ts3cret \nsecond line\n", "\u{feff}s3cret\r\n"] {
            assert_eq!(read(text).as_deref(), Ok("s3cret"), "{text:?}");
        }
        assert_eq!(read("two words\n").as_deref(), Ok("two words"));
    }

    #[test]
    fn a_blank_first_line_is_refused_even_if_a_second_line_follows() {
        for text in ["", "\n", "\r\n", "  \ns3cret\n", "\u{feff}\ns3cret"] {
            let error = read(text).expect_err("is refused");
            assert!(error.contains("the first line is empty; write the secret"), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_file_without_a_line_of_text_is_refused_and_never_quoted() {
        let utf_16 = "s3cret".encode_utf16().flat_map(u16::to_be_bytes).chain([0xff]).collect::<Vec<_>>();
        let error = read(utf_16).expect_err("is refused");
        assert!(error.contains("not UTF-8") && !error.contains("s3cret"), "{error}");
        let longest = "x".repeat(SECRET_BYTES_MAX);
        assert_eq!(read(&longest), Ok(longest.clone()));
        let error = read(longest + "x").expect_err("is refused");
        assert!(error.contains("longer than 4096 bytes") && !error.contains("xx"), "{error}");
    }

    #[test]
    fn a_path_that_is_no_regular_file_is_refused_at_once() {
        let error = read_secret(Path::new("no/such/file")).expect_err("is refused").to_string();
        assert!(error.starts_with("read no/such/file: No such file"), "{error}");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = read_secret(folder.path()).expect_err("is refused").to_string();
        assert!(error.contains("not a regular file"), "{error}");
        #[cfg(unix)]
        {
            let fifo = folder.path().join("fifo");
            let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("runs mkfifo");
            assert!(made.success());
            let error = read_secret(&fifo).expect_err("is refused").to_string();
            assert!(error.contains("not a regular file"), "{error}");
        }
    }

    #[test]
    fn the_password_in_a_url_is_replaced_and_the_rest_kept() {
        for (text, redacted) in [
            ("mysql://sluice:secret@db:3306/sluice", "mysql://sluice:***@db:3306/sluice"),
            ("mysql://sluice:se/c#r@t@db/sluice?ssl-mode=REQUIRED", "mysql://sluice:***@db/sluice?ssl-mode=REQUIRED"),
            ("mysql:sluice:secret@db/sluice", "mysql:sluice:***@db/sluice"),
            ("mysql:sluice:secret@db, see http://docs", "mysql:sluice:***@db, see http://docs"),
            ("mariadb://sluice:secret@db", "mariadb://sluice:***@db"),
            ("redis://:secret@host", "redis://:***@host"),
            ("rediss://user:secret@x@host:1/2", "rediss://user:***@host:1/2"),
            ("1 | url = \"mysql://sluice:secret@db", "1 | url = \"mysql://sluice:***@db"),
            ("of http://host and mysql://sluice:secret@db", "of http://host and mysql:***@db"),
        ] {
            assert_eq!(redact(text), redacted);
        }
    }

    #[test]
    fn a_text_without_a_password_stays_as_it_is() {
        for text in [
            "mysql://sluice@db:3306/sluice",
            "redis://user@host:6379/3",
            "redis://host:6379",
            "sqlite:data/a@b:c.db",
            "embedded:data/log",
            "",
        ] {
            assert_eq!(redact(text), text);
        }
    }
}
