//! `arbiter exporter`: its metrics, read by a parser of the format.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use openmetrics_parser::openmetrics::parse_openmetrics;
use openmetrics_parser::{MetricNumber, OpenMetricsValue};
use testkit::{Server, eventually, unique_name};

use crate::helpers::{arbiter, bare, ms, output, signal};

/// An exporter that runs.
pub(crate) struct Exporter {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    address: String,
}

impl Exporter {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("arbiter: metrics: http://");
        let address = url.and_then(|url| url.strip_suffix("/metrics"));
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        Self {
            child,
            stderr,
            address,
        }
    }

    /// Sends a request and returns the head and the body of the response.
    fn send(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(ms(20_000))).unwrap();
        let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// Returns the value of a metric with those labels.
    pub(crate) fn metric(&self, family: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let (head, body) = self.send("GET /metrics");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("application/openmetrics-text"), "{head}");
        let metrics = parse_openmetrics(&body).unwrap_or_else(|e| panic!("{e:?}\n{body}"));
        let family = metrics.families.get(&format!("arbiter_store_{family}"))?;
        let names = family.get_label_names();
        let is_labeled = |values: &[String]| {
            let labeled = names.iter().zip(values);
            let labeled: Vec<_> = labeled.map(|(n, v)| (n.as_str(), v.as_str())).collect();
            labeled == labels
        };
        family.iter_samples().find_map(|sample| {
            let labelset = sample.get_labelset().unwrap();
            let values: Vec<String> = labelset.iter_values().cloned().collect();
            let number = |number: &MetricNumber| number.as_f64();
            is_labeled(&values).then(|| match &sample.value {
                OpenMetricsValue::Gauge(value) => number(value),
                OpenMetricsValue::Counter(value) => number(&value.value),
                other => panic!("{other:?}"),
            })
        })
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exporter(server: &Server, args: &[&str]) -> Exporter {
    let args = [&["exporter", "--listen", "127.0.0.1:0"], args].concat();
    Exporter::start(arbiter(server, &args))
}

/// Starts commands that hold locks until they are dropped.
pub(crate) struct Holders(pub(crate) Vec<Child>);

impl Drop for Holders {
    fn drop(&mut self) {
        for holder in &mut self.0 {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

fn hold(server: &Server, lines: &[&[&str]]) -> Holders {
    let start = |args: &&[&str]| {
        let args = [&["run"], *args, &["--", "sleep", "60"]].concat();
        let mut command = arbiter(server, &args);
        command.stderr(Stdio::null()).spawn().unwrap()
    };
    Holders(lines.iter().map(start).collect())
}

#[test]
fn scrape_counts_holds_and_waiters_by_kind() {
    let server = Server::start();
    let exporter = exporter(&server, &[]);
    assert_eq!(exporter.metric("up", &[]), Some(1.0));
    assert_eq!(
        exporter.metric("locks_held", &[("kind", "lock")]),
        Some(0.0)
    );
    assert_eq!(exporter.metric("oldest_hold_seconds", &[]), Some(0.0));
    let _holders = hold(
        &server,
        &[
            &["a"],
            &["a"],
            &["b"],
            &["s", "--shared"],
            &["s", "--shared"],
            &["p", "--permits", "1", "--of", "2"],
            &["e", "--announce", "here"],
        ],
    );
    server.call(&["HSET", "arbiter:theirs", "owner", "a Go client"]);
    for (kind, held) in [
        ("lock", 2.0),
        ("leader", 1.0),
        ("readers", 1.0),
        ("permits", 1.0),
        ("external", 1.0),
    ] {
        let is_counted = || exporter.metric("locks_held", &[("kind", kind)]) == Some(held);
        assert!(eventually(ms(9_000), is_counted), "{kind}");
    }
    assert!(eventually(ms(5_000), || exporter.metric("waiters", &[]) == Some(1.0)));
    assert_eq!(exporter.metric("locks_waited_for", &[]), Some(1.0));
    let is_older = || {
        let age = |family: &str| exporter.metric(family, &[]).unwrap();
        1.0 < age("oldest_hold_seconds") && 1.0 < age("oldest_wait_seconds")
    };
    assert!(eventually(ms(9_000), is_older));
    assert!(exporter.metric("oldest_hold_seconds", &[]).unwrap() < 60.0);
    assert_eq!(exporter.metric("lock_held", &[("name", "a")]), None);
}

#[test]
fn named_locks_have_escaped_labels() {
    let server = Server::start();
    let odd = "od\\d \"na\nme\"";
    let _holders = hold(&server, &[&[odd], &["x1"], &["x2"], &["x3"]]);
    let exporter_of_all = exporter(&server, &["--names", "9"]);
    // The format escapes the label again, which is already escaped for terminals.
    let label = "od\\\\d \"na\\nme\"";
    let is_held = || exporter_of_all.metric("lock_held", &[("name", label)]) == Some(1.0);
    assert!(eventually(ms(9_000), is_held));
    assert_eq!(exporter_of_all.metric("names_omitted", &[]), Some(0.0));
    let waiters = exporter_of_all.metric("lock_waiters", &[("name", label)]);
    assert_eq!(waiters, Some(0.0));
    let some = exporter(&server, &["--names", "2", "x*"]);
    let omits_one = || some.metric("names_omitted", &[]) == Some(1.0);
    assert!(eventually(ms(9_000), omits_one));
    let named = ["x1", "x2", "x3"].map(|name| some.metric("lock_held", &[("name", name)]));
    assert_eq!(named.iter().flatten().count(), 2, "{named:?}");
    assert_eq!(some.metric("lock_held", &[("name", label)]), None);
}

#[test]
fn unreachable_store_is_a_metric_and_one_message() {
    let mut server = Server::start();
    let mut exporter = exporter(&server, &[]);
    assert_eq!(exporter.metric("up", &[]), Some(1.0));
    server.kill();
    assert!(eventually(ms(9_000), || exporter.metric("up", &[]) == Some(0.0)));
    assert_eq!(exporter.metric("locks_held", &[("kind", "lock")]), None);
    let failed = || exporter.metric("scrape_failures", &[]).unwrap();
    assert!(eventually(ms(9_000), || 2.0 <= failed()));
    server.restart();
    assert!(eventually(ms(9_000), || exporter.metric("up", &[]) == Some(1.0)));
    assert!(2.0 <= failed());
    signal(&exporter.child, "TERM");
    let mut messages = String::new();
    exporter.stderr.read_to_string(&mut messages).unwrap();
    assert_eq!(messages.matches("cannot scrape: ").count(), 1, "{messages}");
    assert!(messages.contains("scrapes succeed again"), "{messages}");
}

#[test]
fn other_requests_are_answered_and_signals_end_it() {
    use std::os::unix::process::ExitStatusExt as _;
    let server = Server::start();
    let mut exporter = exporter(&server, &[]);
    for (request, status) in [
        ("GET /", "200"),
        ("GET /nothing", "404"),
        ("POST /metrics", "405"),
        ("HEAD /metrics", "200"),
    ] {
        let (head, body) = exporter.send(request);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(request.starts_with("HEAD") == body.is_empty(), "{body}");
    }
    // Invalid HTTP and a silent client do not affect other clients.
    let silent = TcpStream::connect(&exporter.address).unwrap();
    let mut other = TcpStream::connect(&exporter.address).unwrap();
    other.write_all(&[0, 255, 13, 10, 13, 10]).unwrap();
    assert_eq!(exporter.metric("up", &[]), Some(1.0));
    drop(silent);
    let in_use = arbiter(&server, &["exporter", "--listen", &exporter.address]);
    let (status, _, stderr) = output(in_use);
    assert_eq!(status, 71, "{stderr}");
    assert!(stderr.contains("cannot listen on 127.0.0.1:"), "{stderr}");
    signal(&exporter.child, "TERM");
    assert_eq!(exporter.child.wait().unwrap().signal(), Some(15));
}

#[test]
fn folder_is_scraped_too() {
    let folder = testkit::Folder::new();
    let mut command = bare(&["exporter", "--listen", "127.0.0.1:0"]);
    command.env("ARBITER_STORE", folder.url());
    let exporter = Exporter::start(command);
    let name = unique_name();
    let mut command = bare(&["run", &name, "--", "sleep", "60"]);
    command.env("ARBITER_STORE", folder.url());
    let _holder = Holders(vec![command.stderr(Stdio::null()).spawn().unwrap()]);
    let held = || exporter.metric("locks_held", &[("kind", "lock")]) == Some(1.0);
    assert!(eventually(Duration::from_secs(9), held));
}
