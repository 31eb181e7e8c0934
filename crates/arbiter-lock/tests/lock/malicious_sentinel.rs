//! Sentinels with malicious answers.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error};
use testkit::{SentinelGroup, unique_name};

use crate::acquire_and_release;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Starts a sentinel that answers each request as the test specifies.
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

/// Starts a sentinel of that id, which names a master in that epoch, and no other sentinels.
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
                "-NOPERM no right to list the replicas\r\n".to_owned(),
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
    // A wait that ends before the dialing does knows the cause, too.
    let lazy = Client::connect_lazy(&url).unwrap();
    let short = lazy.lock("l").wait_timeout(Duration::from_secs(1));
    let error = short.acquire().await.unwrap_err().to_string();
    assert!(error.contains("no longer the master"), "{error}");
    assert!(group.servers[1].keys().is_empty());
    // The real master may be named in any epoch.
    let fake = fake_sentinel('f', 7, group.servers[0].port());
    let url = format!("redis+sentinel://127.0.0.1:{fake}/main");
    let client = Client::connect(&url).await.unwrap();
    acquire_and_release(&client.lock("l")).await;
}
