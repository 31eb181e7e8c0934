//! The same for sharers, leaders, jobs and several names.

use std::time::Instant;

use arbiter_lock::{Begun, Error, RunState};
use testkit::{Fault, Traffic};

use super::rig::{
    FAULTS, Rig, is_acquire, is_begin, is_downgrade, is_end, is_finish, is_proclamation, is_resize,
    is_transfer, ms,
};

#[tokio::test]
async fn permits_under_any_fault_are_all_returned() {
    at_once(|fault| async move {
        for meets in [is_acquire, is_end] {
            let rig = Rig::new().await;
            let near = rig.direct.semaphore(&rig.name, 3);
            let one = near.acquire().await.unwrap();
            let rule = rig.proxy.nth(1, fault, meets);
            let far = rig.client.semaphore(&rig.name, 3).wait_timeout(ms(3_000));
            let two = far.acquire_many(2).await.unwrap();
            assert!(near.try_acquire().await.unwrap().is_none(), "{fault:?}");
            let released = two.release().await;
            assert!(
                matches!(released, Ok(()) | Err(Error::Unavailable(_))),
                "{fault:?}: {released:?}"
            );
            assert_eq!(rule.fired(), 1, "{fault:?}");
            let two = near.clone().wait_timeout(ms(4_000)).acquire_many(2).await;
            let two = two.unwrap_or_else(|e| panic!("{fault:?}: {e}"));
            tokio::time::sleep(ms(800)).await;
            assert!(near.try_acquire().await.unwrap().is_none(), "{fault:?}");
            let sharing = near.inspect().await.unwrap().sharing.unwrap();
            assert_eq!((sharing.weight, sharing.count), (3, 2), "{fault:?}");
            two.release().await.unwrap();
            one.release().await.unwrap();
            rig.is_clean(fault).await;
        }
    })
    .await;
}

#[tokio::test]
async fn transfer_under_any_fault_keeps_one_holder() {
    at_once(|fault| async move {
        for is_shared in [false, true] {
            let rig = Rig::new().await;
            let guard = match is_shared {
                false => rig.client.lock(&rig.name).acquire().await.unwrap(),
                true => rig.client.rw_lock(&rig.name).read().await.unwrap(),
            };
            let rule = rig.proxy.nth(1, fault, is_transfer);
            let token = guard.into_token().await;
            let token = token.unwrap_or_else(|e| panic!("{fault:?}: {e}"));
            assert_eq!(rule.fired(), 1, "{fault:?}");
            let near = rig.direct.lock(&rig.name);
            assert!(near.try_acquire().await.unwrap().is_none(), "{fault:?}");
            let rule = rig.proxy.nth(1, fault, is_transfer);
            let adopted = rig.client.adopt(&token).await;
            let adopted = adopted.unwrap_or_else(|e| panic!("{fault:?}: {e}"));
            assert_eq!(rule.fired(), 1, "{fault:?}");
            let again = rig.direct.adopt(&token).await;
            assert!(again.is_err_and(|e| e.is_lost()), "{fault:?}");
            adopted.refresh().await.unwrap();
            adopted.release().await.unwrap();
            rig.is_clean(fault).await;
        }
    })
    .await;
}

#[tokio::test]
async fn downgrade_under_any_fault_excludes_as_reported() {
    at_once(|fault| async move {
        let rig = Rig::new().await;
        let lock = rig.client.rw_lock(&rig.name).lease_time(ms(2_400));
        let guard = lock.write().await.unwrap();
        let rule = rig.proxy.nth(1, fault, is_downgrade);
        let stepped = guard.downgrade().await;
        assert_eq!(rule.fired(), 1, "{fault:?}");
        assert!(
            matches!(stepped, Ok(()) | Err(Error::Unavailable(_))),
            "{fault:?}: {stepped:?}"
        );
        let near = rig.direct.rw_lock(&rig.name);
        if !guard.is_shared() {
            tokio::time::sleep(ms(800)).await;
            let reader = near.try_read().await.unwrap();
            assert!(reader.is_none() || guard.is_shared(), "{fault:?}");
        }
        repeated(fault, || guard.downgrade()).await;
        assert!(guard.is_shared());
        let reader = near.try_read().await.unwrap().expect("it is shared");
        assert!(near.try_write().await.unwrap().is_none(), "{fault:?}");
        tokio::time::sleep(ms(2_600)).await;
        assert!(guard.is_held() && reader.is_held(), "{fault:?}");
        let status = near.inspect().await.unwrap();
        assert_eq!(status.sharing.unwrap().weight, 2, "{fault:?}");
        guard.release().await.unwrap();
        assert!(near.try_write().await.unwrap().is_none(), "{fault:?}");
        reader.release().await.unwrap();
        rig.is_clean(fault).await;
    })
    .await;
}

#[tokio::test]
async fn resize_under_any_fault_is_atomic_and_repeatable() {
    at_once(|fault| async move {
        let rig = Rig::new().await;
        let far = rig.client.semaphore(&rig.name, 1).follow_limit();
        let first = far.acquire().await.unwrap();
        let waiting = tokio::spawn({
            let near = rig.direct.semaphore(&rig.name, 1).follow_limit();
            async move { near.acquire().await.unwrap() }
        });
        tokio::time::sleep(ms(50)).await;
        let rule = rig.proxy.nth(1, fault, is_resize);
        let resized = far.resize(2).await;
        assert_eq!(rule.fired(), 1, "{fault:?}");
        if resized.is_err() {
            repeated(fault, || far.resize(2)).await;
        }
        let second = tokio::time::timeout(ms(1_500), waiting).await;
        let second = second.expect("there are two").unwrap();
        assert!(far.try_acquire().await.unwrap().is_none(), "{fault:?}");
        first.release().await.unwrap();
        second.release().await.unwrap();
        rig.is_clean(fault).await;
    })
    .await;
}

/// Runs a test once for each fault, all at the same time, each on its own server.
async fn at_once<F: Future<Output = ()> + Send + 'static>(meet: impl Fn(Fault) -> F) {
    let all: Vec<_> = FAULTS.map(|fault| tokio::spawn(meet(fault))).into();
    for one in all {
        one.await.unwrap();
    }
}

/// Repeats an operation that the store did not serve: a connection is replaced after two silent
/// requests.
async fn repeated<T, F: Future<Output = Result<T, Error>>>(fault: Fault, step: impl Fn() -> F) {
    let mut last = step().await;
    for _ in 0..3 {
        match last {
            Ok(_) => return,
            Err(Error::Unavailable(_)) => last = step().await,
            Err(other) => panic!("{fault:?}: {other}"),
        }
    }
    assert!(last.is_ok(), "{fault:?}: {:?}", last.err());
}

#[tokio::test]
async fn proclamation_under_any_fault_arrives() {
    for fault in FAULTS {
        let rig = Rig::new().await;
        let election = rig.client.election(&rig.name);
        let rules = [1, 2].map(|n| rig.proxy.nth(n, fault, is_proclamation));
        let leadership = election.campaign("first").await;
        let leadership = leadership.unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        let seen = rig.direct.election(&rig.name);
        let value = async || seen.leader().await.unwrap().and_then(|leader| leader.value);
        assert_eq!(value().await.as_deref(), Some("first"), "{fault:?}");
        leadership.proclaim("second").await.unwrap();
        assert_eq!(value().await.as_deref(), Some("second"), "{fault:?}");
        assert!(rules.iter().all(|rule| rule.fired() == 1), "{fault:?}");
        leadership.resign().await.unwrap();
        rig.is_clean(fault).await;
    }
}

#[tokio::test]
async fn run_under_any_fault_is_recorded_once() {
    for fault in FAULTS {
        let rig = Rig::new().await;
        let job = rig.client.once(&rig.name).every(ms(3_600_000));
        let rules = [
            rig.proxy.nth(1, fault, is_begin),
            rig.proxy.nth(1, fault, is_finish),
        ];
        let run = match job.begin().await {
            Ok(Begun::Run(run)) => run,
            other => panic!("{fault:?}: {other:?}"),
        };
        let fence = run.fence();
        run.finish(Ok("7 rows")).await.unwrap();
        assert!(rules.iter().all(|rule| rule.fired() == 1), "{fault:?}");
        let last = rig.direct.once(&rig.name).last_run().await.unwrap();
        let last = last.unwrap();
        assert_eq!(last.fence, fence, "{fault:?}");
        assert!(
            matches!(&last.state, RunState::EndedWell { note, .. } if note == "7 rows"),
            "{fault:?}: {last}"
        );
        rig.is_clean(fault).await;
    }
}

#[tokio::test]
async fn outage_between_names_ends_wait_and_leaves_none() {
    for traffic in [Traffic::Silent, Traffic::Refused] {
        let rig = Rig::new().await;
        let names = ["a", "b", "c"].map(|suffix| format!("{}{suffix}", rig.name));
        let held = rig.direct.lock(&names[1]).acquire().await.unwrap();
        let all = rig.client.lock_all(&names).wait_timeout(ms(1_500));
        let begun = Instant::now();
        let waiting = tokio::spawn(async move { all.acquire().await });
        let queued = eventually(async || {
            let status = rig.direct.lock(&names[1]).inspect().await;
            status.unwrap().waiting == 1
        });
        assert!(queued.await);
        rig.proxy.set_traffic(traffic);
        if traffic == Traffic::Refused {
            rig.proxy.cut_all();
        }
        let error = waiting.await.unwrap().unwrap_err();
        let waited = begun.elapsed();
        assert!(error.is_unavailable(), "{traffic:?}: {error}");
        assert!(waited <= ms(1_550) + ms(200), "{traffic:?}: {waited:?}");
        rig.proxy.set_traffic(Traffic::Flowing);
        held.release().await.unwrap();
        for name in &names {
            let lock = rig.direct.lock(name).wait_timeout(ms(8_000));
            let guard = lock.acquire().await;
            drop(guard.unwrap_or_else(|e| panic!("{traffic:?}: {e}")));
        }
    }
}

/// Returns whether the condition holds within five seconds.
async fn eventually(is_true: impl AsyncFn() -> bool) -> bool {
    let trying = async {
        while !is_true().await {
            tokio::time::sleep(ms(20)).await;
        }
    };
    tokio::time::timeout(ms(5_000), trying).await.is_ok()
}
