//! A runtime's handle of a folder.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arbiter_lock_core::{
    Acquired, Answer, Contender, Ended, Name, Renewal, Renewed, Reply, Request, Resource, Tried,
};

use super::database::Database;
use super::liveness::Process;
use super::records::Records;
use super::{Embedded, Opened, file_lock, folder, liveness};
use crate::errors::invalid::Invalid;
use crate::events::event::EventQueue;
use crate::store::{
    Acknowledgement, Envelope, Failure, FailureKind, Handle, KeyPrefix, Page, Pattern, Registry,
    Sending, ServerSettings, Store,
};
use crate::system::rng;

/// How long a try waits while other processes take turns.
const LONGEST_TRY: Duration = Duration::from_secs(30);

/// How often a step is repeated because a process ahead of it has died.
const MOST_DEAD: usize = 64;

struct EmbeddedHandle {
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
    fn new(store: Arc<Embedded>, channel: Arc<str>, registry: Weak<Registry>) -> Self {
        Self {
            store,
            channel,
            registry,
            is_listening: AtomicBool::new(false),
        }
    }

    /// Returns the folder, opening it if necessary. Opening continues if the caller is dropped.
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
        let (folder, opening) = (&self.store.folder, self.store.opening());
        let opened = file_lock::while_others_take_turns(folder, limit, opening).await;
        opened.unwrap_or_else(|cause| Err(Failure::before_sending(FailureKind::Silent, cause)))
    }

    async fn answered(
        &self,
        name: &Name,
        request: &Request,
        limit: Duration,
    ) -> Result<Envelope<Reply>, Failure> {
        let opened = self.opened(limit).await?;
        let key = self.store.key_prefix.key(name.as_str());
        for _ in 0..MOST_DEAD {
            let (envelope, predecessors) = match request {
                // These only read, and need no turn.
                Request::Inspect | Request::LastRun => opened
                    .file_lock
                    .read(|database| database.read(&key, request))?,
                _ => opened.step(&key, request, limit).await?,
            };
            // The holds of a dead process are neither waited for nor shown.
            let has_ended_some = match request {
                Request::Acquire { .. } => opened.watch(predecessors).await?,
                _ => opened.reap(predecessors).await?,
            };
            if !has_ended_some {
                return Ok(envelope);
            }
        }
        Err(too_many_dead())
    }
}

impl Handle for EmbeddedHandle {
    /// Opens the folder, which replaces a connection.
    fn connect<'a>(&'a self, _: Option<&'a Name>, limit: Duration) -> Sending<'a, ()> {
        Box::pin(async move { self.opened(limit).await.map(drop) })
    }

    /// Returns the limit of a try. Other processes that take turns prove that this one will have
    /// its own: a machine with hundreds of processes is slow, but answers.
    fn try_limit(&self) -> Duration {
        LONGEST_TRY
    }

    fn channel(&self, _: &Name) -> Arc<str> {
        self.channel.clone()
    }

    fn send<'a>(
        &'a self,
        name: &'a Name,
        request: &'a Request,
        limit: Duration,
    ) -> Sending<'a, Envelope<Reply>> {
        Box::pin(self.answered(name, request, limit))
    }

    fn names<'a>(&'a self, cursor: &'a str, _: &'a Pattern, limit: Duration) -> Sending<'a, Page> {
        Box::pin(async move {
            let opened = self.opened(limit).await?;
            let prefix = &self.store.key_prefix;
            let behind = prefix.key(cursor);
            let keys = opened
                .file_lock
                .read(|database| database.keys_after(&behind, prefix))?;
            Ok(Page::in_order(prefix, &keys))
        })
    }

    /// Renews all in one turn; each is a step of its own.
    fn renew(
        &self,
        renewals: Vec<(Name, Renewal)>,
        _: Acknowledgement,
        limit: Duration,
    ) -> Sending<'_, Vec<Result<Renewed, Failure>>> {
        let prefix = self.store.key_prefix.clone();
        let work = move |database: &mut Database| {
            let renew = |(name, renewal): &(Name, Renewal)| {
                let Renewal {
                    owner,
                    fence,
                    lease_ms,
                    ..
                } = renewal;
                let key = prefix.key(name.as_str());
                let renewed = database.step(&key, |resource, now| {
                    resource.renew(now, owner, *fence, *lease_ms)
                });
                renewed.map(|(renewed, _)| renewed)
            };
            Ok(renewals.iter().map(renew).collect())
        };
        Box::pin(async move {
            let opened = self.opened(limit).await?;
            opened
                .file_lock
                .run(limit, work, std::convert::identity)
                .await
        })
    }
}

/// Creates the store of a URL; its files are opened later.
pub(in super::super) fn open(
    url: &str,
    settings: ServerSettings,
    events: &EventQueue,
) -> Result<Arc<dyn Store>, Invalid> {
    settings.check_unconnected("a folder of this machine")?;
    let folder = folder::folder_of_url(url)?;
    let key_prefix = KeyPrefix::new(&settings.key_prefix)?;
    let store = Embedded::new(folder, key_prefix, events.clone());
    Ok(Arc::new(store))
}

impl Store for Embedded {
    fn handle(self: Arc<Self>, registry: &Arc<Registry>) -> Box<dyn Handle> {
        let channel = self.process.channel(rng::draw());
        let registry = Arc::downgrade(registry);
        Box::new(EmbeddedHandle::new(self, channel, registry))
    }

    fn key_prefix(&self) -> &KeyPrefix {
        &self.key_prefix
    }

    /// Returns the file that is locked while this process lives.
    fn liveness_file(&self) -> Option<PathBuf> {
        Some(liveness::file(&self.folder, &self.process))
    }

    /// Removes the files of this process from the folder at once, on the thread that drops the last
    /// client.
    fn leave(&self) {
        if let Some(opened) = self.opened.get() {
            opened.liveness.leave();
        }
    }
}

impl Opened {
    /// Applies a step in its turn, and notifies the contenders that it has granted. Returns the
    /// reply with the processes ahead of the contender.
    async fn step(
        self: &Arc<Self>,
        key: &str,
        request: &Request,
        limit: Duration,
    ) -> Result<(Envelope<Reply>, Vec<Process>), Failure> {
        let (opened, key, request) = (self.clone(), key.to_owned(), request.clone());
        let work = move |database: &mut Database| {
            let reach = |channel: &str| opened.listens(channel);
            let ((answer, predecessors), at) = database.step(&key, |resource, now| {
                let answer = request.apply(resource, now, reach);
                let predecessors = predecessors(resource, &request, &answer.reply);
                (answer, predecessors)
            })?;
            Ok((answer, predecessors, at))
        };
        let opened = self.clone();
        let notify = move |(answer, predecessors, at): (Answer<Reply>, _, _)| {
            // Also if the caller was dropped. After the unlock, since the granted waiters lock
            // next.
            opened.notify(answer.granted);
            let envelope = Envelope::new(answer.reply, at, answer.again);
            (envelope, predecessors)
        };
        let answered = self.file_lock.run(limit, work, notify).await;
        self.denied.report();
        answered
    }

    /// Ends a request of a dead process.
    pub(super) async fn end(self: &Arc<Self>, key: &str, id: &Arc<str>) -> Result<Ended, Failure> {
        let end = Request::End {
            contender: Contender::with_id(id.clone()).into(),
            tombstone: false,
        };
        loop {
            let (Envelope { reply, again, .. }, _) = self.step(key, &end, Duration::MAX).await?;
            if let (Reply::Ended(ended), false) = (reply, again) {
                return Ok(ended);
            }
        }
    }
}

/// Returns the processes whose requests come before a contender that was not granted.
fn predecessors(
    resource: &Resource<Records<'_>>,
    request: &Request,
    reply: &Reply,
) -> Vec<Process> {
    match (request, reply) {
        (Request::Acquire { contender, .. }, Reply::Acquired(Acquired::Queued { ticket, .. })) => {
            resource.rows().predecessors_of(*ticket, &contender.id)
        }
        (_, Reply::Tried(Tried::Busy { .. })) => resource.rows().predecessors(),
        _ => Vec::new(),
    }
}

fn too_many_dead() -> Failure {
    Failure::unknown(
        FailureKind::Loading,
        "too many processes died at once; try again",
    )
}
