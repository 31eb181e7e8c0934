//! `arbiter list`.

use std::process::Stdio;

use testkit::{Server, eventually};

use crate::helpers::{arbiter, bare, output};

#[test]
fn list_shows_held_locks_as_table_and_json() {
    let server = Server::start();
    let (status, stdout, _) = output(arbiter(&server, &["list"]));
    assert_eq!((status, stdout.lines().count()), (0, 1), "{stdout}");
    let mut holders = Vec::new();
    for args in [
        &["run", "build-1", "--", "sleep", "60"][..],
        &[
            "run",
            "build-2",
            "--permits",
            "2",
            "--of",
            "5",
            "--",
            "sleep",
            "60",
        ],
        &["run", "deploy", "--announce", "here", "--", "sleep", "60"],
    ] {
        let mut holder = arbiter(&server, args);
        holders.push(holder.stderr(Stdio::null()).spawn().unwrap());
    }
    let listed = |args: &[&str]| {
        let (status, stdout, stderr) = output(arbiter(&server, args));
        assert_eq!((status, stderr.as_str()), (0, ""), "{args:?}");
        stdout
    };
    let all = || listed(&["list"]).lines().count() == 4;
    assert!(eventually(std::time::Duration::from_secs(5), all));
    let table = listed(&["ls", "--sort", "name"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[1].starts_with("build-1 ") && lines[1].contains(" lock "),
        "{table}"
    );
    assert!(lines[2].contains(" 2/5 permits "), "{table}");
    assert!(
        lines[3].starts_with("deploy ") && lines[3].contains(" leader "),
        "{table}"
    );
    let json = listed(&["list", "--json", "build-*"]);
    for line in json.lines() {
        let lock: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(lock["name"].as_str().unwrap().starts_with("build-"));
        assert!(
            lock["holder"]["pid"].is_u64() && lock["waiting"] == 0,
            "{lock}"
        );
    }
    assert_eq!(json.lines().count(), 2);
    assert_eq!(listed(&["list", "--waited"]).lines().count(), 1);
    assert_eq!(listed(&["list", "--held-by", "nowhere"]).lines().count(), 1);
    server.call(&["HSET", "arbiter:theirs", "owner", "a Go client"]);
    let table = listed(&["list", "theirs"]);
    let is_external = table.contains(" external ") && table.contains("owner a Go client");
    assert!(is_external, "{table}");
    for mut holder in holders {
        holder.kill().unwrap();
        holder.wait().unwrap();
    }
}

#[test]
fn wrong_commands_are_answered_with_a_hint() {
    for (typed, says) in [
        ("lock", "arbiter run NAME -- COMMAND"),
        ("unlock", "arbiter break"),
        ("locks", "arbiter list"),
    ] {
        let (status, _, stderr) = output(bare(&[typed, "x"]));
        assert!(status == 64 && stderr.contains(says), "{typed}: {stderr}");
    }
}

#[test]
fn status_takes_several_names() {
    let server = Server::start();
    let mut holder = arbiter(&server, &["run", "held", "--", "sleep", "60"]);
    let mut holder = holder.stderr(Stdio::null()).spawn().unwrap();
    let is_held = || output(arbiter(&server, &["status", "--check", "held"])).0 == 75;
    assert!(eventually(std::time::Duration::from_secs(5), is_held));
    let (status, stdout, _) = output(arbiter(&server, &["status", "free", "held"]));
    let first = stdout.lines().next();
    assert!(status == 0 && first == Some("free: free"), "{stdout}");
    assert!(stdout.contains("held: held by"), "{stdout}");
    let (_, stdout, _) = output(arbiter(&server, &["status", "--json", "free", "held"]));
    let held: Vec<bool> = stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|lock| lock["held"].as_bool().unwrap())
        .collect();
    assert_eq!(held, [false, true]);
    for (names, status) in [(["free", "held"], 75), (["free", "other"], 0)] {
        let args = ["status", "--check", names[0], names[1]];
        assert_eq!(output(arbiter(&server, &args)).0, status, "{names:?}");
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[tokio::test]
async fn held_by_reports_holders_that_it_cannot_see() {
    let server = Server::start();
    let client = arbiter_lock::Client::connect(&server.url()).await.unwrap();
    let readers = client.rw_lock("many");
    let mut guards = Vec::new();
    let seen = |says: &str| {
        let (status, stdout, stderr) = output(arbiter(&server, &["list", "--held-by", "nowhere"]));
        assert_eq!((status, stdout.lines().count()), (0, 1), "{stdout}");
        assert_eq!(stderr.trim_end(), says);
    };
    for _ in 0..100 {
        guards.push(readers.read().await.unwrap());
    }
    seen("");
    guards.push(readers.read().await.unwrap());
    seen("arbiter: many may be held by nowhere: only 100 of its 101 holders are seen");
}

#[test]
fn watch_shows_changes_of_each_name() {
    let server = Server::start();
    let mut watch = arbiter(&server, &["status", "--watch", "--json", "a", "b"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().unwrap()));
    let mut lines = lines.map(|line| {
        let lock: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        (
            lock["name"].as_str().unwrap().to_owned(),
            lock["held"].as_bool().unwrap(),
        )
    });
    let mut next = || lines.next().unwrap();
    assert_eq!(
        [next(), next()],
        [("a".to_owned(), false), ("b".to_owned(), false)]
    );
    let mut holder = arbiter(&server, &["run", "b", "--", "sleep", "60"]);
    let mut holder = holder.stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(next(), ("b".to_owned(), true));
    for child in [&mut watch, &mut holder] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn synopsis_of_status_states_what_is_accepted() {
    let server = Server::start();
    for refused in [&["--check", "--watch"], &["--check", "--json"]] {
        let args = [&["status"], &refused[..], &["n"]].concat();
        let (status, _, stderr) = output(arbiter(&server, &args));
        assert_eq!(status, 64, "{stderr}");
        assert!(
            stderr.contains("status [OPTIONS] [--json] [--watch] NAME...")
                && stderr.contains("status [OPTIONS] --check NAME..."),
            "{stderr}"
        );
    }
}
