//! Every operation under every fault: it returns a typed result in time, leaves nothing, and the
//! next acquire is granted.

mod primitives;
pub(crate) mod rig;

use std::time::Instant;

use arbiter_lock::Error;
use testkit::{Fault, Pushes, Traffic, eventually_async};

use crate::faults::key;
use rig::{FAULTS, Rig, held, is_acquire, is_end, is_renewal, is_try, ms};

#[tokio::test]
async fn acquire_under_any_fault_is_granted_or_undone() {
    for fault in FAULTS {
        let rig = Rig::new().await;
        let rule = rig.proxy.nth(1, fault, is_acquire);
        let begun = Instant::now();
        let lock = rig.client.lock(&rig.name).wait_timeout(ms(3_000));
        let guard = held(lock.acquire().await, fault).expect("the store serves within the wait");
        assert!(
            begun.elapsed() < ms(3_500) && rule.fired() == 1,
            "{fault:?}"
        );
        assert!(guard.is_held());
        guard.release().await.unwrap();
        rig.is_clean(fault).await;
    }
}

#[tokio::test]
async fn try_under_any_fault_ends_and_leaves_nothing() {
    for fault in FAULTS {
        let rig = Rig::new().await;
        let rule = rig.proxy.nth(1, fault, is_try);
        let begun = Instant::now();
        let tried = rig.client.lock(&rig.name).try_acquire().await;
        assert!(
            begun.elapsed() < ms(1_000) && rule.fired() == 1,
            "{fault:?}: {:?}",
            begun.elapsed()
        );
        let guard = held(tried.map(|guard| guard.expect("it is free")), fault);
        assert_eq!(guard.is_some(), fault == Fault::Duplicate, "{fault:?}");
        drop(guard);
        rig.is_clean(fault).await;
    }
}

#[tokio::test]
async fn release_under_any_fault_frees_without_a_loss() {
    for fault in FAULTS {
        let rig = Rig::new().await;
        let guard = rig.client.lock(&rig.name).acquire().await.unwrap();
        let rule = rig.proxy.nth(1, fault, is_end);
        let released = guard.release().await;
        assert!(rule.fired() == 1, "{fault:?}");
        assert!(
            matches!(released, Ok(()) | Err(Error::Unavailable(_))),
            "{fault:?}: {released:?}"
        );
        let key = format!("arbiter:{}", rig.name);
        let is_free = eventually_async(ms(2_000), || {
            rig.server.call(&["EXISTS", &key]).int() == Some(0)
        })
        .await;
        assert!(is_free, "{fault:?}");
        rig.is_clean(fault).await;
    }
}

#[tokio::test]
async fn renewal_under_any_fault_keeps_the_hold() {
    let mut each = tokio::task::JoinSet::new();
    for fault in FAULTS {
        each.spawn(async move {
            let rig = Rig::new().await;
            let lock = rig.client.lock(&rig.name).lease_time(ms(4_800));
            let guard = lock.acquire().await.unwrap();
            let rule = rig.proxy.nth(1, fault, is_renewal);
            tokio::time::sleep(ms(5_000)).await;
            assert!(guard.is_held() && rule.fired() == 1, "{fault:?}: {guard:?}");
            guard.release().await.unwrap();
            rig.is_clean(fault).await;
        });
    }
    each.join_all().await;
}

#[tokio::test]
async fn poll_under_any_fault_keeps_the_place() {
    for fault in FAULTS {
        let rig = Rig::new().await;
        let holder = rig.direct.lock(&rig.name).acquire().await.unwrap();
        let rule = rig.proxy.nth(2, fault, is_acquire);
        let first = tokio::spawn({
            let lock = rig.client.lock(&rig.name);
            async move { lock.acquire().await.unwrap() }
        });
        let queued = eventually_async(ms(2_000), || rule.met() == 1).await;
        tokio::time::sleep(ms(50)).await;
        let second = tokio::spawn({
            let lock = rig.direct.lock(&rig.name);
            async move { lock.acquire().await.unwrap() }
        });
        assert!(
            queued && eventually_async(ms(3_000), || rule.fired() == 1).await,
            "{fault:?}"
        );
        tokio::time::sleep(ms(1_600)).await;
        assert!(!first.is_finished() && !second.is_finished());
        holder.release().await.unwrap();
        let guard = tokio::time::timeout(ms(2_000), first)
            .await
            .expect("first come, first served")
            .unwrap();
        assert!(!second.is_finished(), "{fault:?}");
        guard.release().await.unwrap();
        second.await.unwrap().release().await.unwrap();
        rig.is_clean(fault).await;
    }
}

#[tokio::test]
async fn acquire_delayed_past_its_wait_leaves_nothing() {
    let rig = Rig::new().await;
    let rule = rig.proxy.nth(1, Fault::HoldRequest, is_acquire);
    let lock = rig.client.lock(&rig.name).wait_timeout(ms(150));
    assert!(lock.acquire().await.unwrap_err().is_unavailable());
    tokio::time::sleep(ms(300)).await;
    rule.release();
    let key = format!("arbiter:{}", rig.name);
    let begun = Instant::now();
    while begun.elapsed() < ms(600) {
        assert_eq!(
            rig.server.call(&["EXISTS", &key]).int(),
            Some(0),
            "a zombie holds"
        );
        tokio::time::sleep(ms(10)).await;
    }
    rig.is_clean(Fault::HoldRequest).await;
}

#[tokio::test]
async fn lost_or_late_pushes_cost_one_poll() {
    for pushes in [Pushes::Lost, Pushes::Late(ms(2_600))] {
        let rig = Rig::new().await;
        let holder = rig.direct.lock(&rig.name).acquire().await.unwrap();
        rig.proxy.set_pushes(pushes);
        let waiter = tokio::spawn({
            let lock = rig.client.lock(&rig.name);
            async move { lock.acquire().await.unwrap() }
        });
        tokio::time::sleep(ms(300)).await;
        holder.release().await.unwrap();
        let guard = tokio::time::timeout(ms(1_600), waiter)
            .await
            .expect("its poll finds the grant")
            .unwrap();
        tokio::time::sleep(ms(2_700)).await;
        assert!(guard.is_held());
        guard.release().await.unwrap();
        rig.is_clean(Fault::LoseReply).await;
    }
}

#[tokio::test]
async fn wait_ending_during_a_poll_is_contended() {
    let rig = Rig::new().await;
    let key = key(&rig.name);
    // A holder of another library announces no release, and is polled repeatedly.
    rig.server.call(&["HSET", &key, "owner", "foreign"]);
    rig.server.call(&["PEXPIRE", &key, "60000"]);
    let lock = rig.client.lock(&rig.name).wait_timeout(ms(600));
    let waiting = tokio::spawn(async move { lock.acquire().await });
    tokio::time::sleep(ms(530)).await;
    let rule = rig.proxy.each(Fault::DelayReply(ms(2_000)), is_acquire);
    let error = waiting.await.unwrap().unwrap_err();
    assert!(error.is_contended(), "{error}, {} polls", rule.fired());
}

#[tokio::test]
async fn lease_shorter_than_round_trip_is_an_error() {
    let rig = Rig::new().await;
    rig.proxy.each(Fault::DelayReply(ms(150)), is_acquire);
    let lock = rig.client.lock(&rig.name).lease_time(ms(100));
    let error = tokio::time::timeout(ms(10_000), lock.acquire())
        .await
        .expect("an end")
        .unwrap_err();
    assert!(
        error.is_unavailable() && error.to_string().contains("too short"),
        "{error}"
    );
}

#[tokio::test]
async fn silent_open_connection_is_replaced() {
    let rig = Rig::new().await;
    let guard = rig
        .client
        .lock(&rig.name)
        .lease_time(ms(6_000))
        .acquire()
        .await
        .unwrap();
    rig.proxy.set_traffic(Traffic::Silent);
    let lock = rig.client.lock("other").wait_timeout(ms(1_500));
    assert!(lock.acquire().await.unwrap_err().is_unavailable());
    // Open connections stay silent forever. Only a new connection works.
    rig.proxy.set_traffic(Traffic::Flowing);
    let lock = lock.wait_timeout(ms(3_000));
    lock.acquire().await.unwrap().release().await.unwrap();
    tokio::time::sleep(ms(4_000)).await;
    assert!(guard.is_held(), "the keeper's connection was replaced too");
    guard.release().await.unwrap();
}
