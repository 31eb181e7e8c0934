#![cfg(feature = "testing")]

use std::time::Duration;

use crate::{Client, FaultInjection};

/// Returns a client whose round trip takes 200 to 202 ms.
fn slow_client() -> Client {
    let client = Client::in_memory();
    client.testing().inject_faults(FaultInjection {
        least: Duration::from_millis(100),
        ..FaultInjection::default()
    });
    client
}

/// Records a replaced server during the request, and leaves the renewal to the task that its answer
/// wakes. Returns whether the hold is renewed as soon as the request is answered.
async fn is_renewed_after<T>(client: &Client, request: impl Future<Output = T>) -> bool {
    let replacing = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let shared = &client.inner.keeper.shared;
        shared.table().renew_all(shared.clock.now());
    };
    let (answered, ()) = tokio::join!(request, replacing);
    let answered_at = client.inner.clock.now();
    tokio::time::sleep(Duration::from_millis(250)).await;
    let hold = client.inner.keeper.all().remove(0);
    drop(answered);
    answered_at <= hold.confirmed_at()
}

#[tokio::test(start_paused = true)]
async fn grant_under_way_during_a_switch_is_renewed() {
    let client = slow_client();
    let lock = client.lock("l");
    assert!(is_renewed_after(&client, lock.acquire()).await);
}

#[tokio::test(start_paused = true)]
async fn refresh_during_a_switch_does_not_count() {
    let client = slow_client();
    let guard = client.lock("l").acquire().await.unwrap();
    assert!(is_renewed_after(&client, guard.refresh()).await);
}

#[tokio::test(start_paused = true)]
async fn downgrade_during_a_switch_does_not_count() {
    let client = slow_client();
    let guard = client.rw_lock("l").write().await.unwrap();
    assert!(is_renewed_after(&client, guard.downgrade()).await);
}
