//! States of a server (refusing, busy, loading, full), and the transports to it.

use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, RefusedKind, block_on};
use testkit::{Proxy, Server, unique_name};

use crate::acquire_and_release;
use crate::faults::{held, key};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test]
async fn refusal_has_a_reason_and_changes_nothing() {
    let server = Server::start();
    let client = Client::connect(&server.url()).await.unwrap();
    let kind = |error: Error| match error {
        Error::Refused(refused) => refused.kind,
        other => panic!("{other}"),
    };
    for (n, data) in [
        &["SET", "string"][..],
        &["RPUSH", "list"],
        &["HSET", "field", "value"],
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{}-{n}", unique_name());
        let key = key(&name);
        let mut command = vec![data[0], key.as_str()];
        command.extend(&data[1..]);
        server.call(&command);
        let before = server.call(&["DUMP", &key]);
        let lock = client.lock(&name).wait_timeout(ms(500));
        assert_eq!(
            kind(lock.acquire().await.unwrap_err()),
            RefusedKind::WrongType
        );
        assert_eq!(
            kind(lock.try_acquire().await.unwrap_err()),
            RefusedKind::WrongType
        );
        assert_eq!(
            kind(lock.inspect().await.unwrap_err()),
            RefusedKind::WrongType
        );
        tokio::time::sleep(ms(50)).await;
        assert_eq!(server.call(&["DUMP", &key]), before);
    }
    server.call(&[
        "ACL",
        "SETUSER",
        "u",
        "on",
        ">secret",
        "+@all",
        "~arbiter*",
        "&*",
    ]);
    let url = server.url().replace("redis://", "redis://u:wrong@");
    let error = Client::connect(&url).await.unwrap_err();
    assert!(
        !error.to_string().contains("wrong@") && !format!("{error:?}").contains(":wrong"),
        "{error}"
    );
    assert_eq!(kind(error), RefusedKind::Denied);
    let url = server.url().replace("redis://", "redis://u:secret@") + "/3";
    let client = Client::connect(&url).await.unwrap();
    acquire_and_release(&client.lock("mine")).await;
    server.call(&["ACL", "SETUSER", "u", "-evalsha", "-eval"]);
    assert_eq!(
        kind(client.lock("mine").acquire().await.unwrap_err()),
        RefusedKind::Denied
    );
}

#[tokio::test]
async fn failing_server_is_unavailable_until_it_recovers() {
    let server = Server::start();
    let client = Client::connect(&server.url()).await.unwrap();
    let name = unique_name();
    let lock = client.lock(&name).wait_timeout(ms(300));
    lock.acquire().await.unwrap().release().await.unwrap();
    let states: [(&[&str], &[&str]); 3] = [
        (
            &["REPLICAOF", "127.0.0.1", "1"],
            &["REPLICAOF", "NO", "ONE"],
        ),
        (
            &["CONFIG", "SET", "maxmemory", "1"],
            &["CONFIG", "SET", "maxmemory", "0"],
        ),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
    ];
    for (spoil, heal) in states {
        server.call(spoil);
        let begun = Instant::now();
        let error = lock.acquire().await.unwrap_err();
        assert!(
            error.is_unavailable() && begun.elapsed() < ms(1_000),
            "{spoil:?}: {error}"
        );
        let healing = tokio::spawn({
            let lock = client.lock(&name).wait_timeout(ms(5_000));
            async move { lock.acquire().await }
        });
        tokio::time::sleep(ms(100)).await;
        server.call(heal);
        healing.await.unwrap().unwrap().release().await.unwrap();
    }
}

#[tokio::test]
async fn read_only_server_is_redialed_once_a_second() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let begun = Instant::now();
    let client = Client::connect(&proxy.url()).await.unwrap();
    let lock = client.lock(&unique_name());
    server.call(&["SET", &key("data"), "somebody's"]);
    tokio::time::sleep(ms(1_100)).await;
    client.lock("data").try_acquire().await.unwrap_err();
    assert_eq!(
        proxy.count("SUBSCRIBE"),
        1,
        "any other error tells nothing of the connection"
    );
    server.call(&["REPLICAOF", "127.0.0.1", "1"]);
    let mut steps = 0;
    while begun.elapsed() < ms(3_500) {
        let error = lock.try_acquire().await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        steps += 1;
    }
    let (dialled, seconds) = (proxy.count("SUBSCRIBE"), begun.elapsed().as_secs());
    assert!(
        2 <= dialled,
        "its address may lead to another server by now"
    );
    assert!(dialled <= 1 + seconds, "{dialled} for {steps} steps");
}

#[tokio::test]
async fn unix_socket_is_supported() {
    let server = Server::start();
    let client = Client::connect(&server.unix_url()).await.unwrap();
    acquire_and_release(&client.lock("l")).await;
}

#[tokio::test]
async fn holder_survives_a_server_busy_in_a_script() {
    let server = Server::start();
    let (client, name, guard) = held(&server).await;
    server.call(&["CONFIG", "SET", "lua-time-limit", "50"]);
    std::thread::scope(|threads| {
        threads.spawn(|| server.call(&["EVAL", "while true do end", "0"]));
        std::thread::sleep(ms(200));
        let lock = client.lock("other").wait_timeout(ms(300));
        let error = block_on(lock.acquire()).unwrap_err();
        assert!(
            error.is_unavailable() && error.to_string().contains("busy"),
            "{error}"
        );
        server.call(&["SCRIPT", "KILL"]);
    });
    tokio::time::sleep(ms(1_500)).await;
    assert!(guard.is_held(), "it lost {name}");
    guard.release().await.unwrap();
}

#[test]
fn loading_server_is_unavailable_until_loaded() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // The server loads slowly, and answers every 2 MB meanwhile.
    let slow = ["--key-load-delay", "500", "--rdbcompression", "no"];
    let mut server = slow
        .into_iter()
        .fold(Server::builder(), |server, arg| server.arg(arg))
        .start();
    let client = runtime.block_on(Client::connect(&server.url())).unwrap();
    let lock = client.lock(&unique_name());
    block_on(block_on(lock.acquire()).unwrap().release()).unwrap();
    let fill = "for n = 1, 4000 do redis.call('SET', 'ballast:' .. n, string.rep('x', 4096)) end";
    server.call(&["EVAL", fill, "0"]);
    server.call(&["SAVE"]);
    let is_loading =
        |error: &Error| error.is_unavailable() && error.to_string().contains("loading");
    // It is up once it answers anything, and then loads for two seconds.
    let seen = std::thread::scope(|threads| {
        let restart = threads.spawn(|| server.restart());
        loop {
            let is_back = restart.is_finished();
            match block_on(lock.try_acquire()) {
                Err(error) if is_loading(&error) => break true,
                Ok(Some(_)) if is_back => break false,
                _ => {}
            }
        }
    });
    assert!(seen, "no answer said that it loads");
    let lock = lock.wait_timeout(ms(15_000));
    block_on(block_on(lock.acquire()).unwrap().release()).unwrap();
}
