//! Signals are forwarded, children are reaped, and the lock is released.

use std::process::Command;
use std::time::Instant;

use testkit::{Server, eventually, unique_name};

use crate::helpers::{
    arbiter, end, fresh_file, is_held, ms, output, runs, signal, start, status_of, unignoring,
    wait_for,
};

#[test]
fn term_int_and_hup_end_command_then_arbiter() {
    let server = Server::start();
    for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        let (lock, file) = (unique_name(), fresh_file());
        let script = format!(
            "trap 'echo {name} > {0}; exit 3' {name}; touch {0}.ready; while :; do sleep 0.05; done",
            file.display()
        );
        let mut run = unignoring(env!("CARGO_BIN_EXE_arbiter"));
        run.args(["run", &lock, "--", "sh", "-c", &script]);
        run.env("ARBITER_STORE", server.url());
        let run = start(run);
        wait_for(std::path::Path::new(&format!("{}.ready", file.display())));
        signal(&run, name);
        let (status, died_of, stderr) = end(run);
        assert_eq!((status, died_of), (None, Some(number)), "{stderr}");
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), name);
        assert!(!is_held(&server, &lock));
    }
}

#[test]
fn terminated_waiter_leaves_the_queue_at_once() {
    let (server, name) = (Server::start(), unique_name());
    let holder = start(arbiter(&server, &["run", &name, "--", "sleep", "60"]));
    assert!(eventually(ms(5_000), || is_held(&server, &name)));
    let waiter = start(arbiter(&server, &["run", &name, "--", "true"]));
    let waiting = |n: usize| {
        output(arbiter(&server, &["status", "--json", &name]))
            .1
            .contains(&format!("\"waiting\":{n}"))
    };
    assert!(eventually(ms(5_000), || waiting(1)));
    signal(&waiter, "TERM");
    assert_eq!(end(waiter).1, Some(15));
    assert!(waiting(0));
    signal(&holder, "KILL");
    end(holder);
}

#[test]
fn holder_continued_after_expiry_kills_without_grace() {
    let (server, name) = (Server::start(), unique_name());
    let pid_file = fresh_file();
    let script = format!(
        "trap '' TERM; echo $$ > {}; while :; do sleep 0.05; done",
        pid_file.display()
    );
    let run = [
        "run", "--lease", "2s", "--grace", "900ms", &name, "--", "sh", "-c", &script,
    ];
    let holder = start(arbiter(&server, &run));
    wait_for(&pid_file);
    assert!(eventually(ms(2_000), || is_held(&server, &name)));
    signal(&holder, "STOP");
    assert!(eventually(ms(4_000), || !is_held(&server, &name)));
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    assert!(runs(&pid));
    signal(&holder, "CONT");
    assert!(
        eventually(ms(400), || !runs(&pid)),
        "it was given its grace"
    );
    let (status, _, stderr) = end(holder);
    assert_eq!(status, Some(79), "{stderr}");
    std::fs::remove_file(pid_file).unwrap();
}

#[test]
fn grace_applies_to_the_whole_group() {
    let (server, name) = (Server::start(), unique_name());
    let (ready, file) = (fresh_file(), fresh_file());
    let script = format!(
        "(trap 'sleep 0.3; echo cleaned > {1}; exit 0' TERM; touch {0}; while :; do sleep 0.05; done) & \
         trap 'exit 1' TERM; wait",
        ready.display(),
        file.display()
    );
    let run = [
        "run",
        "--lease",
        "6s",
        "--max-hold",
        "700ms",
        &name,
        "--",
        "sh",
        "-c",
        &script,
    ];
    assert_eq!(status_of(&server, &run), 124);
    assert!(
        ready.exists() && file.exists(),
        "a member was killed in its grace"
    );
    std::fs::remove_file(ready).unwrap();
    std::fs::remove_file(file).unwrap();
}

#[test]
fn ignored_hangup_stays_ignored() {
    let (server, name) = (Server::start(), unique_name());
    let ready = fresh_file();
    let script = format!("touch {}; sleep 1; echo survived", ready.display());
    let mut command = Command::new("nohup");
    let run = arbiter(&server, &["run", &name, "--", "sh", "-c", &script]);
    command.arg(run.get_program()).args(run.get_args());
    command.env("ARBITER_STORE", server.url());
    let run = start(command);
    wait_for(&ready);
    signal(&run, "HUP");
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("survived")
    );
    std::fs::remove_file(ready).unwrap();
}

#[test]
fn silent_server_delays_the_exit_only_briefly() {
    let (server, name) = (Server::start(), unique_name());
    let (ready, go) = (fresh_file(), fresh_file());
    let script = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.02; done; exit 5",
        ready.display(),
        go.display()
    );
    let run = start(arbiter(&server, &["run", &name, "--", "sh", "-c", &script]));
    wait_for(&ready);
    server.stop();
    let begun = Instant::now();
    std::fs::write(&go, "").unwrap();
    let (status, _, stderr) = end(run);
    let took = begun.elapsed();
    server.cont();
    assert_eq!(status, Some(5), "{stderr}");
    assert!(
        took < ms(5_000) && stderr.contains("its lease frees it"),
        "{took:?}: {stderr}"
    );
    std::fs::remove_file(ready).unwrap();
    std::fs::remove_file(go).unwrap();
}

#[test]
fn pid_1_reaps_orphans_and_reports_signal_status() {
    let (server, name) = (Server::start(), unique_name());
    let first = |script: &str| {
        let run = arbiter(&server, &["run", &name, "--", "sh", "-c", script]);
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--pid", "--fork", "--mount-proc"]);
        command.arg(run.get_program()).args(run.get_args());
        command.env("ARBITER_STORE", server.url());
        output(command)
    };
    let (status, stdout, stderr) =
        first("(sleep 0.1 &); sleep 0.4; grep -l '^State:.Z' /proc/[0-9]*/status; exit 5");
    assert!(
        !stderr.contains("unshare:"),
        "this test needs namespaces of processes: {stderr}"
    );
    assert_eq!((status, stdout.as_str()), (5, ""), "{stderr}");
    let (status, _, stderr) = first("kill -TERM 1; sleep 5");
    assert_eq!(status, 143, "{stderr}");
    assert!(!is_held(&server, &name));
}
