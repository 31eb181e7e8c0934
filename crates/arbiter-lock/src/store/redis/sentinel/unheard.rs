//! The failures while no majority of the sentinels answers.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::target::Address;
use super::count::count;
use super::view::FRESH;
use super::{Sentinels, State, now};
use crate::store::{Failure, FailureKind};

impl Sentinels {
    /// Returns the failure of a request while no majority answers.
    pub(crate) fn unheard(&self) -> Failure {
        // No sentinel was queried while the machine was suspended.
        self.questions.send_modify(|n| *n += 1);
        self.failure(now().saturating_sub(FRESH))
    }

    /// Returns why dialing took longer than `spent`, if the reason is a missing majority.
    pub(crate) fn unheard_within(&self, spent: Duration) -> Option<Failure> {
        let since = now().saturating_sub(spent);
        let is_heard = self.state().view.is_heard_since(since);
        (!is_heard).then(|| self.failure(since))
    }

    /// Returns why there is no majority. A permanent failure comes first. It is final if the other
    /// sentinels are no majority.
    pub(super) fn failure(&self, since: Duration) -> Failure {
        let state = self.state();
        let (heard, known) = (state.view.heard_since(since), state.view.known());
        let recent = state.outcomes.iter().filter(|(_, (at, _))| since <= *at);
        let failures: Vec<(&Address, &Failure)> = recent
            .filter_map(|(address, (_, failure))| Some((address, failure.as_ref()?)))
            .collect();
        let worst = failures.iter().min_by_key(|(_, f)| f.is_transient());
        let Some(((host, port), failure)) = worst else {
            let detail = format!("{heard} of {known} sentinels answered");
            return Failure::before_sending(FailureKind::Silent, detail);
        };
        let lasting = failures.iter().filter(|(_, f)| !f.is_transient());
        let lasting = state.count_failed(lasting.map(|(address, _)| *address).collect(), since);
        let is_wrong_url = failure.kind == FailureKind::WrongUrl;
        // A server in place of one sentinel does not end a client that another sentinel answers.
        let is_final = 2 * known.saturating_sub(lasting) <= known && !(is_wrong_url && 0 < heard);
        if is_final && is_wrong_url {
            return (*failure).clone();
        }
        let detail =
            format!("{heard} of {known} sentinels answered; the one at {host}:{port} {failure}");
        let kind = match is_final {
            true => failure.kind,
            false => FailureKind::Unreachable,
        };
        Failure::before_sending(kind, detail)
    }
}

impl State {
    /// Returns how many sentinels have failed at those addresses, counted as the URL's hosts are.
    ///
    /// Addresses with one id are one. A sentinel that has answered since then has not failed.
    fn count_failed(&self, mut failed: BTreeSet<&Address>, since: Duration) -> usize {
        let mut ids = self.view.ids_by_address();
        ids.extend(self.ids.clone());
        let mut ended = self.view.ids_heard_since(since);
        failed.retain(|address| ids.get(*address).is_none_or(|id| ended.insert(id)));
        let hosts = self.resolved.values().map(|host| host.iter().collect());
        let hosts = hosts.map(|host: BTreeSet<_>| &host & &failed);
        let alone = failed.iter().map(|address| [*address].into());
        count(hosts.chain(alone).filter(|host| !host.is_empty()))
    }
}
