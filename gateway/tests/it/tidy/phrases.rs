//! Phrases that readers had to decode, and what to write instead.
//!
//! Only phrases without a plain use are listed, so there are no exceptions to maintain.

use std::path::Path;
use std::process::Command;

/// Phrase and replacement. Case does not matter; a phrase is also found across a line break of a comment, and
/// in the words of a `snake_case` name.
const UNCLEAR: &[(&str, &str)] = &[
    ("mend", "fix"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("turn away", "reject, or refuse"),
    ("turns away", "rejects, or refuses"),
    ("turned away", "rejected, or refused"),
    ("turning away", "rejecting, or refusing"),
    ("beside each other", "concurrently, or compared"),
    ("in force", "active"),
    ("told of", "notified of"),
    ("told that", "receives, or learns that"),
    ("so many", "the number: `milliseconds`, `at most n`"),
    ("manieth", "the number"),
    ("what is not there", "the missing dependency"),
    ("not there yet", "unavailable, or missing"),
    ("who hangs", "a client or session that stalls"),
    ("asks nobody", "does no I/O"),
    ("nobody asks", "there are no requests"),
    ("nobody waits", "no caller waits"),
    ("nobody knows", "unknown"),
    ("nobody needs", "unused"),
    ("nobody's", "the noun that is meant"),
    ("out of reach", "unreachable"),
    ("in reach", "reachable"),
    ("ended badly", "panicked, or failed"),
    ("is as good as", "is treated as"),
    ("authority of one", "a private CA"),
    ("as it finds itself", "the state it has"),
    ("whatever comes of", "even if … fails"),
    ("whatever came of", "even if … failed"),
    ("proof of life", "a ping, or a health check"),
    ("puts right", "corrects"),
    ("put aside", "dead-lettered, or set aside"),
    ("bury", "dead-letter"),
    ("buries", "dead-letters"),
    ("buried", "dead-lettered"),
    ("takings", "reservation"),
    ("give back", "release"),
    ("gives back", "releases"),
    ("given back", "released"),
    ("gave back", "released"),
    ("giving back", "releasing"),
    ("forgiving", "fail-open"),
    ("owed", "pending release"),
    ("debt", "pending release"),
];

/// Every unclear phrase in the files that Git tracks or would add: `file:line: phrase -> replacement`.
pub(super) fn found_in(repository: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for name in text_files(repository) {
        // A file may be deleted and not yet committed; an image is no text.
        let Ok(text) = std::fs::read_to_string(repository.join(&name)) else { continue };
        let hits = search(&text).into_iter();
        found.extend(hits.map(|(line, phrase, instead)| format!("{name}:{line}: \"{phrase}\" -> {instead}")));
    }
    found
}

fn text_files(repository: &Path) -> Vec<String> {
    let mut git = Command::new("git");
    git.arg("-C").arg(repository).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = git.output().expect("git runs");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    // A migration that has been applied is known by its checksum: its comments cannot change any more.
    let is_checked = |name: &&str| {
        !name.is_empty()
            && !name.ends_with(".lock")
            && !name.ends_with("tidy/phrases.rs")
            && !name.starts_with("migrations/")
    };
    names.split('\0').filter(is_checked).map(str::to_owned).collect()
}

fn search(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let words = words(text);
    let mut hits = Vec::new();
    for (phrase, instead) in UNCLEAR {
        let wanted: Vec<&str> = phrase.split(' ').collect();
        let matches = words.windows(wanted.len()).filter(|found| found.iter().map(|(_, word)| word).eq(&wanted));
        hits.extend(matches.map(|found| (found[0].0, *phrase, *instead)));
    }
    hits.sort_unstable();
    hits
}

/// Lower-case words with their lines. An empty word stands between words that do not belong to one phrase.
fn words(text: &str) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start().trim_start_matches(['/', '!', '#', '*', '-', '>']);
        let mut word = String::new();
        for character in line.chars().chain(['\n']) {
            if character.is_alphanumeric() || character == '\'' {
                word.extend(character.to_lowercase());
                continue;
            }
            if !word.is_empty() {
                words.push((number + 1, std::mem::take(&mut word)));
            }
            if !character.is_whitespace() && character != '_' {
                words.push((number + 1, String::new()));
            }
        }
    }
    words
}

#[test]
fn a_phrase_is_found_across_lines_and_in_names() {
    let found = |text: &str| search(text).into_iter().map(|(line, phrase, _)| (line, phrase)).collect::<Vec<_>>();
    assert_eq!(found("/// which is in\n/// force now"), [(1, "in force")]);
    assert_eq!(found("\nfn a_user_turned_away_by_it() {}"), [(2, "turned away")]);
    assert_eq!(found("recommend; told. Of course: so, many"), []);
}
