//! The least rights that a user needs on the server, as documented.

use std::time::Duration;

use arbiter_lock::{Asked, Client, ClientBuilder, Error, LostReason, NoopLogger, RefusedKind};
use testkit::{Reply, Server, unique_name};

use crate::acquire_and_release;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Returns the words of the documented rule after the user's name and password.
fn documented() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rule = page
        .split("ACL SETUSER arbiter on >secret resetkeys")
        .nth(1)
        .unwrap();
    let rule = rule.split("```").next().unwrap().replace('\\', " ");
    rule.split_whitespace().map(str::to_owned).collect()
}

/// Starts a server with a user of those rights, and returns the server and the user's URL.
fn server_with(rights: &[String]) -> (Server, String) {
    let server = Server::start();
    let mut command = vec!["ACL", "SETUSER", "arbiter", "on", ">secret"];
    command.extend(rights.iter().map(String::as_str));
    let answer = server.call(&command).text();
    assert_eq!(answer.as_deref(), Some("OK"), "{command:?}");
    let url = server.url().replace("redis://", "redis://arbiter:secret@");
    (server, format!("{url}/1"))
}

#[tokio::test]
async fn documented_rights_suffice() {
    let (server, url) = server_with(&documented());
    tour(quiet(&url), ms(500)).await.unwrap();
    assert_eq!(refusals(&server), [""; 0]);
}

#[tokio::test]
async fn connecting_needs_no_server_memory() {
    for flavour in testkit::flavours() {
        let server = Server::builder().binary(&flavour.binary).start();
        server.call(&["CONFIG", "SET", "maxmemory", "1"]);
        let connected = Client::connect(&server.url()).await;
        assert!(connected.is_ok(), "{}: {connected:?}", flavour.name);
        assert_eq!(server.call(&["DBSIZE"]).int(), Some(0), "{}", flavour.name);
    }
}

/// Rights that connecting does not check. Only some primitives need them, and without them every
/// key still gets its TTL.
const NOT_ASKED_FOR: [&str; 5] = [
    "+hset",
    "+subscribe",
    "+publish",
    "+pubsub|numsub",
    "&arbiter:*",
];

#[tokio::test]
async fn every_documented_right_is_needed() {
    let rights = documented();
    let spared = rights
        .iter()
        .filter(|word| word.starts_with(['+', '~', '&']));
    let mut tours = tokio::task::JoinSet::new();
    for spared in spared.cloned() {
        let mut rights = rights.clone();
        rights.retain(|word| *word != spared);
        tours.spawn(async move {
            let (server, url) = server_with(&rights);
            let connected = Client::connect(&url).await.map_err(|e| is_denied(&e));
            let is_told = matches!(connected, Err(true));
            let is_asked_for = !NOT_ASKED_FOR.contains(&&*spared);
            assert_eq!(is_told, is_asked_for, "without {spared}: {connected:?}");
            if let Ok(client) = connected {
                let _ = client.rw_lock("read").try_read().await;
            }
            // It runs as far as its rights allow.
            let tour = tokio::spawn(async move { tour(quiet(&url), ms(10_000)).await });
            if let Ok(Ok(Err(error))) = tokio::time::timeout(ms(30_000), tour).await {
                let is_denied = is_denied(&error);
                assert!(is_denied || error.is_lost(), "without {spared}: {error}");
            }
            assert_eq!(without_an_end(&server), 0, "without {spared}");
            let refused = refusals(&server);
            let is_missed = refused.iter().any(|refused| needs(refused, &spared));
            assert!(is_missed, "{spared} is of no use: {refused:?}");
        });
    }
    tours.join_all().await;
}

fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Refused(e) if e.kind == RefusedKind::Denied)
}

/// Returns the number of keys without a TTL.
fn without_an_end(server: &Server) -> usize {
    let info = server.call(&["INFO", "keyspace"]).text().unwrap();
    let count = |what: &str| -> usize {
        let counts = info.split(what).skip(1);
        let counts = counts.filter_map(|rest| rest.split(',').next()?.parse::<usize>().ok());
        counts.sum()
    };
    count("keys=") - count("expires=")
}

/// Returns whether the right covers the refused command, or the commands with that prefix.
fn needs(refused: &str, right: &str) -> bool {
    match right.strip_prefix('+') {
        // Redis 6.2 reports no subcommand.
        Some(command) => command == refused || command.split('|').next() == Some(refused),
        None => refused.starts_with(right.trim_matches(['~', '&', '*'])),
    }
}

/// Returns the commands that the server denied, except for `CLIENT SETINFO`: the client works
/// without it.
pub(crate) fn refusals(server: &Server) -> Vec<String> {
    let Reply::Array(entries) = server.call(&["ACL", "LOG"]) else {
        panic!("no list");
    };
    let object = |entry: &Reply| {
        let facts = entry.texts();
        let at = facts.iter().position(|fact| fact == "object");
        at.and_then(|at| facts.into_iter().nth(at + 1))
    };
    let refused = entries.iter().filter_map(object);
    let counts = |object: &String| object.split('|').next() != Some("client");
    refused.filter(counts).collect()
}

/// Returns the fields of the connections that have that name.
fn connections(server: &Server, name: &str) -> Vec<String> {
    let list = server.call(&["CLIENT", "LIST"]).text().unwrap();
    let named = format!(" name={name} ");
    let of_name = list.lines().filter(|line| line.contains(&named));
    of_name.map(str::to_owned).collect()
}

#[tokio::test]
async fn connections_show_client_and_library() {
    let server = Server::start();
    let builder = Client::builder().store(&server.url()).logger(NoopLogger);
    let client = builder.client_name("web 1").connect().await.unwrap();
    acquire_and_release(&client.lock("l")).await;
    let found = connections(&server, "web_1");
    assert_eq!(found.len(), 2, "the runtime's and the keeper's: {found:?}");
    let knows_libraries = server.call(&["CLIENT", "LIST"]).text().unwrap();
    if knows_libraries.contains(" lib-name=") {
        let library = concat!(" lib-name=arbiter-lock lib-ver=", env!("CARGO_PKG_VERSION"));
        let shown = found.iter().filter(|line| line.contains(library));
        assert_eq!(shown.count(), 2, "{found:?}");
    }
}

#[tokio::test]
async fn user_without_the_right_is_named_too() {
    let (server, url) = server_with(&documented());
    let client = Client::connect(&url).await.unwrap();
    acquire_and_release(&client.lock("l")).await;
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let name = format!("arbiter:{host}:{}", std::process::id());
    let found = connections(&server, &name);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found.iter().all(|line| !line.contains("arbiter-lock")),
        "{found:?}"
    );
}

pub(crate) fn quiet(url: &str) -> ClientBuilder {
    Client::builder().store(url).logger(NoopLogger)
}

/// Uses every primitive, with every operation that needs its own right. A release has to reach the
/// next waiter within the limit.
pub(crate) async fn tour(builder: ClientBuilder, told_within: Duration) -> Result<(), Error> {
    // Many tours run at once, so a reply may be slow.
    let client = builder.command_timeout(ms(10_000)).connect().await?;
    let name = unique_name();
    let guard = client.lock(&name).lease_time(ms(3_000)).acquire().await?;
    let waiter = tokio::spawn({
        let lock = client.lock(&name);
        async move { lock.acquire().await }
    });
    while !waiter.is_finished() && client.lock(&name).inspect().await?.waiting == 0 {
        tokio::time::sleep(ms(10)).await;
    }
    // Time for a poll and a renewal.
    tokio::time::sleep(ms(1_200)).await;
    guard.refresh().await?;
    client.lock(&name).ask_to_stop(guard.fence()).await?;
    assert_eq!(guard.lost().await, LostReason::Revoked);
    drop(guard);
    let next = tokio::time::timeout(told_within, waiter)
        .await
        .expect("it is pushed")
        .unwrap()?;
    assert!(client.lock(&name).break_now(next.fence()).await?);
    use_every_other_primitive(&client).await
}

async fn use_every_other_primitive(client: &Client) -> Result<(), Error> {
    let catalogue = client.rw_lock("catalogue");
    let writer = catalogue.write().await?;
    writer.downgrade().await?;
    let readers = [catalogue.read().await, catalogue.read().await];
    client.lock("catalogue").inspect().await?;
    let asked = client.lock("catalogue").ask_to_stop(writer.fence()).await;
    assert!(matches!(asked?, Asked::Notified { .. }));
    for guard in [Ok(writer)].into_iter().chain(readers) {
        guard?.release().await?;
    }
    let semaphore = client.semaphore("permits", 3).lease_time(ms(2_000));
    let permits = semaphore.acquire_many(2).await?;
    let lapsing = semaphore.clone().watchdog(false).acquire().await?;
    let next = semaphore.acquire().await?;
    assert_eq!(lapsing.lost().await, LostReason::Expired);
    semaphore.resize(4).await?;
    permits.release().await?;
    next.release().await?;
    let leadership = client.election("leader").campaign("me").await?;
    leadership.proclaim("still me").await?;
    leadership.resign().await?;
    let job = client.once("job").every(Duration::from_secs(60));
    let _ = job.run(|_| async { Ok::<(), Error>(()) }).await?;
    assert!(job.last_run().await?.is_some());
    Ok(())
}

#[tokio::test]
async fn read_rights_suffice_to_inspect_and_list() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rule = page.split("ACL SETUSER watcher on >secret").nth(1).unwrap();
    let rule = rule.split("```").next().unwrap().replace('\\', " ");
    let rights: Vec<String> = rule.split_whitespace().map(str::to_owned).collect();
    let (server, url) = server_with(&rights);
    let holder = Client::connect(&format!("{}/1", server.url()))
        .await
        .unwrap();
    let guard = holder.lock("held").acquire().await.unwrap();
    let permits = holder.semaphore("permits", 2).acquire().await.unwrap();
    // At its memory limit a server still answers.
    server.call(&["CONFIG", "SET", "maxmemory", "1"]);
    let look = async |url: &str| {
        let client = Client::connect_lazy(url)?;
        let status = client.lock("held").inspect().await?;
        assert_eq!(
            status.holder.map(|holder| holder.fence),
            Some(Some(guard.fence()))
        );
        client.semaphore("permits", 2).inspect().await?;
        client.once("held").last_run().await?;
        let mut locks = client.list("*");
        let mut names = Vec::new();
        while let Some(lock) = locks.next().await? {
            names.push(lock.name);
        }
        names.sort();
        assert_eq!(names, ["held", "permits"]);
        Ok::<(), arbiter_lock::Error>(())
    };
    look(&url).await.unwrap();
    // Its connection also asks for notifications, which it does not need.
    assert_eq!(refusals(&server), ["subscribe"]);
    let acquired = Client::connect_lazy(&url).unwrap().lock("other");
    let denied = acquired.try_acquire().await.unwrap_err();
    assert!(is_denied(&denied), "{denied}");
    for spared in rights.iter().filter(|word| word.starts_with(['+', '~'])) {
        server.call(&["ACL", "SETUSER", "arbiter", "reset", "on", ">secret"]);
        let mut command = vec!["ACL", "SETUSER", "arbiter"];
        let others = rights.iter().filter(|word| *word != spared);
        command.extend(others.map(String::as_str));
        assert_eq!(server.call(&command).text().as_deref(), Some("OK"));
        server.call(&["SCRIPT", "FLUSH"]);
        let looked = tokio::spawn({
            let url = url.clone();
            async move {
                let client = Client::connect_lazy(&url)?;
                client.lock("held").inspect().await?;
                client.semaphore("permits", 2).inspect().await?;
                client.once("held").last_run().await?;
                client.list("*").next().await.map(drop)
            }
        });
        assert!(looked.await.unwrap().is_err(), "without {spared}");
    }
    drop((guard, permits));
}
