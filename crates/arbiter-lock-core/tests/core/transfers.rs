//! Holds that go to another request.

use arbiter_lock_core::{Acquired, Broken, Contender, Ended, Renewed, detached_id, is_detached};

use crate::fixture::{Fixture, SECOND, ids, permits, reader, request};

const TAKEN: Renewed = Renewed::NotYours { taken: true };
const GONE: Renewed = Renewed::NotYours { taken: false };

fn renewed(ttl_ms: u64) -> Renewed {
    Renewed::Renewed { ttl_ms }
}

impl Fixture {
    fn transfer(&mut self, owner: &str, fence: u64, to: &Contender) -> Renewed {
        let now = self.now();
        self.resource.transfer(now, owner, fence, to)
    }

    fn renew(&mut self, owner: &str, fence: u64) -> Renewed {
        let now = self.now();
        self.resource.renew(now, owner, fence, 5_000)
    }
}

fn detached(id: &str, lease_ms: u64) -> Contender {
    request(&detached_id(id), lease_ms)
}

#[test]
fn transfer_keeps_fence_and_start() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&request("a", 5_000));
    let before = fixture.resource.inspect(fixture.now()).holder.unwrap();
    fixture.queue(&request("w", 5_000), None);
    fixture.pass(SECOND);
    let to = Contender {
        label: "of b".into(),
        ..request("b", 30_000)
    };
    assert_eq!(fixture.transfer("a", fence, &to), renewed(30_000));
    let after = fixture.resource.inspect(fixture.now()).holder.unwrap();
    assert_eq!((&*after.owner, &*after.label), ("b", "of b"));
    assert_eq!((after.fence, after.since), (before.fence, before.since));
    assert_eq!(after.remaining_ms, Some(30_000));
    assert_eq!(fixture.renew("a", fence), TAKEN);
    assert_eq!(
        fixture.end("a", false).reply,
        Ended::NotYours { taken: true }
    );
    let ended = fixture.end("b", false);
    assert_eq!(
        (ended.reply, ids(&ended.granted)),
        (Ended::Released, vec!["w"])
    );
}

#[test]
fn first_of_several_transfers_wins() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&request("a", 5_000));
    let [b, c] = ["b", "c"].map(|id| request(id, 5_000));
    assert_eq!(fixture.transfer("a", fence + 1, &b), TAKEN);
    assert_eq!(fixture.transfer("a", fence, &b), renewed(5_000));
    assert_eq!(fixture.transfer("a", fence, &c), TAKEN);
    assert_eq!(fixture.transfer("a", fence, &b), renewed(5_000));
    assert_eq!(fixture.transfer("b", fence, &c), renewed(5_000));
    assert_eq!(fixture.transfer("a", fence, &b), TAKEN, "a late copy");
    assert_eq!(fixture.end("c", false).reply, Ended::Released);
    assert_eq!(fixture.transfer("c", fence, &b), GONE);
}

#[test]
fn transfer_sets_the_lease_and_repeated_only_extends() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&request("a", 3_600_000));
    assert_eq!(
        fixture.transfer("a", fence, &request("b", 5_000)),
        renewed(5_000)
    );
    fixture.pass(SECOND);
    fixture.resource.renew(fixture.now(), "b", fence, 60_000);
    assert_eq!(
        fixture.transfer("a", fence, &request("b", 5_000)),
        renewed(60_000)
    );
    fixture.pass(61 * SECOND);
    assert_eq!(fixture.transfer("a", fence, &request("b", 5_000)), GONE);
}

#[test]
fn expired_hold_is_not_transferred() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&request("a", 5_000));
    fixture.pass(6 * SECOND);
    assert_eq!(fixture.transfer("a", fence, &request("b", 5_000)), GONE);
    assert_eq!(fixture.holder(), None);
}

#[test]
fn ended_request_gets_no_hold() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&request("a", 5_000));
    assert_eq!(
        fixture.end("b", true).reply,
        Ended::NotYours { taken: true }
    );
    assert_eq!(fixture.transfer("a", fence, &request("b", 5_000)), TAKEN);
    assert_eq!(fixture.renew("a", fence), renewed(5_000));
}

#[test]
fn waiting_request_gets_no_hold() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&request("a", 5_000));
    fixture.queue(&request("b", 5_000), None);
    assert_eq!(fixture.transfer("a", fence, &request("b", 5_000)), TAKEN);
    assert_eq!(ids(&fixture.end("a", false).granted), ["b"]);
}

#[test]
fn hold_asked_to_stop_is_not_transferred() {
    for to in [request("b", 30_000), detached("b", 30_000)] {
        let mut fixture = Fixture::new();
        let fence = fixture.hold(&request("a", 5_000));
        let now = fixture.now();
        let _ = fixture.resource.break_hold(now, fence, false, |_| true);
        let stopping = Renewed::Stopping { ttl_ms: 5_000 };
        assert_eq!(fixture.transfer("a", fence, &to), stopping);
        assert_eq!(fixture.holder().as_deref(), Some("a"));
    }
}

#[test]
fn detached_hold_is_broken_without_being_asked() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&request("a", 5_000));
    let to = detached("t", 3_600_000);
    assert!(is_detached(&to.id) && !is_detached("t"));
    assert_eq!(fixture.transfer("a", fence, &to), renewed(3_600_000));
    fixture.queue(&request("w", 5_000), None);
    let now = fixture.now();
    let broken = fixture.resource.break_hold(now, fence, false, |_| true);
    assert_eq!(
        (broken.reply, ids(&broken.granted)),
        (Broken::Freed, vec!["w"])
    );
}

#[test]
fn transferred_permits_keep_weight_and_limit() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&permits("a", 2, 3));
    fixture.hold(&permits("o", 1, 3));
    let to = permits("b", 2, 3);
    assert_eq!(fixture.transfer("a", fence, &to), renewed(30_000));
    let sharing = fixture.resource.inspect(fixture.now()).sharing.unwrap();
    assert_eq!((sharing.weight, sharing.count), (3, 2));
    assert!(matches!(
        fixture.acquire(&permits("c", 1, 3), None).reply,
        Acquired::Queued { .. }
    ));
    let ended = fixture.end("b", false);
    assert_eq!(ids(&ended.granted), ["c"]);
}

#[test]
fn sharer_gets_no_second_shared_hold() {
    let mut fixture = Fixture::new();
    let fence = fixture.hold(&reader("a"));
    let other = fixture.hold(&reader("b"));
    assert_eq!(fixture.transfer("a", fence, &reader("b")), TAKEN);
    assert_eq!(fixture.renew("a", fence), renewed(30_000));
    assert_eq!(fixture.renew("b", other), renewed(30_000));
}
