//! The Redis store: scripts that do the core's steps on the server.

mod adaptive_spin;
mod answer;
mod bounded;
mod client_name;
mod connection;
mod dial;
mod driver;
mod failure;
mod handle;
mod introduction;
mod keys;
mod reply;
mod route;
mod script;
mod sentinel;
mod target;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::errors::invalid::Invalid;
use crate::events::event::EventQueue;
use crate::store::handle::random_channel;
use crate::store::{Handle, Registry, ServerSettings, Store};
use client_name::client_name;
use connection::{Connection, Subscription};
use dial::Limits;
use handle::RedisHandle;
use route::ServerRoute;
use sentinel::{SentinelUrl, Sentinels};
use target::Target;

/// A server or the master of a Sentinel group, before a runtime uses it.
struct Server {
    route: ServerRoute,
    key_prefix: Arc<str>,
    limits: Limits,
    client_name: Arc<str>,
    events: EventQueue,
}

impl Server {
    fn new(url: &str, settings: ServerSettings, events: EventQueue) -> Result<Self, Invalid> {
        // The login of the settings replaces the URL's.
        let login = |of_url| match settings.password {
            Some(_) => (settings.username, settings.password),
            None => of_url,
        };
        let route = match SentinelUrl::parse(url) {
            Some(group) => {
                let mut group = group?;
                (group.username, group.password) = login((group.username, group.password));
                group.authorities = settings.authorities;
                let sentinels = Sentinels::new(
                    group,
                    settings.address_map,
                    settings.command_timeout,
                    events.clone(),
                );
                ServerRoute::Master(sentinels)
            }
            None => {
                let mut target = Target::parse(url)?;
                (target.username, target.password) = login((target.username, target.password));
                target.authorities = settings.authorities;
                ServerRoute::One(Arc::new(target))
            }
        };
        Ok(Self {
            route,
            key_prefix: settings.key_prefix.into(),
            limits: Limits {
                command: settings.command_timeout,
                connect: settings.connect_timeout,
            },
            client_name: client_name(settings.client_name.as_deref()),
            events,
        })
    }

    fn handle_on(&self, subscription: Option<Subscription>) -> Box<dyn Handle> {
        let channel = subscription.as_ref().map(|to| to.channel.clone());
        let (route, events) = (self.route.clone(), self.events.clone());
        let name = self.client_name.clone();
        let connection = Connection::new(route, self.limits, name, subscription, events);
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

    fn switches(&self) -> Option<watch::Receiver<()>> {
        let sentinels = self.route.sentinels();
        sentinels.map(|sentinels| sentinels.switches())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.route.fmt(f)
    }
}
