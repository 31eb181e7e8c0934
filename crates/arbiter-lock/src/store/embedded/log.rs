//! The log of the SQLite file: how far it may grow, and its way to the disk.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::folder;
use super::rights::Rights;

/// How large the log may grow before it is copied into the file, in bytes. Whoever looks for a
/// page passes by all that the log has of it.
pub(super) const LARGEST: u32 = 2 << 20;

/// How a log begins.
const MAGIC: u32 = 0x377f_0683;

pub(super) struct Log(PathBuf);

impl Log {
    /// The log of a folder's file.
    pub(super) fn of(folder: &Path) -> Self {
        Self(folder::database(folder).with_extension("db-wal"))
    }

    /// Gives it these rights, if it is a log.
    pub(super) fn widen(&self, rights: Rights) {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut options = File::options();
        let log = options.read(true).custom_flags(flags.bits() as _);
        let Ok(mut log) = log.open(&self.0) else {
            return;
        };
        let mut begin = [0; 4];
        // The last bit says in which order its sums are.
        if log.read_exact(&mut begin).is_ok() && u32::from_be_bytes(begin) | 1 == MAGIC {
            rights.give(&log);
        }
    }

    /// Whether it is time to copy it.
    pub(super) fn has_grown(&self) -> bool {
        std::fs::metadata(&self.0).is_ok_and(|found| u64::from(LARGEST) < found.len())
    }

    /// Brings to the disk what it holds, once it has grown. Whoever copies it waits for that
    /// inside the gate, and so finds nearly all of it done.
    pub(super) fn flush_if_grown(&self) {
        if self.has_grown() {
            self.flush();
        }
    }

    /// Brings to the disk what it holds.
    pub(super) fn flush(&self) {
        // SQLite does it again, and sees what fails.
        let _ = File::open(&self.0).and_then(|log| log.sync_data());
    }
}
