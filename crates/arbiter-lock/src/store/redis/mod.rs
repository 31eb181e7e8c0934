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
use crate::store::{Registry, ServerSettings};
use connection::{Connection, Limits, Subscription};
pub(crate) use handle::RedisHandle;
use target::Target;

/// A server, before anybody is connected to it.
pub(crate) struct Server {
    target: Arc<Target>,
    key_prefix: Arc<str>,
    limits: Limits,
    events: EventQueue,
}

impl Server {
    pub(crate) fn new(
        url: &str,
        settings: ServerSettings,
        events: EventQueue,
    ) -> Result<Self, Invalid> {
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

    /// A way for the runtime in which it will be used, with its channel.
    pub(super) fn handle(&self, channel: Arc<str>, registry: &Arc<Registry>) -> RedisHandle {
        let ears = Subscription {
            channel,
            registry: Arc::downgrade(registry),
        };
        self.way_with(Some(ears))
    }

    /// A way that hears no grants: for one who never waits.
    pub(super) fn handle_without_notifications(&self) -> RedisHandle {
        self.way_with(None)
    }

    fn way_with(&self, ears: Option<Subscription>) -> RedisHandle {
        let (target, events) = (self.target.clone(), self.events.clone());
        let connection = Connection::new(target, self.limits, ears, events);
        RedisHandle::new(connection, self.key_prefix.clone())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)
    }
}
