//! Messages: one voice, the part that is wrong, the effect of `-q`.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

use testkit::{Folder, Server, eventually, unique_name};

use crate::helpers::{arbiter, bare, end, eventually_held, ms, output, signal, start};

#[test]
fn every_line_on_stderr_begins_alike() {
    let lines = [
        "",
        "x",
        "bogus y",
        "run",
        "run x",
        "run x true",
        "x -- true",
        "run -e x -- true",
        "run --wiat 5s x -- true",
        "run -w -5 x -- true",
        "run -w 1parsec x -- true",
        "run --wait 5 min x -- true",
        "run --lease 1ms x -- true",
        "run -nw 5 x -- true",
        "run --shared --permits 1 --of 2 x -- true",
        "run --permits 1 x -- true",
        "run --shared a b -- true",
        "run -E 300 x -- true",
        "run --replicas x x -- true",
        "run --grace 20s x -- true",
        "run x -- /no/such/command",
        "run x -- /etc/passwd",
        "once x -- true",
        "once --every daily x -- true",
        "once --daily -- true",
        "once --every 0 x -- true",
        "once --daily Nowhere/Land x -- true",
        "once --every 1h --daily UTC x -- true",
        "status",
        "status --check --json x",
        "list --sort size",
        "list a b",
        "break x",
        "break --fence x x",
        "resize x",
        "exporter --listen nowhere",
        "doctor --lease 1ms",
        "completions tcsh",
        "man bogus",
        "store",
        "store init --role x",
        "--store http://h status x",
        "--store /tmp status x",
        "--store redis://:a#b@h status x",
        "--store memory: status x",
        "--store x status x",
        "--store-file /no/such status x",
        "--store-file / status x",
        "--store-file /dev/null status x",
        "--store file:///proc/x status x",
        "--store redis://127.0.0.1:1 run -n x -- true",
        "--log-format xml status x",
    ];
    for line in lines {
        let args: Vec<&str> = line.split_whitespace().collect();
        let mut command = bare(&args);
        command.env(
            "ARBITER_STORE",
            if line.starts_with("--store-file") {
                ""
            } else {
                "memory:"
            },
        );
        let (status, _, stderr) = output(command);
        assert!(status != 0 && !stderr.is_empty(), "{line}: {status}");
        let other = stderr.lines().find(|line| !line.starts_with("arbiter: "));
        assert_eq!(other, None, "{line}: {stderr}");
    }
}

#[test]
fn wrong_command_line_is_an_object_in_json() {
    let args = [
        "--log-format",
        "json",
        "run",
        "--wiat",
        "5s",
        "x",
        "--",
        "true",
    ];
    let (status, _, stderr) = output(bare(&args));
    assert_eq!((status, stderr.lines().count()), (64, 1), "{stderr}");
    let line: serde_json::Value = serde_json::from_str(stderr.trim()).unwrap();
    assert!(line["message"].as_str().unwrap().contains("'--wiat'"));
}

#[test]
fn quiet_silences_skips_and_waits_alone() {
    let (server, name) = (Server::start(), unique_name());
    let holder = start(arbiter(&server, &["run", &name, "--", "sleep", "60"]));
    assert!(eventually_held(&server, &format!("arbiter:{name}")));
    for (flags, prints) in [(&[][..], true), (&["-q"], false), (&["-v"], true)] {
        for wait in ["0", "1300ms"] {
            let args = [&["run", "-w", wait], flags, &[&name, "--", "true"]].concat();
            let (status, _, stderr) = output(arbiter(&server, &args));
            assert_eq!(
                (status, !stderr.is_empty()),
                (75, prints),
                "{args:?}: {stderr}"
            );
        }
        let once = [&["once", "--every", "1h"], flags, &[&name, "--", "true"]].concat();
        let (status, _, stderr) = output(arbiter(&server, &once));
        assert_eq!(
            (status, !stderr.is_empty()),
            (0, prints),
            "{once:?}: {stderr}"
        );
    }
    assert_eq!(output(bare(&["run", "-qv", "x", "--", "true"])).0, 64);
    signal(&holder, "TERM");
    end(holder);
    // Warnings, errors and losses remain.
    let run = [
        &["run", "-q", "--lease", "1s"][..],
        &[&name, "--", "sleep", "60"],
    ]
    .concat();
    let run = start(arbiter(&server, &run));
    assert!(eventually_held(&server, &format!("arbiter:{name}")));
    server.call(&["DEL", &format!("arbiter:{name}")]);
    let (status, _, stderr) = end(run);
    assert!(status == Some(79) && stderr.contains("lost"), "{stderr}");
    let refused = [
        "--store",
        "redis://127.0.0.1:1",
        "run",
        "-qn",
        "x",
        "--",
        "true",
    ];
    let (status, _, stderr) = output(bare(&refused));
    assert!(status == 69 && stderr.contains("refused"), "{stderr}");
}

/// Returns the port of a server that answers each request with that text.
fn answering(text: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                while stream.read(&mut [0; 4_096]).is_ok_and(|n| 0 < n) {
                    let _ = stream.write_all(text.as_bytes());
                }
            });
        }
    });
    port
}

#[test]
fn server_of_another_protocol_is_named() {
    let page = "<!DOCTYPE HTML>\n<p>400";
    let http = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let old = "-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n";
    let none = "-NOPROTO unsupported protocol version\r\n";
    for (answer, named) in [
        (http, "it speaks HTTP"),
        (page, "it speaks HTTP"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "it speaks SSH"),
        (old, "does not know HELLO 3"),
        (none, "does not know HELLO 3"),
    ] {
        let port = answering(answer);
        for url in [
            format!("redis://127.0.0.1:{port}"),
            format!("redis+cluster://127.0.0.1:{port}"),
            format!("redis+sentinel://127.0.0.1:{port}/m"),
        ] {
            let args = ["--store", &url, "run", "-w", "2", "x", "--", "true"];
            let (status, _, stderr) = output(bare(&args));
            assert_eq!(status, 69, "{url}: {stderr}");
            assert!(stderr.contains(named), "{url}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{url}: {stderr}");
        }
    }
}

#[test]
fn lack_of_descriptors_is_a_system_error() {
    let (server, folder) = (Server::start(), Folder::new());
    for store in [server.url(), folder.url()] {
        for limit in [5, 7, 12, 16, 24, 30, 33, 36] {
            let run = bare(&["run", "x", "--", "true"]);
            let mut limited = Command::new("sh");
            limited.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")]);
            limited.arg(run.get_program()).args(run.get_args());
            limited.env("ARBITER_STORE", &store);
            let (status, _, stderr) = output(limited);
            let is_named = stderr.contains("Too many open files");
            assert!(
                (status == 71 && is_named) || (34 < limit && status == 0),
                "{limit}: {status} {stderr}"
            );
        }
    }
}

#[test]
fn unescaped_password_is_named_and_hidden() {
    for (part, written) in [("#", "%23"), ("?", "%3F"), ("/", "%2F"), ("%ff", "%25")] {
        for url in [
            "redis://:p4ssX@127.0.0.1:1",
            "redis://u:12X3@127.0.0.1:1/0",
            "redis+sentinel://u:p4ssX@127.0.0.1:1,127.0.0.1:2/m",
            "redis+cluster://:p4ssX@127.0.0.1:1",
            "postgres://u:p4ssX@127.0.0.1:1/d",
        ] {
            let url = url.replace('X', &format!("{part}w0rd"));
            for debug in ["", "1"] {
                let mut run = bare(&["run", "-v", "x", "--", "true"]);
                run.env("ARBITER_STORE", &url).env("RUST_BACKTRACE", debug);
                let (status, stdout, stderr) = output(run);
                assert_eq!(status, 64, "{url}: {stderr}");
                assert!(
                    stderr.contains(&format!("is written {written}")),
                    "{url}: {stderr}"
                );
                let all = stdout + &stderr;
                assert!(
                    !all.contains("p4ss") && !all.contains("w0rd"),
                    "{url}: {all}"
                );
            }
        }
    }
    // This one needs no escape.
    let server = Server::start();
    server.call(&["CONFIG", "SET", "requirepass", "p[w]:d"]);
    let url = server.url().replace("://", "://:p[w]:d@");
    let mut run = bare(&["run", "x", "--", "true"]);
    run.env("ARBITER_STORE", url);
    assert_eq!(output(run), (0, String::new(), String::new()));
}

#[test]
fn url_files_that_cannot_be_used_are_named() {
    let folder = Folder::new();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("empty"), "\n").unwrap();
    std::os::unix::fs::symlink("nowhere", path("dangling")).unwrap();
    for (file, status, named) in [
        ("absent", 69, "No such file"),
        ("dangling", 69, "No such file"),
        ("empty", 64, "is empty"),
        (".", 64, "Is a directory"),
        ("empty/x", 64, "Not a directory"),
    ] {
        for by_flag in [true, false] {
            let mut command = match by_flag {
                true => bare(&["--store-file", &path(file), "status", "x"]),
                false => bare(&["status", "x"]),
            };
            if !by_flag {
                command
                    .env("ARBITER_STORE_FILE", path(file))
                    .env("ARBITER_STORE", "");
            }
            let (found, _, stderr) = output(command);
            assert_eq!(found, status, "{file}: {stderr}");
            assert!(
                stderr.contains(named) && stderr.contains(file),
                "{file}: {stderr}"
            );
        }
    }
    // Root may read everything.
    std::fs::write(path("private"), "redis://:s3cret@h").unwrap();
    let close = Command::new("chmod")
        .args(["600", &path("private")])
        .status();
    assert!(close.unwrap().success());
    let program = bare(&[]);
    let reachable = Folder::new();
    let copy = reachable.path().join("arbiter");
    std::fs::copy(program.get_program(), &copy).unwrap();
    for folder in [&folder, &reachable] {
        let open = Command::new("chmod").arg("755").arg(folder.path()).status();
        assert!(open.unwrap().success());
    }
    let mut other = Command::new("setpriv");
    other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    other
        .arg(&copy)
        .args(["--store-file", &path("private"), "status", "x"]);
    let (status, _, stderr) = output(other);
    if stderr.contains("setpriv:") {
        return; // only root can become another user
    }
    assert!(
        status == 77 && stderr.contains("Permission denied"),
        "{stderr}"
    );
}

#[test]
fn provisional_ttl_is_not_shown_as_a_lease() {
    let (server, name) = (Server::start(), unique_name());
    let run = |seconds: &str| start(arbiter(&server, &["run", &name, "--", "sleep", seconds]));
    let first = run("0.5");
    assert!(eventually_held(&server, &format!("arbiter:{name}")));
    let second = run("2");
    let status = || output(arbiter(&server, &["status", "--json", &name])).1;
    assert!(eventually(ms(5_000), || status().contains("\"waiting\":1")));
    let (_, _, stderr) = output(arbiter(&server, &["run", "-v", &name, "--", "true"]));
    assert!(stderr.contains("is held by"), "{stderr}");
    let is_true = |line: &str| {
        !line.contains("left") || line.contains("30 s left") || line.contains("29 s left")
    };
    assert!(stderr.lines().all(is_true), "{stderr}");
    end(first);
    end(second);
}

#[test]
fn time_left_is_rounded_up() {
    let (server, name) = (Server::start(), unique_name());
    let once = ["once", "--at-least", "2h", &name, "--", "true"];
    assert_eq!(output(arbiter(&server, &once)).0, 0);
    let (_, _, stderr) = output(arbiter(&server, &once));
    assert!(stderr.contains("may run again in 2 h"), "{stderr}");
    let holder = start(arbiter(&server, &["run", &name, "--", "sleep", "60"]));
    assert!(eventually_held(&server, &format!("arbiter:{name}")));
    let (_, _, stderr) = output(arbiter(&server, &["run", "-n", &name, "--", "true"]));
    assert!(stderr.contains("30 s left of its lease"), "{stderr}");
    signal(&holder, "TERM");
    end(holder);
}

#[test]
fn database_beyond_the_servers_is_named() {
    let server = Server::start();
    for number in ["16", "99", "99999999999999"] {
        for url in [
            format!("{}/{number}", server.url()),
            format!("{}?db={number}", server.url()),
        ] {
            let (status, _, stderr) = output(bare(&["--store", &url, "run", "x", "--", "true"]));
            assert_eq!(status, 64, "{url}: {stderr}");
            let says = format!("it has no database {number}: name one below");
            assert!(stderr.contains(&says), "{url}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{url}: {stderr}");
        }
    }
}

#[test]
fn file_as_a_folder_is_a_usage_error() {
    let folder = Folder::new();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let url = format!("file://{}", file.display());
    let (status, _, stderr) = output(bare(&["--store", &url, "run", "x", "--", "true"]));
    assert_eq!(status, 64, "{stderr}");
    assert!(stderr.contains("needs another URL"), "{stderr}");
    assert!(stderr.contains("is not a folder"), "{stderr}");
}
