//! Conformance tests of jobs that run once per period.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arbiter_lock::{Begun, Client, Error, LastRun, Once, Outcome, RunGuard, RunState, Skip};

use super::Store;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const HOUR: Duration = Duration::from_secs(3_600);

async fn begin(job: &Once) -> RunGuard {
    match job.begin().await.expect("an answer") {
        Begun::Run(run) => run,
        Begun::Skipped(skip) => panic!("{skip}"),
    }
}

async fn skip(job: &Once) -> Skip {
    match job.begin().await.expect("an answer") {
        Begun::Run(_) => panic!("it is not to run"),
        Begun::Skipped(skip) => skip,
    }
}

async fn last_run(job: &Once) -> LastRun {
    let last = job.last_run().await.expect("an answer");
    last.expect("it is remembered")
}

/// Waits until the name is free.
async fn free(client: &Client, name: &str) {
    for _ in 0..300 {
        if !client
            .lock(name)
            .inspect()
            .await
            .expect("a status")
            .is_held()
        {
            return;
        }
        tokio::time::sleep(ms(10)).await;
    }
    panic!("never free");
}

/// Returns how many of eight clients ran the job when all of them began at once.
async fn runs_of_eight(store: &Store, job: impl Fn(&Client) -> Once) -> u64 {
    let runs = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (job, runs) = (job(&store.client().await), runs.clone());
        tasks.push(tokio::spawn(async move {
            let work = |_| async move {
                tokio::time::sleep(ms(50)).await;
                runs.fetch_add(1, Ordering::SeqCst);
                Ok::<(), Error>(())
            };
            job.run(work).await.expect("an answer")
        }));
    }
    let mut ran = 0;
    for task in tasks {
        ran += u64::from(matches!(task.await.expect("a task"), Outcome::Ran(Ok(()))));
    }
    assert_eq!(ran, runs.load(Ordering::SeqCst));
    ran
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn job_runs_once_per_period_among_many_clients(store: &Store) {
    // A memory store lives as long as its clients.
    let _client = store.client().await;
    let job = |client: &Client| client.once("j").every(ms(3_000));
    assert_eq!(runs_of_eight(store, job).await, 1);
    assert_eq!(runs_of_eight(store, job).await, 0);
    tokio::time::sleep(ms(3_000)).await;
    assert_eq!(runs_of_eight(store, job).await, 1);
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn waiting_job_is_skipped_once_another_has_run(store: &Store) {
    let client = store.client().await;
    let job = |client: &Client| client.once("j").every(HOUR).wait_timeout(ms(5_000));
    assert_eq!(runs_of_eight(store, job).await, 1);
    assert!(
        !client
            .lock("j")
            .inspect()
            .await
            .expect("a status")
            .is_held()
    );
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn skip_reports_last_run_and_next_due_time(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let job = a.once("j").every(HOUR).label("of the test");
    assert_eq!(job.last_run().await.expect("an answer"), None);
    let run = begin(&job).await;
    let fence = run.fence();
    run.finish(Ok("7 rows")).await.expect("held to its end");

    let skip = skip(&b.once("j").every(HOUR)).await;
    let said = skip.to_string();
    let Skip::NotDue { name, last, next } = skip else {
        panic!("{said}");
    };
    assert_eq!((name.as_str(), last.fence), ("j", fence));
    assert_eq!(last.label.note.as_deref(), Some("of the test"));
    assert_eq!(last.label.pid, Some(std::process::id()));
    assert!(last.started < ms(5_000), "{last:?}");
    let state = &last.state;
    assert!(
        matches!(state, RunState::EndedWell { note, .. } if note == "7 rows"),
        "{state:?}"
    );
    let due = HOUR - Duration::from_secs(60);
    assert!(due - ms(5_000) < next && next <= due, "{next:?}");
    for part in ["'j' was run by", "of the test", "ended well", "in 59 min"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn running_job_is_skipped_and_names_its_runner(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let run = begin(&a.once("j").every(ms(10)).label("at it")).await;
    tokio::time::sleep(ms(50)).await;
    let job = b.once("j").every(ms(10));
    let skip = skip(&job).await;
    let said = skip.to_string();
    let Skip::Running { holder, .. } = skip else {
        panic!("{said}");
    };
    let holder = holder.expect("a holder");
    assert_eq!(holder.fence, Some(run.fence()));
    assert!(
        said.contains("running now, by") && said.contains("at it"),
        "{said}"
    );
    assert_eq!(last_run(&job).await.state, RunState::Running);
    run.finish(Ok("")).await.expect("held to its end");
    let state = last_run(&job).await.state;
    assert!(matches!(state, RunState::EndedWell { .. }), "{state:?}");
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn crashed_run_counts_unless_repeated(store: &Store) {
    let client = store.client().await;
    let job = client.once("j").every(HOUR);
    drop(begin(&job).await);
    free(&client, "j").await;
    assert_eq!(last_run(&job).await.state, RunState::Crashed);
    let said = skip(&job).await.to_string();
    assert!(said.contains("has not ended"), "{said}");
    let run = begin(&job.clone().repeat_failed(true)).await;
    run.finish(Ok("")).await.expect("held to its end");
    assert!(matches!(
        skip(&job.repeat_failed(true)).await,
        Skip::NotDue { .. }
    ));
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn failed_run_counts_unless_repeated(store: &Store) {
    let client = store.client().await;
    let job = client.once("j").every(HOUR);
    let failing = |_| async { Err::<(), _>("no disk") };
    let failed = job.run(failing).await.expect("an answer");
    assert_eq!(failed, Outcome::Ran(Err("no disk")));
    let said = skip(&job).await.to_string();
    assert!(
        said.contains("failed") && said.contains("no disk"),
        "{said}"
    );
    let again = job.repeat_failed(true).run(failing).await;
    assert_eq!(again.expect("an answer"), Outcome::Ran(Err("no disk")));
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn forced_run_is_recorded_and_skips_nothing(store: &Store) {
    let client = store.client().await;
    let job = client.once("j").every(HOUR);
    begin(&job).await.finish(Ok("a")).await.expect("held");
    let forced = job.clone().force(true);
    let run = begin(&forced).await;
    assert!(matches!(skip(&forced).await, Skip::Running { .. }));
    run.finish(Ok("b")).await.expect("held to its end");
    let state = last_run(&job).await.state;
    assert!(
        matches!(&state, RunState::EndedWell { note, .. } if note == "b"),
        "{state:?}"
    );
    assert!(matches!(skip(&job).await, Skip::NotDue { .. }));
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn reset_job_is_due(store: &Store) {
    let client = store.client().await;
    let job = client.once("j").every(HOUR);
    job.reset().await.expect("an answer");
    let run = begin(&job).await;
    job.reset().await.expect("an answer");
    assert_eq!(job.last_run().await.expect("an answer"), None);
    assert!(matches!(skip(&job).await, Skip::Running { .. }));
    run.finish(Ok("")).await.expect("held to its end");
    assert_eq!(job.last_run().await.expect("an answer"), None);
    begin(&job).await.finish(Ok("")).await.expect("held");
    job.reset().await.expect("an answer");
    drop(begin(&job).await);
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn late_run_does_not_delay_the_next(store: &Store) {
    let client = store.client().await;
    let period = ms(2_000);
    let job = client.once("j").every(period);
    let first = std::time::Instant::now();
    begin(&job).await.finish(Ok("")).await.expect("held");
    // The second run is half a period late, and the third is due at its point.
    tokio::time::sleep(
        (first + period * 3 / 2).saturating_duration_since(std::time::Instant::now()),
    )
    .await;
    begin(&job).await.finish(Ok("")).await.expect("held");
    let Skip::NotDue { next, .. } = skip(&job).await else {
        panic!("it is not running");
    };
    assert!(next <= period / 2, "{next:?}");
    tokio::time::sleep(next + ms(5)).await;
    begin(&job).await.finish(Ok("")).await.expect("held");
    skip(&job).await;
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn pause_counts_from_the_end_of_a_run(store: &Store) {
    let client = store.client().await;
    let job = client.once("j").every(ms(10)).at_least(ms(1_000));
    let run = begin(&job).await;
    tokio::time::sleep(ms(1_100)).await;
    run.finish(Ok("")).await.expect("held to its end");
    let Skip::NotDue { next, .. } = skip(&job).await else {
        panic!("it is not running");
    };
    assert!(ms(500) < next && next <= ms(1_000), "{next:?}");
    tokio::time::sleep(next + ms(5)).await;
    drop(begin(&job).await);
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn end_is_recorded_after_a_lost_hold(store: &Store) {
    let client = store.client().await;
    let job = client.once("j").every(HOUR);
    let run = begin(&job.clone().lease_time(ms(300)).watchdog(false)).await;
    run.lost().await;
    let lost = run.finish(Ok("all the same")).await;
    assert!(lost.expect_err("it was lost").is_lost());
    let state = last_run(&job).await.state;
    assert!(
        matches!(&state, RunState::EndedWell { note, .. } if note == "all the same"),
        "{state:?}"
    );
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn late_end_does_not_overwrite_a_later_run(store: &Store) {
    let client = store.client().await;
    let job = client
        .once("j")
        .every(HOUR)
        .at_least(HOUR)
        .repeat_failed(true);
    let first = begin(&job).await;
    let broken = client.lock("j").break_now(first.fence()).await;
    assert!(broken.expect("an answer"));
    let second = begin(&job).await;
    let late = first.finish(Ok("late")).await;
    assert!(late.expect_err("another client runs it").is_lost());
    let last = last_run(&job).await;
    assert_eq!(last.fence, second.fence());
    assert_eq!(last.state, RunState::Running);
    second.finish(Ok("")).await.expect("held to its end");
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn lost_hold_drops_the_work_and_records_it(store: &Store) {
    let client = store.client().await;
    let job = client.once("j").every(HOUR);
    let lossy = job.clone().lease_time(ms(300)).watchdog(false);
    let endless = |_| std::future::pending::<Result<(), Error>>();
    let lost = lossy.run(endless).await;
    assert!(lost.expect_err("it was lost").is_lost());
    let state = last_run(&job).await.state;
    assert!(
        matches!(&state, RunState::Failed { why, .. } if why.contains("lost")),
        "{state:?}"
    );
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn job_without_a_rule_is_refused(store: &Store) {
    let client = store.client().await;
    let day = Duration::from_secs(86_400);
    let bad = [
        (client.once("j"), "every"),
        (client.once("j").every(Duration::ZERO), "every"),
        (client.once("j").every(day * 365 + ms(1)), "every"),
        (
            client.once("j").every(day).at_least(Duration::ZERO),
            "at_least",
        ),
        (client.once("").every(day), "name"),
    ];
    for (job, what) in bad {
        match job.begin().await {
            Err(Error::Invalid(invalid)) => assert_eq!(invalid.what, what),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(client.once("j").last_run().await.expect("an answer"), None);
    for job in [
        client.once("a").every(day * 365),
        client.once("b").at_least(day),
    ] {
        begin(&job)
            .await
            .finish(Ok(""))
            .await
            .expect("held to its end");
    }
}
