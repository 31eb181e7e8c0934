//! The command among shells, pagers and log collectors.

use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::{Server, eventually, unique_name};

use crate::helpers::{arbiter, bare, end, is_held, ms, output, signal, start};

/// Runs a script of bash in which `arbiter` is on the path.
fn bash(server: &Server, script: &str) -> String {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_arbiter"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", script]);
    bash.env("PATH", path).env("ARBITER_STORE", server.url());
    let (status, stdout, stderr) = output(bash);
    assert_eq!(status, 0, "{stderr}");
    stdout
}

/// Returns the words that bash offers after a line.
fn offered(server: &Server, words: &[&str]) -> Vec<String> {
    let last = words.last().unwrap();
    let script = format!(
        "source <(arbiter completions bash)
         COMP_WORDS=({}) COMP_CWORD={} COMP_TYPE=9
         _clap_complete_arbiter arbiter '{last}' x
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words.len() - 1
    );
    let offered = bash(server, &script);
    offered.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn bash_completes_commands_flags_and_names() {
    let (server, name) = (Server::start(), unique_name());
    let holder = start(arbiter(&server, &["run", &name, "--", "sleep", "60"]));
    assert!(eventually(ms(5_000), || is_held(&server, &name)));
    assert!(offered(&server, &["arbiter", "sta"]).contains(&"status".to_owned()));
    assert!(offered(&server, &["arbiter", "run", "--lea"]).contains(&"--lease".to_owned()));
    assert_eq!(offered(&server, &["arbiter", "status", "test"]), [name]);
    signal(&holder, "KILL");
    end(holder);
}

#[test]
fn store_that_is_down_offers_no_names() {
    let mut server = Server::start();
    server.kill();
    assert!(
        offered(&server, &["arbiter", "status", "te"])
            .concat()
            .is_empty()
    );
}

#[test]
fn shells_have_scripts_and_commands_have_pages() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (status, script, stderr) = output(bare(&["completions", shell]));
        assert_eq!(status, 0, "{stderr}");
        assert!(script.contains("COMPLETE"), "{shell}: {script}");
    }
    let page = output(bare(&["man"])).1;
    assert!(page.contains(".TH arbiter 1"), "{page}");
    assert_eq!(output(bare(&["man", "nothing"])).0, 64);
    assert_eq!(output(bare(&["man", "store", "nothing"])).0, 64);
}

#[test]
fn manual_pages_refer_to_pages_that_exist() {
    let mut open = vec![Vec::new()];
    let mut found = Vec::new();
    while let Some(command) = open.pop() {
        let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        let (status, page, stderr) = output(bare(&[&["man"], arguments.as_slice()].concat()));
        assert_eq!(status, 0, "{arguments:?}: {stderr}");
        let name = [&["arbiter"], arguments.as_slice()].concat().join("-");
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
        let references = page.lines().filter_map(|line| line.strip_suffix("(1)"));
        for reference in references {
            let parts = reference.split("\\-").skip(1).map(str::to_owned);
            open.push(parts.collect());
        }
        found.push(name);
    }
    for name in ["arbiter-run", "arbiter-status", "arbiter-store-init"] {
        assert!(found.iter().any(|page| page == name), "{found:?}");
    }
}

#[test]
fn version_names_the_build() {
    let (status, version, _) = output(bare(&["--version"]));
    assert_eq!(status, 0);
    assert!(
        version.contains("build: ") && version.contains("postgres"),
        "{version}"
    );
}

#[test]
fn messages_are_json_objects_on_demand() {
    let (server, name) = (Server::start(), unique_name());
    let holder = start(arbiter(&server, &["run", &name, "--", "sleep", "60"]));
    assert!(eventually(ms(5_000), || is_held(&server, &name)));
    let skip = ["--log-format", "json", "run", "-n", &name, "--", "true"];
    let (status, _, stderr) = output(arbiter(&server, &skip));
    assert_eq!(status, 75);
    let skipped: Value = serde_json::from_str(stderr.trim()).unwrap();
    assert!(
        skipped["message"]
            .as_str()
            .unwrap()
            .starts_with("skipped: "),
        "{skipped}"
    );
    signal(&holder, "KILL");
    end(holder);
    let other = unique_name();
    let run = ["run", "--log-format", "json", "-v", &other, "--", "true"];
    let (_, _, stderr) = output(arbiter(&server, &run));
    let events: Vec<Value> = stderr
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str()).collect();
    assert_eq!(kinds, [Some("acquired"), Some("released")], "{stderr}");
    for event in &events {
        assert_eq!(event["name"], other);
        assert!(event["fence"].is_u64() && event["time"].is_f64(), "{event}");
    }
}

#[test]
fn long_wait_is_reported_again() {
    let (server, name) = (Server::start(), unique_name());
    let holder = start(arbiter(&server, &["run", &name, "--", "sleep", "60"]));
    assert!(eventually(ms(5_000), || is_held(&server, &name)));
    let reports = |heartbeat: &str| {
        let run = [
            "run",
            "--heartbeat",
            heartbeat,
            "--wait",
            "4s",
            &name,
            "--",
            "true",
        ];
        let (status, _, stderr) = output(arbiter(&server, &run));
        assert_eq!(status, 75, "{stderr}");
        stderr.matches("still waiting after").count()
    };
    assert_eq!(reports("0"), 0);
    assert!((1..=3).contains(&reports("1s")));
    signal(&holder, "KILL");
    end(holder);
}

#[test]
fn verbose_wait_prints_each_fact_once() {
    let (server, name) = (Server::start(), unique_name());
    let holder = start(arbiter(&server, &["run", &name, "--", "sleep", "1.5"]));
    assert!(eventually(ms(5_000), || is_held(&server, &name)));
    let mut run = arbiter(&server, &["run", "-v", &name, "--", "true"]);
    run.stdin(Stdio::null());
    let (_, _, stderr) = output(run);
    assert_eq!(stderr.matches("is held by").count(), 1, "{stderr}");
    assert!(!stderr.contains("µs"), "{stderr}");
    end(holder);
}

#[test]
fn habits_from_other_tools_get_tips() {
    for (args, tip) in [
        (&["run", "x", "-c", "echo hi"][..], "sh -c 'LINE'"),
        (&["run", "-c", "echo hi", "x"], "sh -c 'LINE'"),
        (&["run", "a", "echo hi"], "arbiter run a -- sh -c 'echo hi'"),
        (&["run", "-s", "x", "--", "true"], "--shared"),
        (&["run", "-x", "x", "--", "true"], "is exclusive"),
        (&["run", "--timeout", "5", "x", "--", "true"], "--wait 30s"),
        (&["run", "--nonblock", "x", "--", "true"], "--no-wait"),
        (&["run", "--ttl", "5", "x", "--", "true"], "--lease 30s"),
        (&["run", "--wait", "-5", "x", "--", "true"], "is 0 or more"),
        (&["-v", "run", "x", "--", "true"], "follows the command"),
        (&["break", "x"], "arbiter status NAME"),
        (&["lock", "x"], "arbiter run NAME -- COMMAND"),
        (&["x", "--", "echo", "a b"], "arbiter run x -- echo 'a b'"),
        (&["run", "-e", "x", "--", "true"], "is exclusive"),
        (&["run", "--exclusive", "x", "--", "true"], "is exclusive"),
        (
            &["run", "--exec", "true", "x"],
            "arbiter run NAME -- COMMAND",
        ),
        (&["run", "-o", "x", "--", "true"], "leave -o out"),
        (&["run", "-F", "x", "--", "true"], "leave it out"),
        (&["run", "-u", "x"], "arbiter break"),
        (&["run", "--unlock", "x"], "arbiter break"),
        (&["run", "-W", "5", "x", "--", "true"], "--wait 30s"),
        (&["run", "-f", "x", "--", "true"], "--no-wait"),
        (&["run", "-k", "5", "x", "--", "true"], "--grace 5s"),
        (&["run", "-timeout=5s", "x", "--", "true"], "two dashes"),
        (&["run", "-p", "6379", "x", "--", "true"], "--store redis"),
        (&["run", "x"], "comes after --"),
        (&["run", "-w", "x", "--", "true"], "takes a duration"),
        (
            &["run", "--wait", "5", "min", "x", "--", "true"],
            "--wait 5m",
        ),
        (
            &["once", "--every", "1", "hour", "x", "--", "true"],
            "--every 1h",
        ),
        (
            &["once", "--every", "daily", "x", "--", "true"],
            "--daily ZONE",
        ),
        (&["once", "--daily", "--", "true"], "--daily UTC"),
        (
            &["once", "-n", "--every", "1h", "x", "--", "true"],
            "does not wait",
        ),
        (&["status", "-q", "x"], "status --check"),
        (&["elect", "x"], "--announce TEXT"),
    ] {
        let (status, _, stderr) = output(bare(args));
        assert_eq!(status, 64, "{args:?}: {stderr}");
        assert!(stderr.contains(tip), "{args:?}: {stderr}");
        assert!(!stderr.contains("as a value"), "{args:?}: {stderr}");
    }
}

#[test]
fn texts_that_are_no_url_are_named() {
    let run = |url: &str| {
        let mut run = bare(&["run", "-n", "x", "--", "true"]);
        run.env("ARBITER_STORE", url);
        let (status, _, stderr) = output(run);
        assert_eq!(status, 64, "{stderr}");
        stderr
    };
    for (url, named) in [
        ("$REDIS_URL", "the variable REDIS_URL itself"),
        ("\"redis://h\"", "in quotes"),
        ("/srv/x", "file:///path"),
        ("h:6379", "no scheme"),
        ("http://h:8080", "HTTP"),
    ] {
        let stderr = run(url);
        assert!(stderr.contains(named), "{url}: {stderr}");
    }
}

#[test]
fn missing_and_unreadable_url_files_have_statuses() {
    let run = |path: &str| output(bare(&["--store-file", path, "run", "x", "--", "true"]));
    let (status, _, stderr) = run("/no/such/file");
    assert_eq!(status, 69, "{stderr}");
    assert!(stderr.contains("No such file"), "{stderr}");
    let (status, _, _) = run("/tmp");
    assert_eq!(status, 64);
}
