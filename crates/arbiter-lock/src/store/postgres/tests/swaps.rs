//! Two clients that change the same names: a swap writes the rows that it has read, or nothing of a
//! name.

use std::time::{Duration, Instant};

use arbiter_lock_core::{Acquired, Contender, Limit, Mode, Reply, Request, Resource, Table};

use super::super::queued_request::Again;
use super::super::sql::{Windows, quoted};
use super::rig::{Client, Rig, TINY, Trip, notified, reply};
use super::walk::{NAMES, UNHEARD, Walk};

fn contender(id: &str, mode: Mode) -> Contender {
    Contender {
        id: id.into(),
        mode,
        lease_ms: 30_000,
        channel: "arbiter.poll:1".into(),
        label: "".into(),
    }
}

fn acquire(id: &str, mode: Mode) -> Request {
    Request::Acquire {
        contender: contender(id, mode).into(),
        ticket: None,
    }
}

fn end(id: &str) -> Request {
    Request::End {
        contender: contender(id, Mode::Exclusive).into(),
        tombstone: false,
    }
}

const SHARED: Mode = Mode::Shared {
    weight: std::num::NonZeroU32::MIN,
    limit: Limit::Unlimited,
};

/// Returns the statement that guards a hold.
fn guarding(rig: &Rig, name: &str, fence: u64) -> String {
    let schema = quoted(&rig.store.url.schema);
    format!("SELECT ({schema}.guard('{name}', {fence}) IS NULL)::text")
}

/// Applies requests in memory, one by one.
fn in_memory(rig: &Rig, requests: &[Request]) -> Resource<Table> {
    let mut memory = Resource::default();
    for request in requests {
        let _ = request.apply(&mut memory, rig.now(), |_| true);
    }
    memory
}

#[tokio::test]
async fn swap_at_old_revision_is_refused() {
    let rig = Rig::new(&Windows::STANDARD).await;
    // The name is new to both, then to neither.
    for (name, ids) in [("n", ["a", "b"]), ("n", ["c", "d"])] {
        let requests = ids.map(|id| acquire(id, Mode::Exclusive));
        let (mut first, first_reply) = rig.queue(name, &requests[0]);
        let (mut second, mut second_reply) = rig.queue(name, &requests[1]);
        let first = rig.begin(&rig.client, &mut first, true).await;
        let second = rig.begin(&rig.other, &mut second, true).await;
        let (again, written, _) = rig.finish(&rig.client, first).await;
        assert!(again.is_empty() && written.len() == 1);
        let _ = reply(first_reply);
        let (again, written, _) = rig.finish(&rig.other, second).await;
        assert!(written.is_empty());
        assert!(matches!(again[..], [(Again::Changed, _)]));
        assert!(second_reply.try_recv().is_err(), "it was answered");
        let (_, queued) = again.into_iter().next().unwrap();
        queued.stage.take_back();
        let trip = rig.begin(&rig.other, &mut [queued].into(), true).await;
        let (again, written, _) = rig.finish(&rig.other, trip).await;
        assert!(again.is_empty() && written.len() == 1);
        let reply = reply(second_reply).reply;
        assert!(matches!(reply, Reply::Acquired(Acquired::Queued { .. })));
    }
    let requests = ["a", "b", "c", "d"].map(|id| acquire(id, Mode::Exclusive));
    rig.compare("n", &in_memory(&rig, &requests), "").await;
}

#[tokio::test]
async fn conflict_spoils_no_other_name() {
    let mut rig = Rig::new(&Windows::STANDARD).await;
    let taken = acquire("x", SHARED);
    for name in ["b", "c"] {
        let _ = rig.send(&[(name, taken.clone())], true).await;
    }
    // All kinds of rows change, of a new name and of two others.
    let requests = [
        acquire("y", Mode::Exclusive),
        acquire("z", SHARED),
        Request::End {
            contender: contender("w", SHARED).into(),
            tombstone: true,
        },
        end("x"),
    ];
    let mut queue = std::collections::VecDeque::new();
    let mut replies = Vec::new();
    for name in ["a", "b", "c"] {
        for request in &requests {
            let (queued, replied) = rig.queue(name, request);
            queue.extend(queued);
            replies.push(replied);
        }
    }
    let trip = rig.begin(&rig.client, &mut queue, true).await;
    let other = acquire("v", Mode::Exclusive);
    let (mut meanwhile, _replied) = rig.queue("b", &other);
    let there = rig.begin(&rig.other, &mut meanwhile, true).await;
    assert_eq!(rig.finish(&rig.other, there).await.1.len(), 1);
    let (again, mut written, _) = rig.finish(&rig.client, trip).await;
    written.sort();
    assert_eq!(written, ["arbiter:a", "arbiter:c"]);
    assert_eq!(again.len(), requests.len());
    assert!(
        again
            .iter()
            .all(|(why, queued)| *why == Again::Changed && &*queued.key == "arbiter:b")
    );
    let after = |before: &[Request]| [before, &requests].concat();
    let memory = in_memory(&rig, &after(&[]));
    rig.compare("a", &memory, "a").await;
    let memory = in_memory(&rig, &[taken.clone(), other]);
    rig.compare("b", &memory, "b").await;
    let memory = in_memory(&rig, &after(&[taken]));
    rig.compare("c", &memory, "c").await;
}

#[tokio::test]
async fn failing_swap_writes_nothing() {
    let rig = Rig::new(&Windows::STANDARD).await;
    let names = ["a", "b"].map(|name| rig.queue(name, &acquire("x", SHARED)));
    let [(mut queue, _x), (other, _y)] = names;
    queue.extend(other);
    let mut trip = rig.begin(&rig.client, &mut queue, true).await;
    // Its last part fails.
    trip.changes = trip.changes.replacen(
        '{',
        "{\"grants\":[{\"name\":\"arbiter:b\",\"channel\":\"\",\"payload\":\"\"}],",
        1,
    );
    let swapped = rig
        .client
        .session
        .swap(&rig.store, &trip.changes, true, false);
    assert!(swapped.await.is_err());
    for name in ["a", "b"] {
        let there = rig.everything(name).await;
        assert_eq!((there.revision, there.shared.len()), (None, 0));
    }
}

#[tokio::test]
async fn guarded_hold_is_not_replaced() {
    let mut rig = Rig::new(&Windows::STANDARD).await;
    let mut brief = contender("x", SHARED);
    brief.lease_ms = 100;
    let acquire = Request::Acquire {
        contender: brief.into(),
        ticket: None,
    };
    let (replies, _) = rig.send(&[("n", acquire.clone())], true).await;
    let Reply::Acquired(Acquired::Granted { fence, .. }) = replies[0].reply else {
        panic!("{replies:?}");
    };
    let guard = Client::open(&rig.store).await;
    let guard = &guard.session;
    guard.ask("BEGIN").await.unwrap();
    guard.ask(&guarding(&rig, "n", fence)).await.unwrap();
    // The hold expires, and its owner acquires again: another hold takes its place.
    rig.advance(1_000_000).await;
    for (is_free, request) in [(false, end("x")), (false, acquire.clone()), (true, acquire)] {
        if is_free {
            guard.ask("ROLLBACK").await.unwrap();
        }
        let (mut queue, _replied) = rig.queue("n", &request);
        let trip = rig.begin(&rig.client, &mut queue, true).await;
        let (again, written, _) = rig.finish(&rig.client, trip).await;
        assert_eq!(written.len(), usize::from(is_free), "{request:?}");
        let is_guarded = matches!(again[..], [(Again::Guarded, _)]);
        assert_eq!(is_guarded, !is_free, "{request:?}");
    }
}

#[tokio::test]
async fn forgotten_name_leaves_no_rows() {
    let mut rig = Rig::new(&Windows::STANDARD).await;
    let guard = Client::open(&rig.store).await;
    for (name, mode) in [
        ("a", Mode::Exclusive),
        ("s", SHARED),
        ("g", Mode::Exclusive),
    ] {
        let requests = ["x", "y"].map(|id| (name, acquire(id, mode)));
        let _ = rig.send(&requests, true).await;
    }
    let schema = quoted(&rig.store.url.schema);
    let hold = rig.everything("g").await.root.exclusive.unwrap();
    let guarding = guarding(&rig, "g", hold.fence.unwrap());
    guard.session.ask("BEGIN").await.unwrap();
    guard.session.ask(&guarding).await.unwrap();
    rig.advance(100_000_000).await;
    for left in [1, 0] {
        // A transaction that guards a hold keeps its name, and delays nothing.
        rig.sweep().await;
        for table in ["names", "waiters", "shared", "notes"] {
            let count =
                format!("SELECT count(*)::text FROM {schema}.{table} WHERE name <> 'arbiter:g'");
            let others = rig.sql(&count).await;
            assert_eq!(others[0].as_deref(), Some("0"), "{table}");
        }
        let count = rig
            .sql(&format!("SELECT count(*)::text FROM {schema}.names"))
            .await;
        assert_eq!(count[0], Some(left.to_string()));
        guard.session.ask("ROLLBACK").await.unwrap();
    }
}

impl Walk {
    /// Lets two clients load, and then swap; the second one again, if the first has changed the
    /// name.
    async fn race(&mut self) -> bool {
        self.pass().await;
        let names = [NAMES[0], NAMES[self.requests.dice.roll(2) as usize]];
        let requests = [self.requests.request(), self.requests.request()];
        let (mut first, first_reply) = self.rig.queue(names[0], &requests[0]);
        let (mut second, second_reply) = self.rig.queue(names[1], &requests[1]);
        let rig = &self.rig;
        let first = rig.begin(&rig.client, &mut first, true).await;
        let second = rig.begin(&rig.other, &mut second, true).await;
        let mut before = self.memory[names[1]].clone();
        let (is_written, first_answer) = self.settle(first, names[0], &requests[0], false).await;
        let first_reply = reply(first_reply);
        self.check(&requests[0], &first_reply, &first_answer);
        let collides = is_written && names[0] == names[1];
        let is_refused = collides && !second.changes.is_empty();
        let mut second = second;
        if collides && !is_refused {
            let (again, ..) = self.rig.finish(&self.rig.other, second).await;
            let Some((why, mut queued)) = again.into_iter().next() else {
                // It wrote nothing, and so came before the other.
                let reach = |channel: &str| channel != UNHEARD;
                let expected = requests[1].apply(&mut before, self.rig.now(), reach);
                self.check(&requests[1], &reply(second_reply), &expected);
                return false;
            };
            assert_eq!(why, Again::All);
            queued.needs_all = true;
            queued.stage.take_back();
            second = self
                .rig
                .begin(&self.rig.other, &mut [queued].into(), true)
                .await;
        }
        let (_, answer) = self
            .settle(second, names[1], &requests[1], is_refused)
            .await;
        self.check(&requests[1], &reply(second_reply), &answer);
        is_refused
    }

    /// Finishes a trip, and repeats it as often as it needs to be.
    async fn settle(
        &mut self,
        trip: Trip,
        name: &str,
        request: &Request,
        is_refused: bool,
    ) -> (bool, arbiter_lock_core::Answer<Reply>) {
        let (mut trip, mut is_refused) = (trip, is_refused);
        let expected = self.expected(name, request);
        loop {
            let (again, written, grants) = self.rig.finish(&self.rig.other, trip).await;
            let Some((why, mut queued)) = again.into_iter().next() else {
                self.check_grants(&grants, &notified(&expected.granted));
                assert!(!is_refused, "{request:?}");
                return (!written.is_empty(), expected);
            };
            match why {
                Again::All => queued.needs_all = true,
                Again::Changed => assert!(is_refused, "{request:?}"),
                Again::Guarded => panic!("{request:?}"),
            }
            is_refused = false;
            queued.stage.take_back();
            trip = self
                .rig
                .begin(&self.rig.client, &mut [queued].into(), true)
                .await;
        }
    }
}

#[tokio::test]
async fn interleaved_clients_match_core() {
    let mut walk = Walk::new(&TINY, 12).await;
    let end = Instant::now() + testkit::soak_time(Duration::from_secs(4));
    let mut refused = 0_u64;
    while testkit::goes_on(end, || 20 < refused) {
        refused += u64::from(walk.race().await);
    }
    walk.compare().await;
    println!("{} steps, {refused} of them refused at first", walk.steps);
    assert!(20 < refused);
}
