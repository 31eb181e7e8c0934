//! A node of a cluster whose answers a test specifies.

use std::collections::HashMap;
use std::io::{self, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The slot of the name `l`.
pub(super) const SLOT: u16 = 10_404;

/// A request: its words, and how often its command was sent to the node, with this one.
pub(super) struct Asked {
    pub(super) words: Vec<String>,
    pub(super) count: usize,
}

impl Asked {
    pub(super) fn is(&self, command: &str) -> bool {
        self.words.join(" ").starts_with(command)
    }

    /// Returns whether it is a script, and not the check of a node.
    pub(super) fn is_script(&self) -> bool {
        self.is("EVAL") && !self.words[3].contains("#arbiter.probe")
    }

    /// Returns the argument of a script at that place.
    pub(super) fn argument(&self, place: usize) -> &str {
        let keys: usize = self.words[2].parse().unwrap();
        &self.words[3 + keys + place]
    }
}

/// A node that answers like any other, unless the test specifies an answer.
pub(super) struct FakeNode {
    pub(super) port: u16,
    counts: Arc<Mutex<HashMap<String, usize>>>,
}

impl FakeNode {
    /// Starts a node. It calls `answer` with its port; `None` is the usual answer.
    pub(super) fn start(
        answer: impl Fn(u16, &Asked) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::<Mutex<HashMap<String, usize>>>::default();
        let (answer, counted) = (Arc::new(answer), counts.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, counts) = (answer.clone(), counted.clone());
                std::thread::spawn(move || serve(port, stream, &*answer, &counts));
            }
        });
        Self { port, counts }
    }

    pub(super) fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{}", self.port)
    }

    /// Returns how often a command was sent to it.
    pub(super) fn count(&self, command: &str) -> usize {
        let counts = self.counts.lock().unwrap();
        counts.get(command).copied().unwrap_or_default()
    }
}

/// Instead of an answer, the connection is closed.
pub(super) const CUT: &str = "cut";
/// A moment in which the client may handle the earlier frames.
pub(super) const PAUSE: char = '\0';

/// Serves one connection until it ends.
fn serve(
    port: u16,
    stream: TcpStream,
    answer: &dyn Fn(u16, &Asked) -> Option<String>,
    counts: &Mutex<HashMap<String, usize>>,
) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut out = stream.try_clone().ok()?;
    let mut input = BufReader::new(stream);
    loop {
        let words = read(&mut input).ok()?;
        let count = {
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(words[0].clone()).or_default();
            *count += 1;
            *count
        };
        let asked = Asked { words, count };
        let answered = answer(port, &asked).unwrap_or_else(|| usual(port, &asked));
        if answered == CUT {
            return None;
        }
        for (n, part) in answered.split(PAUSE).enumerate() {
            std::thread::sleep(Duration::from_millis(if n == 0 { 0 } else { 50 }));
            out.write_all(part.as_bytes()).ok()?;
        }
    }
}

fn read(input: &mut impl io::BufRead) -> io::Result<Vec<String>> {
    let number = |input: &mut dyn io::BufRead| {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let number = line.get(1..).and_then(|text| text.trim().parse().ok());
        number.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    };
    let count: usize = number(input)?;
    let word = |_| {
        let mut bytes = vec![0; number(input)? + 2];
        input.read_exact(&mut bytes)?;
        bytes.truncate(bytes.len() - 2);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    (0..count).map(word).collect()
}

pub(super) fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// Returns the reply to `CLUSTER SLOTS` with one master of all slots, whose host is in RESP.
pub(super) fn slots(host: &str, port: u16) -> String {
    let id = bulk(&"f".repeat(40));
    format!("*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n{host}:{port}\r\n{id}*0\r\n")
}

/// Returns the reply to `CLUSTER SLOTS` with three masters, the last of which has the name `l`.
pub(super) fn thirds(ports: &[u16]) -> String {
    let ranges = [(0, 5_000), (5_001, 10_000), (10_001, 16_383)];
    let ranges = ranges.iter().zip(ports).map(|((first, last), port)| {
        let (host, id) = (bulk("127.0.0.1"), bulk(&format!("{port:040}")));
        format!("*3\r\n:{first}\r\n:{last}\r\n*4\r\n{host}:{port}\r\n{id}*0\r\n")
    });
    format!("*3\r\n{}", ranges.collect::<String>())
}

pub(super) fn info(state: &str, epoch: u64) -> String {
    bulk(&format!(
        "cluster_state:{state}\r\ncluster_current_epoch:{epoch}\r\n"
    ))
}

pub(super) fn confirmed(channel: &str) -> String {
    format!(">3\r\n{}{}:1\r\n", bulk("ssubscribe"), bulk(channel))
}

pub(super) fn unsubscribed(channel: &str) -> String {
    format!(">3\r\n{}{}:0\r\n", bulk("sunsubscribe"), bulk(channel))
}

/// Returns the answer to a waiter behind a holder whose lease does not end.
pub(super) fn queued() -> String {
    let words = ["queued", "1", "1", "1", "0", "o", "5", "1", "30000", "l"];
    bulk(&words.join(" "))
}

pub(super) fn granted() -> String {
    bulk("granted 1000 7 30000")
}

fn usual(port: u16, asked: &Asked) -> String {
    match asked.words[0].as_str() {
        "HELLO" => {
            let fields = ["server", "redis", "version", "7.0.0", "mode", "cluster"];
            format!("%3\r\n{}", fields.map(bulk).concat())
        }
        "CLUSTER" if asked.is("CLUSTER INFO") => info("ok", 1),
        "CLUSTER" => slots(&bulk("127.0.0.1"), port),
        "SSUBSCRIBE" => confirmed(&asked.words[1]),
        "EVALSHA" | "EVAL" if asked.is_script() => match asked.argument(0).get(..4) {
            Some("wait" | "try ") => granted(),
            _ => bulk("released"),
        },
        "EVALSHA" | "EVAL" => bulk("can"),
        _ => "+OK\r\n".to_owned(),
    }
}

/// Returns the channel of a waiter's request.
pub(super) fn channel(asked: &Asked) -> &str {
    asked.argument(3)
}
