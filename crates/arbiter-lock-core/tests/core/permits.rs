//! Weights of permits, and the limits that they share.

use arbiter_lock_core::{Acquired, Contender, Refusal, Resized, Tried};

use crate::fixture::{Fixture, SECOND, follower, ids, number, permits, reader, request};

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
fn limits_of_skipped_waiters_do_not_count() {
    let mut fixture = Fixture::new();
    fixture.hold(&request("w", 30_000));
    fixture.queue(&permits("p", 1, 5), None);
    fixture.pass(40 * SECOND);
    let reply = fixture.acquire(&permits("q", 7, 7), None).reply;
    assert!(matches!(reply, Acquired::Granted { .. }), "{reply:?}");
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
