//! What is remembered, for how long, and what is shown of it.

use arbiter_lock_core::{Acquired, Broken, Ended, Request, Written};

use crate::shared::{permits, reader};
use crate::world::{SECOND, World, ids, request};

const MINUTE: u64 = 60 * SECOND;

/// Held by `h` for an hour, with no last fence to remember when it ends.
fn held() -> World {
    let mut world = World::new();
    world.hold(&request("h", 3_600_000));
    world
}

fn waiting(world: &World) -> u64 {
    world.resource.inspect(world.now()).waiting
}

fn labels(world: &World) -> Vec<String> {
    let status = world.resource.inspect(world.now());
    let labels = status.waiters.iter().map(|waiter| waiter.label.to_string());
    labels.collect()
}

fn labelled(id: &str) -> Request {
    Request {
        label: id.into(),
        ..request(id, 30_000)
    }
}

#[test]
fn untouched_queue_is_forgotten_after_a_minute() {
    let mut world = held();
    world.queue(&labelled("a"), None);
    world.pass(1);
    world.queue(&labelled("b"), None);
    assert_eq!(labels(&world), ["a", "b"]);
    world.pass(MINUTE);
    assert_eq!((waiting(&world), labels(&world).len()), (2, 2));
    world.pass(SECOND);
    assert_eq!((waiting(&world), labels(&world).len()), (0, 0));
    assert_eq!(world.queue(&labelled("c"), None).1, 1, "its place");
}

#[test]
fn waiter_without_polls_is_forgotten_after_a_minute() {
    let mut world = held();
    let (a, _) = world.queue(&request("a", 30_000), None);
    let (b, _) = world.queue(&request("b", 30_000), None);
    let (d, _) = world.queue(&request("d", 30_000), None);
    assert!(a < b && b < d);
    world.pass(MINUTE - SECOND);
    assert_eq!(world.queue(&request("b", 30_000), Some(b)), (b, 2));
    assert_eq!(waiting(&world), 3);
    world.pass(SECOND);
    world.queue(&request("b", 30_000), Some(b));
    assert_eq!(waiting(&world), 3, "a minute to the microsecond");
    world.pass(1);
    assert_eq!(world.queue(&request("b", 30_000), Some(b)), (b, 1));
    assert_eq!(waiting(&world), 1);
    // It has lost its place, but not the ticket that it carries.
    assert_eq!(world.queue(&request("a", 30_000), Some(a)), (a, 1));
    assert_eq!(waiting(&world), 2);
}

#[test]
fn skipped_waiter_is_forgotten_after_a_minute() {
    let mut world = held();
    world.queue(&request("a", 3_600_000), None);
    world.pass(3 * SECOND);
    world.queue(&request("b", 3_600_000), None);
    let granted = world.end("h", false).granted.remove(0);
    assert_eq!(&*granted.request, "b", "a has not looked");
    assert_eq!(
        waiting(&world),
        0,
        "one that was passed over does not count"
    );
    let (now, fence) = (world.now(), granted.fence);
    world.resource.renew(now, "b", fence, 3_600_000);
    for _ in 0..60 {
        world.pass(SECOND);
        world.queue(&request("c", 30_000), None);
    }
    assert_eq!(world.end("a", false).reply, Ended::NotYours);
    assert_eq!(waiting(&world), 1);
}

#[test]
fn tombstone_is_forgotten_after_a_minute() {
    let mut world = held();
    assert_eq!(world.end("dead", true).granted, []);
    for _ in 0..6 {
        world.pass(10 * SECOND);
        world.queue(&request("a", 30_000), None);
    }
    let late = request("dead", 30_000);
    assert_eq!(world.acquire(&late, None).reply, Acquired::Ended);
    world.pass(1);
    assert!(matches!(
        world.acquire(&late, None).reply,
        Acquired::Queued { .. }
    ));
}

#[test]
fn granted_marker_lasts_a_minute() {
    let life = |world: &mut World| match world.acquire(&request("a", 30_000), None).reply {
        Acquired::Granted { life_ms, .. } => life_ms,
        other => panic!("{other:?}"),
    };
    for (later, expected) in [(MINUTE, 2_000), (MINUTE + SECOND, 30_000)] {
        let mut world = held();
        world.queue(&request("a", 30_000), None);
        assert_eq!(ids(&world.end("h", false).granted), ["a"]);
        // Its first life lapses.
        world.pass(later);
        assert_eq!(life(&mut world), expected, "after {later} µs");
    }
}

#[test]
fn waiter_granted_by_poll_gets_provisional_ttl() {
    let mut world = held();
    world.deaf.push("channel of a".into());
    world.queue(&request("a", 30_000), None);
    assert_eq!(world.end("h", false).granted, []);
    assert_eq!(world.holder(), None, "nobody listens");
    let Acquired::Granted { life_ms, .. } = world.acquire(&request("a", 30_000), None).reply else {
        panic!("it is free");
    };
    assert_eq!(life_ms, 2_000);
}

#[test]
fn queue_place_is_counted_up_to_101() {
    let mut world = held();
    let places: Vec<u64> = (0..103)
        .map(|n| world.queue(&request(&format!("w{n:03}"), 30_000), None).1)
        .collect();
    assert_eq!(places[..3], [1, 2, 3]);
    assert_eq!(places[98..], [99, 100, 101, 101, 101]);
}

#[test]
fn name_is_forgotten_only_when_nothing_is_kept() {
    let mut world = World::new();
    let is_forgotten = |world: &mut World| world.resource.is_forgotten(world.now());
    assert!(is_forgotten(&mut world), "nothing has happened");
    world.hold(&request("a", 1_000));
    assert!(!is_forgotten(&mut world), "it is held");
    assert_eq!(world.end("a", true).granted, []);
    assert!(!is_forgotten(&mut world), "a tombstone, and a fence");
    world.resource.last_fence_lost();
    assert!(!is_forgotten(&mut world), "a tombstone");
    world.pass(MINUTE);
    assert!(!is_forgotten(&mut world), "for as long as a minute");
    world.pass(1_000);
    assert!(is_forgotten(&mut world));
    world.hold(&reader("r"));
    world.resource.last_fence_lost();
    assert!(!is_forgotten(&mut world), "it is shared");
    assert_eq!(world.end("r", false).granted, []);
    assert!(is_forgotten(&mut world));
}

#[test]
fn lost_last_fence_restarts_at_the_clock() {
    let mut world = World::new();
    world.hold(&request("a", 1_000));
    assert_eq!(world.end("a", false).granted, []);
    world.now -= 50 * SECOND;
    let remembered = world.hold(&request("b", 1_000));
    assert!(
        world.now < remembered,
        "above the last, though the clock went back"
    );
    assert_eq!(world.end("b", false).granted, []);
    world.resource.last_fence_lost();
    assert_eq!(world.hold(&request("c", 1_000)), world.now);
}

#[test]
fn lost_or_expired_run_record_is_forgotten() {
    let mut world = World::new();
    let fence = world.hold(&request("a", 30_000));
    let now = world.now();
    assert_eq!(
        world.resource.begin_run(now, "b", fence, 5_000),
        Written::NotYours
    );
    assert_eq!(
        world.resource.begin_run(now, "a", fence + 1, 5_000),
        Written::NotYours
    );
    assert_eq!(world.resource.last_run(now), None);
    assert_eq!(
        world.resource.begin_run(now, "a", fence, 5_000),
        Written::Written
    );
    world.pass(4 * SECOND);
    let (outcome, now) = ("done".into(), world.now());
    assert_eq!(
        world.resource.finish_run(now, fence, &outcome, 5_000),
        Written::Written
    );
    world.pass(4 * SECOND);
    assert!(
        world.resource.last_run(world.now()).is_some(),
        "its end prolongs it"
    );
    world.resource.last_run_lost();
    assert_eq!(world.resource.last_run(world.now()), None);
}

#[test]
fn sharers_are_found_by_fence_until_they_expire() {
    let mut world = World::new();
    world.hold(&permits("long", 1, 3));
    let fence = world.hold(&Request {
        lease_ms: 1_000,
        ..permits("short", 1, 3)
    });
    assert_eq!(
        world.resource.inspect(world.now()).sharing.unwrap().count,
        2
    );
    let broken = world
        .resource
        .break_hold(world.now(), fence + 7, true, |_| true);
    assert_eq!(broken.reply, Broken::NotHeld);
    let broken = world
        .resource
        .break_hold(world.now(), fence, false, |_| true);
    let remaining_ms = Some(1_000);
    assert_eq!(broken.reply, Broken::Asked { remaining_ms });
    let count = |world: &World| world.resource.inspect(world.now()).sharing.unwrap().count;
    world.pass(1_000 * 1_000);
    assert_eq!(count(&world), 2);
    world.pass(1_000);
    assert_eq!(count(&world), 1);
}
