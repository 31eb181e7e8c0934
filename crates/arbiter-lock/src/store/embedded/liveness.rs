//! Whether a process lives: it keeps a file locked, and the system unlocks it when it ends,
//! however it ends.
//!
//! The lock is a shared one, so that others whose end counts as well can hold it too; who wants
//! to know tries for the exclusive one.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::{failure, rights};
use crate::store::{Failure, FailureKind};
use crate::system::process::ForkGeneration;
use crate::system::rng;

/// One process's use of a folder, by an id of its own: process ids are used again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process(Arc<str>);

const ID_LENGTH: usize = 16;
/// How many processes are looked at, to clean up behind those that nobody waits for.
const MOST_SWEPT: usize = 8;

/// What is known of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessLife {
    Alive,
    /// It has ended, and what it held is still in the file.
    Dead,
    /// It has left, or somebody has cleaned up behind it: its leases decide.
    Gone,
    /// Its file cannot be opened, for that reason: its leases decide, until it can.
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

    /// A channel of it.
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

/// The liveness file of a process.
pub(super) fn file(folder: &Path, process: &Process) -> PathBuf {
    folder.join("live").join(process.as_str())
}

/// This process's own liveness file, locked, and how to look at others'.
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
        let locked = rights::create_new(&own, folder).map_err(failed)?;
        flock(&locked, FlockOperation::LockShared).map_err(|e| failed(e.into()))?;
        Ok(Self {
            folder: folder.to_owned(),
            own,
            _locked: locked,
            made_by: ForkGeneration::current(),
        })
    }

    /// Removes what is this process's own; what is the parent's, a forked process leaves.
    pub(super) fn leave(&self) {
        if self.made_by.is_current() {
            clean_up(&self.own);
        }
    }

    pub(super) fn of(&self, process: &Process) -> ProcessLife {
        let file = match File::open(file(&self.folder, process)) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return ProcessLife::Gone,
            Err(e) => return ProcessLife::Unknown(e.kind()),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => ProcessLife::Dead,
            Err(_) => ProcessLife::Alive,
        }
    }

    /// Some of the processes that have ended without a word. Inside the gate, since others begin
    /// there: a file that is not locked yet would be one of them.
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
            .filter(|process| self.of(process) == ProcessLife::Dead)
            .cloned()
            .collect()
    }

    /// Removes what a process has left behind.
    pub(super) fn clean_up(&self, process: &Process) {
        clean_up(&file(&self.folder, process));
    }
}

impl Drop for Liveness {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The socket on which a process hears of grants.
pub(super) fn wake_socket(file: &Path) -> PathBuf {
    file.with_extension("wake")
}

/// The socket to which those hold on who wait for the process.
pub(super) fn tie_socket(file: &Path) -> PathBuf {
    file.with_extension("tie")
}

fn is_liveness_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(Process::of_file).is_some()
}

fn clean_up(file: &Path) {
    // The liveness file last: while it is there, the rest is found again.
    for path in [wake_socket(file), tie_socket(file), file.to_owned()] {
        // What is not there any more needs no cleaning.
        let _ = std::fs::remove_file(path);
    }
}

/// Removes what processes of before a reboot have left behind. One that lives says that there
/// was none: it counts its time from another boot, or by another clock.
pub(super) fn clean_up_all(folder: &Path) -> Result<(), Failure> {
    let Ok(entries) = std::fs::read_dir(folder.join("live")) else {
        return Ok(());
    };
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    for path in paths.iter().filter(|path| is_liveness_file(path)) {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            // It may be locked: then its process lives.
            Err(e) => return Err(failure::within(&e, path, folder)),
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Failure::before_sending(
                FailureKind::Unsupported,
                format!(
                    "{} is in use by a process with another file, boot id or clock: end it first",
                    folder.display()
                ),
            ));
        }
    }
    for path in paths {
        // What is not there any more needs no cleaning.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}
