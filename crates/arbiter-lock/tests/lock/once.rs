//! Jobs that run once per period, on the memory store and on paused time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arbiter_lock::{
    Begun, Client, Error, Event, Once, Outcome, RunGuard, RunState, Skip, block_on,
};
use testkit::{Server, WallClock};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

async fn begin(job: &Once) -> RunGuard {
    match job.begin().await.unwrap() {
        Begun::Run(run) => run,
        Begun::Skipped(skip) => panic!("{skip}"),
    }
}

async fn skip(job: &Once) -> Skip {
    match job.begin().await.unwrap() {
        Begun::Run(_) => panic!("it is not to run"),
        Begun::Skipped(skip) => skip,
    }
}

async fn run(job: &Once) {
    begin(job).await.finish(Ok("")).await.unwrap();
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn job_early_within_the_slack_runs() {
    let client = Client::in_memory();
    let job = client.once("j").every(24 * HOUR);
    run(&job).await;
    pass(24 * HOUR - 2 * MINUTE).await;
    skip(&job).await;
    pass(MINUTE).await;
    run(&job).await;

    let job = client.once("k").every(5 * MINUTE);
    run(&job).await;
    pass(4 * MINUTE).await;
    skip(&job).await;
    pass(MINUTE / 2).await;
    run(&job).await;
}

#[tokio::test(start_paused = true)]
async fn run_is_remembered_while_it_continues() {
    let client = Client::in_memory();
    let job = client.once("j").every(MINUTE).lease_time(HOUR);
    let long = begin(&job).await;
    pass(20 * 24 * HOUR).await;
    let last = job.last_run().await.unwrap().unwrap();
    assert_eq!(last.state, RunState::Running);
    assert!(20 * 24 * HOUR <= last.started, "{last}");
    long.finish(Ok("")).await.unwrap();
    let last = job.last_run().await.unwrap().unwrap();
    assert!(matches!(last.state, RunState::EndedWell { .. }), "{last}");
    assert!(20 * 24 * HOUR <= last.started, "{last}");
}

#[tokio::test(start_paused = true)]
async fn pause_counts_from_the_end_of_long_runs() {
    let client = Client::in_memory();
    let job = client.once("j").at_least(10 * MINUTE);
    let long = begin(&job).await;
    pass(HOUR).await;
    long.finish(Ok("")).await.unwrap();
    pass(9 * MINUTE).await;
    let Skip::NotDue { last, .. } = skip(&job).await else {
        panic!("it is not running");
    };
    assert!(matches!(last.state, RunState::EndedWell { ago, .. } if 9 * MINUTE <= ago));
    pass(MINUTE).await;
    run(&job).await;
}

#[tokio::test(start_paused = true)]
async fn run_is_forgotten_two_periods_after_its_end() {
    let client = Client::in_memory();
    let job = client.once("j").every(HOUR);
    run(&job).await;
    pass(2 * HOUR - MINUTE).await;
    assert!(job.last_run().await.unwrap().is_some());
    pass(2 * MINUTE).await;
    assert!(job.last_run().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn longest_stated_period_is_remembered() {
    let client = Client::in_memory();
    let (hourly, brief) = (
        client.once("j").every(HOUR),
        client.once("j").every(MINUTE / 60),
    );
    run(&hourly).await;
    pass(MINUTE).await;
    run(&brief).await;
    // By its own period, the brief one's run would be forgotten.
    pass(2 * MINUTE).await;
    let Skip::NotDue { next, .. } = skip(&hourly).await else {
        panic!("it is not running");
    };
    assert!(50 * MINUTE < next, "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn unrecorded_end_is_logged_and_run_still_succeeds() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = events.clone();
    let logger = move |event: &Event| {
        if let Event::EndNotRecorded { .. } = event {
            heard.lock().unwrap().push(event.to_string());
        }
    };
    let builder = Client::builder().store("memory:").logger(logger);
    let client = builder.connect().await.unwrap();
    let job = client.once("j").every(HOUR);
    let work = |_| async {
        client.testing().go_silent();
        Ok::<_, Error>(7)
    };
    let ran = job.run(work).await.unwrap();
    assert!(matches!(ran, Outcome::Ran(Ok(7))));
    client.testing().deliver_events();
    let told = events.lock().unwrap().clone();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("does not answer"), "{}", told[0]);
    client.testing().answer();
    pass(2 * MINUTE).await;
    let last = job.last_run().await.unwrap().unwrap();
    assert_eq!(last.state, RunState::Crashed);
}

#[tokio::test(start_paused = true)]
async fn short_silence_costs_no_run() {
    let client = Client::in_memory();
    let job = client.once("j").every(HOUR).wait_timeout(MINUTE);
    client.testing().go_silent();
    let answering = async {
        pass(Duration::from_secs(10)).await;
        client.testing().answer();
    };
    let (run, ()) = tokio::join!(begin(&job), answering);
    run.finish(Ok("")).await.unwrap();

    client.testing().go_silent();
    let at_once = client.once("j").every(HOUR).begin().await;
    assert!(at_once.unwrap_err().is_unavailable());
}

#[tokio::test(start_paused = true)]
async fn run_ending_during_inspection_has_not_crashed() {
    let client = Client::in_memory();
    let job = client.once("j").every(MINUTE);
    for polls in 0..12 {
        let run = begin(&job).await;
        let ending = async {
            for _ in 0..polls {
                tokio::task::yield_now().await;
            }
            assert!(client.testing().expire("j"));
            assert!(run.finish(Ok("")).await.unwrap_err().is_lost());
        };
        let (last, ()) = tokio::join!(job.last_run(), ending);
        let state = last.unwrap().unwrap().state;
        assert_ne!(state, RunState::Crashed, "after {polls} polls");
        pass(MINUTE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn end_of_lost_run_is_sent_only_once() {
    let client = Client::in_memory();
    let lossy = client.once("j").every(HOUR).lease_time(MINUTE);
    let run = begin(&lossy.watchdog(false)).await;
    run.lost().await;
    client.testing().go_silent();
    let begun = tokio::time::Instant::now();
    assert!(run.finish(Ok("")).await.unwrap_err().is_lost());
    let waited = begun.elapsed();
    assert!(waited <= Duration::from_millis(1_050), "{waited:?}");
}

#[tokio::test]
async fn clock_years_ahead_does_not_postpone_a_job() {
    let clock = WallClock::new();
    clock.run_ahead(400 * 86_400 * 1_000_000);
    let server = clock.rule(Server::builder()).start();
    let client = Client::connect(&server.url()).await.unwrap();
    let job = client.once("j").every(HOUR);
    run(&job).await;
    skip(&job).await;
    clock.run_ahead_on(&server, 0);
    run(&job).await;
    let Skip::NotDue { next, .. } = skip(&job).await else {
        panic!("it is not running");
    };
    assert!(next <= HOUR, "{next:?}");
}

#[test]
fn once_works_with_blocking_calls() {
    let client = Client::in_memory();
    let job = client.once("j").every(HOUR);
    match block_on(job.begin()).unwrap() {
        Begun::Run(run) => block_on(run.finish(Ok(""))).unwrap(),
        Begun::Skipped(skip) => panic!("{skip}"),
    }
    assert!(matches!(block_on(job.begin()).unwrap(), Begun::Skipped(_)));
}

#[cfg(feature = "calendar")]
mod calendar {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn job_runs_once_per_calendar_period() {
        let client = Client::in_memory();
        let (daily, hourly) = (client.once("d"), client.once("h"));
        for (job, period) in [
            (daily.daily("Europe/Berlin"), 24 * HOUR),
            (hourly.hourly("Asia/Kolkata"), HOUR),
        ] {
            run(&job).await;
            let Skip::NotDue { next, .. } = skip(&job).await else {
                panic!("it is not running");
            };
            assert!(next <= period + HOUR, "{next:?}");
            pass(next.saturating_sub(Duration::from_millis(1))).await;
            skip(&job).await;
            pass(Duration::from_millis(2)).await;
            run(&job).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_zone_is_refused_before_sending() {
        let client = Client::in_memory();
        client.testing().go_silent();
        for job in [
            client.once("j").daily("Mars/Base"),
            client.once("j").hourly(""),
        ] {
            match job.begin().await {
                Err(Error::Invalid(invalid)) => assert_eq!(invalid.what, "zone"),
                other => panic!("{other:?}"),
            }
        }
    }
}
