//! The command on a cluster.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use testkit::{Cluster, Folder, Server, Shared, eventually, unique_name};

use crate::exporter::{Exporter, Holders};
use crate::helpers::{bare, end, fresh_file, ms, output, signal, start, wait_for};

/// The prefix of all keys, unless a test sets another one.
const PREFIX: &str = "arbiter:";

/// Returns the cluster that the tests share.
pub(crate) fn shared() -> Arc<Cluster> {
    static SHARED: Shared<Cluster> = Shared::new();
    SHARED.get_or_start(Cluster::start_shared)
}

/// Builds a command on the store at that URL.
fn on(url: &str, args: &[&str]) -> Command {
    let mut command = bare(args);
    command.env("ARBITER_STORE", url);
    command
}

/// Returns a name of each node.
fn names(cluster: &Cluster, prefix: &str) -> Vec<String> {
    let masters = cluster.masters().into_iter();
    masters.map(|node| cluster.name_on(node, prefix)).collect()
}

fn spawn(mut command: Command) -> Child {
    command.stderr(Stdio::null()).spawn().unwrap()
}

fn holds(url: &str, name: &str) -> bool {
    output(on(url, &["status", "--check", name])).0 == 75
}

/// Asserts that a command ends with that status and a message.
fn assert_fails(command: Command, status: i32, message: &str) {
    let (found, _, stderr) = output(command);
    assert!(
        found == status && stderr.contains(message),
        "{found}: {stderr}"
    );
}

#[test]
fn names_of_every_node_exclude_and_wait() {
    let cluster = shared();
    let url = cluster.url();
    for name in names(&cluster, PREFIX) {
        let holder = start(on(&url, &["run", &name, "--", "sleep", "60"]));
        assert!(eventually(ms(9_000), || holds(&url, &name)), "{name}");
        assert_fails(on(&url, &["run", "-n", &name, "--", "true"]), 75, "is held");
        let waiter = start(on(&url, &["run", "-w", "20", &name, "--", "true"]));
        let waits = || {
            let (_, stdout, _) = output(on(&url, &["status", "--json", &name]));
            stdout.contains("\"waiting\":1")
        };
        assert!(eventually(ms(9_000), waits), "{name}");
        signal(&holder, "TERM");
        let released = Instant::now();
        let (status, _, stderr) = end(waiter);
        assert_eq!(status, Some(0), "{stderr}");
        assert!(released.elapsed() < ms(5_000), "{:?}", released.elapsed());
        end(holder);
    }
}

#[test]
fn status_list_and_scrape_cover_all_nodes() {
    let cluster = shared();
    let (url, prefix) = (cluster.url(), format!("{}:", unique_name()));
    let on = |args: &[&str]| {
        let mut command = on(&url, args);
        command.env("ARBITER_KEY_PREFIX", &prefix);
        command
    };
    let names = names(&cluster, &prefix);
    let mut commands = Vec::new();
    for name in &names {
        commands.push(spawn(on(&["run", name, "--", "sleep", "60"])));
    }
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let lines = |args: &[&str]| {
        let (status, stdout, stderr) = output(on(args));
        assert_eq!((status, stderr.as_str()), (0, ""), "{args:?}");
        stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let are_held = || lines(&["list", "--json"]).len() == names.len();
    assert!(eventually(ms(9_000), are_held));
    commands.push(spawn(on(&["run", all[1], "--", "sleep", "60"])));
    let _holders = Holders(commands);
    let waited = || lines(&["list", "--json", "--waited"]);
    assert!(eventually(ms(9_000), || waited().len() == 1));
    assert!(waited()[0].contains(all[1]), "{:?}", waited());
    assert_eq!(lines(&["list"]).len(), 1 + names.len());
    let status = lines(&[&["status", "--json"], &all[..]].concat());
    assert_eq!(status.len(), names.len(), "{status:?}");
    for (name, line) in names.iter().zip(&status) {
        assert!(
            line.contains(name) && line.contains("\"held\":true"),
            "{line}"
        );
    }
    let exporter = Exporter::start(on(&["exporter", "--listen", "127.0.0.1:0"]));
    let held = exporter.metric("locks_held", &[("kind", "lock")]);
    assert_eq!(held, Some(names.len() as f64));
    assert_eq!(exporter.metric("locks_waited_for", &[]), Some(1.0));
}

#[test]
fn every_primitive_works_on_every_node() {
    let cluster = shared();
    let url = cluster.url();
    let names = names(&cluster, PREFIX);
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let script = "printf '%s\\n' \"$ARBITER_FENCE\"";
    let (status, stdout, stderr) = output(on(
        &url,
        &[&["run"], &all[..], &["--", "sh", "-c", script]].concat(),
    ));
    assert_eq!((status, stdout.lines().count()), (0, 3), "{stderr}");
    for name in &names {
        let job = ["once", "--every", "1h", name, "--", "echo", "RAN"];
        let (status, stdout, stderr) = output(on(&url, &job));
        assert_eq!((status, stdout.as_str()), (0, "RAN\n"), "{stderr}");
        let (status, stdout, stderr) = output(on(&url, &job));
        assert_eq!((status, stdout.as_str()), (0, ""), "{stderr}");
        let leader = ["run", "--announce", "here", name, "--", "sleep", "60"];
        let leader = start(on(&url, &leader));
        let status_of = || output(on(&url, &["status", "--json", name])).1;
        let is_announced = || status_of().contains("\"value\":\"here\"");
        assert!(eventually(ms(9_000), is_announced), "{}", status_of());
        signal(&leader, "TERM");
        end(leader);
        let share = [
            "run",
            "--permits",
            "1",
            "--of",
            "2",
            name,
            "--",
            "sleep",
            "60",
        ];
        let share = start(on(&url, &share));
        assert!(eventually(ms(9_000), || holds(&url, name)));
        let (status, stdout, stderr) = output(on(&url, &["resize", "--of", "3", name]));
        assert_eq!(status, 0, "{stdout} {stderr}");
        signal(&share, "TERM");
        end(share);
    }
}

#[test]
fn wrong_urls_and_servers_have_their_statuses() {
    let cluster = shared();
    let url = cluster.url();
    let status = |url: &str| on(url, &["status", "x"]);
    assert_fails(status(&format!("{url}/1")), 64, "only database 0");
    assert_fails(status(&format!("{url}?db=1")), 64, "only database 0");
    assert_fails(status(&format!("{url}?unknown=0")), 64, "option");
    assert_fails(status("redis+cluster://"), 64, "host");
    assert_fails(status("redis+cluster://h,:6379"), 64, "host");
    assert_fails(status("redis+cluster://127.0.0.1:1"), 69, "refused");
    let node = url.replace("+cluster", "");
    let node = node.split(',').next().unwrap();
    let instead = node.replace("redis://", "redis+cluster://");
    assert_fails(status(node), 64, &format!("use {instead}"));
    let server = Server::start();
    let plain = server.url().replace("redis://", "redis+cluster://");
    assert_fails(status(&plain), 64, "redis://");
    // One of the hosts is enough.
    let (status, _, stderr) = output(status(&url.replace("://", "://127.0.0.1:1,")));
    assert_eq!((status, stderr.as_str()), (0, ""));
}

#[test]
fn password_comes_from_url_variable_or_file() {
    let server = Server::builder().password("s3cret");
    let cluster = Cluster::builder().server(server).start();
    let url = cluster.url();
    assert!(url.contains("s3cret"));
    let (file, names) = (fresh_file(), names(&cluster, PREFIX));
    std::fs::write(&file, &url).unwrap();
    for name in &names {
        let (status, _, stderr) = output(on(&url, &["run", "-n", name, "--", "true"]));
        assert_eq!((status, stderr.as_str()), (0, ""));
        let run = ["run", "-n", name, "--", "true"];
        let run = [&["--store-file", file.to_str().unwrap()], &run[..]].concat();
        let (status, _, stderr) = output(bare(&run));
        assert_eq!((status, stderr.as_str()), (0, ""));
    }
    std::fs::remove_file(&file).unwrap();
    for (wrong, word) in [(":s3cret@", ":gu3ss@"), (":s3cret@", "")] {
        let (status, _, stderr) = output(on(&url.replace(wrong, word), &["status", "x"]));
        assert!(
            status == 77 && !stderr.contains("gu3ss"),
            "{status}: {stderr}"
        );
    }
    let (status, _, stderr) = output(bare(&["--store", &url, "status", "x"]));
    assert!(
        status == 0 && stderr.contains("list of processes") && !stderr.contains("s3cret"),
        "{status}: {stderr}"
    );
}

#[test]
fn addresses_of_nodes_are_mapped() {
    let cluster = shared();
    let url = cluster.url_of(&[0]);
    let [near, far] = [0, 1].map(|node| cluster.name_on(node, PREFIX));
    let port = cluster.nodes[1].port();
    let mapped = |name: &str, map: &str| {
        let mut command = on(&url, &["run", "-n", name, "--", "true"]);
        command.env("ARBITER_ADDRESS_MAP", map);
        command
    };
    let nowhere = format!("127.0.0.1:{port}=127.0.0.1:1");
    assert_fails(mapped(&far, &nowhere), 69, "refused");
    let (status, _, stderr) = output(mapped(&near, &nowhere));
    assert_eq!((status, stderr.as_str()), (0, ""));
    let (status, _, stderr) = output(mapped(&far, &format!("127.0.0.1:{port}=localhost:{port}")));
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert_fails(mapped(&far, "10.0.0.1:6379"), 64, "host:port=host:port");
}

#[test]
fn command_runs_on_across_a_graceful_failover() {
    let (cluster, folder) = (Cluster::builder().replicas(1).start(), Folder::new());
    let (url, started) = (cluster.url(), folder.path().join("started"));
    let name = cluster.name_on(0, PREFIX);
    let script = format!("touch {}; sleep 12", started.display());
    let running = start(on(
        &url,
        &["run", "--lease", "9s", &name, "--", "sh", "-c", &script],
    ));
    wait_for(&started);
    cluster.failover(0);
    assert_fails(on(&url, &["run", "-n", &name, "--", "true"]), 75, "is held");
    // A replica is enough to find the others.
    let replica = cluster.url_of(&[4]);
    let waiter = start(on(&replica, &["run", "-w", "30", &name, "--", "true"]));
    let (status, _, stderr) = end(running);
    assert_eq!(status, Some(0), "{stderr}");
    let (status, _, stderr) = end(waiter);
    assert_eq!(status, Some(0), "{stderr}");
}
