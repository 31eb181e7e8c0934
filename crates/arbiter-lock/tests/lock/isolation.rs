//! A logger that panics, a shutdown, and the end of a runtime neither end nor leak a hold.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, Event};
use testkit::{Fault, Proxy, Server, unique_name};

use crate::{acquire_and_release, one_worker};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test]
async fn panicking_logger_leaks_no_hold() {
    let server = Server::start();
    let client = Client::builder()
        .store(&server.url())
        .default_lease_time(ms(600))
        .logger(|event: &Event| assert!(!matches!(event, Event::Acquired { .. }), "log"))
        .connect()
        .await
        .unwrap();
    let name = unique_name();
    let lock = client.lock(&name);
    let task = tokio::spawn(async move { lock.acquire().await.map(drop) });
    let _ = task.await;
    let free = async {
        while client.lock(&name).inspect().await.unwrap().is_held() {
            tokio::time::sleep(ms(20)).await;
        }
    };
    assert!(
        tokio::time::timeout(ms(3_000), free).await.is_ok(),
        "held forever without a guard"
    );
}

#[tokio::test]
async fn guard_dropped_in_panic_survives_panicking_logger() {
    let panics = |event: &Event| {
        let is_end = matches!(event, Event::Released { .. } | Event::Lost { .. });
        assert!(!is_end, "log");
    };
    let builder = Client::builder().store("memory:").logger(panics);
    let client = builder.connect().await.unwrap();
    // The keeper does not run before the join: the drop finds the loss.
    for worked in [ms(0), ms(300)] {
        let lock = client.lock("l").lease_time(ms(200));
        let guard = lock.acquire().await.unwrap();
        let panicked = std::thread::spawn(move || {
            std::thread::sleep(worked);
            panic!("with {}", guard.name());
        });
        assert!(panicked.join().is_err());
        let next = client.lock("l").try_acquire().await.unwrap();
        next.expect("it is free").release().await.unwrap();
    }
}

#[tokio::test]
async fn logger_panic_in_keeper_costs_no_hold() {
    let server = Server::start();
    let once = AtomicBool::new(true);
    let client = Client::builder()
        .store(&server.url())
        // A panic may print a long backtrace, slowly.
        .default_lease_time(ms(3_000))
        .logger(move |event: &Event| {
            let is_renewed = matches!(event, Event::Renewed { .. });
            assert!(!(is_renewed && once.swap(false, Ordering::Relaxed)), "log");
        })
        .connect()
        .await
        .unwrap();
    let guard = client.lock(&unique_name()).acquire().await.unwrap();
    tokio::time::sleep(ms(7_500)).await;
    let told = tokio::time::timeout(ms(500), guard.lost()).await;
    println!("held {} told {told:?}", guard.is_held());
    assert!(
        guard.is_held() || told.is_ok(),
        "lost, and lost() did not tell"
    );
    assert!(guard.is_held(), "renewed no more");
}

#[tokio::test]
async fn loss_is_reported_after_a_logger_panic() {
    let server = Server::start();
    let client = Client::builder()
        .store(&server.url())
        .default_lease_time(ms(600))
        .logger(move |event: &Event| assert!(!matches!(event, Event::Renewed { .. }), "log"))
        .connect()
        .await
        .unwrap();
    let guard = client.lock(&unique_name()).acquire().await.unwrap();
    let lost = guard.lost();
    let (told, mut hears) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let _ = told.send(lost.await);
    });
    tokio::time::sleep(ms(2_000)).await;
    let told = hears.try_recv();
    assert!(
        told.is_ok() || guard.is_held(),
        "over, and lost() did not tell: {told:?}"
    );
}

#[tokio::test]
async fn nothing_is_granted_after_shutdown() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let client = Client::connect(&proxy.url()).await.unwrap();
    let name = unique_name();
    acquire_and_release(&client.lock(&name)).await;
    proxy.nth(1, Fault::DelayReply(ms(300)), |args| args[0] == b"EVALSHA");
    let lock = client.lock(&name);
    let task = tokio::spawn(async move { lock.acquire().await });
    tokio::time::sleep(ms(100)).await;
    let left = client.shutdown(ms(2_000)).await;
    assert_eq!(left, 0);
    let got = task.await.unwrap();
    assert!(matches!(got, Err(Error::Closed)), "{got:?}");
}

#[tokio::test]
async fn refused_name_leaves_nothing_pending() {
    let server = Server::start();
    let client = Client::builder()
        .store(&server.url())
        .key_prefix("")
        .connect()
        .await
        .unwrap();
    let error = client.lock("x#arbiter.queue").acquire().await.unwrap_err();
    assert!(matches!(&error, Error::Invalid(_)), "{error}");
    let begun = Instant::now();
    client.shutdown(ms(3_000)).await;
    assert!(
        begun.elapsed() < ms(1_000),
        "shutdown took {:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn short_waits_keep_a_healthy_connection() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let other = Client::connect(&server.url()).await.unwrap();
    let client = Client::connect(&proxy.url()).await.unwrap();
    let (name, busy) = (unique_name(), unique_name());
    let held = other.lock(&name).acquire().await.unwrap();
    let _busy = other.lock(&busy).acquire().await.unwrap();
    let lock = client.lock(&name);
    let waiter = tokio::spawn(async move { (lock.acquire().await, Instant::now()) });
    tokio::time::sleep(ms(100)).await;
    let cut = busy.clone();
    proxy.each(Fault::DelayReply(ms(10)), move |args| {
        args.iter()
            .any(|arg| arg.windows(cut.len()).any(|w| w == cut.as_bytes()))
    });
    let before = server.call(&["INFO", "stats"]).text().unwrap();
    let received = |text: &str| -> u64 {
        let line = text
            .lines()
            .find(|l| l.starts_with("total_connections_received"))
            .unwrap();
        line.split(':').nth(1).unwrap().trim().parse().unwrap()
    };
    let before = received(&before);
    for _ in 0..60 {
        let _ = client.lock(&busy).wait_timeout(ms(5)).acquire().await;
    }
    let after = received(&server.call(&["INFO", "stats"]).text().unwrap());
    println!("connections: {}", after - before);
    for _ in 0..3 {
        let _ = client.lock(&busy).wait_timeout(ms(5)).acquire().await;
    }
    let released = Instant::now();
    held.release().await.unwrap();
    let (got, at) = waiter.await.unwrap();
    println!("woken after {:?}", at - released);
    assert!(got.is_ok());
    assert!(
        after - before < 5,
        "a healthy connection was replaced {} times",
        after - before
    );
}

#[test]
fn memory_hold_survives_end_of_other_runtime() {
    let one = one_worker();
    let two = one_worker();
    let client = Client::in_memory();
    one.block_on(async {
        client
            .lock("a")
            .acquire()
            .await
            .unwrap()
            .release()
            .await
            .unwrap()
    });
    let guard = two
        .block_on(client.lock("b").lease_time(ms(300)).acquire())
        .unwrap();
    drop(one);
    std::thread::sleep(ms(800));
    let told = two.block_on(async { tokio::time::timeout(ms(500), guard.lost()).await });
    println!("held {} told {told:?}", guard.is_held());
    assert!(guard.is_held(), "renewed no more");
}
