//! The paths of the sockets of processes.
//!
//! The system limits them to about 100 bytes. In a folder whose path is longer, they begin with an
//! open descriptor of the folder in its place, so that all processes still meet in one folder.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

use super::liveness::{self, Process};
use super::{failure, folder};
use crate::store::{Failure, FailureKind};

/// The sockets in a folder.
pub(super) struct Sockets {
    pub(super) folder: PathBuf,
    /// A short path of the same folder, while the descriptor is open.
    short: PathBuf,
    _descriptor: Option<File>,
}

impl Sockets {
    pub(super) fn of(folder: &Path) -> Result<Self, Failure> {
        let (short, descriptor) = match folder.as_os_str().len() {
            0..=folder::LONGEST_FOR_SOCKETS => (folder.to_owned(), None),
            _ => {
                let opened = open(folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
                let opened = File::from(opened.map_err(|e| failure::of_io(&e.into(), folder))?);
                let short = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
                if !short.is_dir() {
                    return Err(without_proc(folder));
                }
                (short, Some(opened))
            }
        };
        Ok(Self {
            folder: folder.to_owned(),
            short,
            _descriptor: descriptor,
        })
    }

    /// Returns the path of the socket on which a process receives grants.
    pub(super) fn wake(&self, process: &Process) -> PathBuf {
        liveness::wake_socket(&liveness::file(&self.short, process))
    }

    /// Returns the path of the socket to which waiters tie themselves.
    pub(super) fn tie(&self, process: &Process) -> PathBuf {
        liveness::tie_socket(&liveness::file(&self.short, process))
    }
}

fn without_proc(folder: &Path) -> Failure {
    Failure::before_sending(
        FailureKind::Unsupported,
        format!(
            "{}: a path of more than {} bytes needs /proc, which is not mounted; use a shorter path",
            folder.display(),
            folder::LONGEST_FOR_SOCKETS
        ),
    )
}
