//! A store that is late, silent or failing, and the reports of the command.

use std::io::Read as _;
use std::net::TcpListener;
use std::time::Instant;

use testkit::{Fault, Proxy, Server, Traffic, eventually, unique_name};

use crate::helpers::{arbiter, bare, end, is_held, ms, output, signal, start};

/// Returns the URL of a listener that accepts connections and sends nothing.
fn silent_listener() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || while stream.read(&mut [0; 64]).is_ok_and(|n| 0 < n) {});
        }
    });
    url
}

#[test]
fn job_waits_for_a_late_server() {
    let mut server = Server::start();
    server.kill();
    let run = start(arbiter(
        &server,
        &["run", "--wait", "20", "b", "--", "echo", "RAN"],
    ));
    std::thread::sleep(ms(2_500));
    server.restart();
    let output = run.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.stdout, b"RAN\n", "{stderr}");
    assert!(
        output.status.success() && stderr.contains("Connection refused"),
        "{stderr}"
    );
}

#[test]
fn silent_store_ends_every_command_in_time() {
    let url = silent_listener();
    for (args, least, most) in [
        (
            &["run", "--wait", "500ms", "x", "--", "true"][..],
            450,
            1_700,
        ),
        (&["run", "-n", "x", "--", "true"], 0, 2_700),
        (&["once", "--every", "1h", "x", "--", "true"], 0, 2_700),
        (&["status", "x"], 0, 2_700),
    ] {
        let begun = Instant::now();
        let (status, _, stderr) = output(bare(&[&["--store", &url], args].concat()));
        let took = begun.elapsed();
        assert_eq!(status, 69, "{args:?}: {stderr}");
        assert!((ms(least)..ms(most)).contains(&took), "{args:?}: {took:?}");
        assert!(stderr.contains("does not answer"), "{args:?}: {stderr}");
    }
}

#[test]
fn full_server_is_named_while_waiting() {
    let server = Server::start();
    server.call(&["CONFIG", "SET", "maxmemory", "1"]);
    let mut run = start(arbiter(&server, &["run", "n", "--", "true"]));
    let mut stderr = run.stderr.take().unwrap();
    let mut said = [0; 512];
    let begun = Instant::now();
    let length = stderr.read(&mut said).unwrap();
    assert!(begun.elapsed() < ms(4_000), "{:?}", begun.elapsed());
    let said = String::from_utf8_lossy(&said[..length]).into_owned();
    assert!(
        said.starts_with("arbiter: ") && said.contains("OOM"),
        "{said}"
    );
    server.call(&["CONFIG", "SET", "maxmemory", "0"]);
    assert!(run.wait().unwrap().success());
}

#[test]
fn quiet_command_reports_an_outage() {
    let server = Server::start();
    server.call(&["CONFIG", "SET", "maxmemory", "1"]);
    let run = start(arbiter(&server, &["run", "-q", "n", "--", "true"]));
    std::thread::sleep(ms(2_500));
    server.call(&["CONFIG", "SET", "maxmemory", "0"]);
    let (status, _, stderr) = end(run);
    assert!(status == Some(0) && stderr.contains("OOM"), "{stderr}");
}

#[test]
fn break_and_watch_outlast_a_short_outage() {
    let (server, name) = (Server::start(), unique_name());
    let proxy = Proxy::before(&server);
    // A holder of the Go library is not notified, so the break waits for its end.
    let key = format!("arbiter:{name}");
    server.call(&["HSET", &key, "owner", "o", "fence", "7"]);
    server.call(&["PEXPIRE", &key, "4000"]);
    let watch = start(bare(&["--store", &proxy.url(), "status", "--watch", &name]));
    let waiting = start(bare(&[
        "--store",
        &proxy.url(),
        "break",
        "--fence",
        "7",
        &name,
    ]));
    let is_asked = || server.call(&["HEXISTS", &key, "stopping"]).int() == Some(1);
    assert!(eventually(ms(5_000), is_asked));
    std::thread::sleep(ms(500));
    proxy.set_traffic(Traffic::Refused);
    proxy.cut_all();
    std::thread::sleep(ms(1_500));
    proxy.set_traffic(Traffic::Flowing);
    let (status, _, stderr) = end(waiting);
    assert_eq!(status, Some(0), "{stderr}");
    std::thread::sleep(ms(1_500));
    signal(&watch, "TERM");
    let output = watch.wait_with_output().unwrap();
    let seen = String::from_utf8(output.stdout).unwrap();
    assert!(seen.contains("held by") && seen.contains("free"), "{seen}");
}

#[test]
fn server_of_another_kind_is_a_usage_error() {
    let server = Server::start();
    let sentinel = Server::builder().sentinel("orders", server.port()).start();
    let (status, _, stderr) = output(arbiter(&sentinel, &["run", "x", "--", "true"]));
    let url = format!("redis+sentinel://127.0.0.1:{}/orders", sentinel.port());
    assert!(status == 64 && stderr.contains(&url), "{status} {stderr}");
    let node = Server::builder().node().start();
    let (status, _, stderr) = output(arbiter(&node, &["status", "x"]));
    assert!(
        status == 64 && stderr.contains("cluster"),
        "{status} {stderr}"
    );
}

#[test]
fn refused_renewal_is_named_before_and_after_loss() {
    let (server, name) = (Server::start(), unique_name());
    let run = start(arbiter(
        &server,
        &["run", "--lease", "3s", &name, "--", "sleep", "60"],
    ));
    assert!(eventually(ms(5_000), || is_held(&server, &name)));
    server.call(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let (status, _, stderr) = end(run);
    assert_eq!(status, Some(79), "{stderr}");
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|line| line.contains("NOREPLICAS"))
        .collect();
    assert_eq!(
        lines.len(),
        2,
        "one while it runs, one for the loss: {stderr}"
    );
    assert!(lines[1].contains("refused to renew"), "{stderr}");
}

#[test]
fn unrecorded_end_is_reported() {
    let (server, name) = (Server::start(), unique_name());
    let job = ["once", "--every", "1h", &name, "--", "sleep", "1.5"];
    let run = start(arbiter(&server, &job));
    assert!(eventually(ms(5_000), || is_held(&server, &name)));
    std::thread::sleep(ms(300));
    server.call(&["ACL", "SETUSER", "default", "-evalsha", "-eval"]);
    let (status, _, stderr) = end(run);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(
        stderr.contains("was not recorded") && stderr.contains("NOPERM"),
        "{stderr}"
    );
}

#[test]
fn unconfirmed_release_names_its_cause() {
    let (mut server, name) = (Server::start(), unique_name());
    let run = start(arbiter(&server, &["run", &name, "--", "sleep", "1"]));
    assert!(eventually(ms(5_000), || is_held(&server, &name)));
    server.kill();
    let (status, _, stderr) = end(run);
    assert_eq!(status, Some(0), "{stderr}");
    let line = stderr.lines().find(|line| line.contains("did not confirm"));
    assert!(
        line.is_some_and(|line| line.contains("Connection refused")),
        "{stderr}"
    );
}

#[test]
fn release_whose_connection_is_cut_raises_no_alarm() {
    let (server, name) = (Server::start(), unique_name());
    let proxy = Proxy::before(&server);
    let is_end = |args: &[Vec<u8>]| {
        let is_script = args[0].starts_with(b"EVAL");
        is_script && args.len() == 9 && args[7].len() == 32
    };
    let rule = proxy.nth(1, Fault::CutAfter, is_end);
    let run = bare(&["--store", &proxy.url(), "run", &name, "--", "true"]);
    let (status, _, stderr) = output(run);
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert_eq!(rule.fired(), 1);
    assert!(!is_held(&server, &name));
}
