//! The Redis store: scripts that do the core's steps on the server.

mod adaptive_spin;
mod answer;
mod bounded;
mod connection;
mod dial;
mod driver;
mod failure;
mod handle;
mod introduction;
mod keys;
mod reply;
mod script;
mod target;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;

use std::fmt;
use std::sync::Arc;

use crate::errors::invalid::Invalid;
use crate::events::event::EventQueue;
use crate::store::handle::random_channel;
use crate::store::{Handle, Registry, ServerSettings, Store};
use connection::{Connection, Limits, Subscription};
use handle::RedisHandle;
use target::Target;

/// A server, before anybody is connected to it.
struct Server {
    target: Arc<Target>,
    key_prefix: Arc<str>,
    limits: Limits,
    events: EventQueue,
}

impl Server {
    fn new(url: &str, settings: ServerSettings, events: EventQueue) -> Result<Self, Invalid> {
        let mut target = Target::parse(url)?;
        if settings.password.is_some() {
            target.username = settings.username;
            target.password = settings.password;
        }
        target.authorities = settings.authorities;
        Ok(Self {
            target: Arc::new(target),
            key_prefix: settings.key_prefix.into(),
            limits: Limits {
                command: settings.command_timeout,
                connect: settings.connect_timeout,
            },
            events,
        })
    }

    fn handle_on(&self, subscription: Option<Subscription>) -> Box<dyn Handle> {
        let channel = subscription.as_ref().map(|to| to.channel.clone());
        let (target, events) = (self.target.clone(), self.events.clone());
        let connection = Connection::new(target, self.limits, subscription, events);
        let channel = channel.unwrap_or_default();
        Box::new(RedisHandle::new(
            connection,
            self.key_prefix.clone(),
            channel,
        ))
    }
}

/// Opens the server of a URL; connections are made later.
pub(super) fn open(
    url: &str,
    settings: ServerSettings,
    events: &EventQueue,
) -> Result<Arc<dyn Store>, Invalid> {
    let server = Server::new(url, settings, events.clone())?;
    Ok(Arc::new(server))
}

impl Store for Server {
    fn handle(self: Arc<Self>, registry: &Arc<Registry>) -> Box<dyn Handle> {
        self.handle_on(Some(Subscription {
            channel: random_channel(),
            registry: Arc::downgrade(registry),
        }))
    }

    fn handle_without_notifications(self: Arc<Self>) -> Box<dyn Handle> {
        self.handle_on(None)
    }

    fn has_connections(&self) -> bool {
        true
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)
    }
}
