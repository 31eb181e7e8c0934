//! Which holds are renewed together, and when.

use super::*;
use crate::{Client, Guard};

/// Acquires holds with a lease of that many seconds, and removes them from their keeper.
async fn holds(client: &Client, seconds: u64, count: usize) -> Vec<Guard> {
    let mut guards = Vec::new();
    for n in 0..count {
        let lock = client.lock(&format!("{seconds} {n}"));
        let lock = lock.lease_time(Duration::from_secs(seconds));
        guards.push(lock.acquire().await.unwrap());
        client.inner.keeper.forget(&guards[n].hold().state);
    }
    guards
}

/// Plans while that many renewal calls are unanswered.
fn plan_at(table: &mut Table, now: Duration, unanswered: usize) -> Plan {
    table.calls.insert(0, unanswered);
    table.plan(now, |_| 0)
}

fn add(table: &mut Table, guard: &Guard) -> bool {
    let hold = guard.hold().state.clone();
    let now = hold.clock.now();
    table.add(hold, now)
}

#[tokio::test(start_paused = true)]
async fn only_an_earlier_due_hold_wakes_the_keeper() {
    let client = Client::in_memory();
    let mut table = Table::default();
    let guards = holds(&client, 30, 2).await;
    let plan = plan_at(&mut table, client.inner.clock.now(), 0);
    assert!(
        add(&mut table, &guards[0]),
        "nothing was due ({:?})",
        plan.wake
    );
    let plan = plan_at(&mut table, client.inner.clock.now(), 0);
    assert!(!add(&mut table, &guards[1]), "due at {:?}", plan.wake);
    assert!(add(&mut table, &holds(&client, 3, 1).await[0]));
}

#[tokio::test(start_paused = true)]
async fn batch_renews_the_earliest_deadlines_first() {
    let client = Client::in_memory();
    let mut table = Table::default();
    let long = holds(&client, 30, BATCH).await;
    tokio::time::advance(Duration::from_secs(9)).await;
    let short = holds(&client, 3, 2).await;
    for guard in long.iter().chain(&short) {
        add(&mut table, guard);
    }
    tokio::time::advance(Duration::from_millis(1_500)).await;
    let now = client.inner.clock.now();
    assert!(plan_at(&mut table, now, MOST_CALLS).batches.is_empty());
    let batches = plan_at(&mut table, now, MOST_CALLS - 1).batches;
    assert_eq!(sizes(&batches), [BATCH]);
    assert_eq!(&batches[0].holds[1].name.as_str()[..2], "3 ");
    assert_eq!(sizes(&plan_at(&mut table, now, 0).batches), [2]);
    assert!(plan_at(&mut table, now, 0).batches.is_empty());
}

fn sizes(batches: &[Batch]) -> Vec<usize> {
    batches.iter().map(|batch| batch.holds.len()).collect()
}

/// Returns a table with the holds, which are due now.
async fn due(client: &Client, guards: &[Guard], seconds: u64) -> Table {
    let mut table = Table::default();
    for guard in guards {
        add(&mut table, guard);
    }
    tokio::time::advance(Duration::from_secs(seconds)).await;
    assert!(client.inner.clock.now() >= Duration::from_secs(seconds));
    table
}

#[tokio::test(start_paused = true)]
async fn batch_gathers_while_another_is_unanswered() {
    let client = Client::in_memory();
    let guards = holds(&client, 30, 2 * BATCH + 1).await;
    let mut table = due(&client, &guards, 10).await;
    let now = client.inner.clock.now();
    let plan = plan_at(&mut table, now, 1);
    assert_eq!(
        sizes(&plan.batches),
        [BATCH, BATCH],
        "full ones do not wait"
    );
    let until = plan.wake.unwrap();
    assert!(now + Duration::from_millis(1_900) < until);
    assert!(until < now + Duration::from_secs(2));
    assert!(
        plan_at(&mut table, until - Duration::from_millis(1), 2)
            .batches
            .is_empty()
    );
    assert_eq!(sizes(&plan_at(&mut table, until, 2).batches), [1]);
}

#[tokio::test(start_paused = true)]
async fn unanswered_renewal_is_repeated_a_few_times() {
    let client = Client::in_memory();
    let guards = holds(&client, 3, 1).await;
    let mut table = due(&client, &guards, 1).await;
    let state = &guards[0].hold().state;
    let (mut now, mut sent) = (client.inner.clock.now(), Vec::new());
    while state.over().is_none() {
        let plan = plan_at(&mut table, now, 0);
        sent.extend(plan.batches.iter().map(|batch| batch.sent));
        tokio::time::advance(Duration::from_millis(1)).await;
        now = client.inner.clock.now();
    }
    assert_eq!(sent.len(), MOST_UNANSWERED, "{sent:?}");
    let pauses: Vec<_> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.is_sorted_by(|one, next| next < one), "{pauses:?}");
    assert_eq!(plan_at(&mut table, now, 0).lost.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn reply_frees_a_slot_and_cancels_the_repetition() {
    let client = Client::in_memory();
    let guards = holds(&client, 3, 1).await;
    let mut table = due(&client, &guards, 1).await;
    let state = &guards[0].hold().state;
    let first = plan_at(&mut table, client.inner.clock.now(), 0)
        .batches
        .remove(0);
    tokio::time::advance(Duration::from_millis(700)).await;
    let now = client.inner.clock.now();
    assert!(plan_at(&mut table, now, 1).batches.is_empty(), "it gathers");
    state.confirm(first.sent, Duration::from_secs(3));
    table.answered(state, now);
    let plan = plan_at(&mut table, now, 0);
    assert!(plan.batches.is_empty(), "it is renewed");
    assert_eq!(plan.wake, Some(first.sent + Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn renewal_is_late_after_a_third_elapsed() {
    let client = Client::in_memory();
    let guards = holds(&client, 3, 2).await;
    let mut table = due(&client, &guards[..1], 1).await;
    let begun = client.inner.clock.now();
    let behind = |ms| begun + Duration::from_millis(ms);
    assert!(
        plan_at(&mut table, behind(600), MOST_CALLS)
            .batches
            .is_empty()
    );
    let plan = plan_at(&mut table, behind(640), 0);
    assert_eq!((plan.batches.len(), plan.behind), (1, None));
    let mut table = due(&client, &guards[1..], 0).await;
    let plan = plan_at(&mut table, behind(700), 0);
    assert_eq!(plan.batches.len(), 1);
    let late = plan.behind.unwrap();
    assert!(late.abs_diff(Duration::from_millis(700)) < Duration::from_millis(2));
    let plan = plan_at(&mut table, behind(1_500), 0);
    assert_eq!((plan.batches.len(), plan.behind), (1, None), "repeated");
}

#[tokio::test(start_paused = true)]
async fn renewal_behind_a_refused_one_is_not_late() {
    let client = Client::in_memory();
    let guards = holds(&client, 3, 1).await;
    let mut table = due(&client, &guards, 1).await;
    let begun = client.inner.clock.now();
    assert_eq!(plan_at(&mut table, begun, 0).batches.len(), 1);
    table.answered(&guards[0].hold().state, begun);
    let plan = plan_at(&mut table, begun + Duration::from_millis(1_500), 0);
    assert_eq!((plan.batches.len(), plan.behind), (1, None));
}

#[tokio::test(start_paused = true)]
async fn next_task_repeats_unanswered_renewals() {
    let client = Client::in_memory();
    let guards = holds(&client, 3, 1).await;
    let mut table = due(&client, &guards, 1).await;
    for _ in 0..2 * MOST_UNANSWERED {
        let now = client.inner.clock.now();
        assert_eq!(plan_at(&mut table, now, 0).batches.len(), 1);
        table.stopped();
        tokio::time::advance(plan_at(&mut table, now, 0).wake.unwrap() - now).await;
    }
}

#[tokio::test(start_paused = true)]
async fn grant_of_a_replaced_server_is_renewed() {
    let client = Client::in_memory();
    let mut table = Table::default();
    let guard = holds(&client, 30, 1).await.remove(0);
    tokio::time::advance(Duration::from_secs(1)).await;
    let switched_at = client.inner.clock.now();
    table.renew_all(switched_at);
    tokio::time::advance(Duration::from_millis(1)).await;
    let granted_since = holds(&client, 29, 1).await.remove(0);
    let now = client.inner.clock.now();
    assert_eq!(plan_at(&mut table, now, 0).wake, None);
    assert!(add(&mut table, &guard), "the task has to wake up");
    add(&mut table, &granted_since);
    let batches = plan_at(&mut table, now, 0).batches;
    assert_eq!(sizes(&batches), [1]);
    assert_eq!(batches[0].holds[0].contender.id.as_ref(), guard.owner());
}

#[tokio::test(start_paused = true)]
async fn grant_sent_at_the_switch_is_renewed_once() {
    let client = Client::in_memory();
    let mut table = Table::default();
    let guard = holds(&client, 30, 1).await.remove(0);
    let (state, now) = (&guard.hold().state, client.inner.clock.now());
    table.renew_all(state.confirmed_at());
    add(&mut table, &guard);
    let sent = plan_at(&mut table, state.confirmed_at(), 0).batches[0].sent;
    state.confirm(sent, Duration::from_secs(30));
    table.answered(state, now);
    assert!(plan_at(&mut table, now, 0).batches.is_empty());
    assert!(!table.confirmed(state, now));
    assert!(plan_at(&mut table, now, 0).batches.is_empty());
}

#[tokio::test(start_paused = true)]
async fn reply_of_a_replaced_server_postpones_no_renewal() {
    let client = Client::in_memory();
    let guards = holds(&client, 30, 1).await;
    let mut table = due(&client, &guards, 10).await;
    let state = &guards[0].hold().state;
    let now = || client.inner.clock.now();
    let first = plan_at(&mut table, now(), 0).batches.remove(0);
    tokio::time::advance(Duration::from_millis(1)).await;
    table.renew_all(now());
    state.confirm(first.sent, Duration::from_secs(30));
    table.answered(state, now());
    let second = plan_at(&mut table, now(), 0).batches.remove(0);
    tokio::time::advance(Duration::from_millis(1)).await;
    state.confirm(second.sent, Duration::from_secs(30));
    table.answered(state, now());
    assert!(
        plan_at(&mut table, now(), 0).batches.is_empty(),
        "it is renewed"
    );
}

#[tokio::test(start_paused = true)]
async fn renewal_by_a_replaced_server_does_not_count() {
    let client = Client::in_memory();
    let guards = holds(&client, 30, 1).await;
    let mut table = due(&client, &guards, 1).await;
    let state = &guards[0].hold().state;
    let now = || client.inner.clock.now();
    assert!(plan_at(&mut table, now(), 0).batches.is_empty());
    let sent = now();
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(!table.confirmed(state, now()), "no server was replaced");
    table.renew_all(now());
    state.confirm(sent, Duration::from_secs(30));
    assert!(table.confirmed(state, now()));
    let renewal = plan_at(&mut table, now(), 0).batches.remove(0);
    // While the new server is asked, nothing is sent twice.
    state.confirm(sent, Duration::from_secs(30));
    assert!(!table.confirmed(state, now()));
    tokio::time::advance(Duration::from_millis(1)).await;
    let sent = now();
    state.confirm(renewal.sent, Duration::from_secs(30));
    table.answered(state, now());
    state.confirm(sent, Duration::from_secs(30));
    assert!(!table.confirmed(state, now()), "the new server's");
    assert!(plan_at(&mut table, now(), 0).batches.is_empty());
}

#[tokio::test(start_paused = true)]
async fn unrenewed_hold_is_not_renewed_after_a_switch() {
    let client = Client::in_memory();
    let lock = client.lock("l").watchdog(false);
    let guard = lock.acquire().await.unwrap();
    client.inner.keeper.forget(&guard.hold().state);
    let mut table = Table::default();
    let now = client.inner.clock.now();
    add(&mut table, &guard);
    table.renew_all(now);
    assert!(plan_at(&mut table, now, 0).batches.is_empty());
    table.remove(guard.owner());
    add(&mut table, &guard);
    table.confirmed(&guard.hold().state, now);
    assert!(plan_at(&mut table, now, 0).batches.is_empty());
}

#[tokio::test(start_paused = true)]
async fn next_task_may_have_missed_a_switch() {
    let client = Client::in_memory();
    let guards = holds(&client, 30, 1).await;
    let mut table = due(&client, &guards, 1).await;
    let now = client.inner.clock.now();
    table.watch_server_again(now);
    assert!(
        plan_at(&mut table, now, 0).batches.is_empty(),
        "the first task"
    );
    table.stopped();
    table.watch_server_again(now);
    assert_eq!(sizes(&plan_at(&mut table, now, 0).batches), [1]);
}

fn release(guard: &Guard) -> PendingRelease {
    let hold = &guard.hold().state;
    PendingRelease {
        name: hold.name.clone(),
        contender: hold.contender.clone(),
        tombstone: false,
        held: None,
    }
}

#[tokio::test(start_paused = true)]
async fn task_ends_once_nothing_is_held_or_pending() {
    let client = Client::in_memory();
    let guard = holds(&client, 30, 1).await.remove(0);
    let mut table = Table::default();
    let is_over = |table: &mut Table| plan_at(table, Duration::ZERO, 0).is_over;
    assert!(!is_over(&mut table), "the client is there");
    add(&mut table, &guard);
    table.post(release(&guard));
    table.close();
    assert!(!is_over(&mut table), "held and open");
    table.remove(guard.owner());
    assert!(!is_over(&mut table), "open");
    table.finished(false, None);
    assert!(is_over(&mut table));
    add(&mut table, &guard);
    assert!(!is_over(&mut table), "held");
}

#[tokio::test(start_paused = true)]
async fn pending_release_counts_until_it_is_finished() {
    let client = Client::in_memory();
    let guard = client.lock("l").acquire().await.unwrap();
    let mut table = Table::default();
    assert!(!table.has_releases());
    table.post(release(&guard));
    assert!(table.has_releases(), "posted");
    let release = plan_at(&mut table, Duration::ZERO, 0).releases.pop();
    assert!(table.has_releases(), "taken");
    table.finished(false, release);
    assert!(table.has_releases(), "left to the next");
    assert_eq!(plan_at(&mut table, Duration::ZERO, 0).releases.len(), 1);
    table.finished(false, None);
    assert!(!table.has_releases(), "finished");
}

#[tokio::test(start_paused = true)]
async fn unanswered_calls_delay_no_other_server() {
    let client = Client::in_memory();
    let guards = holds(&client, 30, 2).await;
    let mut table = due(&client, &guards, 10).await;
    let now = client.inner.clock.now();
    let server_of = |name: &Name| u64::from(name.as_str().ends_with('1'));
    table.calls.insert(0, MOST_CALLS);
    let plan = table.plan(now, server_of);
    let servers: Vec<u64> = plan.batches.iter().map(|batch| batch.server).collect();
    assert_eq!((servers, sizes(&plan.batches)), (vec![1], vec![1]));
    assert!(table.plan(now, server_of).batches.is_empty());
    table.call_ended(0);
    assert!(table.plan(now + Duration::from_secs(10), server_of).batches[0].server == 0);
}
