//! Mistyped command lines, and the messages about them.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

use testkit::{Folder, Server, eventually, unique_name};

use crate::helpers::{arbiter, bare, end, eventually_held, ms, output, signal, start};

#[test]
fn no_message_shows_a_password() {
    let url = "redis://:s3cret@127.0.0.1:1";
    let lines: [&[&str]; 8] = [
        &["run", "--store", url, "n", "true"],
        &["run", "--lease=redis://:s3cret@h", "n", "--", "true"],
        &["run", "-wredis://:s3cret@h", "n", "--", "true"],
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
fn no_store_url_shows_its_secret() {
    let urls = [
        "redis://u:s3cret%40@127.0.0.1:1/0",
        "redis://u:12/s3cret@127.0.0.1:1",
        "redis://u:12?s3cret@127.0.0.1:1",
        "redis://u:12#s3cret@127.0.0.1:1",
        "redis://u:s3cret",
        "redis://u:s3cret@",
        "redis:u:s3cret@127.0.0.1:1",
        "u:s3cret@127.0.0.1:1",
        ":s3cret@127.0.0.1:1",
        "\"redis://:s3cret@127.0.0.1:1\"",
        "http://u:s3cret@127.0.0.1:1",
        "redis://127.0.0.1:1/0?s3cret",
        "redis://127.0.0.1:1/0?password=s3cret",
        "redis+unix:///nowhere?pass=a&pass=s3cret",
        "redis+unix:///nowhere?db=x&pass=s3cret",
        "redis+unix:///nowhere&pass=s3cret",
        "redis+sentinel://127.0.0.1:1/m?sentinel_password=s3cret",
        "redis+sentinel://u:s3cret@127.0.0.1:1/m?sentinel_password=s3cret",
        "redis+sentinel://u:p@127.0.0.1:1/m?sentinel_password=a&sentinel_password=s3cret",
        "redis+sentinel://127.0.0.1:1/m?sentinel_password=a@s3cret",
        "redis+sentinel://127.0.0.1:1/m?sentinel_password=a&s3cret",
        "redis+sentinel://127.0.0.1:1/m?sentinel%5Fpassword=s3cret",
        "redis+sentinel://127.0.0.1:1?sentinel_password=s3cret",
        "redis+sentinel://u:s3cret@127.0.0.1:1,u:s3cret@127.0.0.1:2/m",
        "redis+sentinel://u:12/s3cret@127.0.0.1:1/m",
        "redis+cluster://:s3cret@127.0.0.1:1,127.0.0.1:2",
        "redis+cluster://u:s3cret@127.0.0.1:1/1",
        "redis+cluster://u:12/s3cret@127.0.0.1:1",
        "redis+cluster://u:p@127.0.0.1:1,u:s3cret@127.0.0.1:2",
        "redis+cluster://127.0.0.1:1?password=s3cret",
        "file://u:s3cret@h/x",
        "memory:?password=s3cret",
    ];
    let silent = |what: &str, command| {
        let (status, stdout, stderr) = output(command);
        assert!(
            [64, 69, 71, 77].contains(&status),
            "{what}: {status} {stderr}"
        );
        assert!(
            !stderr.is_empty() && !(stdout + &stderr).contains("s3cret"),
            "{what}: {stderr}"
        );
    };
    for url in urls {
        for line in [
            &["--store", url, "status", "n"][..],
            &[&format!("--store={url}"), "run", "-w0", "n", "--", "true"],
            &["run", "--store", url, "n", "true"],
            &["run", "--store", url, "--wiat", "n", "--", "true"],
            &["--store", url, "--store", url, "status", "n"],
        ] {
            silent(&format!("{line:?}"), bare(line));
        }
        let mut command = bare(&["list"]);
        command.env("ARBITER_STORE", url);
        silent(url, command);
    }
}

#[test]
fn suggested_command_has_no_secret() {
    let (server, name) = (Server::start(), unique_name());
    let holder = start(arbiter(&server, &["run", &name, "--", "sleep", "60"]));
    assert!(eventually_held(&server, &format!("arbiter:{name}")));
    let host = server.url();
    server.call(&["CONFIG", "SET", "requirepass", "s3cret"]);
    let url = host.replace("://", "://:s3cret@");
    let line = ["--store", &url, "run", "-n", &name, "--", "true"];
    let (status, stdout, stderr) = output(bare(&line));
    assert!(
        status == 75 && stderr.contains("arbiter status"),
        "{stderr}"
    );
    assert!(!(stdout + &stderr).contains("s3cret"), "{stderr}");
    signal(&holder, "TERM");
    end(holder);
}

#[test]
fn missing_dashes_do_not_trigger_help() {
    let (status, stdout, stderr) = output(bare(&["run", "job", "df", "-h"]));
    assert_eq!((status, stdout.as_str()), (64, ""));
    assert!(stderr.contains("arbiter run job -- df -h"), "{stderr}");
}

#[test]
fn tips_name_what_is_wrong() {
    let lines: [(&str, &str, &str); 12] = [
        ("rnu x -- true", "the commands are run, once", "run rnu"),
        ("runx x -- true", "exists: 'run'", "run runx"),
        ("foo x -- true", "the commands are run, once", "run foo"),
        ("redis://h run x -- true", "--store URL", "run redis"),
        ("rnu x -- show", "the commands are run", "to list"),
        ("once x -- true", "needs a rule", "arbiter run"),
        (
            "run --permits 3 x -- true",
            "--of need each other",
            "after --",
        ),
        ("run --permits 3 x y -- true", "need each other", "after --"),
        ("run x y --lease z -- true", "units of time", "after --"),
        ("once --every 1h x", "arbiter once --every", "arbiter run"),
        ("once --every 1h --wait -3 x -- true", "0 or more", "-n"),
        ("run -E -1 x -- true", "-1", "duration is"),
    ];
    for (line, said, unsaid) in lines {
        let args: Vec<&str> = line.split(' ').collect();
        let (status, _, stderr) = output(bare(&args));
        assert_eq!(status, 64, "{line}: {stderr}");
        assert!(
            stderr.contains(said) && !stderr.contains(unsaid),
            "{line}: {stderr}"
        );
    }
    let mut command = bare(&["run", "x"]);
    command.arg(OsStr::from_bytes(b"\xff")).args(["--", "true"]);
    let (status, _, stderr) = output(command);
    assert!(
        status == 64 && stderr.contains("are UTF-8") && !stderr.contains("after --, like"),
        "{stderr}"
    );
}

#[test]
fn wrong_store_is_named_without_its_text() {
    let lines = [
        ("ARBITER_STORE=redis://:s3cret@h", "is an assignment"),
        ("<redis://u:s3cret@h>", "before its scheme"),
        (
            "redis+unix:///s?password=s3cret",
            "?user=NAME&pass=PASSWORD",
        ),
        (
            "redis+unix:///s?username=s3cret",
            "?user=NAME&pass=PASSWORD",
        ),
        ("s3cret", "has no scheme"),
    ];
    let folder = Folder::new();
    for (url, said) in lines {
        let file = folder.path().join("url");
        std::fs::write(&file, url).unwrap();
        for flags in [
            ["--store", url],
            ["--store-file", &file.display().to_string()],
        ] {
            let (status, _, stderr) = output(bare(&[&flags[..], &["status", "x"]].concat()));
            assert!(status == 64 && stderr.contains(said), "{url}: {stderr}");
            assert!(!stderr.contains("s3cret"), "{url}: {stderr}");
        }
    }
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
    for line in [&["status", "n"][..], &["--help"], &["run", "-h"]] {
        let mut command = arbiter(&server, line);
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
}

#[test]
fn nested_run_reports_self_deadlock() {
    let (server, name) = (Server::start(), unique_name());
    let own = env!("CARGO_BIN_EXE_arbiter");
    let other = unique_name();
    for names in [&[&*name][..], &[&name, &other]] {
        let outer = [&["run"], names, &["--", own]].concat();
        let inner = [&["run", "-n"], names, &["--", "true"]].concat();
        let (status, _, stderr) = output(arbiter(&server, &[outer, inner].concat()));
        assert_eq!(status, 75, "{stderr}");
        assert!(stderr.contains("it would wait for itself"), "{stderr}");
    }
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
