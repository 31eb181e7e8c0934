//! The parts of a service manager that reach the command: real-time signals, sockets, `/proc`, a
//! loader.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use testkit::{Folder, Server, eventually, unique_name};

use crate::helpers::{arbiter, bare, end, fresh_file, is_held, line_of, ms, output, signal, start};

#[test]
fn real_time_signals_are_forwarded() {
    let (server, name, file) = (Server::start(), unique_name(), fresh_file());
    let script = format!(
        "trap 'echo first >{0}' RTMIN; trap 'echo last >{0}' RTMAX; echo up >{0}; \
         while :; do sleep 0.05; done",
        file.display()
    );
    let run = start(arbiter(
        &server,
        &["run", &name, "--", "bash", "-c", &script],
    ));
    let reads = |line: &str| {
        let read = || std::fs::read_to_string(&file).unwrap_or_default();
        assert!(eventually(ms(5_000), || read().trim() == line), "{line}");
    };
    reads("up");
    for (number, line) in [("34", "first"), ("64", "last")] {
        signal(&run, number);
        reads(line);
    }
    assert!(is_held(&server, &name));
    signal(&run, "TERM");
    assert_eq!(end(run).1, Some(15));
    std::fs::remove_file(file).unwrap();
}

#[test]
fn death_of_a_real_time_signal_is_reported() {
    let (server, name) = (Server::start(), unique_name());
    let run = ["run", &name, "--", "sh", "-c", "kill -34 $$"];
    let (status, _, stderr) = output(arbiter(&server, &run));
    assert_eq!((status, stderr.as_str()), (128 + 34, ""));
    assert!(!is_held(&server, &name));
}

#[test]
fn stop_and_continue_reach_the_command() {
    let (server, name, file) = (Server::start(), unique_name(), fresh_file());
    let script = format!("echo $$ >{}; exec sleep 300", file.display());
    let run = arbiter(
        &server,
        &["run", "--lease", "1s", &name, "--", "sh", "-c", &script],
    );
    // Without a terminal.
    let mut alone = Command::new("setsid");
    alone
        .arg("--wait")
        .arg(run.get_program())
        .args(run.get_args());
    alone.env("ARBITER_STORE", server.url());
    let session = start(alone);
    let command = line_of(&file);
    let parent = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", command.trim())).unwrap();
        stat.rsplit(") ")
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .to_owned()
    };
    let state = |is_stopped: bool| {
        let status = format!("/proc/{}/status", command.trim());
        let stopped = || {
            std::fs::read_to_string(&status)
                .unwrap()
                .contains("T (stopped)")
        };
        assert!(
            eventually(ms(3_000), || stopped() == is_stopped),
            "{is_stopped}"
        );
    };
    let arbiter = parent();
    let send = |name: &str| {
        let sent = Command::new("kill").args(["-s", name, &arbiter]).status();
        assert!(sent.unwrap().success());
    };
    send("TSTP");
    state(true);
    std::thread::sleep(ms(1_500));
    assert!(is_held(&server, &name), "a stopped command loses its lock");
    send("CONT");
    state(false);
    send("TERM");
    end(session);
    assert!(eventually(ms(3_000), || !is_held(&server, &name)));
    std::fs::remove_file(file).unwrap();
}

#[test]
fn command_gets_sockets_and_watchdog_under_its_pid() {
    let (server, name) = (Server::start(), unique_name());
    let inner = "[ $LISTEN_PID = $$ ] && [ $WATCHDOG_PID = $$ ] && [ -z \"$LISTEN_PIDFDID\" ] \
                 && echo $NOTIFY_SOCKET $LISTEN_FDS && cat <&3";
    let run = arbiter(&server, &["run", &name, "--", "sh", "-c", inner]);
    let service = "export LISTEN_PID=$$ WATCHDOG_PID=$$ LISTEN_PIDFDID=1 LISTEN_FDS=1 \
                   NOTIFY_SOCKET=/n; exec 3<<EOF; exec \"$0\" \"$@\"\npassed\nEOF\n";
    let mut shell = Command::new("bash");
    shell
        .args(["-c", service])
        .arg(run.get_program())
        .args(run.get_args());
    shell.env("ARBITER_STORE", server.url());
    let (status, stdout, stderr) = output(shell);
    assert_eq!((status, stdout.as_str()), (0, "/n 1\npassed\n"), "{stderr}");
    // A variable meant for another process stays.
    let mut run = arbiter(
        &server,
        &["run", &name, "--", "sh", "-c", "echo $LISTEN_PID"],
    );
    run.env("LISTEN_PID", "1");
    assert_eq!(output(run).1, "1\n");
}

/// Runs a line of shell without `/proc`. `$ARBITER` is arbiter.
fn without_proc(store: &str, line: &str) -> (i32, String, String) {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "bash", "-c"]);
    command.arg(format!("mount -t tmpfs none /proc; {line}"));
    command.env("ARBITER", bare(&[]).get_program());
    command.env("ARBITER_STORE", store);
    output(command)
}

#[test]
fn missing_proc_needs_only_the_program() {
    let (server, name) = (Server::start(), unique_name());
    let run = |line: &str| without_proc(&server.url(), &line.replace("NAME", &name));
    for line in [
        "\"$ARBITER\" run NAME -- sh -c 'echo RAN; exit 3'",
        "PATH=$(dirname \"$ARBITER\"):$PATH; arbiter run NAME -- sh -c 'echo RAN; exit 3'",
    ] {
        let (status, stdout, stderr) = run(line);
        assert_eq!((status, stdout.as_str()), (3, "RAN\n"), "{stderr}");
    }
    server.call(&["CONFIG", "RESETSTAT"]);
    for name in ["nowhere", "cat"] {
        let line = format!("exec -a {name} \"$ARBITER\" run NAME -- echo RAN");
        let (status, stdout, stderr) = run(&line);
        assert_eq!((status, stdout.as_str()), (71, ""), "{stderr}");
        assert!(stderr.contains("mount /proc"), "{stderr}");
    }
    let stats = server.call(&["INFO", "commandstats"]);
    assert!(!format!("{stats:?}").contains("evalsha"), "it acquired");
}

#[test]
fn missing_boot_id_is_named() {
    let folder = Folder::new();
    let (status, _, stderr) = without_proc(&folder.url(), "\"$ARBITER\" run x -- true");
    assert_eq!(status, 69, "{stderr}");
    assert!(
        stderr.contains("/proc/sys/kernel/random/boot_id") && stderr.contains("mount /proc"),
        "{stderr}"
    );
}

#[test]
fn program_of_a_loader_starts_its_command() {
    let server = Server::start();
    let loader = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    let Some(loader) = loader
        .iter()
        .find(|path| std::path::Path::new(path).exists())
    else {
        return; // another libc
    };
    for options in [&[][..], &["--inhibit-cache"]] {
        let name = unique_name();
        let run = arbiter(&server, &["run", &name, "--", "sh", "-c", "exit 4"]);
        let mut loaded = Command::new(loader);
        loaded
            .args(options)
            .arg(run.get_program())
            .args(run.get_args());
        loaded.env("ARBITER_STORE", server.url()).arg0("ld.so");
        let (status, _, stderr) = output(loaded);
        assert_eq!((status, stderr.as_str()), (4, ""));
    }
}
