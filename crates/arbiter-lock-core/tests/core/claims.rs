//! The rules for exclusive holds.

use arbiter_lock_core::{Acquired, Broken, Ended, MAX_STEPS, Renewed, Tried};

use crate::fixture::{Fixture, SECOND, ids, request};

#[test]
fn release_grants_queue_head_a_provisional_ttl() {
    let mut fixture = Fixture::new();
    let (a, b, c) = (
        request("a", 30_000),
        request("b", 30_000),
        request("c", 1_000),
    );
    let first = fixture.hold(&a);
    assert_eq!(fixture.queue(&b, None).1, 1);
    assert_eq!(fixture.queue(&c, None).1, 2);
    let end = fixture.end("a", false);
    assert_eq!((end.reply, ids(&end.granted)), (Ended::Released, vec!["b"]));
    assert_eq!(end.granted[0].ttl_ms, 2_000);
    assert!(first < end.granted[0].fence);
    assert_eq!(
        fixture.end("b", false).granted[0].ttl_ms,
        1_000,
        "a lease shorter than the provisional TTL"
    );
}

#[test]
fn claim_extends_provisional_ttl_and_never_shortens() {
    let mut fixture = Fixture::new();
    let (a, b) = (request("a", 30_000), request("b", 30_000));
    fixture.hold(&a);
    fixture.queue(&b, None);
    let fence = fixture.end("a", false).granted[0].fence;
    let renew =
        |fixture: &mut Fixture, lease| fixture.resource.renew(fixture.now(), "b", fence, lease);
    assert_eq!(
        renew(&mut fixture, 30_000),
        Renewed::Renewed { ttl_ms: 30_000 }
    );
    assert_eq!(
        renew(&mut fixture, 1_000),
        Renewed::Renewed { ttl_ms: 30_000 }
    );
    let poll = fixture.acquire(&b, Some(1)).reply;
    assert_eq!(
        poll,
        Acquired::Granted {
            fence,
            ttl_ms: 30_000
        }
    );
}

#[test]
fn poll_of_unclaimed_grant_restarts_provisional_ttl() {
    let mut fixture = Fixture::new();
    let (a, b) = (request("a", 30_000), request("b", 30_000));
    fixture.hold(&a);
    let (ticket, _) = fixture.queue(&b, None);
    let fence = fixture.end("a", false).granted[0].fence;
    fixture.pass(SECOND);
    assert_eq!(
        fixture.acquire(&b, Some(ticket)).reply,
        Acquired::Granted {
            fence,
            ttl_ms: 2_000
        }
    );
    fixture.pass(2 * SECOND);
    assert_eq!(fixture.holder().as_deref(), Some("b"));
    fixture.pass(1_000);
    assert_eq!(fixture.holder(), None);
}

#[test]
fn renewal_requires_matching_owner_and_fence() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&request("a", 1_000));
    let renew = |fixture: &mut Fixture, owner, fence| {
        fixture.resource.renew(fixture.now(), owner, fence, 1_000)
    };
    assert_eq!(
        renew(&mut fixture, "a", fence + 1),
        Renewed::NotYours { taken: true }
    );
    assert_eq!(
        renew(&mut fixture, "b", fence),
        Renewed::NotYours { taken: true }
    );
    fixture.pass(2 * SECOND);
    assert_eq!(
        renew(&mut fixture, "a", fence),
        Renewed::NotYours { taken: false }
    );
    assert_eq!(fixture.holder(), None);
}

#[test]
fn try_overtakes_only_skipped_waiters() {
    let mut fixture = Fixture::new();
    fixture.hold(&request("a", 1_000));
    fixture.queue(&request("b", 30_000), None);
    fixture.pass(2 * SECOND);
    let tried = fixture.try_acquire(&request("t", 1_000));
    assert!(matches!(tried.reply, Tried::Busy { .. }));
    assert_eq!(ids(&tried.granted), ["b"]);
    fixture.resource.delete_lock(fixture.now());
    fixture.queue_overdue(3);
    assert!(matches!(
        fixture.try_acquire(&request("t2", 1_000)).reply,
        Tried::Granted { ttl_ms: 1_000, .. }
    ));
}

#[test]
fn busy_try_leaves_no_trace() {
    let mut fixture = Fixture::new();
    fixture.hold(&request("a", 1_000));
    let before = format!("{:?}", fixture.resource);
    assert!(matches!(
        fixture.try_acquire(&request("t", 1_000)).reply,
        Tried::Busy { waiting: 0, .. }
    ));
    assert_eq!(format!("{:?}", fixture.resource), before);
}

#[test]
fn overdue_waiter_is_skipped_and_keeps_its_place() {
    let mut fixture = Fixture::new();
    let (b, c) = (request("b", 30_000), request("c", 30_000));
    fixture.hold(&request("a", 60_000));
    let (ticket_b, _) = fixture.queue(&b, None);
    let (ticket_c, _) = fixture.queue(&c, None);
    fixture.pass(5 * SECOND / 2);
    fixture.queue(&c, Some(ticket_c));
    fixture.pass(1);
    assert_eq!(ids(&fixture.end("a", false).granted), ["c"]);
    assert_eq!(fixture.queue(&b, Some(ticket_b)), (ticket_b, 1));
}

#[test]
fn waiter_that_polled_in_time_is_live() {
    let mut fixture = Fixture::new();
    fixture.hold(&request("a", 60_000));
    fixture.queue(&request("b", 30_000), None);
    fixture.pass(5 * SECOND / 2);
    assert_eq!(ids(&fixture.end("a", false).granted), ["b"]);
}

#[test]
fn unreachable_waiter_is_skipped_until_it_polls() {
    let mut fixture = Fixture::new();
    let (b, c) = (request("b", 30_000), request("c", 30_000));
    fixture.hold(&request("a", 60_000));
    let (ticket, _) = fixture.queue(&b, None);
    fixture.queue(&c, None);
    fixture.unreachable = vec![b.channel.to_string()];
    assert_eq!(ids(&fixture.end("a", false).granted), ["c"]);
    assert_eq!(fixture.end("c", false).granted, []);
    assert!(matches!(
        fixture.acquire(&b, Some(ticket)).reply,
        Acquired::Granted { .. }
    ));
}

#[test]
fn stopped_waiters_cost_one_provisional_ttl_together() {
    let mut fixture = Fixture::new();
    fixture.hold(&request("a", 60_000));
    for n in 0..20 {
        fixture.queue(&request(&format!("stopped{n:02}"), 30_000), None);
    }
    let live = request("live", 30_000);
    let (ticket, _) = fixture.queue(&live, None);
    assert_eq!(ids(&fixture.end("a", false).granted), ["stopped00"]);
    fixture.pass(SECOND);
    fixture.queue(&live, Some(ticket));
    fixture.pass(SECOND + 1_000);
    assert!(matches!(
        fixture.acquire(&live, Some(ticket)).reply,
        Acquired::Granted { .. }
    ));
}

#[test]
fn liveness_cutoff_outlives_later_grants() {
    let mut fixture = Fixture::new();
    fixture.hold(&request("a", 60_000));
    let (ticket, _) = fixture.queue(&request("b", 1_000), None);
    fixture.queue(&request("c", 30_000), None);
    assert_eq!(ids(&fixture.end("a", false).granted), ["b"]);
    fixture.pass(SECOND + 1_000);
    // The grant of b expired. c has not polled since, and x comes before it.
    let x = request("x", 30_000);
    assert!(matches!(
        fixture.acquire(&x, None).reply,
        Acquired::Granted { .. }
    ));
    assert_eq!(fixture.end("x", false).granted, []);
    let poll = fixture.acquire(&request("b", 1_000), Some(ticket)).reply;
    assert!(matches!(poll, Acquired::Granted { .. }), "{poll:?}");
}

#[test]
fn grant_consumes_the_place() {
    let mut fixture = Fixture::new();
    let (b, c) = (request("b", 30_000), request("c", 60_000));
    fixture.hold(&request("a", 60_000));
    let (ticket_b, _) = fixture.queue(&b, None);
    let (ticket_c, _) = fixture.queue(&c, None);
    assert_eq!(ids(&fixture.end("a", false).granted), ["b"]);
    fixture.pass(SECOND);
    fixture.queue(&c, Some(ticket_c));
    fixture.pass(SECOND + 1_000);
    // b missed its grant and lost its place, and c is granted when b polls.
    let poll = fixture.acquire(&b, Some(ticket_b));
    assert_eq!(ids(&poll.granted), ["c"]);
    assert!(matches!(poll.reply, Acquired::Queued { ticket, .. } if ticket_c < ticket));
}

#[test]
fn acquire_with_a_tombstone_leaves_nothing() {
    let mut fixture = Fixture::new();
    let a = request("a", 1_000);
    assert_eq!(
        fixture.end("a", true).reply,
        Ended::NotYours { taken: false }
    );
    fixture.pass(60 * SECOND);
    assert_eq!(fixture.acquire(&a, None).reply, Acquired::Ended);
    assert_eq!(fixture.try_acquire(&a).reply, Tried::Ended);
    assert_eq!(fixture.holder(), None);
    fixture.pass(2_000);
    assert!(
        matches!(fixture.try_acquire(&a).reply, Tried::Granted { .. }),
        "remembered for a minute"
    );
}

#[test]
fn tombstoned_request_lets_the_next_waiter_in() {
    let a = request("a", 1_000);
    for tries in [false, true] {
        let mut fixture = Fixture::new();
        drop(fixture.end("a", true));
        fixture.hold(&request("b", 1_000));
        fixture.pass(1);
        fixture.queue(&request("c", 30_000), None);
        fixture.pass(2 * SECOND);
        let granted = if tries {
            fixture.try_acquire(&a).granted
        } else {
            fixture.acquire(&a, None).granted
        };
        assert_eq!(ids(&granted), ["c"]);
    }
}

#[test]
fn one_step_skips_a_bounded_number_of_waiters() {
    let mut fixture = Fixture::new();
    fixture.hold(&request("a", 60_000));
    let crowd = MAX_STEPS + 5;
    fixture.queue_overdue(crowd);
    let live = request("z", 30_000);
    fixture.queue(&live, None);
    let end = fixture.end("a", false);
    assert_eq!(
        (end.reply, end.granted.len(), end.again),
        (Ended::Released, 0, true)
    );
    let again = fixture.end("a", false);
    assert_eq!(
        (again.reply, ids(&again.granted), again.again),
        (Ended::NotYours { taken: false }, vec!["z"], false)
    );
}

#[test]
fn leaving_waiter_hands_off_a_free_lock() {
    let mut fixture = Fixture::new();
    fixture.hold(&request("a", 1_000));
    fixture.queue(&request("b", 30_000), None);
    fixture.queue(&request("c", 30_000), None);
    fixture.pass(2 * SECOND);
    let end = fixture.end("b", false);
    assert_eq!((end.reply, ids(&end.granted)), (Ended::Left, vec!["c"]));
}

#[test]
fn tickets_rise_when_the_clock_steps_back() {
    let mut fixture = Fixture::new();
    fixture.hold(&request("a", 60_000));
    let (first, _) = fixture.queue(&request("b", 30_000), None);
    fixture.now -= SECOND;
    let (second, place) = fixture.queue(&request("c", 30_000), None);
    assert_eq!((second, place), (first + 1, 2));
}

#[test]
fn place_survives_a_lost_queue() {
    let mut fixture = Fixture::new();
    fixture.hold(&request("a", 60_000));
    let (b, c) = (request("b", 30_000), request("c", 30_000));
    let (ticket_b, _) = fixture.queue(&b, None);
    fixture.pass(10);
    let (ticket_c, _) = fixture.queue(&c, None);
    fixture.resource.lose_queue();
    assert_eq!(fixture.queue(&c, Some(ticket_c)), (ticket_c, 1));
    assert_eq!(fixture.queue(&b, Some(ticket_b)), (ticket_b, 1));
    assert_eq!(ids(&fixture.end("a", false).granted), ["b"]);
}

#[test]
fn fences_rise_across_expiry_release_and_clock_steps() {
    let mut fixture = Fixture::new();
    let mut last = 0;
    for n in 0..40_u64 {
        let fence = fixture.hold(&request(&format!("r{n}"), 100));
        assert!(last < fence);
        last = fence;
        match n % 4 {
            0 => drop(fixture.end(&format!("r{n}"), false)),
            1 => fixture.pass(SECOND),
            2 => fixture.resource.delete_lock(fixture.now()),
            _ => {
                drop(fixture.end(&format!("r{n}"), false));
                fixture.now -= 3 * SECOND;
            }
        }
    }
}

#[test]
fn last_fence_is_kept_for_a_minute() {
    let mut fixture = Fixture::new();
    let first = fixture.hold(&request("a", 100));
    drop(fixture.end("a", false));
    fixture.pass(60 * SECOND);
    assert!(!fixture.resource.is_forgotten(fixture.now()));
    fixture.pass(SECOND + 1_000);
    assert!(fixture.resource.is_forgotten(fixture.now()));
    fixture.now -= 120 * SECOND;
    assert_eq!(fixture.hold(&request("b", 100)), first + 1);
}

#[test]
fn fence_is_kept_until_the_clock_reaches_it() {
    let mut fixture = Fixture::new();
    let first = fixture.hold(&request("a", 100));
    drop(fixture.end("a", false));
    fixture.now -= 200 * SECOND;
    let second = fixture.hold(&request("b", 100));
    assert_eq!(second, first + 1);
    drop(fixture.end("b", false));
    fixture.pass(150 * SECOND);
    assert_eq!(
        fixture.hold(&request("c", 100)),
        second + 1,
        "still behind what was given"
    );
}

#[test]
fn break_grants_the_next_and_asking_stops_renewals() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&request("a", 5_000));
    fixture.queue(&request("b", 5_000), None);
    let now = fixture.now();
    let asked = fixture.resource.break_hold(now, fence, false, |_| true);
    assert_eq!(
        asked.reply,
        Broken::Asked {
            remaining_ms: Some(5_000)
        }
    );
    fixture.pass(SECOND);
    let renewed = fixture.resource.renew(fixture.now(), "a", fence, 5_000);
    assert_eq!(renewed, Renewed::Stopping { ttl_ms: 4_000 });
    let now = fixture.now();
    assert_eq!(
        fixture
            .resource
            .break_hold(now, fence + 1, true, |_| true)
            .reply,
        Broken::NotHeld
    );
    let broken = fixture.resource.break_hold(now, fence, true, |_| true);
    assert_eq!(
        (broken.reply, ids(&broken.granted)),
        (Broken::Freed, vec!["b"])
    );
}

#[test]
fn external_holder_is_waited_for_and_never_ended() {
    let mut fixture = Fixture::new();
    fixture
        .resource
        .take_externally(fixture.now(), "go", Some(5_000));
    let acquired = fixture.acquire(&request("a", 1_000), None).reply;
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
    assert_eq!(
        fixture.end("go", false).reply,
        Ended::NotYours { taken: true }
    );
    assert_eq!(fixture.holder().as_deref(), Some("go"));
    fixture.resource.set_expiry(fixture.now(), None);
    fixture.pass(365 * 86_400 * SECOND);
    assert_eq!(
        fixture.holder().as_deref(),
        Some("go"),
        "it has no TTL until it is deleted"
    );
}

impl Fixture {
    /// Queues waiters that have not polled for too long.
    fn queue_overdue(&mut self, count: usize) {
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
            self.resource.delete_lock(self.now());
        }
    }
}

#[test]
fn external_hold_is_broken_by_its_owner() {
    let mut fixture = Fixture::new();
    let now = fixture.now();
    let broken = |fixture: &mut Fixture, owner| {
        let all = |_: &str| true;
        fixture.resource.break_external(now, owner, all).reply
    };
    assert_eq!(broken(&mut fixture, "go"), Broken::NotHeld);
    fixture.resource.take_externally(now, "go", None);
    assert_eq!(broken(&mut fixture, "another"), Broken::NotHeld);
    assert_eq!(broken(&mut fixture, "go"), Broken::Freed);
    fixture.hold(&request("go", 30_000));
    assert_eq!(
        broken(&mut fixture, "go"),
        Broken::NotHeld,
        "it has a fence"
    );
}
