//! Names, labels and values that would change the output of a terminal.

use arbiter_lock::Printable;
use serde_json::Value;
use testkit::{Server, eventually};

use crate::exporter::Exporter;
use crate::helpers::{arbiter, bare, end, is_held, ms, output, signal, start};

/// Text with characters that move the cursor or change the direction of text.
const HOSTILE: &str = "n\u{202e}\u{2066}\u{200f}\u{2028}\u{2029}\u{1b}[2J\u{7f}\u{9b}\rx";

#[track_caller]
fn assert_printable(text: &str) {
    for line in text.lines() {
        assert_eq!(Printable(line).to_string(), line, "{text:?}");
    }
}

#[test]
fn text_of_other_clients_is_escaped_everywhere() {
    let server = Server::start();
    let job = ["once", "--every", "1h", HOSTILE, "--", "false"];
    output(arbiter(&server, &job));
    let holder = [
        "run",
        "--announce",
        HOSTILE,
        "--label",
        HOSTILE,
        HOSTILE,
        "--",
        "sleep",
        "60",
    ];
    let holder = start(arbiter(&server, &holder));
    assert!(eventually(ms(5_000), || is_held(&server, HOSTILE)));
    let waiter = start(arbiter(
        &server,
        &["run", "-v", "--label", HOSTILE, HOSTILE, "--", "true"],
    ));
    let external = format!("arbiter:{HOSTILE}2");
    server.call(&["HSET", &external, "owner", HOSTILE]);
    let waits = || output(arbiter(&server, &["list"])).1.contains(" 1 ");
    assert!(eventually(ms(5_000), waits));
    let second = format!("{HOSTILE}2");
    for args in [
        &["list"][..],
        &["list", "--json"],
        &["status", HOSTILE, &second],
        &["status", "--json", HOSTILE, &second],
        &["run", "-n", HOSTILE, "--", "true"],
        &["run", "-n", &second, "--", "true"],
        &["--log-format", "json", "run", "-n", HOSTILE, "--", "true"],
        &["once", "--every", "1h", "-n", HOSTILE, "--", "true"],
        &["break", "--fence", "1", HOSTILE],
        &["resize", "--of", "2", HOSTILE],
        &["run", "x#arbiter.\u{202e}", "--", "true"],
        &[
            "--key-prefix",
            "a\u{202e}b{",
            "--store",
            "redis+cluster://h",
            "status",
            "n",
        ],
    ] {
        let (_, stdout, stderr) = output(arbiter(&server, args));
        assert!(!stdout.is_empty() || !stderr.is_empty(), "{args:?}");
        assert_printable(&stdout);
        assert_printable(&stderr);
    }
    let (_, listed, _) = output(arbiter(&server, &["list", "--json"]));
    let names = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut names: Vec<_> = names
        .map(|lock| lock["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, [HOSTILE, &second], "JSON keeps the names");
    let mut exporter = bare(&["exporter", "--listen", "127.0.0.1:0", "--names", "9"]);
    exporter.env("ARBITER_STORE", server.url());
    let exporter = Exporter::start(exporter);
    let label = Printable(HOSTILE).to_string();
    let is_shown = || exporter.metric("lock_held", &[("name", &label)]) == Some(1.0);
    assert!(eventually(ms(9_000), is_shown));
    for child in [waiter, holder] {
        signal(&child, "TERM");
        assert_printable(&end(child).2);
    }
}

#[test]
fn arguments_cannot_forge_a_line() {
    const FORGED: &str = "/no\narbiter: forged\u{202e}\r";
    for args in [
        &["--store-file", FORGED, "status", "x"][..],
        &["--cacert", FORGED, "status", "x"],
        &["--store", FORGED, "status", "x"],
        &[
            "--sni",
            FORGED,
            "--store",
            "rediss://127.0.0.1:1",
            "status",
            "x",
        ],
        &["man", FORGED],
        &[FORGED],
        &[FORGED, "x", "--", "true"],
        &["status\narbiter: forged"],
        &["run", "--wait", FORGED, "x", "--", "true"],
        &[
            "run",
            "--wait",
            "redis://:pw\narbiter: forged@h",
            "x",
            "--",
            "true",
        ],
        &["run", &format!("--wait={FORGED}"), "x", "--", "true"],
        &["run", &format!("--{FORGED}"), "x", "--", "true"],
        &["run", FORGED, "true"],
        &["run", "x", "--", FORGED],
        &["once", "--daily", FORGED, "x", "--", "true"],
        &["list", "--sort", FORGED],
        &["exporter", "--listen", FORGED],
        &["run", "--replicas", FORGED, "x", "--", "true"],
        &["run", "--wait", "5", FORGED],
        &["break", "--fence", FORGED, "x"],
    ] {
        let (status, stdout, stderr) = output(bare(args));
        assert!(status != 0 && stdout.is_empty(), "{args:?}: {stdout}");
        assert_printable(&stderr);
        let is_forged = stderr
            .lines()
            .any(|line| line.starts_with("arbiter: forged"));
        assert!(!is_forged && !stderr.contains("pw"), "{args:?}: {stderr}");
    }
}

#[test]
fn completions_offer_only_names_that_can_be_typed() {
    let server = Server::start();
    let names = [HOSTILE, "nice"];
    let holders = names.map(|name| start(arbiter(&server, &["run", name, "--", "sleep", "60"])));
    assert!(eventually(ms(5_000), || names
        .iter()
        .all(|name| is_held(&server, name))));
    let mut completing = arbiter(&server, &["--", "arbiter", "status", "n"]);
    completing
        .env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", "2");
    completing
        .env("_CLAP_IFS", "\n")
        .env("_CLAP_COMPLETE_COMP_TYPE", "9");
    let (_, offered, stderr) = output(completing);
    assert_eq!(offered.trim(), "nice", "{stderr}");
    for holder in holders {
        signal(&holder, "TERM");
        end(holder);
    }
}
