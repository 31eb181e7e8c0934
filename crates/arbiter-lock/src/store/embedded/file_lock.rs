//! The gate: a file that is locked around each step, so that processes take turns.
//!
//! A step passes on the caller's own thread when the gate stands open or opens soon. When it does
//! not, the step is left to a thread that waits for the gate, since such a wait can neither be
//! timed nor dropped: the caller's can.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock, fstat};
use tokio::sync::oneshot;

use super::database::{Database, NAMES_AT_ONCE};
use super::failure;
use super::log::Log;
use super::rights::Rights;
use super::turn::{self, Pace};
use crate::store::{Failure, FailureKind};
use crate::system::clock::Clock;

/// What a step waits for its turn at the most, as on a server.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
/// How many steps one passage of the thread carries at the most.
const MOST_AT_ONCE: usize = 64;
/// How often to tidy up: in steps, and in time.
const TIDY_STEPS: u32 = 256;
const TIDY_TIME: Duration = Duration::from_secs(10);
/// How long the gate stays open between two passages that tidy up: to be woken takes others time.
const OTHERS_TURN: Duration = Duration::from_micros(200);

/// How often to look for whoever keeps the gate locked: the kernel shows all locks of the machine in
/// pieces, and one that goes meanwhile may hide another.
const LOOKS: u32 = 5;

/// What is left to do outside.
type AfterStep = Box<dyn FnOnce()>;
type Work = Box<dyn FnOnce(&mut Database) -> AfterStep + Send>;

enum Job {
    Step(Work),
    Tidy,
}

pub(super) struct FileLock {
    database: Arc<Mutex<Database>>,
    pace: Mutex<Pace>,
    file: File,
    path: PathBuf,
    jobs: mpsc::Sender<Job>,
    steps: AtomicU32,
}

/// The path of the gate of a folder.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("gate")
}

/// Opens the gate's file; each opening can lock it against all others.
pub(super) fn open(folder: &Path) -> Result<File, Failure> {
    let path = path(folder);
    let failed = |e: io::Error| failure::within(&e, &path, folder);
    let gate = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as _)
        .open(&path)
        .map_err(failed)?;
    // Nothing is ever written to it: another file that stands there is none of ours.
    if gate.metadata().map_err(failed)?.len() == 0 {
        Rights::of(folder).map_err(failed)?.give(&gate);
    }
    Ok(gate)
}

impl FileLock {
    pub(super) fn new(folder: &Path, database: Arc<Mutex<Database>>) -> Result<Self, Failure> {
        let (jobs, waiting) = mpsc::channel();
        let porter = Porter {
            database: database.clone(),
            log: Log::of(folder),
            file: open(folder)?,
        };
        std::thread::Builder::new()
            .name("arbiter-gate".into())
            .spawn(move || porter.serve(&waiting))
            .map_err(|e| failure::of_io(&e, folder))?;
        Ok(Self {
            database,
            pace: Mutex::default(),
            file: open(folder)?,
            path: path(folder),
            jobs,
            steps: AtomicU32::new(0),
        })
    }

    /// Does some work inside the gate, at once or when its turn has come, and the rest outside,
    /// with what the work has come to.
    ///
    /// Dropped while it waits, nothing is done; dropped later, all is.
    pub(super) async fn pass<T: Send + 'static, U: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&mut Database) -> Result<T, Failure> + Send + 'static,
        rest: impl FnOnce(T) -> U + Send + 'static,
    ) -> Result<U, Failure> {
        if self.steps.fetch_add(1, Ordering::Relaxed) % TIDY_STEPS == TIDY_STEPS - 1 {
            // A thread that is gone tidies nothing.
            let _ = self.jobs.send(Job::Tidy);
        }
        let work = match self.pass_at_once(work) {
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
                // A caller that has gone meanwhile needs no answer.
                let _ = done.send(result.map(rest));
            })
        }));
        let limit = limit.min(COMMAND_TIMEOUT);
        let sent = self.jobs.send(job).is_ok();
        match tokio::time::timeout(limit, result).await {
            Ok(Ok(result)) if sent => result,
            _ => {
                let detail = who_is_inside(&self.file, &self.path);
                Err(Failure::unknown(FailureKind::Silent, detail))
            }
        }
    }

    /// Only reads, which needs no gate.
    pub(super) fn read<T>(&self, work: impl FnOnce(&mut Database) -> T) -> T {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut database)
    }

    /// Does the work if nobody else is inside; else gives it back.
    fn pass_at_once<T, W>(&self, work: W) -> Result<Result<T, Failure>, W>
    where
        W: FnOnce(&mut Database) -> Result<T, Failure>,
    {
        // It is only ever held for the time of a step.
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.come(Clock::Boot.now());
        if !turn::enters(&self.file, &pace) {
            return Err(work);
        }
        let done = work(&mut database);
        unlock(&self.file);
        pace.leave(Clock::Boot.now());
        Ok(done)
    }
}

/// Why no turn came in time.
pub(super) fn who_is_inside(gate: &File, path: &Path) -> String {
    let path = path.display();
    let found = fstat(gate).ok();
    match found.and_then(|found| (0..LOOKS).find_map(|_| locked_by(found.st_ino))) {
        Some(pid) => format!("process {pid} keeps {path} locked; is it stopped?"),
        None => format!("no turn at {path} in time"),
    }
}

fn unlock(file: &File) {
    // An open file of ours can always be unlocked.
    let _ = flock(file, FlockOperation::Unlock);
}

/// The process that has locked a file, where the kernel tells.
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

/// The thread that waits for the gate, and tidies up.
struct Porter {
    database: Arc<Mutex<Database>>,
    log: Log,
    file: File,
}

impl Porter {
    /// Steps come first: to tidy up may take seconds in all, and one passage of it a millisecond.
    fn serve(&self, jobs: &mpsc::Receiver<Job>) {
        let mut is_untidy = false;
        loop {
            let pause = if is_untidy { OTHERS_TURN } else { TIDY_TIME };
            match jobs.recv_timeout(pause) {
                Ok(Job::Step(work)) => self.carry(work, jobs),
                Ok(Job::Tidy) | Err(RecvTimeoutError::Timeout) => {
                    let was_untidy = std::mem::replace(&mut is_untidy, self.tidy_some());
                    if was_untidy && !is_untidy {
                        self.log.flush();
                        self.ask();
                        self.inside(Database::cut_log);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Waits for the gate, and carries in whatever else has come meanwhile.
    fn carry(&self, work: Work, jobs: &mpsc::Receiver<Job>) {
        self.wait();
        let rests = self.inside(|database| {
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

    fn wait(&self) {
        // A signal may interrupt it; nothing else goes wrong with a file of ours.
        while flock(&self.file, FlockOperation::LockExclusive).is_err() {}
    }

    /// Waits, but asks first: one that sleeps at the gate is woken each time it opens, and mostly
    /// comes too late.
    fn ask(&self) {
        if !turn::opens_soon(&self.file) {
            self.wait();
        }
    }

    /// Does the work and leaves.
    fn inside<T>(&self, work: impl FnOnce(&mut Database) -> T) -> T {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(&mut database);
        drop(database);
        unlock(&self.file);
        done
    }

    /// Forgets some names, or else gives some of the file back; answers whether there is likely
    /// more to do at once.
    fn tidy_some(&self) -> bool {
        self.log.flush_if_grown();
        self.ask();
        self.inside(|database| {
            database.checkpoint();
            let forgotten = database.forget_some().unwrap_or_default();
            NAMES_AT_ONCE / 2 <= forgotten || database.shrink()
        })
    }
}
