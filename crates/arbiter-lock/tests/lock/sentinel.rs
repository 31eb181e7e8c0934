//! Sentinel groups: failovers, sentinels that are down, cut off or disagree, and URLs.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, ClientBuilder, Error, Event, Guard, Lock, NoopLogger, RefusedKind};
use testkit::{Proxy, SentinelGroup, Server, Traffic, eventually_async, unique_name};

use crate::acquire_and_release;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A lease that survives a killed master: it covers a second until the death is noticed, and the
/// failover.
const LEASE: Duration = ms(9_000);

pub(crate) type Events = Arc<Mutex<Vec<String>>>;

pub(crate) fn builder(url: &str, events: &Events) -> ClientBuilder {
    let events = events.clone();
    let log = move |event: &Event| events.lock().unwrap().push(event.to_string());
    Client::builder().store(url).logger(log)
}

pub(crate) async fn client(url: &str) -> Client {
    builder(url, &Events::default()).connect().await.unwrap()
}

/// Queues `count` waiters in order, one task for each.
pub(crate) async fn queue(
    lock: &Lock,
    count: u64,
) -> Vec<tokio::task::JoinHandle<Result<Guard, Error>>> {
    let mut waiters = Vec::new();
    for place in 1..=count {
        let waiter = lock.clone();
        waiters.push(tokio::spawn(async move { waiter.acquire().await }));
        while lock.inspect().await.unwrap().waiting < place {
            tokio::time::sleep(ms(10)).await;
        }
    }
    waiters
}

/// Waits until the replicas have all writes of the master.
fn replicate(group: &SentinelGroup) {
    let (master, mark) = (&group.servers[group.master()], unique_name());
    master.call(&["SET", "mark", &mark]);
    let has_it = |s: &Server| s.call(&["GET", "mark"]).text().as_ref() == Some(&mark);
    assert!(testkit::eventually(ms(5_000), || {
        group.servers.iter().all(has_it)
    }));
}

pub(crate) type Ports = Vec<(u16, u16)>;

/// Returns a map of the announced ports, all on loopback.
pub(crate) fn mapped(ports: Ports) -> impl Fn(&str, u16) -> (String, u16) + Send + Sync {
    move |host, port| {
        let found = ports.iter().find(|(announced, _)| *announced == port);
        (host.to_owned(), found.map_or(port, |(_, mapped)| *mapped))
    }
}

/// Starts proxies in front of the servers, and returns the map that leads to them.
pub(crate) fn proxies(servers: &[Server]) -> (Vec<Proxy>, Ports) {
    let proxies: Vec<Proxy> = servers.iter().map(Proxy::before).collect();
    let ports = servers.iter().map(Server::port);
    let ports = ports.zip(proxies.iter().map(Proxy::port)).collect();
    (proxies, ports)
}

/// Returns the owner of the lock's key on a server.
pub(crate) fn owner(server: &Server, name: &str) -> Option<String> {
    let key = format!("arbiter:{name}");
    server.call(&["HGET", &key, "owner"]).text()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graceful_failover_keeps_holds_and_queue_order() {
    let (group, name) = (SentinelGroup::start(), unique_name());
    let lock = client(&group.url()).await.lock(&name).lease_time(LEASE);
    let guard = lock.acquire().await.unwrap();
    let waiters = queue(&lock, 8).await;
    replicate(&group);
    let old = group.master();
    let new = group.fail_over();
    // The hold is renewed at once on the new master, and not on the old one.
    let ttl = |server: &Server| {
        let ttl = server.call(&["PTTL", &format!("arbiter:{name}")]);
        ttl.int().unwrap_or_default()
    };
    let is_renewed = || ms(8_500).as_millis() as i64 <= ttl(&group.servers[new]);
    assert!(eventually_async(ms(1_000), is_renewed).await);
    assert_ne!(old, new);
    assert!(guard.is_held());
    let mut fence = guard.fence();
    guard.release().await.unwrap();
    for waiter in waiters {
        let granted = waiter.await.unwrap().unwrap();
        assert!(fence < granted.fence());
        assert_eq!(
            owner(&group.servers[new], &name).as_deref(),
            Some(granted.owner())
        );
        fence = granted.fence();
        granted.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_master_is_replaced_within_the_lease() {
    let (mut group, name) = (SentinelGroup::start(), unique_name());
    let lock = client(&group.url()).await.lock(&name).lease_time(LEASE);
    let guard = lock.acquire().await.unwrap();
    let mut waiters = queue(&lock, 1).await;
    replicate(&group);
    let old = group.master();
    group.servers[old].kill();
    let new = group.wait_for_another(old);
    let renewed = || owner(&group.servers[new], &name).as_deref() == Some(guard.owner());
    assert!(renewed() && guard.is_held());
    guard.release().await.unwrap();
    let next = waiters.pop().unwrap().await.unwrap().unwrap();
    assert!(next.is_held());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resumed_master_grants_and_renews_nothing() {
    let (group, name) = (SentinelGroup::start(), unique_name());
    let lock = client(&group.url()).await.lock(&name).lease_time(LEASE);
    let guard = lock.acquire().await.unwrap();
    let waiters = queue(&lock, 1).await;
    replicate(&group);
    let old = group.master();
    group.servers[old].stop();
    let begun = Instant::now();
    let new = group.wait_for_another(old);
    // The waiter is granted there as soon as the holder releases.
    guard.release().await.unwrap();
    let next = waiters.into_iter().next().unwrap().await.unwrap().unwrap();
    assert!(begun.elapsed() < LEASE, "{:?}", begun.elapsed());
    group.servers[old].cont();
    tokio::time::sleep(ms(1_000)).await;
    assert!(next.is_held());
    assert_eq!(
        owner(&group.servers[new], &name).as_deref(),
        Some(next.owner())
    );
    // The old master has the earlier hold, and gets no request for the new one from the client.
    assert_ne!(
        owner(&group.servers[old], &name).as_deref(),
        Some(next.owner())
    );
    next.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_reachable_sentinel_leads_to_the_others() {
    let mut group = SentinelGroup::start();
    group.sentinels[0].kill();
    // The first sentinel of the list is down; the second names the third.
    let client = client(&group.url_of(&[0, 1])).await;
    let guard = client.lock(&unique_name()).acquire().await.unwrap();
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_without_a_majority_reports_the_answers() {
    let mut group = SentinelGroup::start();
    let url = group.url();
    group.sentinels[0].kill();
    group.sentinels[1].kill();
    let begun = Instant::now();
    let connecting = builder(&url, &Events::default()).connect_timeout(ms(3_000));
    let error = connecting.connect().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("1 of 3 sentinels"), "{error}");
    assert!(begun.elapsed() < ms(4_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_service_error_lists_the_names() {
    let group = SentinelGroup::start();
    let url = group.url().replace("/main", "/mian");
    let Err(Error::Refused(refused)) = Client::connect(&url).await else {
        panic!("it connects");
    };
    assert_eq!(refused.kind, RefusedKind::WrongUrl);
    let text = refused.to_string();
    assert!(text.contains("'mian'") && text.contains("main"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_servers_have_passwords_of_their_own() {
    let group = SentinelGroup::builder().passwords("data", "guard").start();
    let url = group.url();
    let with = |data: &str, guard: &str| {
        let url = url.replace("://", &format!("://:{data}@"));
        format!("{url}?sentinel_password={guard}")
    };
    let client = client(&with("data", "guard")).await;
    let guard = client.lock("l").acquire().await.unwrap();
    guard.release().await.unwrap();
    for wrong in [
        with("data", "wrong"),
        with("wrong", "guard"),
        with("data", ""),
    ] {
        let error = Client::connect(&wrong).await.unwrap_err();
        assert!(matches!(&error, Error::Refused(_)), "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn address_map_applies_to_masters_and_sentinels() {
    let group = SentinelGroup::start();
    let proxies: Vec<(u16, Proxy)> = group
        .servers
        .iter()
        .chain(&group.sentinels)
        .map(|server| (server.port(), Proxy::before(server)))
        .collect();
    let ports: Vec<(u16, u16)> = proxies.iter().map(|(port, p)| (*port, p.port())).collect();
    let map = move |_: &str, port: u16| {
        let mapped = ports.iter().find(|(announced, _)| *announced == port);
        (
            "localhost".to_owned(),
            mapped.map_or(1, |(_, mapped)| *mapped),
        )
    };
    let events = Events::default();
    let first = proxies[3].1.port();
    let url = format!("redis+sentinel://127.0.0.1:{first}/main");
    let client = builder(&url, &events).map_address(map).connect().await;
    let guard = client.unwrap().lock("l").acquire().await.unwrap();
    assert!(proxies[0].1.connections() > 0);
    guard.release().await.unwrap();
}

/// Connects a client to the old master directly, and to two of the sentinels through proxies.
async fn behind_proxies(group: &SentinelGroup, events: &Events) -> (Client, Vec<Proxy>) {
    let (proxies, ports) = proxies(&group.sentinels[1..]);
    let builder = builder(&group.url_of(&[0]), events).map_address(mapped(ports));
    (builder.connect().await.unwrap(), proxies)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_cut_off_with_old_master_loses_holds() {
    let (group, events) = (SentinelGroup::start(), Events::default());
    let (client, proxies) = behind_proxies(&group, &events).await;
    let guard = client
        .lock("l")
        .lease_time(ms(2_000))
        .acquire()
        .await
        .unwrap();
    proxies
        .iter()
        .for_each(|proxy| proxy.set_traffic(Traffic::Silent));
    let cut = Instant::now();
    // The master still answers, and could have been replaced beyond the partition.
    let lost = tokio::time::timeout(ms(20_000), guard.lost()).await;
    lost.expect("it still trusts the old master");
    let after = cut.elapsed();
    assert!(
        ms(5_000) < after && after < ms(8_500),
        "a lease and the 5 s for which answers count: {after:?}"
    );
    let error = client.lock("m").try_acquire().await.unwrap_err();
    assert!(error.to_string().contains("1 of 3 sentinels"), "{error}");
    let is_told = || {
        let events = events.lock().unwrap();
        events.iter().any(|event| event.starts_with("no majority"))
    };
    assert!(is_told());
    proxies
        .iter()
        .for_each(|proxy| proxy.set_traffic(Traffic::Flowing));
    let lock = client.lock("m").wait_timeout(ms(5_000));
    lock.acquire().await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protected_master_outlasts_a_loss_of_all_sentinels() {
    let mut group = SentinelGroup::builder().min_replicas().start();
    let events = Events::default();
    let client = builder(&group.url(), &events).connect().await.unwrap();
    let guard = client
        .lock("l")
        .lease_time(ms(2_000))
        .acquire()
        .await
        .unwrap();
    group.sentinels.iter_mut().for_each(Server::kill);
    tokio::time::sleep(ms(8_000)).await;
    assert!(guard.is_held());
    let events = events.lock().unwrap();
    assert!(!events.iter().any(|event| event.contains("min-replicas")));
    assert!(events.iter().any(|event| event.starts_with("no majority")));
}

/// A sentinel beyond a partition can promote a replica that the master does not see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn master_without_a_replica_needs_the_sentinels() {
    let mut group = SentinelGroup::builder().min_replicas().start();
    group.wait_until_settled();
    let client = client(&group.url()).await;
    let lock = client.lock("l").lease_time(ms(2_000));
    let guard = lock.acquire().await.unwrap();
    tokio::time::sleep(ms(1_500)).await; // until every sentinel was queried again
    let master = group.master();
    group.sentinels.iter_mut().for_each(Server::kill);
    let replica = &group.servers[(master + 1) % 3];
    replica.stop();
    let cut = Instant::now();
    let lost = tokio::time::timeout(ms(20_000), guard.lost()).await;
    lost.expect("it still trusts the old master");
    let after = cut.elapsed();
    assert!(ms(4_000) < after && after < ms(8_500), "{after:?}");
    let error = client.lock("m").try_acquire().await.unwrap_err();
    assert!(error.to_string().contains("0 of 3 sentinels"), "{error}");
    // The master sees all of its replicas again.
    replica.cont();
    let lock = client.lock("m").wait_timeout(ms(5_000));
    acquire_and_release(&lock).await;
    // A replica that is cut off could be promoted, and the client would not notice.
    let unprotected = ["CONFIG", "SET", "min-replicas-to-write", "0"];
    group.servers[master].call(&unprotected);
    tokio::time::sleep(ms(1_200)).await; // as long as a count of the replicas is used
    lock.try_acquire().await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acquire_amid_a_failover_waits_for_its_end() {
    let (mut group, name) = (SentinelGroup::start(), unique_name());
    let old = group.master();
    group.servers[old].kill();
    let url = group.url();
    let client = Client::connect_lazy(&url).unwrap();
    let lock = client.lock(&name).wait_timeout(ms(15_000));
    let guard = lock.acquire().await.unwrap();
    assert_ne!(group.master(), old);
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreplicated_hold_is_lost_at_once() {
    let (group, name) = (SentinelGroup::start(), unique_name());
    let lock = client(&group.url()).await.lock(&name).lease_time(LEASE);
    let guard = lock.acquire().await.unwrap();
    let old = group.master();
    replicate(&group);
    group.servers[old].stop();
    // As if the replicas had never received the grant.
    for (n, replica) in group.servers.iter().enumerate().filter(|(n, _)| *n != old) {
        replica.call(&["CONFIG", "SET", "replica-read-only", "no"]);
        let deleted = replica.call(&["DEL", &format!("arbiter:{name}")]);
        assert_eq!(deleted.int(), Some(1), "{n}");
    }
    group.wait_for_another(old);
    let switched = Instant::now();
    let reason = tokio::time::timeout(ms(5_000), guard.lost()).await.unwrap();
    println!("{:?}", switched.elapsed());
    assert_eq!(reason, arbiter_lock::LostReason::Deleted);
    assert!(switched.elapsed() < ms(1_000), "{:?}", switched.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_primitive_survives_a_graceful_failover() {
    let (group, name) = (SentinelGroup::start(), unique_name());
    let builder = Client::builder().store(&group.url()).logger(NoopLogger);
    let client = builder
        .default_lease_time(ms(9_000))
        .connect()
        .await
        .unwrap();
    let (rw, semaphore) = (
        client.rw_lock(&format!("{name}/rw")),
        client.semaphore(&format!("{name}/s"), 2),
    );
    let election = client.election(&format!("{name}/e"));
    let readers = [rw.read().await.unwrap(), rw.read().await.unwrap()];
    let permits = semaphore.acquire_many(2).await.unwrap();
    let leader = election.campaign("first").await.unwrap();
    let writing = tokio::spawn({
        let rw = rw.clone();
        async move { rw.write().await.unwrap() }
    });
    let waiting = tokio::spawn({
        let semaphore = semaphore.clone();
        async move { semaphore.acquire().await.unwrap() }
    });
    let campaigning = tokio::spawn({
        let election = election.clone();
        async move { election.campaign("second").await.unwrap() }
    });
    tokio::time::sleep(ms(300)).await;
    group.fail_over();
    assert!(readers.iter().all(|guard| guard.is_held()) && permits.is_held());
    // The first question may fail with the connection to the old master.
    let _ = election.leader().await;
    let value = election.leader().await.unwrap().unwrap().value;
    assert_eq!(value.as_deref(), Some("first"));
    assert!(!writing.is_finished() && !waiting.is_finished() && !campaigning.is_finished());
    for reader in readers {
        reader.release().await.unwrap();
    }
    permits.release().await.unwrap();
    leader.resign().await.unwrap();
    let limit = ms(1_500);
    let in_time = async {
        writing.await.unwrap().release().await.unwrap();
        waiting.await.unwrap().release().await.unwrap();
        campaigning.await.unwrap().resign().await.unwrap();
    };
    tokio::time::timeout(limit, in_time).await.unwrap();
}
