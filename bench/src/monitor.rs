//! Counts the commands of clients and those of scripts, which the server's statistics do not
//! distinguish.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread::JoinHandle;

use testkit::Server;

use crate::Failure;

pub(crate) struct Monitor<'a> {
    server: &'a Server,
    counting: JoinHandle<Counted>,
}

#[derive(Default)]
pub(crate) struct Counted {
    sent: BTreeMap<String, f64>,
    called: BTreeMap<String, f64>,
    /// Calls of scripts by their hash.
    scripts: BTreeMap<String, f64>,
}

const END: &str = "monitor ends";

impl<'a> Monitor<'a> {
    pub(crate) fn start(server: &'a Server) -> Result<Self, Failure> {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port()))?;
        stream.write_all(b"MONITOR\r\n")?;
        let mut reader = BufReader::new(stream);
        reader.read_line(&mut String::new())?;
        let counting = std::thread::spawn(move || count(reader));
        Ok(Self { server, counting })
    }

    pub(crate) fn stop(self) -> Result<Counted, Failure> {
        self.server.call(&["ECHO", END]);
        self.counting
            .join()
            .map_err(|_| "the monitor panicked".into())
    }
}

fn count(reader: BufReader<TcpStream>) -> Counted {
    let mut counted = Counted::default();
    for line in reader.lines().map_while(Result::ok) {
        if line.contains(END) {
            break;
        }
        counted.note(&line);
    }
    counted
}

impl Counted {
    /// Counts `+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`; commands of scripts have `[0
    /// lua]`.
    fn note(&mut self, line: &str) {
        let Some((from, words)) = line.split_once("] ") else {
            return;
        };
        let mut words = words.split(' ').map(|word| word.trim_matches('"'));
        let command = words.next().unwrap_or_default().to_lowercase();
        let counts = match from.ends_with(" lua") {
            true => &mut self.called,
            false => &mut self.sent,
        };
        if command.starts_with("eval") {
            let script = words.next().unwrap_or_default();
            *self.scripts.entry(script.to_owned()).or_default() += 1.0;
        }
        *counts.entry(command).or_default() += 1.0;
    }

    /// Returns the number of commands that clients sent.
    pub(crate) fn sent(&self) -> f64 {
        self.sent.values().sum()
    }

    /// Returns the calls of the script of that hash.
    pub(crate) fn of_script(&self, sha1: &str) -> f64 {
        self.scripts.get(sha1).copied().unwrap_or_default()
    }

    /// Returns the part of the calls of a command, as named in the statistics, that clients sent.
    pub(crate) fn part_sent(&self, command: &str) -> f64 {
        let command = command.split('|').next().unwrap_or_default();
        let of = |counts: &BTreeMap<String, f64>| counts.get(command).copied().unwrap_or_default();
        let (sent, called) = (of(&self.sent), of(&self.called));
        if sent == 0.0 {
            0.0
        } else {
            sent / (sent + called)
        }
    }
}
