//! A runtime's handle of a memory store.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{
    Acquired, Broken, Downgraded, Name, Renewed, Request, Resized, Run, Status, Tried, Written,
};

use super::{COMMAND_TIMEOUT, MemoryStore, silent};
use crate::store::{EndedEnvelope, Envelope, Failure, Renewal, Write};

/// A runtime's handle of a memory store.
pub(crate) struct MemoryHandle {
    pub(super) world: Arc<MemoryStore>,
    pub(super) channel: Arc<str>,
}

impl Drop for MemoryHandle {
    fn drop(&mut self) {
        self.world.listeners().remove(&self.channel);
    }
}

impl MemoryHandle {
    /// The way there and back: each is a point at which the caller may go away.
    async fn carry<T: Send + 'static>(
        &self,
        limit: Duration,
        step: impl Fn(&MemoryStore) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let limit = limit.min(COMMAND_TIMEOUT);
        #[cfg(feature = "testing")]
        if let Some(weather) = self.world.faults() {
            let way = self.world.stalls.of(&self.channel);
            return weather.carry(self.world.clone(), way, limit, step).await;
        }
        tokio::task::yield_now().await;
        if self.world.is_silent() {
            let mut silence = self.world.silent.subscribe();
            if tokio::time::timeout(limit, silence.wait_for(|silent| !silent))
                .await
                .is_err()
            {
                return Err(silent(limit));
            }
        }
        let reply = step(&self.world);
        tokio::task::yield_now().await;
        Ok(reply)
    }

    /// There is nothing that could be missing.
    pub(crate) async fn probe(&self, _: Duration) -> Result<(), Failure> {
        Ok(())
    }

    /// There is no connection.
    pub(crate) async fn connect(&self, _: Duration) -> Result<(), Failure> {
        Ok(())
    }

    pub(crate) async fn acquire(
        &self,
        name: &Name,
        request: &Request,
        ticket: Option<u64>,
        limit: Duration,
    ) -> Result<Envelope<Acquired>, Failure> {
        let (name, request) = (name.clone(), request.clone());
        self.carry(limit, move |world| {
            let acquired = world.step(&name, |resource, now| {
                resource.acquire(now, &request, ticket, |channel| world.listens(channel))
            });
            let said = world.told(&name, acquired);
            #[cfg(feature = "testing")]
            match said.reply {
                Acquired::Granted { fence, .. } => {
                    world.counters().granted(&name, &request.id, fence);
                }
                Acquired::Ended => world.counters().too_late(),
                Acquired::Queued { .. } | Acquired::Refused(_) => {}
            }
            said
        })
        .await
    }

    pub(crate) async fn try_acquire(
        &self,
        name: &Name,
        request: &Request,
        limit: Duration,
    ) -> Result<Envelope<Tried>, Failure> {
        let (name, request) = (name.clone(), request.clone());
        self.carry(limit, move |world| {
            let tried = world.step(&name, |resource, now| {
                resource.try_acquire(now, &request, |channel| world.listens(channel))
            });
            let said = world.told(&name, tried);
            #[cfg(feature = "testing")]
            if let Tried::Granted { fence, .. } = said.reply {
                world.counters().granted(&name, &request.id, fence);
            }
            said
        })
        .await
    }

    pub(crate) async fn renew(
        &self,
        renewals: &[Renewal<'_>],
        limit: Duration,
    ) -> Result<Vec<Result<Renewed, Failure>>, Failure> {
        let renewals: Vec<_> = renewals.iter().map(Renewal::own).collect();
        self.carry(limit, move |world| {
            let renew = |(name, owner, fence, lease_ms): &(Name, Arc<str>, u64, u64)| {
                let renewed = world.step(name, |resource, now| {
                    resource.renew(now, owner, *fence, *lease_ms)
                });
                #[cfg(feature = "testing")]
                world.counters().renewed(renewed.reply);
                Ok(renewed.reply)
            };
            renewals.iter().map(renew).collect()
        })
        .await
    }

    pub(crate) async fn end(
        &self,
        name: &Name,
        request: &Request,
        tombstone: bool,
        limit: Duration,
    ) -> Result<EndedEnvelope, Failure> {
        let (name, request) = (name.clone(), request.clone());
        self.carry(limit, move |world| world.end(&name, &request, tombstone))
            .await
    }

    pub(crate) async fn break_hold(
        &self,
        name: &Name,
        fence: u64,
        at_once: bool,
        limit: Duration,
    ) -> Result<Envelope<Broken>, Failure> {
        let name = name.clone();
        self.carry(limit, move |world| {
            world.told(
                &name,
                world.step(&name, |resource, now| {
                    resource.break_hold(now, fence, at_once, |channel| world.listens(channel))
                }),
            )
        })
        .await
    }

    pub(crate) async fn downgrade(
        &self,
        renewal: &Renewal<'_>,
        limit: Duration,
    ) -> Result<Envelope<Downgraded>, Failure> {
        let (name, owner, fence, lease_ms) = renewal.own();
        self.carry(limit, move |world| {
            world.told(
                &name,
                world.step(&name, |resource, now| {
                    resource.downgrade(now, &owner, fence, lease_ms, |channel| {
                        world.listens(channel)
                    })
                }),
            )
        })
        .await
    }

    pub(crate) async fn resize(
        &self,
        name: &Name,
        permits: NonZeroU32,
        limit: Duration,
    ) -> Result<Envelope<Resized>, Failure> {
        let name = name.clone();
        self.carry(limit, move |world| {
            world.told(
                &name,
                world.step(&name, |resource, now| {
                    resource.resize(now, permits, |channel| world.listens(channel))
                }),
            )
        })
        .await
    }

    pub(crate) async fn write(
        &self,
        name: &Name,
        write: &Write,
        limit: Duration,
    ) -> Result<Written, Failure> {
        let (name, write) = (name.clone(), write.clone());
        self.carry(limit, move |world| {
            world
                .step(&name, |resource, now| write.apply(resource, now))
                .reply
        })
        .await
    }

    pub(crate) async fn last_run(
        &self,
        name: &Name,
        limit: Duration,
    ) -> Result<Envelope<Option<Run>>, Failure> {
        let name = name.clone();
        self.carry(limit, move |world| {
            world.step(&name, |resource, now| resource.last_run(now))
        })
        .await
    }

    pub(crate) async fn inspect(
        &self,
        name: &Name,
        limit: Duration,
    ) -> Result<Envelope<Status>, Failure> {
        let name = name.clone();
        self.carry(limit, move |world| {
            world.step(&name, |resource, now| resource.inspect(now))
        })
        .await
    }
}
