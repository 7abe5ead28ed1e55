//! Reading files that others write.

use std::io::{self, Read};
use std::path::Path;

/// Reads a regular file of up to `bytes_max` bytes. Anything else is refused before it is opened: opening a FIFO
/// would wait for a writer, and a device has no end.
pub(crate) fn read(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("expected a regular file"));
    }
    if metadata.len() > bytes_max as u64 {
        return Err(too_large(bytes_max, metadata.len()));
    }
    let mut bytes = Vec::new();
    // The file may have grown since.
    std::fs::File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max { Err(too_large(bytes_max, bytes.len() as u64)) } else { Ok(bytes) }
}

fn too_large(bytes_max: usize, found: u64) -> io::Error {
    io::Error::other(format!("expected at most {bytes_max} bytes, found {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_the_limit() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        std::fs::write(&path, b"12345").expect("writes");
        assert_eq!(read(&path, 5).expect("reads"), b"12345");
        let error = read(&path, 4).expect_err("is refused").to_string();
        assert_eq!(error, "expected at most 4 bytes, found 5");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_refused_without_being_opened() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("runs mkfifo").success());
        for path in [&*fifo, folder.path(), Path::new("/dev/zero")] {
            let error = read(path, 5).expect_err("is refused").to_string();
            assert_eq!(error, "expected a regular file", "{}", path.display());
        }
    }
}
