//! The rules for shared holds: readers and writers, and the queue.

use arbiter_lock_core::{Contender, Downgraded, MAX_STEPS, Refusal, Renewed, Tried};

use crate::fixture::{Fixture, SECOND, ids, permits, reader, request};

#[test]
fn writer_waits_for_the_last_reader() {
    let mut fixture = Fixture::new();
    fixture.hold(&reader("r1"));
    fixture.hold(&reader("r2"));
    fixture.queue(&request("w", 30_000), None);
    assert_eq!(fixture.end("r1", false).granted, []);
    assert_eq!(ids(&fixture.end("r2", false).granted), ["w"]);
}

#[test]
fn reader_queues_behind_a_waiting_writer() {
    let mut fixture = Fixture::new();
    fixture.hold(&reader("r1"));
    fixture.queue(&request("w", 30_000), None);
    fixture.queue(&reader("r2"), None);
    fixture.queue(&reader("r3"), None);
    assert_eq!(ids(&fixture.end("r1", false).granted), ["w"]);
    assert_eq!(ids(&fixture.end("w", false).granted), ["r2", "r3"]);
}

#[test]
fn try_read_never_overtakes_a_waiting_writer() {
    let mut fixture = Fixture::new();
    fixture.hold(&reader("r1"));
    fixture.queue(&request("w", 30_000), None);
    let tried = fixture.try_acquire(&reader("r2")).reply;
    assert!(matches!(tried, Tried::Busy { waiting: 1, .. }), "{tried:?}");
    drop(fixture.end("w", false));
    let tried = fixture.try_acquire(&reader("r2")).reply;
    assert!(matches!(tried, Tried::Granted { .. }), "{tried:?}");
}

#[test]
fn leaving_writer_lets_readers_in_at_once() {
    let mut fixture = Fixture::new();
    fixture.hold(&reader("r1"));
    fixture.queue(&request("w", 30_000), None);
    fixture.queue(&reader("r2"), None);
    assert_eq!(ids(&fixture.end("w", false).granted), ["r2"]);
}

#[test]
fn every_reader_has_its_own_lease() {
    let mut fixture = Fixture::new();
    let short = Contender {
        lease_ms: 1_000,
        ..reader("short")
    };
    let short_fence = fixture.hold(&short);
    let fence = fixture.hold(&reader("long"));
    fixture.queue(&request("w", 30_000), None);
    fixture.pass(2 * SECOND);
    assert_eq!(fixture.holder().as_deref(), Some("shared"));
    let short = fixture
        .resource
        .renew(fixture.now(), "short", short_fence, 1_000);
    assert_eq!(short, Renewed::NotYours { taken: true });
    let renewed = fixture.resource.renew(fixture.now(), "long", fence, 30_000);
    assert!(matches!(renewed, Renewed::Renewed { .. }));
    assert_eq!(fixture.end("short", false).granted, []);
    assert_eq!(ids(&fixture.end("long", false).granted), ["w"]);
}

fn leased(lease_ms: u64, request: Contender) -> Contender {
    Contender {
        lease_ms,
        ..request
    }
}

#[test]
fn waiter_polling_since_expired_grant_keeps_its_turn() {
    for is_ended in [true, false] {
        let mut fixture = Fixture::new();
        fixture.hold(&leased(2_000, permits("dead", 2, 3)));
        fixture.hold(&permits("a", 1, 3));
        fixture.pass(1_000);
        fixture.queue(&permits("later", 1, 3), None);
        fixture.queue(&permits("w", 2, 3), None);
        fixture.pass(SECOND);
        assert_eq!(ids(&fixture.end("a", false).granted), ["later"]);
        if is_ended {
            assert_eq!(fixture.end("later", false).granted, []);
        }
        fixture.pass(SECOND + 1_000);
        let newcomer = fixture.acquire(&permits("n", 2, 3), None);
        assert_eq!(ids(&newcomer.granted), ["w"], "ended: {is_ended}");
    }
}

#[test]
fn waiter_stopped_before_expired_grant_is_skipped() {
    let mut fixture = Fixture::new();
    fixture.hold(&permits("on", 1, 5));
    fixture.hold(&leased(1_500, permits("earlier", 1, 5)));
    fixture.hold(&permits("a", 3, 5));
    fixture.pass(1_000);
    fixture.queue(&leased(500, permits("stopped", 1, 5)), None);
    fixture.queue(&permits("b", 1, 5), None);
    fixture.queue(&permits("too", 3, 5), None);
    fixture.pass(SECOND);
    assert_eq!(ids(&fixture.end("a", false).granted), ["stopped", "b"]);
    assert_eq!(fixture.end("b", false).granted, []);
    fixture.pass(SECOND);
    fixture.hold(&permits("n", 3, 5));
}

#[test]
fn listed_sharers_and_sums_exclude_expired_ones() {
    let mut fixture = Fixture::new();
    let short = Contender {
        lease_ms: 1_000,
        ..permits("short", 2, 5)
    };
    fixture.hold(&short);
    fixture.hold(&permits("long", 3, 5));
    let both = fixture.resource.inspect(fixture.now()).sharing.unwrap();
    assert_eq!((both.limit, both.weight, both.count), (Some(5), 5, 2));
    let owners: Vec<_> = both.holders.iter().map(|h| &*h.holder.owner).collect();
    assert_eq!(owners, ["long", "short"]);
    fixture.pass(2 * SECOND);
    let one = fixture.resource.inspect(fixture.now()).sharing.unwrap();
    assert_eq!((one.weight, one.count, one.holders.len()), (3, 1, 1));
    fixture.pass(40 * SECOND);
    let none = fixture.resource.inspect(fixture.now());
    assert_eq!((none.sharing, none.holder), (None, None));
}

#[test]
fn downgrade_keeps_the_hold_and_admits_readers() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&request("w", 30_000));
    fixture.queue(&reader("r1"), None);
    fixture.queue(&request("w2", 30_000), None);
    fixture.queue(&reader("r2"), None);
    let down = fixture.downgrade("w", fence);
    assert_eq!(down.reply, Downgraded::Downgraded { ttl_ms: 30_000 });
    assert_eq!(ids(&down.granted), ["r1"]);
    let again = fixture.downgrade("w", fence);
    assert_eq!((again.reply, again.granted), (down.reply, vec![]));
    let renewed = fixture.resource.renew(fixture.now(), "w", fence, 30_000);
    assert!(matches!(renewed, Renewed::Renewed { .. }));
    assert_eq!(fixture.end("r1", false).granted, []);
    assert_eq!(ids(&fixture.end("w", false).granted), ["w2"]);
    assert_eq!(ids(&fixture.end("w2", false).granted), ["r2"]);
}

#[test]
fn downgrade_requires_a_current_fence() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&request("w", 30_000));
    let other = fixture.downgrade("w", fence + 1).reply;
    assert_eq!(other, Downgraded::NotYours { taken: true });
    drop(fixture.end("w", false));
    let gone = fixture.downgrade("w", fence).reply;
    assert_eq!(gone, Downgraded::NotYours { taken: false });
}

#[test]
fn downgrade_is_refused_while_permits_are_queued() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&request("w", 30_000));
    fixture.queue(&permits("p", 1, 3), None);
    let refusal = Refusal::LimitDiffers { limit: Some(3) };
    assert_eq!(
        fixture.downgrade("w", fence).reply,
        Downgraded::Refused(refusal)
    );
    assert_eq!(fixture.holder().as_deref(), Some("w"));
}

#[test]
fn sharers_are_shown_under_their_first_fence() {
    let mut fixture = Fixture::new();
    let first = fixture.hold(&reader("r1"));
    let longer = fixture.hold(&Contender {
        lease_ms: 60_000,
        ..reader("r2")
    });
    assert!(first < longer);
    let holder = fixture.resource.inspect(fixture.now()).holder.unwrap();
    assert_eq!(holder.fence, Some(first));
    assert_eq!(holder.remaining_ms, Some(60_000));
}

#[test]
fn step_is_repeated_only_at_its_bound() {
    let mut fixture = Fixture::new();
    fixture.hold(&request("h", 30_000));
    for n in 0..MAX_STEPS as u64 + 2 {
        assert!(!fixture.acquire(&reader(&format!("r{n:02}")), None).again);
    }
    let released = fixture.end("h", false);
    assert!(released.again && released.granted.len() == MAX_STEPS);
    let poll = fixture.acquire(&reader("late"), None);
    assert!(!poll.again && poll.granted.len() == 2);
}
