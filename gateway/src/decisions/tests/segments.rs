//! The files: bounded, rotated, deleted, and readable after a crash.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::super::segments::{Segments, paths};
use super::super::{Cursor, Decision, Filter, Outcome, Reader};
use super::{accepted, request};
use crate::coupon::RequestId;

const BYTES_MAX: u64 = 4096;
const KEEP: Duration = Duration::from_hours(48);

fn contents(dir: &Path) -> Vec<String> {
    paths(dir).expect("a folder").iter().map(|path| std::fs::read_to_string(path).expect("reads")).collect()
}

/// A line of this length, which says its number.
fn line(number: usize, bytes: usize) -> String {
    let mut line = format!("{number:06}");
    line.extend(std::iter::repeat_n('.', bytes));
    line.push('\n');
    line
}

fn lines(decisions: &[Decision]) -> Vec<Vec<u8>> {
    let line = |decision| {
        let mut line = serde_json::to_vec(decision).expect("JSON");
        line.push(b'\n');
        line
    };
    decisions.iter().map(line).collect()
}

fn write(dir: &Path, decisions: &[Decision]) {
    let mut segments = Segments::new(dir, 1 << 20, KEEP);
    lines(decisions).iter().for_each(|line| segments.append(line).expect("appends"));
}

/// All lines that a reader finds.
fn read(reader: &Reader, filter: &Filter, mut cursor: Cursor) -> (String, Cursor) {
    let mut all = Vec::new();
    loop {
        let (lines, next) = reader.next(filter, &cursor).expect("reads");
        all.extend(lines);
        if next == cursor {
            return (String::from_utf8(all).expect("text"), cursor);
        }
        cursor = next;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_newest_lines_are_kept_within_the_bounds_whatever_is_written(
        writes in prop::collection::vec((0_usize..400, 0_u64..180, prop::bool::weighted(0.1)), 1..80),
    ) {
        let data = tempfile::tempdir().expect("a temporary folder");
        let dir = data.path().join("decisions");
        let mut segments = Segments::new(&dir, BYTES_MAX, KEEP);
        let mut now = SystemTime::now();
        let mut written = Vec::new();
        for (number, (bytes, minutes, restarts)) in writes.into_iter().enumerate() {
            now += Duration::from_mins(minutes);
            if restarts {
                segments = Segments::new(&dir, BYTES_MAX, KEEP);
            }
            let line = line(number, bytes);
            segments.append_at(line.as_bytes(), now).expect("appends");
            written.push(line);
            let contents = contents(&dir);
            let bytes: usize = contents.iter().map(String::len).sum();
            prop_assert!(bytes as u64 <= BYTES_MAX, "{bytes} bytes");
            for file in &contents {
                prop_assert!(file.len() as u64 <= BYTES_MAX / 8 || file.lines().count() == 1);
            }
        }
        let kept = contents(&dir).concat();
        prop_assert!(written.concat().ends_with(&kept), "not the newest lines, in their order");
        prop_assert!(kept.ends_with(written.last().expect("there is one")));
    }
}

#[test]
fn old_files_are_deleted_and_those_of_others_stay() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let dir = data.path();
    std::fs::write(dir.join("notes.txt"), "mine").expect("writes");
    let mut segments = Segments::new(dir, 1 << 20, KEEP);
    let begun = SystemTime::now();
    segments.append_at(b"old\n", begun).expect("appends");
    segments.append_at(b"new\n", begun + KEEP / 2).expect("appends");
    assert_eq!(contents(dir), ["old\n", "new\n"], "a file is not written for hours");
    segments.append_at(b"newer\n", begun + KEEP + Duration::from_mins(1)).expect("appends");
    assert_eq!(contents(dir), ["new\n", "newer\n"]);
    segments.expire_at(begun + 3 * KEEP).expect("deletes");
    assert_eq!(contents(dir), [""; 0], "nothing was recorded for long");
    assert!(dir.join("notes.txt").exists());
}

#[test]
fn a_folder_and_its_files_are_for_their_owner_alone() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let dir = data.path().join("a/b");
    Segments::new(&dir, 1 << 20, KEEP).append(b"line\n").expect("appends");
    let mode = |path: &Path| std::fs::metadata(path).expect("exists").permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&paths(&dir).expect("a folder")[0])), (0o700, 0o600));
}

#[test]
fn a_line_that_a_crash_has_cut_off_is_skipped_and_nothing_follows_it_in_its_file() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let (before, after) = (accepted(RequestId::new(), request(1)), accepted(RequestId::new(), request(2)));
    write(data.path(), std::slice::from_ref(&before));
    let file = &paths(data.path()).expect("a folder")[0];
    let mut torn = OpenOptions::new().append(true).open(file).expect("opens");
    torn.write_all(&lines(std::slice::from_ref(&after))[0][..40]).expect("writes");
    write(data.path(), std::slice::from_ref(&after));
    let reader = Reader::new(data.path());
    let expected = String::from_utf8(lines(&[before, after.clone()]).concat()).expect("text");
    assert_eq!(read(&reader, &Filter::default(), Cursor::default()).0, expected);
    assert_eq!(reader.find(after.request_id).expect("reads"), Some(after));
}

#[test]
fn a_line_that_does_not_fit_on_the_disk_leaves_nothing_of_itself() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let mut segments = Segments::new(data.path(), 1 << 20, KEEP);
    let lines: Vec<_> = (0..100).map(|number| line(number, 90)).collect();
    let fitting: Vec<_> = lines.iter().filter(|line| segments.append(line.as_bytes()).is_ok()).cloned().collect();
    assert_eq!(contents(data.path()).concat(), fitting.concat());
    println!("{} of {} lines fit", fitting.len(), lines.len());
}

/// Runs the test above in a process of its own, whose files cannot grow beyond a few lines: a write past that writes a
/// part and fails, as on a full disk.
#[test]
fn a_full_disk_holds_whole_lines_only() {
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().expect("this binary"))
        .args(["--exact", "--nocapture"])
        .arg("decisions::tests::segments::a_line_that_does_not_fit_on_the_disk_leaves_nothing_of_itself")
        .output()
        .expect("runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{}: {stdout}", output.status);
    let fit = stdout.split_once(" of 100 lines fit").and_then(|(before, _)| before.rsplit(['\n', ' ']).next());
    let fit: usize = fit.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{stdout}"));
    assert!((1..20).contains(&fit), "{fit} lines");
}

#[test]
fn a_reader_that_follows_gets_what_is_written_later_and_nothing_twice() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let reader = Reader::new(data.path());
    let (nothing, cursor) = read(&reader, &Filter::default(), reader.end().expect("no folder is needed"));
    assert_eq!(nothing, "");
    let decisions = [1, 2].map(|user| accepted(RequestId::new(), request(user)));
    let mut segments = Segments::new(data.path(), 1 << 20, KEEP);
    let [one, two] = <[_; 2]>::try_from(lines(&decisions)).expect("two lines");
    segments.append(&one).expect("appends");
    let (first, cursor) = read(&reader, &Filter::default(), cursor);
    assert_eq!(first.as_bytes(), one);
    segments.append(&two).expect("appends");
    assert_eq!(read(&reader, &Filter::default(), cursor).0.as_bytes(), two);
    let end = reader.end().expect("reads");
    assert_eq!(read(&reader, &Filter::default(), end).0, "");
}

#[test]
fn a_filter_selects_by_coupon_arrival_and_outcome() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let mut decisions = [1, 2, 3].map(|user| accepted(RequestId::new(), request(user)));
    decisions[1].request.coupon_id = 9;
    decisions[2].request.arrived_at_ms += 1000;
    decisions[2].outcome = Outcome::Refused;
    write(data.path(), &decisions);
    let reader = Reader::new(data.path());
    let users = |filter| -> Vec<u64> {
        let (lines, _) = read(&reader, &filter, Cursor::default());
        let user = |line| serde_json::from_str::<Decision>(line).expect("a decision").request.user_id;
        lines.lines().map(user).collect()
    };
    let all = Filter::default();
    assert_eq!(users(all), [1, 2, 3]);
    assert_eq!(users(Filter { coupon: Some(9_u64.try_into().expect("in range")), ..all }), [2]);
    assert_eq!(users(Filter { since_ms: Some(1_800_000_000_001), ..all }), [3]);
    assert_eq!(users(Filter { outcome: Some(Outcome::Accepted), ..all }), [1, 2]);
    assert_eq!(
        users(Filter { outcome: Some(Outcome::Accepted), since_ms: Some(1_800_000_000_001), ..all }),
        [] as [u64; 0]
    );
}
