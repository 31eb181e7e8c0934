//! `arbiter doctor`, and holds that replicas acknowledge.

use serde_json::Value;
use testkit::{Cluster, Folder, SentinelGroup, Server};

use crate::helpers::{bare, output};

/// Runs a command on the store at that URL.
fn on(url: &str, args: &[&str]) -> (i32, String, String) {
    let mut command = bare(args);
    command.env("ARBITER_STORE", url);
    output(command)
}

/// Returns the exit status of a check-up, and the status of each check in its JSON.
fn checked(url: &str, args: &[&str]) -> (i32, Vec<(String, String)>) {
    let (status, stdout, _) = on(url, &[&["doctor", "--json"], args].concat());
    let checks: Value = serde_json::from_str(&stdout).expect(&stdout);
    let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let checks = checks.as_array().unwrap().iter().map(|check| {
        assert!(!text(check, "message").is_empty(), "{check}");
        assert_eq!(text(check, "fix").is_empty(), text(check, "status") == "ok");
        (text(check, "check"), text(check, "status"))
    });
    (status, checks.collect())
}

fn has(checks: &[(String, String)], check: &str, status: &str) -> bool {
    checks.contains(&(check.to_owned(), status.to_owned()))
}

#[test]
fn healthy_server_passes_every_check() {
    let server = Server::builder().arg("--appendonly").arg("yes").start();
    let (status, checks) = checked(&server.url(), &[]);
    assert_eq!(status, 0, "{checks:?}");
    for check in [
        "mode",
        "memory",
        "persistence",
        "clock",
        "rights",
        "notifications",
    ] {
        assert!(has(&checks, check, "ok"), "{checks:?}");
    }
    let (status, stdout, _) = on(&server.url(), &["doctor"]);
    assert_eq!(status, 0, "{stdout}");
    assert!(stdout.starts_with("ok       mode"), "{stdout}");
}

#[test]
fn settings_that_lose_locks_are_found() {
    let server = Server::builder().start();
    server.call(&["CONFIG", "SET", "maxmemory", "100mb"]);
    server.call(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    let (status, checks) = checked(&server.url(), &[]);
    assert_eq!(status, 1, "{checks:?}");
    assert!(has(&checks, "memory", "failure"), "{checks:?}");
    assert!(has(&checks, "persistence", "warning"), "{checks:?}");
    let (_, stdout, _) = on(&server.url(), &["doctor"]);
    assert!(
        stdout.contains("fix: set maxmemory-policy noeviction"),
        "{stdout}"
    );
}

#[test]
fn user_without_rights_gets_a_finding() {
    let server = Server::start();
    server.call(&[
        "ACL",
        "SETUSER",
        "u",
        "on",
        ">p",
        "~*",
        "+@all",
        "-config",
        "-scan",
        "-subscribe",
    ]);
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    let (status, checks) = checked(&url, &[]);
    assert_eq!(status, 1, "{checks:?}");
    assert!(has(&checks, "rights", "warning"), "{checks:?}");
    assert!(has(&checks, "notifications", "warning"), "{checks:?}");
    server.call(&["ACL", "SETUSER", "u", "-zadd"]);
    let (status, checks) = checked(&url, &[]);
    assert_eq!(status, 1, "{checks:?}");
    assert!(has(&checks, "locks", "failure"), "{checks:?}");
}

#[test]
fn user_without_info_learns_what_is_not_known() {
    let server = Server::builder().arg("--appendonly").arg("yes").start();
    let set = |rules: &[&str]| {
        let user = ["ACL", "SETUSER", "u", "on", ">p", "~*", "&*", "+@all"];
        server.call(&[&user[..], rules].concat());
    };
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    set(&["-info"]);
    let (status, checks) = checked(&url, &[]);
    assert_eq!(status, 1, "{checks:?}");
    for check in ["mode", "memory", "persistence", "notifications"] {
        assert!(has(&checks, check, "ok"), "{checks:?}");
    }
    assert!(has(&checks, "rights", "warning"), "{checks:?}");
    set(&["-info", "-config", "-scan"]);
    let (_, stdout, _) = on(&url, &["doctor"]);
    assert!(stdout.contains("standalone master\n"), "{stdout}");
    assert_eq!(stdout.matches("not known").count(), 2, "{stdout}");
    assert_eq!(stdout.matches("fix: allow +info\n").count(), 2, "{stdout}");
    assert!(stdout.contains("fix: allow +scan and +info"), "{stdout}");
    assert!(!stdout.contains("are forgotten"), "{stdout}");
}

#[test]
fn store_that_cannot_be_asked_is_a_finding() {
    let server = Server::builder().password("secret").start();
    let wrong = format!("redis://:no@127.0.0.1:{}", server.port());
    for (url, expected) in [
        ("redis://127.0.0.1:1", 69),
        (&wrong, 77),
        ("nonsense://x", 64),
    ] {
        let (status, checks) = checked(url, &[]);
        assert_eq!(status, expected, "{checks:?}");
        assert!(has(&checks, "connection", "failure"), "{checks:?}");
    }
    let folder = Folder::new();
    assert_eq!(checked(&folder.url(), &[]).0, 0);
}

#[test]
fn lease_is_checked_against_the_failover() {
    let group = SentinelGroup::start();
    let (status, checks) = checked(&group.url(), &["--lease", "30s"]);
    assert_eq!(status, 1, "{checks:?}");
    assert!(has(&checks, "replication", "warning"), "{checks:?}");
    assert!(has(&checks, "sentinels", "ok"), "{checks:?}");
    assert!(has(&checks, "failover", "ok"), "{checks:?}");
    let (_, checks) = checked(&group.url(), &["--lease", "3s"]);
    assert!(has(&checks, "failover", "warning"), "{checks:?}");
    let master = format!("redis://127.0.0.1:{}", group.servers[0].port());
    let (_, checks) = checked(&master, &[]);
    assert!(has(&checks, "mode", "warning"), "{checks:?}");
}

#[test]
fn every_master_of_a_cluster_is_checked() {
    let mut cluster = Cluster::start();
    let (_, checks) = checked(&cluster.url(), &["--lease", "9s"]);
    let count = |check: &str| checks.iter().filter(|(name, _)| name == check).count();
    assert_eq!((count("mode"), count("failover")), (3, 3), "{checks:?}");
    assert!(has(&checks, "replication", "warning"), "{checks:?}");
    assert!(has(&checks, "failover", "ok"), "{checks:?}");
    assert!(has(&checks, "notifications", "ok"), "{checks:?}");
    cluster.nodes[1].kill();
    let (status, checks) = checked(&cluster.url(), &[]);
    assert_eq!(status, 1, "{checks:?}");
    assert!(has(&checks, "node", "failure"), "{checks:?}");
}

#[test]
fn command_waits_for_acknowledgements() {
    let group = SentinelGroup::start();
    let all = ["run", "-n", "j", "--replicas", "all", "--", "true"];
    let (status, _, stderr) = on(&group.url(), &all);
    assert_eq!(status, 0, "{stderr}");
    let many = ["run", "-n", "k", "--replicas", "3", "--", "true"];
    let (status, _, stderr) = on(&group.url(), &many);
    assert_eq!(status, 69, "{stderr}");
    assert!(stderr.contains("2 of 3 acknowledged"), "{stderr}");
    let folder = Folder::new();
    let (status, _, stderr) = on(&folder.url(), &many);
    assert_eq!(status, 64, "{stderr}");
    let (status, _, stderr) = on(&group.url(), &["run", "k", "--replicas", "x", "--", "true"]);
    assert_eq!(status, 64, "{stderr}");
    assert!(stderr.contains("a number of replicas, or all"), "{stderr}");
}
