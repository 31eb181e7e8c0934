//! An interactive shell on its own terminal: Ctrl-C, Ctrl-Z, `fg` and `bg`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use nix::pty::openpty;
use testkit::{Server, eventually, unique_name};

use crate::helpers::{fresh_file, is_held, ms, unignoring, wait_for};

/// A shell that a test types into. Each command to interrupt or stop is one process (`exec`): a
/// shell that is about to fork may miss a Ctrl-C, and a shell stopped in the middle of its `vfork`
/// never counts as stopped.
struct Shell {
    shell: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    lock: String,
    run: String,
}

impl Shell {
    fn start(server: &Server) -> Self {
        let pty = openpty(None, None).unwrap();
        let (master, tty) = (File::from(pty.master), File::from(pty.slave));
        let shell = unignoring("setsid")
            .args(["--ctty", "--wait", "bash", "--norc", "--noprofile", "-i"])
            .env("ARBITER_STORE", server.url())
            .env("PS1", "ready> ")
            .stdin(Stdio::from(tty.try_clone().unwrap()))
            .stdout(Stdio::from(tty.try_clone().unwrap()))
            .stderr(Stdio::from(tty))
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut master, keyboard) = (master.try_clone().unwrap(), master);
        let shown = screen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(n @ 1..) = master.read(&mut bytes) {
                shown
                    .lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        });
        let lock = unique_name();
        let run = format!("{} run {lock} --", env!("CARGO_BIN_EXE_arbiter"));
        let mut shell = Self {
            shell,
            keyboard,
            screen,
            lock,
            run,
        };
        shell.reads("ready> ");
        shell
    }

    fn types(&mut self, keys: &str) {
        self.screen.lock().unwrap().clear();
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn reads(&mut self, text: &str) {
        let seen = || self.screen.lock().unwrap().contains(text);
        assert!(
            eventually(ms(5_000), seen),
            "no {text:?} on the screen: {:?}",
            self.screen.lock().unwrap()
        );
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The hangup ends everything that the shell has started.
        let _ = self
            .keyboard
            .write_all(b"\x03\nkill -9 $(jobs -p) 2>/dev/null; exit\n");
        if !eventually(ms(2_000), || matches!(self.shell.try_wait(), Ok(Some(_)))) {
            let _ = self.shell.kill();
            let _ = self.shell.wait();
        }
    }
}

#[test]
fn fg_after_ctrl_z_returns_terminal_to_command() {
    let server = Server::start();
    let mut shell = Shell::start(&server);
    let line = format!("{} sh -c 'echo up; read x; echo got-$x'\n", shell.run);
    shell.types(&line);
    shell.reads("up\r\n");
    shell.types("\x1a");
    shell.reads("Stopped");
    shell.types("fg\n");
    shell.reads("arbiter run");
    shell.types("hello\n");
    shell.reads("got-hello");
}

#[test]
fn ctrl_z_works_in_scripts_and_pipelines() {
    let server = Server::start();
    let mut shell = Shell::start(&server);
    let piped = shell.run.replace(" --", "-piped --");
    for line in [
        format!(
            "sh -c '{} sh -c \"echo up; exec sleep 60\"; echo after'\n",
            shell.run
        ),
        format!("{piped} sh -c 'echo up; exec sleep 60' | cat\n"),
    ] {
        shell.types(&line);
        shell.reads("up\r\n");
        shell.types("\x1a");
        shell.reads("Stopped");
    }
}

#[test]
fn background_exit_leaves_terminal_to_the_shell() {
    let server = Server::start();
    let mut shell = Shell::start(&server);
    let go = fresh_file();
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let line = format!("{} sh -c 'echo up; read x <{}'\n", shell.run, go.display());
    shell.types(&line);
    shell.reads("up\r\n");
    shell.types("\x1a");
    shell.reads("Stopped");
    shell.types("bg\n");
    std::fs::write(&go, "go\n").unwrap();
    assert!(eventually(ms(5_000), || !is_held(&server, &shell.lock)));
    std::fs::remove_file(go).unwrap();
    shell.types("echo still-$((40+2))\n");
    shell.reads("still-42");
    shell.types("echo and-$((40+3))\n");
    shell.reads("and-43");
}

#[test]
fn ctrl_c_ends_the_surrounding_script_too() {
    let server = Server::start();
    let mut shell = Shell::start(&server);
    let line = format!(
        "bash -c 'for i in 1 2; do {} sh -c \"echo up-$i; exec sleep 60\"; done'\n",
        shell.run
    );
    shell.types(&line);
    shell.reads("up-1\r\n");
    shell.types("\x03");
    shell.reads("ready> ");
    shell.types("echo status-$?\n");
    shell.reads("status-130");
}

#[test]
fn fg_after_expiry_does_not_resume_the_command() {
    let server = Server::start();
    let mut shell = Shell::start(&server);
    let run = shell.run.replace(" run ", " run --lease 1s ");
    let ticks = "$SIG{TERM} = q(IGNORE); $| = 1; while () { select undef, undef, undef, .05; print qq(tick\\n) }";
    shell.types(&format!("{run} perl -e '{ticks}'\n"));
    shell.reads("tick\r\n");
    shell.types("\x1a");
    shell.reads("Stopped");
    assert!(eventually(ms(3_000), || !is_held(&server, &shell.lock)));
    shell.types("fg; echo status-$?\n");
    shell.reads("status-79");
    assert!(!shell.screen.lock().unwrap().contains("tick\r\n"));
}

#[test]
fn messages_in_the_background_never_stop_arbiter() {
    let server = Server::start();
    let mut shell = Shell::start(&server);
    let done = fresh_file();
    let run = shell.run.replace(" run ", " run -v ");
    let line = format!(
        "stty tostop; {run} sh -c 'sleep 0.3; >{}' &\n",
        done.display()
    );
    shell.types(&line);
    wait_for(&done);
    assert!(eventually(ms(5_000), || !is_held(&server, &shell.lock)));
    shell.types("wait; echo over-$((40+2))\n");
    shell.reads("over-42");
    std::fs::remove_file(done).unwrap();
}
