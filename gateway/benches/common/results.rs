//! Results in `target/bench`.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use serde::Serialize;

/// Writes a file and returns its path.
pub(crate) fn write(name: &str, text: &str) -> PathBuf {
    // The folder for temporary files of benchmarks is in the target folder.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(name);
    std::fs::write(&path, text).expect("is written");
    path
}

pub(crate) fn write_json(name: &str, results: &impl Serialize) -> PathBuf {
    write(name, &serde_json::to_string_pretty(results).expect("JSON"))
}

/// A Markdown table.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    let rule = vec!["---".to_owned(); header.len()];
    [&header, &rule].into_iter().chain(rows).map(|cells| line(cells)).collect()
}

pub(crate) fn machine() -> String {
    format!("{} processors", available_parallelism().map_or(1, NonZero::get))
}
