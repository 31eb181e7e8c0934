//! A process that reads and writes lines, and its cost.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::Failure;

const START_LIMIT: Duration = Duration::from_secs(30);

/// A child process, which is killed when its value is dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    complaint: Arc<Mutex<String>>,
    pub(crate) version: String,
}

impl Process {
    /// Starts a program, given as a shell would take it, and waits until it is ready.
    pub(crate) fn start(program: &str, args: &[&str]) -> Result<Self, Failure> {
        let mut child = Command::new("sh")
            .args(["-c", &format!("exec {program} \"$@\""), "sh"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (sender, lines) = channel();
        each_line(child.stdout.take(), move |line| {
            // A process that is about to be killed has no reader.
            let _ = sender.send(line);
        });
        let complaint = Arc::new(Mutex::default());
        let last = complaint.clone();
        each_line(child.stderr.take(), move |line| {
            if !line.trim().is_empty() {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = line;
            }
        });
        let mut process = Self {
            child,
            lines,
            complaint,
            version: String::new(),
        };
        let ready = process.receive(START_LIMIT)?;
        process.version = ready
            .strip_prefix("ready ")
            .and_then(|rest| rest.split_once(' '))
            .map(|(_, version)| version.to_owned())
            .ok_or_else(|| format!("the process is not ready: {ready}"))?;
        Ok(process)
    }

    pub(crate) fn send_line(&mut self, line: &str) -> Result<(), Failure> {
        let stdin = self
            .child
            .stdin
            .as_mut()
            .ok_or("it has no standard input")?;
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .map_err(|_| self.ended().into())
    }

    /// Returns its next line.
    pub(crate) fn receive(&self, limit: Duration) -> Result<String, Failure> {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        match self.lines.recv_timeout(limit) {
            Ok(line) if line.starts_with("unable ") => Err(line.into()),
            Ok(line) => Ok(line),
            Err(Timeout) => Err(format!("no line within {limit:?}").into()),
            Err(Disconnected) => Err(self.ended().into()),
        }
    }

    /// Sends a line, and returns the numbers of the answer. The answer begins with the same word,
    /// or with `word`.
    pub(crate) fn ask(
        &mut self,
        line: &str,
        word: &str,
        limit: Duration,
    ) -> Result<Vec<f64>, Failure> {
        self.send_line(line)?;
        let answer = self.receive(limit)?;
        let numbers = answer.strip_prefix(word).map(|rest| {
            rest.split_whitespace()
                .map(str::parse)
                .collect::<Result<Vec<f64>, _>>()
        });
        match numbers {
            Some(Ok(numbers)) if !numbers.is_empty() => Ok(numbers),
            _ => Err(format!("asked {line:?} it answers {answer:?}").into()),
        }
    }

    fn ended(&self) -> String {
        // Its last words may be on their way.
        std::thread::sleep(Duration::from_millis(50));
        let complaint = self
            .complaint
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        format!("it has ended: {complaint}")
    }

    /// Returns the processor time that all its threads have used.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = self.read("stat");
        // The name in parentheses may hold anything.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks = |field| -> u64 {
            let word = fields.split_whitespace().nth(field);
            word.and_then(|word| word.parse().ok()).unwrap_or_default()
        };
        let ticks = ticks(11) + ticks(12);
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Returns the bytes of its memory.
    pub(crate) fn memory(&self) -> f64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or_default() * 1_024.0
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }

    pub(crate) fn kill(&mut self) {
        // A process that has already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn each_line(
    from: Option<impl Read + Send + 'static>,
    mut with: impl FnMut(String) + Send + 'static,
) {
    if let Some(from) = from {
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                with(line);
            }
        });
    }
}
