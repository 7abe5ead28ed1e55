//! Which files the cache of compiled components accepts.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::digest::Digest;
use super::super::engine::{self, Metering};
use super::artifact::Artifact;
use super::cache::{ArtifactCache, Key};
use super::private_folder::PrivateFolder;

struct Fixture {
    /// Deleted when the test ends.
    _parent: TempDir,
    folder: PathBuf,
    cache: ArtifactCache,
}

fn fixture() -> Fixture {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let folder = parent.path().join("data/compiled");
    Fixture { _parent: parent, cache: ArtifactCache::new(Some(folder.clone())), folder }
}

fn key(component: &[u8]) -> Key {
    Key::new(engine::running(Metering::Time).expect("an engine"), Digest::of(component))
}

fn artifact() -> Artifact {
    Artifact::from_compiler(b"native code".to_vec())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("exists").permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("sets the mode");
}

impl Fixture {
    fn is_read(&self) -> bool {
        self.cache.read(key(b"a")).is_some_and(|read| read.bytes() == artifact().bytes())
    }

    fn stored() -> (Self, PathBuf) {
        let fixture = fixture();
        fixture.cache.store(key(b"a"), &artifact());
        let file = files(&fixture.folder).pop().expect("a file");
        (fixture, file)
    }
}

#[test]
fn what_was_stored_is_read_again_and_only_for_its_own_component() {
    let (fixture, file) = Fixture::stored();
    assert!(fixture.is_read());
    assert!(fixture.cache.read(key(b"b")).is_none());
    assert_eq!((mode(&fixture.folder), mode(&file)), (0o700, 0o600));
    fixture.cache.store(key(b"a"), &artifact());
    assert_eq!(files(&fixture.folder), [file], "nothing else is left");
}

#[test]
fn a_truncated_damaged_or_renamed_file_is_not_read_but_deleted() {
    let damage: [fn(&mut Vec<u8>); 4] =
        [|bytes| bytes.truncate(40), |bytes| bytes.truncate(7), |bytes| bytes[35] ^= 1, |bytes| bytes.push(0)];
    for damage in damage {
        let (fixture, file) = Fixture::stored();
        let mut bytes = std::fs::read(&file).expect("reads");
        damage(&mut bytes);
        std::fs::write(&file, bytes).expect("writes");
        assert!(!fixture.is_read());
        assert!(!file.exists());
    }
    let (fixture, of_a) = Fixture::stored();
    fixture.cache.store(key(b"b"), &Artifact::from_compiler(b"other code".to_vec()));
    let of_b = files(&fixture.folder).into_iter().find(|file| *file != of_a).expect("a second file");
    std::fs::rename(of_b, of_a).expect("renames");
    assert!(!fixture.is_read());
}

#[test]
fn a_file_or_folder_that_others_may_write_is_not_read() {
    let (fixture, file) = Fixture::stored();
    set_mode(&file, 0o660);
    assert!(!fixture.is_read());
    set_mode(&file, 0o600);
    set_mode(&fixture.folder, 0o770);
    assert!(!fixture.is_read());
    set_mode(&fixture.folder, 0o700);
    assert!(fixture.is_read());
}

#[test]
fn links_and_what_is_no_regular_file_are_not_read() {
    let (fixture, file) = Fixture::stored();
    let elsewhere = fixture.folder.with_file_name("elsewhere");
    std::fs::rename(&file, &elsewhere).expect("renames");
    symlink(&elsewhere, &file).expect("links");
    assert!(!fixture.is_read(), "a link to a file");
    std::fs::remove_file(&file).expect("removes");
    assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&file).status().expect("runs").success());
    assert!(!fixture.is_read(), "a FIFO, which nobody writes");
    std::fs::remove_file(&file).expect("removes");
    std::fs::rename(&elsewhere, &file).expect("renames");
    std::fs::rename(&fixture.folder, &elsewhere).expect("renames");
    symlink(&elsewhere, &fixture.folder).expect("links");
    assert!(!fixture.is_read(), "a link to a folder");
    fixture.cache.store(key(b"c"), &artifact());
    assert_eq!(files(&elsewhere).len(), 1, "and nothing is written there");
}

#[test]
fn a_file_of_another_user_is_not_read() {
    if !rustix::process::geteuid().is_root() {
        println!("only root can give a file away");
        return;
    }
    let (fixture, file) = Fixture::stored();
    std::os::unix::fs::chown(&file, Some(12_345), None).expect("changes the owner");
    assert!(!fixture.is_read());
    std::os::unix::fs::chown(&file, Some(0), None).expect("changes the owner");
    std::os::unix::fs::chown(&fixture.folder, Some(12_345), None).expect("changes the owner");
    assert!(!fixture.is_read());
}

#[test]
fn files_that_were_not_used_for_longest_are_deleted_and_those_of_others_stay() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let path = parent.path().join("own");
    std::fs::DirBuilder::new().mode(0o700).create(&path).expect("creates");
    let folder = PrivateFolder::open(&path).expect("opens");
    let wait = || std::thread::sleep(std::time::Duration::from_millis(20));
    for name in ["a1", "a2", "a3", "other"] {
        folder.write(name, &[name.as_bytes()]).expect("writes");
        wait();
    }
    folder.read("a1", 10).expect("reads");
    let is_own = |name: &str| name.starts_with('a');
    let left = || {
        let mut names: Vec<_> =
            files(&path).iter().filter_map(|file| file.file_name().map(ToOwned::to_owned)).collect();
        names.sort();
        names
    };
    folder.trim(is_own, 2, 100).expect("trims");
    assert_eq!(left(), ["a1", "a3", "other"]);
    folder.trim(is_own, 2, 3).expect("trims");
    assert_eq!(left(), ["a1", "other"]);
}
