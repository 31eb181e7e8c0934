//! The primitives, independent of any store: under `block_on`, and without a reply.

use std::time::Duration;

use arbiter_lock::{Client, Error, Hold, LostReason, block_on};
use tokio::time::Instant;

use crate::election::{acting_at_grant, silenced_by_a_grant};

/// Asserts that an operation fails within a wait limit of 300 ms because the store is silent.
async fn assert_in_time<T>(what: &str, asking: impl Future<Output = Result<T, Error>>) {
    let begun = Instant::now();
    let answer = asking.await;
    assert!(answer.is_err_and(|error| error.is_unavailable()), "{what}");
    let waited = begun.elapsed();
    assert!(
        waited <= WAIT + Duration::from_millis(50),
        "{what}: {waited:?}"
    );
}

const WAIT: Duration = Duration::from_millis(300);
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn every_primitive_works_under_block_on() {
    let client = Client::in_memory();
    let catalogue = client.rw_lock("catalogue");
    let writer = block_on(catalogue.write()).unwrap();
    assert!(block_on(catalogue.try_read()).unwrap().is_none());
    block_on(writer.downgrade()).unwrap();
    let reader = block_on(catalogue.read()).unwrap();
    assert!(block_on(catalogue.try_write()).unwrap().is_none());
    let sharing = block_on(catalogue.inspect()).unwrap().sharing.unwrap();
    assert_eq!(sharing.count, 2);
    block_on(writer.release()).unwrap();
    block_on(reader.release()).unwrap();

    let licenses = client.semaphore("licenses", 3);
    let two = block_on(licenses.acquire_many(2)).unwrap();
    assert!(block_on(licenses.try_acquire_many(2)).unwrap().is_none());
    let one = block_on(licenses.try_acquire()).unwrap().unwrap();
    assert_eq!(block_on(licenses.resize(4)).unwrap(), Some(3));
    let follower = licenses.clone().follow_limit();
    let last = block_on(follower.acquire()).unwrap();
    assert_eq!(
        block_on(licenses.inspect())
            .unwrap()
            .sharing
            .unwrap()
            .weight,
        4
    );
    for guard in [two, one, last] {
        block_on(guard.release()).unwrap();
    }

    let both = client.lock_all(["b", "a"]);
    let guards = block_on(both.acquire()).unwrap();
    assert!(block_on(both.try_acquire()).unwrap().is_none());
    block_on(guards.release()).unwrap();
}

#[tokio::test]
async fn run_holds_as_its_primitive_does() {
    let client = Client::in_memory();
    let catalogue = client.rw_lock("catalogue");
    let both = catalogue.run_read(|_| catalogue.run_read(|hold| async move { hold.is_shared() }));
    assert!(both.await.unwrap().unwrap());
    let others = catalogue.run_write(|_| catalogue.try_read()).await;
    assert!(others.unwrap().unwrap().is_none());

    let licenses = client.semaphore("licenses", 3);
    let one_and_two = licenses.run(|_| licenses.run_many(2, |_| licenses.try_acquire()));
    assert!(one_and_two.await.unwrap().unwrap().unwrap().is_none());
    let error = licenses.run_many(0, |_| async {}).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");

    // All is free again.
    assert!(catalogue.try_write().await.unwrap().is_some());
    assert!(licenses.try_acquire_many(3).await.unwrap().is_some());
}

#[tokio::test]
async fn run_drops_its_work_at_a_loss() {
    let client = Client::in_memory();
    let lose = |_: Hold| async {
        client.testing().lose("l", LostReason::Expired);
        std::future::pending::<()>().await;
    };
    let reader = client.rw_lock("l").run_read(lose).await;
    let writer = client.rw_lock("l").run_write(lose).await;
    let permit = client.semaphore("l", 1).run(lose).await;
    let permits = client.semaphore("l", 2).run_many(2, lose).await;
    for error in [reader, writer, permit, permits] {
        assert!(error.unwrap_err().is_lost());
    }
}

#[tokio::test]
async fn protect_runs_work_only_while_the_hold_lasts() {
    let client = Client::in_memory();
    let guard = client.lock("l").acquire().await.unwrap();
    assert_eq!(guard.protect(async { 7 }).await.unwrap(), 7);
    // Lost at the very end, and found out after the work.
    let losing = guard.protect(async { client.testing().lose("l", LostReason::Taken) });
    let Error::Lost(loss) = losing.await.unwrap_err() else {
        panic!("another error");
    };
    assert_eq!(loss.reason, LostReason::Taken);
    let never = guard.protect(async { unreachable!("the hold is over") });
    assert!(never.await.unwrap_err().is_lost());
}

#[tokio::test]
async fn primitives_apply_their_setters() {
    let client = Client::in_memory();
    let lease = Duration::from_millis(99);
    let errors = [
        client
            .rw_lock("l")
            .lease_time(lease)
            .read()
            .await
            .unwrap_err(),
        client
            .semaphore("l", 1)
            .lease_time(lease)
            .acquire()
            .await
            .unwrap_err(),
        client
            .lock_all(["l"])
            .lease_time(lease)
            .acquire()
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn unanswered_downgrade_counts_as_shared() {
    let client = Client::in_memory();
    let catalogue = client.rw_lock("catalogue");
    let writer = catalogue.write().await.unwrap();
    client.testing().go_silent();
    let error = writer.downgrade().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(writer.is_held() && writer.is_shared());
    client.testing().answer();
    assert!(
        catalogue.try_read().await.unwrap().is_none(),
        "it was never done"
    );
    writer.downgrade().await.unwrap();
    assert!(catalogue.try_read().await.unwrap().is_some());
    writer.release().await.unwrap();

    let writer = catalogue.write().await.unwrap();
    client.testing().go_silent();
    let dropped = tokio::time::timeout(Duration::from_millis(10), writer.downgrade()).await;
    assert!(dropped.is_err() && writer.is_shared());
}

#[tokio::test(start_paused = true)]
async fn no_primitive_outlasts_its_wait_limit() {
    let client = Client::in_memory();
    client.testing().go_silent();
    let rw_lock = client.rw_lock("l").wait_timeout(WAIT);
    assert_in_time("read", rw_lock.read()).await;
    assert_in_time("write", rw_lock.write()).await;
    let session = client.session().rw_lock("l").wait_timeout(WAIT);
    assert_in_time("session", session.read()).await;
    let permits = client.semaphore("l", 3).wait_timeout(WAIT);
    assert_in_time("permits", permits.acquire_many(2)).await;
    let all = client.lock_all(["a", "b", "c"]).wait_timeout(WAIT);
    assert_in_time("all", all.acquire()).await;
    let election = client.election("l").wait_timeout(WAIT);
    assert_in_time("campaign", election.campaign("node")).await;
    let job = client.once("l").every(HOUR).wait_timeout(WAIT);
    assert_in_time("begin", job.begin()).await;
    assert_in_time("last run", job.last_run()).await;
}

#[tokio::test(start_paused = true)]
async fn silence_after_a_grant_extends_no_wait_limit() {
    let client = silenced_by_a_grant().await;
    let all = client.lock_all(["a", "b"]).wait_timeout(WAIT);
    assert_in_time("all", all.acquire()).await;
    let client = silenced_by_a_grant().await;
    let election = client.election("l").wait_timeout(WAIT);
    assert_in_time("campaign", election.campaign("node")).await;
    let client = silenced_by_a_grant().await;
    let job = client.once("l").every(HOUR).wait_timeout(WAIT);
    assert_in_time("begin", job.begin()).await;
}

#[tokio::test(start_paused = true)]
async fn wait_limit_covers_all_names_together() {
    let client = Client::in_memory();
    let first = client.lock("a").acquire().await.unwrap();
    let _second = client.lock("b").acquire().await.unwrap();
    let both = client.lock_all(["a", "b"]).wait_timeout(WAIT);
    let freeing = async {
        tokio::time::sleep(WAIT / 2).await;
        first.release().await.unwrap();
    };
    let (error, ()) = tokio::join!(both.acquire(), freeing);
    match error {
        Err(Error::Contended(contended)) => assert!(WAIT <= contended.waited, "{contended:?}"),
        other => panic!("{other:?}"),
    }
    let begun = Instant::now();
    let tried = both.wait_timeout(Duration::ZERO).acquire().await;
    assert!(tried.unwrap_err().is_contended());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn name_lost_during_last_acquire_is_a_loss() {
    let client = acting_at_grant(2, |testing| testing.lose("a", LostReason::Expired)).await;
    let error = client.lock_all(["a", "b"]).acquire().await.unwrap_err();
    assert!(error.is_lost() && error.name() == Some("a"), "{error}");
}

#[tokio::test]
async fn resize_returns_the_previous_limit() {
    let client = Client::in_memory();
    let held = client.semaphore("s", 1).acquire().await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let follower = client.semaphore("s", 1).follow_limit();
        waiting.spawn(async move { follower.acquire().await.unwrap() });
    }
    while client.lock("s").inspect().await.unwrap().waiting < 100 {
        tokio::task::yield_now().await;
    }
    let before = client.semaphore("s", 1).resize(101).await.unwrap();
    assert_eq!(before, Some(1));
    let all = tokio::time::timeout(Duration::from_secs(5), waiting.join_all()).await;
    assert_eq!(all.unwrap().len(), 100);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn releasing_many_names_waits_no_longer_than_one() {
    let client = Client::in_memory();
    let all = client.lock_all(["a", "b", "c", "d", "e"]);
    let guards = all.acquire().await.unwrap();
    client.testing().go_silent();
    let begun = Instant::now();
    let error = guards.release().await.unwrap_err();
    assert!(
        error.is_unavailable() && error.name() == Some("a"),
        "{error}"
    );
    let waited = begun.elapsed();
    assert!(waited <= Duration::from_millis(1_050), "{waited:?}");
    client.testing().answer();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(all.try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn cost_per_name_is_independent_of_count() {
    let client = Client::in_memory();
    let names = (0..5_000).map(|n| n.to_string()).collect::<Vec<_>>();
    let cycle = async |names: &[String]| {
        let guards = client.lock_all(names).acquire().await.unwrap();
        guards.release().await.unwrap();
    };
    // The fastest of several runs: a busy machine slows any of them.
    let quickest = async |with_it: usize| {
        let mut least = Duration::MAX;
        for _ in 0..5 {
            let begun = std::time::Instant::now();
            for some in names.chunks(with_it) {
                cycle(some).await;
            }
            least = least.min(begun.elapsed());
        }
        least
    };
    let (by_few, at_once) = (quickest(500).await, quickest(names.len()).await);
    assert!(at_once < by_few * 4, "{at_once:?}, and {by_few:?} by 500");
}

#[tokio::test]
async fn debug_of_a_hold_shows_name_and_fence() {
    let client = Client::in_memory();
    let guard = client.lock("l").acquire().await.unwrap();
    let fence = format!("fence: {}", guard.fence());
    for shown in [format!("{guard:?}"), format!("{:?}", guard.hold())] {
        assert!(shown.contains("\"l\"") && shown.contains(&fence), "{shown}");
    }
    assert_eq!(format!("{:?}", guard.lost()), "Lost { name: \"l\" }");
}
