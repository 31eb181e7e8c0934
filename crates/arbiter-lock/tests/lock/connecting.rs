//! Connecting is part of the wait: a server that is late, silent or not yet able to serve.

use std::io::Read as _;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, Event, UnavailableKind, block_on};
use futures_util::future::join_all;
use testkit::{Fault, Proxy, Server, eventually_async, unique_name};

use crate::acquire_and_release;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn unavailable(error: &Error) -> UnavailableKind {
    match error {
        Error::Unavailable(unavailable) => unavailable.kind,
        other => panic!("{other}"),
    }
}

/// Returns the URL of a listener that accepts connections and sends nothing.
fn silent_listener() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || while stream.read(&mut [0; 64]).is_ok_and(|n| 0 < n) {});
        }
    });
    url
}

#[tokio::test]
async fn late_server_is_waited_for() {
    for limit in [Some(ms(20_000)), None] {
        let mut server = Server::start();
        let url = server.url();
        server.kill();
        let client = Client::connect_lazy(&url).unwrap();
        let lock = client.lock("l");
        let lock = limit.map_or(lock.clone(), |limit| lock.wait_timeout(limit));
        let waiting = tokio::spawn(async move { lock.acquire().await });
        tokio::time::sleep(ms(700)).await;
        assert!(!waiting.is_finished(), "{limit:?}");
        server.restart();
        waiting.await.unwrap().unwrap().release().await.unwrap();
    }
}

#[tokio::test]
async fn wait_for_an_absent_server_ends_in_time() {
    let mut server = Server::start();
    server.kill();
    for (url, kind) in [
        (server.url(), UnavailableKind::Unreachable),
        (silent_listener(), UnavailableKind::Silent),
    ] {
        let lock = Client::connect_lazy(&url).unwrap().lock("l");
        let begun = Instant::now();
        let error = lock.wait_timeout(ms(500)).acquire().await.unwrap_err();
        let waited = begun.elapsed();
        assert_eq!(unavailable(&error), kind, "{error}");
        assert!((ms(450)..ms(1_500)).contains(&waited), "{url}: {waited:?}");
    }
}

#[tokio::test]
async fn tries_and_inspections_end_within_two_seconds() {
    let url = silent_listener();
    let begun = Instant::now();
    let client = Client::connect_lazy(&url).unwrap();
    let error = client.lock("l").try_acquire().await.unwrap_err();
    assert_eq!(unavailable(&error), UnavailableKind::Silent, "{error}");
    assert!(begun.elapsed() < ms(2_500), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let client = Client::connect_lazy(&url).unwrap();
    client.lock("l").inspect().await.unwrap_err();
    assert!(begun.elapsed() < ms(2_500), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn slow_connecting_and_silence_end_a_try() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    proxy.each(Fault::DelayReply(ms(1_300)), |args| args[0] == b"SUBSCRIBE");
    let unanswered = proxy.each(Fault::LoseReply, |args| {
        args.contains(&b"arbiter:l".to_vec())
    });
    let client = Client::connect_lazy(&proxy.url()).unwrap();
    let begun = Instant::now();
    let error = client.lock("l").try_acquire().await.unwrap_err();
    let waited = begun.elapsed();
    assert_eq!(unavailable(&error), UnavailableKind::Silent, "{error}");
    assert!(unanswered.wait_fired(ms(1_000)), "it was sent");
    assert!((ms(1_300)..ms(2_300)).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn connection_cut_while_connecting_is_survived() {
    let server = Server::start();
    for command in ["HELLO", "SUBSCRIBE", "EVALSHA", "EVAL"] {
        for fault in [Fault::CutBefore, Fault::CutAfter] {
            let proxy = Proxy::before(&server);
            let rule = proxy.nth(1, fault, move |args| args[0] == command.as_bytes());
            server.call(&["SCRIPT", "FLUSH"]);
            let client = Client::connect_lazy(&proxy.url()).unwrap();
            let lock = client.lock(&unique_name()).wait_timeout(ms(10_000));
            let guard = lock
                .acquire()
                .await
                .unwrap_or_else(|e| panic!("{command}: {e}"));
            guard.release().await.unwrap();
            assert_eq!(rule.fired(), 1, "{command} {fault:?}");
        }
    }
}

#[test]
fn connections_killed_again_and_again_are_survived() {
    let server = Server::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let killing = threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                server.call(&["CLIENT", "KILL", "TYPE", "normal"]);
                std::thread::sleep(ms(50));
            }
        });
        let acquire = || async {
            for _ in 0..5 {
                let client = Client::connect_lazy(&server.url()).unwrap();
                let lock = client.lock(&unique_name()).wait_timeout(ms(20_000));
                drop(lock.acquire().await?);
            }
            Ok::<(), Error>(())
        };
        let acquired = runtime.block_on(join_all((0..8).map(|_| acquire())));
        is_over.store(true, Ordering::Relaxed);
        killing.join().unwrap();
        acquired.into_iter().for_each(Result::unwrap);
    });
}

#[tokio::test]
async fn server_that_cannot_serve_yet_is_waited_for() {
    let states: [(&[&str], &[&str], UnavailableKind); 3] = [
        (
            &["REPLICAOF", "127.0.0.1", "1"],
            &["REPLICAOF", "NO", "ONE"],
            UnavailableKind::ReadOnly,
        ),
        (
            &["CONFIG", "SET", "maxmemory", "1"],
            &["CONFIG", "SET", "maxmemory", "0"],
            UnavailableKind::Full,
        ),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
            UnavailableKind::NoReplicas,
        ),
    ];
    let server = Server::start();
    for (spoil, heal, kind) in states {
        server.call(spoil);
        let client = Client::connect_lazy(&server.url()).unwrap();
        let lock = client.lock(&unique_name());
        let error = lock
            .clone()
            .wait_timeout(ms(300))
            .acquire()
            .await
            .unwrap_err();
        assert_eq!(unavailable(&error), kind, "{error}");
        let lock = lock.wait_timeout(ms(20_000));
        let waiting = tokio::spawn(async move { lock.acquire().await });
        tokio::time::sleep(ms(300)).await;
        assert!(!waiting.is_finished(), "{spoil:?}");
        server.call(heal);
        waiting.await.unwrap().unwrap().release().await.unwrap();
    }
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn locked_folder_is_waited_for() {
    use rustix::fs::{FlockOperation, flock};

    let folder = testkit::Folder::new();
    std::fs::create_dir(folder.path().join("store")).unwrap();
    let file_lock = std::fs::File::create(folder.path().join("store/gate")).unwrap();
    flock(&file_lock, FlockOperation::LockExclusive).unwrap();
    let client = Client::connect_lazy(&folder.url()).unwrap();
    let lock = client.lock("l");
    let begun = Instant::now();
    let error = lock
        .clone()
        .wait_timeout(ms(300))
        .acquire()
        .await
        .unwrap_err();
    let who = format!("process {} keeps", std::process::id());
    assert!(error.to_string().contains(&who), "{error}");
    assert!(begun.elapsed() < ms(1_500), "{:?}", begun.elapsed());
    let waiting = tokio::spawn({
        let lock = lock.clone().wait_timeout(ms(20_000));
        async move { lock.acquire().await }
    });
    tokio::time::sleep(ms(500)).await;
    assert!(!waiting.is_finished());
    drop(file_lock);
    let guard = waiting.await.unwrap().unwrap();
    assert!(lock.inspect().await.unwrap().is_held());
    guard.release().await.unwrap();
    let first = Client::connect_lazy(&folder.url()).unwrap();
    assert!(
        !first.lock("l").inspect().await.unwrap().is_held(),
        "opened by an inspection"
    );
}

#[cfg(feature = "embedded")]
#[test]
fn every_runtime_of_a_lazy_client_gets_grants() {
    let folder = testkit::Folder::new();
    let holder = Client::connect_lazy(&folder.url()).unwrap().lock("l");
    let guard = block_on(holder.acquire()).unwrap();
    let client = Client::connect_lazy(&folder.url()).unwrap();
    let runtimes = [(); 2].map(|()| tokio::runtime::Runtime::new().unwrap());
    // Both store handles exist before either opens the folder.
    let waiting = runtimes.each_ref().map(|runtime| {
        let lock = client.lock("l").wait_timeout(ms(20_000));
        runtime.spawn(async move {
            let guard = lock.acquire().await.unwrap();
            let granted = Instant::now();
            guard.release().await.unwrap();
            granted
        })
    });
    let is_queued = || block_on(holder.inspect()).unwrap().waiting == 2;
    assert!(testkit::eventually(ms(10_000), is_queued));
    block_on(guard.release()).unwrap();
    let released = Instant::now();
    for (runtime, waiting) in runtimes.iter().zip(waiting) {
        let granted = runtime.block_on(waiting).unwrap();
        let late = granted.saturating_duration_since(released);
        assert!(late < ms(600), "found by a poll, after {late:?}");
    }
}

#[tokio::test]
async fn host_that_does_not_resolve_ends_the_wait() {
    let client = Client::connect_lazy("redis://no-such-host.invalid:6379").unwrap();
    let begun = Instant::now();
    let lock = client.lock("l").wait_timeout(ms(500));
    let error = lock.acquire().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(begun.elapsed() < ms(1_500), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn outage_is_reported_while_waiting() {
    let server = Server::start();
    server.call(&["CONFIG", "SET", "maxmemory", "1"]);
    let reports = Arc::new(Mutex::new(Vec::new()));
    let builder = Client::builder().store(&server.url()).logger({
        let reports = reports.clone();
        move |event: &Event| {
            if let Event::NotServed { name, cause, .. } = event {
                reports.lock().unwrap().push(format!("{name} {cause}"));
            }
        }
    });
    let client = builder.connect_lazy().unwrap();
    let waiting = tokio::spawn({
        let lock = client.lock("l").wait_timeout(ms(30_000));
        async move { lock.acquire().await }
    });
    let begun = Instant::now();
    let is_reported = || !reports.lock().unwrap().is_empty();
    assert!(eventually_async(ms(5_000), is_reported).await);
    assert!(ms(900) < begun.elapsed(), "a moment's failure is no news");
    server.call(&["CONFIG", "SET", "maxmemory", "0"]);
    waiting.await.unwrap().unwrap().release().await.unwrap();
    let reports = reports.lock().unwrap().clone();
    assert!(
        reports.len() == 1 && reports[0].contains("OOM"),
        "{reports:?}"
    );
}

#[tokio::test]
async fn wait_below_a_round_trip_is_no_outage() {
    let mut server = Server::start();
    let proxy = Proxy::before(&server);
    proxy.each(Fault::DelayReply(ms(150)), |_| true);
    let client = Client::connect(&proxy.url()).await.unwrap();
    let lock = client.lock(&unique_name());
    for limit in [1, 20, 120] {
        let lock = lock.clone().wait_timeout(ms(limit));
        let error = lock.acquire().await.unwrap_err();
        assert_eq!(
            unavailable(&error),
            UnavailableKind::WaitTooShort,
            "{error}"
        );
        assert!(error.to_string().contains("wait longer"), "{error}");
    }
    let longer = lock.clone().wait_timeout(ms(3_000)).acquire().await;
    longer.unwrap().release().await.unwrap();
    server.kill();
    let error = lock.wait_timeout(ms(120)).acquire().await.unwrap_err();
    assert_eq!(unavailable(&error), UnavailableKind::Unreachable, "{error}");
}

#[tokio::test]
async fn nothing_is_held_without_the_keepers_connection() {
    let server = Server::start();
    // The only connection is the caller's. None is left for the keeper.
    server.call(&["CONFIG", "SET", "maxclients", "1"]);
    let client = Client::connect_lazy(&server.url()).unwrap();
    let lock = client.lock("l").wait_timeout(ms(300));
    let error = lock.acquire().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(
        error.to_string().contains("max number of clients"),
        "{error}"
    );
    let error = lock.try_acquire().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    drop(client);
    drop(lock);
    let allow = || server.call(&["CONFIG", "SET", "maxclients", "100"]).text();
    let is_allowed = || allow().as_deref() == Some("OK");
    assert!(eventually_async(ms(5_000), is_allowed).await);
    assert!(server.keys().is_empty(), "{:?}", server.keys());
    let client = Client::connect(&server.url()).await.unwrap();
    acquire_and_release(&client.lock("l")).await;
}

/// Returns the URL of a server that is down.
fn absent() -> (Server, String) {
    let mut server = Server::start();
    let url = server.url();
    server.kill();
    (server, url)
}

#[tokio::test]
async fn job_waits_for_its_own_limit() {
    let (_server, url) = absent();
    let builder = Client::builder().store(&url).store_timeout(ms(300));
    let client = builder.connect_lazy().unwrap();
    let job = client.once("job").every(ms(60_000));
    let begun = Instant::now();
    let error = job
        .clone()
        .wait_timeout(ms(1_200))
        .begin()
        .await
        .err()
        .unwrap();
    assert!(error.is_unavailable(), "{error}");
    assert!(ms(1_100) < begun.elapsed(), "{:?}", begun.elapsed());
    let begun = Instant::now();
    job.wait_forever().begin().await.err().unwrap();
    assert!(begun.elapsed() < ms(1_100), "the store's timeout counts");
}

#[tokio::test]
async fn shutdown_ends_the_wait_of_a_job() {
    let (_server, url) = absent();
    let client = Client::connect_lazy(&url).unwrap();
    let job = client
        .once("job")
        .every(ms(60_000))
        .wait_timeout(ms(20_000));
    let waiting = tokio::spawn({
        let job = job.clone();
        async move { job.begin().await.err().unwrap() }
    });
    tokio::time::sleep(ms(200)).await;
    client.shutdown(ms(100)).await;
    let error = tokio::time::timeout(ms(2_000), waiting).await;
    assert!(matches!(error.expect("at once").unwrap(), Error::Closed));
    assert!(matches!(job.last_run().await, Err(Error::Closed)));
}

#[tokio::test]
async fn long_round_trip_leaves_a_try_its_time() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    // The proxy delays replies one after another. On a network, those to `CLIENT` come along.
    proxy.each(Fault::DelayReply(ms(250)), |args| args[0] != b"CLIENT");
    let client = Client::connect_lazy(&proxy.url()).unwrap();
    let begun = Instant::now();
    let guard = client.lock("l").try_acquire().await.unwrap();
    assert!(begun.elapsed() < ms(2_500), "{:?}", begun.elapsed());
    guard.unwrap().release().await.unwrap();
    let client = Client::connect_lazy(&proxy.url()).unwrap();
    assert!(!client.lock("l").inspect().await.unwrap().is_held());
}

#[tokio::test]
async fn dropped_client_dials_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let client = Client::connect_lazy(&url).unwrap();
    let lock = client.lock("l");
    let acquired = tokio::time::timeout(ms(200), lock.acquire()).await;
    assert!(acquired.is_err());
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(ms(3_000))).unwrap();
    drop(lock);
    drop(client);
    // The runtime that dialed keeps running beside this.
    let (close, closed) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while stream.read(&mut buffer).expect("the end of the connection") > 0 {}
        close.send(()).unwrap();
    });
    closed.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn paused_time_is_named() {
    let url = silent_listener();
    let error = Client::connect(&url).await.unwrap_err();
    assert_eq!(unavailable(&error), UnavailableKind::Silent, "{error}");
    assert!(error.to_string().contains("is paused"), "{error}");
    let lock = Client::connect_lazy(&url).unwrap().lock("l");
    let error = lock.wait_timeout(ms(500)).acquire().await.unwrap_err();
    assert!(error.to_string().contains("is paused"), "{error}");
}
