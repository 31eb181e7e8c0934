//! The rules for shared holds: weights, limits, and who waits for whom.

use std::num::NonZeroU32;

use arbiter_lock_core::{Acquired, Mode, Refusal, Request};

use crate::world::{SECOND, World, ids, request};

fn reader(id: &str) -> Request {
    permits(id, 1, None)
}

fn permits(id: &str, weight: u32, limit: Option<u32>) -> Request {
    let weight = NonZeroU32::new(weight).unwrap();
    let mode = Mode::Shared {
        weight,
        limit: limit.and_then(NonZeroU32::new),
    };
    Request {
        mode,
        ..request(id, 30_000)
    }
}

#[test]
fn readers_overlap_and_a_writer_waits_for_the_last() {
    let mut world = World::new();
    world.hold(&reader("r1"));
    world.hold(&reader("r2"));
    world.queue(&request("w", 30_000), None);
    assert_eq!(world.end("r1", false).granted, []);
    assert_eq!(ids(&world.end("r2", false).granted), ["w"]);
}

#[test]
fn a_reader_behind_a_waiting_writer_waits_so_that_neither_starves() {
    let mut world = World::new();
    world.hold(&reader("r1"));
    world.queue(&request("w", 30_000), None);
    world.queue(&reader("r2"), None);
    world.queue(&reader("r3"), None);
    assert_eq!(ids(&world.end("r1", false).granted), ["w"]);
    assert_eq!(ids(&world.end("w", false).granted), ["r2", "r3"]);
}

#[test]
fn readers_behind_a_writer_that_gave_up_come_in_at_once() {
    let mut world = World::new();
    world.hold(&reader("r1"));
    world.queue(&request("w", 30_000), None);
    world.queue(&reader("r2"), None);
    assert_eq!(ids(&world.end("w", false).granted), ["r2"]);
}

#[test]
fn a_large_request_at_the_head_is_not_overtaken_by_small_ones() {
    let mut world = World::new();
    world.hold(&permits("a", 2, Some(3)));
    world.queue(&permits("big", 3, Some(3)), None);
    world.queue(&permits("small", 1, Some(3)), None);
    let end = world.end("a", false);
    assert_eq!(ids(&end.granted), ["big"]);
    assert_eq!(ids(&world.end("big", false).granted), ["small"]);
}

#[test]
fn held_permits_never_exceed_the_limit() {
    let mut world = World::new();
    world.hold(&permits("a", 2, Some(3)));
    world.hold(&permits("b", 1, Some(3)));
    world.queue(&permits("c", 1, Some(3)), None);
    assert_eq!(ids(&world.end("b", false).granted), ["c"]);
}

#[test]
fn more_than_the_limit_and_another_limit_are_refused_at_once() {
    let mut world = World::new();
    let refused = |world: &mut World, request: &Request| world.acquire(request, None).reply;
    let above = refused(&mut world, &permits("a", 4, Some(3)));
    assert_eq!(above, Acquired::Refused(Refusal::AboveLimit { limit: 3 }));
    world.hold(&permits("b", 1, Some(3)));
    let differs = refused(&mut world, &permits("c", 1, Some(5)));
    assert_eq!(
        differs,
        Acquired::Refused(Refusal::LimitDiffers { limit: Some(3) })
    );
    drop(world.end("b", false));
    world.hold(&permits("d", 1, Some(5)));
}

#[test]
fn every_reader_has_a_lease_of_its_own() {
    let mut world = World::new();
    let short = Request {
        lease_ms: 1_000,
        ..reader("short")
    };
    world.hold(&short);
    let fence = world.hold(&reader("long"));
    world.queue(&request("w", 30_000), None);
    world.pass(2 * SECOND);
    assert_eq!(world.holder().as_deref(), Some("shared"));
    let renewed = world.resource.renew(world.now(), "long", fence, 30_000);
    assert!(matches!(
        renewed,
        arbiter_lock_core::Renewed::Renewed { .. }
    ));
    assert_eq!(world.end("short", false).granted, []);
    assert_eq!(ids(&world.end("long", false).granted), ["w"]);
}
