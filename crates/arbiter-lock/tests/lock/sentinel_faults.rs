//! Faults of Sentinel groups: switches during a dial, sentinels that are stopped or recreated,
//! address maps that panic, runtimes that end.

use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, NoopLogger};
use testkit::{SentinelGroup, Server, Traffic, eventually, unique_name};

use crate::sentinel::{mapped, owner, proxies};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switch_amid_a_dialing_leads_to_new_master() {
    let (group, name) = (SentinelGroup::start(), unique_name());
    let old = group.master();
    let (proxies, ports) = proxies(&group.servers);
    let builder = Client::builder().store(&group.url()).logger(NoopLogger);
    let client = builder.map_address(mapped(ports)).connect_lazy().unwrap();
    // The old master calls itself one for some 10 s after it was replaced.
    proxies[old].set_traffic(Traffic::Stalled);
    let lock = client.lock(&name).wait_timeout(ms(20_000));
    let acquiring = tokio::spawn(async move { lock.acquire().await.unwrap() });
    assert!(eventually(ms(5_000), || 0 < proxies[old].connections()));
    let new = group.fail_over();
    let replaced = Instant::now();
    let guard = tokio::time::timeout(ms(1_500), acquiring).await;
    let guard = guard.expect("the stalled dialing is given up").unwrap();
    proxies[old].set_traffic(Traffic::Flowing);
    assert_eq!(
        owner(&group.servers[new], &name).as_deref(),
        Some(guard.owner()),
        "{:?}",
        replaced.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_sentinels_end_a_try_within_two_seconds() {
    let group = SentinelGroup::start();
    let held = Client::connect(&group.url()).await.unwrap();
    let lock = held.lock(&unique_name()).lease_time(ms(3_000));
    let guard = lock.acquire().await.unwrap();
    group.sentinels.iter().for_each(Server::stop);
    let client = Client::connect_lazy(&group.url()).unwrap();
    let begun = Instant::now();
    let error = client.lock("l").try_acquire().await.unwrap_err();
    assert!(begun.elapsed() < ms(2_000), "{:?}", begun.elapsed());
    assert!(error.to_string().contains("0 of 3 sentinels"), "{error}");
    let begun = Instant::now();
    let builder = Client::builder().store(&group.url()).logger(NoopLogger);
    let error = builder.connect_timeout(ms(500)).connect().await;
    assert!(matches!(error, Err(Error::Unavailable(_))), "{error:?}");
    assert!(begun.elapsed() < ms(800), "{:?}", begun.elapsed());
    assert!(guard.is_held());
    // One that holds is renewed for 5 s more, and its tries end.
    let begun = Instant::now();
    tokio::time::sleep(ms(6_000)).await;
    let error = held.lock("l").try_acquire().await.unwrap_err();
    assert!(begun.elapsed() < ms(8_000), "{:?}", begun.elapsed());
    assert!(error.to_string().contains("0 of 3 sentinels"), "{error}");
    group.sentinels.iter().for_each(Server::cont);
    let lock = client.lock("l").wait_timeout(ms(5_000));
    lock.acquire().await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stopped_sentinel_delays_nothing() {
    let group = SentinelGroup::start();
    group.sentinels[0].stop();
    let begun = Instant::now();
    let client = Client::connect(&group.url()).await.unwrap();
    let guard = client.lock("l").acquire().await.unwrap();
    assert!(begun.elapsed() < ms(700), "{:?}", begun.elapsed());
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recreated_sentinel_does_not_bring_old_master_back() {
    let (mut group, name) = (SentinelGroup::start(), unique_name());
    let old = group.master();
    let client = Client::connect(&group.url_of(&[0])).await.unwrap();
    let lock = client.lock(&name).lease_time(ms(9_000));
    let new = group.fail_over();
    let guard = lock.acquire().await.unwrap();
    // It is empty: it names the first master, in epoch 0, and at first no others.
    group.sentinels[0].restart();
    assert_eq!(group.master_of(&group.sentinels[0]), Some(old));
    let until = Instant::now() + ms(4_000);
    while Instant::now() < until {
        let lock = client.lock(&unique_name());
        let other = lock.acquire().await.unwrap();
        let owned = owner(&group.servers[new], other.name());
        assert_eq!(owned.as_deref(), Some(other.owner()));
        other.release().await.unwrap();
        tokio::time::sleep(ms(20)).await;
    }
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panicking_address_map_is_an_error() {
    let group = SentinelGroup::start();
    let (master, sentinel) = (group.servers[0].port(), group.sentinels[1].port());
    let client = |panics: u16| {
        let map = move |host: &str, port: u16| {
            assert_ne!(port, panics, "as it should");
            (host.to_owned(), port)
        };
        let builder = Client::builder().store(&group.url_of(&[0]));
        builder.logger(NoopLogger).map_address(map).connect()
    };
    let error = client(master).await.unwrap_err();
    assert!(error.to_string().contains("address map"), "{error}");
    // The other two sentinels are a majority.
    let client = client(sentinel).await.unwrap();
    let guard = client.lock("l").acquire().await.unwrap();
    tokio::time::sleep(ms(6_000)).await;
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_works_after_its_first_runtime_ended() {
    let group = SentinelGroup::start();
    let url = group.url();
    let connect = move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(Client::connect(&url)).unwrap()
    };
    let client = std::thread::spawn(connect).join().unwrap();
    group.fail_over();
    let lock = client.lock("l").wait_timeout(ms(3_000));
    lock.acquire().await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_client_leaves_no_connection() {
    let group = SentinelGroup::start();
    // Connections between the members may come and go.
    let of_clients = |server: &Server| {
        let list = server.call(&["CLIENT", "LIST"]).text().unwrap();
        let is_ours = |line: &&str| line.contains("resp=3");
        list.lines().filter(is_ours).count()
    };
    let all = || {
        let members = group.servers.iter().chain(&group.sentinels);
        members.map(of_clients).collect::<Vec<_>>()
    };
    let client = Client::connect(&group.url()).await.unwrap();
    let guard = client.lock("l").acquire().await.unwrap();
    assert!(
        eventually(ms(5_000), || all() == [2, 0, 0, 1, 1, 1]),
        "{:?}",
        all()
    );
    guard.release().await.unwrap();
    drop(client);
    assert!(eventually(ms(5_000), || all() == [0; 6]), "{:?}", all());
}
