//! A runtime's handle of a database.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arbiter_lock_core::{Name, Renewal, Renewed, Reply, Request};
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};

use super::database::Postgres;
use super::failure::no_answer;
use super::queued_request::QueuedRequest;
use super::wire;
use super::worker::{DatabaseWorker, Replied, WorkerTask};
use crate::store::diagnosis::Check;
use crate::store::{
    Acknowledgement, Envelope, Failure, FailureKind, Handle, PAGE, Page, Pattern, Sending,
};
use crate::system::process::UnlessForked;

/// A runtime's handle of a database.
pub(super) struct PostgresHandle {
    store: Arc<Postgres>,
    /// Where waiters are notified of grants; none without notifications.
    channel: Option<Arc<str>>,
    /// The task is started by the first request, on its runtime.
    tasks: OnceLock<mpsc::UnboundedSender<WorkerTask>>,
    /// In microseconds.
    round_trip: AtomicU64,
}

impl Drop for PostgresHandle {
    fn drop(&mut self) {
        if let Some(channel) = &self.channel {
            self.store.listeners.remove(channel);
        }
    }
}

impl PostgresHandle {
    pub(super) fn new(store: Arc<Postgres>, channel: Option<Arc<str>>) -> Self {
        Self {
            store,
            channel,
            tasks: OnceLock::new(),
            round_trip: AtomicU64::new(0),
        }
    }

    /// Gives the task something to do.
    fn post(&self, task: WorkerTask) -> Result<(), Failure> {
        let start = || {
            let (sender, receiver) = mpsc::unbounded_channel();
            let worker = DatabaseWorker::new(self.store.clone(), self.channel.clone(), receiver);
            tokio::spawn(UnlessForked::new(worker.run()));
            sender
        };
        let posted = self.tasks.get_or_init(start).send(task);
        posted.map_err(|_| ended())
    }

    /// Posts a task and waits for its reply.
    async fn ask<T>(
        &self,
        limit: Duration,
        task: impl FnOnce(oneshot::Sender<Result<T, Failure>>) -> WorkerTask,
    ) -> Result<T, Failure> {
        let (reply, replied) = oneshot::channel();
        self.post(task(reply))?;
        match tokio::time::timeout(limit, replied).await {
            Ok(replied) => replied.unwrap_or_else(|_| Err(ended())),
            Err(_) => Err(no_answer(limit)),
        }
    }

    /// Sends a request, and waits for its reply.
    async fn request(&self, name: &Name, request: Request, limit: Duration) -> Replied {
        if limit.is_zero() {
            let detail = "no time was left to send it";
            return Err(Failure::before_sending(FailureKind::Silent, detail));
        }
        let (queued, replied) = QueuedRequest::new(self.store.key(name.as_str()), request);
        let stage = queued.stage.clone();
        self.post(WorkerTask::Send(queued))?;
        match tokio::time::timeout(limit, replied).await {
            Ok(Ok(replied)) => replied,
            Ok(Err(_)) if stage.give_up() => Err(ended()),
            Ok(Err(_)) => Err(Failure {
                may_have_run: true,
                ..ended()
            }),
            Err(_) if stage.give_up() => Err(no_answer(limit)),
            Err(_) => Err(Failure {
                may_have_run: true,
                ..no_answer(limit)
            }),
        }
    }
}

impl Handle for PostgresHandle {
    fn connect<'a>(&'a self, _: Option<&'a Name>, limit: Duration) -> Sending<'a, ()> {
        Box::pin(async move {
            let limit = limit.min(self.store.connect_timeout());
            let round_trip = self.ask(limit, WorkerTask::Connect).await?;
            let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
            self.round_trip.store(micros, Ordering::Relaxed);
            Ok(())
        })
    }

    fn round_trip(&self) -> Duration {
        Duration::from_micros(self.round_trip.load(Ordering::Relaxed))
    }

    fn channel(&self, _: &Name) -> Arc<str> {
        self.channel.clone().unwrap_or_default()
    }

    fn send<'a>(
        &'a self,
        name: &'a Name,
        request: &'a Request,
        limit: Duration,
    ) -> Sending<'a, Envelope<Reply>> {
        Box::pin(self.request(name, request.clone(), limit))
    }

    fn diagnose(&self, _: Duration) -> Sending<'_, Vec<Check>> {
        Box::pin(self.ask(self.store.connect_timeout(), WorkerTask::Diagnose))
    }

    fn names<'a>(&'a self, cursor: &'a str, _: &'a Pattern, limit: Duration) -> Sending<'a, Page> {
        Box::pin(async move {
            let behind = self.store.key(cursor).to_string();
            let keys = self.ask(limit, |reply| WorkerTask::Names {
                behind,
                prefix: self.store.key(""),
                at_most: PAGE,
                reply,
            });
            let keys = keys.await?;
            let keys: Vec<_> = keys.iter().map(|key| wire::unescaped(key)).collect();
            Ok(Page::in_order(&self.store.key_prefix, &keys))
        })
    }

    /// Renews all; they share batches.
    fn renew(
        &self,
        renewals: Vec<(Name, Renewal)>,
        _: Acknowledgement,
        limit: Duration,
    ) -> Sending<'_, Vec<Result<Renewed, Failure>>> {
        Box::pin(async move {
            let renew = |(name, renewal): (Name, Renewal)| async move {
                let replied = self.request(&name, Request::Renew(renewal), limit).await?;
                Renewed::try_from(replied.reply).map_err(|_| {
                    Failure::unknown(FailureKind::Malformed, "a reply to another request")
                })
            };
            Ok(join_all(renewals.into_iter().map(renew)).await)
        })
    }
}

fn ended() -> Failure {
    Failure::before_sending(FailureKind::Unreachable, "the runtime has ended")
}
