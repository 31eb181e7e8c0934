//! The rules for shared holds: weights, limits, and the queue.

use std::num::NonZeroU32;

use arbiter_lock_core::{
    Acquired, Contender, Downgraded, Limit, MAX_STEPS, Mode, Refusal, Renewed, Resized, Tried,
    Written,
};

use crate::fixture::{Fixture, SECOND, ids, request};

pub(crate) fn reader(id: &str) -> Contender {
    sharer(id, 1, Limit::Unlimited)
}

pub(crate) fn permits(id: &str, weight: u32, limit: u32) -> Contender {
    sharer(id, weight, Limit::Stated(number(limit)))
}

fn follower(id: &str, weight: u32, limit: u32) -> Contender {
    sharer(id, weight, Limit::Followed(number(limit)))
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn sharer(id: &str, weight: u32, limit: Limit) -> Contender {
    let weight = number(weight);
    let mode = Mode::Shared { weight, limit };
    Contender {
        mode,
        ..request(id, 30_000)
    }
}

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
fn large_request_at_head_is_not_overtaken() {
    let mut fixture = Fixture::new();
    fixture.hold(&permits("a", 2, 3));
    fixture.queue(&permits("big", 3, 3), None);
    fixture.queue(&permits("small", 1, 3), None);
    let end = fixture.end("a", false);
    assert_eq!(ids(&end.granted), ["big"]);
    assert_eq!(ids(&fixture.end("big", false).granted), ["small"]);
}

#[test]
fn held_permits_never_exceed_the_limit() {
    let mut fixture = Fixture::new();
    fixture.hold(&permits("a", 2, 3));
    fixture.hold(&permits("b", 1, 3));
    fixture.queue(&permits("c", 1, 3), None);
    fixture.queue(&permits("d", 1, 3), None);
    assert_eq!(ids(&fixture.end("b", false).granted), ["c"]);
    assert_eq!(ids(&fixture.end("c", false).granted), ["d"]);
}

#[test]
fn permit_counts_its_weight_and_returns_once() {
    let mut fixture = Fixture::new();
    fixture.hold(&permits("a", 1, 3));
    fixture.hold(&permits("b", 1, 3));
    fixture.hold(&permits("c", 1, 3));
    drop(fixture.end("a", false));
    drop(fixture.end("a", false));
    fixture.queue(&permits("two", 2, 3), None);
    fixture.queue(&permits("one", 1, 3), None);
    assert_eq!(ids(&fixture.end("b", false).granted), ["two"]);
    assert_eq!(ids(&fixture.end("c", false).granted), ["one"]);
}

#[test]
fn weight_above_limit_and_different_limit_are_refused() {
    let mut fixture = Fixture::new();
    let refused = |fixture: &mut Fixture, request: &Contender| fixture.acquire(request, None).reply;
    let above = refused(&mut fixture, &permits("a", 4, 3));
    assert_eq!(above, Acquired::Refused(Refusal::AboveLimit { limit: 3 }));
    fixture.hold(&permits("b", 1, 3));
    let differs = refused(&mut fixture, &permits("c", 1, 5));
    assert_eq!(
        differs,
        Acquired::Refused(Refusal::LimitDiffers { limit: Some(3) })
    );
    drop(fixture.end("b", false));
    fixture.hold(&permits("d", 1, 5));
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
fn raised_limit_admits_waiters_lowered_limit_delays_them() {
    let mut fixture = Fixture::new();
    fixture.hold(&permits("a", 2, 2));
    fixture.queue(&permits("b", 2, 2), None);
    fixture.queue(&permits("c", 1, 2), None);
    let raised = fixture.resize(5);
    assert_eq!(raised.reply, Resized::Resized { before: number(2) });
    assert_eq!(ids(&raised.granted), ["b", "c"]);
    assert_eq!(fixture.resize(3).granted, []);
    fixture.queue(&permits("d", 1, 3), None);
    assert_eq!(fixture.end("c", false).granted, []);
    assert_eq!(ids(&fixture.end("a", false).granted), ["d"]);
}

#[test]
fn queued_request_above_lowered_limit_is_refused() {
    let mut fixture = Fixture::new();
    fixture.hold(&permits("a", 4, 4));
    let (ticket, _) = fixture.queue(&follower("big", 3, 4), None);
    drop(fixture.resize(2));
    let poll = fixture.acquire(&follower("big", 3, 4), Some(ticket)).reply;
    assert_eq!(poll, Acquired::Refused(Refusal::AboveLimit { limit: 2 }));
}

#[test]
fn follower_takes_current_limit_or_sets_its_own() {
    let mut fixture = Fixture::new();
    fixture.hold(&follower("a", 1, 2));
    let other = fixture.acquire(&permits("b", 1, 3), None).reply;
    let differs = Refusal::LimitDiffers { limit: Some(2) };
    assert_eq!(other, Acquired::Refused(differs));
    fixture.hold(&follower("c", 1, 9));
    fixture.queue(&follower("d", 1, 9), None);
    drop(fixture.end("d", false));
    let above = fixture.acquire(&follower("e", 3, 9), None).reply;
    assert_eq!(above, Acquired::Refused(Refusal::AboveLimit { limit: 2 }));
}

#[test]
fn resize_requires_held_permits() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.resize(2).reply, Resized::NotHeld);
    fixture.hold(&reader("r"));
    assert_eq!(fixture.resize(2).reply, Resized::NotHeld);
    drop(fixture.end("r", false));
    fixture.hold(&request("w", 30_000));
    assert_eq!(fixture.resize(2).reply, Resized::NotHeld);
}

#[test]
fn proclaimed_value_lasts_as_long_as_the_hold() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&request("leader", 30_000));
    let now = fixture.now();
    let proclaim = |fixture: &mut Fixture, fence, value| {
        fixture.resource.proclaim(now, "leader", fence, value)
    };
    assert_eq!(proclaim(&mut fixture, fence + 1, "x"), Written::NotYours);
    assert_eq!(fixture.resource.inspect(now).value, None);
    assert_eq!(proclaim(&mut fixture, fence, "10.0.0.1"), Written::Written);
    assert_eq!(
        fixture.resource.inspect(now).value.as_deref(),
        Some("10.0.0.1")
    );
    fixture.pass(31 * SECOND);
    assert_eq!(fixture.resource.inspect(fixture.now()).value, None);
    fixture.hold(&request("next", 30_000));
    assert_eq!(fixture.resource.inspect(fixture.now()).value, None);
    assert_eq!(proclaim(&mut fixture, fence, "late"), Written::NotYours);
}

#[test]
fn run_record_keeps_first_start_and_first_end() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&request("a", 30_000));
    let started = fixture.now();
    let begin = |fixture: &mut Fixture| {
        fixture
            .resource
            .begin_run(fixture.now(), "a", fence, 60_000)
    };
    assert_eq!(begin(&mut fixture), Written::Written);
    fixture.pass(SECOND);
    assert_eq!(begin(&mut fixture), Written::Written);
    let run = fixture.resource.last_run(fixture.now()).unwrap();
    assert_eq!((run.started, run.ended, run.fence), (started, None, fence));
    drop(fixture.end("a", false));
    let ended = fixture.now();
    let finish = |fixture: &mut Fixture, fence, outcome: &str| {
        fixture
            .resource
            .finish_run(fixture.now(), fence, &outcome.into(), 60_000)
    };
    assert_eq!(finish(&mut fixture, fence, "0"), Written::Written);
    fixture.pass(SECOND);
    assert_eq!(finish(&mut fixture, fence, "1"), Written::Written);
    assert_eq!(finish(&mut fixture, fence + 1, "1"), Written::NotYours);
    let run = fixture.resource.last_run(fixture.now()).unwrap();
    assert_eq!(run.ended, Some((ended, "0".into())));
    assert!(!fixture.resource.is_forgotten(fixture.now()));
    fixture.pass(61 * SECOND);
    assert_eq!(fixture.resource.last_run(fixture.now()), None);
    let now = fixture.now();
    assert_eq!(
        fixture.resource.begin_run(now, "a", fence, 60_000),
        Written::NotYours
    );
}

#[test]
fn limits_of_skipped_waiters_do_not_count() {
    let mut fixture = Fixture::new();
    fixture.hold(&request("w", 30_000));
    fixture.queue(&permits("p", 1, 5), None);
    fixture.pass(40 * SECOND);
    let reply = fixture.acquire(&permits("q", 7, 7), None).reply;
    assert!(matches!(reply, Acquired::Granted { .. }), "{reply:?}");
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
fn waiting_writer_states_no_limit() {
    let mut fixture = Fixture::new();
    fixture.hold(&request("h", 30_000));
    fixture.queue(&request("w", 30_000), None);
    fixture.queue(&permits("p", 1, 3), None);
    assert!(matches!(
        fixture.acquire(&permits("q", 1, 4), None).reply,
        Acquired::Refused(Refusal::LimitDiffers { limit: Some(3) })
    ));
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

/// Returns in how many milliseconds the waiter with that id polls for an expiry.
fn awaits(fixture: &mut Fixture, id: &str) -> Option<u64> {
    match fixture.acquire(&request(id, 30_000), None).reply {
        Acquired::Queued {
            awaited_expiry_ms, ..
        } => awaited_expiry_ms,
        other => panic!("{other:?}"),
    }
}

#[test]
fn first_waiters_await_the_first_expiry() {
    let mut fixture = Fixture::new();
    for (id, lease_ms) in [("long", 9_000), ("short", 1_300), ("middle", 5_000)] {
        let reader = Contender {
            lease_ms,
            ..reader(id)
        };
        fixture.hold(&reader);
    }
    let expected = [1_300, 1_300, 1_300, 1_300, 5_000, 9_000].map(Some);
    for (n, expiry) in expected.into_iter().chain([None, None]).enumerate() {
        assert_eq!(awaits(&mut fixture, &format!("w{n}")), expiry, "place {n}");
    }
    // A hold lasts to the end of its last millisecond.
    fixture.pass(1_300_000);
    assert_eq!(awaits(&mut fixture, "w0"), Some(0));
    fixture.pass(1_000);
    let left = [3_699, 3_699, 3_699, 3_699, 7_699].map(Some);
    for (n, expiry) in left.into_iter().chain([None, None]).enumerate() {
        assert_eq!(awaits(&mut fixture, &format!("w{n}")), expiry, "place {n}");
    }
}

#[test]
fn renewal_moves_the_awaited_expiry() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&permits("a", 1, 2));
    let short = Contender {
        lease_ms: 2_000,
        ..permits("b", 1, 2)
    };
    let of_short = fixture.hold(&short);
    assert_eq!(awaits(&mut fixture, "w"), Some(2_000));
    fixture.pass(SECOND);
    fixture.resource.renew(fixture.now(), "b", of_short, 40_000);
    assert_eq!(awaits(&mut fixture, "w"), Some(29_000), "that of the other");
    assert_eq!(fixture.end("a", false).granted, [], "the writer waits on");
    assert_eq!(awaits(&mut fixture, "w"), Some(40_000));
    let renewed = fixture.resource.renew(fixture.now(), "a", fence, 40_000);
    assert!(matches!(renewed, Renewed::NotYours { .. }));
}

#[test]
fn behind_one_holder_four_await_its_expiry() {
    let mut fixture = Fixture::new();
    fixture.hold(&request("h", 30_000));
    let awaited = (0..6).map(|n| awaits(&mut fixture, &format!("w{n}")));
    let awaited: Vec<_> = awaited.collect();
    let expected = [Some(30_000); 4].into_iter().chain([None; 2]);
    assert_eq!(awaited, expected.collect::<Vec<_>>());
    fixture
        .resource
        .take_externally(fixture.now(), "external", None);
    assert_eq!(awaits(&mut fixture, "w0"), None, "it has no end");
}

#[test]
fn waiter_that_tries_is_granted_once() {
    let mut fixture = Fixture::new();
    fixture.unreachable.push("channel of dead".into());
    fixture.hold(&request("h", 30_000));
    fixture.queue(&follower("dead", 2, 5), None);
    fixture.queue(&follower("waits", 2, 4), None);
    fixture.resource.delete_lock(fixture.now());
    // Its limit differs from that of the dead waiter, which is skipped before limits are compared.
    let tried = fixture.try_acquire(&permits("waits", 2, 4));
    assert_eq!(ids(&tried.granted), ["waits"]);
    assert!(matches!(tried.reply, Tried::Busy { .. }), "{tried:?}");
    let sharing = fixture.resource.inspect(fixture.now()).sharing.unwrap();
    assert_eq!((sharing.count, sharing.weight), (1, 2));
}
