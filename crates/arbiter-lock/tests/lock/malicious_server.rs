//! A malicious server causes errors, but no memory growth, hang or panic.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arbiter_lock::Client;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Starts a server that accepts connections like any other, and replies to each request as the test
/// specifies. The first argument is the connection's channel.
fn malicious_server(reply: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let reply = Arc::new(reply);
    let count = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (reply, count) = (reply.clone(), count.clone());
            std::thread::spawn(move || {
                let mut out = stream.try_clone().unwrap();
                let mut input = BufReader::new(stream);
                let mut heard = String::new();
                loop {
                    let mut line = String::new();
                    if input.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    let n: usize = line.trim()[1..].parse().unwrap();
                    let mut args = Vec::new();
                    for _ in 0..n {
                        let mut line = String::new();
                        input.read_line(&mut line).unwrap();
                        let len: usize = line.trim()[1..].parse().unwrap();
                        let mut bytes = vec![0; len + 2];
                        input.read_exact(&mut bytes).unwrap();
                        bytes.truncate(len);
                        args.push(bytes);
                    }
                    match args[0].as_slice() {
                        b"HELLO" => out
                            .write_all(b"%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n")
                            .unwrap(),
                        b"SUBSCRIBE" => {
                            let channel = String::from_utf8(args[1].clone()).unwrap();
                            let text = format!(
                                ">3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:1\r\n",
                                channel.len()
                            );
                            out.write_all(text.as_bytes()).unwrap();
                            heard = channel;
                        }
                        b"EVALSHA" | b"EVAL" => {
                            let n = count.fetch_add(1, Ordering::Relaxed);
                            if n == 0 {
                                out.write_all(b"$3\r\ncan\r\n").unwrap();
                            } else {
                                reply(&heard, &mut out);
                            }
                        }
                        _ => out.write_all(b"+OK\r\n").unwrap(),
                    }
                }
            });
        }
    });
    url
}

fn rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

#[tokio::test]
async fn line_of_spaces_costs_no_memory() {
    let url = malicious_server(|_, out| {
        let body = vec![b' '; 8 << 20];
        let _ = out.write_all(format!("${}\r\n", body.len()).as_bytes());
        let _ = out.write_all(&body);
        let _ = out.write_all(b"\r\n");
    });
    let client = Client::connect(&url).await.unwrap();
    let before = rss_mb();
    let got = client.lock("x").wait_timeout(ms(500)).try_acquire().await;
    let grown = rss_mb() - before;
    println!("{got:?} grew {grown} MB");
    assert!(grown < 300, "8 MB of answer cost {grown} MB");
}

#[tokio::test]
async fn huge_array_is_an_error() {
    let url = malicious_server(|_, out| {
        let _ = out.write_all(b"*2147483647\r\n$1\r\na\r\n");
    });
    let client = Client::connect(&url).await.unwrap();
    let before = rss_mb();
    let begun = Instant::now();
    let got = client.lock("x").try_acquire().await;
    println!(
        "{got:?} grew {} MB in {:?}",
        rss_mb() - before,
        begun.elapsed()
    );
    assert!(begun.elapsed() < ms(1_500));
    assert!(rss_mb() - before < 300);
}

#[tokio::test]
async fn huge_ttl_does_not_panic() {
    let url = malicious_server(|_, out| {
        let _ = out.write_all(b"*10\r\n$6\r\nqueued\r\n:1\r\n:1\r\n:1\r\n:0\r\n$1\r\no\r\n:5\r\n:1\r\n$20\r\n18446744073709551615\r\n$1\r\nl\r\n");
    });
    let client = Client::connect(&url).await.unwrap();
    let lock = client.lock("x").wait_timeout(ms(500));
    let got = tokio::spawn(async move { lock.acquire().await }).await;
    println!("{got:?}");
    assert!(got.is_ok());
}

#[tokio::test]
async fn try_ends_on_an_unexpected_reply() {
    let url = malicious_server(|_, out| {
        let _ = out.write_all(
            b"*9\r\n$4\r\nbusy\r\n:1\r\n:1\r\n:1\r\n$1\r\no\r\n:5\r\n:1\r\n:1000\r\n$1\r\nl\r\n",
        );
    });
    let client = Client::connect(&url).await.unwrap();
    let got = tokio::time::timeout(ms(3_000), client.lock("x").try_acquire()).await;
    assert!(got.is_ok(), "a try that never ends");
}

#[tokio::test]
async fn endless_push_does_not_grow_memory() {
    let url = malicious_server(|_, out| {
        let body = vec![b'x'; 1 << 20];
        let _ = out.write_all(b">3\r\n$7\r\nmessage\r\n$100000000000\r\n");
        for _ in 0..400 {
            if out.write_all(&body).is_err() {
                return;
            }
        }
    });
    let client = Client::connect(&url).await.unwrap();
    let before = rss_mb();
    let got = client.lock("x").try_acquire().await;
    tokio::time::sleep(ms(2_000)).await;
    println!("{got:?} grew {} MB", rss_mb() - before);
    assert!(rss_mb() - before < 300);
}

#[tokio::test]
async fn endlessly_nested_reply_is_an_error() {
    let url = malicious_server(|_, out| {
        let _ = out.write_all("*1\r\n".repeat(1 << 20).as_bytes());
    });
    let client = Client::connect(&url).await.unwrap();
    let before = rss_mb();
    let got = client.lock("x").try_acquire().await;
    assert!(got.is_err(), "{got:?}");
    assert!(rss_mb() - before < 300);
}

#[tokio::test]
async fn slow_endless_reply_ends_in_time() {
    let url = malicious_server(|_, out| {
        let drip = |byte: &[u8]| out.write_all(byte).is_ok();
        let _ = std::iter::once(b"$9999\r\n".as_slice())
            .chain(std::iter::repeat_n(b"x".as_slice(), 400))
            .map(drip)
            .take_while(|sent| *sent)
            .inspect(|_| std::thread::sleep(ms(20)))
            .count();
    });
    let client = Client::connect(&url).await.unwrap();
    let begun = Instant::now();
    let got = client.lock("x").try_acquire().await;
    assert!(got.unwrap_err().is_unavailable());
    assert!(
        begun.elapsed() < ms(5_000),
        "a try is given a command's time"
    );
}

#[tokio::test]
async fn external_and_malformed_pushes_grant_nothing() {
    let url = malicious_server(|channel, out| {
        let push = |text: &str| {
            let sizes = (channel.len(), text.len());
            format!(
                ">3\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n${}\r\n{text}\r\n",
                sizes.0, sizes.1
            )
        };
        let odd = [
            "",
            " ",
            "id",
            "id 1 2",
            "id -1 -1 -1",
            "id 1 2 3 4 5",
            "\0 x y z",
        ];
        let mut pushes = odd.map(push).concat();
        for n in 0..1_000 {
            pushes += &push(&format!("somebody-{n} {n} 18446744073709551615 {n}"));
        }
        let _ = out.write_all(pushes.as_bytes());
        let queued = "*10\r\n$6\r\nqueued\r\n:1\r\n:1\r\n:1\r\n:0\r\n$1\r\no\r\n:5\r\n:1\r\n:1000\r\n$1\r\nl\r\n";
        let _ = out.write_all(queued.as_bytes());
    });
    let client = Client::connect(&url).await.unwrap();
    let got = client.lock("x").wait_timeout(ms(3_000)).acquire().await;
    let error = got.unwrap_err();
    assert!(error.is_contended(), "{error}");
}
