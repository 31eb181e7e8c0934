//! A runtime's handle of a memory store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Ended, Name, Renewal, Renewed, Reply, Request};

use super::{COMMAND_TIMEOUT, MemoryStore, PrefixedName, silent};
use crate::errors::invalid::Invalid;
use crate::events::event::EventQueue;
use crate::store::handle::random_channel;
use crate::store::{
    Acknowledgement, Envelope, Failure, Handle, KeyPrefix, Page, Pattern, PendingRelease, Registry,
    Sending, ServerSettings, Store,
};
use crate::system::clock::Clock;

/// A memory store as one client uses it.
pub(crate) struct PrefixedMemory {
    store: Arc<MemoryStore>,
    key_prefix: KeyPrefix,
}

/// A runtime's handle of a memory store.
struct MemoryHandle {
    store: Arc<MemoryStore>,
    key_prefix: KeyPrefix,
    channel: Arc<str>,
}

impl Drop for MemoryHandle {
    fn drop(&mut self) {
        self.store.listeners().remove(&self.channel);
    }
}

impl Handle for MemoryHandle {
    /// Succeeds at once: there is no connection.
    fn connect<'a>(&'a self, _: Option<&'a Name>, _: Duration) -> Sending<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
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
        let (of, request) = (self.of(name), request.clone());
        Box::pin(self.carry(limit, move |store| store.answer(&of, &request)))
    }

    fn names<'a>(&'a self, cursor: &'a str, _: &'a Pattern, limit: Duration) -> Sending<'a, Page> {
        let (prefix, cursor) = (self.key_prefix.clone(), cursor.to_owned());
        Box::pin(self.carry(limit, move |store| store.names_after(&prefix, &cursor)))
    }

    fn renew(
        &self,
        renewals: Vec<(Name, Renewal)>,
        _: Acknowledgement,
        limit: Duration,
    ) -> Sending<'_, Vec<Result<Renewed, Failure>>> {
        let renewals = renewals.into_iter();
        let renewals = renewals.map(|(name, renewal)| (self.of(&name), renewal));
        let renewals = Vec::from_iter(renewals);
        Box::pin(self.carry(limit, move |store| {
            let renew = |(of, renewal): &(PrefixedName, Renewal)| Ok(store.renew(of, renewal));
            renewals.iter().map(renew).collect()
        }))
    }
}

impl MemoryHandle {
    fn of(&self, name: &Name) -> PrefixedName {
        PrefixedName {
            prefix: self.key_prefix.clone(),
            name: name.clone(),
        }
    }

    /// Runs a step with a yield before and after it, at both of which the caller can be dropped.
    async fn carry<T: Send + 'static>(
        &self,
        limit: Duration,
        step: impl Fn(&MemoryStore) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let limit = limit.min(COMMAND_TIMEOUT);
        #[cfg(feature = "testing")]
        if let Some(faults) = self.store.faults() {
            let route = self.store.stalls.of(&self.channel);
            return faults.carry(self.store.clone(), route, limit, step).await;
        }
        tokio::task::yield_now().await;
        if self.store.is_silent() {
            let mut silence = self.store.silent.subscribe();
            if tokio::time::timeout(limit, silence.wait_for(|silent| !silent))
                .await
                .is_err()
            {
                return Err(silent(limit));
            }
        }
        let reply = step(&self.store);
        tokio::task::yield_now().await;
        Ok(reply)
    }
}

/// Opens a new memory store, or the one of that name in this process.
pub(in super::super) fn open(
    url: &str,
    settings: ServerSettings,
    _: &EventQueue,
) -> Result<Arc<dyn Store>, Invalid> {
    settings.check_unconnected("a memory store")?;
    let store = match url.strip_prefix("memory:") {
        None | Some("") => Arc::new(MemoryStore::new()),
        Some(name) => MemoryStore::shared(name),
    };
    let key_prefix = KeyPrefix::new(&settings.key_prefix)?;
    Ok(Arc::new(PrefixedMemory { store, key_prefix }))
}

impl PrefixedMemory {
    /// Makes a new memory store for one client.
    pub(crate) fn new() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            key_prefix: KeyPrefix::default(),
        }
    }
}

impl fmt::Display for PrefixedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory:")
    }
}

impl Store for PrefixedMemory {
    fn handle(self: Arc<Self>, registry: &Arc<Registry>) -> Box<dyn Handle> {
        let channel = random_channel();
        let mut listeners = self.store.listeners();
        listeners.insert(channel.clone(), Arc::downgrade(registry));
        drop(listeners);
        Box::new(MemoryHandle {
            store: self.store.clone(),
            key_prefix: self.key_prefix.clone(),
            channel,
        })
    }

    fn key_prefix(&self) -> &KeyPrefix {
        &self.key_prefix
    }

    fn clock(&self) -> Clock {
        self.store.clock.clone()
    }

    /// Releases at once, unless the store is silent or has faults.
    fn end_at_once(&self, pending: &PendingRelease) -> Option<Ended> {
        if self.store.is_silent() || self.store.has_faults() {
            return None;
        }
        let of = PrefixedName {
            prefix: self.key_prefix.clone(),
            name: pending.name.clone(),
        };
        let end = || self.store.answer(&of, &pending.request());
        let Envelope {
            reply, mut again, ..
        } = end();
        while again {
            again = end().again;
        }
        reply.try_into().ok()
    }

    #[cfg(feature = "testing")]
    fn as_memory(&self) -> Option<&MemoryStore> {
        Some(&self.store)
    }
}
