//! Tenants of one server, whose users have the rights to the keys and channels of one prefix.

use std::time::{Duration, Instant};

use arbiter_lock::{CheckStatus, Client, ClientBuilder, Error, NoopLogger, RefusedKind};
use testkit::{Cluster, SentinelGroup, Server, eventually_async};

use crate::acquire_and_release;
use crate::auth::{refusals, tour};

/// Further rights that a user needs on a cluster.
const ON_A_CLUSTER: [&str; 7] = [
    "+cluster|slots",
    "+cluster|info",
    "+cluster|myid",
    "+asking",
    "+ssubscribe",
    "+spublish",
    "+pubsub|shardnumsub",
];

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Returns the words of the documented rule for servers, of a user for that prefix.
fn rights(prefix: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rule = |begin: &str| {
        let rule = page.split(begin).nth(1).unwrap();
        rule.split("```").next().unwrap().replace('\\', " ")
    };
    let all = rule("ACL SETUSER arbiter on >secret resetkeys") + " +scan";
    let all = all.replace("arbiter:", prefix);
    all.split_whitespace().map(str::to_owned).collect()
}

/// Makes users that are named as their prefixes, without the colons.
fn add_users(servers: &[Server], prefixes: &[&str], more: &[&str]) {
    for (server, prefix) in servers
        .iter()
        .flat_map(|s| prefixes.iter().map(move |p| (s, p)))
    {
        let (user, rights) = (prefix.replace(':', ""), rights(prefix));
        let mut command = vec!["ACL", "SETUSER", &user, "reset", "on", ">secret"];
        command.extend(rights.iter().map(String::as_str));
        command.extend(more);
        let answer = server.call(&command).text();
        assert_eq!(answer.as_deref(), Some("OK"), "{command:?}");
    }
}

fn builder(url: &str, user: &str, prefix: &str) -> ClientBuilder {
    let builder = Client::builder().store(url).logger(NoopLogger);
    builder.credentials(user, "secret").key_prefix(prefix)
}

/// Does all that a tenant may do, and tries some operations that it may not.
async fn use_all_and_touch_no_other(url: &str, servers: &[Server]) {
    let mine = || builder(url, "app1", "app1:");
    tour(mine(), ms(500)).await.unwrap();
    let client = mine().connect().await.unwrap();
    let several = client
        .lock_all(["a{x}", "b}", "c"])
        .acquire()
        .await
        .unwrap();
    let mut list = client.list("*");
    let mut names = Vec::new();
    while let Some(lock) = list.next().await.unwrap() {
        names.push(lock.name);
    }
    names.sort();
    assert_eq!(names, ["a{x}", "b}", "c"]);
    several.release().await.unwrap();
    let refused: Vec<_> = servers.iter().flat_map(refusals).collect();
    assert_eq!(refused, [""; 0]);
    for check in client.diagnose(ms(30_000)).await.unwrap() {
        let is_of_rights = matches!(check.name, "rights" | "notifications");
        // Locks need no INFO: only checks of the server do.
        let lacks_info = check.fix.as_deref() == Some("allow +info");
        assert!(
            !is_of_rights || check.status == CheckStatus::Ok || lacks_info,
            "{check:?}"
        );
    }
    for prefix in ["app2:", "", "app1"] {
        let other = builder(url, "app1", prefix).connect_lazy().unwrap();
        let denied = [
            other.lock("l").acquire().await.map(drop),
            other.lock("l").inspect().await.map(drop),
            other.lock("l").break_now(1).await.map(drop),
            other.once("l").last_run().await.map(drop),
        ];
        for denied in denied {
            let Err(Error::Refused(denied)) = denied else {
                panic!("{prefix}: {denied:?}");
            };
            assert_eq!(denied.kind, RefusedKind::Denied, "{prefix}");
        }
    }
    for server in servers {
        let keys = server.keys();
        assert!(keys.iter().all(|key| key.starts_with("app1:")), "{keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_to_one_prefix_suffice_on_a_server() {
    for flavour in testkit::flavours() {
        let server = [Server::builder().binary(&flavour.binary).start()];
        add_users(&server, &["app1:"], &[]);
        use_all_and_touch_no_other(&server[0].url(), &server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_to_one_prefix_suffice_on_a_cluster() {
    let cluster = Cluster::start();
    add_users(&cluster.nodes, &["app1:", "{t}app2:"], &ON_A_CLUSTER);
    use_all_and_touch_no_other(&cluster.url(), &cluster.nodes).await;
    // All keys of a tagged prefix lie on one node.
    let tagged = builder(&cluster.url(), "{t}app2", "{t}app2:");
    tour(tagged, ms(500)).await.unwrap();
    let denied = builder(&cluster.url(), "app1", "{t}app2:").connect().await;
    assert!(matches!(denied, Err(Error::Refused(_))), "{denied:?}");
    for prefix in ["a{b", "{}a:"] {
        let error = builder(&cluster.url(), "app1", prefix)
            .connect_lazy()
            .unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
        assert!(error.to_string().contains("hash tag"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_to_one_prefix_suffice_on_a_group() {
    let group = SentinelGroup::start();
    add_users(&group.servers, &["app1:"], &["+info"]);
    use_all_and_touch_no_other(&group.url(), &group.servers).await;
}

/// Hands a lock off between two prefixes, of which one user may not publish to the other's channel.
async fn hand_off_without_the_right_to_publish(url: &str, servers: &[Server]) {
    let (wide, narrow) = (builder(url, "a", "a:"), builder(url, "ab", "a:b:"));
    let (wide, narrow) = (
        wide.connect().await.unwrap(),
        narrow.connect().await.unwrap(),
    );
    for is_shared in [false, true] {
        let guard = match is_shared {
            false => narrow.lock("c").acquire().await.unwrap(),
            true => narrow.rw_lock("c").read().await.unwrap(),
        };
        let lock = wide.lock("b:c");
        let waiter = tokio::spawn(async move { lock.acquire().await });
        let is_queued = async || narrow.lock("c").inspect().await.unwrap().waiting == 1;
        while !is_queued().await {
            tokio::time::sleep(ms(10)).await;
        }
        // The waiter has polled, and is subscribed.
        tokio::time::sleep(ms(100)).await;
        let begun = Instant::now();
        guard.release().await.unwrap();
        let status = narrow.lock("c").inspect().await.unwrap();
        assert!(status.holder.is_some() && status.waiting == 0, "{status:?}");
        let next = waiter.await.unwrap().unwrap();
        // By its next poll, since the grant lasts for longer.
        assert!(begun.elapsed() < ms(1_800), "{:?}", begun.elapsed());
        let keys = servers
            .iter()
            .flat_map(|s| s.keys().into_iter().map(move |k| (s, k)));
        for (server, key) in keys {
            assert_ne!(server.call(&["PTTL", &key]).int(), Some(-1), "{key}");
        }
        // The other way it is pushed.
        let lock = narrow.lock("c");
        let waiter = tokio::spawn(async move { lock.acquire().await });
        while !is_queued().await {
            tokio::time::sleep(ms(10)).await;
        }
        tokio::time::sleep(ms(100)).await;
        next.release().await.unwrap();
        let pushed = tokio::time::timeout(ms(400), waiter)
            .await
            .expect("it is pushed");
        pushed.unwrap().unwrap().release().await.unwrap();
    }
    let refused: Vec<_> = servers.iter().flat_map(refusals).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].starts_with("a:#arbiter.wake."), "{refused:?}");
    acquire_and_release(&narrow.lock("c")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denied_publish_breaks_no_release() {
    let server = [Server::start()];
    add_users(&server, &["a:", "a:b:"], &[]);
    hand_off_without_the_right_to_publish(&server[0].url(), &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denied_publish_breaks_no_release_on_a_cluster() {
    let cluster = Cluster::start();
    add_users(&cluster.nodes, &["a:", "a:b:"], &ON_A_CLUSTER);
    hand_off_without_the_right_to_publish(&cluster.url(), &cluster.nodes).await;
}

#[tokio::test]
async fn keys_follow_the_documented_form() {
    let server = Server::start();
    let client = Client::connect(&server.url()).await.unwrap();
    for name in ["plain", "a{b}c", "a}b", "{}x", "a{b", "ünï"] {
        let job = client.once(name).every(ms(60_000));
        let _ = job.run(|_| async { Ok::<(), Error>(()) }).await.unwrap();
        let reader = client.rw_lock(name).read().await.unwrap();
        let lock = client.lock(name);
        let waiter = tokio::spawn(async move { lock.acquire().await });
        let key = format!("arbiter:{name}");
        let kinds = ["last", "queue", "share", "run"];
        let mut expected: Vec<_> = kinds
            .iter()
            .map(|kind| testkit::companion(&key, kind))
            .collect();
        expected.push(key);
        expected.sort();
        let keys = || {
            let mut keys = server.keys();
            keys.sort();
            keys
        };
        assert!(
            eventually_async(ms(2_000), || keys() == expected).await,
            "{:?}",
            keys()
        );
        reader.release().await.unwrap();
        waiter.await.unwrap().unwrap().release().await.unwrap();
        server.call(&["FLUSHALL"]);
    }
}
