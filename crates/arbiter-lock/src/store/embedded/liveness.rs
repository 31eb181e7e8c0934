//! The liveness of a process. It keeps a file locked, and the system unlocks the file when the
//! process ends, however it ends.
//!
//! The lock is a shared one, so that other processes whose end counts as well can hold it too. A
//! check tries to take the exclusive one.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::{failure, rights};
use crate::store::{Failure, FailureKind};
use crate::system::process::ForkGeneration;
use crate::system::rng;

/// One process's use of a folder, by an id of its own: process ids are reused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process(Arc<str>);

const ID_LENGTH: usize = 16;
/// How many processes are checked at a time, to clean up after processes that no waiter watches.
const MOST_SWEPT: usize = 8;

/// The known state of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessState {
    Alive,
    /// The process has ended, and its requests are still in the file.
    Dead,
    /// The process has left, or has been cleaned up: its leases decide.
    Gone,
    /// Its file cannot be opened, for that reason: its leases decide, until it can be.
    Unknown(ErrorKind),
}

impl Process {
    pub(super) fn random() -> Self {
        Self(format!("{:016x}", rng::draw::<u64>()).into())
    }

    fn of_file(name: &str) -> Option<Self> {
        let is_id = name.len() == ID_LENGTH && name.bytes().all(|b| b.is_ascii_hexdigit());
        is_id.then(|| Self(name.into()))
    }

    /// Returns one of its channels.
    pub(super) fn channel(&self, number: u32) -> Arc<str> {
        format!("{}/{number:08x}", self.0).into()
    }

    pub(super) fn of_channel(channel: &str) -> Option<Self> {
        let (id, _) = channel.split_once('/')?;
        Self::of_file(id)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the path of the liveness file of a process.
pub(super) fn file(folder: &Path, process: &Process) -> PathBuf {
    folder.join("live").join(process.as_str())
}

/// The locked liveness file of this process, and access to those of others.
pub(super) struct Liveness {
    folder: PathBuf,
    own: PathBuf,
    _locked: File,
    made_by: ForkGeneration,
}

impl Liveness {
    pub(super) fn begin(folder: &Path, process: &Process) -> Result<Self, Failure> {
        let own = file(folder, process);
        let failed = |e: io::Error| failure::within(&e, &own, folder);
        // It appears locked: an unlocked one would seem to be that of a dead process.
        let new = own.with_extension("new");
        let locked = rights::create_new(&new, folder).map_err(failed)?;
        flock(&locked, FlockOperation::LockShared).map_err(|e| failed(e.into()))?;
        std::fs::rename(&new, &own).map_err(failed)?;
        Ok(Self {
            folder: folder.to_owned(),
            own,
            _locked: locked,
            made_by: ForkGeneration::current(),
        })
    }

    /// Removes the files of this process. A forked process keeps those of its parent.
    pub(super) fn leave(&self) {
        if self.made_by.is_current() {
            clean_up(&self.own);
        }
    }

    pub(super) fn of(&self, process: &Process) -> ProcessState {
        let file = match File::open(file(&self.folder, process)) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return ProcessState::Gone,
            Err(e) => return ProcessState::Unknown(e.kind()),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => ProcessState::Dead,
            Err(_) => ProcessState::Alive,
        }
    }

    /// Returns some of the processes that have ended without cleaning up.
    pub(super) fn some_dead(&self) -> Vec<Process> {
        let Ok(entries) = std::fs::read_dir(self.folder.join("live")) else {
            return Vec::new();
        };
        let known: Vec<Process> = entries
            .flatten()
            .filter_map(|entry| Process::of_file(entry.file_name().to_str()?))
            .collect();
        let begin = rng::draw::<u64>() as usize % known.len().max(1);
        let some = known.iter().cycle().skip(begin);
        some.take(known.len().min(MOST_SWEPT))
            .filter(|process| self.of(process) == ProcessState::Dead)
            .cloned()
            .collect()
    }

    /// Removes the files of a process.
    pub(super) fn clean_up(&self, process: &Process) {
        clean_up(&file(&self.folder, process));
    }
}

impl Drop for Liveness {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Returns the path of the socket on which a process receives grants.
pub(super) fn wake_socket(file: &Path) -> PathBuf {
    file.with_extension("wake")
}

/// Returns the path of the socket to which waiters tie themselves.
pub(super) fn tie_socket(file: &Path) -> PathBuf {
    file.with_extension("tie")
}

fn is_liveness_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(Process::of_file).is_some()
}

fn clean_up(file: &Path) {
    // The liveness file last: while it exists, the others are found again.
    for path in [wake_socket(file), tie_socket(file), file.to_owned()] {
        // A missing file needs no cleaning.
        let _ = std::fs::remove_file(path);
    }
}

/// Removes the files of processes from before a reboot. A live process means that there was no
/// reboot: it uses the clock of another boot, or another clock.
pub(super) fn clean_up_all(folder: &Path) -> Result<(), Failure> {
    let Ok(entries) = std::fs::read_dir(folder.join("live")) else {
        return Ok(());
    };
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    for path in paths.iter().filter(|path| is_liveness_file(path)) {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            // It may be locked: then its process is alive.
            Err(e) => return Err(failure::within(&e, path, folder)),
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Failure::before_sending(
                FailureKind::Unsupported,
                format!(
                    "{} is in use by a process with another file, boot id or clock; end it first",
                    folder.display()
                ),
            ));
        }
    }
    for path in paths {
        // A missing file needs no cleaning.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}
