//! A relay between a client and a PostgreSQL server, which spoils transactions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use testkit::Postgres;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::postgres_faults::ms;

/// The fault that a relay injects into the next transaction that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoil {
    /// Forwards it, and loses the connection with all its answers.
    Answers,
    /// The same, and the server does not notice.
    Notice,
    /// Forwards it, and answers like a server that fails to write its log, and ends. The commit may
    /// be on its disk.
    Panic,
    /// Loses the connection before the commit.
    Commit,
    /// Makes its first statement fail, so that the next one is a transaction of its own.
    Begin,
    /// Nothing; but all warnings are in another language.
    Language,
}

impl Spoil {
    /// Returns whether it needs the statements of a client that is behind a pooler. Others need
    /// one for each transaction.
    fn is_of_a_pooler(self) -> bool {
        matches!(self, Self::Begin | Self::Commit)
    }
}

/// A relay before a server, which spoils one transaction when it is armed.
pub(crate) struct Relay {
    port: u16,
    is_armed: Arc<AtomicBool>,
}

impl Relay {
    /// Starts a relay that is not armed.
    pub(crate) async fn before(server: &Postgres, spoil: Spoil) -> Self {
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

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn arm(&self) {
        self.is_armed.store(true, Ordering::SeqCst);
    }

    /// Returns whether it has spoiled a transaction since it was armed.
    pub(crate) fn has_spoiled(&self) -> bool {
        !self.is_armed.load(Ordering::SeqCst)
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
        if spoil == Spoil::Language {
            translate_warnings(&mut buffer[..count]);
        }
        let is_mute = mute.load(Ordering::SeqCst);
        if is_mute && spoil == Spoil::Panic {
            // The client may have gone.
            let _ = to.write_all(&panic_message()).await;
            return;
        }
        if !is_mute && to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
}

/// Translates the severity that users see, as a server with other `lc_messages` does.
fn translate_warnings(bytes: &mut [u8]) {
    const SHOWN: &[u8] = b"SWARNING\0";
    while let Some(at) = bytes.windows(SHOWN.len()).position(|w| w == SHOWN) {
        bytes[at..at + SHOWN.len()].copy_from_slice(b"SWARNUNG\0");
    }
}

/// Returns the last message of a server that could not write its log.
fn panic_message() -> Vec<u8> {
    let fields = b"SPANIC\0VPANIC\0C53100\0Mcould not write to log file: No space left\0\0";
    let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
    [b"E", &length[..], fields].concat()
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
            Spoil::Language => to.write_all(&buffer[..count]).await.unwrap(),
            Spoil::Begin => {
                buffer[begin] = b'X';
                to.write_all(&buffer[..count]).await.unwrap();
            }
            Spoil::Answers | Spoil::Panic => {
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
