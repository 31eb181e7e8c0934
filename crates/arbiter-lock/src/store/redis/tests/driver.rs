//! Which task drives a connection, and that no wake is lost when that changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::super::driver::Driver;

/// Returns a connection that answers each call with its argument, and has more work right after
/// each answer.
fn echo() -> (
    Driver,
    mpsc::UnboundedSender<oneshot::Sender<()>>,
    Arc<AtomicUsize>,
) {
    let (calls, mut called) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = polls.clone();
    let connection = std::future::poll_fn(move |cx| {
        counted.fetch_add(1, Ordering::SeqCst);
        while let Poll::Ready(call) = called.poll_recv(cx) {
            let Some(answer) = call else {
                return Poll::Ready(());
            };
            let _ = answer.send(());
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    });
    (Driver::start(connection), calls, polls)
}

async fn call(calls: &mpsc::UnboundedSender<oneshot::Sender<()>>) {
    let (answer, answered) = oneshot::channel();
    calls.send(answer).unwrap();
    answered.await.unwrap();
}

#[tokio::test]
async fn connection_is_polled_again_after_drivers_reply() {
    let (driver, calls, polls) = echo();
    tokio::task::yield_now().await;
    driver.call(true, || call(&calls)).await;
    let before = polls.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(polls.load(Ordering::SeqCst), before + 1);
}

#[tokio::test]
async fn lone_caller_drives_in_its_own_polls() {
    let (driver, calls, polls) = echo();
    tokio::task::yield_now().await;
    let before = polls.load(Ordering::SeqCst);
    let mut alone = std::pin::pin!(driver.call(true, || call(&calls)));
    let answered = std::future::poll_fn(|cx| Poll::Ready(alone.as_mut().poll(cx))).await;
    assert!(answered.is_ready());
    assert_eq!(polls.load(Ordering::SeqCst), before + 1);
    let mut second = std::pin::pin!(driver.call(false, || call(&calls)));
    let answered = std::future::poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx))).await;
    assert!(answered.is_pending(), "the task drives");
    second.await;
}

#[tokio::test]
async fn caller_without_prompt_reply_sleeps_until_woken() {
    let (driver, calls, polls) = echo();
    tokio::task::yield_now().await;
    let (answer, answered) = oneshot::channel();
    let waiting = tokio::spawn(async move {
        driver.call(true, || answered).await.unwrap();
        driver
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let before = polls.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(polls.load(Ordering::SeqCst), before, "it does not sleep");
    // All further work wakes it. The answer alone does not, since no other call could bring it.
    answer.send(()).unwrap();
    let (other, _unheard) = oneshot::channel();
    calls.send(other).unwrap();
    waiting.await.unwrap();
}

#[tokio::test]
async fn spinning_caller_lets_other_tasks_run() {
    let (driver, _calls, polls) = echo();
    tokio::task::yield_now().await;
    let waiting = tokio::spawn(async move {
        driver.call(true, std::future::pending::<()>).await;
    });
    let mut before = polls.load(Ordering::SeqCst);
    for _ in 0..200 {
        tokio::task::yield_now().await;
        let now = polls.load(Ordering::SeqCst);
        assert!(now <= before + 1, "{before} {now}");
        before = now;
    }
    waiting.abort();
}

#[tokio::test]
async fn connection_closed_while_driven_is_dropped() {
    let slot = Arc::new(std::sync::Mutex::new(None::<Driver>));
    let (gone, held) = (Arc::new(()), slot.clone());
    let kept = gone.clone();
    let connection = std::future::poll_fn(move |_| {
        let _kept = &kept;
        drop(held.lock().unwrap().take());
        Poll::<()>::Pending
    });
    *slot.lock().unwrap() = Some(Driver::start(connection));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(Arc::strong_count(&gone), 1);
}

#[tokio::test]
async fn closing_wakes_the_call_in_charge() {
    let (answer, answered) = oneshot::channel::<()>();
    // The connection owns the sender of the answer.
    let driver = Driver::start(async move {
        let _answer = answer;
        std::future::pending::<()>().await;
    });
    tokio::task::yield_now().await;
    let driver = Arc::new(driver);
    let called = driver.clone();
    let waiting = tokio::spawn(async move { called.call(true, || answered).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    driver.close();
    let ended = tokio::time::timeout(Duration::from_secs(1), waiting).await;
    assert!(ended.expect("the call is not woken").unwrap().is_err());
}
