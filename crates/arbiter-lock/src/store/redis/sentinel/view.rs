//! What the sentinels of a group have answered, and which master follows from it.
//!
//! A majority of the known sentinels has to answer, and the highest configuration epoch of any
//! answer wins: a single sentinel may be cut off together with a master that was replaced. A lower
//! epoch is only believed if every sentinel reports one, since sentinels that were created anew
//! begin at zero.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A host and a port, as they are announced.
pub(super) type Address = (String, u16);

/// What one sentinel answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SentinelReply {
    /// The id of the sentinel.
    pub(super) id: String,
    /// The address of the master, and the configuration epoch.
    pub(super) master: Master,
    /// The ids and addresses of the other sentinels that it knows.
    pub(super) others: Vec<(String, Address)>,
}

/// A master, and the configuration epoch in which it became that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Master {
    pub(super) epoch: u64,
    pub(super) address: Address,
}

/// For how long an answer counts.
pub(super) const FRESH: Duration = Duration::from_secs(5);

/// The latest answers. Times are of the local clock, when the question was sent.
pub(super) struct View {
    /// How many sentinels the URL names.
    hosts: usize,
    answers: BTreeMap<String, (Duration, SentinelReply)>,
    master: Option<Master>,
}

impl View {
    pub(super) fn new(hosts: usize) -> Self {
        Self {
            hosts,
            answers: BTreeMap::new(),
            master: None,
        }
    }

    /// Notes an answer to a question that was sent at `sent`. Returns whether there is another
    /// master now.
    pub(super) fn note(&mut self, sent: Duration, answer: SentinelReply) -> bool {
        self.answers.insert(answer.id.clone(), (sent, answer));
        let since = sent.saturating_sub(FRESH);
        self.answers.retain(|_, (at, _)| since <= *at);
        self.decide(since)
    }

    /// The master, if a majority has answered questions sent since then.
    pub(super) fn master_since(&self, since: Duration) -> Option<&Master> {
        self.master.as_ref().filter(|_| self.is_heard_since(since))
    }

    /// Whether a master was ever known.
    pub(super) fn has_master(&self) -> bool {
        self.master.is_some()
    }

    /// Whether a majority has answered questions sent since then.
    pub(super) fn is_heard_since(&self, since: Duration) -> bool {
        self.known() < 2 * self.heard_since(since)
    }

    /// Until when a majority counts as heard.
    pub(super) fn heard_until(&self) -> Duration {
        let mut times: Vec<Duration> = self.answers.values().map(|(at, _)| *at).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        let majority = times.get(self.known() / 2);
        majority.map_or(Duration::ZERO, |at| *at + FRESH)
    }

    /// How many sentinels have answered questions sent since then.
    pub(super) fn heard_since(&self, since: Duration) -> usize {
        self.answers.values().filter(|(at, _)| since <= *at).count()
    }

    /// How many sentinels there are: those that answered, those that they name, and at least as
    /// many as the URL names.
    pub(super) fn known(&self) -> usize {
        let answers = self.answers.values().map(|(_, answer)| answer);
        let ids: BTreeSet<&str> = answers
            .flat_map(|answer| {
                let others = answer.others.iter().map(|(id, _)| id.as_str());
                others.chain([answer.id.as_str()])
            })
            .collect();
        ids.len().max(self.hosts)
    }

    /// The addresses of the sentinels that the answers name.
    pub(super) fn named(&self) -> BTreeSet<Address> {
        let answers = self.answers.values();
        let others = answers.flat_map(|(_, answer)| &answer.others);
        others.map(|(_, address)| address.clone()).collect()
    }

    fn decide(&mut self, since: Duration) -> bool {
        let heard: Vec<&Master> = self.answers.values().map(|(_, a)| &a.master).collect();
        if !self.is_heard_since(since) {
            return false;
        }
        let votes = |master: &Master| heard.iter().filter(|other| **other == master).count();
        let best = heard
            .iter()
            .max_by_key(|master| (master.epoch, votes(master)));
        let Some(best) = best.map(|best| (*best).clone()) else {
            return false;
        };
        let is_believed = match &self.master {
            None => true,
            Some(master) if master.epoch < best.epoch => true,
            // Two addresses in one epoch: while a sentinel takes the new one over.
            Some(master) if master.epoch == best.epoch => self.known() < 2 * votes(&best),
            Some(_) => self.known() <= heard.len(),
        };
        if !is_believed {
            return false;
        }
        let before = self.master.replace(best.clone());
        before.is_some_and(|before| before.address != best.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 3] = ["a", "b", "c"];

    fn address(host: &str) -> Address {
        (host.to_owned(), 6_379)
    }

    fn answer(id: &str, epoch: u64, host: &str) -> SentinelReply {
        let others = IDS.iter().filter(|other| **other != id);
        SentinelReply {
            id: id.to_owned(),
            master: Master {
                epoch,
                address: address(host),
            },
            others: others.map(|id| ((*id).to_owned(), address(id))).collect(),
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn view(answers: &[(&str, u64, &str)]) -> View {
        let mut view = View::new(1);
        for (id, epoch, host) in answers {
            view.note(seconds(100), answer(id, *epoch, host));
        }
        view
    }

    fn host(view: &View, since: u64) -> Option<&str> {
        let master = view.master_since(seconds(since));
        master.map(|master| master.address.0.as_str())
    }

    #[test]
    fn majority_of_the_known_has_to_answer() {
        assert_eq!(host(&view(&[("a", 1, "old")]), 100), None);
        let two = view(&[("a", 1, "old"), ("b", 1, "old")]);
        assert_eq!(host(&two, 100), Some("old"));
        assert_eq!(host(&two, 101), None, "answers from before the question");
        assert_eq!(two.heard_until(), seconds(100) + FRESH);
        let mut lone = View::new(3);
        lone.note(
            seconds(1),
            SentinelReply {
                others: Vec::new(),
                ..answer("a", 1, "old")
            },
        );
        assert_eq!(lone.known(), 3, "the URL names three");
        assert!(!lone.is_heard_since(seconds(1)));
    }

    #[test]
    fn highest_epoch_wins_whoever_reports_it() {
        for ids in [["a", "b", "c"], ["c", "a", "b"], ["b", "c", "a"]] {
            let [first, second, third] = ids;
            let view = view(&[(first, 1, "old"), (second, 2, "new"), (third, 1, "old")]);
            assert_eq!(host(&view, 100), Some("new"));
        }
    }

    #[test]
    fn lower_epoch_counts_only_if_all_report_one() {
        let mut view = view(&[("a", 7, "new"), ("b", 7, "new")]);
        for (id, is_switch) in [("a", false), ("b", false), ("c", true)] {
            assert_eq!(view.note(seconds(104), answer(id, 0, "other")), is_switch);
        }
        assert_eq!(host(&view, 104), Some("other"));
    }

    #[test]
    fn old_address_in_the_new_epoch_is_outvoted() {
        let mut view = view(&[("a", 1, "old"), ("b", 2, "old")]);
        assert_eq!(host(&view, 100), Some("old"));
        assert!(!view.note(seconds(101), answer("a", 2, "new")));
        assert!(view.note(seconds(101), answer("c", 2, "new")));
        assert_eq!(host(&view, 100), Some("new"));
    }

    #[test]
    fn same_master_in_new_epoch_is_no_switch() {
        let mut view = view(&[("a", 1, "old"), ("b", 1, "old")]);
        assert!(!view.note(seconds(101), answer("a", 2, "old")));
        assert!(view.note(seconds(102), answer("b", 3, "new")));
    }

    #[test]
    fn silent_sentinels_stay_known_while_named() {
        let mut view = view(&[("a", 1, "old"), ("b", 1, "old"), ("c", 1, "old")]);
        view.note(seconds(110), answer("a", 1, "old"));
        assert_eq!((view.known(), view.heard_since(seconds(105))), (3, 1));
        assert!(!view.is_heard_since(seconds(105)));
        assert_eq!(view.heard_until(), Duration::ZERO);
        assert_eq!(view.named(), ["b", "c"].map(address).into());
    }
}
