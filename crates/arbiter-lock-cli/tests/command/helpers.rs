//! Starts `arbiter` and inspects its output and status.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use testkit::{Server, eventually, unique_name};

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn arbiter(server: &Server, args: &[&str]) -> Command {
    let mut command = bare(args);
    command.env("ARBITER_STORE", server.url());
    command
}

/// Builds a command without a store.
pub(crate) fn bare(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_arbiter"));
    command.args(args).stdin(Stdio::null());
    for name in [
        "ARBITER_STORE",
        "ARBITER_STORE_FILE",
        "ARBITER_KEY_PREFIX",
        "ARBITER_ADDRESS_MAP",
        "ARBITER_CACERT",
        "ARBITER_CERT",
        "ARBITER_KEY",
        "ARBITER_SNI",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ] {
        command.env_remove(name);
    }
    command
}

/// Builds a command that receives its signals. The test runner may ignore some of them, as a script
/// does for its background commands.
pub(crate) fn unignoring(program: &str) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=INT,HUP,QUIT", program]);
    command
}

pub(crate) fn output(mut command: Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

pub(crate) fn status_of(server: &Server, args: &[&str]) -> i32 {
    output(arbiter(server, args)).0
}

/// Starts a command in the background and keeps its output.
pub(crate) fn start(mut command: Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

pub(crate) fn end(child: Child) -> (Option<i32>, Option<i32>, String) {
    use std::os::unix::process::ExitStatusExt as _;
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), output.status.signal(), stderr)
}

pub(crate) fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap()
            .success()
    );
}

/// Returns the path of a file that does not exist yet.
pub(crate) fn fresh_file() -> PathBuf {
    std::env::temp_dir().join(unique_name())
}

pub(crate) fn wait_for(path: &std::path::Path) {
    assert!(
        eventually(ms(5_000), || path.exists()),
        "{} never appears",
        path.display()
    );
}

pub(crate) fn is_held(server: &Server, name: &str) -> bool {
    server.call(&["EXISTS", &format!("arbiter:{name}")]).int() == Some(1)
}

/// Waits for a whole line in a file, and returns it.
pub(crate) fn line_of(path: &std::path::Path) -> String {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        eventually(ms(5_000), || read().ends_with('\n')),
        "no line in {}",
        path.display()
    );
    read()
}

/// Returns whether a key, given with its prefix, is held within five seconds.
pub(crate) fn eventually_held(server: &Server, key: &str) -> bool {
    eventually(ms(5_000), || server.call(&["EXISTS", key]).int() == Some(1))
}

/// Returns whether a process still runs. A zombie does not.
pub(crate) fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}
