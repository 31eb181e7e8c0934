#![cfg(feature = "testing")]

use super::*;
use crate::primitives::primitive::Primitive;
use crate::store::{Push, PushedGrant, Source};
use crate::{Client, FaultInjection};

/// Polls for 200 ms. The waiter is woken during the poll if `is_woken`. Returns the pause until the
/// next poll, and the age of a grant of the far future, by the clock of that source.
async fn pause_and_age_after_poll(is_woken: bool, source: Source) -> (Duration, Duration) {
    let client = Client::in_memory();
    let _guard = client.lock("l").acquire().await.unwrap();
    client.testing().inject_faults(FaultInjection {
        least: Duration::from_millis(100),
        ..FaultInjection::default()
    });
    let (inner, options) = (client.inner.clone(), Arc::default());
    let name = Name::new("l").unwrap();
    let origin = Origin::default();
    let series = inner.name_label.series(Primitive::Lock, &name);
    let params = AcquireParams {
        inner,
        name,
        mode: Mode::Exclusive,
        options,
        origin,
        series,
    };
    let attempt = Attempt::new(params).unwrap();
    let id = attempt.contender.id.clone();
    let mut waiting = Waiting::new(attempt, None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waking = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if is_woken {
            client.inner.handle().registry().poll_again(|_| true);
        }
    };
    let (polled, ()) = tokio::join!(waiting.poll(), waking);
    let Ok(Next::Poll(pause)) = polled else {
        panic!("it is held");
    };
    let granted = PushedGrant {
        push: Push {
            request: id,
            fence: 9,
            ttl_ms: 2_000,
            at: Moment::from_micros(u64::MAX / 2),
        },
        source,
    };
    let now = client.inner.clock.now();
    (pause, now - waiting.age.of_push(&granted, now).base)
}

#[tokio::test(start_paused = true)]
async fn reply_dates_only_grants_of_its_source() {
    let (pause, age) = pause_and_age_after_poll(false, 0).await;
    assert!(!pause.is_zero());
    assert_eq!(age, Duration::ZERO);
    let (_, age) = pause_and_age_after_poll(false, 1).await;
    assert!(Duration::from_secs(1) < age);
}

#[tokio::test(start_paused = true)]
async fn wake_during_a_poll_is_not_lost() {
    let (pause, _) = pause_and_age_after_poll(true, 0).await;
    assert!(pause.is_zero());
}
