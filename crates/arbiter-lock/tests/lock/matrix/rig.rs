//! The faults, the requests that they match, and a server behind a proxy.

use std::time::Duration;

use arbiter_lock::{Client, Error, Guard, NoopLogger};
use testkit::{Fault, Proxy, Server, companion_kind, unique_name};

pub(super) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) const FAULTS: [Fault; 5] = [
    Fault::LoseReply,
    Fault::DelayReply(ms(700)),
    Fault::CutBefore,
    Fault::CutAfter,
    Fault::Duplicate,
];

/// Returns the arguments of a script call after its keys.
pub(super) fn words(args: &[Vec<u8>]) -> Option<&[Vec<u8>]> {
    let is_script = args.first().is_some_and(|verb| verb.starts_with(b"EVAL"));
    let keys: usize = std::str::from_utf8(args.get(2)?).ok()?.parse().ok()?;
    if is_script {
        args.get(3 + keys..)
    } else {
        None
    }
}

pub(super) fn begins_with(args: &[Vec<u8>], word: &[u8]) -> bool {
    words(args)
        .and_then(|words| words.first())
        .is_some_and(|first| first.split(|byte| *byte == b' ').next() == Some(word))
}

pub(super) fn is_acquire(args: &[Vec<u8>]) -> bool {
    begins_with(args, b"wait")
}

pub(super) fn is_try(args: &[Vec<u8>]) -> bool {
    begins_with(args, b"try")
}

/// Returns whether a request is a script call with those numbers of keys and arguments. Its last
/// key is that of a lock, or one beside it.
pub(super) fn is_call(args: &[Vec<u8>], keys: usize, last: Option<&str>, count: usize) -> bool {
    words(args).is_some_and(|words| words.len() == count && args.len() == 3 + keys + count)
        && companion_kind(&String::from_utf8_lossy(&args[2 + keys])) == last
}

pub(crate) fn is_end(args: &[Vec<u8>]) -> bool {
    let counts = [2, 3];
    counts
        .iter()
        .any(|count| is_call(args, 4, Some("share"), *count))
        && has_label(args)
}

/// Returns whether a request is a renewal: that of an exclusive hold has its lock twice.
pub(super) fn is_renewal(args: &[Vec<u8>]) -> bool {
    is_call(args, 2, Some("share"), 3) || is_call(args, 2, None, 3) && args[3] == args[4]
}

pub(super) fn is_downgrade(args: &[Vec<u8>]) -> bool {
    is_call(args, 4, Some("share"), 3) && !has_label(args)
}

/// Returns whether the second argument is the label of a request.
fn has_label(args: &[Vec<u8>]) -> bool {
    words(args).is_some_and(|words| words[1].contains(&b' '))
}

pub(super) fn is_transfer(args: &[Vec<u8>]) -> bool {
    is_call(args, 3, Some("share"), 4)
}

pub(super) fn is_resize(args: &[Vec<u8>]) -> bool {
    is_call(args, 4, Some("share"), 1)
}

pub(super) fn is_proclamation(args: &[Vec<u8>]) -> bool {
    is_call(args, 1, None, 3)
}

pub(super) fn is_begin(args: &[Vec<u8>]) -> bool {
    is_call(args, 2, Some("run"), 5)
}

pub(super) fn is_finish(args: &[Vec<u8>]) -> bool {
    is_call(args, 1, Some("run"), 2)
}

pub(super) struct Rig {
    pub(super) server: Server,
    pub(super) proxy: Proxy,
    pub(super) client: Client,
    pub(super) direct: Client,
    pub(super) name: String,
}

impl Rig {
    pub(super) async fn new() -> Self {
        let server = Server::start();
        let proxy = Proxy::before(&server);
        let connect = |url: String| async move {
            let builder = Client::builder().store(&url).logger(NoopLogger);
            builder.command_timeout(ms(300)).connect().await.unwrap()
        };
        let (client, direct) = (connect(proxy.url()).await, connect(server.url()).await);
        let name = unique_name();
        // The server knows the scripts, and both connections are open.
        let lock = client.lock(&name);
        while lock.acquire().await.unwrap().release().await.is_err() {}
        Self {
            server,
            proxy,
            client,
            direct,
            name,
        }
    }

    /// Checks that the name is free, that no waiter is queued, and that another client is granted.
    pub(super) async fn is_clean(&self, fault: Fault) {
        let lock = self.direct.lock(&self.name).wait_timeout(ms(4_000));
        let guard = lock
            .acquire()
            .await
            .unwrap_or_else(|e| panic!("{fault:?}: {e}"));
        assert_eq!(lock.inspect().await.unwrap().waiting, 0, "{fault:?}");
        guard.release().await.unwrap();
        let ttl = |key: &String| self.server.call(&["PTTL", key]).int().unwrap();
        assert!(
            self.server.keys().iter().all(|key| ttl(key) != -1),
            "{fault:?}"
        );
    }
}

/// Returns the guard of an acquire, or none if the store did not serve it.
pub(super) fn held(result: Result<Guard, Error>, fault: Fault) -> Option<Guard> {
    match result {
        Ok(guard) => Some(guard),
        Err(Error::Unavailable(_)) => None,
        Err(other) => panic!("{fault:?}: {other}"),
    }
}
