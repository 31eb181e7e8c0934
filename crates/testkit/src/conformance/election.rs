//! Conformance tests of the election.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arbiter_lock::{Election, Error, Leader, Leadership, LostReason, Observer};

use super::Store;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

async fn lead(election: &Election, value: &str) -> Leadership {
    election.campaign(value).await.expect("the leadership")
}

fn follow(election: Election, value: &'static str) -> tokio::task::JoinHandle<Leadership> {
    tokio::spawn(async move { lead(&election, value).await })
}

async fn within<T>(limit: Duration, task: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(limit, task).await;
    done.unwrap_or_else(|_| panic!("not within {limit:?}"))
}

async fn leader(election: &Election) -> Option<Leader> {
    election.leader().await.expect("a leader, or none")
}

async fn value(election: &Election) -> Option<String> {
    leader(election).await.and_then(|leader| leader.value)
}

async fn next(observer: &mut Observer) -> Option<Leader> {
    within(ms(2_000), observer.next())
        .await
        .expect("a leader, or none")
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn candidate_leads_after_leader_resigns_or_drops(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let first = lead(&a.election("e"), "first").await;
    let second = follow(b.election("e"), "second");
    tokio::time::sleep(ms(100)).await;
    let third = follow(a.election("e"), "third");
    tokio::time::sleep(ms(100)).await;
    let fence = first.fence();
    first.resign().await.expect("it led to its end");
    let second = within(ms(1_000), second).await.expect("a follower");
    assert!(fence < second.fence());
    assert_eq!(value(&a.election("e")).await.as_deref(), Some("second"));
    drop(second);
    let third = within(ms(1_500), third).await.expect("a follower");
    assert_eq!(value(&b.election("e")).await.as_deref(), Some("third"));
    third.resign().await.expect("it led to its end");
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn candidate_leads_after_the_leaders_lease_expires(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let election = a.election("e").lease_time(ms(400)).watchdog(false);
    let old = lead(&election, "old").await;
    let new = follow(b.election("e"), "new");
    assert_eq!(within(ms(1_000), old.lost()).await, LostReason::Expired);
    let new = within(ms(1_500), new).await.expect("a follower");
    assert!(old.fence() < new.fence());
    assert!(
        old.proclaim("late")
            .await
            .expect_err("it is over")
            .is_lost()
    );
    assert!(old.resign().await.expect_err("it is over").is_lost());
    assert_eq!(value(&a.election("e")).await.as_deref(), Some("new"));
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn leader_value_and_vacancy_are_visible(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let (mine, other) = (a.election("e").label("node 1"), b.election("e"));
    assert_eq!(leader(&other).await, None);
    let leadership = lead(&mine, "10.0.0.7:80 ä\n'").await;
    let seen = leader(&other).await.expect("a leader");
    assert_eq!(seen.value.as_deref(), Some("10.0.0.7:80 ä\n'"));
    assert_eq!(seen.fence, Some(leadership.fence()));
    assert!(seen.held.is_some());
    assert_eq!(seen.label.note.as_deref(), Some("node 1"));
    leadership.proclaim("").await.expect("proclaimed");
    assert_eq!(value(&other).await.as_deref(), Some(""));
    leadership.resign().await.expect("it led to its end");
    assert_eq!(leader(&other).await, None);
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn observer_sees_each_leader_value_and_vacancy(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let election = a.election("e");
    let mut observer = b.election("e").observe();
    assert_eq!(next(&mut observer).await, None);

    let first = lead(&election, "one").await;
    let seen = next(&mut observer).await.expect("a leader");
    assert_eq!(seen.value.as_deref(), Some("one"));
    assert_eq!(seen.fence, Some(first.fence()));

    first.proclaim("two").await.expect("proclaimed");
    let seen = next(&mut observer).await.expect("a leader");
    assert_eq!(seen.value.as_deref(), Some("two"));
    let quiet = tokio::time::timeout(ms(1_200), observer.next()).await;
    assert!(quiet.is_err(), "nothing has changed: {quiet:?}");

    first.resign().await.expect("it led to its end");
    assert_eq!(next(&mut observer).await, None);
    let second = lead(&election, "two").await;
    let seen = next(&mut observer).await.expect("a leader");
    assert_eq!(seen.fence, Some(second.fence()), "the same value, another");
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn stale_leader_cannot_proclaim(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let old = lead(&a.election("e"), "old").await;
    let broken = b.lock("e").break_now(old.fence()).await;
    assert!(broken.expect("an answer"));
    let new = lead(&b.election("e"), "new").await;
    assert!(old.is_held(), "its next renewal is still due");
    let stale = old.proclaim("stale").await;
    let error = stale.expect_err("another client leads");
    assert!(
        matches!(&error, Error::Lost(loss) if loss.reason == LostReason::Taken),
        "{error}"
    );
    assert!(!old.is_held(), "now it has");
    assert_eq!(value(&b.election("e")).await.as_deref(), Some("new"));
    new.resign().await.expect("it led to its end");
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn lead_drops_the_work_on_lost_leadership(store: &Store) {
    struct Work(Arc<AtomicBool>);
    impl Drop for Work {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    let (a, b) = (store.client().await, store.client().await);
    let dropped = Arc::new(AtomicBool::new(false));
    let election = a.election("e").lease_time(ms(800)).watchdog(false);
    let election = election.lost_margin(ms(400)); // Other tests use the machine too.
    let follower = tokio::spawn({
        let (election, dropped) = (b.election("e"), dropped.clone());
        async move {
            tokio::time::sleep(ms(100)).await;
            let leadership = lead(&election, "next").await;
            assert!(dropped.load(Ordering::SeqCst), "two leaders work");
            leadership
        }
    });
    let work = Work(dropped.clone());
    let led = election.lead("node", |_| async move {
        let _work = work;
        std::future::pending::<()>().await;
    });
    let lost = within(ms(2_000), led).await;
    assert!(lost.expect_err("it was lost").is_lost());
    assert!(dropped.load(Ordering::SeqCst));
    let next = within(ms(2_000), follower).await.expect("a follower");
    drop(next);
    let election = b.election("e");
    let led = election.lead("node", |hold| async move { hold.fence() });
    assert!(0 < within(ms(2_000), led).await.expect("it led to its end"));
    assert_eq!(leader(&a.election("e")).await, None);
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn lock_holder_is_a_leader_without_value(store: &Store) {
    let client = store.client().await;
    let guard = client.lock("e").acquire().await.expect("the lock");
    let seen = leader(&client.election("e")).await.expect("a holder");
    assert_eq!((seen.value, seen.fence), (None, Some(guard.fence())));
    guard.release().await.expect("it was held to its end");
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn try_campaign_is_none_while_another_leads(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let leadership = a.election("e").try_campaign("one").await.expect("a try");
    let leadership = leadership.expect("the election is vacant");
    let busy = b.election("e").try_campaign("two").await.expect("a try");
    assert!(busy.is_none());
    let limited = b.election("e").wait_timeout(ms(100)).campaign("two").await;
    assert!(limited.expect_err("another client leads").is_contended());
    assert_eq!(value(&b.election("e")).await.as_deref(), Some("one"));
    leadership.resign().await.expect("it led to its end");
}

#[expect(missing_docs, reason = "the name is the claim")]
pub async fn too_long_value_is_refused(store: &Store) {
    let client = store.client().await;
    let election = client.election("e");
    let (most, more) = ("x".repeat(4_096), "x".repeat(4_097));
    let refused = election.campaign(&more).await.expect_err("too long");
    assert!(matches!(&refused, Error::Invalid(what) if what.what == "value"));
    assert!(refused.to_string().contains("4096 bytes"), "{refused}");
    assert_eq!(leader(&election).await, None);
    let leadership = lead(&election, &most).await;
    assert!(leadership.proclaim(&more).await.is_err());
    assert_eq!(value(&election).await.as_deref(), Some(&*most));
}
