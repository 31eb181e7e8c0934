//! The task of a handle: it keeps the session, and sends batches one after another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Backoff, Reply};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::backend::Backend;
use super::database::Postgres;
use super::diagnosis;
use super::exchange::Exchange;
use super::failure::no_answer;
use super::known::KnownStates;
use super::opening::open_session;
use super::queued_request::{Again, QueuedRequest};
use super::session::{DatabaseSession, Swapped};
use super::sweep::Sweep;
use crate::store::diagnosis::Check;
use crate::store::{Envelope, Failure, FailureKind};
use crate::system::rng;

/// The message of a handle to its task.
pub(super) enum WorkerTask {
    Send(QueuedRequest),
    /// Opens the session, and returns the round-trip time.
    Connect(oneshot::Sender<Result<Duration, Failure>>),
    /// Returns names behind that one that begin with the prefix.
    Names {
        behind: String,
        prefix: Arc<str>,
        at_most: usize,
        reply: oneshot::Sender<Result<Vec<String>, Failure>>,
    },
    Diagnose(oneshot::Sender<Result<Vec<Check>, Failure>>),
}

/// The task of a handle.
pub(super) struct DatabaseWorker {
    store: Arc<Postgres>,
    /// The channel to listen on.
    channel: Option<Arc<str>>,
    tasks: mpsc::UnboundedReceiver<WorkerTask>,
    queue: VecDeque<QueuedRequest>,
    /// Requests that start again later.
    delayed: Vec<(Instant, QueuedRequest)>,
    session: Option<DatabaseSession>,
    /// Why the last attempt to connect failed, and until when there is no other one.
    down: Option<(Failure, Instant)>,
    backoff: Backoff,
    /// Whether a session was lost and not replaced yet.
    is_lost: bool,
    /// Those of sessions that did not answer. They may keep locks.
    silent: Vec<Backend>,
    sweep: Sweep,
    known: KnownStates,
    /// How long the trips of the last batch took.
    trips: Duration,
}

impl DatabaseWorker {
    pub(super) fn new(
        store: Arc<Postgres>,
        channel: Option<Arc<str>>,
        tasks: mpsc::UnboundedReceiver<WorkerTask>,
    ) -> Self {
        Self {
            store,
            channel,
            tasks,
            queue: VecDeque::new(),
            delayed: Vec::new(),
            session: None,
            down: None,
            backoff: Backoff::new(Duration::from_millis(10), Duration::from_secs(1)),
            is_lost: false,
            silent: Vec::new(),
            sweep: Sweep::default(),
            known: KnownStates::default(),
            trips: Duration::ZERO,
        }
    }

    /// Runs until the handle is dropped and everything is answered.
    pub(super) async fn run(mut self) {
        loop {
            if !self.queue.is_empty() {
                // Those that have arrived meanwhile come along.
                while let Ok(task) = self.tasks.try_recv() {
                    self.take(task).await;
                }
                self.send_batch().await;
                continue;
            }
            let next = self.delayed.iter().map(|(at, _)| *at).min();
            let wake = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600));
            let session = self.session.as_ref();
            let ended = async {
                match session {
                    Some(session) => session.ended().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = ended => self.lose_ended(),
                task = self.tasks.recv() => match task {
                    Some(task) => self.take(task).await,
                    None if self.delayed.is_empty() => return,
                    None => sleep_until(wake).await,
                },
                () = sleep_until(wake) => {}
            }
            self.take_delayed();
        }
    }

    /// Moves the delayed requests whose time has come into the queue.
    fn take_delayed(&mut self) {
        let now = Instant::now();
        let due = self.delayed.extract_if(.., |(at, _)| *at <= now);
        self.queue.extend(due.map(|(_, queued)| queued));
    }

    async fn take(&mut self, task: WorkerTask) {
        match task {
            WorkerTask::Send(queued) => self.queue.push_back(queued),
            WorkerTask::Connect(reply) => {
                let connected = self.connected().await.map(|session| session.round_trip);
                let _ = reply.send(connected);
            }
            WorkerTask::Names {
                behind,
                prefix,
                at_most,
                reply,
            } => {
                let names = self.names(&behind, &prefix, at_most).await;
                let _ = reply.send(names);
            }
            WorkerTask::Diagnose(reply) => {
                let checks = self.diagnose().await;
                let _ = reply.send(checks);
            }
        }
    }

    async fn names(
        &mut self,
        behind: &str,
        prefix: &str,
        at_most: usize,
    ) -> Result<Vec<String>, Failure> {
        let (store, limit) = (self.store.clone(), self.store.settings.command_timeout);
        let session = self.connected().await?;
        let names = session.names(&store, behind, prefix, at_most);
        let names = timeout(limit, names).await;
        self.keep_or_lose(names.unwrap_or_else(|_| Err(no_answer(limit))))
            .await
    }

    async fn diagnose(&mut self) -> Result<Vec<Check>, Failure> {
        let (store, limit) = (self.store.clone(), self.store.settings.command_timeout);
        let session = self.connected().await?;
        let checks = diagnosis::checks(&store, session);
        let checks = timeout(limit, checks).await;
        self.keep_or_lose(checks.unwrap_or_else(|_| Err(no_answer(limit))))
            .await
    }

    /// Returns the session, and opens one if there is none.
    async fn connected(&mut self) -> Result<&DatabaseSession, Failure> {
        if self
            .session
            .as_ref()
            .is_some_and(|session| session.end().is_some())
        {
            self.lose_ended();
        }
        let timeline = self.session.as_ref().map(|session| session.timeline);
        if timeline.is_some_and(|timeline| self.store.is_replaced(timeline)) {
            let detail = "another server was promoted";
            self.lose(&Failure::before_sending(FailureKind::ReadOnly, detail));
        }
        if self.session.is_none() {
            let opened = self.open().await?;
            self.session = Some(opened);
        }
        let gone = || Failure::before_sending(FailureKind::Unreachable, "no session");
        self.session.as_ref().ok_or_else(gone)
    }

    async fn open(&mut self) -> Result<DatabaseSession, Failure> {
        if let Some((failure, until)) = &self.down
            && Instant::now() < *until
        {
            return Err(failure.clone());
        }
        let limit = self.store.connect_timeout();
        let (channel, silent) = (self.channel.as_deref(), &mut self.silent);
        let opening = open_session(&self.store, channel, silent, limit);
        match opening.await {
            Ok(session) => {
                self.down = None;
                self.backoff.reset();
                if std::mem::take(&mut self.is_lost) {
                    self.store.events.reconnected(&self.store);
                }
                // Grants that were missed meanwhile are found.
                if let Some(channel) = &self.channel {
                    self.store.listeners.poll_again(channel);
                }
                Ok(session)
            }
            Err(failure) => {
                let pause = self.backoff.next(rng::draw());
                self.down = Some((failure.clone(), Instant::now() + pause));
                Err(failure)
            }
        }
    }

    /// Drops the session, whose waiters poll on the next one.
    fn lose(&mut self, cause: &Failure) {
        // Another server may lack the latest changes.
        self.known.forget();
        if self.session.take().is_none() {
            return;
        }
        self.is_lost = true;
        self.store.events.disconnected(&self.store, cause);
        if let Some(channel) = &self.channel {
            self.store.listeners.poll_again(channel);
        }
    }

    fn lose_ended(&mut self) {
        let cause = self.session.as_ref().and_then(DatabaseSession::end);
        if let Some(cause) = cause {
            self.lose(&cause);
        }
    }

    /// Drops the session after a failure that it does not survive. One that is denied a right may
    /// have been opened with a login that was replaced since.
    async fn keep_or_lose<T>(&mut self, mut result: Result<T, Failure>) -> Result<T, Failure> {
        if let Err(failure) = &mut result
            && failure.kind == FailureKind::Denied
            && self.has_another_login().await
        {
            failure.kind = FailureKind::Rejected;
        }
        if let Err(failure) = &result {
            match failure.kind {
                FailureKind::Silent => {
                    if let Some(session) = &self.session {
                        self.silent.extend(session.backend.clone());
                        session.abandon();
                    }
                    self.lose(failure);
                }
                // The server is not the primary any more, or its schema was replaced.
                FailureKind::Unreachable
                | FailureKind::ReadOnly
                | FailureKind::Malformed
                | FailureKind::Rejected
                | FailureKind::Other => self.lose(failure),
                _ => {}
            }
        }
        result
    }

    /// Returns whether the next session would log in with other credentials.
    async fn has_another_login(&self) -> bool {
        let session = self.session.as_ref();
        let in_use = session.and_then(|session| session.connection.login.as_ref());
        match (&self.store.login, in_use) {
            (Some(login), Some(in_use)) => {
                in_use.is_replaced(login, self.store.limit_of_login()).await
            }
            _ => false,
        }
    }

    /// Sends the requests at the front of the queue.
    async fn send_batch(&mut self) {
        if let Err(failure) = self.connected().await {
            for queued in self.queue.drain(..) {
                queued.answer(Err(failure.clone()));
            }
            return;
        }
        let mut batch = Exchange::take(&mut self.queue);
        if batch.is_empty() {
            return;
        }
        let begun = Instant::now();
        let exchanged = self.exchange(&mut batch).await;
        self.trips = begun.elapsed();
        let source = self.session.as_ref().map_or(0, |session| session.source);
        match self.keep_or_lose(exchanged).await {
            Ok(Swapped::Done { written, guarded }) => {
                self.ask_for_guards(&mut batch, &guarded).await;
                for (key, state) in batch.whole_states(&written) {
                    self.known.note(key, state);
                }
                for (why, queued) in batch.finish(&self.store, source, &written, &guarded) {
                    self.repeat(why, queued);
                }
            }
            Ok(Swapped::Conflict) => {
                for queued in batch.into_requests() {
                    self.repeat(Again::Changed, queued);
                }
            }
            Err(failure) => {
                for queued in batch.into_requests() {
                    queued.answer(Err(failure.clone()));
                }
            }
        }
        if let Some(session) = &self.session {
            self.sweep.go_on(&self.store, session).await;
        }
    }

    /// Finds out which transactions guard holds that are shown, or could not be ended.
    async fn ask_for_guards(&mut self, batch: &mut Exchange, guarded: &[String]) {
        let names = [batch.inspected(), guarded.to_vec()].concat();
        let Some(session) = self.session.as_ref().filter(|_| !names.is_empty()) else {
            return;
        };
        let limit = self.store.settings.command_timeout;
        // The answers are worth more than that.
        if let Ok(Ok(guards)) = timeout(limit, session.guards(&self.store, &names)).await {
            batch.set_guards(&guards);
        }
    }

    /// Makes the two trips of a batch. Each may take as long as a command.
    async fn exchange(&mut self, batch: &mut Exchange) -> Result<Swapped, Failure> {
        let limit = self.store.settings.command_timeout;
        let Some(session) = &self.session else {
            let detail = "no session";
            return Err(Failure::before_sending(FailureKind::Unreachable, detail));
        };
        batch.release_known(&self.store, &mut self.known);
        // Of those that are read.
        let overtaken = batch.overtaken();
        let is_locked = !overtaken.is_empty();
        let states = if batch.needs_no_reading() {
            Vec::new()
        } else {
            let request = batch.to_load(self.channel.as_deref().unwrap_or_default());
            let loading = async {
                match is_locked {
                    true => session.load_locked(&self.store, &request, &overtaken).await,
                    false => session.load(&self.store, &request).await.map(Some),
                }
            };
            let states = timeout(limit, loading).await;
            match states.unwrap_or_else(|_| Err(no_answer(limit)))? {
                Some(states) => states,
                None => return Ok(Swapped::Conflict),
            }
        };
        let is_listening = session.is_listening;
        let (changes, is_durable) = batch.apply(&self.store, &states, is_listening)?;
        if changes.is_empty() {
            if is_locked {
                // The next trip finds out if it is not answered.
                let _ = timeout(limit, session.roll_back()).await;
            }
            return Ok(Swapped::Done {
                written: Vec::new(),
                guarded: Vec::new(),
            });
        }
        let changes = changes.into_text();
        let swapping = session.swap(&self.store, &changes, is_durable, is_locked);
        let swapped = timeout(limit, swapping).await;
        swapped.unwrap_or_else(|_| {
            Err(Failure {
                may_have_run: true,
                ..no_answer(limit)
            })
        })
    }

    /// Starts a request again, or fails if it has taken as long as a command may.
    fn repeat(&mut self, why: Again, mut queued: QueuedRequest) {
        let now = Instant::now();
        let begun = *queued.begun.get_or_insert(now);
        let pause = queued.pause_before_repeat(why, self.trips);
        queued.note_repeat(why);
        if self.store.settings.command_timeout <= now + pause - begun {
            let failure = queued.failure(why);
            return queued.answer(Err(failure));
        }
        queued.stage.take_back();
        if pause.is_zero() {
            self.queue.push_back(queued);
        } else {
            self.delayed.push((now + pause, queued));
        }
    }
}

/// The reply to a request.
pub(super) type Replied = Result<Envelope<Reply>, Failure>;
