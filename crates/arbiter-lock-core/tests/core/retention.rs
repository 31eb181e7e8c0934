//! The records that the resource keeps, for how long, and its reports.

use arbiter_lock_core::{Acquired, Broken, Contender, Ended, LONGEST_RUN_MS, Moment, Written};

use crate::fixture::{Fixture, SECOND, ids, permits, reader, request};

const MINUTE: u64 = 60 * SECOND;

/// Returns a resource held by `h` for an hour, without a last fence to keep when the hold ends.
fn held() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.hold(&request("h", 3_600_000));
    fixture
}

fn waiting(fixture: &Fixture) -> u64 {
    fixture.resource.inspect(fixture.now()).waiting
}

fn labels(fixture: &Fixture) -> Vec<String> {
    let status = fixture.resource.inspect(fixture.now());
    let labels = status.waiters.iter().map(|waiter| waiter.label.to_string());
    labels.collect()
}

fn labelled(id: &str) -> Contender {
    Contender {
        label: id.into(),
        ..request(id, 30_000)
    }
}

#[test]
fn untouched_queue_is_forgotten_after_a_minute() {
    let mut fixture = held();
    fixture.queue(&labelled("a"), None);
    fixture.pass(1);
    fixture.queue(&labelled("b"), None);
    assert_eq!(labels(&fixture), ["a", "b"]);
    fixture.pass(MINUTE);
    assert_eq!((waiting(&fixture), labels(&fixture).len()), (2, 2));
    fixture.pass(SECOND);
    assert_eq!((waiting(&fixture), labels(&fixture).len()), (0, 0));
    assert_eq!(fixture.queue(&labelled("c"), None).1, 1, "its place");
}

#[test]
fn waiter_without_polls_is_forgotten_after_a_minute() {
    let mut fixture = held();
    let (a, _) = fixture.queue(&request("a", 30_000), None);
    let (b, _) = fixture.queue(&request("b", 30_000), None);
    let (d, _) = fixture.queue(&request("d", 30_000), None);
    assert!(a < b && b < d);
    fixture.pass(MINUTE - SECOND);
    assert_eq!(fixture.queue(&request("b", 30_000), Some(b)), (b, 2));
    assert_eq!(waiting(&fixture), 3);
    fixture.pass(SECOND);
    fixture.queue(&request("b", 30_000), Some(b));
    assert_eq!(waiting(&fixture), 3, "a minute to the microsecond");
    fixture.pass(1);
    assert_eq!(fixture.queue(&request("b", 30_000), Some(b)), (b, 1));
    assert_eq!(waiting(&fixture), 1);
    // It has lost its place, but not the ticket that it carries.
    assert_eq!(fixture.queue(&request("a", 30_000), Some(a)), (a, 1));
    assert_eq!(waiting(&fixture), 2);
}

#[test]
fn skipped_waiter_is_forgotten_after_a_minute() {
    let mut fixture = held();
    fixture.queue(&request("a", 3_600_000), None);
    fixture.pass(3 * SECOND);
    fixture.queue(&request("b", 3_600_000), None);
    let granted = fixture.end("h", false).granted.remove(0);
    assert_eq!(&*granted.request, "b", "a has not polled");
    assert_eq!(waiting(&fixture), 0, "a skipped waiter is not counted");
    let (now, fence) = (fixture.now(), granted.fence);
    fixture.resource.renew(now, "b", fence, 3_600_000);
    for _ in 0..60 {
        fixture.pass(SECOND);
        fixture.queue(&request("c", 30_000), None);
    }
    assert_eq!(
        fixture.end("a", false).reply,
        Ended::NotYours { taken: true }
    );
    assert_eq!(waiting(&fixture), 1);
}

#[test]
fn tombstone_is_forgotten_after_a_minute() {
    let mut fixture = held();
    assert_eq!(fixture.end("dead", true).granted, []);
    for _ in 0..6 {
        fixture.pass(10 * SECOND);
        fixture.queue(&request("a", 30_000), None);
    }
    let late = request("dead", 30_000);
    assert_eq!(fixture.acquire(&late, None).reply, Acquired::Ended);
    fixture.pass(1);
    assert!(matches!(
        fixture.acquire(&late, None).reply,
        Acquired::Queued { .. }
    ));
}

#[test]
fn granted_marker_lasts_a_minute() {
    let ttl = |fixture: &mut Fixture| match fixture.acquire(&request("a", 30_000), None).reply {
        Acquired::Granted { ttl_ms, .. } => ttl_ms,
        other => panic!("{other:?}"),
    };
    for (later, expected) in [(MINUTE, 2_000), (MINUTE + SECOND, 30_000)] {
        let mut fixture = held();
        fixture.queue(&request("a", 30_000), None);
        assert_eq!(ids(&fixture.end("h", false).granted), ["a"]);
        // Its provisional TTL expires.
        fixture.pass(later);
        assert_eq!(ttl(&mut fixture), expected, "after {later} µs");
    }
}

#[test]
fn waiter_granted_by_poll_gets_provisional_ttl() {
    let mut fixture = held();
    fixture.unreachable.push("channel of a".into());
    fixture.queue(&request("a", 30_000), None);
    assert_eq!(fixture.end("h", false).granted, []);
    assert_eq!(fixture.holder(), None, "it has no subscription");
    let Acquired::Granted { ttl_ms, .. } = fixture.acquire(&request("a", 30_000), None).reply
    else {
        panic!("it is free");
    };
    assert_eq!(ttl_ms, 2_000);
}

#[test]
fn queue_place_is_counted_up_to_101() {
    let mut fixture = held();
    let places: Vec<u64> = (0..103)
        .map(|n| fixture.queue(&request(&format!("w{n:03}"), 30_000), None).1)
        .collect();
    assert_eq!(places[..3], [1, 2, 3]);
    assert_eq!(places[98..], [99, 100, 101, 101, 101]);
}

#[test]
fn name_is_forgotten_only_when_nothing_is_kept() {
    let mut fixture = Fixture::new();
    let is_forgotten = |fixture: &mut Fixture| fixture.resource.is_forgotten(fixture.now());
    assert!(is_forgotten(&mut fixture), "nothing has happened");
    fixture.hold(&request("a", 1_000));
    assert!(!is_forgotten(&mut fixture), "it is held");
    assert_eq!(fixture.end("a", true).granted, []);
    assert!(!is_forgotten(&mut fixture), "a tombstone, and a fence");
    fixture.resource.lose_last_fence();
    assert!(!is_forgotten(&mut fixture), "a tombstone");
    fixture.pass(MINUTE);
    assert!(!is_forgotten(&mut fixture), "for as long as a minute");
    fixture.pass(1_000);
    assert!(is_forgotten(&mut fixture));
    fixture.hold(&reader("r"));
    fixture.resource.lose_last_fence();
    assert!(!is_forgotten(&mut fixture), "it is shared");
    assert_eq!(fixture.end("r", false).granted, []);
    assert!(is_forgotten(&mut fixture));
}

#[test]
fn lost_last_fence_restarts_at_the_clock() {
    let mut fixture = Fixture::new();
    fixture.hold(&request("a", 1_000));
    assert_eq!(fixture.end("a", false).granted, []);
    fixture.now -= 50 * SECOND;
    let remembered = fixture.hold(&request("b", 1_000));
    assert!(
        fixture.now < remembered,
        "above the last, though the clock went back"
    );
    assert_eq!(fixture.end("b", false).granted, []);
    fixture.resource.lose_last_fence();
    assert_eq!(fixture.hold(&request("c", 1_000)), fixture.now);
}

#[test]
fn lost_or_expired_run_record_is_forgotten() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&request("a", 30_000));
    let now = fixture.now();
    assert_eq!(
        fixture.resource.begin_run(now, "b", fence, now, 5_000),
        Written::NotYours
    );
    assert_eq!(
        fixture.resource.begin_run(now, "a", fence + 1, now, 5_000),
        Written::NotYours
    );
    assert_eq!(fixture.resource.last_run(now), None);
    assert_eq!(
        fixture.resource.begin_run(now, "a", fence, now, 5_000),
        Written::Written
    );
    fixture.pass(4 * SECOND);
    let (outcome, now) = ("done".into(), fixture.now());
    assert_eq!(
        fixture.resource.finish_run(now, fence, &outcome),
        Written::Written
    );
    fixture.pass(4 * SECOND);
    assert!(fixture.resource.last_run(fixture.now()).is_some());
    let now = fixture.now();
    let forget = |fixture: &mut Fixture, fence| fixture.resource.forget_run(now, fence);
    assert_eq!(forget(&mut fixture, fence + 1), Written::NotYours);
    assert!(fixture.resource.last_run(now).is_some(), "a later one");
    assert_eq!(forget(&mut fixture, fence), Written::Written);
    assert_eq!(forget(&mut fixture, fence), Written::NotYours);
    assert_eq!(fixture.resource.last_run(fixture.now()), None);
    assert_eq!(
        fixture.resource.finish_run(now, fence, &outcome),
        Written::NotYours
    );
}

#[test]
fn longest_memory_of_a_run_counts() {
    let mut fixture = Fixture::new();
    let run = |fixture: &mut Fixture, memory_ms| {
        let fence = fixture.hold(&request("a", 30_000));
        let now = fixture.now();
        let begun = fixture.resource.begin_run(now, "a", fence, now, memory_ms);
        assert_eq!(begun, Written::Written);
        let begun = fixture.resource.last_run(now).unwrap();
        assert_eq!(
            begun.until - begun.memory_ms,
            now.as_millis() + LONGEST_RUN_MS
        );
        let ended = fixture.resource.finish_run(now, fence, &"ok".into());
        assert_eq!(ended, Written::Written);
        drop(fixture.end("a", false));
        fixture.resource.last_run(now).unwrap().memory_ms
    };
    assert_eq!(run(&mut fixture, 10_000), 10_000);
    assert_eq!(run(&mut fixture, 5_000), 10_000);
    assert_eq!(run(&mut fixture, 20_000), 20_000);
    fixture.pass(20 * SECOND);
    assert!(fixture.resource.last_run(fixture.now()).is_some());
    fixture.pass(SECOND);
    assert_eq!(fixture.resource.last_run(fixture.now()), None);
    assert_eq!(run(&mut fixture, 5_000), 5_000, "nothing is left of it");
}

#[test]
fn run_date_is_not_the_lease_clock() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&request("a", 30_000));
    let (now, date) = (fixture.now(), Moment::from_micros(7));
    let mut dated = fixture.resource.clone();
    dated.set_date(date);
    dated.begin_run(now, "a", fence, date, 5_000);
    dated.finish_run(now, fence, &"ok".into());
    let run = dated.last_run(now).unwrap();
    assert_eq!((run.started, run.ended.unwrap().0), (date, date));
    assert_eq!(run.until, now.as_millis() + 5_000);
}

#[test]
fn sharers_are_found_by_fence_until_they_expire() {
    let mut fixture = Fixture::new();
    fixture.hold(&permits("long", 1, 3));
    let fence = fixture.hold(&Contender {
        lease_ms: 1_000,
        ..permits("short", 1, 3)
    });
    assert_eq!(
        fixture
            .resource
            .inspect(fixture.now())
            .sharing
            .unwrap()
            .count,
        2
    );
    let broken = fixture
        .resource
        .break_hold(fixture.now(), fence + 7, true, |_| true);
    assert_eq!(broken.reply, Broken::NotHeld);
    let broken = fixture
        .resource
        .break_hold(fixture.now(), fence, false, |_| true);
    let remaining_ms = Some(1_000);
    assert_eq!(broken.reply, Broken::Asked { remaining_ms });
    let count = |fixture: &Fixture| {
        fixture
            .resource
            .inspect(fixture.now())
            .sharing
            .unwrap()
            .count
    };
    fixture.pass(1_000 * 1_000);
    assert_eq!(count(&fixture), 2);
    fixture.pass(1_000);
    assert_eq!(count(&fixture), 1);
}
