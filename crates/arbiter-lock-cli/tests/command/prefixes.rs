//! `--key-prefix`: tenants with the rights to one prefix, on every kind of store.

use testkit::{Cluster, Folder, SentinelGroup, Server, eventually};

use crate::exporter::Exporter;
use crate::helpers::{bare, end, ms, output, signal, start};

/// Makes a user with the rights to the keys and channels of `app1:`.
fn add_user(servers: &[Server], rights: &[&str]) {
    for server in servers {
        let command = [
            &["ACL", "SETUSER", "t1", "reset", "on", ">p", "+@all"],
            rights,
        ]
        .concat();
        assert_eq!(server.call(&command).text().as_deref(), Some("OK"));
    }
}

/// Runs every command as the tenant.
fn use_every_command(url: &str) {
    let url = url.replace("://", "://t1:p@");
    let command = |words: &str, prefix: &str| {
        let words: Vec<_> = words.split(' ').collect();
        let mut command = bare(&words);
        command
            .env("ARBITER_STORE", &url)
            .env("ARBITER_KEY_PREFIX", prefix);
        command
    };
    let run = |words: &str, expected: i32| {
        let (status, stdout, stderr) = output(command(words, "app1:"));
        assert_eq!(status, expected, "{words}: {stdout}{stderr}");
        stdout
    };
    run("run x -- true", 0);
    run("run --shared r -- true", 0);
    run("run --permits 2 --of 3 s -- true", 0);
    run("run a{t} b} c -- true", 0);
    run("run --announce me leader -- true", 0);
    run("once --every 1h job -- true", 0);
    let held = command("run --permits 1 --of 3 held -- sleep 60", "app1:");
    let (held, waiter) = (
        start(held),
        command("run --permits 3 --of 3 held -- true", "app1:"),
    );
    assert!(eventually(ms(5_000), || run("list", 0).contains("held")));
    let waiter = start(waiter);
    let listed = || run("list --json", 0);
    assert!(eventually(ms(5_000), || listed().contains("\"waiting\":1")));
    assert!(!listed().contains("app1:"), "{}", listed());
    assert!(run("status held", 0).contains("1 of 3 permits"));
    assert!(run("status job", 0).contains("ended well"));
    run("resize --of 4 held", 0);
    assert!(run("doctor", 1).contains("grants arrive as messages"));
    let exporter = Exporter::start(command("exporter --listen 127.0.0.1:0 --names 9", "app1:"));
    let is_held = || exporter.metric("lock_held", &[("name", "held")]) == Some(1.0);
    assert!(eventually(ms(5_000), is_held));
    let status: serde_json::Value = serde_json::from_str(&run("status --json held", 0)).unwrap();
    let fence = &status["sharing"]["holders"][0]["fence"];
    run(&format!("break --now --fence {fence} held"), 0);
    let (status, _, stderr) = end(waiter);
    assert_eq!(status, Some(0), "{stderr}");
    signal(&held, "TERM");
    end(held);
    for words in ["run x -- true", "status x", "once --every 1h job -- true"] {
        let (status, _, stderr) = output(command(words, "app2:"));
        assert_eq!(status, 77, "{words}: {stderr}");
    }
}

#[test]
fn tenant_uses_every_command_on_a_server() {
    let server = [Server::start()];
    add_user(&server, &["~app1:*", "&*"]);
    use_every_command(&server[0].url());
    add_user(&server, &["~app1:*", "&app1:*"]);
    use_every_command(&server[0].url());
}

#[test]
fn tenant_uses_every_command_on_a_cluster() {
    let cluster = Cluster::start();
    add_user(&cluster.nodes, &["~app1:*", "&app1:*"]);
    use_every_command(&cluster.url());
}

#[test]
fn tenant_uses_every_command_on_a_group() {
    let group = SentinelGroup::start();
    add_user(&group.servers, &["~app1:*", "&app1:*"]);
    use_every_command(&group.url());
}

#[test]
fn prefixes_keep_locks_of_a_folder_apart() {
    let folder = Folder::new();
    let run = |words: &[&str]| {
        let mut command = bare(words);
        command.env("ARBITER_STORE", folder.url());
        output(command)
    };
    let arbiter = env!("CARGO_BIN_EXE_arbiter");
    let nested = |prefix: &str| {
        let outer = ["--key-prefix", "a:", "run", "n", "--"];
        let inner = [
            arbiter,
            "--key-prefix",
            prefix,
            "run",
            "-n",
            "n",
            "--",
            "true",
        ];
        run(&[&outer[..], &inner].concat()).0
    };
    assert_eq!(nested("b:"), 0);
    assert_eq!(nested("a:"), 75);
    let list = [arbiter, "--key-prefix", "b:", "list"];
    let (status, listed, _) = run(&[&["--key-prefix", "a:", "run", "n", "--"][..], &list].concat());
    assert_eq!((status, listed.lines().count()), (0, 1), "{listed}");
}

#[test]
fn reserved_names_and_prefixes_are_usage_errors() {
    let server = Server::start();
    let cluster = "redis+cluster://127.0.0.1:1";
    let url = server.url();
    for (store, prefix, name, words) in [
        (&*url, "app1:", "x#arbiter.queue", "reserved"),
        ("file:///nowhere", "x#", "arbiter.run", "reserved"),
        (&*url, "a b", "n", "whitespace"),
        (&*url, "a#arbiter.", "n", "reserved"),
        (cluster, "a{b", "n", "does not close it"),
        (cluster, "{}a", "n", "empty hash tag"),
    ] {
        for command in ["run", "status"] {
            let mut words_of_command =
                vec!["--store", store, "--key-prefix", prefix, command, name];
            if command == "run" {
                words_of_command.extend(["--", "true"]);
            }
            let (status, _, stderr) = output(bare(&words_of_command));
            assert_eq!(status, 64, "{prefix} {name}: {stderr}");
            assert!(stderr.contains(words), "{stderr}");
        }
    }
}
