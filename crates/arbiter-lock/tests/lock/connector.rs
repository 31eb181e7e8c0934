//! Connections by a connector of the program, through a relay that alone resolves names.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, ClientBuilder, Error, NoopLogger};
use testkit::{Cluster, SentinelGroup, Server, unique_name};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::acquire_and_release;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A relay that is asked for an address in a line. The domain `.invalid` is this machine.
#[derive(Clone)]
struct Relay {
    port: u16,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Relay {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self {
            port: listener.local_addr().unwrap().port(),
            asked: Arc::default(),
        };
        let serving = relay.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        relay
    }

    async fn serve(self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let (host, port) = line.trim().split_once(' ').unwrap();
        let address = match host.ends_with(".invalid") {
            true => format!("127.0.0.1:{port}"),
            false => format!("{host}:{port}"),
        };
        self.asked.lock().unwrap().insert(host.to_owned());
        let mut server = TcpStream::connect(address).await?;
        stream.write_all(b"+").await?;
        tokio::io::copy_bidirectional(&mut stream, &mut server).await?;
        Ok(())
    }

    fn client(&self, url: &str) -> ClientBuilder {
        let port = self.port;
        let builder = Client::builder().store(url).logger(NoopLogger);
        builder.connect_with(move |host, of| async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream
                .write_all(format!("{host} {of}\n").as_bytes())
                .await?;
            match stream.read_u8().await? {
                b'+' => Ok(stream),
                _ => Err(io::Error::other("the relay refuses")),
            }
        })
    }

    fn asked(&self) -> BTreeSet<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Names a host that only the relay resolves.
fn named(url: &str) -> String {
    url.replace("127.0.0.1", "host.invalid")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_topology_is_reached_through_a_relay() {
    let (relay, server) = (Relay::start().await, Server::start());
    let (group, cluster) = (SentinelGroup::start(), Cluster::start());
    for url in [server.url(), group.url(), cluster.url()] {
        let client = relay.client(&named(&url)).connect().await;
        let client = client.unwrap_or_else(|error| panic!("{url}: {error}"));
        acquire_and_release(&client.lock(&unique_name())).await;
    }
    assert!(relay.asked().contains("host.invalid"));
    // Those that sentinels and nodes announce.
    assert!(relay.asked().contains("127.0.0.1"));
    let direct = Client::connect(&named(&server.url())).await;
    assert!(direct.is_err(), "{direct:?}");
}

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_on_top_of_a_connector() {
    let (relay, server) = (Relay::start().await, Server::builder().tls().start());
    let tls = arbiter_lock::Tls::new().ca_file(server.certificate());
    let builder = relay.client(&named(&server.tls_url()));
    let client = builder
        .tls(tls.clone().server_name("127.0.0.1"))
        .connect()
        .await;
    acquire_and_release(&client.unwrap().lock("l")).await;
    let error = relay
        .client(&named(&server.tls_url()))
        .tls(tls)
        .connect()
        .await;
    assert!(error.unwrap_err().to_string().contains("certificate"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_are_mapped_before_the_connector() {
    let (relay, group) = (Relay::start().await, SentinelGroup::start());
    let builder = relay.client(&named(&group.url()));
    let builder = builder.map_address(|_, port| ("mapped.invalid".to_owned(), port));
    let client = builder.connect().await.unwrap();
    acquire_and_release(&client.lock(&unique_name())).await;
    assert!(relay.asked().contains("mapped.invalid"));
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_is_reached_through_a_relay() {
    let (relay, server) = (Relay::start().await, testkit::Postgres::shared());
    let client = relay.client(&named(&server.url())).connect().await.unwrap();
    acquire_and_release(&client.lock(&unique_name())).await;
    assert!(relay.asked().contains("host.invalid"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connectors_that_fail_are_the_cause() {
    let builder = || {
        let builder = Client::builder().store("redis://h").logger(NoopLogger);
        builder.connect_timeout(ms(300))
    };
    let failing = builder()
        .connect_with(|_, _| async { Err::<TcpStream, _>(io::Error::other("no way there")) });
    let panicking = builder().connect_with(|host, _| async move {
        assert_eq!(host, "a panic of the test");
        Err::<TcpStream, _>(io::Error::other("never"))
    });
    let hanging = builder()
        .connect_with(|_, _| async { std::future::pending::<io::Result<TcpStream>>().await });
    for (builder, cause) in [
        (failing, "the connector failed for h:6379: no way there"),
        (panicking, "the connector panicked for h:6379"),
        (hanging, "no connection within 300ms"),
    ] {
        let begun = Instant::now();
        let error = builder.connect().await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        assert!(error.to_string().contains(cause), "{cause}: {error}");
        assert!(begun.elapsed() < ms(1_000), "{:?}", begun.elapsed());
    }
}

#[test]
fn stores_without_hosts_refuse_a_connector() {
    for url in [
        "memory:",
        "file:///srv/locks",
        "redis+unix:///run/redis.sock",
        "postgres://u@%2Frun/d",
    ] {
        let builder = Client::builder().store(url).logger(NoopLogger);
        let builder = builder.connect_with(|host, port| TcpStream::connect((host, port)));
        let error = builder.connect_lazy().unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
        assert!(error.to_string().contains("connector"), "{url}: {error}");
    }
}
