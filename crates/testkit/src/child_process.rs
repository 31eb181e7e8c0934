//! A child process that a test controls through lines on stdin and stdout.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Folder, eventually};

/// The user that a process runs as.
#[derive(Clone, Copy, Debug)]
pub struct User {
    /// Its user id. It is the test's own unless [`User::is_free`].
    pub uid: u32,
    /// Its group id. It is the test's own unless [`User::is_free`].
    pub gid: u32,
    /// The only supplementary group.
    pub member_of: u32,
    /// Its umask.
    pub umask: u32,
}

impl User {
    /// Returns whether the test may choose users, that is, runs as root.
    #[must_use]
    pub fn is_free() -> bool {
        rustix::process::geteuid().is_root()
    }
}

/// A process that a test controls. It is killed on drop.
#[derive(Debug)]
pub struct ChildProcess {
    child: Child,
    lines: Receiver<String>,
}

impl ChildProcess {
    /// Starts an example program of the workspace, which `cargo test` builds.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn example(name: &str, args: &[&str]) -> Self {
        Self::example_in(&[], name, args)
    }

    /// Starts an example like [`ChildProcess::example`], with those environment variables.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn example_in(env: &[(&str, String)], name: &str, args: &[&str]) -> Self {
        let mut command = Command::new(examples().join(name));
        command.args(args);
        command.envs(env.iter().map(|(name, value)| (name, value)));
        Self::start(command)
    }

    /// Starts an example like [`ChildProcess::example`], as that user. The program is copied into
    /// the folder, so that every user can execute it.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn example_as(user: User, folder: &Folder, name: &str, args: &[&str]) -> Self {
        let program = folder.path().join(name);
        if !program.exists() {
            // Another process makes the copy. If this one did, a child forked by another test could
            // inherit the open file, and the program could not be executed.
            let mut copy = Command::new("cp");
            let copied = copy.arg(examples().join(name)).arg(&program).status();
            assert!(copied.expect("cp").success(), "{}", program.display());
            let for_all = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&program, for_all).expect("it is ours");
        }
        let mut words = Vec::new();
        if User::is_free() {
            words.push("setpriv".to_owned());
            words.push(format!("--reuid={}", user.uid));
            words.push(format!("--regid={}", user.gid));
            words.push(format!("--groups={}", user.member_of));
        }
        let mut command = Command::new("/bin/sh");
        let script = format!("umask {:03o}; exec \"$@\"", user.umask);
        command.args(["-c", &script, "sh"]).args(words);
        command.arg(program).args(args);
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let stdout = child.stdout.take().expect("its stdout is a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Sends a line to the process.
    pub fn send(&mut self, line: &str) {
        if let Some(stdin) = &mut self.child.stdin {
            // A dead process reads nothing.
            let _ = writeln!(stdin, "{line}");
        }
    }

    /// Returns the next line of output, if one comes within the limit.
    pub fn receive(&self, limit: Duration) -> Option<String> {
        self.lines.recv_timeout(limit).ok()
    }

    /// Stops the process as Ctrl-Z does, and waits until all its threads are stopped. The signal
    /// reaches one thread, which stops the others.
    ///
    /// # Panics
    /// If it still runs after 10 s.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.pid());
        let runs = |task: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            let state = stat
                .rsplit(") ")
                .next()
                .and_then(|rest| rest.chars().next());
            state.is_some_and(|state| !"TtZX".contains(state))
        };
        // An ended process does not run.
        let tasks = || std::fs::read_dir(&tasks).into_iter().flatten().flatten();
        assert!(eventually(Duration::from_secs(10), || !tasks().any(runs)));
    }

    /// Continues the process.
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// Returns whether the process has not ended by itself.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns the process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the process, and returns whether it succeeded.
    pub fn wait(&mut self) -> bool {
        self.child.wait().is_ok_and(|status| status.success())
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the folder of the examples, next to the folder of the test's program.
fn examples() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own program");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("the profile's folder");
    profile.join("examples")
}
