//! Processes that are stopped or killed.

use std::time::{Duration, Instant};

use arbiter_lock::Client;
use testkit::{ChildProcess, Server, companion, companion_kind, eventually, unique_name};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn child(server: &Server, name: &str, lease_ms: u64) -> ChildProcess {
    let child = ChildProcess::example(
        "child_process",
        &[&server.url(), name, &lease_ms.to_string()],
    );
    assert_eq!(child.receive(ms(10_000)).as_deref(), Some("ready"));
    child
}

fn fence(line: Option<String>) -> u64 {
    let line = line.expect("a line from the child");
    line.strip_prefix("held ")
        .and_then(|fence| fence.parse().ok())
        .expect(&line)
}

#[test]
fn killed_holder_is_replaced_by_exactly_one_waiter() {
    let (server, name) = (Server::start(), unique_name());
    let mut holder = child(&server, &name, 1_000);
    holder.send("hold");
    let first = fence(holder.receive(ms(5_000)));
    let mut waiters = [child(&server, &name, 5_000), child(&server, &name, 5_000)];
    for waiter in &mut waiters {
        waiter.send("hold");
    }
    assert!(eventually(ms(5_000), || waiting(&server, &name) == 2));
    holder.kill();
    let killed = Instant::now();
    assert!(eventually(ms(4_000), || owner(&server, &name)
        .is_some_and(|f| f != first)));
    let second = loop {
        let heard = waiters
            .iter()
            .filter_map(|waiter| waiter.receive(ms(100)))
            .next();
        if let Some(line) = heard {
            break fence(Some(line));
        }
        assert!(killed.elapsed() < ms(2_000) * 2, "no waiter followed");
    };
    assert!(first < second);
    std::thread::sleep(ms(500));
    assert!(
        waiters.iter().all(|waiter| waiter.receive(ms(1)).is_none()),
        "two followed"
    );
}

#[test]
fn holder_stopped_past_its_lease_changes_nothing() {
    let (server, name) = (Server::start(), unique_name());
    let mut holder = child(&server, &name, 500);
    holder.send("hold");
    let first = fence(holder.receive(ms(5_000)));
    holder.stop();
    holder.send("status");
    holder.send("release");
    let mut next = child(&server, &name, 30_000);
    next.send("hold");
    let second = fence(next.receive(ms(5_000)));
    assert!(first < second);
    holder.cont();
    let status = holder.receive(ms(5_000)).unwrap();
    assert!(status.starts_with("is_held false lost Ready("), "{status}");
    let release = holder.receive(ms(5_000)).unwrap();
    assert!(release.starts_with("lost "), "{release}");
    std::thread::sleep(ms(300));
    assert_eq!(
        owner(&server, &name),
        Some(second),
        "the next one still holds"
    );
    next.send("status");
    assert_eq!(
        next.receive(ms(5_000)).as_deref(),
        Some("is_held true lost Pending")
    );
}

#[test]
fn stopped_head_delays_next_at_most_three_seconds() {
    let (server, name) = (Server::start(), unique_name());
    let mut holder = child(&server, &name, 30_000);
    holder.send("hold");
    fence(holder.receive(ms(5_000)));
    let mut head = child(&server, &name, 30_000);
    head.send("hold");
    assert!(eventually(ms(5_000), || waiting(&server, &name) == 1));
    let mut next = child(&server, &name, 30_000);
    next.send("hold");
    assert!(eventually(ms(5_000), || waiting(&server, &name) == 2));
    head.stop();
    holder.send("release");
    assert_eq!(holder.receive(ms(5_000)).as_deref(), Some("released"));
    let second = fence(next.receive(ms(3_000)));
    head.cont();
    assert_eq!(
        head.receive(ms(1_500)),
        None,
        "the head returns an expired grant"
    );
    next.send("release");
    assert_eq!(next.receive(ms(5_000)).as_deref(), Some("released"));
    assert!(
        second < fence(head.receive(ms(3_000))),
        "it comes to its turn later"
    );
}

#[test]
fn many_dead_waiters_cost_at_most_five_seconds() {
    let (server, name) = (Server::start(), unique_name());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = Client::connect(&server.url()).await.unwrap();
        let guard = client.lock(&name).acquire().await.unwrap();
        let lock = client.lock(&name);
        let mut unpolled = Box::pin(lock.acquire());
        let polled = tokio::time::timeout(ms(50), &mut unpolled).await;
        assert!(polled.is_err());
        let mut stopped = child(&server, &name, 30_000);
        stopped.send("queue 50");
        let deadline = Instant::now() + ms(5_000);
        while client.lock(&name).inspect().await.unwrap().waiting < 51 {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(ms(20)).await;
        }
        let live = tokio::spawn({
            let lock = client.lock(&name);
            async move { lock.acquire().await.unwrap() }
        });
        tokio::time::sleep(ms(100)).await;
        stopped.stop();
        guard.release().await.unwrap();
        let guard = tokio::time::timeout(ms(5_000), live)
            .await
            .expect("within 5 s")
            .unwrap();
        guard.release().await.unwrap();
        drop(unpolled);
    });
}

#[test]
fn guard_dropped_at_end_of_main_frees() {
    let (server, name) = (Server::start(), unique_name());
    let mut program = child(&server, &name, 30_000);
    program.send("hold");
    fence(program.receive(ms(5_000)));
    program.send("end");
    assert!(program.wait());
    assert!(eventually(ms(1_000), || owner(&server, &name).is_none()));
    assert!(
        server
            .keys()
            .iter()
            .all(|key| companion_kind(key) == Some("last")),
        "{:?}",
        server.keys()
    );
}

fn owner(server: &Server, name: &str) -> Option<u64> {
    server
        .call(&["HGET", &format!("arbiter:{name}"), "fence"])
        .text()?
        .parse()
        .ok()
}

fn waiting(server: &Server, name: &str) -> i64 {
    let queue = companion(&format!("arbiter:{name}"), "queue");
    server
        .call(&["ZCOUNT", &queue, "(0", "+inf"])
        .int()
        .unwrap_or(0)
}
