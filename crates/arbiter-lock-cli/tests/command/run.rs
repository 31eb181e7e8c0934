//! A command under a lock: its exit status, its environment, and mutual exclusion.

use testkit::{Server, eventually, unique_name};

use crate::helpers::{
    arbiter, bare, end, fresh_file, is_held, line_of, ms, output, runs, start, status_of,
};

#[test]
fn exit_status_is_the_commands_own() {
    let (server, name) = (Server::start(), unique_name());
    let run =
        |command: &[&str]| status_of(&server, &[&["run", name.as_str(), "--"], command].concat());
    assert_eq!(run(&["true"]), 0);
    assert_eq!(run(&["sh", "-c", "exit 7"]), 7);
    // Arbiter dies of the same signal.
    for (number, name) in [(9, "KILL"), (15, "TERM"), (11, "SEGV"), (10, "USR1")] {
        let script = format!("kill -{name} $$");
        let run = start(arbiter(&server, &["run", "n", "--", "sh", "-c", &script]));
        let (status, died_of, stderr) = end(run);
        assert_eq!((status, died_of), (None, Some(number)), "{name}: {stderr}");
    }
    assert!(!is_held(&server, &name));
}

#[test]
fn nested_arbiter_uses_the_same_store() {
    let (server, other, name) = (Server::start(), Server::start(), unique_name());
    let program = env!("CARGO_BIN_EXE_arbiter");
    let script = format!(
        "{program} status --check \"$ARBITER_NAME\"; {program} run -n \"$ARBITER_NAME\" -- true; exit $?"
    );
    let folder = testkit::Folder::new();
    std::fs::write(folder.path().join("url"), server.url()).unwrap();
    let nested = |args: &[&str]| {
        let mut run = bare(args);
        run.args(["run", &name, "--", "sh", "-c", &format!("cd /; {script}")]);
        // A flag wins over variables, also further inside.
        run.env("ARBITER_STORE", other.url());
        run.env("ARBITER_STORE_FILE", "/nowhere");
        run.env("ARBITER_KEY_PREFIX", "unused:");
        run.current_dir(folder.path());
        output(run)
    };
    for args in [
        &["--store", &server.url(), "--key-prefix", "app:"][..],
        &["--store-file", "url", "--key-prefix", "app:"],
    ] {
        let (status, _, stderr) = nested(args);
        assert_eq!(status, 75, "{args:?}: {stderr}");
    }
    // The URL of a file stays in the file.
    let mut run = bare(&["--store-file", "url", "run", &name, "--", "env"]);
    run.current_dir(folder.path())
        .env("ARBITER_STORE", other.url());
    let (_, variables, _) = output(run);
    let url = folder.path().join("url");
    let file = format!("ARBITER_STORE_FILE={}", url.display());
    assert!(variables.lines().any(|line| line == file), "{variables}");
    assert!(!variables.contains("ARBITER_STORE="), "{variables}");
}

#[test]
fn missing_command_is_reported_before_connecting() {
    let unreachable = "redis://127.0.0.1:1";
    let run = |command: &str| output(bare(&["--store", unreachable, "run", "n", "--", command])).0;
    assert_eq!(run("no-such-command"), 127);
    assert_eq!(run("./no/such/file"), 127);
    assert_eq!(run("/etc/passwd"), 126);
    assert_eq!(run("/"), 126);
    assert_eq!(run(""), 127);
}

#[test]
fn command_environment_has_name_owner_and_fence() {
    let (server, name) = (Server::start(), unique_name());
    let script = "echo $ARBITER_NAME $ARBITER_OWNER $ARBITER_FENCE";
    let (status, stdout, stderr) =
        output(arbiter(&server, &["run", &name, "--", "sh", "-c", script]));
    let words: Vec<_> = stdout.split_whitespace().collect();
    assert_eq!(
        (status, words.len(), words[0], stderr.as_str()),
        (0, 3, name.as_str(), "")
    );
    assert_eq!(words[1].len(), 32);
    assert!(0 < words[2].parse::<u64>().unwrap());
}

#[test]
fn ten_processes_lose_no_update_and_fences_rise() {
    let (server, name) = (Server::start(), unique_name());
    let (number, fences) = (fresh_file(), fresh_file());
    std::fs::write(&number, "0").unwrap();
    let script = format!(
        "n=$(cat {0}); echo $((n+1)) > {0}; echo $ARBITER_FENCE >> {1}",
        number.display(),
        fences.display()
    );
    std::thread::scope(|threads| {
        for _ in 0..10 {
            threads.spawn(|| {
                for _ in 0..10 {
                    assert_eq!(
                        status_of(&server, &["run", "-q", &name, "--", "sh", "-c", &script]),
                        0
                    );
                }
            });
        }
    });
    assert_eq!(std::fs::read_to_string(&number).unwrap().trim(), "100");
    let fences: Vec<u64> = std::fs::read_to_string(&fences)
        .unwrap()
        .lines()
        .map(|l| l.parse().unwrap())
        .collect();
    assert!(
        fences.len() == 100 && fences.windows(2).all(|pair| pair[0] < pair[1]),
        "{fences:?}"
    );
}

#[test]
fn killed_arbiter_ends_its_group_before_next_starts() {
    let (server, name) = (Server::start(), unique_name());
    let pids = fresh_file();
    let script = format!("sleep 300 & echo $! $$ > {}; wait", pids.display());
    let mut holder = start(arbiter(
        &server,
        &["run", "--lease", "1500ms", &name, "--", "sh", "-c", &script],
    ));
    let pids = line_of(&pids);
    let pids: Vec<_> = pids.split_whitespace().collect();
    holder.kill().unwrap();
    holder.wait().unwrap();
    let check = format!(
        "for p in {}; do grep -q '^State:.[^Z]' /proc/$p/status 2>/dev/null && exit 9; done; exit 0",
        pids.join(" ")
    );
    assert_eq!(
        status_of(
            &server,
            &["run", "-w", "3s", &name, "--", "sh", "-c", &check]
        ),
        0
    );
    assert!(pids.iter().all(|pid| !runs(pid)));
}

#[test]
fn command_ignoring_term_dies_before_its_lease_ends() {
    let (server, name) = (Server::start(), unique_name());
    let pid_file = fresh_file();
    let script = format!(
        "trap '' TERM; echo $$ > {}; while :; do sleep 0.05; done",
        pid_file.display()
    );
    let run = [
        // The margin, a fiftieth of the lease, is 160 ms: a busy machine may be late by that.
        "run", "--lease", "8s", "--grace", "400ms", &name, "--", "sh", "-c", &script,
    ];
    let holder = start(arbiter(&server, &run));
    let pid = line_of(&pid_file);
    server.stop();
    assert!(
        eventually(ms(8_000), || !runs(&pid)),
        "it outlives its lease"
    );
    let (status, _, stderr) = end(holder);
    assert_eq!(status, Some(79), "{stderr}");
    server.cont();
}

#[test]
fn externally_taken_hold_kills_command_and_exits_79() {
    let (server, name) = (Server::start(), unique_name());
    let run = [
        "run",
        "--lease",
        "1s",
        &name,
        "--",
        "sh",
        "-c",
        "trap '' TERM; sleep 60; exit 0",
    ];
    let holder = start(arbiter(&server, &run));
    assert!(eventually(ms(5_000), || is_held(&server, &name)));
    server.call(&["HSET", &format!("arbiter:{name}"), "owner", "somebody"]);
    let (status, _, stderr) = end(holder);
    assert_eq!(status, Some(79), "{stderr}");
    assert!(stderr.contains("an external client took it"), "{stderr}");
}

#[test]
fn max_hold_ends_the_command_with_124() {
    let (server, name) = (Server::start(), unique_name());
    let begun = std::time::Instant::now();
    assert_eq!(
        status_of(
            &server,
            &["run", "--max-hold", "500ms", &name, "--", "sleep", "60"]
        ),
        124
    );
    assert!(begun.elapsed() < ms(5_000));
    assert!(!is_held(&server, &name));
}

#[test]
fn lock_is_renewed_while_the_command_runs() {
    let (server, name) = (Server::start(), unique_name());
    let (status, _, stderr) = output(arbiter(
        &server,
        &["run", "--lease", "1500ms", &name, "--", "sleep", "4"],
    ));
    assert_eq!((status, stderr.as_str()), (0, ""));
}

#[test]
fn missing_interpreter_is_named_before_connecting() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = testkit::Folder::new();
    let script = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    let by_missing = script("by_missing", "#! /no/such/interpreter -x\n");
    for (script, status, named) in [
        (by_missing.clone(), 127, "'/no/such/interpreter' (the first"),
        (
            script("by_script", &format!("#!{by_missing}\n")),
            127,
            "'/no/such/interpreter' (the first",
        ),
        (
            script("by_text", "#!/etc/passwd\n"),
            126,
            "'/etc/passwd' (the first line, after #!) cannot be executed",
        ),
        (
            script("of_windows", "#!/bin/sh\r\necho\r\n"),
            127,
            "line ends of Windows",
        ),
    ] {
        let unreachable = "redis://127.0.0.1:1";
        let run = bare(&["--store", unreachable, "run", "n", "--", &script]);
        let (found, _, stderr) = output(run);
        assert_eq!(found, status, "{script}: {stderr}");
        assert!(stderr.contains(named), "{script}: {stderr}");
    }
    let server = Server::start();
    for text in [
        "#!/bin/sh\nexit 7\n",
        "#!/usr/bin/env sh\nexit 7\n",
        "exit 7\n",
    ] {
        let script = script("fine", text);
        assert_eq!(status_of(&server, &["run", "n", "--", &script]), 7);
    }
}
