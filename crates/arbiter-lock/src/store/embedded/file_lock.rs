//! The file lock: the file `gate` is locked around each step, so that processes take turns.
//!
//! A step runs on the caller's own thread if the file is unlocked or soon will be. Otherwise it is
//! left to a thread that waits for the lock: that wait has no timeout and cannot be dropped, but
//! the caller's can.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::database::{Database, NAMES_AT_ONCE};
use super::failure;
use super::log::Log;
use super::rights::Rights;
use super::turn::{self, Pace};
use crate::store::{Failure, FailureKind};
use crate::system::clock::Clock;

/// How long a step waits for its turn while no other process has one.
const NO_TURNS: Duration = Duration::from_secs(1);
/// How many steps the thread runs in one turn at most.
const MOST_AT_ONCE: usize = 64;
/// How often to clean up: in steps, and in time.
const CLEAN_UP_STEPS: u32 = 256;
const CLEAN_UP_TIME: Duration = Duration::from_secs(10);
/// How long the file stays unlocked between two turns that clean up: other processes need time to
/// wake up.
const TURN_OF_OTHERS: Duration = Duration::from_micros(200);

/// How many attempts to find the process that keeps the file locked. The kernel shows all locks of
/// the machine in pieces, and a lock removed meanwhile may hide another.
const ATTEMPTS: u32 = 5;

/// The part of a step that runs after the unlock.
type AfterStep = Box<dyn FnOnce()>;
type Work = Box<dyn FnOnce(&mut Database) -> AfterStep + Send>;

enum Job {
    Step(Work),
    CleanUp,
}

pub(super) struct FileLock {
    database: Arc<Mutex<Database>>,
    pace: Mutex<Pace>,
    file: File,
    folder: PathBuf,
    jobs: mpsc::Sender<Job>,
    steps: AtomicU32,
}

/// Returns the path of a folder's lock file.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("gate")
}

/// Opens the lock file. Each open file can lock it against all others.
pub(super) fn open(folder: &Path) -> Result<File, Failure> {
    let path = path(folder);
    let failed = |e: io::Error| failure::within(&e, &path, folder);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as _)
        .open(&path)
        .map_err(failed)?;
    // Nothing is ever written to it: a file with content is not a lock file.
    if file.metadata().map_err(failed)?.len() == 0 {
        Rights::of(folder).map_err(failed)?.give(&file);
    }
    Ok(file)
}

impl FileLock {
    pub(super) fn new(folder: &Path, database: Arc<Mutex<Database>>) -> Result<Self, Failure> {
        let (jobs, waiting) = mpsc::channel();
        let worker = Worker {
            database: database.clone(),
            log: Log::of(folder),
            file: open(folder)?,
        };
        std::thread::Builder::new()
            .name("arbiter-gate".into())
            .spawn(move || worker.run(&waiting))
            .map_err(|e| failure::of_io(&e, folder))?;
        Ok(Self {
            database,
            pace: Mutex::default(),
            file: open(folder)?,
            folder: folder.to_owned(),
            jobs,
            steps: AtomicU32::new(0),
        })
    }

    /// Runs `work` under the lock, at once or in its turn, and `rest` with its result after the
    /// unlock.
    ///
    /// If the future is dropped while it waits, neither runs; if it is dropped later, both do.
    pub(super) async fn run<T: Send + 'static, U: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&mut Database) -> Result<T, Failure> + Send + 'static,
        rest: impl FnOnce(T) -> U + Send + 'static,
    ) -> Result<U, Failure> {
        if self.steps.fetch_add(1, Ordering::Relaxed) % CLEAN_UP_STEPS == CLEAN_UP_STEPS - 1 {
            // Without the thread, nothing is cleaned up.
            let _ = self.jobs.send(Job::CleanUp);
        }
        let work = match self.run_at_once(work) {
            Ok(done) => return done.map(rest),
            Err(work) => work,
        };
        let (done, result) = oneshot::channel();
        let job = Job::Step(Box::new(move |database| {
            if done.is_closed() {
                return Box::new(|| {});
            }
            let result = work(database);
            Box::new(move || {
                // A caller that has been dropped needs no result.
                let _ = done.send(result.map(rest));
            })
        }));
        // Without the thread, the result is closed at once.
        let _ = self.jobs.send(job);
        match while_others_take_turns(&self.folder, limit, result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Failure::unknown(
                FailureKind::Other,
                "the thread of the file lock has ended; restart the program",
            )),
            Err(cause) => Err(Failure::unknown(FailureKind::Silent, cause)),
        }
    }

    /// Does some work that only reads, which needs no lock.
    pub(super) fn read<T>(&self, work: impl FnOnce(&mut Database) -> T) -> T {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut database)
    }

    /// Does the work if the file can be locked; otherwise returns the work.
    fn run_at_once<T, W>(&self, work: W) -> Result<Result<T, Failure>, W>
    where
        W: FnOnce(&mut Database) -> Result<T, Failure>,
    {
        // The mutex is held for the time of a step only.
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.begin(Clock::Boot.now());
        if !turn::lock_in_turn(&self.file, &pace) {
            return Err(work);
        }
        let done = work(&mut database);
        unlock(&self.file);
        pace.end(Clock::Boot.now());
        Ok(done)
    }
}

/// Waits for a result that needs a turn, at most for `limit`, while other processes take turns.
/// Otherwise returns why there is no result.
pub(super) async fn while_others_take_turns<T>(
    folder: &Path,
    limit: Duration,
    result: impl Future<Output = T>,
) -> Result<T, String> {
    let log = Log::of(folder);
    let begun = Instant::now();
    let mut result = std::pin::pin!(result);
    loop {
        let stamp = log.stamp();
        let pause = NO_TURNS.min(limit.saturating_sub(begun.elapsed()));
        if let Ok(result) = tokio::time::timeout(pause, &mut result).await {
            return Ok(result);
        }
        if stamp == log.stamp() {
            return Err(timeout_cause(&path(folder)));
        }
        if limit <= begun.elapsed() {
            return Err(format!(
                "the processes that use {} keep this machine busy; allow a longer wait",
                folder.display()
            ));
        }
    }
}

/// Returns why no turn came in time.
fn timeout_cause(path: &Path) -> String {
    let found = std::fs::metadata(path).ok();
    let pid = found.and_then(|found| (0..ATTEMPTS).find_map(|_| locked_by(found.ino())));
    let path = path.display();
    match pid {
        Some(pid) if is_stopped(pid) => {
            format!("process {pid} is stopped, and keeps {path} locked")
        }
        Some(pid) => format!("process {pid} keeps {path} locked; try again"),
        None => format!("{path} was not unlocked in time; try again"),
    }
}

/// Returns whether the process is stopped, by a signal or a debugger.
fn is_stopped(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    // The name of the program may contain anything.
    let state = state
        .ok()
        .and_then(|stat| Some(stat.rsplit_once(')')?.1.trim_start().to_owned()));
    state.is_some_and(|state| state.starts_with(['T', 't']))
}

/// Waits for the lock. The system queues the waiters; hundreds of them that try again and again
/// would keep each other from their work.
pub(super) fn lock(file: &File) {
    // Locking an open file fails only if a signal interrupts it.
    while flock(file, FlockOperation::LockExclusive).is_err() {}
}

pub(super) fn unlock(file: &File) {
    // Unlocking an open file does not fail.
    let _ = flock(file, FlockOperation::Unlock);
}

/// Returns the process that has locked a file, if the kernel reports it.
fn locked_by(inode: u64) -> Option<u32> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let holds = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some("FLOCK")
            && words
                .nth(3)
                .and_then(|file| file.rsplit(':').next()?.parse().ok())
                == Some(inode)
    };
    let line = locks.lines().find(holds)?;
    line.split_whitespace().nth(4)?.parse().ok()
}

/// The thread that waits for the lock, and cleans up.
struct Worker {
    database: Arc<Mutex<Database>>,
    log: Log,
    file: File,
}

impl Worker {
    /// Runs the jobs. Steps come first: a clean-up may take seconds in all, one turn of it a
    /// millisecond.
    fn run(&self, jobs: &mpsc::Receiver<Job>) {
        let mut has_more = false;
        loop {
            let pause = if has_more {
                TURN_OF_OTHERS
            } else {
                CLEAN_UP_TIME
            };
            match jobs.recv_timeout(pause) {
                Ok(Job::Step(work)) => self.run_steps(work, jobs),
                Ok(Job::CleanUp) | Err(RecvTimeoutError::Timeout) => {
                    let had_more = std::mem::replace(&mut has_more, self.clean_up_some());
                    if had_more && !has_more {
                        self.log.flush();
                        self.spin_then_lock();
                        self.with_database(Database::cut_log);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Waits for the lock, and runs the step together with the steps that have arrived meanwhile.
    fn run_steps(&self, work: Work, jobs: &mpsc::Receiver<Job>) {
        lock(&self.file);
        let rests = self.with_database(|database| {
            let mut rests = vec![work(database)];
            for job in jobs.try_iter().take(MOST_AT_ONCE) {
                if let Job::Step(work) = job {
                    rests.push(work(database));
                }
            }
            rests
        });
        for rest in rests {
            rest();
        }
    }

    /// Waits for the lock, but spins first: a thread that sleeps is woken at each unlock, and
    /// mostly too late.
    fn spin_then_lock(&self) {
        if !turn::lock_soon(&self.file) {
            lock(&self.file);
        }
    }

    /// Does the work and unlocks.
    fn with_database<T>(&self, work: impl FnOnce(&mut Database) -> T) -> T {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(&mut database);
        drop(database);
        unlock(&self.file);
        done
    }

    /// Forgets some names, or frees some of the file; returns whether there is probably more to
    /// do at once.
    fn clean_up_some(&self) -> bool {
        self.log.flush_if_grown();
        self.spin_then_lock();
        self.with_database(|database| {
            database.checkpoint();
            let forgotten = database.forget_some().unwrap_or_default();
            NAMES_AT_ONCE / 2 <= forgotten || database.shrink()
        })
    }
}
