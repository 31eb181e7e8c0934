//! Signals are forwarded, children are reaped, and the lock is released.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant;

use testkit::{Server, eventually, unique_name};

use crate::helpers::{
    arbiter, end, fresh_file, is_held, ms, output, runs, signal, start, status_of, wait_for,
};

/// Returns a command that writes the signals it receives into a file, until one ends it.
fn recording(file: &Path, ending: &[(&str, u8)]) -> String {
    let traps: String = ["HUP", "USR1", "USR2", "ALRM", "WINCH", "VTALRM", "PROF"]
        .iter()
        .map(|name| format!("trap 'echo {name} >> {}' {name}; ", file.display()))
        .collect();
    let ending: String = ending
        .iter()
        .map(|(name, status)| format!("trap 'exit {status}' {name}; "))
        .collect();
    format!(
        "{traps}{ending}echo ready >> {}; while :; do sleep 0.05; done",
        file.display()
    )
}

fn has_line(file: &Path, line: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|found| found == line)
}

/// Builds a command that runs as process 1 of a namespace, or not.
fn perhaps_first(server: &Server, is_first: bool, args: &[&str]) -> Command {
    let run = arbiter(server, args);
    let mut command = if is_first {
        let mut unshare = Command::new("unshare");
        unshare.args([
            "--map-root-user",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]);
        // A background process of a script ignores INT and QUIT.
        unshare.args(["env", "--default-signal"]);
        unshare.arg(run.get_program());
        unshare
    } else {
        let mut env = Command::new("env");
        env.arg("--default-signal").arg(run.get_program());
        env
    };
    command.args(run.get_args());
    command.env("ARBITER_STORE", server.url());
    command
}

/// Sends a signal to arbiter, which may be process 1 of a namespace: the child of its starter.
fn signal_arbiter(child: &Child, is_first: bool, name: &str) {
    if !is_first {
        return signal(child, name);
    }
    let pid = child.id();
    let children = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(children).unwrap();
    let sent = Command::new("kill")
        .args(["-s", name, children.trim()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn signals_are_forwarded_and_the_service_continues() {
    let server = Server::start();
    for is_first in [false, true] {
        let (lock, file) = (unique_name(), fresh_file());
        let script = recording(&file, &[("TERM", 0)]);
        let args = ["run", &lock, "--", "sh", "-c", &script];
        let run = start(perhaps_first(&server, is_first, &args));
        assert!(eventually(ms(5_000), || has_line(&file, "ready")));
        for name in ["HUP", "USR1", "USR2", "ALRM", "WINCH", "VTALRM", "PROF"] {
            signal_arbiter(&run, is_first, name);
            assert!(eventually(ms(3_000), || has_line(&file, name)), "{name}");
        }
        assert!(is_held(&server, &lock));
        // It ends well, so arbiter does.
        signal_arbiter(&run, is_first, "TERM");
        let (status, died_of, stderr) = end(run);
        assert_eq!((status, died_of), (Some(0), None), "{stderr}");
        assert!(!is_held(&server, &lock));
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn command_decides_how_a_signal_ends_it() {
    let server = Server::start();
    for is_first in [false, true] {
        for (name, number) in [("TERM", 15), ("INT", 2), ("QUIT", 3)] {
            for trapped in [true, false] {
                let (lock, file) = (unique_name(), fresh_file());
                let ending = if trapped { &[(name, 7)][..] } else { &[] };
                let script = recording(&file, ending);
                let args = ["run", &lock, "--", "sh", "-c", &script];
                let run = start(perhaps_first(&server, is_first, &args));
                assert!(eventually(ms(5_000), || has_line(&file, "ready")));
                signal_arbiter(&run, is_first, name);
                let (status, died_of, stderr) = end(run);
                let expected = match (trapped, is_first) {
                    (true, _) => (Some(7), None),
                    (false, false) => (None, Some(number)),
                    (false, true) => (Some(128 + number), None),
                };
                assert_eq!((status, died_of), expected, "{name} {is_first}: {stderr}");
                assert!(!is_held(&server, &lock), "{name}");
                std::fs::remove_file(file).unwrap();
            }
        }
    }
}

#[test]
fn waiter_ends_on_ending_signals_alone() {
    let (server, lock) = (Server::start(), unique_name());
    let holder = start(arbiter(&server, &["run", &lock, "--", "sleep", "60"]));
    assert!(eventually(ms(5_000), || is_held(&server, &lock)));
    for is_first in [false, true] {
        for (name, number) in [("QUIT", 3), ("HUP", 1), ("INT", 2), ("TERM", 15)] {
            let args = ["run", &lock, "--", "true"];
            let waiter = start(perhaps_first(&server, is_first, &args));
            let waits = || {
                let status = output(arbiter(&server, &["status", "--json", &lock])).1;
                status.contains("\"waiting\":1")
            };
            assert!(eventually(ms(5_000), waits));
            for other in ["USR1", "USR2", "ALRM", "WINCH"] {
                signal_arbiter(&waiter, is_first, other);
            }
            assert!(waits());
            signal_arbiter(&waiter, is_first, name);
            let (status, died_of, stderr) = end(waiter);
            let expected = match is_first {
                true => (Some(128 + number), None),
                false => (None, Some(number)),
            };
            assert_eq!((status, died_of), expected, "{name}: {stderr}");
        }
    }
    signal(&holder, "KILL");
    end(holder);
}

#[test]
fn job_signaled_with_arbiter_is_interrupted() {
    let server = Server::start();
    for _ in 0..24 {
        let (job, file) = (unique_name(), fresh_file());
        // It ends by itself as soon as it is asked to, before arbiter forwards anything.
        let script = "trap 'exit 0' TERM; echo $$ > \"$0\"; sleep 2 >&- 2>&- & wait";
        let file_name = file.display().to_string();
        let once = [
            "once", "--every", "1h", &job, "--", "sh", "-c", script, &file_name,
        ];
        let run = start(arbiter(&server, &once));
        assert!(eventually(ms(5_000), || std::fs::read_to_string(&file)
            .is_ok_and(|pid| pid.ends_with('\n'))));
        let pid = std::fs::read_to_string(&file).unwrap();
        let both = format!("kill -TERM {} {}", pid.trim(), run.id());
        let killed = Command::new("sh").args(["-c", &both]).status();
        assert!(killed.unwrap().success());
        assert_eq!(end(run).0, Some(0));
        let shown = output(arbiter(&server, &["status", &job])).1;
        assert!(shown.contains("interrupted by"), "{shown}");
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn interrupted_job_is_repeated_whatever_its_status() {
    let server = Server::start();
    for (name, is_interrupted) in [
        ("TERM", true),
        ("INT", true),
        ("QUIT", true),
        ("HUP", false),
    ] {
        let (job, file) = (unique_name(), fresh_file());
        let traps = [("TERM", 0), ("INT", 0), ("QUIT", 0)];
        let mut script = recording(&file, &traps);
        if name == "HUP" {
            script = script.replace(&format!("echo HUP >> {}", file.display()), "exit 0");
        }
        let once = ["once", "--every", "1h", "--repeat-failed", &job, "--"];
        let args = [&once[..], &["sh", "-c", &script]].concat();
        let run = start(perhaps_first(&server, false, &args));
        assert!(eventually(ms(5_000), || has_line(&file, "ready")));
        signal(&run, name);
        assert_eq!(end(run).0, Some(0), "{name}");
        let shown = output(arbiter(&server, &["status", &job])).1;
        assert_eq!(shown.contains("interrupted by"), is_interrupted, "{shown}");
        let again = [&once[..], &["sh", "-c", "exit 3"]].concat();
        let expected = if is_interrupted { 3 } else { 0 };
        assert_eq!(output(arbiter(&server, &again)).0, expected, "{name}");
        std::fs::remove_file(file).unwrap();
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
