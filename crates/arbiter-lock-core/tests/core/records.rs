//! The writes of a holder: a proclaimed value, and the record of a run.

use arbiter_lock_core::Written;

use crate::fixture::{Fixture, SECOND, request};

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
            .begin_run(fixture.now(), "a", fence, started, 60_000)
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
            .finish_run(fixture.now(), fence, &outcome.into())
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
        fixture.resource.begin_run(now, "a", fence, now, 60_000),
        Written::NotYours
    );
}
