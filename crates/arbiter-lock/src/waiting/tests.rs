#![cfg(feature = "testing")]

use super::*;
use crate::primitives::primitive::Primitive;
use crate::store::{Push, PushedGrant};
use crate::{Client, FaultInjection};

/// Polls for 200 ms. A new epoch begins during the poll if `is_replaced`. Returns the pause until the
/// next poll, and the age of a grant of the far future, by the store's clock.
async fn pause_and_age_after_poll(is_replaced: bool) -> (Duration, Duration) {
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
    let attempt = Attempt::new(inner, name, Mode::Exclusive, options, origin, series).unwrap();
    let (slot, id) = (attempt.slot.clone(), attempt.contender.id.clone());
    let mut waiting = Waiting::new(attempt, None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let replacing = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if is_replaced {
            client.inner.handle().registry().poll_again();
        }
    };
    let (polled, ()) = tokio::join!(waiting.poll(), replacing);
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
        epoch: slot.epoch(),
    };
    let now = client.inner.clock.now();
    (pause, now - waiting.age.of_push(&granted, now).base)
}

#[tokio::test(start_paused = true)]
async fn reply_across_epochs_dates_no_grant() {
    let (pause, age) = pause_and_age_after_poll(false).await;
    assert!(!pause.is_zero());
    assert_eq!(age, Duration::ZERO);
    let (pause, age) = pause_and_age_after_poll(true).await;
    assert!(pause.is_zero(), "its wake was consumed by the poll");
    assert!(Duration::from_secs(1) < age);
}
