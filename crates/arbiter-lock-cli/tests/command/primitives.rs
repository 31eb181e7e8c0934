//! The command with readers, permits, several names, leaders and jobs.

use testkit::{Server, eventually, unique_name};

use crate::helpers::{
    arbiter, bare, end, eventually_held, fresh_file, line_of, ms, output, signal, start, status_of,
    wait_for,
};

/// Starts a command that writes its marker, and runs until it is terminated.
fn working(server: &Server, args: &[&str], marker: &std::path::Path) -> std::process::Child {
    let script = format!(
        "echo \"$ARBITER_FENCE\" > {}; exec sleep 30",
        marker.display()
    );
    let args = [args, &["--", "sh", "-c", &script]].concat();
    let child = start(arbiter(server, &args));
    wait_for(marker);
    child
}

fn json(server: &Server, name: &str) -> serde_json::Value {
    let (status, out, _) = output(arbiter(server, &["status", "--json", name]));
    assert_eq!(status, 0);
    serde_json::from_str(&out).unwrap()
}

#[test]
fn readers_run_together_and_exclude_writers() {
    let server = Server::builder().start();
    let (a, b) = (fresh_file(), fresh_file());
    let readers = [
        working(&server, &["run", "--shared", "n"], &a),
        working(&server, &["run", "--shared", "n"], &b),
    ];
    assert_eq!(line_of(&a), "\n", "a reader has no fence to show");
    assert_eq!(status_of(&server, &["run", "-n", "n", "--", "true"]), 75);
    let seen = json(&server, "n");
    assert_eq!(seen["sharing"]["count"], 2);
    assert_eq!(seen["sharing"]["limit"], serde_json::Value::Null);
    let (_, text, _) = output(arbiter(&server, &["status", "n"]));
    assert!(
        text.starts_with("n: shared by 2, with no limit\n"),
        "{text}"
    );
    for reader in readers {
        signal(&reader, "TERM");
        end(reader);
    }
    assert_eq!(status_of(&server, &["run", "-n", "n", "--", "true"]), 0);
}

#[test]
fn permits_are_counted_and_different_limit_exits_65() {
    let server = Server::builder().start();
    let marker = fresh_file();
    let two = working(
        &server,
        &["run", "--permits", "2", "--of", "3", "n"],
        &marker,
    );
    let permits = |k, n| {
        let args = ["run", "-n", "--permits", k, "--of", n, "n", "--", "true"];
        output(arbiter(&server, &args))
    };
    assert_eq!(permits("1", "3").0, 0);
    assert_eq!(permits("2", "3").0, 75);
    let (status, _, said) = permits("1", "4");
    assert_eq!(status, 65, "{said}");
    assert!(said.contains("--of 4") && said.contains("has 3"), "{said}");
    let (status, _, said) = permits("4", "3");
    assert_eq!(status, 65, "{said}");
    assert!(
        said.contains("--permits 4") && said.contains("has 3"),
        "{said}"
    );
    let seen = json(&server, "n");
    assert_eq!(
        (&seen["sharing"]["permits"], &seen["sharing"]["limit"]),
        (&2.into(), &3.into())
    );
    signal(&two, "TERM");
    end(two);
    assert_eq!(permits("3", "3").0, 0);
}

#[test]
fn resize_applies_to_held_permits_and_followers() {
    let server = Server::builder().start();
    let resize = |of| output(arbiter(&server, &["resize", "--of", of, "n"]));
    let (status, _, said) = resize("2");
    assert!(status == 75 && said.contains("no permits"), "{said}");
    let marker = fresh_file();
    let one = working(
        &server,
        &["run", "--permits", "1", "--of", "1", "n"],
        &marker,
    );
    let follow = [
        "run",
        "-n",
        "--permits",
        "1",
        "--of",
        "1",
        "--follow-limit",
        "n",
        "--",
        "true",
    ];
    assert_eq!(status_of(&server, &follow), 75);
    let (status, _, said) = resize("2");
    assert!(
        status == 0 && said.contains("2 permits, and had 1"),
        "{said}"
    );
    assert_eq!(status_of(&server, &follow), 0);
    assert_eq!(status_of(&server, &["resize", "--of", "0", "n"]), 64);
    signal(&one, "TERM");
    end(one);
}

#[test]
fn break_stops_one_sharer_by_its_fence() {
    let server = Server::builder().start();
    let (a, b) = (fresh_file(), fresh_file());
    let permits = ["run", "--lease", "1s", "--permits", "1", "--of", "2", "n"];
    let (first, second) = (
        working(&server, &permits, &a),
        working(&server, &permits, &b),
    );
    let seen = json(&server, "n");
    let pid = |child: &std::process::Child| u64::from(child.id());
    let holders = seen["sharing"]["holders"].as_array().unwrap();
    let of_first = holders.iter().find(|h| h["pid"] == pid(&first)).unwrap();
    let fence = of_first["fence"].to_string();
    assert_eq!(status_of(&server, &["break", "--fence", &fence, "n"]), 0);
    assert_eq!(end(first).0, Some(79));
    assert_eq!(json(&server, "n")["sharing"]["count"], 1);
    signal(&second, "TERM");
    end(second);
}

#[test]
fn several_names_each_have_their_fence() {
    let server = Server::builder().start();
    let marker = fresh_file();
    let script = format!(
        "echo \"$ARBITER_NAME:$ARBITER_FENCE\" > {}; exec sleep 30",
        marker.display()
    );
    let both = start(arbiter(
        &server,
        &["run", "b", "a", "b", "--", "sh", "-c", &script],
    ));
    wait_for(&marker);
    let seen = line_of(&marker);
    let lines: Vec<_> = seen.lines().collect();
    assert_eq!(
        (lines[0], lines[1].split(':').next()),
        ("a", Some("b")),
        "{seen}"
    );
    let fence = |text: &str| text.parse::<u64>().unwrap();
    assert!(
        fence(lines[1].split(':').nth(1).unwrap()) < fence(lines[2]),
        "{seen}"
    );
    for name in ["a", "b"] {
        assert_eq!(status_of(&server, &["run", "-n", name, "--", "true"]), 75);
    }
    signal(&both, "TERM");
    end(both);
    assert_eq!(
        status_of(&server, &["run", "-n", "b", "a", "--", "true"]),
        0
    );
    let (status, _, said) = output(arbiter(
        &server,
        &["run", "--shared", "a", "b", "--", "true"],
    ));
    assert_eq!(status, 64, "{said}");
}

#[test]
fn watch_shows_each_leader_and_its_announcement() {
    let server = Server::builder().start();
    let (a, b) = (fresh_file(), fresh_file());
    let first = working(&server, &["run", "--announce", "10.0.0.1", "n"], &a);
    assert_eq!(json(&server, "n")["value"], "10.0.0.1");
    let log = fresh_file();
    let mut watch = arbiter(&server, &["status", "--watch", "n"]);
    watch.stdout(std::fs::File::create(&log).unwrap());
    let mut watch = watch.spawn().unwrap();
    let seen = |text: &str| {
        let read = || std::fs::read_to_string(&log).unwrap_or_default();
        eventually(ms(5_000), || read().contains(text))
    };
    assert!(seen("announces: 10.0.0.1"));
    signal(&first, "TERM");
    end(first);
    let second = working(&server, &["run", "--announce", "10.0.0.2", "n"], &b);
    assert!(seen("announces: 10.0.0.2"));
    watch.kill().unwrap();
    watch.wait().unwrap();
    signal(&second, "TERM");
    end(second);
    assert_eq!(json(&server, "n")["value"], serde_json::Value::Null);
}

#[test]
fn once_skip_succeeds_and_names_the_last_run() {
    let server = Server::builder().start();
    let once = |rest: &[&str]| {
        let args = [&["once", "job", "--every", "1h"][..], rest].concat();
        output(arbiter(&server, &args))
    };
    assert_eq!(once(&["--", "sh", "-c", "exit 3"]).0, 3);
    let (status, out, said) = once(&["--", "false"]);
    assert_eq!((status, out.as_str()), (0, ""), "{said}");
    assert!(
        said.contains("skipped: 'job' was run by") && said.contains("status 3"),
        "{said}"
    );
    assert_eq!(once(&["-q", "-E", "9", "--", "false"]).0, 9);
    assert_eq!(once(&["-q", "--", "false"]).2, "");
    assert_eq!(once(&["--repeat-failed", "--", "true"]).0, 0);
    let (_, _, said) = once(&["--repeat-failed", "--", "false"]);
    assert!(said.contains("ended well"), "{said}");
    let seen = json(&server, "job");
    assert_eq!(
        (&seen["held"], &seen["last_run"]["state"]),
        (&false.into(), &"ended-well".into())
    );
}

#[test]
fn once_is_forced_and_reset_by_hand() {
    let (server, name) = (Server::start(), unique_name());
    let once = |rest: &[&str]| {
        let args = [&["once", &name, "--every", "1h"][..], rest].concat();
        output(arbiter(&server, &args))
    };
    assert_eq!(once(&["--", "true"]).0, 0);
    assert!(once(&["--", "true"]).2.contains("skipped"));
    assert_eq!(once(&["--force", "--", "sh", "-c", "exit 3"]).0, 3);
    assert!(once(&["--", "true"]).2.contains("status 3"));
    let (status, _, said) = output(arbiter(&server, &["once", "--reset", &name]));
    assert_eq!(status, 0, "{said}");
    assert!(said.contains(&format!("the last run of '{name}' is forgotten")));
    let (_, _, said) = output(arbiter(&server, &["once", "--reset", &name]));
    assert!(said.contains(&format!("no run of '{name}' was recorded")));
    assert_eq!(json(&server, &name)["last_run"], serde_json::Value::Null);
    assert_eq!(once(&["--", "sh", "-c", "exit 4"]).0, 4);
    for wrong in [
        &["once", &name, "--reset", "--", "true"][..],
        &["once", &name, "--reset", "--every", "1h"],
        &["once", &name, "--force", "--", "true"],
        &["once", &name, "--every", "1h"],
    ] {
        assert_eq!(status_of(&server, wrong), 64, "{wrong:?}");
    }
}

#[test]
fn once_reports_running_and_crashed_jobs() {
    let server = Server::builder().start();
    let (name, marker) = (unique_name(), fresh_file());
    let job = ["once", &name, "--every", "1h", "--lease", "1s"];
    let child = working(&server, &job, &marker);
    assert!(eventually_held(&server, &format!("arbiter:{name}")));
    let again = [&job[..], &["--", "true"]].concat();
    let (status, _, said) = output(arbiter(&server, &again));
    assert_eq!(status, 0);
    assert!(said.contains("is running now"), "{said}");
    signal(&child, "KILL");
    end(child);
    assert!(eventually(
        ms(5_000),
        || json(&server, &name)["last_run"]["state"] == "crashed"
    ));
    let (_, _, said) = output(arbiter(&server, &again));
    assert!(said.contains("crashed"), "{said}");
}

#[test]
fn once_needs_exactly_one_valid_period() {
    let server = Server::builder().start();
    for rule in [
        &[][..],
        &["--every", "1h", "--daily", "UTC"],
        &["--every", "0"],
    ] {
        let args = [&["once", "n"][..], rule, &["--", "true"]].concat();
        assert_eq!(status_of(&server, &args), 64, "{rule:?}");
    }
    let nowhere = ["once", "n", "--daily", "Mars/Olympus", "--", "true"];
    let (status, _, said) = output(arbiter(&server, &nowhere));
    assert_eq!(status, 64);
    assert!(said.contains("Mars/Olympus"), "{said}");
    assert_eq!(
        status_of(
            &server,
            &["once", "n", "--hourly", "Europe/Berlin", "--", "true"]
        ),
        0
    );
}

/// The times of 03:00 in Berlin around two changes of the clock, in hours since 2027-03-26 UTC.
const THREE_O_CLOCK: [i64; 9] = [2, 26, 49, 73, 97, 5_209, 5_233, 5_258, 5_282];

#[test]
fn daily_job_runs_on_short_and_long_days() {
    const HOUR: i64 = 3_600_000_000;
    const BEGIN: i64 = 1_806_019_200_000_000; // 2027-03-26 00:00 UTC
    let real = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let real = i64::try_from(real.unwrap().as_micros()).unwrap();
    let (folder, clock) = (testkit::Folder::new(), testkit::WallClock::new());
    let server = clock.rule(Server::builder()).start();
    for store in [folder.url(), server.url()] {
        let mut ran = Vec::new();
        for hours in THREE_O_CLOCK {
            // Two machines, the second of which is late.
            for late in [0, HOUR / 2] {
                clock.run_ahead(BEGIN + hours * HOUR + late - real);
                let mut job = bare(&["once", "--daily", "Europe/Berlin", "j", "--", "echo", "ran"]);
                job.env("ARBITER_STORE", &store).envs(clock.env());
                let (status, stdout, stderr) = output(job);
                assert_eq!(status, 0, "{stderr}");
                ran.push(stdout == "ran\n");
            }
        }
        let expected: Vec<bool> = THREE_O_CLOCK.iter().flat_map(|_| [true, false]).collect();
        assert_eq!(ran, expected, "{store}");
    }
}
