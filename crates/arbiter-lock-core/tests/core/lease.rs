//! The lease of a holder, backoff, and names.

use std::time::Duration;

use arbiter_lock_core::{Backoff, Lease, Name, NameError, Next};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn hold_is_lost_exactly_its_margin_before_deadline() {
    let lease = Lease::new(ms(100), ms(1_000), ms(20), None);
    assert_eq!(lease.next(ms(1_079)), Next::Sleep { until: ms(1_080) });
    assert_eq!(lease.next(ms(1_080)), Next::Lost);
}

#[test]
fn deadline_counts_from_sending_and_never_moves_back() {
    let mut lease = Lease::new(ms(0), ms(1_000), ms(20), Some(ms(300)));
    lease.confirm(ms(500), ms(1_000), Some(ms(300)));
    assert_eq!(lease.deadline(), ms(1_500));
    lease.confirm(ms(100), ms(1_000), Some(ms(300)));
    assert_eq!(lease.deadline(), ms(1_500));
}

#[test]
fn failed_renewal_is_retried_until_the_deadline() {
    let mut lease = Lease::new(ms(0), ms(1_000), ms(20), Some(ms(300)));
    assert_eq!(lease.next(ms(300)), Next::Renew);
    lease.postpone(ms(400));
    assert_eq!(lease.next(ms(399)), Next::Sleep { until: ms(400) });
    assert_eq!(lease.next(ms(400)), Next::Renew);
    assert_eq!(lease.next(ms(980)), Next::Lost);
}

#[test]
fn default_margin_covers_a_clock_two_percent_fast() {
    for ttl_ms in [1, 100, 2_000, 30_000, 86_400_000, 31_536_000_000] {
        let ttl = ms(ttl_ms);
        let margin = Lease::default_margin(ttl);
        let ends_after = |rate: f64| ttl.div_f64(rate) - ms(1).min(ttl.div_f64(rate));
        assert!(ttl.saturating_sub(margin) <= ends_after(1.02), "{ttl:?}");
        // The guarantee ends there: a faster clock ends a longer lease sooner.
        assert!(ttl_ms < 30_000 || ends_after(1.025) < ttl - margin);
    }
}

#[test]
fn unanswered_renewal_is_repeated_after_a_third() {
    let mut lease = Lease::new(ms(0), ms(320), ms(20), Some(ms(100)));
    lease.ask(ms(120));
    assert!(lease.is_unanswered());
    assert_eq!(lease.next(ms(179)), Next::Sleep { until: ms(180) });
    lease.ask(ms(180));
    assert_eq!(lease.renewal(), Some(ms(220)));
    lease.ask(ms(290));
    assert_eq!(lease.renewal(), Some(ms(300)), "it is not repeated at once");
}

#[test]
fn late_replies_extend_and_schedule_nothing() {
    let mut lease = Lease::new(ms(0), ms(320), ms(20), Some(ms(100)));
    lease.ask(ms(100));
    lease.ask(ms(200));
    let repeated = lease.renewal();
    lease.confirm(ms(100), ms(320), Some(ms(100)));
    assert_eq!((lease.end(), lease.renewal()), (ms(400), repeated));
    assert!(lease.is_unanswered());
    lease.confirm(ms(200), ms(320), Some(ms(100)));
    assert_eq!((lease.end(), lease.renewal()), (ms(500), Some(ms(300))));
    assert!(!lease.is_unanswered());
    assert_eq!(lease.confirmed_at(), ms(200));
    lease.confirm(ms(100), ms(320), Some(ms(100)));
    assert_eq!((lease.end(), lease.renewal()), (ms(500), Some(ms(300))));
    assert_eq!(lease.confirmed_at(), ms(200));
}

#[test]
fn late_failures_postpone_nothing() {
    let mut lease = Lease::new(ms(0), ms(320), ms(20), Some(ms(100)));
    lease.ask(ms(100));
    lease.ask(ms(200));
    let repeated = lease.renewal();
    assert!(lease.fail(ms(100), ms(110)), "nothing is confirmed since");
    assert_eq!(lease.renewal(), repeated);
    assert!(lease.fail(ms(200), ms(250)));
    assert_eq!(lease.renewal(), repeated, "it is repeated before");
    assert!(lease.fail(ms(200), ms(210)));
    assert_eq!(lease.renewal(), Some(ms(210)));
    lease.confirm(ms(250), ms(320), Some(ms(100)));
    assert!(!lease.fail(ms(200), ms(260)), "a newer one is confirmed");
    assert_eq!(lease.renewal(), Some(ms(350)));
}

#[test]
fn unrenewed_lease_lasts_until_its_deadline() {
    let mut lease = Lease::new(ms(0), ms(1_000), ms(20), None);
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
    lease.ask(Duration::MAX);
    assert!(lease.fail(Duration::MAX, Duration::MAX));
    lease.confirm(Duration::MAX, Duration::MAX, None);
    assert_eq!(lease.next(Duration::ZERO), Next::Lost);
    assert_eq!(
        Lease::default_margin(Duration::MAX),
        Duration::MAX / 50 + ms(1)
    );
    assert_eq!(Lease::default_margin(Duration::ZERO), ms(2));
    let mut backoff = Backoff::new(Duration::ZERO, Duration::MAX);
    assert_eq!(
        (backoff.next(7), backoff.next(u32::MAX)),
        (Duration::ZERO, Duration::ZERO)
    );
}

#[test]
fn backoff_doubles_to_its_maximum_and_resets() {
    let mut backoff = Backoff::new(ms(10), ms(35));
    let waits: Vec<_> = (0..4).map(|_| backoff.next(u32::MAX)).collect();
    assert_eq!(waits, [ms(10), ms(20), ms(35), ms(35)]);
    backoff.reset();
    assert_eq!(backoff.next(0), ms(5));
}

#[test]
fn name_has_one_to_512_bytes() {
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
