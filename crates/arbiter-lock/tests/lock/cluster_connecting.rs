//! Connecting to a cluster: logins, rights, TLS, address maps, and servers that are no cluster.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

#[cfg(feature = "tls")]
use arbiter_lock::Tls;
use arbiter_lock::{Client, Error, NoopLogger, RefusedKind};
use testkit::{Cluster, Server, unique_name};

use crate::acquire_and_release;
use crate::auth::{quiet, refusals, tour};
use crate::cluster::PREFIX;
use crate::server_kinds::refused;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Uses a name on every node.
async fn use_every_node(client: &Client, cluster: &Cluster) {
    for node in cluster.masters() {
        acquire_and_release(&client.lock(&cluster.name_on(node, PREFIX))).await;
    }
}

/// The rights of a user in one line:
///
/// `ACL SETUSER arbiter on >secret resetkeys ~arbiter:* resetchannels &arbiter:*
/// -@all +cluster|slots +asking +ssubscribe +spublish +pubsub|shardnumsub +evalsha +eval +time
/// +hget +hmget +hgetall +hset +hdel +del +exists +set +pttl +pexpire +pexpireat +zadd +zrem
/// +zremrangebyscore +zscore +zmscore +zcard +zcount +zrangebyscore +zrevrange +zrevrangebyscore`
///
/// With `+cluster|info` an answer of a node that is cut off is recognized, with `+cluster|myid` a
/// grant of another node. With `+scan` names can be
/// listed.
const RIGHTS: &str = "resetkeys ~arbiter:* resetchannels &arbiter:* -@all \
    +cluster|slots +asking +ssubscribe +spublish +pubsub|shardnumsub +evalsha +eval +time \
    +hget +hmget +hgetall +hset +hdel +del +exists +set +pttl +pexpire +pexpireat \
    +zadd +zrem +zremrangebyscore +zscore +zmscore +zcard +zcount \
    +zrangebyscore +zrevrange +zrevrangebyscore";

/// Sets the rights of the user on every node, without one of them and with another one.
fn set_rights(cluster: &Cluster, without: &str, with: &str) -> String {
    let mut command = vec!["ACL", "SETUSER", "arbiter", "reset", "on", ">secret"];
    let rights = RIGHTS.split_whitespace().filter(|right| *right != without);
    command.extend(rights.chain(with.split_whitespace()));
    for node in &cluster.nodes {
        assert_eq!(node.call(&command).text().as_deref(), Some("OK"));
        node.call(&["ACL", "LOG", "RESET"]);
        node.call(&["SCRIPT", "FLUSH"]);
    }
    cluster.url().replace("://", "://arbiter:secret@")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn least_rights_suffice_on_a_cluster() {
    let cluster = Cluster::start();
    let url = set_rights(&cluster, "", "+cluster|info +cluster|myid +scan");
    tour(quiet(&url), ms(500)).await.unwrap();
    let client = Client::connect(&url).await.unwrap();
    let guard = client.lock("listed").acquire().await.unwrap();
    let mut names = client.list("listed");
    let listed = names.next().await.unwrap().unwrap();
    assert_eq!(listed.name, "listed");
    guard.release().await.unwrap();
    let missed: Vec<_> = cluster.nodes.iter().flat_map(refusals).collect();
    assert_eq!(missed, [""; 0]);
    // Without notifications, waiters poll, and without a count each of them counts as live.
    for (without, within) in [
        ("+cluster|info", 500),
        ("+pubsub|shardnumsub", 500),
        ("+ssubscribe", 2_500),
        ("+spublish", 2_500),
    ] {
        let url = set_rights(&cluster, without, "");
        let toured = tour(quiet(&url), ms(within)).await;
        assert!(toured.is_ok(), "without {without}: {toured:?}");
    }
    for without in [
        "+cluster|slots",
        "+evalsha",
        "+eval",
        "+zadd",
        "+hset",
        "~arbiter:*",
    ] {
        let url = set_rights(&cluster, without, "");
        let begun = Instant::now();
        let connect = async {
            let client = Client::connect(&url).await?;
            client.lock(&unique_name()).acquire().await?.release().await
        };
        let error = connect.await.expect_err(without);
        assert_eq!(
            refused(&error),
            RefusedKind::Denied,
            "without {without}: {error}"
        );
        assert!(begun.elapsed() < ms(2_500), "without {without}");
        assert!(error.to_string().contains("denies access"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn password_is_in_the_url_or_the_settings() {
    let server = Server::builder().password("open sesame");
    let cluster = Cluster::builder().server(server).start();
    let (_, hosts) = cluster
        .url()
        .split_once('@')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let bare = format!("redis+cluster://{hosts}");
    let connect = |password: Option<&str>, in_url: &str| {
        let url = bare.replace("://", &format!("://{in_url}"));
        let mut builder = Client::builder().store(&url).logger(NoopLogger);
        if let Some(password) = password {
            builder = builder.credentials("default", password);
        }
        async move { builder.connect().await }
    };
    for (settings, in_url) in [
        (None, ":open%20sesame@"),
        (None, "default:open%20sesame@"),
        (Some("open sesame"), ""),
        (Some("open sesame"), ":wrong@"),
    ] {
        let client = connect(settings, in_url).await.unwrap();
        use_every_node(&client, &cluster).await;
    }
    for (settings, in_url) in [(None, ":swordfish@"), (Some("swordfish"), ""), (None, "")] {
        let begun = Instant::now();
        let error = connect(settings, in_url).await.unwrap_err();
        assert_eq!(refused(&error), RefusedKind::Denied, "{error}");
        assert!(!error.to_string().contains("swordfish"), "{error}");
        assert!(begun.elapsed() < ms(1_000), "{:?}", begun.elapsed());
    }
}

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announced_ip_is_verified_as_the_urls_host() {
    let server = Server::builder().tls_as("localhost");
    let cluster = Cluster::builder().server(server).start();
    let authorities = std::fs::read(cluster.nodes[0].certificate()).unwrap();
    let connect = |url: String| {
        let builder = Client::builder().store(&url).logger(NoopLogger);
        builder.tls(Tls::new().ca_pem(&authorities)).connect()
    };
    let by_name = cluster.tls_url().replace("127.0.0.1", "localhost");
    let client = connect(by_name).await.unwrap();
    use_every_node(&client, &cluster).await;
    let error = connect(cluster.tls_url()).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

/// Starts a server that answers `HELLO` with that version, as a node of a cluster.
fn node_of_version(version: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let hello = format!(
        "%4\r\n+server\r\n+redis\r\n+version\r\n+{version}\r\n+mode\r\n+cluster\r\n+role\r\n+master\r\n"
    );
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let hello = hello.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 4_096];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                    for _ in text.matches("HELLO") {
                        let _ = stream.write_all(hello.as_bytes());
                    }
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_is_no_cluster_is_refused() {
    let server = Server::start();
    let sentinel = Server::builder().sentinel("orders", server.port()).start();
    let old = node_of_version("6.2.14");
    for (port, kind, says) in [
        (server.port(), RefusedKind::WrongUrl, "redis://".to_owned()),
        (
            sentinel.port(),
            RefusedKind::WrongUrl,
            format!("redis+sentinel://127.0.0.1:{}/orders", sentinel.port()),
        ),
        (old, RefusedKind::Unsupported, "7.0".to_owned()),
    ] {
        let url = format!("redis+cluster://127.0.0.1:{port}");
        let begun = Instant::now();
        let error = Client::connect(&url).await.unwrap_err();
        assert_eq!(refused(&error), kind, "{error}");
        assert!(error.to_string().contains(&says), "{error}");
        let lock = Client::connect_lazy(&url).unwrap().lock("l");
        let error = lock.wait_timeout(ms(10_000)).acquire().await.unwrap_err();
        assert_eq!(refused(&error), kind, "{error}");
        assert!(begun.elapsed() < ms(1_500), "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn address_map_leads_to_announced_nodes() {
    let cluster = Cluster::start();
    for (node, port) in cluster.nodes.iter().zip(["1", "2", "3"]) {
        node.call(&["CONFIG", "SET", "cluster-announce-port", port]);
    }
    let names = [0, 1, 2].map(|_| unique_name());
    let ports = [0, 1, 2].map(|node: usize| cluster.nodes[node].port());
    let announced = || {
        let knows_all = |node: &Server| {
            let reply = node.call(&["CLUSTER", "NODES"]).text().unwrap();
            [":1@", ":2@", ":3@"]
                .iter()
                .all(|port| reply.contains(port))
        };
        cluster.nodes.iter().all(knows_all)
    };
    assert!(testkit::eventually_async(ms(10_000), announced).await);
    let map = move |host: &str, port: u16| match port {
        1..=3 => (host.to_owned(), ports[usize::from(port) - 1]),
        port => (host.to_owned(), port),
    };
    let url = cluster.url_of(&[1]);
    let builder = Client::builder().store(&url).logger(NoopLogger);
    let client = builder.map_address(map).connect().await.unwrap();
    for name in &names {
        acquire_and_release(&client.lock(name)).await;
    }
    let unmapped = Client::connect(&url).await.unwrap();
    let lock = unmapped.lock(&names[0]);
    let error = lock.try_acquire().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    let panics = |_: &str, _: u16| -> (String, u16) { panic!("as it should") };
    let builder = Client::builder().store(&url).logger(NoopLogger);
    let begun = Instant::now();
    let client = builder.map_address(panics).connect().await.unwrap();
    let error = client.lock(&names[0]).try_acquire().await.unwrap_err();
    assert!(error.to_string().contains("address map"), "{error}");
    let waiting = client.lock(&names[0]).wait_timeout(ms(500));
    let error = waiting.acquire().await.unwrap_err();
    assert!(error.to_string().contains("address map"), "{error}");
    assert!(begun.elapsed() < ms(3_000), "{:?}", begun.elapsed());
}
