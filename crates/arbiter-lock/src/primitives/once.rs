//! A job that runs at most once per period among all machines.

#[cfg(feature = "calendar")]
mod calendar;
mod ending;
mod last_run;
mod period;
mod record;
mod rules;
mod run_guard;
mod skip;

use std::fmt;
use std::time::Duration;

use crate::errors::error::Error;
use crate::holds::hold::Hold;
use crate::primitives::effort::Effort;
use crate::primitives::lock::Lock;
use crate::primitives::options::setters_of_the_lock;
use crate::primitives::primitive::Primitive;
use crate::store::Envelope;
#[cfg(feature = "calendar")]
use calendar::{Calendar, Unit};
use period::Period;
use record::Record;
use rules::{Rules, Verdict};

pub use last_run::{LastRun, RunState};
pub use run_guard::RunGuard;
pub use skip::Skip;

/// A job that runs at most once per period among all machines.
///
/// The store records the last run. A run holds the resource exclusively, as the holder of a
/// [`Lock`](crate::Lock) of that name does. By default it does not wait: while another process runs
/// the job, it is skipped.
///
/// Whether the job is due is decided by the store's clock and by the rules of this handle, so use
/// the same rules everywhere. If the store's clock steps back, the job is due that much later. A run
/// that is more than a minute in the future, or more than a period, is ignored. A run that fails, or
/// whose machine dies, counts as a run, unless [`Once::repeat_failed`] is set.
///
/// A `Once` is a handle with options, and cheap to clone.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use arbiter_lock::Outcome;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), arbiter_lock::Error> {
/// let client = arbiter_lock::Client::in_memory();
/// let nightly = client.once("nightly-report").every(Duration::from_secs(86_400));
///
/// let report = |fence| async move { Ok::<u64, std::io::Error>(fence) };
/// let first = nightly.run(|hold| report(hold.fence())).await?;
/// assert!(matches!(first, Outcome::Ran(Ok(_))));
///
/// match nightly.run(|hold| report(hold.fence())).await? {
///     Outcome::Skipped(skip) => println!("{skip}"), // who ran it, when, when it is due
///     Outcome::Ran(_) => unreachable!("it has run today"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a job does nothing until it is run"]
pub struct Once {
    lock: Lock,
    rules: Rules,
}

/// The result of [`Once::run`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the job may have been skipped"]
pub enum Outcome<T> {
    /// The job ran, with this result.
    Ran(T),
    /// The job was skipped.
    Skipped(Skip),
}

/// The result of [`Once::begin`].
#[derive(Debug)]
#[must_use = "a run that is dropped at once has crashed"]
pub enum Begun {
    /// The run has begun.
    Run(RunGuard),
    /// The job was skipped.
    Skipped(Skip),
}

impl Once {
    pub(crate) fn new(lock: Lock) -> Self {
        Self {
            lock: lock
                .of_primitive(Primitive::Once)
                .wait_timeout(Duration::ZERO),
            rules: Rules::default(),
        }
    }

    setters_of_the_lock!();

    /// Sets the period of the schedule: from 1 ms to 365 days.
    ///
    /// The first recorded start is the first point of the schedule, and the others follow it by
    /// whole periods. A run serves the latest point that is reached, so a late start does not delay
    /// the next one. The job is due a tenth of the period, and at most a minute, before a point,
    /// since calls at fixed times are not exact. Replaces an earlier period.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # use std::time::Duration;
    /// use arbiter_lock::Outcome;
    ///
    /// # let client = arbiter_lock::Client::in_memory();
    /// let hourly = client.once("clean-up").every(Duration::from_secs(3_600));
    /// let work = |_| async { Ok::<(), std::io::Error>(()) };
    /// assert!(matches!(hourly.run(work).await?, Outcome::Ran(_)));
    /// assert!(matches!(hourly.run(work).await?, Outcome::Skipped(_)));
    /// # Ok(()) }
    /// ```
    pub fn every(self, period: Duration) -> Self {
        self.with_period(Period::Every(period))
    }

    /// Sets the minimum time from the end of a run to the start of the next. Between 1 ms and 365
    /// days.
    ///
    /// A run whose end is not recorded counts from its start. It can be used with or without a
    /// period.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # let client = arbiter_lock::Client::in_memory();
    /// // Not before ten minutes have passed since the end of the last run.
    /// let job = client.once("import").at_least(Duration::from_secs(600));
    /// ```
    pub fn at_least(mut self, pause: Duration) -> Self {
        self.rules.pause = Some(pause);
        self
    }

    /// Sets whether a failed or crashed run is ignored. By default it counts as a run.
    pub fn repeat_failed(mut self, repeat: bool) -> Self {
        self.rules.repeat_failed = repeat;
        self
    }

    /// Sets whether the job runs even if it is not due. By default it does not.
    ///
    /// The run is recorded as any other, and counts. While the job runs elsewhere, it is skipped.
    pub fn force(mut self, force: bool) -> Self {
        self.rules.is_forced = force;
        self
    }

    /// Allows one run per hour of that time zone.
    ///
    /// The zone is `UTC`, `Europe/Berlin`, or another name of the IANA database, which is built in.
    /// Replaces an earlier period.
    ///
    /// # Examples
    /// ```
    /// # let client = arbiter_lock::Client::in_memory();
    /// let hourly = client.once("clean-up").hourly("UTC");
    /// let daily = client.once("report").daily("Europe/Berlin");
    /// ```
    #[cfg(feature = "calendar")]
    pub fn hourly(self, zone: &str) -> Self {
        self.with_period(Period::Calendar(Calendar::new(Unit::Hour, zone)))
    }

    /// Allows one run per day of that time zone: see [`Once::hourly`].
    #[cfg(feature = "calendar")]
    pub fn daily(self, zone: &str) -> Self {
        self.with_period(Period::Calendar(Calendar::new(Unit::Day, zone)))
    }

    fn with_period(mut self, period: Period) -> Self {
        self.rules.period = Some(period);
        self
    }

    /// Runs `work` if the job is due and not running elsewhere.
    ///
    /// The work is dropped as soon as the hold is lost. The store records whether the work
    /// succeeded, and the message of its error.
    ///
    /// # Errors
    /// As [`Once::begin`], and [`Error::Lost`] if the hold was lost before the work finished, which
    /// is recorded as a failure. An error of the work is part of [`Outcome::Ran`].
    ///
    /// # Cancel safety
    /// As [`Once::begin`]. If the future is dropped while the work runs, the work is dropped, the
    /// lock is released in the background, and the run counts as crashed.
    pub async fn run<F, W, T, E>(&self, work: F) -> Result<Outcome<Result<T, E>>, Error>
    where
        F: FnOnce(Hold) -> W,
        W: Future<Output = Result<T, E>>,
        E: fmt::Display,
    {
        let run = match self.begin().await? {
            Begun::Run(run) => run,
            Begun::Skipped(skip) => return Ok(Outcome::Skipped(skip)),
        };
        let hold = run.hold();
        match hold.protect(work(hold.clone())).await {
            Ok(Ok(done)) => {
                // The work finished under the lock, so a failure to record that is not returned.
                let _ = run.finish(Ok("")).await;
                Ok(Outcome::Ran(Ok(done)))
            }
            Ok(Err(error)) => {
                let _ = run.finish(Err(&error.to_string())).await;
                Ok(Outcome::Ran(Err(error)))
            }
            Err(lost) => {
                let _ = run.finish(Err(&lost.to_string())).await;
                Err(lost)
            }
        }
    }

    /// Begins a run if the job is due and not running elsewhere.
    ///
    /// Record the end of the run by [`RunGuard::finish`]. A skip costs one read. If the store does
    /// not confirm the record of the begin, it is sent again, for as long as the hold is valid and
    /// for at most 30 s, regardless of the wait limit.
    ///
    /// # Errors
    /// As [`Lock::acquire`](crate::Lock::acquire), except for [`Error::Contended`], which is a
    /// skip. Also [`Error::Lost`] if the hold was lost before the run had begun, and
    /// [`Error::Invalid`] if no rule determines when the job is due again.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`](crate::Lock::acquire). If the future is dropped late, the run may have
    /// been recorded, and counts as crashed. The same holds if the store did not confirm the
    /// record.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use arbiter_lock::Begun;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let client = arbiter_lock::Client::in_memory();
    /// let job = client.once("clean-up").every(Duration::from_secs(3_600));
    /// match job.begin().await? {
    ///     Begun::Run(run) => run.finish(Ok("nothing to do")).await?,
    ///     Begun::Skipped(skip) => println!("{skip}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn begin(&self) -> Result<Begun, Error> {
        self.rules.check()?;
        let (record, lock, rules) = (self.record()?, self.lock.clone(), self.rules.clone());
        self.lock.inner.run(|| begin(record, lock, rules)).await?
    }

    /// Returns the last run of the job, or `None` if none is recorded.
    ///
    /// A run is kept for two periods after its end, and for at least a minute. If handles have
    /// stated different periods, the longest counts. A run that has not ended is kept for 30 days
    /// longer.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`], [`Error::Invalid`].
    ///
    /// # Cancel safety
    /// The call changes nothing.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// use std::time::Duration;
    /// use arbiter_lock::{Begun, RunState};
    ///
    /// # let client = arbiter_lock::Client::in_memory();
    /// let job = client.once("import").every(Duration::from_secs(3_600));
    /// if let Begun::Run(run) = job.begin().await? {
    ///     run.finish(Err("no input")).await?;
    /// }
    /// let last = job.last_run().await?.expect("a run");
    /// assert!(matches!(last.state, RunState::Failed { .. }));
    /// # Ok(()) }
    /// ```
    pub async fn last_run(&self) -> Result<Option<LastRun>, Error> {
        let record = self.record()?;
        let effort = Effort::of(&self.lock);
        let reading = async move {
            let Envelope { reply, at, .. } = record.last(&effort).await?;
            match reply {
                Some(run) => record.view(&run, at, &effort).await.map(Some),
                None => Ok(None),
            }
        };
        self.lock.inner.run(|| reading).await?
    }

    /// Forgets the last run, so that the job is due at once.
    ///
    /// The schedule of [`Once::every`] begins again with the next run. A run that has begun
    /// continues, and its end is not recorded.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`], [`Error::Invalid`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the run may have been forgotten.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use arbiter_lock::Outcome;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let client = arbiter_lock::Client::in_memory();
    /// let job = client.once("clean-up").every(Duration::from_secs(3_600));
    /// let work = |_| async { Ok::<(), std::io::Error>(()) };
    /// assert!(matches!(job.run(work).await?, Outcome::Ran(_)));
    /// job.reset().await?;
    /// assert!(matches!(job.run(work).await?, Outcome::Ran(_)));
    /// # Ok(()) }
    /// ```
    pub async fn reset(&self) -> Result<(), Error> {
        let record = self.record()?;
        let effort = Effort::of(&self.lock);
        let forgetting = async move { record.forget(&effort).await };
        self.lock.inner.run(|| forgetting).await?
    }

    fn record(&self) -> Result<Record, Error> {
        Ok(Record {
            inner: self.lock.inner.clone(),
            name: self.lock.checked_name()?,
        })
    }
}

async fn begin(record: Record, lock: Lock, rules: Rules) -> Result<Begun, Error> {
    let effort = Effort::of(&lock);
    let name = record.name.as_str().to_owned();
    let Envelope { reply, at, .. } = record.last(&effort).await?;
    if let Verdict::NotDue { last, next } = rules.decide(at, reply.as_ref()) {
        let last = record.view(last, at, &effort).await?;
        return Ok(Begun::Skipped(Skip::NotDue { name, last, next }));
    }
    let guard = match effort.rest(&lock).acquire().await {
        Ok(guard) => guard,
        Err(Error::Contended(contended)) => {
            let holder = contended.holder;
            return Ok(Begun::Skipped(Skip::Running { name, holder }));
        }
        Err(error) => return Err(error),
    };
    // Another process may have run it meanwhile.
    let hold = guard.hold();
    let Envelope { reply, at, .. } = hold.protect(record.last(&effort)).await??;
    if let Verdict::NotDue { last, next } = rules.decide(at, reply.as_ref()) {
        // This client holds the resource, so the last run does not.
        let last = LastRun::new(last, at, false);
        // If this fails, the keeper continues the release.
        let _ = guard.release().await;
        return Ok(Begun::Skipped(Skip::NotDue { name, last, next }));
    }
    // A request that is given up may still be recorded, and the job would count as run.
    let effort = Effort::until_silent(record.inner.clone());
    let turn = rules.turn(at, reply.as_ref());
    record.begin(hold, turn, &rules, &effort).await?;
    Ok(Begun::Run(RunGuard { guard, record }))
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once")
            .field("lock", &self.lock)
            .field("rules", &self.rules)
            .finish()
    }
}
