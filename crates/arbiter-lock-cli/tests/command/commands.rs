//! Exit statuses, messages, `status`, `break`, passwords and TLS.

use testkit::{Server, eventually, unique_name};

use crate::helpers::{
    arbiter, bare, end, fresh_file, is_held, ms, output, signal, start, status_of, wait_for,
};

#[test]
fn memory_store_is_refused() {
    for url in ["memory:", " memory:", "memory:of all"] {
        let (status, stdout, stderr) = output(bare(&["--store", url, "run", "n", "--", "true"]));
        assert_eq!((status, stdout.as_str()), (64, ""), "{url:?}");
        assert!(
            stderr.contains("excludes no other process"),
            "{url:?}: {stderr}"
        );
    }
}

#[test]
fn missing_dashes_print_the_corrected_line() {
    let (status, _, stderr) = output(bare(&["run", "-n", "job", "sh", "-c", "echo hi"]));
    assert_eq!(status, 64);
    assert!(
        stderr.contains("arbiter run -n job -- sh -c 'echo hi'"),
        "{stderr}"
    );
}

#[test]
fn wrong_command_line_exits_64_and_help_0() {
    let wrong: [&[&str]; 8] = [
        &[],
        &["bogus"],
        &["run"],
        &["run", "n", "--"],
        &["run", "--wait", "5 parsecs", "n", "--", "true"],
        &[
            "run",
            "--lease",
            "10ms",
            "--store",
            "redis://127.0.0.1:1",
            "n",
            "--",
            "true",
        ],
        &[
            "run",
            "--lease",
            "2s",
            "--grace",
            "2s",
            "--store",
            "redis://127.0.0.1:1",
            "n",
            "--",
            "true",
        ],
        &["status", "--store", "http://x", "n"],
    ];
    for args in wrong {
        let (status, stdout, stderr) = output(bare(args));
        assert!(stdout.is_empty() && !stderr.is_empty(), "{args:?}");
        let connects_first = args.contains(&"10ms");
        assert!(
            status == 64 || connects_first,
            "{args:?}: {status} {stderr}"
        );
    }
    let (status, stdout, _) = output(bare(&["run", "--help"]));
    assert!(status == 0 && stdout.contains("--conflict-exit-code"));
    assert_eq!(output(bare(&["--version"])).0, 0);
}

#[test]
fn out_of_range_lease_or_name_exits_64() {
    let server = Server::start();
    let (status, _, stderr) = output(arbiter(
        &server,
        &["run", "--lease", "10ms", "--grace", "0", "n", "--", "true"],
    ));
    assert!(status == 64 && stderr.contains("100 ms"), "{stderr}");
    let (status, _, stderr) = output(arbiter(&server, &["run", &"x".repeat(513), "--", "true"]));
    assert!(status == 64 && stderr.contains("512"), "{stderr}");
    assert_eq!(status_of(&server, &["run", "a", "a", "--", "true"]), 0);
}

#[test]
fn rejected_password_gives_hint_and_is_not_printed() {
    let server = Server::start();
    server.call(&["CONFIG", "SET", "requirepass", "hunter2"]);
    let url = server.url().replace("redis://", "redis://:wrong-secret@");
    let (status, _, stderr) = output(bare(&["--store", &url, "status", "n"]));
    assert_eq!(status, 77, "{stderr}");
    assert!(
        stderr.contains("hint") && !stderr.contains("wrong-secret"),
        "{stderr}"
    );
    let file = fresh_file();
    std::fs::write(
        &file,
        server.url().replace("redis://", "redis://:hunter2@") + "\n",
    )
    .unwrap();
    let (status, stdout, stderr) = output(bare(&[
        "--store-file",
        file.to_str().unwrap(),
        "status",
        "n",
    ]));
    assert_eq!(
        (status, stdout.as_str(), stderr.as_str()),
        (0, "n: free\n", "")
    );
    std::fs::remove_file(file).unwrap();
}

#[test]
fn unreachable_store_exits_69_and_external_data_65() {
    let mut server = Server::start();
    server.call(&["SET", "arbiter:n", "somebody's"]);
    assert_eq!(status_of(&server, &["run", "n", "--", "true"]), 65);
    assert_eq!(status_of(&server, &["status", "n"]), 65);
    assert_eq!(
        server.call(&["GET", "arbiter:n"]).text().as_deref(),
        Some("somebody's")
    );
    let url = server.url();
    server.kill();
    let (status, _, stderr) = output(bare(&["--store", &url, "run", "n", "--", "true"]));
    assert!(
        status == 69 && stderr.contains("cannot be reached"),
        "{stderr}"
    );
}

#[test]
fn status_shows_holder_and_waiters_in_both_formats() {
    let (server, name) = (Server::start(), unique_name());
    let (status, stdout, _) = output(arbiter(&server, &["status", "--json", &name]));
    assert_eq!(status, 0);
    assert!(
        stdout.contains("\"held\":false") && stdout.contains("\"holder\":null"),
        "{stdout}"
    );
    assert_eq!(
        output(arbiter(&server, &["status", "--check", &name])),
        (0, String::new(), String::new())
    );
    let holder = start(arbiter(
        &server,
        &["run", "--label", "the nightly", &name, "--", "sleep", "60"],
    ));
    assert!(eventually(ms(5_000), || is_held(&server, &name)));
    let waiter = start(arbiter(&server, &["run", &name, "--", "true"]));
    assert!(eventually(ms(5_000), || output(arbiter(
        &server,
        &["status", "--json", &name]
    ))
    .1
    .contains("\"waiting\":1")));
    assert_eq!(
        output(arbiter(&server, &["status", "--check", &name])),
        (75, String::new(), String::new())
    );
    let (_, text, _) = output(arbiter(&server, &["status", &name]));
    let pid = holder.id().to_string();
    assert!(
        text.contains("the nightly") && text.contains(&pid) && text.contains("waiting: 1"),
        "{text}"
    );
    let (_, json, _) = output(arbiter(&server, &["status", "--json", &name]));
    for field in [
        "\"owner\":\"",
        "\"fence\":",
        "\"held_ms\":",
        "\"remaining_ms\":",
        "\"note\":\"the nightly\"",
        "\"place\":1",
    ] {
        assert!(json.contains(field), "{field}: {json}");
    }
    signal(&holder, "TERM");
    assert_eq!(end(waiter).0, Some(0));
    end(holder);
}

#[test]
fn skip_names_the_holder_unless_quiet() {
    let (server, name) = (Server::start(), unique_name());
    let holder = start(arbiter(&server, &["run", &name, "--", "sleep", "60"]));
    assert!(eventually(ms(5_000), || is_held(&server, &name)));
    let (status, stdout, stderr) =
        output(arbiter(&server, &["run", "-n", &name, "--", "echo", "no"]));
    assert_eq!(
        (status, stdout.as_str(), stderr.lines().count()),
        (75, "", 1)
    );
    assert!(
        stderr.contains(&holder.id().to_string()) && stderr.contains("arbiter status"),
        "{stderr}"
    );
    let quiet = output(arbiter(
        &server,
        &["run", "-n", "-q", "-E", "0", &name, "--", "echo", "no"],
    ));
    assert_eq!(quiet, (0, String::new(), String::new()));
    let (status, _, stderr) = output(arbiter(&server, &["run", "-w", "3s", &name, "--", "true"]));
    assert!(
        status == 75 && stderr.contains("waiting, place 1"),
        "{stderr}"
    );
    signal(&holder, "TERM");
    end(holder);
}

#[test]
fn break_frees_after_the_holder_has_stopped() {
    let (server, name) = (Server::start(), unique_name());
    let (ready, file) = (fresh_file(), fresh_file());
    let script = format!(
        "trap 'echo stopped > {}; exit 0' TERM; touch {}; while :; do sleep 0.1; done",
        file.display(),
        ready.display()
    );
    let holder = start(arbiter(
        &server,
        &["run", "--lease", "3s", &name, "--", "sh", "-c", &script],
    ));
    wait_for(&ready); // The lock is held before the shell has set its trap.
    let fence = server
        .call(&["HGET", &format!("arbiter:{name}"), "fence"])
        .text()
        .unwrap();
    assert_eq!(status_of(&server, &["break", "--fence", "5", &name]), 75);
    assert!(is_held(&server, &name));
    assert_eq!(status_of(&server, &["break", "--fence", &fence, &name]), 0);
    wait_for(&file);
    assert!(!is_held(&server, &name));
    assert_eq!(end(holder).0, Some(79));
    std::fs::remove_file(ready).unwrap();
    std::fs::remove_file(file).unwrap();
}

#[test]
fn break_now_frees_at_once_and_kills_holder() {
    let (server, name) = (Server::start(), unique_name());
    let holder = start(arbiter(
        &server,
        &["run", "--lease", "1500ms", &name, "--", "sleep", "60"],
    ));
    assert!(eventually(ms(5_000), || is_held(&server, &name)));
    let fence = server
        .call(&["HGET", &format!("arbiter:{name}"), "fence"])
        .text()
        .unwrap();
    assert_eq!(
        status_of(&server, &["break", "--now", "--fence", &fence, &name]),
        0
    );
    assert!(!is_held(&server, &name));
    let (status, _, stderr) = end(holder);
    assert_eq!(status, Some(79), "{stderr}");
}

#[test]
fn tls_connects_only_to_a_trusted_server() {
    let server = Server::builder().tls().start();
    let trusting = |certificate: &std::path::Path| {
        let mut command = bare(&["--store", &server.tls_url(), "run", "n", "--", "echo", "hi"]);
        command
            .env("SSL_CERT_FILE", certificate)
            .env_remove("SSL_CERT_DIR");
        output(command)
    };
    let (status, stdout, stderr) = trusting(&server.certificate());
    assert_eq!((status, stdout.as_str(), stderr.as_str()), (0, "hi\n", ""));
    let other = Server::builder().tls().start();
    let (status, stdout, stderr) = trusting(&other.certificate());
    assert_eq!((status, stdout.as_str()), (69, ""));
    assert!(stderr.contains("TLS"), "{stderr}");
    let (status, _, stderr) = trusting(std::path::Path::new("/dev/null"));
    assert!(status == 64 && stderr.contains("/dev/null"), "{stderr}");
}

#[test]
fn url_in_place_of_a_path_stays_hidden() {
    for variable in ["ARBITER_STORE_FILE", "ARBITER_CACERT"] {
        let mut command = bare(&["run", "-n", "x", "--", "true"]);
        command.env_remove("ARBITER_STORE");
        if variable == "ARBITER_CACERT" {
            command.env("ARBITER_STORE", "rediss://localhost:1");
        }
        command.env(variable, "redis://u:SECRET@h");
        let (status, _, said) = output(command);
        assert_eq!(status, 64, "{said}");
        assert!(said.contains("a URL is in the place"), "{said}");
        assert!(!said.contains("SECRET"), "{said}");
    }
}

#[test]
fn external_holder_without_end_is_broken() {
    let (server, name) = (Server::start(), unique_name());
    let key = format!("arbiter:{name}");
    server.call(&["HSET", &key, "owner", "o"]);
    let run = |args: &[&str]| output(arbiter(&server, &[args, &[&*name]].concat()));
    let (status, _, said) = run(&["break", "--fence", "7"]);
    assert_eq!(status, 75, "{said}");
    assert!(said.contains("--external ends its hold"), "{said}");
    assert_eq!(run(&["break", "--external", "--fence", "7"]).0, 64);
    assert_eq!(run(&["break"]).0, 64);
    assert_eq!(run(&["break", "--external"]).0, 0);
    assert_eq!(run(&["status", "--check"]).0, 0);
    let (status, _, said) = run(&["break", "--external"]);
    assert_eq!(status, 75, "{said}");
    assert!(said.contains("it is free"), "{said}");
    server.call(&["HSET", &key, "owner", "o", "fence", "7"]);
    let (status, _, said) = run(&["break", "--external"]);
    assert_eq!(status, 75, "{said}");
    assert!(said.contains("the holder's is 7"), "{said}");
}
