//! Credentials that change while a client is in use: from a provider, or in the file with the URL.

use std::error::Error as StdError;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, ClientBuilder, Credentials, Error, Event, NoopLogger, RefusedKind};
use testkit::{Folder, SentinelGroup, Server, eventually_async, unique_name};

use crate::acquire_and_release;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

type Answer = Result<Credentials, Box<dyn StdError + Send + Sync>>;

/// Credentials that a test replaces.
#[derive(Clone)]
struct Current(Arc<Mutex<(String, String)>>, Arc<AtomicUsize>);

impl Current {
    fn new(username: &str, password: &str) -> Self {
        let current = (username.to_owned(), password.to_owned());
        Self(Arc::new(Mutex::new(current)), Arc::default())
    }

    fn set(&self, username: &str, password: &str) {
        *self.0.lock().unwrap() = (username.to_owned(), password.to_owned());
    }

    fn asked(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }

    fn client(&self, url: &str) -> ClientBuilder {
        let current = self.clone();
        let builder = Client::builder().store(url).logger(NoopLogger);
        builder.credentials_provider(move || {
            current.1.fetch_add(1, Ordering::Relaxed);
            let (username, password) = current.0.lock().unwrap().clone();
            async move { Ok(Credentials::new(&username, &password)) }
        })
    }
}

fn set_user(server: &Server, user: &str, rules: &[&str]) {
    let rules = [&["ACL", "SETUSER", user, "on"], rules].concat();
    assert_eq!(server.call(&rules).text().as_deref(), Some("OK"));
}

const ALL: [&str; 3] = ["+@all", "~*", "&*"];

fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Refused(e) if e.kind == RefusedKind::Denied)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotated_password_is_survived_under_a_holder() {
    let server = Server::start();
    set_user(&server, "app", &[&[">one"], &ALL[..]].concat());
    let current = Current::new("app", "one");
    let client = current.client(&server.url()).connect().await.unwrap();
    let lock = client.lock("l").lease_time(ms(3_000));
    let guard = lock.acquire().await.unwrap();
    let waiting = tokio::spawn({
        let lock = lock.clone().wait_timeout(ms(20_000));
        async move { lock.acquire().await.unwrap().release().await }
    });
    let asked = current.asked();
    set_user(&server, "app", &["resetpass", ">two"]);
    server.call(&["CLIENT", "KILL", "USER", "app"]);
    // The provider still returns the old one, which is rejected.
    tokio::time::sleep(ms(700)).await;
    assert!(asked < current.asked());
    current.set("app", "two");
    tokio::time::sleep(ms(3_500)).await;
    assert!(guard.is_held(), "{:?}", guard.hold().loss());
    guard.release().await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_without_rights_is_replaced_under_a_holder() {
    let server = Server::start();
    for user in ["a", "b"] {
        set_user(&server, user, &[&[">secret"], &ALL[..]].concat());
    }
    let current = Current::new("a", "secret");
    let client = current.client(&server.url()).connect().await.unwrap();
    let lock = client.lock("l").lease_time(ms(2_000));
    let guard = lock.acquire().await.unwrap();
    current.set("b", "secret");
    set_user(&server, "a", &["-@all", "+hello", "+client"]);
    tokio::time::sleep(ms(3_000)).await;
    assert!(guard.is_held(), "{:?}", guard.hold().loss());
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reset_user_is_replaced_under_a_holder() {
    let server = Server::start();
    for user in ["a", "b"] {
        set_user(&server, user, &[&[">secret"], &ALL[..]].concat());
    }
    let current = Current::new("a", "secret");
    let client = current.client(&server.url()).connect().await.unwrap();
    let lock = client.lock("l").lease_time(ms(2_000));
    let guard = lock.acquire().await.unwrap();
    let waiting = tokio::spawn({
        let lock = client.lock("l").wait_timeout(ms(20_000));
        async move { lock.acquire().await.unwrap().release().await }
    });
    tokio::time::sleep(ms(300)).await;
    current.set("b", "secret");
    server.call(&["ACL", "SETUSER", "a", "reset"]);
    tokio::time::sleep(ms(3_000)).await;
    assert!(guard.is_held(), "{:?}", guard.hold().loss());
    guard.release().await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn demanded_password_is_provided_under_a_holder() {
    let server = Server::builder().password("demanded").start();
    server.call(&["CONFIG", "SET", "requirepass", ""]);
    let url = format!("redis://127.0.0.1:{}", server.port());
    let is_demanded = Arc::new(AtomicUsize::new(0));
    let demanded = is_demanded.clone();
    let builder = Client::builder().store(&url).logger(NoopLogger);
    let client = builder.credentials_provider(move || {
        let credentials = match demanded.load(Ordering::Relaxed) {
            0 => Credentials::default(),
            _ => Credentials::new("", "demanded"),
        };
        async move { Ok(credentials) }
    });
    let client = client.connect().await.unwrap();
    let lock = client.lock("l").lease_time(ms(3_000));
    let guard = lock.acquire().await.unwrap();
    server.call(&["CONFIG", "SET", "requirepass", "demanded"]);
    for kind in ["normal", "pubsub"] {
        server.call(&["CLIENT", "KILL", "TYPE", kind]);
    }
    tokio::time::sleep(ms(500)).await;
    is_demanded.store(1, Ordering::Relaxed);
    tokio::time::sleep(ms(3_500)).await;
    assert!(guard.is_held(), "{:?}", guard.hold().loss());
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_are_never_accepted_are_denied() {
    let server = Server::builder().password("right").start();
    let current = Current::new("", "wrong");
    let error = current.client(&server.url()).connect().await.unwrap_err();
    assert!(
        is_denied(&error) && error.to_string().contains("WRONGPASS"),
        "{error}"
    );
    let client = current.client(&server.url()).connect_lazy().unwrap();
    let begun = Instant::now();
    let error = client.lock("l").acquire().await.unwrap_err();
    assert!(is_denied(&error), "{error}");
    assert!(begun.elapsed() < ms(2_000), "{:?}", begun.elapsed());
    // The second answer is the right one.
    let current = Current::new("", "wrong");
    let first = current.clone();
    let builder = current.client(&server.url());
    let client = builder.credentials_provider(move || {
        let is_first = first.1.fetch_add(1, Ordering::Relaxed) == 0;
        let password = if is_first { "wrong" } else { "right" };
        async move { Ok(Credentials::new("", password)) }
    });
    let client = client.connect().await.unwrap();
    acquire_and_release(&client.lock("l")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_that_fail_are_the_cause() {
    let server = Server::start();
    let connect = |provider: fn() -> Answer| {
        let builder = Client::builder().store(&server.url()).logger(NoopLogger);
        let builder = builder.connect_timeout(ms(500));
        builder.credentials_provider(move || async move { provider() })
    };
    for (provider, cause) in [
        (
            (|| Err("no token today".into())) as fn() -> Answer,
            "no token today",
        ),
        (|| panic!("a panic of the test"), "provider panicked"),
        (
            || {
                std::thread::sleep(ms(3_600_000));
                Err("too late".into())
            },
            "provider did not answer",
        ),
    ] {
        let begun = Instant::now();
        let error = connect(provider).connect().await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        assert!(error.to_string().contains(cause), "{cause}: {error}");
        assert!(begun.elapsed() < ms(1_000), "{:?}", begun.elapsed());
        let client = connect(provider).connect_lazy().unwrap();
        let lock = client.lock("l").wait_timeout(ms(1_200));
        let error = lock.acquire().await.unwrap_err();
        assert!(error.to_string().contains(cause), "{cause}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocked_provider_delays_no_renewal() {
    let server = Server::start();
    let is_blocking = Arc::new(AtomicUsize::new(0));
    let blocking = is_blocking.clone();
    let builder = Client::builder().store(&server.url()).logger(NoopLogger);
    let builder = builder.connect_timeout(ms(500));
    let client = builder.credentials_provider(move || {
        if blocking.load(Ordering::Relaxed) == 1 {
            std::thread::sleep(ms(3_600_000));
        }
        async move { Ok(Credentials::new("", "any")) }
    });
    set_user(&server, "default", &["nopass"]);
    let client = client.connect().await.unwrap();
    let guard = client
        .lock("l")
        .lease_time(ms(1_000))
        .acquire()
        .await
        .unwrap();
    is_blocking.store(1, Ordering::Relaxed);
    // A third connection is dialed, and waits for the provider.
    let other = client.clone();
    let dialing = std::thread::spawn(move || {
        let lock = other.lock("other").wait_timeout(ms(2_500));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(lock.acquire()).map(drop)
    });
    assert!(dialing.join().unwrap().is_err());
    assert!(guard.is_held(), "{:?}", guard.hold().loss());
    guard.release().await.unwrap();
}

#[test]
fn ambiguous_or_useless_providers_are_refused() {
    for (url, expected) in [
        ("redis://:secret@h", "has a password"),
        ("redis+sentinel://u:secret@h/m", "has a password"),
        ("redis+cluster://u:secret@h", "has a password"),
        ("redis+unix:///run/redis.sock?pass=secret", "has a password"),
        ("postgres://u:secret@h/d", "has a password"),
        ("memory:", "no connections"),
        ("file:///srv/locks", "no connections"),
    ] {
        let error = Current::new("", "x")
            .client(url)
            .connect_lazy()
            .unwrap_err();
        let message = error.to_string();
        assert!(message.contains(expected), "{url}: {message}");
        assert!(!message.contains("secret"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_is_read_again_for_the_login_alone() {
    let (server, other) = (Server::start(), Server::start());
    set_user(&server, "app", &[&[">one"], &ALL[..]].concat());
    let folder = Folder::new();
    let path = folder.path().join("url");
    let url = |password: &str| server.url().replace("//", &format!("//app:{password}@"));
    fs::write(&path, url("one") + "\n").unwrap();
    let reported = Arc::new(AtomicUsize::new(0));
    let counter = reported.clone();
    let builder = Client::builder().logger(move |event: &Event| {
        if matches!(event, Event::StoreFileChanged { .. }) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let client = builder.store_file(&path).unwrap().connect().await.unwrap();
    let lock = client.lock("l").lease_time(ms(2_000));
    let guard = lock.acquire().await.unwrap();
    let rotate = |password: &str| {
        set_user(&server, "app", &["resetpass", &format!(">{password}")]);
        server.call(&["CLIENT", "KILL", "USER", "app"]);
    };
    fs::write(&path, url("two")).unwrap();
    rotate("two");
    tokio::time::sleep(ms(2_500)).await;
    assert!(guard.is_held(), "{:?}", guard.hold().loss());
    // Another store, a broken URL, and no file at all: the last login counts.
    for content in [Some(other.url()), Some("redis".to_owned()), None] {
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        for _ in 0..2 {
            rotate("two");
            let refresh = || async { guard.refresh().await.is_ok() };
            let end = Instant::now() + ms(5_000);
            while !refresh().await {
                assert!(Instant::now() < end);
            }
        }
    }
    guard.release().await.unwrap();
    client.testing().deliver_events();
    assert_eq!(reported.load(Ordering::Relaxed), 1);
    assert_eq!(other.keys(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_of_sentinels_are_logged_in_to() {
    let group = SentinelGroup::start();
    for server in &group.servers {
        set_user(server, "app", &[&[">one"], &ALL[..]].concat());
    }
    let current = Current::new("app", "one");
    let client = current.client(&group.url()).connect().await.unwrap();
    let guard = client
        .lock(&unique_name())
        .lease_time(ms(9_000))
        .acquire()
        .await
        .unwrap();
    for server in &group.servers {
        set_user(server, "app", &["resetpass", ">two"]);
        server.call(&["CLIENT", "KILL", "USER", "app"]);
    }
    current.set("app", "two");
    let asked = current.asked();
    guard.refresh().await.ok();
    assert!(eventually_async(ms(5_000), || asked < current.asked()).await);
    let end = Instant::now() + ms(5_000);
    while guard.refresh().await.is_err() {
        assert!(Instant::now() < end);
    }
    guard.release().await.unwrap();
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_password_is_rotated_under_a_holder() {
    let builder = testkit::Postgres::builder().setting("fsync", "off");
    let rules = "host all app 127.0.0.1/32 scram-sha-256\n\
                 host all postgres 127.0.0.1/32 trust\nlocal all all trust\n";
    let server = builder.hba(rules).start();
    let sql = |text: &str| drop(server.sql(text));
    sql("SET password_encryption = 'scram-sha-256';
         CREATE ROLE app LOGIN PASSWORD 'one'; GRANT CREATE ON DATABASE postgres TO app");
    let rotate = |password: &str| {
        sql(&format!("ALTER ROLE app PASSWORD '{password}'"));
        sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    };
    let denied = Current::new("app", "wrong").client(&server.url_as("app"));
    let error = denied.connect().await.unwrap_err();
    assert!(is_denied(&error), "{error}");
    let current = Current::new("app", "one");
    let client = current
        .client(&server.url_as("app"))
        .connect()
        .await
        .unwrap();
    let guard = client
        .lock("l")
        .lease_time(ms(3_000))
        .acquire()
        .await
        .unwrap();
    rotate("two");
    tokio::time::sleep(ms(500)).await;
    current.set("app", "two");
    tokio::time::sleep(ms(3_500)).await;
    assert!(guard.is_held(), "{:?}", guard.hold().loss());
    guard.release().await.unwrap();
    let folder = Folder::new();
    let path = folder.path().join("url");
    let url = |password: &str| {
        server
            .url_as("app")
            .replace("app@", &format!("app:{password}@"))
    };
    fs::write(&path, url("two")).unwrap();
    let builder = Client::builder().logger(NoopLogger);
    let client = builder.store_file(&path).unwrap().connect().await.unwrap();
    let guard = client
        .lock("m")
        .lease_time(ms(3_000))
        .acquire()
        .await
        .unwrap();
    fs::write(&path, url("three")).unwrap();
    rotate("three");
    tokio::time::sleep(ms(3_500)).await;
    assert!(guard.is_held(), "{:?}", guard.hold().loss());
    guard.release().await.unwrap();
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_user_without_rights_is_replaced() {
    let server = testkit::Postgres::builder().setting("fsync", "off").start();
    let sql = |text: &str| drop(server.sql(text));
    sql(
        "CREATE ROLE owner LOGIN; GRANT CREATE ON DATABASE postgres TO owner;
         CREATE ROLE a LOGIN IN ROLE owner; CREATE ROLE b LOGIN IN ROLE owner",
    );
    let url = server.url_as("owner");
    acquire_and_release(&Client::connect(&url).await.unwrap().lock("l")).await;
    let current = Current::new("a", "unused");
    let client = current.client(&url).connect().await.unwrap();
    let lock = client.lock("l").lease_time(ms(2_000));
    let guard = lock.acquire().await.unwrap();
    sql("REVOKE owner FROM a");
    // As on a server of Redis, a right that is missing is no outage.
    let error = client.lock("m").acquire().await.unwrap_err();
    assert!(is_denied(&error), "{error}");
    current.set("b", "unused");
    tokio::time::sleep(ms(3_000)).await;
    assert!(guard.is_held(), "{:?}", guard.hold().loss());
    guard.release().await.unwrap();
    acquire_and_release(&client.lock("m")).await;
}
