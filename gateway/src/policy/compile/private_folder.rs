//! A folder of files that nobody but this user can read or write.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::process::geteuid;
use uuid::Uuid;

const FOR_THE_OWNER: Mode = Mode::RWXU;
/// What others may do with a file, as far as they may anything.
const FOR_OTHERS: u32 = 0o077;

/// Checked when it was opened, and used by its descriptor from then on: a folder that takes its place has no effect.
pub(super) struct PrivateFolder {
    path: PathBuf,
    folder: OwnedFd,
}

impl PrivateFolder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        check_private(&folder, FileType::Directory)?;
        Ok(Self { path: path.to_owned(), folder })
    }

    pub(super) fn create(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match DirBuilder::new().mode(FOR_THE_OWNER.as_raw_mode()).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Self::open(path),
        }
    }

    /// Reads a file of up to `bytes_max` bytes, and marks it as used.
    pub(super) fn read(&self, name: &str, bytes_max: usize) -> io::Result<Vec<u8>> {
        // Without waiting: a FIFO has no writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, name, flags, Mode::empty())?;
        check_private(&file, FileType::RegularFile)?;
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let unchanged = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        rustix::fs::futimens(&file, &Timestamps { last_access: unchanged, last_modification: now })?;
        let mut bytes = Vec::new();
        File::from(file).take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }

    /// A file appears complete or not at all.
    pub(super) fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let unfinished = format!("{name}.{}", Uuid::new_v4().simple());
        let written = self
            .write_new(&unfinished, parts)
            .and_then(|()| Ok(rustix::fs::renameat(&self.folder, &*unfinished, &self.folder, name)?));
        if written.is_err() {
            let _ = self.remove(&unfinished);
        }
        written
    }

    fn write_new(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        parts.iter().try_for_each(|part| file.write_all(part))
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.folder, name, AtFlags::empty())?)
    }

    /// Deletes files until at most `files_max` with `bytes_max` in all are left. Those that were used last are kept.
    pub(super) fn trim(&self, is_own: impl Fn(&str) -> bool, files_max: usize, bytes_max: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)?.flatten() {
            if let (Some(name), Ok(metadata)) = (entry.file_name().to_str().map(str::to_owned), entry.metadata())
                && is_own(&name)
            {
                files.push((metadata.modified()?, metadata.len(), name));
            }
        }
        files.sort_unstable_by(|a, b| b.cmp(a));
        let mut bytes_kept = 0;
        for (place, (_, bytes, name)) in files.iter().enumerate() {
            bytes_kept += bytes;
            if place >= files_max || bytes_kept > bytes_max {
                self.remove(name)?;
            }
        }
        Ok(())
    }
}

fn check_private(file: impl AsFd, expected: FileType) -> io::Result<()> {
    let Stat { st_mode, st_uid, .. } = rustix::fs::fstat(file)?;
    let refused = |text: String| Err(io::Error::other(text));
    if FileType::from_raw_mode(st_mode) != expected {
        return refused("expected a regular file".to_owned());
    }
    if st_uid != geteuid().as_raw() {
        return refused(format!("expected it to belong to the user {}, found {st_uid}", geteuid().as_raw()));
    }
    if st_mode & FOR_OTHERS != 0 {
        return refused(format!("expected no rights for other users, found mode {:o}", st_mode & 0o777));
    }
    Ok(())
}
