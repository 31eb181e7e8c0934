//! A session of `psql`, which runs statements one by one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::find::program;

/// How long a statement may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Printed behind the output of a statement.
const END: &str = "-- end";

/// A session of `psql`. It ends on drop, and its transaction is rolled back.
#[derive(Debug)]
pub struct Psql {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Psql {
    pub(super) fn command(url: &str) -> Command {
        let mut command = Command::new(program("psql"));
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=0", "-d", url]);
        command.env("PGOPTIONS", "-c client_min_messages=warning");
        command
    }

    /// Opens a session.
    ///
    /// # Panics
    /// If `psql` cannot be started.
    #[must_use]
    pub fn open(url: &str) -> Self {
        let mut command = Self::command(url);
        command.arg("-At").stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("psql");
        let input = child.stdin.take().expect("its input");
        let (sender, lines) = channel();
        let outputs: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("its output")),
            Box::new(child.stderr.take().expect("its errors")),
        ];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    // A session that was dropped reads no more.
                    let _ = sender.send(line);
                }
            });
        }
        Self {
            child,
            input,
            lines,
        }
    }

    /// Runs a statement, and returns its output, or its error.
    ///
    /// # Panics
    /// If it takes longer than 30 s.
    pub fn run(&mut self, statement: &str) -> String {
        self.begin(statement);
        self.finish()
    }

    /// Begins to run a statement, which may take longer.
    ///
    /// # Panics
    /// If the session has ended.
    pub fn begin(&mut self, statement: &str) {
        // Both streams have an end, since their order is not known.
        writeln!(self.input, "{statement};\n\\echo {END}\n\\warn {END}").expect("a session");
    }

    /// Returns the output of the statement that was begun, or its error.
    ///
    /// # Panics
    /// If it takes longer than 30 s.
    pub fn finish(&mut self) -> String {
        let (mut output, mut ends) = (Vec::new(), 0);
        while ends < 2 {
            let line = self.lines.recv_timeout(LIMIT);
            let line = line.expect("the output of a statement");
            match line.as_str() {
                END => ends += 1,
                _ => output.push(line),
            }
        }
        output.join("\n")
    }
}

impl Drop for Psql {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
