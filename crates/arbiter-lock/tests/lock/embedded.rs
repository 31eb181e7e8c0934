//! What is particular to the embedded store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arbiter_lock::Client;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test]
async fn smoke() {
    let folder = format!("file:///tmp/arb-smoke-{}", std::process::id());
    let a = Client::connect(&folder).await.unwrap();
    let b = Client::connect(&folder).await.unwrap();
    let guard = a.lock("l").acquire().await.unwrap();
    assert!(b.lock("l").try_acquire().await.unwrap().is_none());
    let fence = guard.fence();
    let waiter = tokio::spawn({
        let lock = b.lock("l");
        async move { lock.acquire().await.unwrap() }
    });
    tokio::time::sleep(ms(50)).await;
    println!("{:?}", a.lock("l").inspect().await.unwrap());
    let begun = Instant::now();
    guard.release().await.unwrap();
    let guard = waiter.await.unwrap();
    println!("handed over after {:?}", begun.elapsed());
    assert!(fence < guard.fence());
    tokio::time::sleep(ms(2500)).await;
    assert!(guard.is_held());
    guard.release().await.unwrap();
    let begun = Instant::now();
    for _ in 0..2000 {
        a.lock("l")
            .acquire()
            .await
            .unwrap()
            .release()
            .await
            .unwrap();
    }
    println!("a cycle in {:?}", begun.elapsed() / 2000);
    let (a, b) = (Arc::new(a), Arc::new(b));
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for n in 0..16 {
        let client = if n % 2 == 0 { a.clone() } else { b.clone() };
        tasks.push(tokio::spawn(async move {
            for _ in 0..200 {
                client
                    .lock("m")
                    .acquire()
                    .await
                    .unwrap()
                    .release()
                    .await
                    .unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    println!("16 tasks, a cycle in {:?}", begun.elapsed() / 3200);
}
