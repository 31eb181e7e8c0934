//! The tasks that query the sentinels.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use redis::{PushInfo, PushKind};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use super::super::dial::{addresses_of, dial};
use super::ask::ask;
use super::view::Address;
use super::{Sentinels, now};
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
/// The channels on which a sentinel announces another master: at its promotion, at a change of the
/// configuration, and at the end of the failover.
const ANNOUNCEMENTS: [&str; 3] = ["+promoted-slave", "+config-update-from", "+switch-master"];

/// Watches every known sentinel until the client is dropped.
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

    /// Returns the addresses of all sentinels with the name that TLS verifies, and the named ones.
    ///
    /// A host that cannot be resolved counts as unreachable.
    async fn wanted(&self) -> (HashMap<Address, String>, BTreeSet<Address>) {
        let mut resolved = BTreeMap::new();
        let resolving = self
            .url
            .hosts
            .iter()
            .map(|(host, port)| tokio::time::timeout(RESOLVE_LIMIT, addresses_of(host, *port)));
        let found = join_all(resolving).await;
        for ((host, port), addresses) in self.url.hosts.iter().zip(found) {
            let found = match addresses {
                Ok(Ok(addresses)) => Ok(addresses.map(|a| (a.ip().to_string(), a.port()))),
                Ok(Err(e)) => Err(Failure::before_sending(
                    FailureKind::Unreachable,
                    e.to_string(),
                )),
                Err(_) => Err(Failure::before_sending(
                    FailureKind::Silent,
                    "its host is not resolved in time",
                )),
            };
            match found {
                Ok(found) => resolved.extend(found.map(|address| (address, host.clone()))),
                // Its previous address, or the host itself.
                Err(failure) => {
                    let state = self.state();
                    let before = state.resolved.iter().filter(|(_, name)| *name == host);
                    resolved.extend(before.map(|(a, name)| (a.clone(), name.clone())));
                    let is_known = state.resolved.values().any(|name| name == host);
                    drop(state);
                    if !is_known {
                        resolved.insert((host.clone(), *port), host.clone());
                        self.failed(&(host.clone(), *port), failure);
                    }
                }
            }
        }
        let named = self.state().view.named();
        let mut wanted: HashMap<Address, String> = resolved.clone().into_iter().collect();
        let mapped = named
            .iter()
            .take(MOST_NAMED)
            .map(|named| self.mapped(named));
        for address in mapped.filter_map(Result::ok) {
            // A sentinel announced by its address is verified as the URL's host.
            let is_address = address.0.parse::<IpAddr>().is_ok();
            let host = self.url.hosts.first().filter(|_| is_address);
            let name = host.map_or_else(|| address.0.clone(), |(host, _)| host.clone());
            wanted.entry(address).or_insert(name);
        }
        let listed = listed(self.url.hosts.len(), resolved.keys());
        let mut state = self.state();
        state.view.set_listed(listed);
        state.resolved = resolved;
        drop(state);
        (wanted, named)
    }
}

/// Returns the number of sentinels in the URL.
///
/// One host may resolve to all of them, and to an address of each family for the same sentinel.
fn listed<'a>(hosts: usize, addresses: impl Iterator<Item = &'a Address>) -> usize {
    let ips: BTreeSet<IpAddr> = addresses
        .filter_map(|(host, _)| host.parse().ok())
        .collect();
    let v4 = ips.iter().filter(|ip| ip.is_ipv4()).count();
    hosts.max(v4).max(ips.len() - v4)
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
    let target = group.url.sentinel(&address.0, address.1, name);
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
        let answer = ask(&mut line.connection, &service);
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
    Failure::before_sending(FailureKind::Silent, format!("no answer within {limit:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_may_be_one_sentinel() {
        for (hosts, addresses, counted) in [
            (1, &["127.0.0.1", "::1"][..], 1),
            (1, &["10.0.0.1", "10.0.0.2", "10.0.0.3"], 3),
            (1, &["10.0.0.1", "10.0.0.2", "fd::1", "fd::2"], 2),
            (3, &["10.0.0.1", "10.0.0.2", "unresolved"], 3),
        ] {
            let addresses: Vec<Address> = addresses.iter().map(|a| ((*a).to_owned(), 1)).collect();
            assert_eq!(listed(hosts, addresses.iter()), counted, "{addresses:?}");
        }
    }
}
