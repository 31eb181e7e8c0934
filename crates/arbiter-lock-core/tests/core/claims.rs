//! The rules for exclusive holds, one claim each.

use arbiter_lock_core::{Acquired, Broken, Ended, MAX_STEPS, Renewed, Tried};

use crate::world::{SECOND, World, ids, request};

#[test]
fn release_grants_queue_head_a_provisional_ttl() {
    let mut world = World::new();
    let (a, b, c) = (
        request("a", 30_000),
        request("b", 30_000),
        request("c", 1_000),
    );
    let first = world.hold(&a);
    assert_eq!(world.queue(&b, None).1, 1);
    assert_eq!(world.queue(&c, None).1, 2);
    let end = world.end("a", false);
    assert_eq!((end.reply, ids(&end.granted)), (Ended::Released, vec!["b"]));
    assert_eq!(end.granted[0].life_ms, 2_000);
    assert!(first < end.granted[0].fence);
    assert_eq!(
        world.end("b", false).granted[0].life_ms,
        1_000,
        "a lease shorter than a first life"
    );
}

#[test]
fn claim_extends_provisional_ttl_and_never_shortens() {
    let mut world = World::new();
    let (a, b) = (request("a", 30_000), request("b", 30_000));
    world.hold(&a);
    world.queue(&b, None);
    let fence = world.end("a", false).granted[0].fence;
    let renew = |world: &mut World, lease| world.resource.renew(world.now(), "b", fence, lease);
    assert_eq!(
        renew(&mut world, 30_000),
        Renewed::Renewed { life_ms: 30_000 }
    );
    assert_eq!(
        renew(&mut world, 1_000),
        Renewed::Renewed { life_ms: 30_000 }
    );
    let look = world.acquire(&b, Some(1)).reply;
    assert_eq!(
        look,
        Acquired::Granted {
            fence,
            life_ms: 30_000
        }
    );
}

#[test]
fn poll_of_unclaimed_grant_restarts_provisional_ttl() {
    let mut world = World::new();
    let (a, b) = (request("a", 30_000), request("b", 30_000));
    world.hold(&a);
    let (ticket, _) = world.queue(&b, None);
    let fence = world.end("a", false).granted[0].fence;
    world.pass(SECOND);
    assert_eq!(
        world.acquire(&b, Some(ticket)).reply,
        Acquired::Granted {
            fence,
            life_ms: 2_000
        }
    );
    world.pass(2 * SECOND);
    assert_eq!(world.holder().as_deref(), Some("b"));
    world.pass(1_000);
    assert_eq!(world.holder(), None);
}

#[test]
fn renewal_requires_matching_owner_and_fence() {
    let mut world = World::new();
    let fence = world.hold(&request("a", 1_000));
    let renew =
        |world: &mut World, owner, fence| world.resource.renew(world.now(), owner, fence, 1_000);
    assert_eq!(
        renew(&mut world, "a", fence + 1),
        Renewed::NotYours { taken: true }
    );
    assert_eq!(
        renew(&mut world, "b", fence),
        Renewed::NotYours { taken: true }
    );
    world.pass(2 * SECOND);
    assert_eq!(
        renew(&mut world, "a", fence),
        Renewed::NotYours { taken: false }
    );
    assert_eq!(world.holder(), None);
}

#[test]
fn try_overtakes_only_skipped_waiters() {
    let mut world = World::new();
    world.hold(&request("a", 1_000));
    world.queue(&request("b", 30_000), None);
    world.pass(2 * SECOND);
    let tried = world.try_acquire(&request("t", 1_000));
    assert!(matches!(tried.reply, Tried::Busy { .. }));
    assert_eq!(ids(&tried.granted), ["b"]);
    world.resource.vanished(world.now());
    world.queue_of_the_dead(3);
    assert!(matches!(
        world.try_acquire(&request("t2", 1_000)).reply,
        Tried::Granted { life_ms: 1_000, .. }
    ));
}

#[test]
fn busy_try_leaves_no_trace() {
    let mut world = World::new();
    world.hold(&request("a", 1_000));
    let before = format!("{:?}", world.resource);
    assert!(matches!(
        world.try_acquire(&request("t", 1_000)).reply,
        Tried::Busy { waiting: 0, .. }
    ));
    assert_eq!(format!("{:?}", world.resource), before);
}

#[test]
fn overdue_waiter_is_skipped_and_keeps_its_place() {
    let mut world = World::new();
    let (b, c) = (request("b", 30_000), request("c", 30_000));
    world.hold(&request("a", 60_000));
    let (ticket_b, _) = world.queue(&b, None);
    let (ticket_c, _) = world.queue(&c, None);
    world.pass(5 * SECOND / 2);
    world.queue(&c, Some(ticket_c));
    world.pass(1);
    assert_eq!(ids(&world.end("a", false).granted), ["c"]);
    assert_eq!(world.queue(&b, Some(ticket_b)), (ticket_b, 1));
}

#[test]
fn waiter_that_polled_in_time_is_live() {
    let mut world = World::new();
    world.hold(&request("a", 60_000));
    world.queue(&request("b", 30_000), None);
    world.pass(5 * SECOND / 2);
    assert_eq!(ids(&world.end("a", false).granted), ["b"]);
}

#[test]
fn unreachable_waiter_is_skipped_until_it_polls() {
    let mut world = World::new();
    let (b, c) = (request("b", 30_000), request("c", 30_000));
    world.hold(&request("a", 60_000));
    let (ticket, _) = world.queue(&b, None);
    world.queue(&c, None);
    world.deaf = vec![b.channel.to_string()];
    assert_eq!(ids(&world.end("a", false).granted), ["c"]);
    assert_eq!(world.end("c", false).granted, []);
    assert!(matches!(
        world.acquire(&b, Some(ticket)).reply,
        Acquired::Granted { .. }
    ));
}

#[test]
fn stopped_waiters_cost_one_provisional_ttl_together() {
    let mut world = World::new();
    world.hold(&request("a", 60_000));
    for n in 0..20 {
        world.queue(&request(&format!("stopped{n:02}"), 30_000), None);
    }
    let live = request("live", 30_000);
    let (ticket, _) = world.queue(&live, None);
    assert_eq!(ids(&world.end("a", false).granted), ["stopped00"]);
    world.pass(SECOND);
    world.queue(&live, Some(ticket));
    world.pass(SECOND + 1_000);
    assert!(matches!(
        world.acquire(&live, Some(ticket)).reply,
        Acquired::Granted { .. }
    ));
}

#[test]
fn liveness_cutoff_outlives_later_grants() {
    let mut world = World::new();
    world.hold(&request("a", 60_000));
    let (ticket, _) = world.queue(&request("b", 1_000), None);
    world.queue(&request("c", 30_000), None);
    assert_eq!(ids(&world.end("a", false).granted), ["b"]);
    world.pass(SECOND + 1_000);
    // The grant of b lapsed: c has not looked since, and x comes before it.
    let x = request("x", 30_000);
    assert!(matches!(
        world.acquire(&x, None).reply,
        Acquired::Granted { .. }
    ));
    assert_eq!(world.end("x", false).granted, []);
    let look = world.acquire(&request("b", 1_000), Some(ticket)).reply;
    assert!(matches!(look, Acquired::Granted { .. }), "{look:?}");
}

#[test]
fn grant_consumes_the_place() {
    let mut world = World::new();
    let (b, c) = (request("b", 30_000), request("c", 60_000));
    world.hold(&request("a", 60_000));
    let (ticket_b, _) = world.queue(&b, None);
    let (ticket_c, _) = world.queue(&c, None);
    assert_eq!(ids(&world.end("a", false).granted), ["b"]);
    world.pass(SECOND);
    world.queue(&c, Some(ticket_c));
    world.pass(SECOND + 1_000);
    // b slept through its grant: its place is gone, and c is granted when b looks.
    let look = world.acquire(&b, Some(ticket_b));
    assert_eq!(ids(&look.granted), ["c"]);
    assert!(matches!(look.reply, Acquired::Queued { ticket, .. } if ticket_c < ticket));
}

#[test]
fn acquire_with_a_tombstone_leaves_nothing() {
    let mut world = World::new();
    let a = request("a", 1_000);
    assert_eq!(world.end("a", true).reply, Ended::NotYours);
    world.pass(60 * SECOND);
    assert_eq!(world.acquire(&a, None).reply, Acquired::Ended);
    assert_eq!(world.try_acquire(&a).reply, Tried::Ended);
    assert_eq!(world.holder(), None);
    world.pass(2_000);
    assert!(
        matches!(world.try_acquire(&a).reply, Tried::Granted { .. }),
        "remembered for a minute"
    );
}

#[test]
fn tombstoned_request_lets_the_next_waiter_in() {
    let a = request("a", 1_000);
    for tries in [false, true] {
        let mut world = World::new();
        drop(world.end("a", true));
        world.hold(&request("b", 1_000));
        world.pass(1);
        world.queue(&request("c", 30_000), None);
        world.pass(2 * SECOND);
        let granted = if tries {
            world.try_acquire(&a).granted
        } else {
            world.acquire(&a, None).granted
        };
        assert_eq!(ids(&granted), ["c"]);
    }
}

#[test]
fn one_step_skips_a_bounded_number_of_waiters() {
    let mut world = World::new();
    world.hold(&request("a", 60_000));
    let crowd = MAX_STEPS + 5;
    world.queue_of_the_dead(crowd);
    let live = request("z", 30_000);
    world.queue(&live, None);
    let end = world.end("a", false);
    assert_eq!(
        (end.reply, end.granted.len(), end.again),
        (Ended::Released, 0, true)
    );
    let again = world.end("a", false);
    assert_eq!(
        (again.reply, ids(&again.granted), again.again),
        (Ended::NotYours, vec!["z"], false)
    );
}

#[test]
fn leaving_waiter_hands_off_a_free_lock() {
    let mut world = World::new();
    world.hold(&request("a", 1_000));
    world.queue(&request("b", 30_000), None);
    world.queue(&request("c", 30_000), None);
    world.pass(2 * SECOND);
    let end = world.end("b", false);
    assert_eq!((end.reply, ids(&end.granted)), (Ended::Left, vec!["c"]));
}

#[test]
fn tickets_rise_when_the_clock_steps_back() {
    let mut world = World::new();
    world.hold(&request("a", 60_000));
    let (first, _) = world.queue(&request("b", 30_000), None);
    world.now -= SECOND;
    let (second, place) = world.queue(&request("c", 30_000), None);
    assert_eq!((second, place), (first + 1, 2));
}

#[test]
fn place_survives_a_lost_queue() {
    let mut world = World::new();
    world.hold(&request("a", 60_000));
    let (b, c) = (request("b", 30_000), request("c", 30_000));
    let (ticket_b, _) = world.queue(&b, None);
    world.pass(10);
    let (ticket_c, _) = world.queue(&c, None);
    world.resource.queue_lost();
    assert_eq!(world.queue(&c, Some(ticket_c)), (ticket_c, 1));
    assert_eq!(world.queue(&b, Some(ticket_b)), (ticket_b, 1));
    assert_eq!(ids(&world.end("a", false).granted), ["b"]);
}

#[test]
fn fences_rise_across_expiry_release_and_clock_steps() {
    let mut world = World::new();
    let mut last = 0;
    for n in 0..40_u64 {
        let fence = world.hold(&request(&format!("r{n}"), 100));
        assert!(last < fence);
        last = fence;
        match n % 4 {
            0 => drop(world.end(&format!("r{n}"), false)),
            1 => world.pass(SECOND),
            2 => world.resource.vanished(world.now()),
            _ => {
                drop(world.end(&format!("r{n}"), false));
                world.now -= 3 * SECOND;
            }
        }
    }
}

#[test]
fn last_fence_is_kept_for_a_minute() {
    let mut world = World::new();
    let first = world.hold(&request("a", 100));
    drop(world.end("a", false));
    world.pass(60 * SECOND);
    assert!(!world.resource.is_forgotten(world.now()));
    world.pass(SECOND + 1_000);
    assert!(world.resource.is_forgotten(world.now()));
    world.now -= 120 * SECOND;
    assert_eq!(world.hold(&request("b", 100)), first + 1);
}

#[test]
fn fence_is_kept_until_the_clock_reaches_it() {
    let mut world = World::new();
    let first = world.hold(&request("a", 100));
    drop(world.end("a", false));
    world.now -= 200 * SECOND;
    let second = world.hold(&request("b", 100));
    assert_eq!(second, first + 1);
    drop(world.end("b", false));
    world.pass(150 * SECOND);
    assert_eq!(
        world.hold(&request("c", 100)),
        second + 1,
        "still behind what was given"
    );
}

#[test]
fn break_grants_the_next_and_asking_stops_renewals() {
    let mut world = World::new();
    let fence = world.hold(&request("a", 5_000));
    world.queue(&request("b", 5_000), None);
    let now = world.now();
    let asked = world.resource.break_hold(now, fence, false, |_| true);
    assert_eq!(
        asked.reply,
        Broken::Asked {
            remaining_ms: Some(5_000)
        }
    );
    world.pass(SECOND);
    let renewed = world.resource.renew(world.now(), "a", fence, 5_000);
    assert_eq!(renewed, Renewed::Stopping { life_ms: 4_000 });
    let now = world.now();
    assert_eq!(
        world
            .resource
            .break_hold(now, fence + 1, true, |_| true)
            .reply,
        Broken::NotHeld
    );
    let broken = world.resource.break_hold(now, fence, true, |_| true);
    assert_eq!(
        (broken.reply, ids(&broken.granted)),
        (Broken::Freed, vec!["b"])
    );
}

#[test]
fn external_holder_is_waited_for_and_never_ended() {
    let mut world = World::new();
    world.resource.seized(world.now(), "go", Some(5_000));
    let acquired = world.acquire(&request("a", 1_000), None).reply;
    let Acquired::Queued {
        holder: Some(holder),
        ..
    } = acquired
    else {
        panic!("{acquired:?}")
    };
    assert_eq!(
        (&*holder.owner, holder.fence, holder.remaining_ms),
        ("go", None, Some(5_000))
    );
    assert_eq!(world.end("go", false).reply, Ended::NotYours);
    assert_eq!(world.holder().as_deref(), Some("go"));
    world.resource.life_changed(world.now(), None);
    world.pass(365 * 86_400 * SECOND);
    assert_eq!(
        world.holder().as_deref(),
        Some("go"),
        "immortal until somebody deletes it"
    );
}

impl World {
    /// Waiters that have not looked for too long.
    fn queue_of_the_dead(&mut self, count: usize) {
        let holder = request("holder of the dead", 60_000);
        let was_free = self.holder().is_none();
        if was_free {
            self.hold(&holder);
        }
        for n in 0..count {
            self.queue(&request(&format!("dead{n:03}"), 30_000), None);
        }
        self.pass(3 * SECOND);
        if was_free {
            self.resource.vanished(self.now());
        }
    }
}
