//! Messages between processes: grants, as datagrams; and the ties by which one that waits sees
//! another end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Weak;

use arbiter_lock_core::{Grant, Moment};
use tokio::io::AsyncReadExt as _;
use tokio::net::{UnixDatagram, UnixListener, UnixStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::liveness::{self, Process};
use super::{Opened, failure};
use crate::store::{Failure, Push};

const LONGEST_MESSAGE: usize = 512;

/// The sockets of a process, and the thread that listens on them.
pub(super) struct Post {
    folder: PathBuf,
    sender: std::os::unix::net::UnixDatagram,
    runtime: Handle,
    begin: std::sync::Mutex<Option<oneshot::Sender<Weak<Opened>>>>,
    _alive: oneshot::Sender<()>,
}

impl Post {
    pub(super) fn open(folder: &Path, process: &Process) -> Result<Self, Failure> {
        let failed = |e: io::Error| failure::of_io(&e, folder);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let own = liveness::file(folder, process);
        let entered = runtime.enter();
        let wake = UnixDatagram::bind(liveness::wake_socket(&own)).map_err(failed)?;
        let tie = UnixListener::bind(liveness::tie_socket(&own)).map_err(failed)?;
        drop(entered);
        let sender = std::os::unix::net::UnixDatagram::unbound().map_err(failed)?;
        sender.set_nonblocking(true).map_err(failed)?;
        let handle = runtime.handle().clone();
        let (begin, begun) = oneshot::channel();
        let (alive, ended) = oneshot::channel::<()>();
        let serve = async move {
            let Ok(opened) = begun.await else { return };
            tokio::select! {
                () = receive(&wake, &opened) => {}
                () = be_tied_to(&tie) => {}
                _ = ended => {}
            }
        };
        std::thread::Builder::new()
            .name("arbiter-post".into())
            .spawn(move || runtime.block_on(serve))
            .map_err(failed)?;
        Ok(Self {
            folder: folder.to_owned(),
            sender,
            runtime: handle,
            begin: std::sync::Mutex::new(Some(begin)),
            _alive: alive,
        })
    }

    /// Begins to deliver.
    pub(super) fn deliver_to(&self, opened: Weak<Opened>) {
        let mut begin = self
            .begin
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(begin) = begin.take() {
            // A thread that is gone delivers nothing: a look finds what it misses.
            let _ = begin.send(opened);
        }
    }

    /// Runs a task on the thread.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Whether a process listens.
    pub(super) fn is_bound(&self, process: &Process) -> bool {
        let wake = liveness::wake_socket(&liveness::file(&self.folder, process));
        std::os::unix::net::UnixDatagram::unbound().is_ok_and(|probe| probe.connect(wake).is_ok())
    }

    /// Tells a process of a grant to one of its own, without waiting for anything.
    pub(super) fn send(&self, process: &Process, grant: &Grant) {
        let wake = liveness::wake_socket(&liveness::file(&self.folder, process));
        let Grant {
            request,
            channel,
            fence,
            life_ms,
            at,
        } = grant;
        let message = format!("{channel} {request} {fence} {life_ms} {}", at.as_micros());
        // What is not delivered is found by a look.
        let _ = self.sender.send_to(message.as_bytes(), wake);
    }

    /// Waits until the tie to a process breaks; at once where nobody is there to hold on to.
    pub(super) async fn tied_to(folder: &Path, process: &Process) {
        let tie = liveness::tie_socket(&liveness::file(folder, process));
        if let Ok(mut tie) = UnixStream::connect(tie).await {
            hold_on(&mut tie).await;
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
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
            // Looks go on without messages.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

fn parse(message: &[u8]) -> Option<(&str, Push)> {
    let mut words = std::str::from_utf8(message).ok()?.split(' ');
    let channel = words.next()?;
    let push = Push {
        request: words.next()?.into(),
        fence: words.next()?.parse().ok()?,
        life_ms: words.next()?.parse().ok()?,
        at: Moment::from_micros(words.next()?.parse().ok()?),
    };
    words.next().is_none().then_some((channel, push))
}

/// Keeps whatever connects for as long as it wants: it waits for the end of this process.
async fn be_tied_to(tie: &UnixListener) {
    loop {
        match tie.accept().await {
            Ok((mut stream, _)) => {
                tokio::spawn(async move { hold_on(&mut stream).await });
            }
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

/// Ends when the other side does. Nobody says anything on a tie.
async fn hold_on(stream: &mut UnixStream) {
    let mut nothing = [0; 16];
    while stream
        .read(&mut nothing)
        .await
        .is_ok_and(|length| 0 < length)
    {}
}
