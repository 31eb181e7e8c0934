//! Sentinel groups on bad days: switches amid a dialing, sentinels that are stopped, created anew or
//! malicious, address maps that panic, TLS and rights.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, NoopLogger, RefusedKind};
use testkit::{Proxy, Reply, SentinelGroup, Server, Traffic, eventually, unique_name};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

type Ports = Vec<(u16, u16)>;

/// A map of the ports that are announced, all on loopback.
fn mapped(ports: Ports) -> impl Fn(&str, u16) -> (String, u16) + Send + Sync {
    move |host, port| {
        let found = ports.iter().find(|(announced, _)| *announced == port);
        (host.to_owned(), found.map_or(port, |(_, mapped)| *mapped))
    }
}

/// Proxies in front of the servers, and the map that leads to them.
fn proxies(servers: &[Server]) -> (Vec<Proxy>, Ports) {
    let proxies: Vec<Proxy> = servers.iter().map(Proxy::before).collect();
    let ports = servers.iter().map(Server::port);
    let ports = ports.zip(proxies.iter().map(Proxy::port)).collect();
    (proxies, ports)
}

fn owner(server: &Server, name: &str) -> Option<String> {
    let key = format!("arbiter:{name}");
    server.call(&["HGET", &key, "owner"]).text()
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
    // What the members have among themselves may come and go.
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
        eventually(ms(1_000), || all() == [2, 0, 0, 1, 1, 1]),
        "{:?}",
        all()
    );
    guard.release().await.unwrap();
    drop(client);
    assert!(eventually(ms(1_000), || all() == [0; 6]), "{:?}", all());
}

/// A sentinel that answers each request as the test specifies.
fn malicious_sentinel(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 4_096];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    answer(&String::from_utf8_lossy(&buffer[..read]), &mut stream);
                }
            });
        }
    });
    port
}

const HELLO: &[u8] = b"%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n";

fn rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    let kb: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kb / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malicious_sentinel_is_outvoted_and_costs_no_memory() {
    let group = SentinelGroup::start();
    let endless = |_: &str, stream: &mut TcpStream| {
        let _ = stream.write_all(b"$1000000000\r\n");
        while stream.write_all(&[b' '; 65_536]).is_ok() {}
    };
    let says = |text: &'static [u8]| {
        malicious_sentinel(move |_, stream| {
            let _ = stream.write_all(text);
        })
    };
    let liars = [
        malicious_sentinel(endless),
        says(b"no protocol at all\r\n"),
        says(b"*2147483647\r\n$1\r\na\r\n"),
        says(HELLO),
        malicious_sentinel(|_, _| {}),
    ];
    let before = rss_mb();
    for liar in liars {
        let alone = format!("redis+sentinel://127.0.0.1:{liar}/main");
        let begun = Instant::now();
        let error = Client::connect(&alone).await.unwrap_err();
        assert!(begun.elapsed() < ms(6_000), "{:?}", begun.elapsed());
        assert!(error.to_string().contains("0 of 1 sentinels"), "{error}");
        let url = group
            .url()
            .replace("/main", &format!(",127.0.0.1:{liar}/main"));
        let client = Client::connect(&url).await.unwrap();
        let guard = client.lock(&unique_name()).acquire().await.unwrap();
        tokio::time::sleep(ms(2_000)).await;
        guard.release().await.unwrap();
    }
    let grown = rss_mb().saturating_sub(before);
    assert!(grown < 400, "{grown} MB");
}

/// A sentinel of that id, which names a master in that epoch, and no other sentinels.
fn fake_sentinel(id: char, epoch: u64, master: u16) -> u16 {
    malicious_sentinel(move |request, stream| {
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let mut answer = Vec::new();
        if request.contains("HELLO") {
            answer.extend(HELLO);
        }
        if request.contains("SUBSCRIBE") {
            answer.extend(b">3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n");
        }
        if request.contains("MYID") {
            let answers = [
                bulk(&id.to_string().repeat(40)),
                format!("%1\r\n{}{}", bulk("config-epoch"), bulk(&epoch.to_string())),
                "*0\r\n".to_owned(),
                format!("*2\r\n{}{}", bulk("127.0.0.1"), bulk(&master.to_string())),
            ];
            answer.extend(answers.concat().into_bytes());
        }
        let _ = stream.write_all(&answer);
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinel_that_names_a_replica_grants_nothing() {
    let group = SentinelGroup::start();
    let replica = group.servers[1].port();
    let fake = fake_sentinel('f', 7, replica);
    let url = format!("redis+sentinel://127.0.0.1:{fake}/main");
    let error = Client::connect(&url).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert!(
        error.to_string().contains("no longer the master"),
        "{error}"
    );
    assert!(group.servers[1].keys().is_empty());
    // The real master may be named in any epoch.
    let fake = fake_sentinel('f', 7, group.servers[0].port());
    let url = format!("redis+sentinel://127.0.0.1:{fake}/main");
    let client = Client::connect(&url).await.unwrap();
    client
        .lock("l")
        .acquire()
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
}

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_servers_are_reached_over_tls() {
    let group = SentinelGroup::builder();
    let group = group.server(Server::builder().tls()).start();
    let members = || group.servers.iter().chain(&group.sentinels);
    let tls_port = |server: &Server| {
        let url = server.tls_url();
        url.rsplit(':').next().unwrap().parse::<u16>().unwrap()
    };
    let ports: Ports = members().map(|s| (s.port(), tls_port(s))).collect();
    let authorities = |of: &mut dyn Iterator<Item = &Server>| {
        let pem = of.map(|s| std::fs::read(s.certificate()).unwrap());
        pem.collect::<Vec<_>>().concat()
    };
    let url = group.url_of(&[0]).replace("redis+", "rediss+");
    let url = url.replace(
        &group.sentinels[0].port().to_string(),
        &tls_port(&group.sentinels[0]).to_string(),
    );
    let connect = |pem: Vec<u8>| {
        let builder = Client::builder().store(&url).logger(NoopLogger);
        let builder = builder.map_address(mapped(ports.clone()));
        builder.certificate_authorities(&pem).connect()
    };
    let all = authorities(&mut members());
    let client = connect(all).await.unwrap();
    let lock = client.lock(&unique_name()).lease_time(ms(9_000));
    let guard = lock.acquire().await.unwrap();
    group.fail_over();
    // The first may fail with the connection to the old master.
    let _ = guard.refresh().await;
    guard.refresh().await.unwrap();
    guard.release().await.unwrap();
    for untrusted in [&group.servers, &group.sentinels] {
        let error = connect(authorities(&mut untrusted.iter())).await;
        assert!(error.is_err(), "{error:?}");
    }
}

/// Returns the documented rights of the user of sentinels, and of the one of servers.
fn documented() -> [Vec<String>; 2] {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rules = page.split("ACL SETUSER arbiter on >secret").skip(1);
    let mut rules = rules.map(|rule| {
        let rule = rule.split("```").next().unwrap().replace('\\', " ");
        rule.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    let (sentinels, mut servers) = (rules.next().unwrap(), rules.next().unwrap());
    servers.push("+info".to_owned());
    [sentinels, servers]
}

/// Returns what a member of the group refused for lack of a right.
fn refusals(server: &Server) -> Vec<String> {
    let Reply::Array(entries) = server.call(&["ACL", "LOG"]) else {
        panic!("no list");
    };
    let object = |entry: &Reply| {
        let facts = entry.texts();
        let at = facts.iter().position(|fact| fact == "object");
        at.and_then(|at| facts.into_iter().nth(at + 1))
    };
    entries.iter().filter_map(object).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_right_on_a_group_is_needed() {
    let group = SentinelGroup::builder().min_replicas().start();
    let [of_sentinels, of_servers] = documented();
    let members = || group.servers.iter().chain(&group.sentinels);
    let set = |of: &[Server], rights: &[String]| {
        let mut command = vec!["ACL", "SETUSER", "arbiter", "reset", "on", ">secret"];
        command.extend(rights.iter().map(String::as_str));
        for server in of {
            let answer = server.call(&command).text();
            assert_eq!(answer.as_deref(), Some("OK"), "{command:?}");
        }
    };
    let url = group.url().replace("://", "://arbiter:secret@");
    let url = format!("{url}?sentinel_username=arbiter&sentinel_password=secret");
    // A name that is not watched is asked for, too.
    let tour = async || {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = told.clone();
        let logger = move |event: &arbiter_lock::Event| log.lock().unwrap().push(event.to_string());
        let wrong = Client::connect(&url.replace("/main", "/mian")).await;
        let Err(Error::Refused(wrong)) = wrong else {
            panic!("{wrong:?}");
        };
        let client = Client::builder().store(&url).logger(logger).connect().await;
        if let Ok(client) = client {
            client
                .lock("l")
                .acquire()
                .await
                .unwrap()
                .release()
                .await
                .unwrap();
        }
        let events = told.lock().unwrap().concat();
        (wrong.kind, wrong.to_string(), events)
    };
    set(&group.servers, &of_servers);
    set(&group.sentinels, &of_sentinels);
    let (kind, names, events) = tour().await;
    assert_eq!(kind, RefusedKind::WrongUrl);
    assert!(
        names.contains("only main") && !events.contains("min-replicas"),
        "{events}"
    );
    let refused: Vec<_> = members().flat_map(refusals).collect();
    assert_eq!(refused, [""; 0]);
    let spared = of_sentinels
        .iter()
        .filter(|word| word.starts_with(['+', '&']));
    for spared in spared {
        let rest: Vec<_> = of_sentinels
            .iter()
            .filter(|w| *w != spared)
            .cloned()
            .collect();
        set(&group.sentinels, &rest);
        tour().await;
        let refused: Vec<_> = group.sentinels.iter().flat_map(refusals).collect();
        let right = &spared[1..];
        let is_missed = refused
            .iter()
            .any(|refused| right.starts_with(refused.as_str()));
        assert!(is_missed, "{spared} is of no use: {refused:?}");
        group
            .sentinels
            .iter()
            .for_each(|s| drop(s.call(&["ACL", "LOG", "RESET"])));
    }
    set(&group.sentinels, &of_sentinels);
    let rest: Vec<_> = of_servers
        .iter()
        .filter(|w| *w != "+info")
        .cloned()
        .collect();
    set(&group.servers, &rest);
    let (_, _, events) = tour().await;
    assert!(events.contains("min-replicas"), "{events}");
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
