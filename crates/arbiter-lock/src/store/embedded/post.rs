//! Messages between processes: datagrams with grants, and ties, by which a process notices the end
//! of another.

use std::io;
use std::os::unix::net::UnixDatagram as Socket;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arbiter_lock_core::{Grant, Moment};
use rustix::io::Errno;
use tokio::io::AsyncReadExt as _;
use tokio::net::{UnixDatagram, UnixListener, UnixStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::denied::Denied;
use super::liveness::{self, Process};
use super::sockets::Sockets;
use super::{Opened, failure, rights};
use crate::store::{Failure, Push};

const LONGEST_MESSAGE: usize = 512;

/// How often a message is sent again to a process whose socket is full, and how many times. The
/// socket holds ten unread messages (`net.unix.max_dgram_qlen`). After that a poll finds the grant.
const SEND_AGAIN: Duration = Duration::from_millis(1);
const MOST_SENDINGS: u32 = 1_000;

/// The sockets of a process, and the thread that serves them.
pub(super) struct Post {
    sockets: Sockets,
    sender: Arc<Socket>,
    /// One socket for all checks whether a process listens: without room for another one, live
    /// processes would seem unreachable.
    probe: Socket,
    runtime: Handle,
    begin: std::sync::Mutex<Option<oneshot::Sender<Weak<Opened>>>>,
    _alive: oneshot::Sender<()>,
}

impl Post {
    pub(super) fn open(folder: &Path, process: &Process) -> Result<Self, Failure> {
        let sockets = Sockets::of(folder)?;
        let live = folder.join("live");
        let failed = |e: io::Error| failure::within(&e, &live, folder);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let entered = runtime.enter();
        let wake = UnixDatagram::bind(sockets.wake(process)).map_err(failed)?;
        let tie = UnixListener::bind(sockets.tie(process)).map_err(failed)?;
        drop(entered);
        let own = liveness::file(folder, process);
        for path in [liveness::wake_socket(&own), liveness::tie_socket(&own)] {
            rights::give_socket(&path, folder).map_err(failed)?;
        }
        let sender = Socket::unbound().map_err(failed)?;
        sender.set_nonblocking(true).map_err(failed)?;
        let handle = runtime.handle().clone();
        let (begin, begun) = oneshot::channel();
        let (alive, ended) = oneshot::channel::<()>();
        let serve = async move {
            let Ok(opened) = begun.await else { return };
            tokio::select! {
                () = receive(&wake, &opened) => {}
                () = accept_ties(&tie) => {}
                _ = ended => {}
            }
        };
        std::thread::Builder::new()
            .name("arbiter-post".into())
            .spawn(move || runtime.block_on(serve))
            .map_err(failed)?;
        Ok(Self {
            sockets,
            sender: Arc::new(sender),
            probe: Socket::unbound().map_err(failed)?,
            runtime: handle,
            begin: std::sync::Mutex::new(Some(begin)),
            _alive: alive,
        })
    }

    /// Starts to deliver.
    pub(super) fn deliver_to(&self, opened: Weak<Opened>) {
        let mut begin = self
            .begin
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(begin) = begin.take() {
            // Without the thread nothing is delivered: a poll finds the grant.
            let _ = begin.send(opened);
        }
    }

    /// Runs a task on the thread.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Returns whether a process listens. It counts as listening unless the system reports that it
    /// does not. A process that cannot be checked finds its grant by a poll, and must not be
    /// skipped.
    pub(super) fn is_bound(&self, process: &Process, denied: &Denied) -> bool {
        let wake = self.sockets.wake(process);
        match self.probe.connect(&wake) {
            Ok(()) => true,
            Err(e) => match e.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => false,
                _ => {
                    denied.note(&wake, &e);
                    true
                }
            },
        }
    }

    /// Sends a grant to the process of its request, without waiting.
    pub(super) fn send(&self, process: &Process, grant: &Grant) {
        let wake = self.sockets.wake(process);
        let Grant {
            request,
            channel,
            fence,
            ttl_ms,
            at,
        } = grant;
        let message = format!("{channel} {request} {fence} {ttl_ms} {}", at.as_micros());
        if !try_send(&self.sender, &message, &wake) {
            self.spawn(send_again(self.sender.clone(), message, wake));
        }
    }

    /// Returns the tie to a process, which can be waited for without the post.
    pub(super) fn tie_to(&self, process: &Process) -> Tie {
        Tie(self.sockets.tie(process))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.sockets.folder
    }
}

/// The path of a process's socket that closes with the process.
pub(super) struct Tie(PathBuf);

impl Tie {
    /// Waits until the process ends; returns at once if it accepts no connection.
    pub(super) async fn wait_for_end(&self) {
        if let Ok(mut tie) = UnixStream::connect(&self.0).await {
            until_closed(&mut tie).await;
        }
    }
}

/// Sends a message; returns false if there is no room for it. Other errors are not worth another
/// attempt: a poll finds the grant.
fn try_send(sender: &Socket, message: &str, wake: &Path) -> bool {
    let sent = sender.send_to(message.as_bytes(), wake);
    let error = sent.err().and_then(|e| Errno::from_io_error(&e));
    !matches!(error, Some(Errno::WOULDBLOCK | Errno::NOBUFS))
}

async fn send_again(sender: Arc<Socket>, message: String, wake: PathBuf) {
    for _ in 1..MOST_SENDINGS {
        tokio::time::sleep(SEND_AGAIN).await;
        if try_send(&sender, &message, &wake) {
            return;
        }
    }
}

async fn receive(wake: &UnixDatagram, opened: &Weak<Opened>) {
    let mut message = [0; LONGEST_MESSAGE];
    loop {
        match wake.recv(&mut message).await {
            Ok(length) => {
                let Some(opened) = opened.upgrade() else {
                    return;
                };
                if let Some((channel, push)) = parse(&message[..length]) {
                    opened.deliver(channel, push);
                }
            }
            // Polls continue without messages.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn parse(message: &[u8]) -> Option<(&str, Push)> {
    let mut words = std::str::from_utf8(message).ok()?.split(' ');
    let channel = words.next()?;
    let push = Push {
        request: words.next()?.into(),
        fence: words.next()?.parse().ok()?,
        ttl_ms: words.next()?.parse().ok()?,
        at: Moment::from_micros(words.next()?.parse().ok()?),
    };
    words.next().is_none().then_some((channel, push))
}

/// Accepts ties, and keeps each until the other side closes it.
async fn accept_ties(tie: &UnixListener) {
    loop {
        match tie.accept().await {
            Ok((mut stream, _)) => {
                tokio::spawn(async move { until_closed(&mut stream).await });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Waits until the other side closes the connection. Nothing is sent on a tie.
async fn until_closed(stream: &mut UnixStream) {
    let mut nothing = [0; 16];
    while stream
        .read(&mut nothing)
        .await
        .is_ok_and(|length| 0 < length)
    {}
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Scratch, folder};
    use super::*;
    use crate::events::event::{EventQueue, NoopLogger};

    fn post() -> (Scratch, Post) {
        let folder = folder();
        std::fs::create_dir(folder.path().join("live")).unwrap();
        let post = Post::open(folder.path(), &Process::random()).unwrap();
        (folder, post)
    }

    fn wake_socket(folder: &Scratch, process: &Process) -> PathBuf {
        liveness::wake_socket(&liveness::file(folder.path(), process))
    }

    #[test]
    fn listening_process_is_detected_repeatedly() {
        let (folder, post) = post();
        let others = [Process::random(), Process::random()];
        let wakes = others.each_ref().map(|other| wake_socket(&folder, other));
        let denied = Denied::new(folder.path(), EventQueue::new(Box::new(NoopLogger)));
        let listens = || others.each_ref().map(|other| post.is_bound(other, &denied));
        for _ in 0..3 {
            assert_eq!(listens(), [false, false], "neither is there");
            let bound = wakes.each_ref().map(|wake| Socket::bind(wake).unwrap());
            assert_eq!(listens(), [true, true]);
            let [first, second] = bound;
            drop(first);
            assert_eq!(listens(), [false, true], "its file is there");
            drop(second);
            assert_eq!(listens(), [false, false]);
            for wake in &wakes {
                std::fs::remove_file(wake).unwrap();
            }
        }
    }

    #[test]
    fn burst_of_grants_reaches_a_slow_process() {
        let (folder, post) = post();
        post.deliver_to(Weak::new());
        let other = Process::random();
        let wake = Socket::bind(wake_socket(&folder, &other)).unwrap();
        wake.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for fence in 0..100 {
            post.send(
                &other,
                &Grant {
                    request: "r".into(),
                    channel: other.channel(1),
                    fence,
                    ttl_ms: 2_000,
                    at: Moment::from_micros(0),
                },
            );
        }
        let mut message = [0; LONGEST_MESSAGE];
        let mut fences = std::collections::BTreeSet::new();
        while fences.len() < 100 {
            let length = wake.recv(&mut message).expect("the others follow");
            fences.insert(parse(&message[..length]).unwrap().1.fence);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn send_to_stopped_process_ends_after_a_second() {
        let (folder, post) = post();
        let wake = wake_socket(&folder, &Process::random());
        let _stopped = Socket::bind(&wake).unwrap();
        while try_send(&post.sender, "m", &wake) {}
        let gone = wake_socket(&folder, &Process::random());
        assert!(
            try_send(&post.sender, "m", &gone),
            "not worth another attempt"
        );
        let begun = tokio::time::Instant::now();
        let sending = send_again(post.sender.clone(), "m".to_owned(), wake);
        let given_up = tokio::time::timeout(Duration::from_secs(60), sending).await;
        given_up.expect("a poll has found the grant");
        let second = Duration::from_millis(900)..Duration::from_millis(1_100);
        assert!(second.contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }
}
