//! The command on a Sentinel group.

use std::process::Stdio;
use std::time::{Duration, Instant};

use testkit::{Folder, SentinelGroup};

use crate::helpers::{bare, output};

/// Runs a command on the store at that URL.
fn on(url: &str, args: &[&str]) -> (i32, String, String) {
    let mut command = bare(args);
    command.env("ARBITER_STORE", url);
    output(command)
}

#[test]
fn commands_never_overlap_across_a_graceful_failover() {
    let (group, folder) = (SentinelGroup::start(), Folder::new());
    let (alive, url) = (folder.path().join("alive"), group.url());
    let beat = format!(
        "while :; do date +%s.%N >{}; sleep .02; done",
        alive.display()
    );
    let mut first = bare(&["run", "j", "--lease", "3s", "--", "sh", "-c", &beat]);
    first.env("ARBITER_STORE", &url).stderr(Stdio::null());
    let mut first = first.spawn().unwrap();
    assert!(testkit::eventually(Duration::from_secs(5), || alive.exists()));
    group.fail_over();
    // The first command continues on the new master, and the second finds the lock held there.
    let (status, _, stderr) = on(&url, &["run", "-n", "j", "--", "true"]);
    assert_eq!(status, 75, "{stderr}");
    first.kill().unwrap();
    first.wait().unwrap();
    let begun = Instant::now();
    let (status, _, stderr) = on(&url, &["run", "-w", "10s", "j", "--", "true"]);
    assert_eq!(status, 0, "{stderr}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn command_runs_on_across_a_killed_master() {
    let (mut group, folder) = (SentinelGroup::start(), Folder::new());
    let (started, url) = (folder.path().join("started"), group.url());
    let script = format!("touch {}; sleep 9", started.display());
    let mut running = bare(&["run", "j", "--lease", "9s", "--", "sh", "-c", &script]);
    running.env("ARBITER_STORE", &url).stderr(Stdio::null());
    let mut running = running.spawn().unwrap();
    assert!(testkit::eventually(Duration::from_secs(5), || started.exists()));
    let old = group.master();
    let other = (old + 1) % group.servers.len();
    let is_copied = || !group.servers[other].keys().is_empty();
    assert!(testkit::eventually(Duration::from_secs(5), is_copied));
    group.servers[old].kill();
    group.wait_for_another(old);
    let (status, _, stderr) = on(&url, &["run", "-n", "j", "--", "true"]);
    assert_eq!(status, 75, "{stderr}");
    let status = running.wait().unwrap();
    assert!(status.success(), "it lost its lease: {status}");
}

#[test]
fn wrong_service_and_address_map_are_usage_errors() {
    let group = SentinelGroup::start();
    let url = group.url();
    let (status, _, stderr) = on(&url.replace("/main", "/mian"), &["status", "x"]);
    assert!(
        status == 64 && stderr.contains("only main"),
        "{status} {stderr}"
    );
    let (status, _, stderr) = on(url.trim_end_matches("/main"), &["status", "x"]);
    assert!(
        status == 64 && stderr.contains("SERVICE"),
        "{status} {stderr}"
    );
    let sentinel = group.sentinels[0].port();
    let (status, _, stderr) = on(&format!("redis://127.0.0.1:{sentinel}/1"), &["status", "x"]);
    let instead = format!("use redis+sentinel://127.0.0.1:{sentinel}/main\n");
    assert!(
        status == 64 && stderr.ends_with(&instead),
        "{status} {stderr}"
    );
    let mut command = bare(&["status", "x"]);
    command
        .env("ARBITER_STORE", &url)
        .env("ARBITER_ADDRESS_MAP", "10.0.0.1:6379");
    let (status, _, stderr) = output(command);
    assert!(
        status == 64 && stderr.contains("host:port=host:port"),
        "{status} {stderr}"
    );
    let (status, stdout, stderr) = on(&url, &["status", "x"]);
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
}
