//! The answers of the sentinels of a group, and the master that follows from them.
//!
//! A majority of the known sentinels must answer: a single sentinel may be cut off together with a
//! replaced master. The highest configuration epoch of any answer wins. A lower epoch is accepted
//! only if every sentinel reports one, since recreated sentinels begin at zero.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::target::Address;

/// The answer of one sentinel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SentinelReply {
    /// The id of the sentinel.
    pub(super) id: String,
    /// The address of the master, and the configuration epoch.
    pub(super) master: Master,
    /// The time without an answer after which it considers the master dead, if it reports it.
    pub(super) down_after: Option<Duration>,
    /// The addresses of the replicas that it knows, reachable or not, if it reports them.
    pub(super) replicas: Option<BTreeSet<Address>>,
    /// The ids and addresses of the other sentinels that it knows.
    pub(super) others: Vec<(String, Address)>,
}

/// A master, and the configuration epoch in which it was promoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Master {
    pub(super) epoch: u64,
    pub(super) address: Address,
}

/// How long an answer counts.
pub(super) const FRESH: Duration = Duration::from_secs(5);

/// The replacement of a master by another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Switch {
    pub(super) from: Address,
    pub(super) to: Address,
}

/// The latest answers. A time is that of the query, on the local clock.
pub(super) struct View {
    /// How many sentinels the URL lists.
    listed: usize,
    /// How many sentinels there were at the last majority. A recreated sentinel names no others,
    /// and is not a majority by itself.
    settled: usize,
    /// The latest answer from each queried address.
    answers: BTreeMap<Address, (Duration, SentinelReply)>,
    master: Option<Master>,
    /// The replicas in the answers of the last majority and since.
    replicas: Option<BTreeSet<Address>>,
}

impl View {
    pub(super) fn new(listed: usize) -> Self {
        Self {
            listed,
            settled: 0,
            answers: BTreeMap::new(),
            master: None,
            replicas: None,
        }
    }

    /// Sets how many sentinels the URL lists.
    pub(super) fn set_listed(&mut self, listed: usize) {
        self.listed = listed;
    }

    /// Records an answer from an address, to a query sent at `sent`. Returns the switch if there is
    /// another master now.
    pub(super) fn note(
        &mut self,
        from: &Address,
        sent: Duration,
        answer: SentinelReply,
    ) -> Option<Switch> {
        self.add_replicas(answer.replicas.clone());
        self.answers.insert(from.clone(), (sent, answer));
        let since = sent.saturating_sub(FRESH);
        self.answers.retain(|_, (at, _)| since <= *at);
        if !self.is_heard_since(since) {
            return None;
        }
        let latest = self.latest().into_values();
        let replicas: Vec<_> = latest.map(|(_, answer)| answer.replicas.clone()).collect();
        self.replicas = None;
        replicas
            .into_iter()
            .for_each(|of_one| self.add_replicas(of_one));
        self.settled = self.ids().len();
        self.decide()
    }

    /// Returns the master, if a majority has answered queries sent since then.
    pub(super) fn master_since(&self, since: Duration) -> Option<&Master> {
        self.master.as_ref().filter(|_| self.is_heard_since(since))
    }

    /// Returns whether a master was ever known.
    pub(super) fn has_master(&self) -> bool {
        self.master.is_some()
    }

    /// Returns the replicas that the sentinels know, if they report them.
    pub(super) fn replicas(&self) -> Option<&BTreeSet<Address>> {
        self.replicas.as_ref()
    }

    fn add_replicas(&mut self, of_one: Option<BTreeSet<Address>>) {
        if let Some(of_one) = of_one {
            self.replicas.get_or_insert_default().extend(of_one);
        }
    }

    /// Returns whether a majority has answered queries sent since then.
    pub(super) fn is_heard_since(&self, since: Duration) -> bool {
        self.known() < 2 * self.heard_since(since)
    }

    /// Returns until when the answers of a majority count.
    pub(super) fn heard_until(&self) -> Duration {
        let mut times: Vec<Duration> = self.latest().into_values().map(|(at, _)| at).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        let majority = times.get(self.known() / 2);
        majority.map_or(Duration::ZERO, |at| *at + FRESH)
    }

    /// Returns how many sentinels have answered queries sent since then.
    pub(super) fn heard_since(&self, since: Duration) -> usize {
        self.ids_heard_since(since).len()
    }

    /// Returns the longest time after which a sentinel considers the master dead.
    pub(super) fn down_after(&self) -> Option<Duration> {
        let answers = self.answers.values();
        answers.filter_map(|(_, answer)| answer.down_after).max()
    }

    /// Returns the number of sentinels: all that answered or are named in answers.
    ///
    /// It is at least the number in the URL, and at least the number at the last majority.
    pub(super) fn known(&self) -> usize {
        self.ids().len().max(self.listed).max(self.settled)
    }

    /// Returns the ids of all sentinels that answered or are named in answers.
    fn ids(&self) -> BTreeSet<&str> {
        let answers = self.answers.values().map(|(_, answer)| answer);
        let ids = answers.flat_map(|answer| {
            let others = answer.others.iter().map(|(id, _)| id.as_str());
            others.chain([answer.id.as_str()])
        });
        ids.collect()
    }

    /// Returns the latest answer of each sentinel, by its id: it may answer at several addresses.
    fn latest(&self) -> BTreeMap<&str, (Duration, &SentinelReply)> {
        let mut latest = BTreeMap::new();
        for (at, answer) in self.answers.values() {
            let known = latest.entry(answer.id.as_str()).or_insert((*at, answer));
            if known.0 < *at {
                *known = (*at, answer);
            }
        }
        latest
    }

    /// Returns the ids of the sentinels that have answered queries sent since then.
    pub(super) fn ids_heard_since(&self, since: Duration) -> BTreeSet<&str> {
        let latest = self.latest().into_iter();
        let heard = latest.filter(|(_, (at, _))| since <= *at);
        heard.map(|(id, _)| id).collect()
    }

    /// Returns the id of the sentinel at each queried address.
    pub(super) fn ids_by_address(&self) -> BTreeMap<Address, String> {
        let answers = self.answers.iter();
        let ids = answers.map(|(address, (_, answer))| (address.clone(), answer.id.clone()));
        ids.collect()
    }

    /// Returns the id of the sentinel at each address that is named in answers.
    pub(super) fn named_ids(&self) -> BTreeMap<Address, String> {
        let others = self.answers.values().flat_map(|(_, answer)| &answer.others);
        let ids = others.map(|(id, address)| (address.clone(), id.clone()));
        ids.collect()
    }

    /// Returns the addresses of the sentinels in the answers.
    pub(super) fn named(&self) -> BTreeSet<Address> {
        self.named_ids().into_keys().collect()
    }

    /// Decides which master follows from the answers of a majority.
    fn decide(&mut self) -> Option<Switch> {
        let latest = self.latest();
        let heard: Vec<&Master> = latest.values().map(|(_, answer)| &answer.master).collect();
        let votes = |master: &Master| heard.iter().filter(|other| **other == master).count();
        let best = heard
            .iter()
            .max_by_key(|master| (master.epoch, votes(master)));
        let best = (*best?).clone();
        let is_believed = match &self.master {
            None => true,
            Some(master) if master.epoch < best.epoch => true,
            // Two addresses in one epoch: a sentinel is about to adopt the new one.
            Some(master) if master.epoch == best.epoch => self.known() < 2 * votes(&best),
            Some(_) => self.known() <= heard.len(),
        };
        if !is_believed {
            return None;
        }
        let to = best.address.clone();
        let from = self.master.replace(best)?.address;
        (from != to).then_some(Switch { from, to })
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
            down_after: None,
            replicas: Some([address(&format!("replica {epoch}"))].into()),
            others: others.map(|id| ((*id).to_owned(), address(id))).collect(),
        }
    }

    /// Returns the answer of a sentinel that knows no other.
    fn alone(id: &str, epoch: u64, host: &str) -> SentinelReply {
        SentinelReply {
            others: Vec::new(),
            ..answer(id, epoch, host)
        }
    }

    fn note(view: &mut View, at: u64, (id, epoch, host): (&str, u64, &str)) -> bool {
        let switch = view.note(&address(id), seconds(at), answer(id, epoch, host));
        switch.is_some()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn view(answers: &[(&str, u64, &str)]) -> View {
        let mut view = View::new(1);
        for answer in answers {
            note(&mut view, 100, *answer);
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
        assert_eq!(host(&two, 101), None, "answers from before the query");
        assert_eq!(two.heard_until(), seconds(100) + FRESH);
        let mut lone = View::new(3);
        lone.note(&address("a"), seconds(1), alone("a", 1, "old"));
        assert_eq!(lone.known(), 3, "the URL lists three");
        assert!(!lone.is_heard_since(seconds(1)));
    }

    #[test]
    fn highest_epoch_wins_from_any_sentinel() {
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
            assert_eq!(note(&mut view, 104, (id, 0, "other")), is_switch);
        }
        assert_eq!(host(&view, 104), Some("other"));
    }

    #[test]
    fn old_address_in_the_new_epoch_is_outvoted() {
        let mut view = view(&[("a", 1, "old"), ("b", 2, "old")]);
        assert_eq!(host(&view, 100), Some("old"));
        assert!(!note(&mut view, 101, ("a", 2, "new")));
        assert!(note(&mut view, 101, ("c", 2, "new")));
        assert_eq!(host(&view, 100), Some("new"));
    }

    #[test]
    fn same_master_in_new_epoch_is_no_switch() {
        let mut view = view(&[("a", 1, "old"), ("b", 1, "old")]);
        assert!(!note(&mut view, 101, ("a", 2, "old")));
        assert!(note(&mut view, 102, ("b", 3, "new")));
    }

    #[test]
    fn silent_sentinels_stay_known_while_named() {
        let mut view = view(&[("a", 1, "old"), ("b", 1, "old"), ("c", 1, "old")]);
        note(&mut view, 110, ("a", 1, "old"));
        assert_eq!((view.known(), view.heard_since(seconds(105))), (3, 1));
        assert!(!view.is_heard_since(seconds(105)));
        assert_eq!(view.heard_until(), Duration::ZERO);
        assert_eq!(view.named(), ["b", "c"].map(address).into());
    }

    #[test]
    fn recreated_sentinel_is_no_majority_of_its_own() {
        let mut view = view(&[("a", 4, "new"), ("b", 4, "new"), ("c", 4, "new")]);
        let recreated = alone("d", 0, "old");
        // The others cannot be reached for longer than answers count.
        assert_eq!(view.note(&address("a"), seconds(110), recreated), None);
        assert!(!view.is_heard_since(seconds(105)));
        assert_eq!((view.known(), host(&view, 105)), (3, None));
        for id in ["b", "c"] {
            assert!(!note(&mut view, 111, (id, 4, "new")));
        }
        assert_eq!(host(&view, 110), Some("new"));
    }

    #[test]
    fn group_may_shrink_while_a_majority_answers() {
        let mut view = view(&[("a", 1, "old"), ("b", 1, "old")]);
        for id in ["a", "b"] {
            view.note(&address(id), seconds(101), alone(id, 1, "old"));
        }
        assert_eq!(view.known(), 2);
    }

    #[test]
    fn sentinel_with_several_addresses_counts_once() {
        let mut view = View::new(1);
        for (from, at) in [("v4", 100), ("v6", 101), ("v4", 102)] {
            let answer = answer("a", 1, "old");
            assert_eq!(view.note(&address(from), seconds(at), answer), None);
        }
        assert_eq!((view.heard_since(seconds(100)), view.known()), (1, 3));
        assert_eq!(host(&view, 100), None);
    }

    #[test]
    fn replicas_of_the_last_majority_count() {
        let known = |view: &View| {
            let replicas = view.replicas().unwrap().iter();
            let numbers = replicas.map(|(host, _)| host.trim_start_matches("replica ").parse());
            numbers.map(Result::unwrap).collect::<Vec<u64>>()
        };
        assert_eq!(View::new(1).replicas(), None);
        let mut view = view(&[("a", 5, "old"), ("b", 4, "old")]);
        assert_eq!(known(&view), [4, 5]);
        note(&mut view, 101, ("a", 3, "old"));
        assert_eq!(known(&view), [3, 4], "b still reports four");
        // A minority adds replicas, and removes none.
        for (epoch, replicas) in [(1, &[1, 3, 4][..]), (9, &[1, 3, 4, 9])] {
            note(&mut view, 200, ("c", epoch, "old"));
            assert_eq!(known(&view), replicas);
        }
        let refused = SentinelReply {
            down_after: None,
            replicas: None,
            ..answer("c", 9, "old")
        };
        view.note(&address("c"), seconds(200), refused);
        assert_eq!(known(&view), [1, 3, 4, 9]);
    }

    #[test]
    fn switch_after_a_silence_names_both_masters() {
        let mut view = view(&[("a", 1, "old"), ("b", 1, "old")]);
        assert!(!note(&mut view, 200, ("a", 2, "new")));
        let switch = view.note(&address("b"), seconds(201), answer("b", 2, "new"));
        let (from, to) = (address("old"), address("new"));
        assert_eq!(switch, Some(Switch { from, to }));
    }

    #[test]
    fn answers_are_kept_by_address() {
        let mut view = View::new(1);
        for n in 0..1_000 {
            view.note(&address("a"), seconds(1), alone(&n.to_string(), n, "old"));
        }
        assert_eq!(view.answers.len(), 1);
    }
}
