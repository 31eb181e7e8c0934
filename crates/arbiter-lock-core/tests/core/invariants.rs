//! Random steps, checked against simple invariants.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use arbiter_lock_core::{
    Acquired, Contender, Ended, Grant, Limit, Mode, Moment, Renewed, Resource, SharingView, Status,
    Tried,
};
use proptest::prelude::*;

/// The number of requests that wait. As many more only try.
const WAITERS: usize = 5;
const IDS: usize = 2 * WAITERS;

#[derive(Clone, Debug)]
enum Step {
    Acquire(usize, bool),
    Try(usize),
    Renew(usize),
    End(usize, bool),
    Break(bool),
    Pass(u64),
    Back(u64),
    Seize,
    Vanish,
    LoseQueue,
    LoseFence,
    Resize(u32),
    Downgrade(usize),
    Transfer(usize, usize),
}

fn steps(may_lose_fences: bool) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..WAITERS, any::<bool>()).prop_map(|(id, with)| Step::Acquire(id, with)),
        3 => (WAITERS..IDS).prop_map(Step::Try),
        4 => (0..IDS).prop_map(Step::Renew),
        7 => (0..IDS, any::<bool>()).prop_map(|(id, tombstone)| Step::End(id, tombstone)),
        1 => any::<bool>().prop_map(Step::Break),
        8 => prop_oneof![0..2_000_u64, 0..3_000_000_u64, Just(61_000_000)].prop_map(Step::Pass),
        1 => (0..2_000_000_u64).prop_map(if may_lose_fences { Step::Pass } else { Step::Back }),
        1 => Just(Step::Seize),
        1 => Just(Step::Vanish),
        1 => (1..5_u32).prop_map(Step::Resize),
        1 => (0..IDS).prop_map(Step::Downgrade),
        1 => (0..IDS, 0..IDS).prop_map(|(from, to)| Step::Transfer(from, to)),
        1 => Just(Step::LoseQueue),
        1 => Just(if may_lose_fences { Step::LoseFence } else { Step::Vanish }),
    ];
    prop::collection::vec(step, 1..120)
}

/// The state that an outside observer knows.
struct Observer {
    resource: Resource,
    now: u64,
    /// The time that has passed, without the clock's backward steps.
    passed: u64,
    requests: Vec<Contender>,
    tickets: Vec<Option<u64>>,
    fences: Vec<u64>,
    /// Requests that were ended with a tombstone, and when.
    ended: Vec<Option<u64>>,
    was_buried: [bool; IDS],
    last_fence: u64,
}

impl Observer {
    fn new(modes: &[Mode]) -> Self {
        let request = |n: usize| Contender {
            id: format!("r{n}").into(),
            mode: modes[n % modes.len()],
            lease_ms: [300, 1_500, 5_000][n % 3],
            channel: format!("c{n}").into(),
            label: "".into(),
        };
        Self {
            resource: Resource::default(),
            now: 1_000_000_000_000,
            passed: 0,
            requests: (0..IDS).map(request).collect(),
            tickets: vec![None; IDS],
            fences: vec![0; IDS],
            ended: vec![None; IDS],
            was_buried: [false; IDS],
            last_fence: 0,
        }
    }

    fn at(&self) -> Moment {
        Moment::from_micros(self.now)
    }

    fn granted(&mut self, id: usize, fence: u64, is_new: bool) {
        assert!(self.ended[id].is_none(), "a dead request holds");
        if is_new {
            assert!(self.last_fence < fence, "fences rise");
            self.last_fence = fence;
        }
        self.fences[id] = fence;
    }

    /// Records the grants of a step, to other requests and to the caller.
    fn pushed(&mut self, granted: &[Grant], caller: Option<(usize, u64)>) {
        let before = |grant: &&Grant| caller.is_none_or(|(_, fence)| grant.fence < fence);
        let (earlier, later): (Vec<_>, Vec<_>) = granted.iter().partition(before);
        self.others(&earlier);
        if let Some((id, fence)) = caller {
            self.granted(id, fence, self.fences[id] != fence);
        }
        self.others(&later);
    }

    fn others(&mut self, granted: &[&Grant]) {
        for grant in granted {
            let id = self
                .requests
                .iter()
                .position(|request| request.id == grant.request)
                .unwrap();
            self.granted(id, grant.fence, true);
        }
    }

    /// Applies a step. It never exceeds a limit, and never grants beside an exclusive hold.
    fn step(&mut self, step: &Step) {
        let weight = |status: &Status| {
            let held = |sharing: &SharingView| {
                let each = sharing
                    .holders
                    .iter()
                    .map(|holder| u64::from(holder.weight));
                let sum = each.sum::<u64>();
                assert_eq!(sum, sharing.weight, "the sum is that of those who hold");
                sum
            };
            status.sharing.as_ref().map_or(0, held)
        };
        let before = weight(&self.resource.inspect(self.at()));
        self.do_step(step);
        let after = self.resource.inspect(self.at());
        let limit = after.sharing.as_ref().and_then(|sharing| sharing.limit);
        let in_bounds = limit.is_none_or(|limit| weight(&after) <= limit.into());
        let is_time = matches!(step, Step::Pass(_) | Step::Back(_));
        assert!(
            in_bounds || is_time || weight(&after) <= before,
            "{after:?}"
        );
        let owner = after.holder.as_ref().map(|holder| &*holder.owner);
        assert_eq!(after.sharing.is_some(), owner == Some("shared"));
    }

    fn do_step(&mut self, step: &Step) {
        let at = self.at();
        match step {
            Step::Acquire(id, with_ticket) => {
                let request = self.requests[*id].clone();
                let ticket = self.tickets[*id].filter(|_| *with_ticket);
                let answer = self.resource.acquire(at, &request, ticket, |_| true);
                let mine = match answer.reply {
                    Acquired::Granted { fence, .. } => Some((*id, fence)),
                    _ => None,
                };
                self.pushed(&answer.granted, mine);
                let hands_over = !matches!(answer.reply, Acquired::Refused(_));
                match answer.reply {
                    Acquired::Granted { .. } => {}
                    Acquired::Queued { ticket, .. } => self.tickets[*id] = Some(ticket),
                    Acquired::Ended => assert!(self.was_buried[*id]),
                    Acquired::Refused(_) => {}
                }
                self.no_live_waiter_remains(answer.again || !hands_over);
            }
            Step::Try(id) => {
                let request = self.requests[*id].clone();
                let answer = self.resource.try_acquire(at, &request, |_| true);
                let mine = match answer.reply {
                    Tried::Granted { fence, .. } => Some((*id, fence)),
                    _ => None,
                };
                self.pushed(&answer.granted, mine);
                let hands_over = !matches!(answer.reply, Tried::Refused(_));
                self.no_live_waiter_remains(answer.again || !hands_over);
            }
            Step::Renew(id) => {
                let held = self.resource.inspect(at).holder;
                let request = &self.requests[*id];
                let _ = self
                    .resource
                    .renew(at, &request.id, self.fences[*id], request.lease_ms);
                let after = self.resource.inspect(at).holder;
                assert_eq!(
                    held.map(|h| h.owner),
                    after.map(|h| h.owner),
                    "a renewal creates nothing"
                );
            }
            Step::End(id, tombstone) => {
                let request = self.requests[*id].id.clone();
                let answer = self.resource.end(at, &request, *tombstone, |_| true);
                let state = format!("{:?}", self.resource);
                let again = self
                    .resource
                    .clone()
                    .end(at, &request, *tombstone, |_| true);
                assert!(again.granted.is_empty() || answer.again);
                if *tombstone {
                    self.ended[*id] = Some(self.passed);
                    self.was_buried[*id] = true;
                }
                assert_ne!(again.reply, Ended::Released, "a release happens once");
                assert_eq!(state, format!("{:?}", self.resource));
                self.pushed(&answer.granted, None);
                self.no_live_waiter_remains(answer.again);
            }
            Step::Break(at_once) => {
                let fence = self
                    .resource
                    .inspect(at)
                    .holder
                    .and_then(|holder| holder.fence)
                    .unwrap_or(1);
                let answer = self.resource.break_hold(at, fence, *at_once, |_| true);
                self.pushed(&answer.granted, None);
            }
            Step::Pass(micros) => {
                self.now += micros;
                // It is kept for a minute and no longer, even if the clock jumps then.
                self.passed += micros;
                let now = self.passed;
                self.ended
                    .iter_mut()
                    .for_each(|at| *at = at.filter(|at| now <= *at + 60_000_000));
            }
            Step::Back(micros) => self.now -= micros,
            Step::Seize => self.resource.take_externally(at, "external", Some(700)),
            Step::Vanish => self.resource.delete_lock(at),
            Step::LoseQueue => {
                self.resource.lose_queue();
                self.ended = vec![None; IDS];
            }
            Step::LoseFence => self.resource.lose_last_fence(),
            Step::Resize(limit) => {
                let limit = NonZeroU32::new(*limit).unwrap();
                let answer = self.resource.resize(at, limit, |_| true);
                self.pushed(&answer.granted, None);
            }
            Step::Downgrade(id) => {
                let owner = self.requests[*id].id.clone();
                let fence = self.fences[*id];
                let answer = self.resource.downgrade(at, &owner, fence, 1_000, |_| true);
                self.pushed(&answer.granted, None);
            }
            Step::Transfer(from, to) => {
                let (owner, fence) = (&self.requests[*from].id, self.fences[*from]);
                let to_request = self.requests[*to].clone();
                let reply = self.resource.transfer(at, owner, fence, &to_request);
                if let Renewed::Renewed { .. } = reply {
                    self.granted(*to, fence, false);
                }
            }
        }
    }

    /// Asserts that a free resource has no live waiter after a step that hands off. A waiter on a
    /// free resource would be granted by its own poll, and was skipped.
    fn no_live_waiter_remains(&self, again: bool) {
        let status = self.resource.inspect(self.at());
        assert!(
            again || status.holder.is_some() || status.waiting == 0,
            "{status:?}"
        );
    }
}

fn exclusive() -> Vec<Mode> {
    vec![Mode::Exclusive]
}

fn mixed() -> Vec<Mode> {
    let shared = |weight| Mode::Shared {
        weight: NonZeroU32::new(weight).unwrap(),
        limit: NonZeroU32::new(3).map_or(Limit::Unlimited, Limit::Stated),
    };
    vec![shared(1), shared(2), Mode::Exclusive, shared(3)]
}

/// Returns the configuration; `PROPTEST_CASES` sets the number of cases. A low number finds few
/// bugs.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: cases.and_then(|cases| cases.parse().ok()).unwrap_or(1_500),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn exclusive_requests_keep_all_invariants(steps in steps(false)) {
        let mut observer = Observer::new(&exclusive());
        steps.iter().for_each(|step| observer.step(step));
    }

    #[test]
    fn lost_last_fence_is_harmless_while_clock_advances(steps in steps(true)) {
        let mut observer = Observer::new(&exclusive());
        for step in &steps {
            observer.step(step);
            observer.now += 1; // two grants within a microsecond need the last fence
        }
    }

    #[test]
    fn mixed_modes_keep_their_limits(steps in steps(false)) {
        let mut observer = Observer::new(&mixed());
        steps.iter().for_each(|step| observer.step(step));
    }

    #[test]
    fn first_come_is_first_served(ends in prop::collection::vec(0..5_u64, 10)) {
        let mut resource = Resource::default();
        let mut now = 5_000_000_000;
        let request = |n: usize| Contender {
            id: format!("{}", (n * 7) % 10).into(), // no order of names
            mode: Mode::Exclusive, lease_ms: 60_000, channel: "c".into(), label: "".into(),
        };
        for (n, pause) in ends.iter().enumerate() {
            let _ = resource.acquire(Moment::from_micros(now), &request(n), None, |_| true);
            now += pause * 1_000;
        }
        for n in 0..9 {
            let end = resource.end(Moment::from_micros(now), &request(n).id, false, |_| true);
            prop_assert_eq!(&end.granted[0].request, &request(n + 1).id);
        }
    }

    #[test]
    fn state_is_forgotten_a_minute_after_last_lease(steps in steps(false)) {
        let mut observer = Observer::new(&mixed());
        steps.iter().for_each(|step| observer.step(step));
        observer.now += 130_000_000;
        prop_assert!(observer.resource.is_forgotten(observer.at()));
        let ids: BTreeSet<_> = observer.requests.iter().map(|request| &request.id).collect();
        prop_assert_eq!(ids.len(), IDS);
    }
}
