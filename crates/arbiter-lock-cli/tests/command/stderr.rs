//! A full stderr that is not read: the pipe of a pager, or of a log collector that hangs.

use std::process::{Child, Command, Stdio};

use testkit::{Server, eventually, unique_name};

use crate::helpers::{
    arbiter, eventually_held, fresh_file, is_held, line_of, ms, runs, signal, wait_for,
};

/// Starts a command whose stderr is full.
fn unread(command: &Command) -> Child {
    let ready = fresh_file();
    let fill = r#"(head -c 100000 /dev/zero; touch "$0") >&2 &
        sleep 0.5; [ ! -e "$0" ] || exit 99; exec "$@""#;
    let mut shell = Command::new("sh");
    shell
        .args(["-c", fill])
        .arg(ready)
        .arg(command.get_program());
    shell.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn unread_stderr_delays_no_renewal_and_no_loss() {
    let (server, name) = (Server::start(), unique_name());
    let pid_file = fresh_file();
    let script = format!("echo $$ > {}; exec sleep 300", pid_file.display());
    let run = [
        "run", "-v", "--lease", "1500ms", &name, "--", "sh", "-c", &script,
    ];
    let mut holder = unread(&arbiter(&server, &run));
    let pid = line_of(&pid_file);
    std::thread::sleep(ms(4_000));
    assert!(runs(&pid), "the lock was lost");
    assert!(is_held(&server, &name));
    server.call(&["DEL", &format!("arbiter:{name}")]);
    assert!(
        eventually(ms(10_000), || !runs(&pid)),
        "it outlives the lock"
    );
    let ended = || holder.try_wait().unwrap().is_some();
    assert!(eventually(ms(10_000), ended), "it waits for its reader");
    assert_eq!(holder.wait().unwrap().code(), Some(79));
}

#[test]
fn unread_stderr_stops_no_waiter() {
    let (server, name) = (Server::start(), unique_name());
    let key = format!("arbiter:{name}");
    let mut holder = arbiter(&server, &["run", &name, "--", "sleep", "300"]);
    let mut holder = holder.stderr(Stdio::null()).spawn().unwrap();
    assert!(eventually_held(&server, &key));
    let granted = fresh_file();
    let touch = granted.to_str().unwrap();
    let mut waiter = unread(&arbiter(&server, &["run", &name, "--", "touch", touch]));
    // It has reported which holder it waits for.
    std::thread::sleep(ms(3_000));
    signal(&holder, "TERM");
    holder.wait().unwrap();
    wait_for(&granted);
    let ended = || waiter.try_wait().unwrap().is_some();
    assert!(eventually(ms(10_000), ended), "it waits for its reader");
    assert_eq!(waiter.wait().unwrap().code(), Some(0));
}
