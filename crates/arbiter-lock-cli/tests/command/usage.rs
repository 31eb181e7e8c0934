//! Mistyped command lines, and the messages about them.

use std::io::Read as _;
use std::process::Stdio;

use testkit::{Server, eventually, unique_name};

use crate::helpers::{arbiter, bare, end, eventually_held, ms, output, signal, start};

#[test]
fn no_message_shows_a_password() {
    let url = "redis://:s3cret@127.0.0.1:1";
    let lines: [&[&str]; 6] = [
        &["run", "--store", url, "n", "true"],
        &["status", "--wait", url, "n"],
        &["run", "--lease", url, "n", "--", "true"],
        &["--store", url, "status", "n"],
        &["--store=redis://u:s3cret@127.0.0.1:1/x", "status", "n"],
        &[
            "--store",
            "redis+unix:///nowhere?pass=s3cret",
            "status",
            "n",
        ],
    ];
    for line in lines {
        let (status, stdout, stderr) = output(bare(line));
        assert!([64, 69].contains(&status), "{line:?}: {status}");
        assert!(
            !stderr.is_empty() && !(stdout + &stderr).contains("s3cret"),
            "{line:?}: {stderr}"
        );
    }
}

#[test]
fn missing_dashes_do_not_trigger_help() {
    let (status, stdout, stderr) = output(bare(&["run", "job", "df", "-h"]));
    assert_eq!((status, stdout.as_str()), (64, ""));
    assert!(stderr.contains("arbiter run job -- df -h"), "{stderr}");
}

#[test]
fn out_of_range_values_fail_before_connecting() {
    let unreachable = "redis://127.0.0.1:1";
    let long = "x".repeat(513);
    let lines: [(&[&str], &str); 6] = [
        (
            &["run", "--lease", "99ms", "n", "--", "true"],
            "100 ms to 365 days",
        ),
        (
            &["run", "--lease", "366d", "n", "--", "true"],
            "100 ms to 365 days",
        ),
        (
            &["run", "--max-hold", "0", "n", "--", "true"],
            "more than 0",
        ),
        (
            &["run", "--lease", "2s", "--grace", "1s", "n", "--", "true"],
            "--grace 959ms",
        ),
        (&["run", "", "--", "true"], "from 1 to 512 bytes"),
        (&["status", &long], "from 1 to 512 bytes"),
    ];
    for (line, said) in lines {
        let mut command = bare(line);
        command.env("ARBITER_STORE", unreachable);
        let (status, _, stderr) = output(command);
        assert!(
            status == 64 && stderr.contains(said),
            "{line:?}: {status} {stderr}"
        );
    }
}

#[test]
fn two_store_flags_exit_64() {
    let (status, ..) = output(bare(&[
        "--store",
        "redis://h",
        "--store-file",
        "f",
        "status",
        "n",
    ]));
    assert_eq!(status, 64);
}

#[test]
fn suggested_command_repeats_the_store_flags() {
    let (server, name) = (Server::start(), unique_name());
    let url = server.url();
    let flags = ["--store", &url, "--key-prefix", "other:"];
    let line = |args: &[&str]| bare(&[&flags, args].concat());
    let holder = start(line(&["run", &name, "--", "sleep", "60"]));
    assert!(eventually_held(&server, &format!("other:{name}")));
    let (status, _, stderr) = output(line(&["run", "-n", &name, "--", "true"]));
    let next = format!("arbiter status --store {url} --key-prefix other: {name}");
    assert!(status == 75 && stderr.contains(&next), "{stderr}");
    signal(&holder, "TERM");
    end(holder);
}

#[test]
fn unwritable_stdout_is_reported() {
    let server = Server::start();
    let mut command = arbiter(&server, &["status", "n"]);
    command.stdout(
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap(),
    );
    command.stderr(std::process::Stdio::piped());
    let (status, _, stderr) = end(command.spawn().unwrap());
    assert!(status == Some(71) && stderr.contains("stdout"), "{stderr}");
}

#[test]
fn nested_run_reports_self_deadlock() {
    let (server, name) = (Server::start(), unique_name());
    let own = env!("CARGO_BIN_EXE_arbiter");
    let nested = ["run", &name, "--", own, "run", "-n", &name, "--", "true"];
    let (status, _, stderr) = output(arbiter(&server, &nested));
    assert_eq!(status, 75, "{stderr}");
    assert!(stderr.contains("it would wait for itself"), "{stderr}");
}

#[test]
fn watch_ends_when_its_reader_closes() {
    let (server, name) = (Server::start(), unique_name());
    let mut watch = arbiter(&server, &["status", "--watch", &name]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1];
    watch.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert!(eventually(ms(5_000), || watch
        .try_wait()
        .unwrap()
        .is_some()));
}

#[test]
fn external_text_cannot_control_the_terminal() {
    let server = Server::start();
    let name = "job\n\x1b[31marbiter: forged";
    let key = format!("arbiter:{name}");
    let label = "ho\x1bst 7 pro\x1bgram no\x1bte";
    server.call(&["HSET", &key, "owner", "x", "fence", "7", "label", label]);
    let (status, _, stderr) = output(arbiter(&server, &["run", "-n", name, "--", "true"]));
    assert_eq!(status, 75, "{stderr}");
    assert!(
        stderr.lines().count() == 1 && !stderr.contains('\x1b'),
        "{stderr:?}"
    );
}
