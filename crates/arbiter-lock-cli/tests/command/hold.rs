//! Detached holds, and commands that adopt them.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use testkit::{Folder, Server, eventually, unique_name};

use crate::helpers::{
    arbiter, bare, end, fresh_file, ms, output, signal, start, status_of, wait_for,
};

/// A way to run arbiter on a store.
type On<'a> = &'a dyn Fn(&[&str]) -> Command;

/// Runs a test on a server and on a folder.
fn on_both(test: impl Fn(On<'_>)) {
    let server = Server::start();
    test(&|args| arbiter(&server, args));
    let folder = Folder::new();
    test(&|args| {
        let mut command = bare(args);
        command.env("ARBITER_STORE", folder.url());
        command
    });
}

fn status(on: On<'_>, name: &str) -> serde_json::Value {
    let (_, stdout, stderr) = output(on(&["status", "--json", name]));
    serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}{stderr}"))
}

#[test]
fn hold_lasts_without_a_process_until_broken() {
    on_both(|on| {
        let name = unique_name();
        let reason = [
            "hold",
            &name,
            "--for",
            "2h",
            "--reason",
            "disk\u{202e} swap",
        ];
        let (exit, stdout, stderr) = output(on(&reason));
        assert_eq!((exit, &*stdout), (0, ""), "{stderr}");
        assert!(
            stderr.starts_with(&format!("arbiter: holds '{name}' for 2 h")),
            "{stderr}"
        );
        let seen = status(on, &name);
        let holder = &seen["holder"];
        assert_eq!(
            (&holder["detached"], &holder["note"]),
            (&true.into(), &"disk\u{202e} swap".into())
        );
        let left = holder["remaining_ms"].as_u64().unwrap();
        assert!((7_100_000..=7_200_000).contains(&left), "{left}");
        let (_, text, _) = output(on(&["status", &name]));
        let says = "held by a detached hold of arbiter (pid ";
        assert!(
            text.contains(says) && text.contains(r"disk\u{202e} swap"),
            "{text}"
        );
        let (exit, _, skipped) = output(on(&["run", "-n", &name, "--", "true"]));
        assert!(
            exit == 75 && skipped.contains("a detached hold"),
            "{skipped}"
        );
        let (exit, _, again) = output(on(&["hold", &name, "--for", "1h"]));
        assert!(exit == 75 && again.contains("not held: "), "{again}");

        let waiter = start(on(&["run", &name, "--", "true"]));
        assert!(eventually(ms(5_000), || status(on, &name)["waiting"] == 1));
        let said = stderr.split_once("arbiter break ").unwrap().1;
        let said: Vec<&str> = said.split_whitespace().collect();
        let (exit, _, broken) = output(on(&[&["break"], &*said].concat()));
        assert!(
            exit == 0 && broken.contains("ended; it was detached"),
            "{broken}"
        );
        assert_eq!(end(waiter).0, Some(0));
    });
}

#[test]
fn hold_ends_after_its_time() {
    on_both(|on| {
        let name = unique_name();
        assert_eq!(
            output(on(&["hold", "-q", &name, "--for", "900ms"])),
            (0, String::new(), String::new())
        );
        assert_eq!(output(on(&["run", "-n", "-q", &name, "--", "true"])).0, 75);
        assert_eq!(
            output(on(&["run", "--wait", "5", &name, "--", "true"])).0,
            0
        );
    });
}

#[test]
fn token_file_hands_the_hold_over_once() {
    on_both(|on| {
        let (name, file) = (unique_name(), fresh_file());
        let path = file.display().to_string();
        let hold = ["hold", &name, "--for", "10m", "--token-file", &path];
        assert_eq!(output(on(&hold)).0, 0);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let before = status(on, &name)["holder"]["fence"].clone();

        let script = "echo $ARBITER_FENCE; arbiter_says=$(cat \"$0\"); test -n \"$arbiter_says\"";
        let run = [
            "run",
            "--token-file",
            &path,
            &name,
            "--",
            "sh",
            "-c",
            script,
            &path,
        ];
        let (exit, stdout, stderr) = output(on(&run));
        assert_eq!((exit, stdout.trim()), (0, &*before.to_string()), "{stderr}");
        assert_eq!(status(on, &name)["held"], false);
        let (exit, stdout, stderr) = output(on(&run));
        assert_eq!((exit, &*stdout), (75, ""), "{stderr}");
        assert!(
            stderr.contains("another process has adopted it, or it has ended"),
            "{stderr}"
        );
        std::fs::remove_file(file).unwrap();
    });
}

#[test]
fn killed_adopter_frees_after_its_own_lease() {
    on_both(|on| {
        let (name, up) = (unique_name(), fresh_file());
        let path = up.display().to_string();
        let hold = ["hold", "-q", &name, "--for", "1h", "--token-file", "-"];
        let (exit, token, stderr) = output(on(&hold));
        assert_eq!((exit, &*stderr), (0, ""));
        let file = fresh_file();
        std::fs::write(&file, token).unwrap();
        let token_file = file.display().to_string();
        let run = [
            "run",
            "--lease",
            "1s",
            "--token-file",
            &token_file,
            &name,
            "--",
        ];
        let command = ["sh", "-c", "touch \"$0\"; exec sleep 60", &path];
        let mut adopter = on(&[&run[..], &command].concat());
        adopter.process_group(0);
        let adopter = start(adopter);
        wait_for(&up);
        signal(&adopter, "KILL");
        assert_eq!(
            output(on(&["run", "--wait", "5", &name, "--", "true"])).0,
            0
        );
        let _ = end(adopter);
        for file in [up, file] {
            std::fs::remove_file(file).unwrap();
        }
    });
}

#[test]
fn interrupted_hold_leaves_nothing() {
    on_both(|on| {
        let (name, up) = (unique_name(), fresh_file());
        let path = up.display().to_string();
        let script = [
            "run",
            &name,
            "--",
            "sh",
            "-c",
            "touch \"$0\"; exec sleep 60",
            &path,
        ];
        let holder = start(on(&script));
        wait_for(&up);
        let waiter = start(on(&["hold", &name, "--for", "1h", "--wait", "60"]));
        assert!(eventually(ms(5_000), || status(on, &name)["waiting"] == 1));
        signal(&waiter, "TERM");
        assert_eq!(end(waiter).1, Some(15));
        assert!(eventually(ms(2_000), || status(on, &name)["waiting"] == 0));
        signal(&holder, "TERM");
        let _ = end(holder);
        std::fs::remove_file(up).unwrap();
    });
}

#[test]
fn wrong_tokens_and_times_say_what_to_do() {
    let server = Server::start();
    let (name, file) = (unique_name(), fresh_file());
    let path = file.display().to_string();
    let run = |name: &str| {
        output(arbiter(
            &server,
            &["run", "--token-file", &path, name, "--", "true"],
        ))
    };
    let (exit, _, stderr) = run(&name);
    assert!(
        exit == 65 && stderr.contains("the token file /"),
        "{stderr}"
    );
    std::fs::write(&file, "redis://user:secret@host").unwrap();
    let (exit, _, stderr) = run(&name);
    assert!(exit == 65 && !stderr.contains("secret"), "{stderr}");
    let hold = ["hold", "-q", &name, "--for", "1m", "--token-file", &path];
    assert_eq!(status_of(&server, &hold), 0);
    let (exit, _, stderr) = run("other");
    assert!(
        exit == 64 && stderr.contains(&format!("that of the lock '{name}'")),
        "{stderr}"
    );
    assert_eq!(run(&name).0, 0, "it is still good");
    for time in ["10ms", "366d", "soon"] {
        assert_eq!(
            status_of(&server, &["hold", &name, "--for", time]),
            64,
            "{time}"
        );
    }
    let folder = file
        .with_extension("absent")
        .join("token")
        .display()
        .to_string();
    let hold = ["hold", &name, "--for", "1m", "--token-file", &folder];
    assert_eq!(status_of(&server, &hold), 65);
    assert_eq!(
        status_of(&server, &["status", "--check", &name]),
        0,
        "nothing is held"
    );
    std::fs::remove_file(file).unwrap();
}

#[test]
fn held_permits_follow_the_limit_in_force() {
    on_both(|on| {
        let name = unique_name();
        let hold = |flags: &[&str]| {
            let flags = [&["hold", "-q", &name, "--for", "1m"], flags].concat();
            output(on(&flags)).0
        };
        assert_eq!(hold(&["--permits", "2", "--of", "3"]), 0);
        assert_eq!(hold(&["--permits", "1", "--of", "5"]), 65);
        let following = ["--permits", "1", "--of", "5", "--follow-limit"];
        assert_eq!(hold(&following), 0);
        assert_eq!(hold(&following), 75, "all three are held");
        let sharing = &status(on, &name)["sharing"];
        assert_eq!(
            (&sharing["permits"], &sharing["holders"][0]["detached"]),
            (&3.into(), &true.into())
        );
    });
}
