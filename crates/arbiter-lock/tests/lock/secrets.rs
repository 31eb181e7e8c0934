//! No value, error or event shows the password.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arbiter_lock::{Client, ClientBuilder, Event};
use testkit::{Server, eventually_async};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const SECRET: &str = "hunter2 %/@";
const ENCODED: &str = "hunter2%20%25%2F%40";

/// Everything that the test has printed or logged.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<String>>>);

impl Output {
    fn note(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }

    fn show(&self, value: &impl Debug) {
        self.note(format!("{value:?} {value:#?}"));
    }

    /// Records a value, or an error in every format.
    fn outcome<T: Debug>(&self, outcome: &Result<T, arbiter_lock::Error>) {
        match outcome {
            Ok(value) => self.show(value),
            Err(error) => {
                let mut source: Option<&dyn std::error::Error> = Some(error);
                while let Some(error) = source {
                    self.note(format!("{error} {error:?}"));
                    source = error.source();
                }
            }
        }
    }

    fn has(&self, what: &str) -> bool {
        self.0
            .lock()
            .unwrap()
            .iter()
            .any(|text| text.contains(what))
    }

    fn logger(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let output = self.clone();
        move |event| output.note(format!("{event} {event:?}"))
    }
}

fn builder(output: &Output, url: &str) -> ClientBuilder {
    let builder = Client::builder().store(url).logger(output.logger());
    let builder = builder.command_timeout(ms(200)).connect_timeout(ms(500));
    output.show(&builder);
    builder
}

#[tokio::test]
async fn no_value_error_or_event_shows_a_password() {
    let mut server = Server::start();
    let password = format!(">{SECRET}");
    server.call(&[
        "ACL", "SETUSER", "teller", "on", &password, "+@all", "~*", "&*",
    ]);
    let output = Output::default();
    let url = |password: &str| {
        let user = format!("redis://teller:{password}@");
        server.url().replace("redis://", &user)
    };
    let wrong = builder(&output, &url(&format!("{ENCODED}x")))
        .connect()
        .await;
    output.outcome(&wrong);
    for broken in ["x/y", "0?z=1", "#"] {
        let url = format!("{}/{broken}", url(ENCODED));
        output.outcome(&builder(&output, &url).connect().await);
    }
    let apart = builder(&output, &server.url()).credentials("teller", SECRET);
    output.show(&apart);
    output.outcome(&apart.connect().await);

    let client = builder(&output, &url(ENCODED)).connect().await.unwrap();
    output.show(&client);
    let lock = client.lock("l").lease_time(ms(1_000)).wait_timeout(ms(300));
    let guard = lock.acquire().await.unwrap();
    let second = lock.acquire().await;
    output.outcome(&second);
    output.outcome(&lock.inspect().await);
    let primitives = (
        client.rw_lock("r"),
        client.semaphore("s", 3),
        client.election("e"),
    );
    output.show(&primitives);
    output.show(&(client.session(), client.once("o").every(ms(60_000))));
    output.show(&(&lock, &guard, guard.hold(), guard.lost()));

    server.kill();
    guard.lost().await;
    output.outcome(&lock.acquire().await);
    output.outcome(&lock.inspect().await);
    output.outcome(&guard.release().await);
    server.restart(); // The restarted server does not know the user.
    let denied = || output.has("Denied");
    assert!(eventually_async(ms(5_000), denied).await);
    output.outcome(&lock.acquire().await);
    client.shutdown(ms(100)).await;
    output.outcome(&lock.acquire().await);
    client.testing().deliver_events();

    for sight in [
        "WRONGPASS",
        "is held by",
        "cannot be reached",
        "shut down",
        "Guard(Hold {",
        "Lost {",
    ] {
        assert!(output.has(sight), "nothing says {sight}");
    }
    for secret in ["hunter2", SECRET, ENCODED] {
        let texts = output.0.lock().unwrap();
        let shown = texts.iter().find(|text| text.contains(secret));
        assert_eq!(shown, None);
    }
}
