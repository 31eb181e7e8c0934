//! Once: a job that runs at most once per period among all machines.

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
use crate::store::Envelope;
#[cfg(feature = "calendar")]
use calendar::Calendar;
use period::Period;
use record::Record;
use rules::{Rules, Verdict};

pub use last_run::{LastRun, RunState};
pub use run_guard::RunGuard;
pub use skip::Skip;

/// A job that runs at most once per period among all machines. Cheap to clone.
///
/// What is remembered of a run outlives the process. It runs while it holds the resource
/// exclusively, as the holder of a [`Lock`](crate::Lock) of that name does. By default it waits
/// for nobody: while somebody else runs the job, it is skipped.
///
/// All go by the store's clock, and each by its own rules: give the same ones everywhere. Where
/// that clock steps back, the job is due that much later, or at once if that is more than two
/// periods away. A job that fails, or whose machine dies, has had its turn, unless
/// [`Once::repeat_failed`] says otherwise.
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

/// What came of [`Once::run`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the job may have been skipped"]
pub enum Outcome<T> {
    /// It ran, and this is what the work answered.
    Ran(T),
    /// It was not to run now.
    Skipped(Skip),
}

/// What came of [`Once::begin`].
#[derive(Debug)]
#[must_use = "a run that is dropped at once has crashed"]
pub enum Begun {
    /// It is to run now.
    Run(RunGuard),
    /// It is not to run now.
    Skipped(Skip),
}

impl Once {
    pub(crate) fn new(lock: Lock) -> Self {
        Self {
            lock: lock.wait_timeout(Duration::ZERO),
            rules: Rules::default(),
        }
    }

    setters_of_the_lock!();

    /// Not again until so long after the start of the last run, by the store's clock, less a
    /// tenth and at most a minute: whoever calls it at fixed times is not exact. From 1 ms to
    /// 365 days. Replaces an earlier period.
    pub fn every(self, period: Duration) -> Self {
        self.with_period(Period::Every(period))
    }

    /// Not until so long after the end of the last run, by the store's clock; one whose end nobody
    /// has recorded counts from its start. From 1 ms to 365 days. It goes with a period, and is
    /// enough alone.
    pub fn at_least(mut self, pause: Duration) -> Self {
        self.rules.pause = Some(pause);
        self
    }

    /// Whether a run that failed or crashed does not count; by default it does.
    pub fn repeat_failed(mut self, repeat: bool) -> Self {
        self.rules.repeat_failed = repeat;
        self
    }

    /// Not again within the same hour of that time zone, by the store's clock: `Europe/Berlin`,
    /// `UTC`, or another name of the IANA database, which is built in. Replaces an earlier period.
    #[cfg(feature = "calendar")]
    pub fn hourly(self, zone: &str) -> Self {
        self.with_period(Period::Calendar(Calendar::hours(zone)))
    }

    /// Not again on the same day of that time zone, by the store's clock; as [`Once::hourly`].
    #[cfg(feature = "calendar")]
    pub fn daily(self, zone: &str) -> Self {
        self.with_period(Period::Calendar(Calendar::days(zone)))
    }

    fn with_period(mut self, period: Period) -> Self {
        self.rules.period = Some(period);
        self
    }

    /// Runs the work if the job is due and nobody runs it. The work is dropped as soon as the
    /// hold is lost. Whether it ended well is recorded, and of an error its words.
    ///
    /// # Errors
    /// As [`Once::begin`], and [`Error::Lost`] if the hold was lost before the work finished:
    /// that is recorded as a failure. What the work answers is no error here.
    ///
    /// # Cancel safety
    /// As [`Once::begin`]; dropped later, it drops the work, the keeper releases, and the run
    /// counts as one that crashed.
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
                // It ended while it held: what comes after is no error of the work.
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

    /// Begins a run if the job is due and nobody runs it; whoever does so says by
    /// [`RunGuard::finish`] how it ended. A skip costs one read. Once it holds, a store that does
    /// not say that it has recorded the begin is asked again for as long as the hold lasts and for
    /// 30 s at the most, whatever the time to wait: to give up might cost the job its turn.
    ///
    /// # Errors
    /// As [`Lock::acquire`](crate::Lock::acquire), but for [`Error::Contended`]: that is a skip.
    /// [`Error::Lost`] if the hold was lost before the run had begun. [`Error::Invalid`] without
    /// a rule that says when the job may run again, too.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`](crate::Lock::acquire). Dropped late, the run may have been recorded:
    /// then it counts as one that crashed. So it does where the store did not say that it has
    /// recorded it.
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

    /// Says who ran the job last, when, and what became of it; `None` where nothing is remembered
    /// of it. It is remembered for two periods from its end, and a minute at the least; one that has
    /// not ended, for 30 days more.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`], [`Error::Invalid`].
    ///
    /// # Cancel safety
    /// It changes nothing.
    pub async fn last_run(&self) -> Result<Option<LastRun>, Error> {
        let record = self.record()?;
        let effort = Effort::of(&self.lock);
        let looking = async move {
            let Envelope { reply, at, .. } = record.last(&effort).await?;
            match reply {
                Some(run) => record.view(&run, at, &effort).await.map(Some),
                None => Ok(None),
            }
        };
        self.lock.inner.run(|| looking).await?
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
    // Somebody else may have run it meanwhile.
    let hold = guard.hold();
    let Envelope { reply, at, .. } = hold.protect(record.last(&effort)).await??;
    if let Verdict::NotDue { last, next } = rules.decide(at, reply.as_ref()) {
        // Whoever has not ended holds no more: the hold is ours.
        let last = LastRun::new(last, at, false);
        // The keeper goes on where this fails.
        let _ = guard.release().await;
        return Ok(Begun::Skipped(Skip::NotDue { name, last, next }));
    }
    // Given up, it might be recorded as begun and never run.
    let effort = Effort::until_silent(record.inner.clone());
    record.begin(hold, &rules, &effort).await?;
    Ok(Begun::Run(RunGuard {
        guard,
        record,
        rules,
    }))
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once")
            .field("lock", &self.lock)
            .field("rules", &self.rules)
            .finish()
    }
}
