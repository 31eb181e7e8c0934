//! The tasks that query the sentinels.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use redis::{PushInfo, PushKind};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use super::super::dial::dial;
use super::super::target::Address;
use super::ask::ask;
use super::count::{Hosts, count};
use super::{Sentinels, now};
use crate::errors::failure::nothing;
use crate::store::tcp::addresses_of;
use crate::store::{Failure, FailureKind};

/// The interval between two queries to a sentinel.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The minimum time that a sentinel may take to answer. It may take the command timeout, and twice
/// that to accept a connection.
const SHORTEST_LIMIT: Duration = Duration::from_secs(1);
/// How long it may take to resolve a host.
const RESOLVE_LIMIT: Duration = Duration::from_secs(1);
/// How many sentinels are queried that the URL does not list.
const MOST_NAMED: usize = 64;
/// How often the URL's hosts are resolved, and the named addresses are compared with the watched
/// ones.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);
/// The shortest pause between two connections to a sentinel.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// The channels on which a sentinel announces another master. It does at its promotion, at a change
/// of the configuration, and at the end of the failover.
const ANNOUNCEMENTS: [&str; 3] = ["+promoted-slave", "+config-update-from", "+switch-master"];

/// Watches every known sentinel until the client is dropped.
///
/// It and its tasks run on the runtime of a [`Service`](crate::service::Service). A forked process
/// has no such thread, so it cannot poll them.
pub(super) async fn watch_all(sentinels: Weak<Sentinels>) {
    let mut tasks = JoinSet::new();
    let mut watched: HashMap<Address, AbortHandle> = HashMap::new();
    loop {
        let Some(group) = sentinels.upgrade() else {
            return;
        };
        let (wanted, named) = group.wanted().await;
        watched.retain(|address, task| {
            let is_wanted = wanted.contains_key(address) && !task.is_finished();
            if !is_wanted {
                task.abort();
            }
            is_wanted
        });
        for (address, name) in wanted {
            watched
                .entry(address.clone())
                .or_insert_with(|| tasks.spawn(watch(sentinels.clone(), address, name)));
        }
        group.watches(watched.keys().cloned().collect(), named);
        let mut answers = group.answers.subscribe();
        drop(group);
        // A sentinel that is named for the first time is queried at once.
        let is_new = async {
            loop {
                match sentinels.upgrade() {
                    Some(group) if group.state().considers_all() => {}
                    _ => return,
                }
                if answers.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(RESOLVE_EVERY, is_new).await;
        while tasks.try_join_next().is_some() {}
    }
}

impl Sentinels {
    /// Records the watched addresses and the named ones, and forgets all others.
    pub(super) fn watches(&self, watched: BTreeSet<Address>, named: BTreeSet<Address>) {
        let mut state = self.state();
        state
            .outcomes
            .retain(|address, _| watched.contains(address));
        (state.watched, state.considered) = (watched, named);
    }

    /// Resolves a host. With a connector, it stays as it is, since only that may resolve it.
    async fn addresses(&self, host: &Address) -> io::Result<BTreeSet<Address>> {
        if self.url.network.connector.is_some() {
            return Ok([host.clone()].into());
        }
        let found = addresses_of(&host.0, host.1).await?;
        Ok(found.map(|a| (a.ip().to_string(), a.port())).collect())
    }

    /// Returns the addresses of all sentinels with the name that TLS verifies, and the named ones.
    ///
    /// A host that cannot be resolved counts as unreachable, and as a sentinel of its own.
    async fn wanted(&self) -> (HashMap<Address, String>, BTreeSet<Address>) {
        let mut resolved: Hosts = BTreeMap::new();
        let hosts: BTreeSet<&Address> = self.url.hosts.list.iter().collect();
        let resolving = hosts
            .iter()
            .map(|host| tokio::time::timeout(RESOLVE_LIMIT, self.addresses(host)));
        let found = join_all(resolving).await;
        for (host, addresses) in hosts.into_iter().zip(found) {
            let (kind, cause) = match addresses {
                Ok(Ok(found)) => {
                    resolved.insert(host.clone(), found);
                    continue;
                }
                Ok(Err(e)) => (FailureKind::Unreachable, e.to_string()),
                Err(_) => (
                    FailureKind::Silent,
                    "its host is not resolved in time".to_owned(),
                ),
            };
            // Its previous addresses, or the host itself.
            let before = self.state().resolved.get(host).cloned();
            let before = before.unwrap_or_else(|| [host.clone()].into());
            if before.contains(host) && host.0.parse::<IpAddr>().is_err() {
                self.failed(host, Failure::before_sending(kind, cause));
            }
            resolved.insert(host.clone(), before);
        }
        let named = self.state().view.named_ids();
        let mut wanted = HashMap::new();
        for ((host, _), addresses) in &resolved {
            wanted.extend(
                addresses
                    .iter()
                    .map(|address| (address.clone(), host.clone())),
            );
        }
        let mut ids = BTreeMap::new();
        for (announced, id) in named.iter().take(MOST_NAMED) {
            let Ok(address) = self.mapped(announced) else {
                continue;
            };
            // A sentinel announced by its address is verified as the URL's host.
            let is_address = address.0.parse::<IpAddr>().is_ok();
            let host = self.url.hosts.list.first().filter(|_| is_address);
            let name = host.map_or_else(|| address.0.clone(), |(host, _)| host.clone());
            wanted.entry(address.clone()).or_insert(name);
            ids.insert(address, id.clone());
        }
        let mut state = self.state();
        state
            .view
            .set_listed(count(resolved.values().map(|host| host.iter().collect())));
        (state.resolved, state.ids) = (resolved, ids);
        drop(state);
        (wanted, named.into_keys().collect())
    }
}

/// Queries one sentinel repeatedly.
async fn watch(sentinels: Weak<Sentinels>, address: Address, name: String) {
    loop {
        let Some(group) = sentinels.upgrade() else {
            return;
        };
        let mut questions = group.questions.subscribe();
        drop(group);
        let failure = follow(&sentinels, &address, &name).await;
        let Some(group) = sentinels.upgrade() else {
            return;
        };
        group.failed(&address, failure);
        drop(group);
        tokio::time::sleep(SHORTEST_PAUSE).await;
        let _ = tokio::time::timeout(ASK_EVERY, questions.changed()).await;
    }
}

/// Queries one sentinel on one connection until that fails.
async fn follow(sentinels: &Weak<Sentinels>, address: &Address, name: &str) -> Failure {
    let gone = || Failure::before_sending(FailureKind::Unreachable, "the client was dropped");
    let Some(group) = sentinels.upgrade() else {
        return gone();
    };
    let target = group.url.sentinel(address, name);
    let service = group.url.service.clone();
    let limit = group.command_timeout.max(SHORTEST_LIMIT);
    let mut questions = group.questions.subscribe();
    drop(group);
    let news = Arc::new(Notify::new());
    let on_push = {
        let news = news.clone();
        move |push: PushInfo| {
            if matches!(push.kind, PushKind::Message | PushKind::Disconnection) {
                news.notify_one();
            }
        }
    };
    let mut line = match dial(&target, 2 * limit, on_push).await {
        Ok(line) => line,
        Err(failure) => return failure,
    };
    for channel in ANNOUNCEMENTS {
        let subscribed = line.connection.subscribe(channel);
        // Without the right to subscribe, the next query finds another master.
        if tokio::time::timeout(limit, subscribed).await.is_err() {
            return silence(limit);
        }
    }
    loop {
        let sent = now();
        let answer = ask(&mut line.connection, &target.place, &service);
        let answer = match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => return failure,
            Err(_) => return silence(limit),
        };
        line.arrived.understood();
        let Some(group) = sentinels.upgrade() else {
            return gone();
        };
        group.answered(address, sent, answer);
        drop(group);
        tokio::select! {
            () = news.notified() => {}
            asked = questions.changed() => if asked.is_err() { return gone() },
            () = tokio::time::sleep(ASK_EVERY) => {}
        }
    }
}

fn silence(limit: Duration) -> Failure {
    Failure::before_sending(FailureKind::Silent, nothing("answer", limit))
}
