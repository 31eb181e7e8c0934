//! The log of the SQLite file: its size limit, and how it reaches the disk.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;

use super::folder;
use super::rights::Rights;

/// How large the log may grow before it is copied into the file, in bytes. Reading a page
/// searches all its versions in the log.
pub(super) const LARGEST: u32 = 2 << 20;

/// The first bytes of a log.
const MAGIC: u32 = 0x377f_0683;

pub(super) struct Log(PathBuf);

impl Log {
    /// Returns the log of a folder's file.
    pub(super) fn of(folder: &Path) -> Self {
        Self::of_database(&folder::database(folder))
    }

    /// Returns the log of a file.
    pub(super) fn of_database(path: &Path) -> Self {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Self(log.into())
    }

    /// Gives the log these rights, if it is one.
    pub(super) fn widen(&self, rights: Rights) {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut options = File::options();
        let log = options.read(true).custom_flags(flags.bits() as _);
        let Ok(mut log) = log.open(&self.0) else {
            return;
        };
        let mut begin = [0; 4];
        // The last bit is the byte order of the checksums.
        let is_log = log.read_exact(&mut begin).is_ok() && u32::from_be_bytes(begin) | 1 == MAGIC;
        // One that is just created is empty, and known by no other name.
        let is_new = |found: Metadata| found.len() == 0 && found.nlink() == 1;
        if is_log || log.metadata().is_ok_and(is_new) {
            rights.give(&log);
        }
    }

    /// Returns whether the log is large enough to copy.
    pub(super) fn has_grown(&self) -> bool {
        std::fs::metadata(&self.0).is_ok_and(|found| u64::from(LARGEST) < found.len())
    }

    /// Returns the log's size and time, which change with each step that writes.
    pub(super) fn stamp(&self) -> Option<(u64, SystemTime)> {
        let found = std::fs::metadata(&self.0).ok()?;
        Some((found.len(), found.modified().ok()?))
    }

    /// Flushes the log to the disk, if it has grown. Copying it flushes it too, under the file
    /// lock, and then has little left to do.
    pub(super) fn flush_if_grown(&self) {
        if self.has_grown() {
            self.flush();
        }
    }

    /// Flushes the log to the disk.
    pub(super) fn flush(&self) {
        // SQLite repeats it, and detects errors.
        let _ = File::open(&self.0).and_then(|log| log.sync_data());
    }
}
