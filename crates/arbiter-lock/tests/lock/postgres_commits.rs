//! Statements and commits whose answers are lost, or that do not end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arbiter_lock::{Client, NoopLogger};
use rustix::process::{Signal, kill_process};
use testkit::{Postgres, eventually_async, unique_name};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::acquire_and_release;
use crate::postgres_faults::{client, ms};

/// What a relay does to the next transaction that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoil {
    /// Forwards it, and loses the connection with all its answers.
    Answers,
    /// The same, and the server does not notice.
    Notice,
    /// Loses the connection before the commit.
    Commit,
    /// Makes its first statement fail, so that the next one is a transaction of its own.
    Begin,
}

impl Spoil {
    /// Returns whether it needs the statements of a client that is behind a pooler. Others need
    /// one for each transaction.
    fn is_of_a_pooler(self) -> bool {
        matches!(self, Self::Begin | Self::Commit)
    }
}

/// A relay before a server, which spoils one transaction when it is armed.
struct Relay {
    port: u16,
    is_armed: Arc<AtomicBool>,
}

impl Relay {
    async fn before(server: &Postgres, spoil: Spoil) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, of) = (listener.local_addr().unwrap().port(), server.port());
        let is_armed = Arc::new(AtomicBool::new(false));
        let armed = is_armed.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", of)).await.unwrap();
                tokio::spawn(relay(client, server, spoil, armed.clone()));
            }
        });
        Self { port, is_armed }
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

async fn relay(client: TcpStream, server: TcpStream, spoil: Spoil, armed: Arc<AtomicBool>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let is_mute = Arc::new(AtomicBool::new(false));
    let answers = forward_answers(from_server, to_client, spoil, is_mute.clone());
    let answers = tokio::spawn(answers);
    forward_requests(from_client, to_server, spoil, &armed, &is_mute).await;
    answers.abort();
}

async fn forward_answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    spoil: Spoil,
    mute: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(1..) = from.read(&mut buffer[..1]).await {
        let count = from.try_read(&mut buffer[1..]).unwrap_or(0) + 1;
        // A pooler names a process of its own.
        let named = buffer[..count].windows(5).position(|w| w == b"K\0\0\0\x0c");
        if let Some(named) = named.filter(|_| spoil.is_of_a_pooler()) {
            buffer[named + 5] ^= 0x40;
        }
        if !mute.load(Ordering::SeqCst) && to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
}

async fn forward_requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    spoil: Spoil,
    armed: &AtomicBool,
    mute: &AtomicBool,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let find = |text: &[u8]| buffer[..count].windows(text.len()).position(|w| w == text);
        let is_swap = find(b"\"revision\"").is_some();
        let (begin, commit) = match spoil.is_of_a_pooler() {
            true => (find(b"READ WRITE"), find(b"COMMIT")),
            false => (Some(0), Some(0)),
        };
        let (true, Some(begin), Some(commit)) = (is_swap, begin, commit) else {
            to.write_all(&buffer[..count]).await.unwrap();
            continue;
        };
        if !armed.swap(false, Ordering::SeqCst) {
            to.write_all(&buffer[..count]).await.unwrap();
            continue;
        }
        match spoil {
            Spoil::Begin => {
                buffer[begin] = b'X';
                to.write_all(&buffer[..count]).await.unwrap();
            }
            Spoil::Answers => {
                mute.store(true, Ordering::SeqCst);
                to.write_all(&buffer[..count]).await.unwrap();
                tokio::time::sleep(ms(200)).await;
                return;
            }
            Spoil::Notice => {
                mute.store(true, Ordering::SeqCst);
                to.write_all(&buffer[..count]).await.unwrap();
                drop(from);
                // Longer than the test.
                tokio::time::sleep(ms(60_000)).await;
                return;
            }
            Spoil::Commit => {
                // Its first five bytes are the kind and the length.
                to.write_all(&buffer[..commit - 5]).await.unwrap();
                tokio::time::sleep(ms(200)).await;
                return;
            }
        }
    }
}

async fn is_held(server: &Postgres, name: &str) -> bool {
    let owner = format!("SELECT owner FROM arbiter.names WHERE name = 'arbiter:{name}'");
    !server.sql(&owner).is_empty()
}

/// Checks that a grant with an unknown outcome is ended, and that waits go on.
async fn unknown_grant_is_ended(spoil: Spoil) {
    let server = Postgres::start();
    let relay = Relay::before(&server, spoil).await;
    let client = client(&relay.url()).await;
    for _ in 0..3 {
        let name = unique_name();
        relay.is_armed.store(true, Ordering::SeqCst);
        let error = client.lock(&name).try_acquire().await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        assert!(!relay.is_armed.load(Ordering::SeqCst), "{error}");
        let begun = Instant::now();
        while is_held(&server, &name).await {
            assert!(begun.elapsed() < ms(10_000), "{error}");
            tokio::time::sleep(ms(10)).await;
        }
        relay.is_armed.store(true, Ordering::SeqCst);
        let lock = client.lock(&name).wait_timeout(ms(5_000));
        let guard = lock.acquire().await.unwrap();
        assert!(is_held(&server, &name).await);
        guard.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grant_with_lost_answers_is_ended() {
    unknown_grant_is_ended(Spoil::Answers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grant_without_a_commit_is_rolled_back() {
    unknown_grant_is_ended(Spoil::Commit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grant_outside_its_transaction_is_ended() {
    unknown_grant_is_ended(Spoil::Begin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_transactions_delay_only_their_names() {
    let server = Postgres::start();
    let client = client(&server.url()).await;
    let [old, new, kept] = [unique_name(), unique_name(), unique_name()];
    acquire_and_release(&client.lock(&old)).await;
    let lock = client.lock(&kept).lease_time(ms(1_500));
    let guard = lock.acquire().await.unwrap();
    // A transaction that is inserting a name, and one that is changing it.
    let mut inserting = server.psql();
    let row = format!(
        r#"{{"new": [{{"name": "arbiter:{new}", "revision": 1, "waiting": 0, "skipped": 0,
            "notes": 0, "queue_until": 0, "last_fence": 0, "fence_until": 0}}]}}"#
    );
    inserting.run("BEGIN");
    let swapped = inserting.run(&format!("SELECT written FROM arbiter.swap('{row}', false)"));
    assert_eq!(swapped, format!("{{arbiter:{new}}}"));
    let mut changing = server.psql();
    changing.run("BEGIN");
    changing.run(&format!(
        "UPDATE arbiter.names SET notes = notes WHERE name = 'arbiter:{old}'"
    ));
    let waiters = [&old, &new].map(|name| {
        let lock = client.lock(name).wait_timeout(ms(20_000));
        tokio::spawn(async move { lock.acquire().await.unwrap() })
    });
    let begun = Instant::now();
    while begun.elapsed() < ms(4_000) {
        let turn = Instant::now();
        acquire_and_release(&client.lock(&unique_name())).await;
        assert!(turn.elapsed() < ms(3_000), "{:?}", turn.elapsed());
        tokio::time::sleep(ms(20)).await;
    }
    assert!(guard.is_held());
    assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
    drop((inserting, changing));
    for waiter in waiters {
        waiter.await.unwrap().release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unnoticed_old_session_blocks_no_new_one() {
    let server = Postgres::start();
    let relay = Relay::before(&server, Spoil::Notice).await;
    let builder = Client::builder().store(&relay.url()).logger(NoopLogger);
    let client = builder.command_timeout(ms(300)).connect().await.unwrap();
    let listening = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'";
    acquire_and_release(&client.lock(&unique_name())).await;
    let before = server.sql(listening);
    relay.is_armed.store(true, Ordering::SeqCst);
    let tried = client.lock(&unique_name()).try_acquire().await;
    assert!(tried.unwrap_err().is_unavailable());
    let lock = client.lock(&unique_name()).wait_timeout(ms(3_000));
    acquire_and_release(&lock).await;
    let listening = || server.sql(listening);
    let is_replaced = || listening().lines().count() == 1 && listening() != before;
    assert!(eventually_async(ms(3_000), is_replaced).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_session_is_given_up() {
    let server = Postgres::start();
    let builder = Client::builder().store(&server.url()).logger(NoopLogger);
    let client = builder.command_timeout(ms(300)).connect().await.unwrap();
    acquire_and_release(&client.lock(&unique_name())).await;
    let listening = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'";
    let stopped: i32 = server.sql(listening).parse().unwrap();
    let stopped = rustix::process::Pid::from_raw(stopped).unwrap();
    kill_process(stopped, Signal::STOP).unwrap();
    let lock = client.lock(&unique_name()).wait_timeout(ms(1_000));
    assert!(lock.acquire().await.unwrap_err().is_unavailable());
    kill_process(stopped, Signal::CONT).unwrap();
    let lock = client.lock(&unique_name()).wait_timeout(ms(10_000));
    acquire_and_release(&lock).await;
    let is_one = || server.sql(listening).lines().count() == 1;
    assert!(eventually_async(ms(5_000), is_one).await);
}
