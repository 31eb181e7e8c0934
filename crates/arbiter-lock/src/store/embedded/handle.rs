//! One runtime's way to the file.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arbiter_lock_core::{
    Acquired, Answer, Broken, Downgraded, Ended, Moment, Name, Renewed, Request, Resized, Resource,
    Run, Status, Tried, Written,
};

use super::liveness::Process;
use super::records::Records;
use super::{Embedded, Opened, failure};
use crate::store::blocking_thread::on_blocking_thread;
use crate::store::{EndedEnvelope, Envelope, Failure, FailureKind, Registry, Renewal, Write};

/// How often a step is repeated because what stood in its way has died.
const MOST_DEAD: usize = 64;

/// How long a request waits for the folder to be opened, as for a connection.
const OPEN_LIMIT: Duration = Duration::from_secs(1);
/// How much later than its limit an opening may answer.
const LATE: Duration = Duration::from_millis(100);

pub(crate) struct EmbeddedHandle {
    store: Arc<Embedded>,
    channel: Arc<str>,
    registry: Weak<Registry>,
    is_listening: AtomicBool,
}

impl Drop for EmbeddedHandle {
    fn drop(&mut self) {
        if let Some(opened) = self.store.opened.get() {
            opened.listeners().remove(&self.channel);
        }
    }
}

impl EmbeddedHandle {
    pub(super) fn new(store: Arc<Embedded>, channel: Arc<str>, registry: Weak<Registry>) -> Self {
        Self {
            store,
            channel,
            registry,
            is_listening: AtomicBool::new(false),
        }
    }

    /// Opens the folder within the limit.
    pub(crate) async fn probe(&self, limit: Duration) -> Result<(), Failure> {
        self.opened(limit).await.map(drop)
    }

    /// The folder stands in place of a connection.
    pub(crate) async fn connect(&self, limit: Duration) -> Result<(), Failure> {
        self.probe(limit).await
    }

    /// The folder, opened if need be. The opening goes on if the caller goes away.
    async fn opened(&self, limit: Duration) -> Result<Arc<Opened>, Failure> {
        let opened = match self.store.opened.get() {
            Some(opened) => opened.clone(),
            None => self.open(limit).await?,
        };
        if !self.is_listening.swap(true, Ordering::Relaxed) {
            opened
                .listeners()
                .insert(self.channel.clone(), self.registry.clone());
        }
        Ok(opened)
    }

    async fn open(&self, limit: Duration) -> Result<Arc<Opened>, Failure> {
        let store = self.store.clone();
        let opening = on_blocking_thread(move || store.open(limit));
        match tokio::time::timeout(limit.saturating_add(LATE), opening).await {
            Ok(opened) => opened.map_err(|e| failure::of_io(&e, &self.store.folder))?,
            Err(_) => Err(Failure::before_sending(
                FailureKind::Silent,
                format!("{} is still being opened", self.store.folder.display()),
            )),
        }
    }

    pub(crate) async fn acquire(
        &self,
        name: &Name,
        request: &Request,
        ticket: Option<u64>,
        limit: Duration,
    ) -> Result<Envelope<Acquired>, Failure> {
        let opened = self.opened(limit.min(OPEN_LIMIT)).await?;
        for _ in 0..MOST_DEAD {
            let request = request.clone();
            let step = move |resource: &mut Resource<Records<'_>>, now, reach: &Reach<'_>| {
                let answer = resource.acquire(now, &request, ticket, reach);
                let before = match &answer.reply {
                    Acquired::Queued { ticket, .. } => {
                        resource.rows().stands_before(*ticket, &request.id)
                    }
                    _ => Vec::new(),
                };
                (answer, before)
            };
            let (said, before) = opened.step(name, limit, step).await?;
            if !opened.watch(before).await? {
                return Ok(said);
            }
        }
        Err(too_many_dead())
    }

    pub(crate) async fn try_acquire(
        &self,
        name: &Name,
        request: &Request,
        limit: Duration,
    ) -> Result<Envelope<Tried>, Failure> {
        let opened = self.opened(limit.min(OPEN_LIMIT)).await?;
        for _ in 0..MOST_DEAD {
            let request = request.clone();
            let step = move |resource: &mut Resource<Records<'_>>, now, reach: &Reach<'_>| {
                let answer = resource.try_acquire(now, &request, reach);
                let before = match &answer.reply {
                    Tried::Busy { .. } => resource.rows().stands_before_all(),
                    _ => Vec::new(),
                };
                (answer, before)
            };
            let (said, before) = opened.step(name, limit, step).await?;
            if !opened.bury_the_dead(before).await? {
                return Ok(said);
            }
        }
        Err(too_many_dead())
    }

    /// All in one passage of the gate: each is a step of its own.
    pub(crate) async fn renew(
        &self,
        renewals: &[Renewal<'_>],
        limit: Duration,
    ) -> Result<Vec<Result<Renewed, Failure>>, Failure> {
        let renewals: Vec<_> = renewals.iter().map(Renewal::own).collect();
        self.opened(limit.min(OPEN_LIMIT))
            .await?
            .gate
            .pass(
                limit,
                move |database| {
                    let renew = |(name, owner, fence, lease_ms): &(Name, Arc<str>, u64, u64)| {
                        database
                            .step(name, |resource, now| {
                                resource.renew(now, owner, *fence, *lease_ms)
                            })
                            .map(|(renewed, _)| renewed)
                    };
                    Ok(renewals.iter().map(renew).collect())
                },
                std::convert::identity,
            )
            .await
    }

    pub(crate) async fn end(
        &self,
        name: &Name,
        request: &Request,
        tombstone: bool,
        limit: Duration,
    ) -> Result<EndedEnvelope, Failure> {
        let id = request.id.clone();
        let step = move |resource: &mut Resource<Records<'_>>, now, reach: &Reach<'_>| {
            (resource.end(now, &id, tombstone, reach), Vec::new())
        };
        let (said, _) = self
            .opened(limit.min(OPEN_LIMIT))
            .await?
            .step(name, limit, step)
            .await?;
        Ok(EndedEnvelope {
            reply: said.reply,
            again: said.again,
        })
    }

    pub(crate) async fn break_hold(
        &self,
        name: &Name,
        fence: u64,
        at_once: bool,
        limit: Duration,
    ) -> Result<Envelope<Broken>, Failure> {
        let step = move |resource: &mut Resource<Records<'_>>, now, reach: &Reach<'_>| {
            let answer = resource.break_hold(now, fence, at_once, reach);
            (answer, Vec::new())
        };
        let (said, _) = self
            .opened(limit.min(OPEN_LIMIT))
            .await?
            .step(name, limit, step)
            .await?;
        Ok(said)
    }

    pub(crate) async fn downgrade(
        &self,
        renewal: &Renewal<'_>,
        limit: Duration,
    ) -> Result<Envelope<Downgraded>, Failure> {
        let Renewal {
            name,
            owner,
            fence,
            lease_ms,
        } = *renewal;
        let owner = Arc::<str>::from(owner);
        let step = move |resource: &mut Resource<Records<'_>>, now, reach: &Reach<'_>| {
            let answer = resource.downgrade(now, &owner, fence, lease_ms, reach);
            (answer, Vec::new())
        };
        let (said, _) = self
            .opened(limit.min(OPEN_LIMIT))
            .await?
            .step(name, limit, step)
            .await?;
        Ok(said)
    }

    pub(crate) async fn resize(
        &self,
        name: &Name,
        permits: NonZeroU32,
        limit: Duration,
    ) -> Result<Envelope<Resized>, Failure> {
        let step = move |resource: &mut Resource<Records<'_>>, now, reach: &Reach<'_>| {
            (resource.resize(now, permits, reach), Vec::new())
        };
        let (said, _) = self
            .opened(limit.min(OPEN_LIMIT))
            .await?
            .step(name, limit, step)
            .await?;
        Ok(said)
    }

    pub(crate) async fn write(
        &self,
        name: &Name,
        write: &Write,
        limit: Duration,
    ) -> Result<Written, Failure> {
        let (name, write) = (name.clone(), write.clone());
        let step = move |database: &mut super::database::Database| {
            let written = database.step(&name, |resource, now| write.apply(resource, now));
            written.map(|(written, _)| written)
        };
        let opened = self.opened(limit.min(OPEN_LIMIT)).await?;
        opened.gate.pass(limit, step, std::convert::identity).await
    }

    pub(crate) async fn last_run(
        &self,
        name: &Name,
        limit: Duration,
    ) -> Result<Envelope<Option<Run>>, Failure> {
        let opened = self.opened(limit.min(OPEN_LIMIT)).await?;
        opened.gate.read(|database| database.last_run(name))
    }

    /// It reads; but what a process held that has died is not shown as held.
    pub(crate) async fn inspect(
        &self,
        name: &Name,
        limit: Duration,
    ) -> Result<Envelope<Status>, Failure> {
        let opened = self.opened(limit.min(OPEN_LIMIT)).await?;
        for _ in 0..MOST_DEAD {
            let (said, before) = opened.gate.read(|database| database.inspect(name))?;
            if !opened.bury_the_dead(before).await? {
                return Ok(said);
            }
        }
        Err(too_many_dead())
    }
}

/// Whether anybody listens on a channel.
type Reach<'a> = dyn Fn(&str) -> bool + 'a;

impl Opened {
    /// Does a step inside the gate, and tells whom it has granted. Beside the answer stand the
    /// processes that the step has found before the caller.
    async fn step<T: Send + 'static>(
        self: &Arc<Self>,
        name: &Name,
        limit: Duration,
        step: impl FnOnce(&mut Resource<Records<'_>>, Moment, &Reach<'_>) -> (Answer<T>, Vec<Process>)
        + Send
        + 'static,
    ) -> Result<(Envelope<T>, Vec<Process>), Failure> {
        let (opened, name) = (self.clone(), name.clone());
        let work = move |database: &mut super::database::Database| {
            let reach = |channel: &str| opened.listens(channel);
            let ((answer, before), at) =
                database.step(&name, |resource, now| step(resource, now, &reach))?;
            Ok((answer, before, at))
        };
        let opened = self.clone();
        let tell = move |(answer, before, at): (Answer<T>, _, _)| {
            // Told by whoever made the step, even if its caller has gone; and outside, since who
            // is told comes to the gate next.
            opened.tell(answer.granted);
            let said = Envelope {
                reply: answer.reply,
                at,
                again: answer.again,
            };
            (said, before)
        };
        let said = self.gate.pass(limit, work, tell).await;
        self.denied.report();
        said
    }

    /// Ends a request of a process that cannot do it any more.
    pub(super) async fn end(
        self: &Arc<Self>,
        name: &Name,
        id: &Arc<str>,
    ) -> Result<Ended, Failure> {
        loop {
            let id = id.clone();
            let step = move |resource: &mut Resource<Records<'_>>, now, reach: &Reach<'_>| {
                (resource.end(now, &id, false, reach), Vec::new())
            };
            let (said, _) = self.step(name, Duration::MAX, step).await?;
            if !said.again {
                return Ok(said.reply);
            }
        }
    }
}

fn too_many_dead() -> Failure {
    Failure::unknown(FailureKind::Loading, "too many processes died just now")
}
