//! The holder's side, backing off, and names.

use std::time::Duration;

use arbiter_lock_core::{Backoff, Lease, Name, NameError, Next};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn a_hold_is_lost_its_margin_before_the_deadline_and_not_before() {
    let lease = Lease::new(ms(100), ms(1_000), ms(20), None);
    assert_eq!(lease.next(ms(1_079)), Next::Sleep { until: ms(1_080) });
    assert_eq!(lease.next(ms(1_080)), Next::Lost);
}

#[test]
fn a_deadline_counts_from_the_sending_and_never_moves_back() {
    let mut lease = Lease::new(ms(0), ms(1_000), ms(20), Some(ms(300)));
    lease.confirm(ms(500), ms(1_000), Some(ms(300)));
    assert_eq!(lease.deadline(), ms(1_500));
    lease.confirm(ms(100), ms(1_000), Some(ms(300)));
    assert_eq!(lease.deadline(), ms(1_500));
}

#[test]
fn a_failed_renewal_is_tried_again_and_ends_nothing_before_the_deadline() {
    let mut lease = Lease::new(ms(0), ms(1_000), ms(20), Some(ms(300)));
    assert_eq!(lease.next(ms(300)), Next::Renew);
    lease.postpone(ms(400));
    assert_eq!(lease.next(ms(399)), Next::Sleep { until: ms(400) });
    assert_eq!(lease.next(ms(400)), Next::Renew);
    assert_eq!(lease.next(ms(980)), Next::Lost);
}

#[test]
fn one_that_is_renewed_no_more_lasts_until_its_deadline() {
    let mut lease = Lease::new(ms(0), ms(1_000), ms(20), Some(ms(300)));
    assert_eq!(lease.renewal(), Some(ms(300)));
    lease.stop_renewing();
    assert_eq!(lease.renewal(), None);
    assert_eq!(lease.next(ms(300)), Next::Sleep { until: ms(980) });
    lease.postpone(ms(400));
    assert_eq!(lease.renewal(), None, "nothing is put off that is not due");
}

#[test]
fn absurd_durations_do_no_harm() {
    let mut lease = Lease::new(
        Duration::MAX,
        Duration::MAX,
        Duration::MAX,
        Some(Duration::MAX),
    );
    lease.confirm(Duration::MAX, Duration::MAX, None);
    assert_eq!(lease.next(Duration::ZERO), Next::Lost);
    assert_eq!(Lease::default_margin(Duration::MAX), ms(500));
    assert_eq!(Lease::default_margin(Duration::ZERO), ms(2));
    let mut backoff = Backoff::new(Duration::ZERO, Duration::MAX);
    assert_eq!(
        (backoff.next(7), backoff.next(u32::MAX)),
        (Duration::ZERO, Duration::ZERO)
    );
}

#[test]
fn a_backoff_doubles_to_its_most_and_begins_anew() {
    let mut backoff = Backoff::new(ms(10), ms(35));
    let waits: Vec<_> = (0..4).map(|_| backoff.next(u32::MAX)).collect();
    assert_eq!(waits, [ms(10), ms(20), ms(35), ms(35)]);
    backoff.reset();
    assert_eq!(backoff.next(0), ms(5));
}

#[test]
fn a_name_has_one_to_512_bytes() {
    assert_eq!(Name::new(""), Err(NameError::Empty));
    assert!(Name::new(&"x".repeat(512)).is_ok());
    assert_eq!(Name::new(&"x".repeat(513)), Err(NameError::TooLong(513)));
    let name = Name::new("ü }{\0").unwrap();
    assert_eq!((name.as_str(), &*name.to_string()), ("ü }{\0", "ü }{\0"));
    let why = [NameError::Empty, NameError::TooLong(513)].map(|error| error.to_string());
    assert!(
        why[0].contains("empty") && why[1].contains("513"),
        "{why:?}"
    );
}
