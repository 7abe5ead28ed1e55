//! What tells a changed file from an unchanged one, without reading it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::signature::signature_file;

/// The metadata of the components in the folder, and of the configuration file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Snapshot {
    pub(super) components: Result<BTreeMap<OsString, Option<ComponentStamp>>, io::ErrorKind>,
    pub(super) file: Option<Stamp>,
}

/// Changes whenever a file is written, replaced, or reached through another link. The change time cannot be set by
/// `touch` or `cp -p`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    mode: u32,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Of a component and of its signature. They are watched together: a signature that arrives after its component makes it
/// usable.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ComponentStamp {
    component: Stamp,
    signature: Option<Stamp>,
}

impl Snapshot {
    pub(super) fn take(folder: &Path, file: Option<&Path>) -> Self {
        Self { components: components(folder).map_err(|error| error.kind()), file: file.and_then(stamp) }
    }
}

pub(super) fn components(folder: &Path) -> io::Result<BTreeMap<OsString, Option<ComponentStamp>>> {
    let mut stamps = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if let (Some(name), true) = (path.file_name(), path.extension().is_some_and(|ending| ending == "wasm")) {
            stamps.insert(name.to_owned(), ComponentStamp::take(&path));
        }
    }
    Ok(stamps)
}

impl ComponentStamp {
    /// `None` if there is no such component.
    pub(super) fn take(path: &Path) -> Option<Self> {
        Some(Self { component: stamp(path)?, signature: stamp(&signature_file(path)) })
    }
}

/// `None` if there is no such file. Links are followed.
fn stamp(path: &Path) -> Option<Stamp> {
    std::fs::metadata(path).ok().as_ref().map(Stamp::of)
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            mode: metadata.mode(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_replaced_or_linked_anew_changes_the_snapshot_and_a_file_beside_it_does_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["one.toml", "two.toml", "a.wasm"] {
            std::fs::write(at(name), "1").expect("writes");
        }
        std::os::unix::fs::symlink("one.toml", at("link")).expect("links");
        let take = || Snapshot::take(folder.path(), Some(&at("link")));
        let first = take();
        std::fs::write(at("beside"), "1").expect("writes");
        assert_eq!(take(), first);
        std::os::unix::fs::symlink("two.toml", at("new")).expect("links");
        std::fs::rename(at("new"), at("link")).expect("renames");
        let second = take();
        assert_ne!(second.file, first.file);
        std::fs::write(at("b.wasm"), "1").expect("writes");
        let third = take();
        assert_ne!(third.components, second.components);
        std::fs::write(at("a.wasm"), "22").expect("writes");
        let fourth = take();
        assert_ne!(fourth.components, third.components);
        std::fs::write(at("a.wasm.sig"), "1").expect("writes");
        assert_ne!(take().components, fourth.components);
        std::fs::remove_file(at("two.toml")).expect("removes");
        assert_eq!(take().file, None);
    }

    #[test]
    fn a_folder_that_is_gone_is_noticed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(Snapshot::take(folder.path(), None).components, Ok(BTreeMap::new()));
        assert_eq!(Snapshot::take(&folder.path().join("gone"), None).components, Err(io::ErrorKind::NotFound));
    }
}
