//! The command on a PostgreSQL database, and the examples of its page.

use std::process::Command;

use testkit::{Postgres, unique_name};

use crate::helpers::{bare, output};

fn arbiter(server: &Postgres, args: &[&str]) -> Command {
    let mut command = bare(args);
    command.env("ARBITER_STORE", server.url());
    command
}

/// Returns the first block of that language in the page that contains a text.
fn example(language: &str, with: &str) -> String {
    let page = include_str!("../../../../docs/postgres.md");
    let fence = format!("```{language}\n");
    let blocks = page.split(&fence).skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    let mut found = blocks.filter(|block| block.contains(with));
    found.next().expect("an example").to_owned()
}

#[test]
fn one_command_works_on_a_fresh_database() {
    let server = Postgres::start();
    let run = [
        "run",
        "--store",
        &server.url(),
        "nightly",
        "--",
        "echo",
        "RAN",
    ];
    let (status, stdout, stderr) = output(bare(&run));
    assert_eq!((status, stdout.as_str()), (0, "RAN\n"), "{stderr}");
    assert_eq!(stderr, "");
    let (status, stdout, _) = output(arbiter(&server, &["status", "nightly"]));
    assert_eq!(status, 0);
    assert!(stdout.contains("nightly: free"), "{stdout}");
}

#[test]
fn example_of_a_shell_guards_its_write() {
    let server = Postgres::start();
    let _ = server.sql("CREATE TABLE reports (done bool); INSERT INTO reports VALUES (false)");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_arbiter"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    let script = example("sh", "ON_ERROR_STOP");
    let run = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).env("PATH", &path);
        shell.env("ARBITER_STORE", server.url());
        shell.env("DATABASE_URL", server.url());
        output(shell)
    };
    let (status, _, stderr) = run(&script);
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(server.sql("SELECT done FROM reports"), "t");
    // With another fence, nothing is written.
    let _ = server.sql("UPDATE reports SET done = false");
    let stale = script.replace("fence=\"$ARBITER_FENCE\"", "fence=17");
    assert_ne!(stale, script);
    let (status, _, stderr) = run(&stale);
    assert_ne!(status, 0);
    assert!(stderr.contains("has the fence 17"), "{stderr}");
    assert_eq!(server.sql("SELECT done FROM reports"), "f");
}

#[test]
fn example_of_python_guards_its_write() {
    let server = Postgres::start();
    let _ = server.sql("CREATE TABLE reports (done bool); INSERT INTO reports VALUES (false)");
    let code = example("python", "psycopg.connect");
    let code = format!("import os, psycopg\nurl = os.environ['DATABASE_URL']\n{code}");
    let run = |code: &str| {
        // The interpreter of the package, which has the module.
        let run = ["run", "nightly", "--", "/usr/bin/python3", "-c", code];
        let mut command = arbiter(&server, &run);
        command.env("DATABASE_URL", server.url());
        output(command)
    };
    let (status, _, stderr) = run(&code);
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(server.sql("SELECT done FROM reports"), "t");
    let _ = server.sql("UPDATE reports SET done = false");
    let (status, _, stderr) = run(&code.replace("os.environ[\"ARBITER_FENCE\"]", "\"17\""));
    assert_eq!(status, 1);
    assert!(stderr.contains("has the fence 17"), "{stderr}");
    assert_eq!(server.sql("SELECT done FROM reports"), "f");
}

#[test]
fn printed_schema_runs_twice_and_serves_a_role() {
    let server = Postgres::start();
    let schema = format!("s{}", unique_name().replace('-', "_"));
    let _ = server.sql("CREATE ROLE app LOGIN; REVOKE CREATE ON DATABASE postgres FROM PUBLIC");
    let print = [
        "store", "init", "--print", "--schema", &schema, "--role", "app",
    ];
    let (status, sql, stderr) = output(bare(&print));
    assert_eq!(status, 0, "{stderr}");
    let url = format!("{}?schema={schema}", server.url_as("app"));
    let run = |url: &str| output(bare(&["--store", url, "run", "n", "--", "echo", "RAN"]));
    let (status, _, stderr) = run(&url);
    assert_eq!(status, 77, "{stderr}");
    assert!(stderr.contains("arbiter store init --print"), "{stderr}");
    for _ in 0..2 {
        let _ = server.sql(&sql);
    }
    let (status, stdout, stderr) = run(&url);
    assert_eq!((status, stdout.as_str()), (0, "RAN\n"), "{stderr}");
}

#[test]
fn init_makes_the_tables() {
    let server = Postgres::start();
    let (status, _, stderr) = output(arbiter(&server, &["store", "init"]));
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(server.sql("SELECT version FROM arbiter.format"), "1");
}

#[test]
fn doctor_reports_a_disk_without_fsync() {
    let server = Postgres::start();
    let (status, stdout, _) = output(arbiter(&server, &["doctor"]));
    assert_eq!(status, 1, "{stdout}");
    assert!(stdout.contains("fsync is off"), "{stdout}");
    let server = Postgres::builder().start();
    let (status, stdout, _) = output(arbiter(&server, &["doctor"]));
    assert_eq!(status, 0, "{stdout}");
}
