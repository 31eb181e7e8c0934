//! The expiry that a waiter polls for.

use arbiter_lock_core::{Acquired, Contender, Renewed};

use crate::fixture::{Fixture, SECOND, permits, reader, request};

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
